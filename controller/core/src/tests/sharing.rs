//! Sharing an address (C50 to C56).

use ferrolb_api::Service;
use ferrolb_api::service::{FamilyPolicy, TrafficPolicy};

use super::world::{World, carrying, ip, labels, lb_with, pool, port};
use crate::Settings;

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
    let cases: [(&str, Change, Change, bool); 14] = [
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
        ("cluster and local without selector", |_| {}, |b| local(b, &[]), false),
        ("local without selector and cluster", |a| local(a, &[]), |_| {}, false),
        ("local, both without selector", |a| local(a, &[]), |b| local(b, &[]), true),
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

/// MetalLB lets them share; what it gave stays, also across a restart, and nothing new is given.
#[test]
fn c52_local_without_selector_beside_cluster_keeps_what_it_has() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/31"])]);
    let mut other = sharing("b", "key", 443);
    local(&mut other, &[]);
    world.apply(carrying(sharing("a", "key", 80), &["10.0.0.0"], "a"));
    world.apply(carrying(other, &["10.0.0.0"], "a"));
    assert_eq!((world.vips("a").as_str(), world.vips("b").as_str()), ("10.0.0.0", "10.0.0.0"));
    world.restart(Settings::default());
    assert_eq!((world.vips("a").as_str(), world.vips("b").as_str()), ("10.0.0.0", "10.0.0.0"));
    let mut third = sharing("c", "key", 8080);
    local(&mut third, &[]);
    third.annotations.load_balancer_ips = Some("10.0.0.0".to_owned());
    world.apply(third);
    assert_eq!(world.vips("c"), "");
    let told = world.texts("c").join("; ");
    assert!(told.contains("Local without a selector here and Cluster there"), "{told}");
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
        world.let_time_pass();
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
    world.let_time_pass();
    assert_eq!(held(&world), (true, false));
    world.edit("first", |service| local(service, &x));
    assert_eq!(held(&world), (true, true));
    world.edit("first", |service| service.selector = labels(&[("app", "y")]));
    world.let_time_pass();
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
        world.let_time_pass();
        assert_eq!(world.vips("a"), "10.0.0.2");
        assert_eq!(world.vips("b"), if both { "10.0.0.2" } else { "10.0.0.0" });
        assert_eq!(world.reasons("b").contains(&"ClearAssignment"), !both);
    }
}

/// Both keep the address whichever is seen first, and whether or not the controller starts in between.
#[test]
fn c54_two_that_are_edited_in_one_apply_do_not_part() {
    type Change = fn(&mut Service, u16);
    let changes: [(&str, Change); 4] = [
        ("Cluster to Local", |service, _| local(service, &[("app", "x")])),
        ("another key", |service, _| service.annotations.allow_shared_ip = Some("other".to_owned())),
        ("ports change hands", |service, own| service.ports = vec![port("TCP", 523 - own)]),
        ("all at once", |service, own| {
            local(service, &[("app", "y")]);
            service.annotations.allow_shared_ip = Some("other".to_owned());
            service.ports = vec![port("TCP", 523 - own), port("UDP", own)];
        }),
    ];
    for (name, change) in changes {
        for order in [["a", "b"], ["b", "a"]] {
            for restart in [false, true] {
                let mut world = World::new(vec![pool("p", &["10.0.0.0/30"])]);
                world.apply(sharing("a", "key", 80));
                world.apply(sharing("b", "key", 443));
                let own = |service: &str| if service == "a" { 80 } else { 443 };
                let writes = world.writes;
                world.edit(order[0], |service| change(service, own(order[0])));
                assert_eq!((world.vips("a").as_str(), world.vips("b").as_str()), ("10.0.0.0", "10.0.0.0"));
                if restart {
                    world.restart(Settings::default());
                }
                let writes = if restart { 0 } else { writes };
                // Whoever comes meanwhile fits neither the one nor the other for certain.
                world.apply(sharing("c", "key", 8080));
                assert_ne!(world.vips("c"), "", "{name}");
                world.edit(order[1], |service| change(service, own(order[1])));
                world.let_time_pass();
                assert_eq!(
                    (world.vips("a").as_str(), world.vips("b").as_str()),
                    ("10.0.0.0", "10.0.0.0"),
                    "{name}"
                );
                assert_eq!(world.writes, writes + 1, "{name}: of `c` alone");
                assert!(!world.reasons("a").contains(&"ClearAssignment"), "{name}");
            }
        }
    }
}

/// What they are in the end decides: one that fits is left, the others move.
#[test]
fn c54_of_those_that_do_not_fit_in_the_end_one_stays() {
    let mut world = World::new(vec![pool("p", &["10.0.0.0/30"])]);
    for (name, number) in [("a", 80), ("b", 443), ("c", 53)] {
        world.apply(sharing(name, "key", number));
    }
    world.edit("a", |service| local(service, &[("app", "x")]));
    world.edit("b", |service| local(service, &[("app", "y")]));
    let vips = |world: &World| ["a", "b", "c"].map(|name| world.vips(name));
    assert_eq!(vips(&world), ["10.0.0.0", "10.0.0.0", "10.0.0.0"]);
    assert_eq!(world.wait_for_timeout().as_secs(), 3);
    world.let_time_pass();
    assert_eq!(vips(&world), ["10.0.0.1", "10.0.0.2", "10.0.0.0"]);
    // One that is edited back has lost nothing.
    world.edit("c", |service| service.annotations.allow_shared_ip = None);
    assert_eq!(world.vips("c"), "10.0.0.0");
}

/// Three chained together by the addresses of both families stay together, too.
#[test]
fn c54_a_chain_of_three_is_judged_as_one() {
    let mut world = World::new(vec![pool("p", &["10.0.0.0/30", "fd00::/126"])]);
    let dual_stack = |service: &mut Service| {
        service.cluster_ips = vec![Ok(ip("10.96.0.1")), Ok(ip("fd96::1"))];
        service.family_policy = FamilyPolicy::RequireDualStack;
    };
    world.apply(sharing("a", "key", 80));
    let mut both = sharing("b", "key", 443);
    dual_stack(&mut both);
    world.apply(both);
    let mut six = sharing("c", "key", 53);
    six.cluster_ips = vec![Ok(ip("fd96::2"))];
    world.apply(six);
    let vips = |world: &World| ["a", "b", "c"].map(|name| world.vips(name));
    let before = vips(&world);
    assert_eq!(before, ["10.0.0.0", "10.0.0.0,fd00::", "fd00::"]);
    for name in ["a", "c", "b"] {
        world.edit(name, |service| local(service, &[("app", "x")]));
        assert_eq!(vips(&world), before);
    }
    world.let_time_pass();
    assert_eq!(vips(&world), before);
}
