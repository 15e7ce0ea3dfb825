//! MetalLB's own end-to-end checklist for assignment, as far as no rule's test has it: which pool is chosen (H46 to H53,
//! H56).

use ferrolb_api::crd::{IPAddressPool, ServiceAllocationSpec};
use ferrolb_api::service::FamilyPolicy;
use ferrolb_api::{IpFamily, Service};

use super::world::{World, dual, labels, lb_with, namespace, pinned, pool, selector};

const PREFER: FamilyPolicy = FamilyPolicy::PreferDualStack;

/// A pinned pool of one address, 10.0.`octet`.1.
fn one(
    name: &str,
    octet: u8,
    priority: Option<i64>,
    change: impl FnOnce(&mut ServiceAllocationSpec),
) -> IPAddressPool {
    pinned(name, &[&format!("10.0.{octet}.1/32")], |allocation| {
        allocation.priority = priority;
        change(allocation);
    })
}

/// Applies the same Service under one name after the other and looks which pools serve it.
fn order_of(world: &mut World, count: usize, change: impl Fn(&mut Service)) -> Vec<String> {
    let mut pools = Vec::new();
    for index in 0..count {
        let name = format!("shop/{index}");
        world.apply(lb_with(&name, &change));
        pools.push(world.origin(&name).unwrap_or_default().to_owned());
    }
    pools
}

/// A world with the Namespace `shop` of team `red`.
fn world(pools: Vec<IPAddressPool>) -> World {
    let mut world = World::new(Vec::new());
    world.resources.namespaces = vec![namespace("shop", &[("team", "red")]), namespace("default", &[])];
    world.tell_pools(pools);
    world
}

#[test]
fn h46_pools_with_nothing_but_a_priority() {
    let nothing = |_: &mut ServiceAllocationSpec| {};
    let mut world = world(vec![
        one("a", 1, Some(30), nothing),
        one("b", 2, Some(10), nothing),
        one("c", 3, None, nothing),
        one("d", 4, Some(20), nothing),
        pool("e", &["10.0.5.1/32"]),
    ]);
    assert_eq!(order_of(&mut world, 6, |_| {}), ["b", "d", "a", "c", "e", ""]);
}

#[test]
fn h47_namespaces_by_name_and_by_label() {
    let named = |allocation: &mut ServiceAllocationSpec| allocation.namespaces = vec!["shop".to_owned()];
    let labelled = |team: &'static str| {
        move |allocation: &mut ServiceAllocationSpec| {
            allocation.namespace_selectors = vec![selector(&[("team", team)])];
        }
    };
    let mut world = world(vec![
        one("by-name", 1, Some(20), named),
        one("by-label", 2, Some(10), labelled("red")),
        one("by-both", 3, Some(30), |allocation| {
            named(allocation);
            labelled("red")(allocation);
        }),
        one("other-team", 4, Some(1), labelled("blue")),
    ]);
    assert_eq!(order_of(&mut world, 4, |_| {}), ["by-label", "by-name", "by-both", ""]);
    assert_eq!(
        order_of(&mut world, 1, |service| service.annotations.address_pool = Some("other-team".into())),
        [""]
    );
}

#[test]
fn h48_labels_of_the_service() {
    let labelled = |tier: &'static str| {
        move |allocation: &mut ServiceAllocationSpec| {
            allocation.service_selectors = vec![selector(&[("tier", tier)])];
        }
    };
    let pools = || {
        vec![
            one("front-20", 1, Some(20), labelled("front")),
            one("front-10", 2, Some(10), labelled("front")),
            one("back", 3, Some(1), labelled("back")),
        ]
    };
    for (tier, expected) in
        [("front", ["front-10", "front-20", ""]), ("back", ["back", "", ""]), ("none", ["", "", ""])]
    {
        let mut world = world(pools());
        assert_eq!(order_of(&mut world, 3, |service| service.labels = labels(&[("tier", tier)])), expected);
    }
}

#[test]
fn h49_namespace_and_labels_of_the_service_together() {
    let both = |namespace: &'static str, tier: &'static str| {
        move |allocation: &mut ServiceAllocationSpec| {
            allocation.namespaces = vec![namespace.to_owned()];
            allocation.service_selectors = vec![selector(&[("tier", tier)])];
        }
    };
    let mut world = world(vec![
        one("right-20", 1, Some(20), both("shop", "front")),
        one("right-10", 2, Some(10), both("shop", "front")),
        one("wrong-namespace", 3, Some(1), both("default", "front")),
        one("wrong-label", 4, Some(1), both("shop", "back")),
    ]);
    let front = |service: &mut Service| service.labels = labels(&[("tier", "front")]);
    assert_eq!(order_of(&mut world, 3, front), ["right-10", "right-20", ""]);
}

#[test]
fn h50_labels_of_the_namespace_change_while_it_runs() {
    let team = |name: &'static str| {
        move |allocation: &mut ServiceAllocationSpec| {
            allocation.namespace_selectors = vec![selector(&[("team", name)])];
        }
    };
    let mut world = world(vec![one("red", 1, Some(10), team("red")), one("blue", 2, Some(20), team("blue"))]);
    assert_eq!(order_of(&mut world, 1, |_| {}), ["red"]);
    for (labels, expected) in [
        (&[("team", "blue")][..], Some("blue")),
        (&[("team", "red")], Some("red")),
        (&[("team", "green")], None),
        (&[], None),
        (&[("team", "blue"), ("other", "label")], Some("blue")),
    ] {
        world.resources.namespaces = vec![namespace("shop", labels)];
        world.tell_resources();
        world.let_time_pass();
        assert_eq!(world.origin("shop/0"), expected, "{labels:?}");
        assert_eq!(world.vips("shop/0").is_empty(), expected.is_none(), "{labels:?}");
    }
}

#[test]
fn h51_h52_h53_which_pool_serves_prefer_dual_stack() {
    let (four, six, both) = (&["10.0.0.0/30"][..], &["fd00::/126"][..], &["10.1.0.0/30", "fd01::/126"][..]);
    for (id, pools, primary, expected) in [
        ("H51", vec![("four", four), ("six", six), ("z-both", both)], None, "z-both"),
        ("H51", vec![("a-both", both), ("four", four)], Some(IpFamily::V6), "a-both"),
        ("H52", vec![("a-six", six), ("four", four)], None, "four"),
        ("H52", vec![("a-six", six), ("four", four)], Some(IpFamily::V4), "four"),
        ("H53", vec![("a-four", four), ("six", six)], Some(IpFamily::V6), "six"),
    ] {
        let mut world =
            World::new(pools.into_iter().map(|(name, addresses)| pool(name, addresses)).collect());
        let mut service = dual("s", PREFER);
        service.primary_family = primary;
        world.apply(service);
        assert_eq!(world.origin("s"), Some(expected), "{id}, first family {primary:?}");
        assert_eq!(world.service("s").ingress_ips().count(), if id == "H51" { 2 } else { 1 }, "{id}");
    }
}

#[test]
fn h56_a_later_dual_pool_does_not_attract_an_assigned_service() {
    for addresses in [&["10.0.0.0/30"][..], &["fd00::/126"]] {
        let mut world = World::new(vec![pool("single", addresses)]);
        world.apply(dual("s", PREFER));
        let (vips, writes) = (world.vips("s"), world.writes);
        for name in ["a-dual", "z-dual"] {
            world.tell_pools(vec![pool(name, &["10.1.0.0/30", "fd01::/126"]), pool("single", addresses)]);
            world.tell_all();
            assert_eq!(
                (world.vips("s"), world.writes),
                (vips.clone(), writes),
                "{name} beside {addresses:?}"
            );
        }
        // It is there for whoever comes now.
        world.apply(dual("later", PREFER));
        assert_eq!(world.origin("later"), Some("z-dual"));
    }
}
