//! One family and two (C13, C15, C17 to C19, C25, C40 to C48).

use ferrolb_api::service::{FamilyPolicy, Ingress};
use ferrolb_api::{IpFamily, Service};

use super::world::{World, carrying, dual, ip, lb, lb_with, lb6, pool};

const PREFER: FamilyPolicy = FamilyPolicy::PreferDualStack;
const REQUIRE: FamilyPolicy = FamilyPolicy::RequireDualStack;

#[test]
fn c41_a_single_family_skips_pools_without_it() {
    let mut world = World::new(vec![pool("a", &["fd00::/126"]), pool("b", &["10.0.0.0/30"])]);
    world.apply(lb("four"));
    world.apply(lb6("six"));
    assert_eq!((world.vips("four").as_str(), world.vips("six").as_str()), ("10.0.0.0", "fd00::"));
}

#[test]
fn c42_c43_c44_which_pool_serves_a_dual_stack_service() {
    let (four, six, both) = ("10.0.0.0/30", "fd00::/126", ["fd01::/126", "10.1.0.0/30"]);
    let primary = |family| move |service: &mut Service| service.primary_family = Some(family);
    let from = |name: &'static str| {
        move |service: &mut Service| service.annotations.address_pool = Some(name.to_owned())
    };
    type Change = Box<dyn Fn(&mut Service)>;
    let nothing = || -> Change { Box::new(|_| {}) };
    let all = || vec![pool("a", &[four]), pool("b", &[six]), pool("c", &both)];
    let cases: Vec<(&str, _, _, Change, &str)> = vec![
        ("both before primary", all(), PREFER, nothing(), "10.1.0.0,fd01::"),
        ("all or nothing", all(), REQUIRE, nothing(), "10.1.0.0,fd01::"),
        ("H52", vec![pool("a", &[six]), pool("b", &[four])], PREFER, nothing(), "10.0.0.0"),
        (
            "H53",
            vec![pool("a", &[four]), pool("b", &[six])],
            PREFER,
            Box::new(primary(IpFamily::V6)),
            "fd00::",
        ),
        ("secondary", vec![pool("a", &[six])], PREFER, nothing(), "fd00::"),
        ("C42", vec![pool("a", &[four]), pool("b", &[six])], REQUIRE, nothing(), ""),
        ("C44 both", all(), PREFER, Box::new(from("c")), "10.1.0.0,fd01::"),
        ("C44 v4", all(), PREFER, Box::new(from("a")), "10.0.0.0"),
        ("C44 v6", all(), PREFER, Box::new(from("b")), "fd00::"),
        ("C44 require", all(), REQUIRE, Box::new(from("a")), ""),
        // C35 with C43: the pinned tier can do one family, so nobody asks the other tier for two.
        (
            "tiers",
            vec![super::world::pinned("z", &[four], |_| {}), pool("c", &both)],
            PREFER,
            nothing(),
            "10.0.0.0",
        ),
    ];
    for (name, pools, policy, change, vips) in cases {
        let mut world = World::new(pools);
        let mut service = dual("s", policy);
        change(&mut service);
        world.apply(service);
        assert_eq!(world.vips("s"), vips, "{name}");
    }
}

#[test]
fn h77_pairs_run_out_with_either_family() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/31", "fd00::/64"])]);
    world.apply(lb("four"));
    world.apply(dual("first", REQUIRE));
    world.apply(dual("second", REQUIRE));
    assert_eq!((world.vips("first").as_str(), world.vips("second").as_str()), ("10.0.0.1,fd00::", ""));
    world.delete("four");
    assert_eq!(world.vips("second"), "10.0.0.0,fd00::1");
}

#[test]
fn c13_without_cluster_ips_there_is_nothing() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb_with("s", |service| service.cluster_ips.clear()));
    assert_eq!((world.vips("s").as_str(), world.reasons("s")), ("", vec![]));
    world.edit("s", |service| service.cluster_ips = vec![Ok(ip("10.96.0.1"))]);
    assert_eq!(world.vips("s"), "10.0.0.0");
    world.reasons("s");
    world.edit("s", |service| service.cluster_ips.clear());
    assert_eq!((world.vips("s").as_str(), world.reasons("s")), ("", vec!["ClearAssignment"]));
}

#[test]
fn c15_require_dual_stack_needs_two_cluster_ips() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"])]);
    world.apply(carrying(lb_with("s", |service| service.family_policy = REQUIRE), &["10.0.0.1"], "a"));
    assert_eq!((world.vips("s").as_str(), world.reasons("s")), ("", vec!["not enough clusterips"]));
}

#[test]
fn c17_h98_undeterminable_status_is_replaced() {
    for entries in [
        vec![Ingress::Unparsable("garbage".to_owned())],
        vec![Ingress::Ip(ip("10.0.0.1")), Ingress::Unparsable("garbage".to_owned())],
        vec![Ingress::Ip(ip("10.0.0.1")), Ingress::Ip(ip("10.0.0.2"))],
        vec![Ingress::Ip(ip("10.0.0.1")), Ingress::Ip(ip("fd00::1")), Ingress::Ip(ip("fd00::2"))],
    ] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"])]);
        world.apply(lb_with("s", |service| service.ingress.clone_from(&entries)));
        assert_eq!(world.vips("s"), "10.0.0.0", "{entries:?}");
        assert_eq!(world.reasons("s")[0], "nolbIPsIPFamily", "{entries:?}");
    }
}

#[test]
fn c18_undeterminable_cluster_ips_leave_everything_as_it_is() {
    for cluster_ips in [
        vec![Err("None".to_owned())],
        vec![Ok(ip("10.96.0.1")), Ok(ip("10.96.0.2"))],
        vec![Ok(ip("10.96.0.1")), Err("garbage".to_owned())],
    ] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
        world.apply(carrying(
            lb_with("s", |service| service.cluster_ips.clone_from(&cluster_ips)),
            &["10.0.0.0"],
            "a",
        ));
        assert_eq!((world.vips("s").as_str(), world.writes), ("10.0.0.0", 0));
        assert_eq!(world.reasons("s"), ["noclusterIPsIPFamily"]);
        // Its address is nobody else's.
        world.apply(lb("other"));
        assert_eq!(world.vips("other"), "10.0.0.1");
    }
}

#[test]
fn c46_family_changed() {
    let status = [&["10.0.0.1"][..], &["fd00::1"], &["10.0.0.1", "fd00::1"]];
    let dual_with = |policy| move || dual("s", policy);
    type Make = Box<dyn Fn() -> Service>;
    let rows: [(Make, [bool; 3]); 4] = [
        (Box::new(|| lb("s")), [true, false, false]),
        (Box::new(|| lb6("s")), [false, true, false]),
        (Box::new(dual_with(PREFER)), [true, true, true]),
        (Box::new(dual_with(REQUIRE)), [false, false, true]),
    ];
    for (make, kept) in rows {
        for (vips, kept) in status.iter().zip(kept) {
            let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"])]);
            world.apply(carrying(make(), vips, "a"));
            let cleared = world.reasons("s").contains(&"ClearAssignment");
            assert_eq!(cleared, !kept, "{vips:?} {:?}", world.service("s"));
            assert_eq!(world.vips("s").starts_with(vips[0]), kept, "{vips:?} {:?}", world.service("s"));
        }
    }
}

#[test]
fn c25_c45_h54_the_second_family_is_added_when_the_pool_gets_it() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("first"));
    world.apply(dual("s", PREFER));
    assert_eq!(
        (world.vips("s").as_str(), world.reasons("s")),
        ("10.0.0.1", vec!["IPAllocated", "AdditionalAssignFailed"])
    );
    // H56: another pool does not attract it, not even for the second address.
    world.tell_pools(vec![pool("a", &["10.0.0.0/30"]), pool("b", &["10.1.0.0/30", "fd01::/64"])]);
    assert_eq!((world.vips("s").as_str(), world.reasons("s")), ("10.0.0.1", vec![]));
    world.tell_pools(vec![pool("a", &["10.0.0.0/30", "fd00::/127"])]);
    assert_eq!((world.vips("s").as_str(), world.reasons("s")), ("10.0.0.1,fd00::", vec!["IPAllocated"]));
}

#[test]
fn c25_what_is_held_stays_first() {
    let mut world = World::new(vec![pool("a", &["fd00::/64"])]);
    world.apply(dual("s", PREFER));
    world.tell_pools(vec![pool("a", &["fd00::/64", "10.0.0.0/30"])]);
    assert_eq!(world.vips("s"), "fd00::,10.0.0.0");
}

#[test]
fn c25_the_second_family_comes_when_somebody_frees_it() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/128"])]);
    world.apply(lb6("six"));
    world.apply(dual("s", PREFER));
    assert_eq!(world.vips("s"), "10.0.0.0");
    world.delete("six");
    assert_eq!(world.vips("s"), "10.0.0.0,fd00::");
}

#[test]
fn c25_a_request_for_one_address_is_not_completed() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"])]);
    let asking = |service: &mut Service| service.annotations.load_balancer_ips = Some("10.0.0.2".to_owned());
    world.apply(lb_with("s", asking));
    world.edit("s", |service| {
        let dual = dual("s", PREFER);
        service.cluster_ips = dual.cluster_ips;
        service.family_policy = PREFER;
    });
    assert_eq!((world.vips("s").as_str(), world.writes), ("10.0.0.2", 1));
}

#[test]
fn c48_w32_one_cluster_ip_gets_one_address_and_stays() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"])]);
    world.apply(lb_with("s", |service| service.family_policy = PREFER));
    for _ in 0..3 {
        world.tell_all();
    }
    assert_eq!((world.vips("s").as_str(), world.writes), ("10.0.0.0", 1));
}

#[test]
fn h55_prefer_to_require_and_back() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/32"])]);
    world.apply(dual("s", PREFER));
    assert_eq!(world.vips("s"), "10.0.0.0");
    world.edit("s", |service| service.family_policy = REQUIRE);
    assert_eq!(world.vips("s"), "");
    world.edit("s", |service| service.family_policy = PREFER);
    assert_eq!(world.vips("s"), "10.0.0.0");
}

#[test]
fn c63_h57_h73_a_pair_comes_from_one_pool() {
    let (a, b) = (pool("a", &["10.0.0.0/30", "fd00::/64"]), pool("b", &["10.1.0.0/30", "fd01::/64"]));
    let mut world = World::new(vec![a, b.clone()]);
    world.apply(dual("s", PREFER));
    assert_eq!(world.vips("s"), "10.0.0.0,fd00::");
    world.tell_pools(vec![pool("a", &["10.0.0.0/30"]), b]);
    world.let_time_pass();
    assert_eq!(world.vips("s"), "10.1.0.0,fd01::");
    // A pool each: none of the two is right.
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"]), pool("b", &["fd00::/64"])]);
    world.apply(carrying(dual("s", REQUIRE), &["10.0.0.0", "fd00::"], "a"));
    assert_eq!(world.vips("s"), "");
}

#[test]
fn h96_a_dual_request_in_a_single_stack_cluster_fails() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"])]);
    world.apply(lb_with("s", |service| {
        service.annotations.load_balancer_ips = Some("10.0.0.1,fd00::1".to_owned());
    }));
    assert_eq!((world.vips("s").as_str(), world.reasons("s")), ("", vec!["AllocationFailed"]));
}
