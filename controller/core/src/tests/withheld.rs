//! Addresses that somebody else has: given to nobody, kept by whoever has them.

use std::collections::BTreeSet;

use ferrolb_api::config::NodeNetwork;
use ferrolb_api::crd::IPAddressPool;
use ferrolb_api::{Node, Service};

use super::world::{World, carrying, dual, ip, lb, lb_with, lb6, pool, pool_with, reservation};
use crate::Settings;

fn node(name: &str, addresses: &[&str]) -> Node {
    let addresses = addresses.iter().map(|address| ip(address)).collect();
    Node { name: name.into(), labels: Default::default(), network_unavailable: false, addresses }
}

/// What a speaker on `node` sees: `addresses` on eth0, and its gateways.
fn network(node: &str, addresses: &[&str], gateways: &[&str]) -> NodeNetwork {
    let net = |text: &&str| ("eth0".to_owned(), text.parse().expect("a test writes valid prefixes"));
    NodeNetwork {
        node: node.into(),
        addresses: addresses.iter().map(net).collect(),
        gateways: gateways.iter().map(|address| ip(address)).collect(),
    }
}

/// A controller that knows a node of 10.0.0.2 and fd00::2, and the API server at 10.0.0.5.
fn world(pools: Vec<IPAddressPool>) -> World {
    let mut world = World::unstarted(Settings::default());
    world.resources.nodes = Some(vec![node("wk01", &["10.0.0.2", "fd00::2"])]);
    world.resources.api_server = BTreeSet::from([ip("10.0.0.5")]);
    world.resources.node_networks =
        vec![network("wk01", &["10.0.0.2/24", "10.0.0.9/24", "fd00::2/64"], &["10.0.0.1", "fd00::1"])];
    world.tell_pools(pools);
    world.tell_all();
    world
}

fn asking(name: &str, address: &str) -> Service {
    lb_with(name, |service| service.annotations.load_balancer_ips = Some(address.to_owned()))
}

#[test]
fn nobody_is_given_what_a_node_the_api_server_or_a_router_has() {
    let mut world = world(vec![pool("a", &["10.0.0.0/28", "10.0.0.255/32", "fd00::/126"])]);
    let usage = world.usage["a"].clone();
    assert_eq!((usage.total_ipv4, usage.total_ipv6), (17 - 6, 4 - 3));
    for number in 0..12 {
        world.apply(lb(&format!("s{number:02}")));
    }
    let given: Vec<String> = world.store.keys().map(|key| world.vips(&key.to_string())).collect();
    let expected = ["3", "4", "6", "7", "8", "10", "11", "12", "13", "14", "15", ""];
    let expected =
        expected.map(|last| if last.is_empty() { String::new() } else { format!("10.0.0.{last}") });
    assert_eq!(given, expected);
    world.apply(lb6("six"));
    world.apply(lb6("none"));
    assert_eq!((world.vips("six").as_str(), world.vips("none").as_str()), ("fd00::3", ""));
    let usage = &world.usage["a"];
    assert_eq!((usage.available_ipv4(), usage.available_ipv6()), (0, 0));
    let exhausted = usage.exhausted.as_deref().expect("nothing is left");
    assert!(exhausted.starts_with("no free IPv4 address: 11 of 11 in use"), "{exhausted}");
}

#[test]
fn the_condition_counts_and_names_what_is_withheld() {
    let mut world = world(vec![pool("a", &["10.0.0.0-10.0.0.4", "fd00::/64"]), pool("b", &["10.0.1.0/24"])]);
    let note = |world: &World, name: &str| {
        let verdicts = world.verdicts.iter().rev();
        verdicts.clone().find(|verdict| verdict.name == name).expect("it was judged").note.clone()
    };
    assert_eq!(
        note(&world, "a"),
        "6 addresses are withheld: 10.0.0.0 is the network address of the nodes' subnet 10.0.0.0/24, \
         10.0.0.1 is the default gateway of Node wk01, 10.0.0.2 is Node wk01's, \
         fd00:: is the router anycast address of the nodes' subnet fd00::/64, \
         fd00::1 is the default gateway of Node wk01, fd00::2 is Node wk01's"
    );
    assert_eq!(note(&world, "b"), "");
    world.resources.nodes = Some(vec![node("wk01", &[]), node("wk02", &["10.0.1.7"])]);
    world.tell_resources();
    assert_eq!(note(&world, "b"), "1 address is withheld: 10.0.1.7 is Node wk02's");
}

#[test]
fn whoever_asks_for_one_is_told_whose_it_is() {
    for (asked, given, text) in [
        ("10.0.0.2", "", "10.0.0.2 of pool \"a\" is withheld: it is Node wk01's"),
        ("10.0.0.5", "", "10.0.0.5 of pool \"a\" is withheld: it is the API server's"),
        ("10.0.0.9", "", "10.0.0.9 of pool \"a\" is withheld: it is on eth0 of Node wk01"),
        ("10.0.0.1", "", "10.0.0.1 of pool \"a\" is withheld: it is the default gateway of Node wk01"),
        ("10.0.0.0", "10.0.0.0", "assigned 10.0.0.0"),
        ("10.0.0.255", "10.0.0.255", "assigned 10.0.0.255"),
    ] {
        let by_field = lb_with("field", |service| service.load_balancer_ip = Some(asked.to_owned()));
        for service in [asking("annotation", asked), by_field] {
            let name = service.key.name().to_owned();
            let mut world = world(vec![pool("a", &["10.0.0.0/24"])]);
            world.apply(service);
            assert_eq!(world.vips(&name), given, "{asked} by {name}");
            let texts = world.texts(&name);
            assert!(texts.iter().any(|found| found.contains(text)), "{asked}: {texts:?}");
            assert!(!texts.iter().any(|found| found.contains("addressOccupied")), "{asked}: {texts:?}");
        }
    }
}

#[test]
fn what_is_held_is_kept_with_a_warning_however_it_came_to_be_somebody_elses() {
    let kept = "addressOccupied: 10.0.0.2 is Node wk02's; the Service keeps it, for it has it already, but \
                nobody would be given it. Give the Service another address, or set allowOccupiedAddresses of \
                the pool";
    // A node that comes later.
    let mut world = World::new(vec![pool("a", &["10.0.0.2-10.0.0.3"])]);
    world.apply(lb("s"));
    world.apply(lb("t"));
    world.forget_what_was_said();
    world.resources.nodes = Some(vec![node("wk02", &["10.0.0.2"])]);
    world.tell_resources();
    assert_eq!((world.vips("s").as_str(), world.texts("s")), ("10.0.0.2", vec![kept.to_owned()]));
    assert_eq!(world.texts("t"), Vec::<String>::new());
    let usage = &world.usage["a"];
    assert_eq!((usage.total_ipv4, usage.assigned_ipv4, usage.available_ipv4()), (2, 2, 0));
    assert!(usage.exhausted.is_some(), "of one that can be given out one is");
    // Said once, and again after a restart, which takes nothing away.
    world.tell_resources();
    assert_eq!(world.texts("s"), Vec::<String>::new());
    world.restart(Settings::default());
    assert_eq!((world.vips("s").as_str(), world.texts("s")), ("10.0.0.2", vec![kept.to_owned()]));
    assert_eq!(world.writes, 0);
    // Given back, it is gone for good.
    world.delete("s");
    world.apply(lb("u"));
    assert_eq!(world.vips("u"), "");
    let texts = world.texts("u");
    assert!(texts[0].contains("all 1 IPv4 addresses are in use"), "{texts:?}");
    // A pool that is edited to have one, with a Service that brought its address along.
    let mut world = World::new(vec![pool("a", &["10.0.0.8/32"])]);
    world.resources.nodes = Some(vec![node("wk02", &["10.0.0.2"])]);
    world.put(carrying(lb("s"), &["10.0.0.2"], "a"));
    world.tell_pools(vec![pool("a", &["10.0.0.0/29"])]);
    world.tell_all();
    assert_eq!((world.vips("s").as_str(), world.texts("s")), ("10.0.0.2", vec![kept.to_owned()]));
}

#[test]
fn a_network_address_that_is_held_is_warned_of_unless_it_was_asked_for() {
    for (request, warned) in [(None, true), (Some("10.0.0.0"), false)] {
        let mut world = world(vec![pool("a", &["10.0.0.0/24"])]);
        let mut service = carrying(lb("s"), &["10.0.0.0"], "a");
        service.annotations.load_balancer_ips = request.map(str::to_owned);
        world.apply(service);
        assert_eq!(world.vips("s"), "10.0.0.0");
        assert_eq!(world.reasons("s").contains(&"addressOccupied"), warned, "{request:?}");
    }
}

#[test]
fn a_pool_may_allow_the_address_of_a_node() {
    let mut world = world(vec![pool("a", &["10.0.0.2/32"])]);
    world.apply(lb("s"));
    let texts = world.texts("s");
    assert!(texts[0].contains("all its IPv4 addresses are withheld"), "{texts:?}");
    assert_eq!(world.usage["a"].total_ipv4, 0);
    world.tell_pools(vec![pool_with("a", &["10.0.0.2/32"], |spec| spec.allow_occupied_addresses = true)]);
    assert_eq!(world.vips("s"), "10.0.0.2");
    assert!(!world.reasons("s").contains(&"addressOccupied"));
    assert_eq!(world.usage["a"].total_ipv4, 1);
}

#[test]
fn a_reservation_gives_what_may_be_had_by_name_and_nothing_else() {
    let reserving = |address: &str| {
        pool_with("a", &["10.0.0.0/30"], |spec| {
            spec.reservations = vec![reservation(&[address], |entry| entry.name = Some("s".to_owned()))];
        })
    };
    for (address, given) in [("10.0.0.0", "10.0.0.0"), ("10.0.0.2", "10.0.0.3")] {
        let mut world = world(vec![reserving(address)]);
        world.apply(lb("s"));
        assert_eq!(world.vips("s"), given, "{address} is reserved");
    }
}

#[test]
fn neither_address_of_a_pair_is_somebody_elses() {
    use ferrolb_api::service::FamilyPolicy::{PreferDualStack, RequireDualStack};
    let mut world = world(vec![pool("a", &["10.0.0.0/24", "fd00::/64"])]);
    world.apply(dual("pair", RequireDualStack));
    assert_eq!(world.vips("pair"), "10.0.0.3,fd00::3");
    // The second address that is added to one.
    world.apply(carrying(dual("half", PreferDualStack), &["10.0.0.7"], "a"));
    assert_eq!(world.vips("half"), "10.0.0.7,fd00::4");
    world.apply(lb_with("both", |service| {
        service.cluster_ips = dual("both", RequireDualStack).cluster_ips;
        service.annotations.load_balancer_ips = Some("10.0.0.8,fd00::2".to_owned());
    }));
    assert_eq!(world.vips("both"), "");
}
