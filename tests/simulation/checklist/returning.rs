//! Addresses that come back to whom they belonged, and Services that share and are edited together.

use std::time::Duration;

use ferrolb_api::annotations::LOST_ADDRESSES;
use netsim::lab::api::objects::Kind;
use netsim::lab::run::action::Action;

use super::lab::{BOTH, Lab};
use super::objects::{Families, Service, pool};

/// Longer than a replacement waits.
const FOR_GOOD: Duration = Duration::from_secs(10);

/// What the Services hold, and whether anything is remembered of one.
fn state(lab: &Lab, names: &[&str]) -> Vec<String> {
    let memory = |name: &&str| {
        let object = lab.object(Kind::Service, name).expect("the test made it");
        let annotations = object.metadata().annotations.clone().unwrap_or_default();
        format!("{name} {:?} {:?}", lab.addresses(name), annotations.get(LOST_ADDRESSES))
    };
    names.iter().map(memory).collect()
}

/// `c`, `b` and `a` hold addresses that first fit would not give them again.
fn scattered(families: Families) -> Lab {
    let mut lab = Lab::standard();
    for name in ["gone", "c", "b", "a"] {
        lab.serve(&Service::new(name).families(families));
    }
    lab.delete(Kind::Service, "gone");
    lab
}

#[test]
fn c62_a_pool_that_is_replaced_shuffles_nobody() {
    let names = ["a", "b", "c"];
    for families in Families::ALL {
        for restart in [false, true] {
            let mut lab = scattered(families);
            let before = state(&lab, &names);
            // `kubectl replace --force`, and another pool that has room for all.
            lab.apply(&[pool("other", &["172.16.16.201-172.16.16.220", "fd00:16::201-fd00:16::220"], "")]);
            lab.delete(Kind::IPAddressPool, "first-pool");
            assert!(names.iter().all(|name| lab.addresses(name).is_empty()), "no pool holds them");
            if restart {
                lab.act(Action::new("crash-controller"));
                lab.act(Action::new("start-controller"));
            }
            lab.apply(&[pool("first-pool", BOTH, "")]);
            assert_eq!(state(&lab, &names), before, "{families:?}, {restart}");
            for address in names.iter().flat_map(|name| lab.addresses(name)).collect::<Vec<_>>() {
                lab.is_served(address);
            }
            let writes = lab.world().api().writes();
            lab.wait(FOR_GOOD);
            assert_eq!((state(&lab, &names), lab.world().api().writes()), (before, writes));
        }
    }
}

#[test]
fn c62_a_wrong_range_for_a_second_shuffles_nobody() {
    let names = ["a", "b", "c"];
    let mut lab = scattered(Families::Ipv4);
    let before = state(&lab, &names);
    lab.apply(&[pool("first-pool", &["172.16.16.201-172.16.16.220"], "")]);
    lab.apply(&[pool("first-pool", BOTH, "")]);
    lab.wait(FOR_GOOD);
    assert_eq!(state(&lab, &names), before);
    // One that lasts moves them, and it is put right all the same.
    lab.apply(&[pool("first-pool", &["172.16.16.201-172.16.16.220"], "")]);
    lab.wait(FOR_GOOD);
    assert!(lab.addresses("a")[0].to_string().starts_with("172.16.16.2"));
    lab.apply(&[pool("first-pool", BOTH, "")]);
    lab.wait(FOR_GOOD);
    assert_eq!(state(&lab, &names), before);
}

#[test]
fn c54_two_that_share_and_are_edited_in_one_apply_keep_the_address() {
    let service = |name: &str, port: &str, key: &str, spec: &str| {
        let annotation = format!("metallb.io/allow-shared-ip: {key}");
        Service::new(name)
            .ports(&[port])
            .annotations(&annotation)
            .spec(&format!("selector: {{app: dns}}{spec}"))
    };
    let (tcp, udp) = ("TCP/53", "UDP/53");
    let local = ", externalTrafficPolicy: Local";
    for (name, first, second) in [
        ("Cluster to Local", service("dns-tcp", tcp, "k", local), service("dns-udp", udp, "k", local)),
        ("another key", service("dns-tcp", tcp, "other", ""), service("dns-udp", udp, "other", "")),
        ("ports change hands", service("dns-tcp", udp, "k", ""), service("dns-udp", tcp, "k", "")),
    ] {
        let mut lab = Lab::standard();
        let both = [service("dns-tcp", tcp, "k", ""), service("dns-udp", udp, "k", "")].map(|one| one.yaml());
        lab.apply(&[both.concat()]);
        let before = state(&lab, &["dns-tcp", "dns-udp"]);
        assert_eq!(lab.addresses("dns-tcp"), lab.addresses("dns-udp"));
        lab.apply(&[first.yaml() + &second.yaml()]);
        lab.wait(FOR_GOOD);
        assert_eq!(state(&lab, &["dns-tcp", "dns-udp"]), before, "{name}");
        lab.owner(lab.addresses("dns-tcp")[0]);
    }
}
