//! Each obstacle, a row each, with the words that say what to do.

use super::*;
use crate::interface::MacAddr;

fn interface(id: u32, name: &str) -> Interface {
    Interface {
        id: InterfaceId(id),
        name: name.to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
        addresses: Vec::new(),
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    }
}

fn named(names: &[&str]) -> InterfaceSet {
    InterfaceSet::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Of `eth0`, beside the bridge br0 and the VRF blue, which does no ARP.
fn told(eth0: Interface, set: &InterfaceSet, family: IpFamily) -> String {
    let (br0, blue) = (interface(7, "br0"), Interface { no_arp: true, ..interface(8, "blue") });
    let interfaces = [eth0, br0, blue].map(|one| (one.id, one));
    text(&interfaces.into(), set, family)
}

#[test]
fn d45_d46_each_obstacle_says_what_to_do() {
    let good = || interface(2, "eth0");
    let port = |master| Interface { master: Some(InterfaceId(master)), ..good() };
    let (four, six) = (&[IpFamily::V4][..], &[IpFamily::V6][..]);
    let both = &[IpFamily::V4, IpFamily::V6][..];
    for (eth0, families, expected) in [
        (port(7), both, "eth0 is a port of br0: name br0 in the L2Advertisement"),
        (port(8), both, "eth0 is a port of blue, on which nothing can be announced either"),
        (port(9), both, "eth0 is a port of an interface that announcedInterfacesToExclude leaves out"),
        (
            Interface { mac: None, ..good() },
            both,
            "eth0 is not Ethernet: name an interface that is in the L2Advertisement",
        ),
        (Interface { no_arp: true, ..good() }, both, "eth0 does no ARP: ip link set eth0 arp on"),
        (
            Interface { can_broadcast: false, ..good() },
            four,
            "eth0 is point to point: name an interface that can broadcast in the L2Advertisement",
        ),
        (
            Interface { ipv6_is_off: true, ..good() },
            six,
            "IPv6 is off on eth0: sysctl net.ipv6.conf.eth0.disable_ipv6=0",
        ),
        (Interface { is_up: false, has_carrier: false, ..good() }, both, "eth0 is down: ip link set eth0 up"),
        (
            Interface { has_carrier: false, ..good() },
            both,
            "eth0 has no carrier: look at its cable and the port of its switch",
        ),
    ] {
        for family in [IpFamily::V4, IpFamily::V6] {
            assert_eq!(eth0.is_usable(family), !families.contains(&family), "{eth0:?}");
            let is_plugged = Interface { has_carrier: true, ..eth0.clone() };
            assert_eq!(eth0.can_announce(family), is_plugged.is_usable(family), "{eth0:?}");
        }
        for family in families {
            assert_eq!(told(eth0.clone(), &named(&["eth0"]), *family), expected);
        }
    }
    assert!(good().is_usable(IpFamily::V4) && good().is_usable(IpFamily::V6));
}

#[test]
fn d44_every_name_is_told_of_and_of_all_interfaces_those_that_could_be_made_to_work() {
    let down = || Interface { is_up: false, ..interface(2, "eth0") };
    let two = told(down(), &named(&["eth7", "eth0"]), IpFamily::V4);
    assert!(
        two.starts_with("eth0 is down: ip link set eth0 up; the node has no interface eth7, or"),
        "{two}"
    );
    let all = |interfaces: Vec<Interface>| {
        let interfaces = interfaces.into_iter().map(|one| (one.id, one)).collect();
        text(&interfaces, &InterfaceSet::All, IpFamily::V4)
    };
    let loopback = Interface { mac: None, ..interface(1, "lo") };
    assert_eq!(all(vec![loopback.clone(), down()]), "eth0 is down: ip link set eth0 up");
    let none = all(vec![loopback]);
    assert!(none.starts_with("no interface of the node is Ethernet"), "{none}");
    let many = (1..9).map(|id| Interface { is_up: false, ..interface(id, &format!("eth{id}")) });
    let many = all(many.collect());
    assert!(many.ends_with("eth5 is down: ip link set eth5 up; and 3 more"), "{many}");
}
