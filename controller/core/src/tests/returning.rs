//! What a Service has lost because no pool held it comes back to it.

use ferrolb_api::service::FamilyPolicy;

use super::world::{
    World, carrying, dual, exclusion, key, labels, lb, lb_with, pinned, pool, pool_with, port,
};
use crate::Settings;
use ferrolb_api::crd::IPAddressPool;

fn a() -> IPAddressPool {
    pool("a", &["10.0.0.0/29"])
}

fn z() -> IPAddressPool {
    pool("z", &["10.9.0.0/29"])
}

/// `s` has 10.0.0.1 and `t` 10.0.0.2, and 10.0.0.0 is free.
fn world() -> World {
    let mut world = World::new(vec![a(), z()]);
    for name in ["gone", "s", "t"] {
        world.apply(lb(name));
    }
    world.delete("gone");
    world.forget_what_was_said();
    world
}

fn vips(world: &World) -> (String, String) {
    (world.vips("s"), world.vips("t"))
}

#[test]
fn c62_what_is_lost_comes_back_however_it_was_lost() {
    let nobody = |allocation: &mut ferrolb_api::crd::ServiceAllocationSpec| {
        allocation.namespaces = vec!["nobody".to_owned()];
    };
    let cases: Vec<(&str, Vec<IPAddressPool>)> = vec![
        ("a pool is deleted", vec![z()]),
        ("all pools are gone", vec![]),
        ("a wrong range", vec![pool("a", &["10.7.0.0/29"]), z()]),
        ("for nobody", vec![pinned("a", &["10.0.0.0/29"], nobody), z()]),
        (
            "excluded",
            vec![
                pool_with("a", &["10.0.0.0/29"], |spec| {
                    spec.excluded_addresses = vec![exclusion(&["10.0.0.1-10.0.0.2"], "a slip")];
                }),
                z(),
            ],
        ),
    ];
    for (name, meanwhile) in cases {
        for restart in [false, true] {
            let mut world = world();
            world.tell_pools(meanwhile.clone());
            assert_eq!(vips(&world), (String::new(), String::new()), "{name}");
            let [text] = <[String; 1]>::try_from(world.texts("s")).expect("it is told once");
            assert!(text.starts_with("ClearAssignment: 10.0.0.1 cannot be kept"), "{name}: {text}");
            assert!(text.ends_with("given back to this Service as soon as a pool has it again"), "{text}");
            if restart {
                world.restart(Settings::default());
                assert_eq!(world.writes, 0, "{name}: nothing has changed");
            }
            // Whoever comes first by name must not take what was another's.
            world.apply(lb_with("0", |new| new.annotations.address_pool = Some("a".to_owned())));
            let writes = world.writes;
            world.tell_pools(vec![a(), z()]);
            assert_eq!(vips(&world), ("10.0.0.1".to_owned(), "10.0.0.2".to_owned()), "{name}, {restart}");
            let texts = world.texts("s");
            assert_eq!(texts, ["IPAllocated: given back 10.0.0.1 from pool \"a\""], "{name}");
            world.tell_all();
            world.tell_resources();
            let newcomer = usize::from(world.writes > writes + 2);
            assert_eq!(world.writes, writes + 2 + newcomer, "{name}: one write each");
            assert_eq!(world.service("s").annotations.lost_addresses, None, "{name}: nothing is missing");
            world.let_time_pass();
            assert_eq!(vips(&world), ("10.0.0.1".to_owned(), "10.0.0.2".to_owned()), "{name}");
        }
    }
}

#[test]
fn c62_a_replacement_waits_for_those_who_lost_and_for_nobody_else() {
    let mut world = world();
    let writes = world.writes;
    world.tell_pools(vec![z()]);
    assert_eq!(world.writes, writes + 2, "status and memory in one write each");
    assert_eq!(world.service("s").annotations.lost_addresses.as_deref(), Some("uid-of-s/10.0.0.1"));
    world.apply(lb("new"));
    assert_eq!(world.vips("new"), "10.9.0.0", "it has lost nothing");
    world.reasons("s");
    assert_eq!(world.wait_for_timeout().as_secs(), 5);
    assert_eq!(vips(&world), ("10.9.0.1".to_owned(), "10.9.0.2".to_owned()));
    assert_eq!(
        world.texts("s"),
        ["IPAllocated: assigned 10.9.0.1 from pool \"z\"; 10.0.0.1, which it has lost, is not to be had"]
    );
    // Who has got another keeps that one (C66) ...
    world.tell_pools(vec![a(), z()]);
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.9.0.1");
    // ... and that one comes back before the older one.
    world.tell_pools(vec![a()]);
    assert_eq!(world.vips("s"), "");
    world.tell_pools(vec![a(), z()]);
    assert_eq!(world.vips("s"), "10.9.0.1");
}

#[test]
fn c62_a_wrong_range_that_lasted_is_forgotten_once_it_is_right() {
    for restart in [false, true] {
        let mut world = world();
        for wrong in ["10.7.0.0/29", "10.8.0.0/29"] {
            world.tell_pools(vec![pool("a", &[wrong])]);
            world.let_time_pass();
            assert!(world.vips("s").starts_with(&wrong[..5]), "{wrong}");
        }
        if restart {
            world.restart(Settings::default());
        }
        world.tell_pools(vec![a()]);
        world.let_time_pass();
        assert_eq!(vips(&world), ("10.0.0.1".to_owned(), "10.0.0.2".to_owned()));
    }
}

#[test]
fn of_two_who_had_the_same_the_one_who_had_it_last_gets_it() {
    let mut world = world();
    world.tell_pools(vec![z()]);
    world.let_time_pass();
    // `s` is at `z`; another takes what it had.
    world.tell_pools(vec![a(), z()]);
    world.apply(lb_with("y", |asks| asks.annotations.load_balancer_ips = Some("10.0.0.1".to_owned())));
    world.edit("y", |asks| asks.annotations.load_balancer_ips = None);
    assert_eq!((world.vips("s").as_str(), world.vips("y").as_str()), ("10.9.0.0", "10.0.0.1"));
    world.tell_pools(vec![]);
    world.tell_pools(vec![a()]);
    assert_eq!((world.vips("s").as_str(), world.vips("y").as_str()), ("", "10.0.0.1"));
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.0.0.0", "what it had is not to be had");
}

#[test]
fn c63_a_pair_comes_back_as_a_pair() {
    let both = || pool("a", &["10.0.0.0/29", "fd00::/125"]);
    for policy in [FamilyPolicy::PreferDualStack, FamilyPolicy::RequireDualStack] {
        for restart in [false, true] {
            let mut world = World::new(vec![both()]);
            world.apply(dual("gone", policy));
            world.apply(dual("s", policy));
            world.delete("gone");
            assert_eq!(world.vips("s"), "10.0.0.1,fd00::1");
            // One family is missing for a moment, then both, then none.
            world.tell_pools(vec![pool("a", &["10.0.0.0/29"])]);
            world.tell_pools(vec![]);
            if restart {
                world.restart(Settings::default());
            }
            world.tell_pools(vec![both()]);
            assert_eq!(world.vips("s"), "10.0.0.1,fd00::1", "{policy:?}");
        }
    }
    // Where one family stays away, half is better than another half.
    let mut world = World::new(vec![both()]);
    world.apply(dual("gone", FamilyPolicy::PreferDualStack));
    world.apply(dual("s", FamilyPolicy::PreferDualStack));
    world.delete("gone");
    world.tell_pools(vec![pool("a", &["10.0.0.0/29"])]);
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.0.0.1");
    world.tell_pools(vec![both()]);
    assert_eq!(world.vips("s"), "10.0.0.1,fd00::1");
}

#[test]
fn those_who_shared_share_again() {
    let mut world = World::new(vec![a(), z()]);
    world.apply(lb("gone"));
    for (name, number) in [("s", 80), ("t", 443)] {
        world.apply(lb_with(name, |service| {
            service.annotations.allow_shared_ip = Some("key".to_owned());
            service.ports = vec![port("TCP", number)];
        }));
    }
    world.delete("gone");
    assert_eq!(vips(&world), ("10.0.0.1".to_owned(), "10.0.0.1".to_owned()));
    world.tell_pools(vec![z()]);
    world.restart(Settings::default());
    world.tell_pools(vec![a(), z()]);
    assert_eq!(vips(&world), ("10.0.0.1".to_owned(), "10.0.0.1".to_owned()));
}

#[test]
fn c32_what_is_asked_for_comes_before_what_was_lost() {
    let mut world = World::new(vec![a(), z()]);
    world.apply(lb_with("s", |asks| asks.annotations.load_balancer_ips = Some("10.0.0.5".to_owned())));
    world.reasons("s");
    world.tell_pools(vec![z()]);
    assert_eq!(world.reasons("s"), ["ClearAssignment", "AllocationFailed"]);
    assert_eq!(world.controller.poll_timeout(), None, "there is nothing else it could be given");
    world.tell_pools(vec![a(), z()]);
    assert_eq!(world.vips("s"), "10.0.0.5");
    // Another wish while it is lost is granted at once, and stays.
    world.tell_pools(vec![z()]);
    world.edit("s", |asks| asks.annotations.load_balancer_ips = Some("10.9.0.3".to_owned()));
    assert_eq!(world.vips("s"), "10.9.0.3");
    world.tell_pools(vec![a(), z()]);
    assert_eq!(world.vips("s"), "10.9.0.3");
}

#[test]
fn a_copy_of_a_service_inherits_nothing() {
    let mut world = world();
    world.tell_pools(vec![z()]);
    let lost = world.service("s").annotations.lost_addresses.clone();
    assert!(lost.is_some());
    // Its address stands already: that it was copied is no reason to write.
    let copied = |name: &str| lb_with(name, |copy| copy.annotations.lost_addresses.clone_from(&lost));
    let writes = world.writes;
    world.apply(carrying(copied("1"), &["10.9.0.4"], "z"));
    assert_eq!(world.writes, writes);
    world.apply(copied("2"));
    assert_eq!(world.vips("2"), "10.9.0.0", "and it does not wait");
    world.tell_pools(vec![a(), z()]);
    assert_eq!(vips(&world), ("10.0.0.1".to_owned(), "10.0.0.2".to_owned()));
}

#[test]
fn what_a_service_is_no_more_it_has_not_lost() {
    let mut world = world();
    world.tell_pools(vec![]);
    world.edit("s", |service| service.is_load_balancer = false);
    assert_eq!(world.service("s").annotations.lost_addresses, None);
    // Made again under its name, it is another Service.
    let again = lb_with("t", |service| service.uid = "another".to_owned());
    world.apply(again);
    world.tell_pools(vec![a()]);
    assert_eq!(world.vips("t"), "10.0.0.0");
}

#[test]
fn a_memory_that_is_wiped_is_put_back() {
    let mut world = world();
    world.tell_pools(vec![]);
    // `kubectl replace` removes what its file does not name.
    world.edit("s", |service| service.annotations.lost_addresses = None);
    assert!(world.service("s").annotations.lost_addresses.is_some());
    world.edit("s", |service| service.labels = labels(&[("a", "b")]));
    assert_eq!(world.controller.waiting().filter(|waiting| **waiting == key("s")).count(), 1);
    world.tell_pools(vec![a()]);
    assert_eq!(world.vips("s"), "10.0.0.1");
}
