//! Counters and verdicts (C80 to C84, H58, H82, H83).

use ferrolb_api::config::Kind;
use ferrolb_api::service::FamilyPolicy;

use super::world::{World, dual, lb, pool, pool_with};

#[test]
fn c81_c82_h82_w27_capacity() {
    for (addresses, avoid, ipv4, ipv6) in [
        (&["10.0.0.0/24"][..], false, 256, 0),
        (&["10.0.0.0/24", "10.1.0.0/25"], false, 384, 0),
        (&["10.0.0.0/24", "10.1.0.0/25"], true, 381, 0),
        (&["10.0.0.0/24", "10.1.0.0/25", "fd00::/64"], true, 381, i64::MAX),
        (&["10.0.0.0/31", "fd00::/127"], true, 1, 2),
        (&["fd00::/64", "fd01::/64", "fd02::/127"], false, 0, i64::MAX),
    ] {
        let world = World::new(vec![pool_with("a", addresses, |spec| spec.avoid_buggy_ips = avoid)]);
        assert_eq!((world.usage["a"].total_ipv4, world.usage["a"].total_ipv6), (ipv4, ipv6), "{addresses:?}");
    }
}

#[test]
fn c80_c83_h58_counters_follow_every_change_and_nothing_else() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30", "fd00::/64"]), pool("b", &["10.1.0.0/30"])]);
    assert_eq!(world.usage_writes, 2);
    world.apply(dual("s", FamilyPolicy::RequireDualStack));
    assert_eq!(world.usage_writes, 3);
    let usage = world.usage["a"].clone();
    assert_eq!((usage.assigned_ipv4, usage.assigned_ipv6), (1, 1));
    assert_eq!((usage.available_ipv4(), usage.available_ipv6()), (3, i64::MAX - 1));
    world.tell_all();
    world.tell_resources();
    assert_eq!(world.usage_writes, 3);
    world.tell_pools(vec![pool("a", &["10.0.0.0/29", "fd00::/64"]), pool("b", &["10.1.0.0/30"])]);
    assert_eq!((world.usage_writes, world.usage["a"].available_ipv4()), (4, 7));
    world.delete("s");
    assert_eq!((world.usage_writes, world.usage["a"].assigned_ipv4), (5, 0));
    world.tell_pools(vec![pool("b", &["10.1.0.0/30"])]);
    assert!(!world.usage.contains_key("a"), "C84");
}

#[test]
fn verdicts_are_given_once_for_each_generation_and_outcome() {
    let mut world = World::new(vec![pool("bad", &["x"]), pool("good", &["10.0.0.0/30"])]);
    let summary = |world: &World| -> Vec<(String, i64, bool)> {
        world.verdicts.iter().map(|v| (v.name.clone(), v.generation, v.outcome.is_ok())).collect()
    };
    let mut expected = vec![("bad".to_owned(), 1, false), ("good".to_owned(), 1, true)];
    assert_eq!(summary(&world), expected);
    assert!(world.verdicts.iter().all(|verdict| verdict.kind == Kind::IPAddressPool));
    world.tell_resources();
    world.apply(lb("s"));
    assert_eq!(summary(&world), expected);
    world.resources.pools[1].metadata.generation = Some(2);
    world.tell_resources();
    expected.push(("good".to_owned(), 2, true));
    assert_eq!(summary(&world), expected);
    // Outdone by an older pool with the same addresses.
    world.resources.pools[0] = pool("bad", &["10.0.0.0/30"]);
    world.resources.pools[0].metadata.generation = Some(2);
    world.resources.pools[1].metadata.generation = Some(2);
    world.tell_resources();
    expected.push(("bad".to_owned(), 2, true));
    expected.push(("good".to_owned(), 2, false));
    assert_eq!(summary(&world), expected);
}
