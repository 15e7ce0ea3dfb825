//! What keeps, changes and loses an address (C60 to C69a).

use ferrolb_api::Service;
use ferrolb_api::crd::IPAddressPool;
use ferrolb_api::service::TrafficPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::world::{World, carrying, labels, lb, lb_with, pinned, pool, pool_with, port};
use crate::{Effect, Settings};

#[test]
fn c60_edits_that_do_not_matter() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("gone"));
    world.apply(lb("s"));
    world.delete("gone");
    let edits: [fn(&mut Service); 4] = [
        |service| service.ports = vec![port("UDP", 1)],
        |service| service.selector = labels(&[("a", "b")]),
        |service| service.traffic_policy = TrafficPolicy::Local,
        |service| service.labels = labels(&[("a", "b")]),
    ];
    for edit in edits {
        world.edit("s", edit);
        assert_eq!((world.vips("s").as_str(), world.writes), ("10.0.0.1", 2));
    }
}

#[test]
fn c61_to_c66_pool_changes() {
    let before = || vec![pool("a", &["10.0.0.0/30"]), pool("z", &["10.9.0.0/30"])];
    let z = || pool("z", &["10.9.0.0/30"]);
    let cases: Vec<(&str, Vec<IPAddressPool>, &str, &str)> = vec![
        ("C61 extended", vec![pool("a", &["10.0.0.0/24"]), z()], "10.0.0.0", "a"),
        ("C61 renamed", vec![pool("renamed", &["10.0.0.0/30"]), z()], "10.0.0.0", "renamed"),
        ("C61 split", vec![pool("a", &["10.0.0.2/31"]), pool("b", &["10.0.0.0/31"])], "10.0.0.0", "b"),
        ("C61 merged", vec![pool("m", &["10.9.0.0/30", "10.0.0.0/30"])], "10.0.0.0", "m"),
        ("C62 deleted", vec![z()], "10.9.0.0", "z"),
        ("C62 shrunk", vec![pool("a", &["10.0.0.1/32"]), z()], "10.0.0.1", "a"),
        (
            "C64 buggy IPs",
            vec![pool_with("a", &["10.0.0.0/30"], |spec| spec.avoid_buggy_ips = true), z()],
            "10.0.0.1",
            "a",
        ),
        (
            "C65 pinned elsewhere",
            vec![
                pinned("a", &["10.0.0.0/30"], |allocation| allocation.namespaces = vec!["x".to_owned()]),
                z(),
            ],
            "10.9.0.0",
            "z",
        ),
        (
            "C66 not automatic any more",
            vec![pool_with("a", &["10.0.0.0/30"], |spec| spec.auto_assign = false), z()],
            "10.0.0.0",
            "a",
        ),
        (
            "C66 a better pool",
            vec![pool("a", &["10.0.0.0/30"]), pinned("best", &["10.8.0.0/30"], |_| {}), z()],
            "10.0.0.0",
            "a",
        ),
    ];
    for (name, after, vips, from) in cases {
        let mut world = World::new(before());
        world.apply(lb("s"));
        world.reasons("s");
        world.tell_pools(after);
        world.let_time_pass();
        assert_eq!((world.vips("s").as_str(), world.origin("s")), (vips, Some(from)), "{name}");
        let reasons = world.reasons("s");
        if vips == "10.0.0.0" {
            assert!(reasons.is_empty(), "{name}: {reasons:?}");
        } else {
            assert_eq!(reasons, ["ClearAssignment", "IPAllocated"], "{name}");
        }
        let assigned: i64 = world.usage.values().map(|usage| usage.assigned_ipv4).sum();
        assert_eq!((assigned, world.usage[from].assigned_ipv4), (1, 1), "{name}");
    }
}

#[test]
fn c65_labels_of_the_service_change() {
    let mut world = World::new(vec![
        pinned("a", &["10.0.0.0/30"], |allocation| {
            allocation.service_selectors = vec![LabelSelector {
                match_labels: Some(labels(&[("tier", "web")])),
                match_expressions: None,
            }];
        }),
        pool("z", &["10.9.0.0/30"]),
    ]);
    world.apply(lb_with("s", |service| service.labels = labels(&[("tier", "web")])));
    assert_eq!(world.vips("s"), "10.0.0.0");
    world.edit("s", |service| service.labels.clear());
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.9.0.0");
}

#[test]
fn c11_c69_h40_type_change_and_deletion_release() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/32"])]);
    for name in ["1", "2", "3"] {
        world.apply(lb(name));
    }
    world.edit("1", |service| service.is_load_balancer = false);
    assert_eq!((world.vips("1").as_str(), world.origin("1")), ("", None));
    assert_eq!(world.vips("2"), "10.0.0.0");
    world.delete("2");
    assert_eq!(world.vips("3"), "10.0.0.0");
    assert_eq!(world.controller.assignments().count(), 1);
    world.edit("1", |service| service.is_load_balancer = true);
    assert_eq!(world.vips("1"), "");
}

#[test]
fn c11_h94_what_an_earlier_life_left_is_cleared() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.put(carrying(lb_with("s", |service| service.is_load_balancer = false), &["10.0.0.0"], "a"));
    world.tell_all();
    assert_eq!((world.vips("s").as_str(), world.origin("s"), world.writes), ("", None, 1));
}

#[test]
fn c12_h43_h44_pools_are_deleted() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"]), pool("b", &["10.1.0.0/30"])]);
    world.apply(lb("s"));
    world.tell_pools(vec![pool("b", &["10.1.0.0/30"])]);
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.1.0.0");
    assert!(!world.usage.contains_key("a"), "C84");
    world.reasons("s");
    world.tell_pools(Vec::new());
    world.let_time_pass();
    assert_eq!((world.vips("s").as_str(), world.origin("s")), ("", None));
    assert_eq!(world.reasons("s"), ["ClearAssignment", "AllocationFailed"]);
    world.tell_pools(vec![pool("b", &["10.1.0.0/30"])]);
    assert_eq!(world.vips("s"), "10.1.0.0");
}

#[test]
fn c69a_w33_a_service_that_leaves_our_class_is_released() {
    let settings = || Settings { load_balancer_class: Some("ours".to_owned()) };
    let ours = |name: &str| lb_with(name, |service| service.load_balancer_class = Some("ours".to_owned()));
    let mut world = World::unstarted(settings());
    world.tell_pools(vec![pool("a", &["10.0.0.0/32"])]);
    world.tell_all();
    world.apply(ours("leaves"));
    world.apply(ours("waits"));
    assert_eq!(world.vips("leaves"), "10.0.0.0");
    // The API server drops the class together with the type.
    world.edit("leaves", |service| {
        service.is_load_balancer = false;
        service.load_balancer_class = None;
    });
    assert_eq!((world.vips("leaves").as_str(), world.origin("leaves")), ("", None));
    assert_eq!(world.vips("waits"), "10.0.0.0");
    // Taken over by another class, with what that one wrote.
    world.edit("waits", |service| {
        *service = carrying(service.clone(), &["192.0.2.1"], "theirs");
        service.load_balancer_class = Some("theirs".to_owned());
    });
    assert_eq!(world.vips("waits"), "192.0.2.1");
    assert_eq!(world.controller.assignments().count(), 0);
}

#[test]
fn c69a_the_clearing_is_repeated_until_it_stands() {
    let mut world = World::unstarted(Settings { load_balancer_class: Some("ours".to_owned()) });
    world.tell_pools(vec![pool("a", &["10.0.0.0/32"])]);
    world.tell_all();
    world.apply(lb_with("s", |service| service.load_balancer_class = Some("ours".to_owned())));
    world.hold_writes = true;
    world.edit("s", |service| service.load_balancer_class = Some("theirs".to_owned()));
    // Somebody writes in between: the first attempt conflicts.
    world.edit("s", |service| service.labels = labels(&[("a", "b")]));
    assert_eq!(world.on_their_way.len(), 2);
    world.land();
    assert_eq!(world.vips("s"), "10.0.0.0");
    world.land();
    assert_eq!(world.vips("s"), "");
}

#[test]
fn an_edit_gone_wrong_takes_no_address_away() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("s"));
    world.tell_pools(vec![pool("a", &["10.0.0.0/30x"])]);
    assert_eq!(world.vips("s"), "10.0.0.0");
    // Its last valid version goes on serving.
    world.apply(lb("new"));
    assert_eq!(world.vips("new"), "10.0.0.1");
    // After a restart nobody knows what the pool was: what came from it stays,
    // nothing more is given.
    world.restart(Settings::default());
    world.apply(lb("newer"));
    assert_eq!(world.writes, 0);
    assert_eq!((world.vips("s").as_str(), world.vips("newer").as_str()), ("10.0.0.0", ""));
    assert!(world.controller.rejected().iter().any(|one| one.object() == "IPAddressPool/a"));
    // Another pool with these addresses takes the Services over, and respects
    // what they hold.
    world.tell_pools(vec![pool("a", &["10.0.0.0/30x"]), pool("b", &["10.0.0.0/30"])]);
    assert_eq!((world.vips("s").as_str(), world.origin("s")), ("10.0.0.0", Some("b")));
    assert_eq!((world.vips("new").as_str(), world.vips("newer").as_str()), ("10.0.0.1", "10.0.0.2"));
}

#[test]
fn s2_what_a_rejected_pool_gave_is_not_written_anew() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("s"));
    world.edit("s", |service| service.annotations.load_balancer_ips = Some("nonsense".to_owned()));
    world.hold_writes = true;
    // The pool goes, so the status is to be cleared; then it comes back broken,
    // and the address shall stay after all. But the clearing is on its way.
    world.tell_pools(Vec::new());
    world.tell_pools(vec![pool("a", &["broken"])]);
    assert_eq!(world.on_their_way.len(), 2);
    world.hold_writes = false;
    world.land();
    world.land();
    assert_eq!((world.vips("s").as_str(), world.controller.assignments().count()), ("", 0));
}

#[test]
fn an_address_of_a_rejected_pool_still_yields_to_a_request_and_to_deletion() {
    let mut world = World::new(vec![pool("bad", &["nonsense"]), pool("z", &["10.9.0.0/30"])]);
    world.put(carrying(lb("s"), &["10.0.0.0"], "bad"));
    world.put(carrying(lb("t"), &["10.0.0.0"], "bad"));
    world.put(carrying(lb("u"), &["10.0.0.7"], "deleted"));
    world.tell_all();
    world.let_time_pass();
    // `t` carries the address of `s`, and `u` one of a pool that is no more.
    assert_eq!((world.vips("s"), world.vips("t"), world.vips("u")).0, "10.0.0.0");
    assert_eq!((world.vips("t").as_str(), world.vips("u").as_str()), ("10.9.0.0", "10.9.0.1"));
    world.edit("s", |service| service.annotations.address_pool = Some("z".to_owned()));
    assert_eq!(world.vips("s"), "10.9.0.2");
}

#[test]
fn a_service_made_again_under_its_name_is_another_one() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("first"));
    world.apply(lb("s"));
    world.delete("first");
    assert_eq!(world.vips("s"), "10.0.0.1");
    world.apply(lb_with("s", |service| service.uid = "another".to_owned()));
    assert_eq!(world.vips("s"), "10.0.0.0");
    let uids: Vec<String> =
        world.controller.assignments().map(|assigned| world.store[assigned.service].uid.clone()).collect();
    assert_eq!(uids, ["another"]);
}

#[test]
fn the_last_write_wins_over_one_that_is_still_on_its_way() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.hold_writes = true;
    world.apply(lb("s"));
    world.tell_pools(vec![pool("b", &["10.1.0.0/30"])]);
    let versions: Vec<String> = world
        .on_their_way
        .iter()
        .map(|effect| match effect {
            Effect::WriteService { resource_version, .. } => resource_version.clone(),
            other => panic!("only writes are held back, not {other:?}"),
        })
        .collect();
    // The same version: only one of the two can succeed.
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[0], versions[1]);
    // The first may still land; its address is nobody else's until that is known.
    world.tell_pools(vec![pool("a", &["10.0.0.0/32"]), pool("b", &["10.1.0.0/30"])]);
    world.apply(lb_with("other", |service| service.annotations.address_pool = Some("a".to_owned())));
    assert_eq!(world.controller.waiting().count(), 1);
}
