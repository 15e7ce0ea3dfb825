//! Each checker must be able to fail.

use smoltcp::wire::ArpOperation;

use super::*;
use crate::lab::plan;
use crate::net::frame::{self, Arp as Fields};

const VIP: Ipv4Addr = plan::address(101);
const NODE: Ipv4Addr = plan::node_address(0);
const CLIENT: Ipv4Addr = plan::client_address(0);

fn now() -> Time {
    Time::from_micros(1_000_000)
}

fn node() -> NodeName {
    "wk01".into()
}

/// Checkers of a node that was told of the address and announces it.
fn checkers() -> Checkers {
    let mut checkers = Checkers::default();
    checkers.add_node(&node(), NODE, plan::mac(NODE));
    checkers.told(&node(), BTreeSet::from([VIP.into()]));
    let service = metallb_api::ServiceKey::new("default", "nginx");
    let candidates = vec![node()];
    checkers.noticed(now(), &node(), &Notice::Announced { service, address: VIP.into(), candidates });
    checkers
}

fn answer(mac: EthernetAddress, sender: Ipv4Addr) -> Vec<u8> {
    let fields =
        Fields { operation: ArpOperation::Reply, sha: mac, spa: sender, tha: plan::mac(CLIENT), tpa: CLIENT };
    frame::arp(mac, plan::mac(CLIENT), fields)
}

fn announcement(sender: Ipv4Addr) -> Vec<u8> {
    let mac = plan::mac(NODE);
    let tha = EthernetAddress([0; 6]);
    let fields = Fields { operation: ArpOperation::Request, sha: mac, spa: sender, tha, tpa: sender };
    frame::arp(mac, EthernetAddress::BROADCAST, fields)
}

fn question() -> Vec<u8> {
    let mac = plan::mac(CLIENT);
    let tha = EthernetAddress([0; 6]);
    let fields = Fields { operation: ArpOperation::Request, sha: mac, spa: CLIENT, tha, tpa: VIP };
    frame::arp(mac, EthernetAddress::BROADCAST, fields)
}

fn rules(checkers: &Checkers) -> Vec<&'static str> {
    checkers.violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_right_answer_breaks_no_rule() {
    let mut checkers = checkers();
    checkers.heard(&node(), &question());
    checkers.sent(now(), &node(), &answer(plan::mac(NODE), VIP), true);
    checkers.sent(now(), &node(), &announcement(VIP), true);
    checkers.sent(now(), &node(), &announcement(NODE), false);
    assert_eq!(rules(&checkers), [""; 0]);
}

#[test]
fn s4_and_s5_an_address_that_nobody_assigned() {
    let mut checkers = checkers();
    checkers.sent(now(), &node(), &announcement(plan::address(103)), true);
    assert_eq!(rules(&checkers), ["S4", "S5"]);
}

#[test]
fn s5_the_kernel_answers_for_an_address() {
    let mut checkers = checkers();
    checkers.sent(now(), &node(), &announcement(VIP), false);
    assert_eq!(rules(&checkers), ["S5"]);
}

#[test]
fn s6_another_mac_or_no_announcement() {
    let mut one = checkers();
    one.heard(&node(), &question());
    one.sent(now(), &node(), &answer(plan::mac(CLIENT), VIP), true);
    assert_eq!(rules(&one), ["S6"]);
    let mut other = checkers();
    other.restarted(&node());
    other.told(&node(), BTreeSet::from([VIP.into()]));
    other.heard(&node(), &question());
    other.sent(now(), &node(), &answer(plan::mac(NODE), VIP), true);
    assert_eq!(rules(&other), ["S6"]);
}

#[test]
fn s6_who_announces_is_first_by_hash() {
    let mut checkers = checkers();
    // For .101, wk02 comes before wk01.
    for candidates in [vec![node(), "wk02".into()], vec!["wk02".into(), node()]] {
        let service = metallb_api::ServiceKey::new("default", "nginx");
        checkers.noticed(now(), &node(), &Notice::Announced { service, address: VIP.into(), candidates });
    }
    assert_eq!(rules(&checkers), ["S6", "S6"]);
}

#[test]
fn s13_more_answers_than_questions() {
    let mut checkers = checkers();
    checkers.heard(&node(), &question());
    checkers.sent(now(), &node(), &answer(plan::mac(NODE), VIP), true);
    checkers.sent(now(), &node(), &answer(plan::mac(NODE), VIP), true);
    assert_eq!(rules(&checkers), ["S13"]);
}

#[test]
fn s13_announcements_beyond_their_pace() {
    let mut checkers = checkers();
    for _ in 0..201 {
        checkers.sent(now(), &node(), &announcement(VIP), true);
    }
    assert_eq!(rules(&checkers), ["S13"]);
}

fn service(name: &str, sharing_key: Option<&str>, port: u16) -> k8s_openapi::api::core::v1::Service {
    let annotations = match sharing_key {
        Some(key) => serde_json::json!({"metallb.io/allow-shared-ip": key}),
        None => serde_json::json!({}),
    };
    let value = serde_json::json!({
        "metadata": {"namespace": "default", "name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": port}]},
        "status": {"loadBalancer": {"ingress": [{"ip": VIP}]}},
    });
    serde_json::from_value(value).expect("a whole Service")
}

#[test]
fn s1_one_address_for_two() {
    for (one, other, expected) in [
        (service("a", None, 80), service("b", None, 81), vec!["S1"]),
        (service("a", Some("k"), 80), service("b", Some("other"), 81), vec!["S1"]),
        (service("a", Some("k"), 80), service("b", Some("k"), 80), vec!["S1"]),
        (service("a", Some("k"), 80), service("b", Some("k"), 81), vec![]),
    ] {
        let mut checkers = checkers();
        checkers.store_changed(now(), [&one, &other].into_iter());
        assert_eq!(rules(&checkers), expected, "{one:?} {other:?}");
    }
}

#[test]
fn s2_and_s13_writes_need_a_pool_and_a_cause() {
    let mut checkers = checkers();
    let object = Service::from(&service("a", None, 80));
    checkers.cause(now());
    checkers.written(now(), &object, &[VIP.into()], &Config::default());
    assert_eq!(rules(&checkers), ["S2"]);
    checkers.written(now() + Duration::from_secs(600), &object, &[], &Config::default());
    assert_eq!(rules(&checkers), ["S2", "S13"]);
}
