//! Services: reached by their addresses, from the right pool, on their ports.

use std::net::IpAddr;

use ferrolb_api::annotations::IP_ALLOCATED_FROM_POOL;
use netsim::lab::address_plan::Lan;
use netsim::lab::api::objects::{Kind, Object};
use netsim::lab::run::world::Proto;

use super::lab::{Lab, node_names};
use super::objects::{Families, Service, advertisement, pool};

#[test]
fn h1_a_service_is_reachable_through_its_address() {
    for families in Families::ALL {
        let mut lab = Lab::standard();
        let addresses = lab.serve(&Service::new("nginx").families(families));
        assert_eq!(addresses.len(), families.count(), "{families:?}");
        let owners: Vec<String> = addresses.iter().map(|address| lab.is_served(*address)).collect();
        assert!(owners.iter().all(|owner| *owner == owners[0]), "one node has all of a Service: {owners:?}");
    }
}

#[test]
fn h3_local_traffic_lands_on_a_pod_of_the_announcing_node() {
    // Where the five replicas are.
    for replicas in [
        ["wk01", "wk01", "wk01", "wk01", "wk01"],
        ["wk02", "wk02", "wk03", "wk03", "wk03"],
        ["wk01", "wk02", "wk03", "wk01", "wk02"],
        ["wk03", "wk03", "wk03", "wk03", "wk03"],
    ] {
        let mut lab = Lab::standard();
        let service = Service::new("local").spec("externalTrafficPolicy: Local");
        let address = lab.serve_from(&service, "local", &replicas)[0];
        let owner = lab.is_served(address);
        assert!(replicas.contains(&&*owner), "{owner} has a replica: {replicas:?}");
    }
}

#[test]
fn h4_one_service_with_tcp_and_udp_ports() {
    for families in Families::SINGLE {
        let mut lab = Lab::standard();
        let service = Service::new("both").families(families).ports(&["TCP/8080", "UDP/5353"]);
        let address = lab.serve(&service)[0];
        let owner = lab.owner(address);
        for (port, how) in [(8080, Proto::Tcp), (5353, Proto::Udp)] {
            assert_eq!(lab.ask(Lan::First, address, port, how).as_ref(), Some(&owner), "{how:?} {port}");
        }
        for (port, how) in [(8081, Proto::Tcp), (5354, Proto::Udp)] {
            assert_eq!(lab.ask(Lan::First, address, port, how), None, "{how:?} {port} is no port of it");
        }
    }
}

#[test]
fn h7_h8_addresses_of_a_range_and_of_a_list() {
    for (families, ranges, inside) in [
        (Families::Ipv4, &["172.16.16.105-172.16.16.107"][..], 105..=107),
        (Families::Ipv4, &["172.16.16.112/31", "172.16.16.110/32"], 110..=113),
        (Families::Ipv6, &["fd00:16::105-fd00:16::107"], 0x105..=0x107),
        (Families::Ipv6, &["fd00:16::112/127", "fd00:16::110/128"], 0x110..=0x113),
    ] {
        let mut lab = Lab::new(3);
        lab.apply(&[pool("one", ranges, ""), advertisement("all", "")]);
        for name in ["a", "b", "c"] {
            let address = lab.serve(&Service::new(name).families(families))[0];
            assert!(inside.contains(&last_group(address)), "{address} is in {ranges:?}");
            lab.is_served(address);
        }
        assert!(lab.serve(&Service::new("d").families(families)).is_empty(), "{ranges:?} holds three");
    }
}

#[test]
fn h9_two_services_that_share_an_address_have_one_node() {
    for families in Families::ALL {
        let mut lab = Lab::standard();
        let sharing =
            |name| Service::new(name).families(families).annotations("metallb.io/allow-shared-ip: key");
        let first = lab.serve(&sharing("first").ports(&["TCP/8080"]));
        let second = lab.serve(&sharing("second").ports(&["TCP/8081"]));
        assert_eq!(first, second, "{families:?}");
        let owner = lab.owner(first[0]);
        for service in ["first", "second"] {
            assert_eq!(lab.events(service, "nodeAssigned"), [&*owner], "{service}, {families:?}");
        }
        for address in first {
            for port in [8080, 8081] {
                assert_eq!(
                    lab.ask(Lan::First, address, port, Proto::Tcp).as_ref(),
                    Some(&owner),
                    "{address}"
                );
            }
        }
    }
}

#[test]
fn h10_counters_follow_a_service_and_its_owner() {
    for families in Families::SINGLE {
        let mut lab = Lab::standard();
        assert_eq!(in_use(&lab, families), 0, "F3, F4 with no Service");
        assert_eq!(announcing(&lab), [""; 0]);
        let address = lab.serve(&Service::new("nginx").families(families))[0];
        assert_eq!(in_use(&lab, families), 1, "F3, F4");
        let owner = lab.is_served(address);
        assert_eq!(announcing(&lab), [&*owner], "F7 is the owner's alone");
        let speaker = lab.world().node(&owner).and_then(|node| node.speaker()).expect("the owner runs one");
        let counted = speaker.counters().addresses[&address];
        assert_eq!(
            (counted.requests_received, counted.responses_sent),
            (2, 2),
            "F8, F9: arping and the kernel"
        );
        assert!(counted.gratuitous_sent > 0, "F10");
        lab.delete(Kind::Service, "nginx");
        assert_eq!((in_use(&lab, families), announcing(&lab)), (0, Vec::new()), "F7 is gone");
        lab.is_silent(address);
    }
}

#[test]
fn h11_the_annotation_selects_the_pool() {
    for families in Families::SINGLE {
        for auto_assign in [true, false] {
            let what = format!("{families:?}, autoAssign {auto_assign}");
            let mut lab = Lab::standard();
            let early = lab.serve(&Service::new("early").families(families));
            let second = &["172.16.16.130-172.16.16.140", "fd00:16::130-fd00:16::140"];
            lab.apply(&[pool("second-pool", second, &format!("autoAssign: {auto_assign}"))]);
            let annotation = "metallb.io/address-pool: second-pool";
            let asking = Service::new("asking").families(families).annotations(annotation);
            let address = lab.serve(&asking)[0];
            let expected = if families == Families::Ipv4 { 130 } else { 0x130 };
            assert_eq!(last_group(address), expected, "{what}");
            assert_eq!(pool_of(&lab, "asking").as_deref(), Some("second-pool"), "C72, {what}");
            assert_eq!(lab.addresses("early"), early, "{what}");
            assert_eq!(pool_of(&lab, "early").as_deref(), Some("first-pool"), "{what}");
            lab.is_served(address);
            lab.is_served(early[0]);
        }
    }
}

#[test]
fn h12_a_foreign_class_gets_no_address() {
    let mut lab = Lab::standard();
    let foreign = Service::new("foreign").spec("loadBalancerClass: example.com/other");
    assert!(lab.serve(&foreign).is_empty());
    assert_eq!(pool_of(&lab, "foreign"), None);
    let address = lab.serve(&Service::new("ours"))[0];
    lab.is_served(address);
    assert_eq!(lab.events("foreign", "nodeAssigned"), [""; 0]);
    assert_eq!(announcing(&lab).len(), 1);
}

/// F7: the nodes whose speakers say that they announce something.
fn announcing(lab: &Lab) -> Vec<String> {
    let speaks = |name: &String| {
        let speaker = lab.world().node(name).and_then(|node| node.speaker());
        speaker.is_some_and(|speaker| speaker.announced().next().is_some())
    };
    node_names(3).into_iter().filter(speaks).collect()
}

/// F3, F4 as the pool's status shows them; the metrics are made of the same effect.
fn in_use(lab: &Lab, families: Families) -> i64 {
    let Some(Object::Pool(pool)) = lab.object(Kind::IPAddressPool, "first-pool") else { return -1 };
    let status = pool.status.as_ref().expect("the controller has looked at it");
    match families {
        Families::Ipv4 => {
            assert_eq!(status.assigned_ipv4 + status.available_ipv4, 20, "F1");
            status.assigned_ipv4
        }
        _ => {
            assert_eq!(status.assigned_ipv6 + status.available_ipv6, 0x20, "F2");
            status.assigned_ipv6
        }
    }
}

/// C72.
fn pool_of(lab: &Lab, service: &str) -> Option<String> {
    let annotations = lab.object(Kind::Service, service)?.metadata().annotations.as_ref()?;
    annotations.get(IP_ALLOCATED_FROM_POOL).cloned()
}

/// The last byte of an IPv4 address, the last group of an IPv6 address.
fn last_group(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => address.octets()[3].into(),
        IpAddr::V6(address) => address.segments()[7],
    }
}
