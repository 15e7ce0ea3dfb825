//! Start, restart and order (C2 to C5, C8, C10, H41, H90, H93, H99, H100).

use ferrolb_api::Service;
use ferrolb_api::service::{FamilyPolicy, Ingress};

use super::world::{World, carrying, dual, ip, lb, lb_with, pool};
use crate::{Input, Notice, Settings};

#[test]
fn c2_c3_class_filter() {
    for (ours, theirs, handled) in [
        (None, None, true),
        (None, Some("x"), false),
        (Some("x"), None, false),
        (Some("x"), Some("x"), true),
        (Some("x"), Some("y"), false),
    ] {
        let mut world = World::unstarted(Settings { load_balancer_class: ours.map(str::to_owned) });
        world.tell_pools(vec![pool("a", &["10.0.0.0/30"])]);
        world.tell_all();
        world.apply(lb_with("new", |service| service.load_balancer_class = theirs.map(str::to_owned)));
        assert_eq!(!world.vips("new").is_empty(), handled, "{ours:?} {theirs:?}");
        // C3: a foreign status is not touched, whatever it says.
        let mut foreign = carrying(lb("old"), &["192.0.2.1"], "theirs");
        foreign.load_balancer_class = theirs.map(str::to_owned);
        world.apply(foreign);
        assert_eq!(world.vips("old") != "192.0.2.1", handled, "{ours:?} {theirs:?}");
    }
}

#[test]
fn c4_h99_nothing_is_decided_before_both_are_known() {
    let old = || carrying(lb("old"), &["192.0.2.1"], "gone");
    for services_first in [true, false] {
        let mut world = World::unstarted(Settings::default());
        world.put(lb("new"));
        world.put(old());
        if services_first {
            world.tell_all();
            world.apply(lb("newer"));
        } else {
            world.tell_pools(vec![pool("a", &["10.0.0.0/30"])]);
            world.apply(lb("newer"));
        }
        assert!(!world.controller.is_ready());
        assert_eq!((world.writes, world.events.len(), world.usage.len()), (0, 0, 0));
        if services_first {
            world.tell_pools(vec![pool("a", &["10.0.0.0/30"])]);
        } else {
            world.tell_all();
        }
        assert!(world.controller.is_ready());
        assert_eq!((world.vips("new").as_str(), world.vips("newer").as_str()), ("10.0.0.0", "10.0.0.1"));
        assert_eq!(world.vips("old"), "", "its pool may come back");
        world.let_time_pass();
        assert_eq!(world.vips("old"), "10.0.0.2");
    }
}

#[test]
fn c8_h41_restarts_change_nothing() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/31"])]);
    for name in ["d", "c", "b", "a"] {
        world.apply(lb(name));
    }
    for _ in 0..5 {
        world.restart(Settings::default());
        let vips: Vec<String> = ["d", "c", "b", "a"].iter().map(|name| world.vips(name)).collect();
        assert_eq!(vips, ["10.0.0.0", "10.0.0.1", "", ""]);
        assert_eq!(world.writes, 0);
        let adopted = world.notices.iter().filter(|notice| matches!(notice, Notice::Adopted { .. }));
        assert_eq!(adopted.count(), 2);
    }
}

#[test]
fn c8_everything_is_adopted_before_anything_is_granted() {
    let mut world = World::unstarted(Settings::default());
    // By name `a` would come first and take the address of `z`.
    world.put(lb("a"));
    world.put(carrying(lb("z"), &["10.0.0.0"], "a"));
    world.tell_all();
    world.tell_pools(vec![pool("a", &["10.0.0.0/30"])]);
    assert_eq!((world.vips("a").as_str(), world.vips("z").as_str()), ("10.0.0.1", "10.0.0.0"));
}

#[test]
fn c5_c8_a_contested_address_goes_to_the_one_with_more_then_by_name() {
    let pair = || carrying(dual("z", FamilyPolicy::PreferDualStack), &["10.0.0.0", "fd00::"], "a");
    for reversed in [false, true] {
        let mut services: Vec<Service> =
            vec![carrying(lb("a"), &["10.0.0.0"], "a"), carrying(lb("b"), &["10.0.0.5"], "a"), pair()];
        services.push(carrying(lb("c"), &["10.0.0.5"], "a"));
        let mut world = World::unstarted(Settings::default());
        let mut list: Vec<Service> = services.into_iter().map(|service| world.put(service)).collect();
        if reversed {
            list.reverse();
        }
        world.tell_pools(vec![pool("a", &["10.0.0.0/29", "fd00::/64"])]);
        world.handle(Input::Services(list));
        assert_eq!(world.vips("z"), "10.0.0.0,fd00::");
        assert_eq!(world.vips("b"), "10.0.0.5");
        assert_eq!((world.vips("a").as_str(), world.vips("c").as_str()), ("10.0.0.1", "10.0.0.2"));
        assert_eq!(world.reasons("a"), ["ClearAssignment", "IPAllocated"]);
    }
}

#[test]
fn c8_c18_a_service_that_cannot_be_judged_has_its_place_in_the_order_too() {
    let mut world = World::unstarted(Settings::default());
    let mut unclear = carrying(lb("a"), &["10.0.0.3"], "a");
    unclear.cluster_ips = vec![Err("None".to_owned())];
    world.put(unclear);
    world.put(carrying(lb("b"), &["10.0.0.3"], "a"));
    world.tell_all();
    world.tell_pools(vec![pool("a", &["10.0.0.0/30"])]);
    assert_eq!((world.vips("a").as_str(), world.vips("b").as_str()), ("10.0.0.3", "10.0.0.0"));
}

#[test]
fn c10_h100_deletion_serves_the_one_that_waits() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/32"])]);
    world.apply(lb("first"));
    world.apply(lb("second"));
    assert_eq!(world.reasons("second"), ["AllocationFailed"]);
    world.delete("first");
    assert_eq!((world.vips("second").as_str(), world.reasons("second")), ("10.0.0.0", vec!["IPAllocated"]));
}

#[test]
fn c10_a_service_missing_from_a_list_is_gone() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/32"])]);
    world.apply(lb("first"));
    world.apply(lb("second"));
    world.store.remove(&super::world::key("first"));
    world.tell_all();
    assert_eq!(world.vips("second"), "10.0.0.0");
    world.handle(Input::ServiceGone(super::world::key("never-was")));
    assert_eq!(world.controller.assignments().count(), 1);
}

#[test]
fn h90_services_that_are_none_of_ours() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/24"])]);
    world.apply(lb_with("cluster-ip", |service| service.is_load_balancer = false));
    world.apply(lb("balanced"));
    assert_eq!((world.vips("cluster-ip").as_str(), world.vips("balanced").as_str()), ("", "10.0.0.0"));
}

#[test]
fn h93_status_outside_every_pool_is_replaced() {
    for entry in [Ingress::Ip(ip("192.0.2.9")), Ingress::Unparsable("what?".to_owned())] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/24"])]);
        world.apply(lb_with("s", |service| service.ingress = vec![entry.clone()]));
        assert_eq!(world.vips("s"), "10.0.0.0", "{entry:?}");
    }
}

#[test]
fn h95_status_of_the_wrong_family_is_replaced() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/24", "fd00::/64"])]);
    world.apply(carrying(lb("s"), &["fd00::1"], "a"));
    assert_eq!(
        (world.vips("s").as_str(), world.reasons("s")),
        ("10.0.0.0", vec!["ClearAssignment", "IPAllocated"])
    );
}

#[test]
fn h101_a_new_pool_moves_nobody() {
    let mut world = World::new(vec![pool("b", &["10.1.0.0/24"])]);
    world.apply(lb("s"));
    world.tell_pools(vec![pool("a", &["10.0.0.0/24"]), pool("b", &["10.1.0.0/24"])]);
    assert_eq!((world.vips("s").as_str(), world.writes), ("10.1.0.0", 1));
    world.tell_pools(vec![pool("a", &["10.0.0.0/24"])]);
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.0.0.0");
}

#[test]
fn many_services_and_one_change() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/16"])]);
    for number in 0..3_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number * 2).to_string();
        world.put(carrying(lb(&format!("s{number}")), &[&address], "a"));
    }
    world.restart(Settings::default());
    assert_eq!((world.writes, world.usage["a"].assigned_ipv4), (0, 3_000));
    world.apply(lb("new"));
    assert_eq!(world.vips("new"), "10.0.0.1");
}
