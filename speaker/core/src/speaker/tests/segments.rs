//! Several speakers, of which not all can reach the segment (W13).

use super::together::Lan;
use super::*;
use crate::ownership::election::{self, Candidate};

const ETH1: InterfaceId = InterfaceId(3);
/// Longer than a loss of carrier takes to count, and its news to arrive.
const LOST: Duration = Duration::from_millis(550);

/// Addresses of a segment that only `eth1` is on.
fn address_on_eth1(last: u8) -> IpAddr {
    [10, 9, 0, last].into()
}

/// `eth0` for gossip, and `eth1`, with or without a carrier.
fn both(node: usize, has_carrier: bool) -> Vec<Interface> {
    let address = address_on_eth1(u8::try_from(node + 200).expect("few nodes"));
    let name = "eth1".to_owned();
    let mac = Some(MacAddr([2, 0, 0, 0, 2, mac(node).0[5]]));
    let eth1 =
        Interface { id: ETH1, name, mac, addresses: vec![(address, 24)], has_carrier, ..interface(node) };
    vec![interface(node), eth1]
}

fn services_on_eth1(count: u8) -> Vec<Service> {
    (1..=count).map(|last| service(&format!("s{last}"), &[address_on_eth1(last)])).collect()
}

/// Speakers that have met; `has_eth1` says which have a second interface.
fn lan(services: &[Service], named: &[&str], has_eth1: &[bool]) -> Lan {
    let mut lan = Lan::new(has_eth1.len(), services);
    for (node, has_eth1) in has_eth1.iter().enumerate() {
        let now = lan.now;
        configure(lan.speakers[node].as_mut().expect("it runs"), now, config(named));
        if *has_eth1 {
            lan.handle(node, Input::Interfaces(both(node, true)));
        }
    }
    lan.run_until(at(5_000));
    lan
}

fn owners(lan: &Lan, count: u8) -> Vec<Vec<usize>> {
    (1..=count).map(|last| lan.owners(address_on_eth1(last))).collect()
}

#[test]
fn w13_a_node_without_the_link_owns_nothing_that_others_can() {
    for named in [&["eth1"][..], &[]] {
        let lan = lan(&services_on_eth1(40), named, &[true, false, true]);
        let owners = owners(&lan, 40);
        assert!(owners.iter().all(|owners| *owners == [0] || *owners == [2]), "{named:?}: {owners:?}");
        assert!(owners.contains(&vec![0]) && owners.contains(&vec![2]));
    }
}

#[test]
fn w13_addresses_of_no_segment_go_by_the_hash_alone() {
    let services: Vec<Service> =
        (1..=40).map(|last| service(&format!("s{last}"), &[IpAddr::from([10, 77, 0, last])])).collect();
    let lan = lan(&services, &[], &[true, false, true]);
    let all: Vec<Candidate> = (0..3).map(|node| Candidate { node: name(node), score: 0 }).collect();
    for last in 1..=40 {
        let address = IpAddr::from([10, 77, 0, last]);
        let owners: Vec<NodeName> = lan.owners(address).into_iter().map(name).collect();
        assert_eq!(owners, election::order(&all, address)[..1]);
    }
}

#[test]
fn w13_who_loses_the_link_hands_over_and_has_it_back() {
    for named in [&["eth1"][..], &[]] {
        let mut lan = lan(&services_on_eth1(40), named, &[true, true, true]);
        let before = owners(&lan, 40);
        lan.handle(1, Input::Interfaces(both(1, false)));
        lan.run_for(ms(400));
        assert_eq!(owners(&lan, 40), before, "a link may blink");
        lan.run_for(LOST - ms(400));
        for (before, after) in before.iter().zip(owners(&lan, 40)) {
            assert_eq!(after.len(), 1, "one answers at any time");
            assert!(after != [1] && (after == *before || *before == [1]), "{before:?}, then {after:?}");
        }
        lan.handle(1, Input::Interfaces(both(1, true)));
        lan.run_for(ms(10));
        assert_eq!(owners(&lan, 40), before, "{named:?}");
        lan.run_for(ms(10_000));
        assert_eq!(owners(&lan, 40), before);
    }
}

#[test]
fn w13_w18_where_no_link_is_left_the_owner_says_so_and_has_it_back() {
    let mut lan = lan(&services_on_eth1(20), &[], &[true, true]);
    let before = owners(&lan, 20);
    let dark = |node| both(node, false).into_iter().map(|one| Interface { has_carrier: false, ..one });
    for node in [0, 1] {
        lan.handle(node, Input::Interfaces(dark(node).collect()));
    }
    lan.run_for(ms(400));
    assert_eq!(owners(&lan, 20), before, "a link may blink");
    lan.run_for(ms(600));
    assert_eq!(owners(&lan, 20), vec![Vec::<usize>::new(); 20]);
    for node in [1, 0] {
        lan.handle(node, Input::Interfaces(both(node, true)));
    }
    lan.run_for(ms(100));
    assert_eq!(owners(&lan, 20), before);
}

#[test]
fn w13_w15_who_starts_knows_what_others_can_reach_before_it_claims() {
    let mut lan = lan(&services_on_eth1(40), &[], &[true, true, false]);
    let before = owners(&lan, 40);
    let claimed = lan.claims(2);
    lan.speakers[2] = None;
    lan.run_for(ms(200));
    lan.boot(2, 2, &services_on_eth1(40));
    lan.run_for(ms(10_000));
    assert_eq!(owners(&lan, 40), before);
    assert_eq!(lan.claims(2), claimed, "it claimed nothing");
}
