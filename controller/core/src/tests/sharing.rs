//! Sharing an address (C50 to C56).

use ferrolb_api::Service;
use ferrolb_api::service::TrafficPolicy;

use super::world::{World, carrying, labels, lb_with, pool, port};

/// A Service that shares under `key`, on TCP port `number`.
fn sharing(name: &str, key: &str, number: u16) -> Service {
    lb_with(name, |service| {
        service.annotations.allow_shared_ip = Some(key.to_owned());
        service.ports = vec![port("TCP", number)];
    })
}

fn local(service: &mut Service, selector: &[(&str, &str)]) {
    service.traffic_policy = TrafficPolicy::Local;
    service.selector = labels(selector);
}

fn one_address() -> World {
    World::new(vec![pool("a", &["10.0.0.0/32"])])
}

#[test]
fn c50_c51_c52_c55_who_may_share() {
    type Change = fn(&mut Service);
    let cases: [(&str, Change, Change, bool); 12] = [
        ("other port", |_| {}, |_| {}, true),
        ("same port", |_| {}, |b| b.ports = vec![port("TCP", 80)], false),
        ("one port of two", |_| {}, |b| b.ports.push(port("TCP", 80)), false),
        ("other protocol", |_| {}, |b| b.ports = vec![port("UDP", 80)], true),
        ("other key", |_| {}, |b| b.annotations.allow_shared_ip = Some("other".to_owned()), false),
        ("no key", |_| {}, |b| b.annotations.allow_shared_ip = None, false),
        (
            "empty keys",
            |a| a.annotations.allow_shared_ip = Some(String::new()),
            |b| {
                b.annotations.allow_shared_ip = Some(String::new());
            },
            false,
        ),
        ("cluster and local", |_| {}, |b| local(b, &[("app", "x")]), false),
        ("cluster and local without selector", |_| {}, |b| local(b, &[]), true),
        ("local, same pods", |a| local(a, &[("app", "x")]), |b| local(b, &[("app", "x")]), true),
        ("local, other pods", |a| local(a, &[("app", "x")]), |b| local(b, &[("app", "y")]), false),
        ("cluster, other pods", |a| a.selector = labels(&[("app", "x")]), |_| {}, true),
    ];
    for (name, change_a, change_b, together) in cases {
        let mut world = one_address();
        let (mut a, mut b) = (sharing("a", "key", 80), sharing("elsewhere/b", "key", 443));
        change_a(&mut a);
        change_b(&mut b);
        world.apply(a);
        world.apply(b);
        assert_eq!(world.vips("a"), "10.0.0.0", "{name}");
        assert_eq!(world.vips("elsewhere/b") == "10.0.0.0", together, "{name}");
    }
}

#[test]
fn c33_free_and_shareable_addresses_are_equal_candidates() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/29"])]);
    world.apply(lb_with("plain", |_| {}));
    world.apply(sharing("1", "key", 80));
    world.apply(sharing("2", "key", 443));
    assert_eq!((world.vips("1").as_str(), world.vips("2").as_str()), ("10.0.0.1", "10.0.0.1"));
    world.apply(sharing("3", "key", 443));
    assert_eq!(world.vips("3"), "10.0.0.2");
    // A lower free address is taken before a higher shared one.
    world.delete("plain");
    world.apply(sharing("4", "key", 8080));
    assert_eq!(world.vips("4"), "10.0.0.0");
    // Ports leap over addresses where they are taken.
    world.apply(sharing("5", "key", 443));
    world.apply(sharing("6", "key", 443));
    assert_eq!((world.vips("5").as_str(), world.vips("6").as_str()), ("10.0.0.0", "10.0.0.3"));
}

#[test]
fn c53_the_only_user_may_change_anything() {
    let mut world = one_address();
    world.apply(sharing("a", "key", 80));
    let changes: [fn(&mut Service); 4] = [
        |service| service.annotations.allow_shared_ip = Some("other".to_owned()),
        |service| local(service, &[("app", "x")]),
        |service| service.ports = vec![port("UDP", 53), port("TCP", 53)],
        |service| service.annotations.allow_shared_ip = None,
    ];
    for change in changes {
        world.edit("a", change);
        assert_eq!((world.vips("a").as_str(), world.writes), ("10.0.0.0", 1));
    }
}

#[test]
fn c54_h72_one_of_several_loses_the_address_by_its_own_change() {
    type Change = fn(&mut Service);
    let changes: [(&str, Change, bool); 5] = [
        ("key", |service| service.annotations.allow_shared_ip = Some("other".to_owned()), false),
        ("backends", |service| local(service, &[("app", "x")]), false),
        ("port of the other", |service| service.ports = vec![port("TCP", 80)], false),
        ("free port", |service| service.ports = vec![port("TCP", 8443)], true),
        ("selector under Cluster", |service| service.selector = labels(&[("app", "z")]), true),
    ];
    for (name, change, kept) in changes {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/31"])]);
        world.apply(sharing("a", "key", 80));
        world.apply(sharing("b", "key", 443));
        world.edit("b", change);
        assert_eq!(world.vips("a"), "10.0.0.0", "{name}");
        assert_eq!(world.vips("b"), if kept { "10.0.0.0" } else { "10.0.0.1" }, "{name}");
    }
}

#[test]
fn h42_policies_and_selectors_change_one_after_the_other() {
    let mut world = one_address();
    let x = [("app", "x")];
    let with_selector = |name, number| {
        let mut service = sharing(name, "key", number);
        service.selector = labels(&x);
        service
    };
    world.apply(with_selector("first", 80));
    world.apply(with_selector("second", 443));
    let held = |world: &World| (!world.vips("first").is_empty(), !world.vips("second").is_empty());
    assert_eq!(held(&world), (true, true));
    world.edit("second", |service| local(service, &x));
    assert_eq!(held(&world), (true, false));
    world.edit("first", |service| local(service, &x));
    assert_eq!(held(&world), (true, true));
    world.edit("first", |service| service.selector = labels(&[("app", "y")]));
    assert_eq!(held(&world), (false, true));
    world.edit("second", |service| service.selector = labels(&[("app", "y")]));
    assert_eq!(held(&world), (true, true));
}

#[test]
fn c50_an_address_that_is_asked_for_can_be_shared() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    for (name, key, number, vips) in [
        ("1", "key", 80, "10.0.0.2"),
        ("2", "key", 443, "10.0.0.2"),
        ("3", "key", 80, ""),
        ("4", "no", 81, ""),
    ] {
        let mut service = sharing(name, key, number);
        service.annotations.load_balancer_ips = Some("10.0.0.2".to_owned());
        world.apply(service);
        assert_eq!(world.vips(name), vips, "{name}");
    }
    let message = world.events.last().map(|(_, _, message)| message.clone()).unwrap_or_default();
    assert!(message.contains("10.0.0.2 is used by default/1"), "{message}");
    world.delete("1");
    assert_eq!((world.vips("3").as_str(), world.vips("4").as_str()), ("10.0.0.2", ""));
}

#[test]
fn c7_a_service_that_starts_to_share_lets_others_in() {
    let mut world = one_address();
    world.apply(lb_with("first", |_| {}));
    world.apply(sharing("second", "key", 443));
    assert_eq!(world.vips("second"), "");
    world.edit("first", |service| service.annotations.allow_shared_ip = Some("key".to_owned()));
    assert_eq!(world.vips("second"), "10.0.0.0");
}

#[test]
fn c7_a_port_given_up_lets_others_in() {
    let mut world = one_address();
    world.apply(sharing("first", "key", 80));
    world.apply(sharing("second", "key", 80));
    assert_eq!(world.vips("second"), "");
    world.edit("first", |service| service.ports = vec![port("TCP", 81)]);
    assert_eq!(world.vips("second"), "10.0.0.0");
}

#[test]
fn c56_h83_a_shared_address_counts_once() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    for number in 1..=50 {
        world.apply(sharing(&number.to_string(), "key", number));
    }
    assert_eq!(world.usage["a"].assigned_ipv4, 1);
    for number in 1..=49_u16 {
        world.delete(&number.to_string());
    }
    assert_eq!(world.usage["a"].assigned_ipv4, 1);
    world.delete("50");
    assert_eq!(world.usage["a"].assigned_ipv4, 0);
}

#[test]
fn c8_two_services_found_on_one_address_keep_it_only_if_they_share() {
    for (key, both) in [("key", true), ("other", false)] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
        world.put(carrying(sharing("a", "key", 80), &["10.0.0.2"], "a"));
        world.put(carrying(sharing("b", key, 443), &["10.0.0.2"], "a"));
        world.tell_all();
        assert_eq!(world.vips("a"), "10.0.0.2");
        assert_eq!(world.vips("b"), if both { "10.0.0.2" } else { "10.0.0.0" });
        assert_eq!(world.reasons("b").contains(&"ClearAssignment"), !both);
    }
}
