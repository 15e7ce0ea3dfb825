//! Each checker must be able to fail.

use smoltcp::wire::{ArpOperation, NdiscNeighborFlags, NdiscRepr};

use super::*;
use crate::lab::address_plan;
use crate::net::frame::{self, Arp as Fields};

const VIP: Ipv4Addr = address_plan::address(101);
const NODE: Ipv4Addr = address_plan::node_address(0);
const CLIENT: Ipv4Addr = address_plan::client_address(0);

fn now() -> Time {
    Time::from_micros(1_000_000)
}

fn node() -> NodeName {
    "wk01".into()
}

/// Checkers of a node that was told of the address and announces it.
fn checkers() -> Checkers {
    let mut checkers = Checkers::default();
    checkers.add_node(&node(), [NODE]);
    let both = BTreeSet::from([VIP.into(), address_plan::ipv6(VIP).into()]);
    let service = ServiceKey::new("default", "nginx");
    let names = [service.clone(), ServiceKey::new("default", "other")];
    let servable = both.iter().flat_map(|address| names.clone().map(|name| (*address, name))).collect();
    checkers.knows(&node(), both, servable);
    for address in [IpAddr::from(VIP), address_plan::ipv6(VIP).into()] {
        let (service, candidates) = (service.clone(), vec![node()]);
        checkers.noticed(
            now(),
            &node(),
            &Notice::Announced { service, address, candidates },
            Some(VIP.into()),
        );
    }
    checkers
}

fn answer(mac: EthernetAddress, sender: Ipv4Addr) -> Vec<u8> {
    let fields = Fields {
        operation: ArpOperation::Reply,
        sha: mac,
        spa: sender,
        tha: address_plan::mac(CLIENT),
        tpa: CLIENT,
    };
    frame::arp(mac, address_plan::mac(CLIENT), fields)
}

fn announcement(sender: Ipv4Addr) -> Vec<u8> {
    let mac = address_plan::mac(NODE);
    let tha = EthernetAddress([0; 6]);
    let fields = Fields { operation: ArpOperation::Request, sha: mac, spa: sender, tha, tpa: sender };
    frame::arp(mac, EthernetAddress::BROADCAST, fields)
}

fn question() -> Vec<u8> {
    let mac = address_plan::mac(CLIENT);
    let tha = EthernetAddress([0; 6]);
    let fields = Fields { operation: ArpOperation::Request, sha: mac, spa: CLIENT, tha, tpa: VIP };
    frame::arp(mac, EthernetAddress::BROADCAST, fields)
}

/// A neighbour advertisement for `target` with IPv6 source `from`.
fn advert(from: Ipv4Addr, target: Ipv4Addr, mac: EthernetAddress, is_solicited: bool) -> Vec<u8> {
    let answer = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
    let flags = if is_solicited { answer } else { NdiscNeighborFlags::OVERRIDE };
    let message = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: address_plan::ipv6(target),
        lladdr: Some(mac.into()),
    };
    frame::ndp(
        address_plan::mac(NODE),
        address_plan::mac(CLIENT),
        address_plan::ipv6(from),
        address_plan::ipv6(CLIENT),
        message,
    )
}

fn solicitation() -> Vec<u8> {
    let (mac, vip) = (address_plan::mac(CLIENT), address_plan::ipv6(VIP));
    let message = NdiscRepr::NeighborSolicit { target_addr: vip, lladdr: Some(mac.into()) };
    let group = frame::solicited_node(vip);
    frame::ndp(mac, frame::multicast_mac(group.into()), address_plan::ipv6(CLIENT), group, message)
}

fn rules(checkers: &Checkers) -> Vec<&'static str> {
    checkers.violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_right_answer_breaks_no_rule() {
    let mut checkers = checkers();
    checkers.heard(&node(), 0, &question());
    checkers.sent(now(), &node(), 0, &answer(address_plan::mac(NODE), VIP), true);
    checkers.sent(now(), &node(), 0, &announcement(VIP), true);
    checkers.sent(now(), &node(), 0, &announcement(NODE), false);
    assert_eq!(rules(&checkers), [""; 0]);
}

#[test]
fn s4_and_s5_an_address_that_nobody_assigned() {
    let mut checkers = checkers();
    checkers.sent(now(), &node(), 0, &announcement(address_plan::address(103)), true);
    assert_eq!(rules(&checkers), ["S4", "S5"]);
}

#[test]
fn s5_the_kernel_answers_for_an_address() {
    let mut checkers = checkers();
    checkers.sent(now(), &node(), 0, &announcement(VIP), false);
    assert_eq!(rules(&checkers), ["S5"]);
}

#[test]
fn s6_another_mac_or_no_announcement() {
    let mut one = checkers();
    one.heard(&node(), 0, &question());
    one.sent(now(), &node(), 0, &answer(address_plan::mac(CLIENT), VIP), true);
    assert_eq!(rules(&one), ["S6"]);
    let mut other = checkers();
    other.restarted(&node());
    let nginx = ServiceKey::new("default", "nginx");
    other.knows(&node(), BTreeSet::from([VIP.into()]), BTreeSet::from([(VIP.into(), nginx)]));
    other.heard(&node(), 0, &question());
    other.sent(now(), &node(), 0, &answer(address_plan::mac(NODE), VIP), true);
    assert_eq!(rules(&other), ["S6"]);
}

#[test]
fn s6_who_announces_is_first_by_hash() {
    let mut checkers = checkers();
    // For .101, wk02 comes before wk01.
    for candidates in [vec![node(), "wk02".into()], vec!["wk02".into(), node()]] {
        let service = ServiceKey::new("default", "nginx");
        let notice = Notice::Announced { service, address: VIP.into(), candidates };
        checkers.noticed(now(), &node(), &notice, Some(VIP.into()));
    }
    assert_eq!(rules(&checkers), ["S6", "S6"]);
}

#[test]
fn one_of_two_sharers_leaves_and_the_address_is_still_announced() {
    let mut checkers = checkers();
    let [stays, leaves] = ["nginx", "other"].map(|name| ServiceKey::new("default", name));
    let (address, candidates) = (VIP.into(), vec![node()]);
    let announced = Notice::Announced { service: leaves.clone(), address, candidates };
    checkers.noticed(now(), &node(), &announced, Some(address));
    for (service, owners) in [(leaves, vec![node()]), (stays, vec![])] {
        let reason = speaker_core::WithdrawReason::NotLoadBalancer;
        let withdrawn = Notice::Withdrawn { service, address, reason, owner: None };
        checkers.noticed(now(), &node(), &withdrawn, None);
        assert_eq!(checkers.owners(address).cloned().collect::<Vec<_>>(), owners);
    }
    assert_eq!(rules(&checkers), [""; 0]);
}

#[test]
fn s12_an_answer_without_an_endpoint() {
    let mut checkers = checkers();
    checkers.knows(&node(), BTreeSet::from([VIP.into()]), BTreeSet::new());
    checkers.heard(&node(), 0, &question());
    checkers.sent(now(), &node(), 0, &answer(address_plan::mac(NODE), VIP), true);
    assert_eq!(rules(&checkers), ["S12"]);
}

#[test]
fn s12_an_announcement_for_a_sharer_without_an_endpoint() {
    let mut checkers = checkers();
    let (address, candidates) = (VIP.into(), vec![node()]);
    for (name, found) in [("other", vec![]), ("third", vec!["S12"])] {
        let service = ServiceKey::new("default", name);
        let announced = Notice::Announced { service, address, candidates: candidates.clone() };
        checkers.noticed(now(), &node(), &announced, Some(address));
        assert_eq!(rules(&checkers), found, "{name}");
    }
}

#[test]
fn s13_more_answers_than_questions() {
    let mut checkers = checkers();
    checkers.heard(&node(), 0, &question());
    checkers.sent(now(), &node(), 0, &answer(address_plan::mac(NODE), VIP), true);
    checkers.sent(now(), &node(), 0, &answer(address_plan::mac(NODE), VIP), true);
    assert_eq!(rules(&checkers), ["S13"]);
}

#[test]
fn s13_announcements_beyond_their_pace() {
    let mut checkers = checkers();
    for _ in 0..201 {
        checkers.sent(now(), &node(), 0, &announcement(VIP), true);
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
fn neighbour_discovery_is_held_to_the_same_rules() {
    let (mac, other) = (address_plan::mac(NODE), address_plan::mac(CLIENT));
    let foreign = address_plan::address(103);
    for (what, frame, by_speaker, expected) in [
        ("a right answer", advert(VIP, VIP, mac, true), true, vec![]),
        ("an announcement", advert(VIP, VIP, mac, false), true, vec![]),
        ("the kernel answers for its own", advert(NODE, NODE, mac, true), false, vec![]),
        ("the kernel answers for an address", advert(NODE, VIP, mac, true), false, vec!["S5"]),
        ("an address that nobody assigned", advert(foreign, foreign, mac, false), true, vec!["S4", "S5"]),
        ("an answer for it", advert(VIP, foreign, mac, true), true, vec!["S4", "S6", "S5"]),
        ("sent from a foreign address", advert(foreign, VIP, mac, true), true, vec!["S5"]),
        ("another MAC", advert(VIP, VIP, other, true), true, vec!["S6"]),
    ] {
        let mut checkers = checkers();
        checkers.heard(&node(), 0, &solicitation());
        checkers.sent(now(), &node(), 0, &frame, by_speaker);
        assert_eq!(rules(&checkers), expected, "{what}");
    }
    let mut unasked = checkers();
    unasked.sent(now(), &node(), 0, &advert(VIP, VIP, mac, true), true);
    assert_eq!(rules(&unasked), ["S13"]);
    let mut broken = checkers();
    let mut frame = advert(VIP, VIP, mac, true);
    frame[70] ^= 1;
    broken.sent(now(), &node(), 0, &frame, true);
    assert_eq!(rules(&broken), ["S5"], "a wrong checksum");
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
fn s1_two_that_shared_may_be_edited_one_after_the_other() {
    let (a, b) = (service("a", Some("k"), 80), service("b", Some("k"), 81));
    let edited = [service("a", Some("other"), 80), service("b", Some("other"), 81)];
    for both in [true, false] {
        let mut checkers = checkers();
        checkers.store_changed(now(), [&a, &b].into_iter());
        checkers.store_changed(now(), [&edited[0], &b].into_iter());
        checkers.store_changed(
            now() + S1_GRACE / 2,
            [&edited[0], if both { &edited[1] } else { &b }].into_iter(),
        );
        assert_eq!(rules(&checkers), [""; 0]);
        checkers.sent(now() + S1_GRACE, &node(), 0, &[], true);
        assert_eq!(rules(&checkers).contains(&"S1"), !both);
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
