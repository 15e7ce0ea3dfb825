//! Which pool and which address in it (C33, C35 to C38, A14).

use super::world::{World, labels, lb, lb_with, lb6, namespace, pinned, pool, pool_with, selector};

/// What services `1`, `2`, ... get, in this order.
fn served(world: &mut World, count: usize) -> Vec<String> {
    for number in 1..=count {
        world.apply(lb(&number.to_string()));
    }
    (1..=count).map(|number| world.vips(&number.to_string())).collect()
}

#[test]
fn c33_ranges_as_written_addresses_ascending() {
    let mut world =
        World::new(vec![pool("a", &["10.0.0.9-10.0.0.10", "fd00::/64", "10.0.0.0/31", "10.0.0.5/32"])]);
    assert_eq!(served(&mut world, 6), ["10.0.0.9", "10.0.0.10", "10.0.0.0", "10.0.0.1", "10.0.0.5", ""]);
    world.delete("3");
    assert_eq!(world.vips("6"), "10.0.0.0");
    world.apply(lb6("six"));
    assert_eq!(world.vips("six"), "fd00::");
}

#[test]
fn c33_the_highest_unicast_addresses() {
    let mut world = World::new(vec![pool(
        "a",
        &["255.255.255.253-255.255.255.254", "feff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"],
    )]);
    assert_eq!(served(&mut world, 3), ["255.255.255.253", "255.255.255.254", ""]);
    for name in ["x", "y", "z"] {
        world.apply(lb6(name));
    }
    assert_eq!(world.vips("y"), "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_eq!(world.vips("z"), "");
}

#[test]
fn a14_h71_h79_buggy_addresses_are_skipped() {
    let careful = |addresses: &[&str]| pool_with("a", addresses, |spec| spec.avoid_buggy_ips = true);
    let mut world = World::new(vec![
        careful(&["10.0.0.254-10.0.1.1", "10.0.2.0/31", "10.0.3.255-10.0.4.0"]),
        pool("b", &["10.1.0.0/32"]),
    ]);
    assert_eq!(served(&mut world, 5), ["10.0.0.254", "10.0.1.1", "10.0.2.1", "10.1.0.0", ""]);
    world.apply(lb_with("x", |service| service.annotations.load_balancer_ips = Some("10.0.2.0".to_owned())));
    assert_eq!(world.vips("x"), "");
    // Once the pool does not mind any more they are as good as any.
    world.tell_pools(vec![
        pool("a", &["10.0.0.254-10.0.1.1", "10.0.2.0/31", "10.0.3.255-10.0.4.0"]),
        pool("b", &["10.1.0.0/32"]),
    ]);
    assert_eq!((world.vips("5").as_str(), world.vips("x").as_str()), ("10.0.0.255", "10.0.2.0"));
}

#[test]
fn c35_pinned_before_unpinned_then_priority_then_name() {
    let priority = |name: &str, octet: u8, priority| {
        pinned(name, &[&format!("10.0.{octet}.1/32")], |allocation| allocation.priority = priority)
    };
    let mut world = World::new(vec![
        pool("a-unpinned", &["10.0.1.1/32"]),
        priority("b-none", 2, None),
        priority("c-ten", 3, Some(10)),
        priority("d-one", 4, Some(1)),
        priority("e-ten", 5, Some(10)),
        priority("f-zero", 6, Some(0)),
        priority("g-negative", 7, Some(-5)),
        pool_with("h-manual", &["10.0.8.1/32"], |spec| spec.auto_assign = false),
        pool("i-unpinned", &["10.0.9.1/32"]),
    ]);
    assert_eq!(
        served(&mut world, 9),
        ["10.0.4.1", "10.0.3.1", "10.0.5.1", "10.0.2.1", "10.0.6.1", "10.0.7.1", "10.0.1.1", "10.0.9.1", "",]
    );
}

#[test]
fn c36_h74_who_is_admitted() {
    let by_name =
        || pinned("p", &["10.0.0.0/24"], |allocation| allocation.namespaces = vec!["shop".to_owned()]);
    let by_label = || {
        pinned("p", &["10.0.0.0/24"], |allocation| {
            allocation.namespace_selectors = vec![selector(&[("team", "blue")])];
        })
    };
    let by_service = || {
        pinned("p", &["10.0.0.0/24"], |allocation| {
            allocation.service_selectors = vec![selector(&[("tier", "web")]), selector(&[("tier", "api")])];
        })
    };
    let by_both = || {
        pinned("p", &["10.0.0.0/24"], |allocation| {
            allocation.namespaces = vec!["shop".to_owned()];
            allocation.service_selectors = vec![selector(&[("tier", "web")])];
        })
    };
    for (rule, pool, name, tier, admitted) in [
        ("name", by_name(), "shop/s", "", true),
        ("name", by_name(), "blue/s", "", false),
        ("label", by_label(), "blue/s", "", true),
        ("label", by_label(), "shop/s", "", false),
        ("service", by_service(), "shop/s", "web", true),
        ("service", by_service(), "shop/s", "api", true),
        ("service", by_service(), "shop/s", "db", false),
        ("both", by_both(), "shop/s", "web", true),
        ("both", by_both(), "shop/s", "db", false),
        ("both", by_both(), "blue/s", "web", false),
    ] {
        // C38: neither way of asking gets round it.
        for way in ["automatic", "pool", "address"] {
            let mut world = World::new(Vec::new());
            world.resources.namespaces =
                vec![namespace("shop", &[("team", "red")]), namespace("blue", &[("team", "blue")])];
            world.tell_pools(vec![pool.clone()]);
            world.apply(lb_with(name, |service| {
                service.labels = labels(&[("tier", tier)]);
                match way {
                    "pool" => service.annotations.address_pool = Some("p".to_owned()),
                    "address" => service.annotations.load_balancer_ips = Some("10.0.0.0".to_owned()),
                    _ => {}
                }
            }));
            assert_eq!(!world.vips(name).is_empty(), admitted, "{rule} {name} {tier} {way}");
        }
    }
}

#[test]
fn w29_selectors_that_match_no_namespace_admit_nobody() {
    let pinned = || {
        pinned("p", &["10.0.0.0/24"], |allocation| {
            allocation.namespace_selectors = vec![selector(&[("team", "nobody")])];
        })
    };
    let mut world = World::new(vec![pinned()]);
    world.apply(lb_with("s", |service| service.annotations.address_pool = Some("p".to_owned())));
    assert_eq!(world.vips("s"), "");
    // H50: a namespace is labelled, later the label goes.
    world.resources.namespaces = vec![namespace("default", &[("team", "nobody")])];
    world.tell_resources();
    assert_eq!(world.vips("s"), "10.0.0.0");
    world.resources.namespaces = vec![namespace("default", &[])];
    world.tell_resources();
    assert_eq!(world.vips("s"), "");
}

#[test]
fn h45_h97_pinned_pools_by_priority() {
    let shop = |name: &str, octet: u8, priority| {
        pinned(name, &[&format!("10.0.{octet}.1/32")], |allocation| {
            allocation.namespaces = vec!["shop".to_owned()];
            allocation.priority = priority;
        })
    };
    let mut world = World::new(vec![
        shop("a", 1, None),
        shop("b", 2, Some(20)),
        shop("c", 3, Some(10)),
        pool("d", &["10.0.4.1/32"]),
    ]);
    world.apply(lb("elsewhere/0"));
    assert_eq!(world.vips("elsewhere/0"), "10.0.4.1");
    for (name, vip) in [("1", "10.0.3.1"), ("2", "10.0.2.1"), ("3", "10.0.1.1"), ("4", "")] {
        let name = format!("shop/{name}");
        world.apply(lb(&name));
        assert_eq!(world.vips(&name), vip, "{name}");
    }
}

#[test]
fn h75_a_named_pool_until_it_is_exhausted() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/31"]), pool("b", &["10.1.0.0/24"])]);
    let asking =
        |name: &str| lb_with(name, |service| service.annotations.address_pool = Some("a".to_owned()));
    for name in ["1", "2", "3"] {
        world.apply(asking(name));
    }
    assert_eq!(world.vips("3"), "");
    assert_eq!(world.reasons("3"), ["AllocationFailed"]);
    world.delete("1");
    assert_eq!(world.vips("3"), "10.0.0.0");
}

#[test]
fn w24_a_large_pool_costs_nothing() {
    let mut world = World::new(vec![pool("a", &["fd00::/64", "10.0.0.0/8"])]);
    for number in 0..300 {
        world.apply(lb6(&format!("six-{number}")));
    }
    assert_eq!(world.vips("six-299"), "fd00::12b");
    world.delete("six-7");
    world.apply(lb6("late"));
    assert_eq!(world.vips("late"), "fd00::7");
}
