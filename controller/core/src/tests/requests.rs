//! Explicit addresses and the pool annotation (C22 to C24, C28, C30 to C34).

use ferrolb_api::service::FamilyPolicy;

use super::world::{World, dual, lb, lb_with, lb6, pool, pool_with};

fn two_pools() -> World {
    World::new(vec![
        pool("a", &["10.0.0.0/30", "fd00::/126"]),
        pool_with("manual", &["10.1.0.0/30"], |spec| spec.auto_assign = false),
    ])
}

#[test]
fn c31_addresses_by_annotation_or_spec() {
    for (annotation, spec, vips, reasons) in [
        (Some("10.0.0.2"), None, "10.0.0.2", vec!["IPAllocated"]),
        (Some(" 10.0.0.2 "), None, "10.0.0.2", vec!["IPAllocated"]),
        (Some("::ffff:10.0.0.2"), None, "10.0.0.2", vec!["IPAllocated"]),
        (None, Some("10.0.0.3"), "10.0.0.3", vec!["IPAllocated"]),
        (Some(""), None, "10.0.0.0", vec!["IPAllocated"]),
        (Some(""), Some("10.0.0.3"), "10.0.0.3", vec!["IPAllocated"]),
        (Some("10.0.0.2"), Some("10.0.0.2"), "", vec!["AllocationFailed"]),
        (Some("10.0.0.256"), None, "", vec!["AllocationFailed"]),
        (Some("10.0.0.2,"), None, "", vec!["AllocationFailed"]),
        (Some("10.0.0.1,10.0.0.2"), None, "", vec!["AllocationFailed"]),
        (Some("10.0.0.1,10.0.0.1"), None, "", vec!["AllocationFailed"]),
        (Some("10.0.0.1,fd00::1,fd00::2"), None, "", vec!["AllocationFailed"]),
        (None, Some("ten"), "", vec!["AllocationFailed"]),
        // Feasible in form only.
        (Some("10.9.9.9"), None, "", vec!["AllocationFailed"]),
        (None, Some("10.9.9.9"), "", vec!["AllocationFailed"]),
        (Some("fd00::1"), None, "", vec!["AllocationFailed"]),
        (None, Some("fd00::1"), "", vec!["AllocationFailed"]),
        (Some("10.0.0.1,fd00::1"), None, "", vec!["AllocationFailed"]),
    ] {
        let mut world = two_pools();
        world.apply(lb_with("s", |service| {
            service.annotations.load_balancer_ips = annotation.map(str::to_owned);
            service.load_balancer_ip = spec.map(str::to_owned);
        }));
        assert_eq!(world.vips("s"), vips, "{annotation:?} {spec:?}");
        assert_eq!(world.reasons("s"), reasons, "{annotation:?} {spec:?}");
    }
}

#[test]
fn c32_explicit_families_equal_those_of_the_service() {
    for policy in [FamilyPolicy::PreferDualStack, FamilyPolicy::RequireDualStack] {
        for (annotation, vips) in [
            ("10.0.0.2,fd00::2", "10.0.0.2,fd00::2"),
            // C47: in textual order from the start.
            ("fd00::2,10.0.0.2", "10.0.0.2,fd00::2"),
            ("10.0.0.2", ""),
            ("fd00::2", ""),
        ] {
            let mut world = two_pools();
            let mut service = dual("s", policy);
            service.annotations.load_balancer_ips = Some(annotation.to_owned());
            world.apply(service);
            assert_eq!(world.vips("s"), vips, "{policy:?} {annotation}");
        }
        let mut world = two_pools();
        let mut service = dual("s", policy);
        service.load_balancer_ip = Some("10.0.0.2".to_owned());
        world.apply(service);
        assert_eq!(world.vips("s"), "", "{policy:?} spec.loadBalancerIP");
    }
    let mut world = two_pools();
    let mut six = lb6("six");
    six.annotations.load_balancer_ips = Some("10.0.0.1".to_owned());
    world.apply(six);
    assert_eq!(world.reasons("six"), ["AllocationFailed"]);
}

#[test]
fn c47_textual_order_is_not_numeric_order() {
    let mut world = World::new(vec![pool("a", &["1000::/124", "20.0.0.0/30"])]);
    let mut service = dual("s", FamilyPolicy::RequireDualStack);
    service.annotations.load_balancer_ips = Some("20.0.0.1,1000::1".to_owned());
    world.apply(service);
    assert_eq!(world.vips("s"), "1000::1,20.0.0.1");
    assert_eq!(world.writes, 1);
}

#[test]
fn c32_explicit_address_and_pool_must_agree() {
    for (asked_pool, vips) in [("a", "10.0.0.2"), ("manual", ""), ("nowhere", ""), ("", "10.0.0.2")] {
        let mut world = two_pools();
        world.apply(lb_with("s", |service| {
            service.annotations.load_balancer_ips = Some("10.0.0.2".to_owned());
            service.annotations.address_pool = Some(asked_pool.to_owned());
        }));
        assert_eq!(world.vips("s"), vips, "{asked_pool}");
    }
}

#[test]
fn c34_c38_pool_annotation_ignores_auto_assign() {
    let mut world = two_pools();
    world.apply(lb_with("s", |service| service.annotations.address_pool = Some("manual".to_owned())));
    assert_eq!((world.vips("s").as_str(), world.origin("s")), ("10.1.0.0", Some("manual")));
    world.apply(lb_with("x", |service| service.annotations.load_balancer_ips = Some("10.1.0.3".to_owned())));
    assert_eq!(world.vips("x"), "10.1.0.3");
}

#[test]
fn c34_unknown_pool_fails() {
    let mut world = two_pools();
    world.apply(lb_with("s", |service| service.annotations.address_pool = Some("nowhere".to_owned())));
    assert_eq!((world.vips("s").as_str(), world.origin("s")), ("", None));
    assert_eq!(world.reasons("s"), ["AllocationFailed"]);
    // The pool turns up.
    let mut pools = world.resources.pools.clone();
    pools.push(pool("nowhere", &["10.2.0.0/30"]));
    world.tell_pools(pools);
    assert_eq!(world.vips("s"), "10.2.0.0");
}

#[test]
fn c22_c67_pool_annotation_moves_the_service() {
    let mut world = two_pools();
    world.apply(lb("s"));
    assert_eq!(world.vips("s"), "10.0.0.0");
    for (asked, vips) in [
        (Some("a"), "10.0.0.0"),
        (Some("manual"), "10.1.0.0"),
        (None, "10.1.0.0"),
        (Some("a"), "10.0.0.0"),
        // C28: lost, for the request cannot be satisfied.
        (Some("nowhere"), ""),
        (None, "10.0.0.0"),
    ] {
        world.edit("s", |service| service.annotations.address_pool = asked.map(str::to_owned));
        assert_eq!(world.vips("s"), vips, "{asked:?}");
    }
}

#[test]
fn c24_c28_c68_explicit_address_moves_or_loses() {
    let mut world = two_pools();
    world.apply(lb("s"));
    world.apply(lb("other"));
    for (asked, vips) in [
        (Some("10.0.0.3"), "10.0.0.3"),
        // Removed: kept.
        (None, "10.0.0.3"),
        // Used by `other`: lost.
        (Some("10.0.0.1"), ""),
        (None, "10.0.0.0"),
    ] {
        world.edit("s", |service| service.annotations.load_balancer_ips = asked.map(str::to_owned));
        assert_eq!(world.vips("s"), vips, "{asked:?}");
    }
    assert_eq!(world.vips("other"), "10.0.0.1");
}

#[test]
fn c23_invalid_request_keeps_what_is_held() {
    let mut world = two_pools();
    world.apply(lb("s"));
    world.reasons("s");
    world.edit("s", |service| service.annotations.load_balancer_ips = Some("garbage".to_owned()));
    assert_eq!(world.vips("s"), "10.0.0.0");
    assert_eq!(world.reasons("s"), ["LoadBalancerFailed"]);
}

#[test]
fn c69b_explicit_request_is_served_when_its_address_is_freed() {
    let mut world = two_pools();
    let asking = |name: &str| {
        lb_with(name, |service| service.annotations.load_balancer_ips = Some("10.0.0.1".to_owned()))
    };
    world.apply(asking("first"));
    world.apply(asking("second"));
    assert_eq!((world.vips("first"), world.vips("second")), ("10.0.0.1".to_owned(), String::new()));
    world.delete("first");
    assert_eq!(world.vips("second"), "10.0.0.1");
}

#[test]
fn two_services_swap_addresses_by_request() {
    let mut world = two_pools();
    world.apply(lb("a"));
    world.apply(lb("b"));
    world.edit("a", |service| service.annotations.load_balancer_ips = Some("10.0.0.1".to_owned()));
    assert_eq!(world.vips("a"), "");
    world.edit("b", |service| service.annotations.load_balancer_ips = Some("10.0.0.0".to_owned()));
    assert_eq!((world.vips("a").as_str(), world.vips("b").as_str()), ("10.0.0.1", "10.0.0.0"));
}

#[test]
fn c73_deprecated_annotations_are_named_only_when_something_changes() {
    let mut world = two_pools();
    let old = || {
        lb_with("s", |service| {
            service.annotations.deprecated = vec!["metallb.universe.tf/address-pool".to_owned()];
        })
    };
    world.apply(old());
    assert_eq!(world.reasons("s"), ["IPAllocated", "deprecatedAnnotation"]);
    world.edit("s", |service| service.labels = super::world::labels(&[("a", "b")]));
    assert_eq!(world.reasons("s"), Vec::<&str>::new());
}
