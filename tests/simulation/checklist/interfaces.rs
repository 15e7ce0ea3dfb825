//! On which interfaces an address is announced: nodes with two NICs, each on a LAN of its own.

use std::net::IpAddr;

use netsim::lab::address_plan::Lan;
use netsim::lab::run::world::Proto;

use super::lab::{ECHO, Lab, ip};
use super::objects::{Families, Service, advertisement, pool};

/// Addresses of the first LAN, asked for on both; and some of the second, reached through it.
const FIRST: &[&str] = &["172.16.16.101-172.16.16.120", "fd00:16::101-fd00:16::120"];
const SECOND: &[&str] = &["172.16.17.101-172.16.17.120", "fd00:17::101-fd00:17::120"];

/// An advertisement on these interfaces.
fn on(name: &str, interfaces: &str) -> String {
    advertisement(name, &format!("interfaces: [{interfaces}]"))
}

/// Two nodes, one pool, one Service; gives its address.
fn lab(pool_of: &[&str], families: Families, advertisements: &[String]) -> (Lab, IpAddr) {
    let mut lab = Lab::with_two_lans(2);
    lab.apply(&[pool("one", pool_of, "")]);
    lab.apply(advertisements);
    let address = lab.serve(&Service::new("nginx").families(families))[0];
    (lab, address)
}

/// Which of a node's interfaces answer: `eth0`, `eth1`. One node, and the right MAC on each LAN.
fn answering(lab: &mut Lab, address: IpAddr) -> (String, Vec<&'static str>) {
    let mut nodes = Vec::new();
    let mut interfaces = Vec::new();
    for lan in Lan::ALL {
        for nic in lab.who_has(lan, address) {
            let (node, interface) = nic.split_once('/').unwrap_or((&nic, "eth0"));
            assert_eq!(interface, lan.interface(), "the MAC answered is that of the NIC on the LAN");
            nodes.push(node.to_owned());
            interfaces.push(lan.interface());
        }
    }
    nodes.dedup();
    assert!(nodes.len() <= 1, "one node announces {address}: {nodes:?}");
    (nodes.pop().unwrap_or_default(), interfaces)
}

#[test]
fn h17_the_mac_answered_is_the_selected_interfaces() {
    for families in Families::SINGLE {
        for (pool_of, lan, interface) in
            [(FIRST, Lan::First, "eth0"), (SECOND, Lan::Second, "eth1"), (FIRST, Lan::First, "eth0, eth7")]
        {
            let (mut lab, address) = lab(pool_of, families, &[on("one", interface)]);
            let (owner, interfaces) = answering(&mut lab, address);
            assert_eq!(interfaces, [lan.interface()], "{address}");
            // The kernel of a client finds it there, too.
            assert_eq!(lab.ask(lan, address, ECHO, Proto::Udp), Some(owner), "{address}");
        }
    }
}

#[test]
fn h18_another_list_switches_where_it_is_answered() {
    for families in Families::SINGLE {
        let (mut lab, address) = lab(FIRST, families, &[on("one", "eth0")]);
        let (owner, _) = answering(&mut lab, address);
        for (list, expected) in [
            ("eth1", &["eth1"][..]),
            ("eth0, eth1", &["eth0", "eth1"]),
            ("eth0", &["eth0"]),
            ("", &["eth0", "eth1"]),
            ("eth1", &["eth1"]),
        ] {
            lab.apply(&[on("one", list)]);
            let (now, interfaces) = answering(&mut lab, address);
            assert_eq!(interfaces, expected, "{list:?}");
            assert_eq!(now, owner, "{list:?}");
        }
    }
}

#[test]
fn h19_an_interface_that_nobody_has() {
    for families in Families::SINGLE {
        let (mut lab, address) = lab(FIRST, families, &[on("one", "eth7")]);
        lab.is_silent(address);
        let failed = lab.events("nginx", "announceFailed");
        assert_eq!(failed.len(), 1, "the node that would own it says so, once: {failed:?}");
        lab.apply(&[on("one", "eth0")]);
        assert_eq!(answering(&mut lab, address), (failed[0].clone(), vec!["eth0"]));
    }
}

#[test]
fn h20_two_advertisements_of_one_pool_are_both_answered() {
    for families in Families::SINGLE {
        let (mut lab, address) = lab(FIRST, families, &[on("one", "eth0"), on("other", "eth1")]);
        let (owner, interfaces) = answering(&mut lab, address);
        assert_eq!(interfaces, ["eth0", "eth1"]);
        assert_eq!(lab.ask(Lan::First, address, ECHO, Proto::Udp), Some(owner));
    }
}

#[test]
fn h21_interface_and_node_selector() {
    for (node, interface) in [("wk01", "eth0"), ("wk01", "eth1"), ("wk02", "eth0"), ("wk02", "eth1")] {
        let spec = format!(
            "interfaces: [{interface}], nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: {node}}}}}]"
        );
        let (mut lab, address) = lab(FIRST, Families::Ipv4, &[advertisement("chosen", &spec)]);
        assert_eq!(address, ip("172.16.16.101"));
        assert_eq!(answering(&mut lab, address), (node.to_owned(), vec![interface]));
    }
}
