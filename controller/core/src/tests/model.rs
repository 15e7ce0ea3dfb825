//! Any history of Services and pools, against what a naive allocator would say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrolb_api::address::{from_number, number};
use ferrolb_api::config::Pool;
use ferrolb_api::crd::IPAddressPool;
use ferrolb_api::service::{FamilyPolicy, TrafficPolicy};
use ferrolb_api::{IpFamilies, IpFamily, Service, ServiceKey};
use proptest::prelude::*;

use super::world::{
    World, dual, exclusion, key, labels, lb, lb6, may_share, pool, pool_with, port, reservation,
};
use crate::{Input, Settings};

/// One thing that a user or the cluster does.
#[derive(Clone, Debug)]
enum Step {
    Apply {
        name: u8,
        shape: Shape,
    },
    Delete(u8),
    Pools(u8),
    Restart,
    Relist,
    /// Writes are held back from now on, or land again.
    HoldWrites(bool),
    Land,
}

/// What a Service looks like.
#[derive(Clone, Debug)]
struct Shape {
    kind: u8,
    share: u8,
    port: u16,
    local: bool,
    asked: u8,
    balanced: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let shape =
        (0..5_u8, 0..3_u8, 80..83_u16, prop::bool::weighted(0.2), 0..12_u8, prop::bool::weighted(0.9))
            .prop_map(|(kind, share, port, local, asked, balanced)| Shape {
                kind,
                share,
                port,
                local,
                asked,
                balanced,
            });
    let step = prop_oneof![
        8 => (0..7_u8, shape).prop_map(|(name, shape)| Step::Apply { name, shape }),
        3 => (0..7_u8).prop_map(Step::Delete),
        2 => (0..8_u8).prop_map(Step::Pools),
        1 => Just(Step::Restart),
        1 => Just(Step::Relist),
        1 => any::<bool>().prop_map(Step::HoldWrites),
        2 => Just(Step::Land),
    ];
    prop::collection::vec(step, 1..40)
}

fn build(name: u8, shape: &Shape) -> Service {
    let name = format!("s{name}");
    let mut service = match shape.kind {
        0 | 1 => lb(&name),
        2 => lb6(&name),
        3 => dual(&name, FamilyPolicy::PreferDualStack),
        _ => dual(&name, FamilyPolicy::RequireDualStack),
    };
    service.annotations.allow_shared_ip = match shape.share {
        0 => None,
        1 => Some("one".to_owned()),
        _ => Some("two".to_owned()),
    };
    service.ports = vec![port("TCP", shape.port)];
    if shape.local {
        service.traffic_policy = TrafficPolicy::Local;
        service.selector = labels(&[("app", if shape.port == 80 { "x" } else { "y" })]);
    }
    match shape.asked {
        0 => service.annotations.load_balancer_ips = Some("10.0.0.2".to_owned()),
        1 => service.annotations.load_balancer_ips = Some("10.1.0.1,fd01::1".to_owned()),
        2 => service.annotations.load_balancer_ips = Some("nonsense".to_owned()),
        3 => service.annotations.address_pool = Some("b".to_owned()),
        _ => {}
    }
    service.is_load_balancer = shape.balanced;
    service
}

fn pools(choice: u8) -> Vec<IPAddressPool> {
    let a = || pool("a", &["10.0.0.0/31", "10.0.0.4/31"]);
    let b = || pool("b", &["10.1.0.0/31", "fd01::/127"]);
    match choice {
        0 => vec![a()],
        1 => vec![a(), b()],
        2 => vec![pool("a", &["10.0.0.0/29"]), b()],
        3 => vec![
            pool_with("renamed", &["10.0.0.0/31", "fd00::/127"], |spec| spec.avoid_buggy_ips = true),
            b(),
        ],
        4 => vec![pool("a", &["10.0.0.0/31", "broken"]), b()],
        5 => vec![with_reservation(a()), b()],
        6 => vec![with_reservation(pool("a", &["10.0.0.0/31", "10.0.0.4/31", "10.0.0.8/31"])), b()],
        _ => Vec::new(),
    }
}

/// 10.0.0.1 is for `s1`, 10.0.0.4 for nobody.
fn with_reservation(mut pool: IPAddressPool) -> IPAddressPool {
    let for_s1 = reservation(&["10.0.0.1"], |entry| entry.name = Some("s1".to_owned()));
    pool.spec.reservations = vec![for_s1];
    pool.spec.excluded_addresses = vec![exclusion(&["10.0.0.4"], "a printer")];
    pool
}

fn run(world: &mut World, step: &Step) {
    match step {
        Step::Apply { name, shape } => {
            let mut service = build(*name, shape);
            if let Some(stored) = world.store.get(&service.key) {
                service.ingress.clone_from(&stored.ingress);
                service.annotations.allocated_from_pool.clone_from(&stored.annotations.allocated_from_pool);
                service.annotations.lost_addresses.clone_from(&stored.annotations.lost_addresses);
            }
            world.apply(service);
        }
        Step::Delete(name) => {
            let name = format!("s{name}");
            if world.store.contains_key(&key(&name)) {
                world.delete(&name);
            }
        }
        Step::Pools(choice) => world.tell_pools(pools(*choice)),
        // A new process has lost what its predecessor had not sent yet.
        Step::Restart => world.restart(Settings::default()),
        Step::Relist => world.tell_all(),
        Step::HoldWrites(hold) => world.hold_writes = *hold,
        Step::Land => world.land(),
    }
}

/// Lets everything that was held back land.
fn quiesce(world: &mut World) {
    world.hold_writes = false;
    while !world.on_their_way.is_empty() {
        world.land();
    }
    world.let_time_pass();
    world.tell_all();
}

fn assignments(world: &World) -> BTreeMap<ServiceKey, Vec<IpAddr>> {
    let held = world.controller.assignments();
    held.map(|assigned| (assigned.service.clone(), assigned.addresses.to_vec())).collect()
}

/// S1, that what is stored is what is held, and that nobody has what is set
/// aside for others.
fn check_store(world: &World) {
    let held = assignments(world);
    for service in world.store.values() {
        let shown: Vec<IpAddr> = service.ingress_ips().collect();
        let expected = held.get(&service.key).cloned().unwrap_or_default();
        assert_eq!(shown, expected, "{}", service.key);
        for pool in world.controller.config().pools.values() {
            let unavailable = shown
                .iter()
                .filter(|address| pool.contains(**address))
                .find_map(|address| pool.unavailable(*address, service));
            assert_eq!(unavailable, None, "{}", service.key);
        }
        for other in world.store.values().filter(|other| other.key != service.key) {
            if other.ingress_ips().any(|address| shown.contains(&address)) {
                assert!(may_share(service, other), "S1: {} and {} have {shown:?}", service.key, other.key);
            }
        }
    }
    for usage in world.usage.values() {
        let pool = &world.controller.config().pools[&usage.pool];
        let mut distinct: Vec<IpAddr> = held.values().flatten().copied().collect();
        distinct.retain(|address| pool.contains(*address));
        distinct.sort();
        distinct.dedup();
        let four = i64::try_from(distinct.iter().filter(|address| address.is_ipv4()).count()).expect("a few");
        assert_eq!((usage.assigned_ipv4, four), (four, usage.assigned_ipv4), "{usage:?}");
    }
}

/// The first address that `service` could have from `pool`, by looking at each (C33).
fn naive_pick(world: &World, pool: &Pool, family: IpFamily, service: &Service) -> Option<IpAddr> {
    let free =
        |address: &IpAddr| {
            pool.may_assign(*address)
                && pool.unavailable(*address, service).is_none()
                && world.store.values().filter(|other| other.key != service.key).all(|other| {
                    other.ingress_ips().all(|shown| shown != *address) || may_share(service, other)
                })
        };
    let ranges = pool.ranges.iter().filter(|range| range.family() == family);
    let mut all = ranges
        .flat_map(|range| (number(range.first())..=number(range.last())).map(|n| from_number(family, n)));
    all.find(free)
}

/// What a single-stack Service that asks for nothing would be given (C35: there
/// are only unpinned pools here).
fn naive_choice(world: &World, service: &Service, family: IpFamily) -> Option<IpAddr> {
    let mut pools = world.controller.config().pools.values().filter(|pool| pool.auto_assign);
    pools.find_map(|pool| naive_pick(world, pool, family, service))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// S1 and S2 are checked by the world at every write; here also at rest.
    /// S3: a restart at rest writes nothing and changes nothing.
    #[test]
    fn s1_s2_s3_any_history(steps in steps()) {
        let mut world = World::new(pools(1));
        for step in &steps {
            run(&mut world, step);
            if world.on_their_way.is_empty() && !world.hold_writes {
                world.let_time_pass();
                check_store(&world);
            }
        }
        quiesce(&mut world);
        // A restart in the middle of a write can leave a rejected pool's
        // addresses behind in a status that is not judged; pools that are good
        // settle that.
        world.tell_pools(pools(1));
        quiesce(&mut world);
        check_store(&world);
        let before = assignments(&world);
        world.restart(Settings::default());
        prop_assert_eq!(world.writes, 0);
        prop_assert_eq!(assignments(&world), before);
    }

    /// S3: the life of other Services takes no address away.
    #[test]
    fn s3_others_take_nothing_away(steps in steps()) {
        let mut world = World::new(pools(1));
        world.apply(lb("mine"));
        let mine = world.vips("mine");
        for step in steps.iter().filter(|step| !matches!(step, Step::Pools(_))) {
            run(&mut world, step);
            if !world.hold_writes && !mine.is_empty() {
                prop_assert_eq!(world.vips("mine"), mine.clone());
            }
        }
    }

    /// A reserved address is there for its Service after any history: at rest it
    /// has that one, or another that it is content with.
    #[test]
    fn a_reservation_serves_its_service_after_any_history(steps in steps(), choice in 5..7_u8) {
        let mut world = World::new(pools(1));
        for step in &steps {
            run(&mut world, step);
        }
        world.tell_pools(pools(choice));
        quiesce(&mut world);
        let shape = Shape { kind: 0, share: 0, port: 80, local: false, asked: 9, balanced: true };
        let fresh = !world.store.contains_key(&key("s1"));
        let mut service = build(1, &shape);
        if let Some(stored) = world.store.get(&service.key) {
            service.ingress.clone_from(&stored.ingress);
            service.annotations.allocated_from_pool.clone_from(&stored.annotations.allocated_from_pool);
        }
        world.apply(service);
        quiesce(&mut world);
        check_store(&world);
        let has = world.vips("s1");
        prop_assert!(if fresh { has == "10.0.0.1" } else { !has.is_empty() }, "{has:?}");
    }

    /// C33, C35: a newcomer gets what the naive allocator finds, or waits.
    #[test]
    fn c33_as_the_naive_model(steps in steps(), kind in 0..3_u8, share in 0..3_u8, port in 80..83_u16) {
        let mut world = World::new(pools(1));
        for step in &steps {
            run(&mut world, step);
        }
        quiesce(&mut world);
        let shape = Shape { kind, share, port, local: false, asked: 9, balanced: true };
        let newcomer = build(99, &shape);
        let IpFamilies::Single(family) = IpFamilies::of(&newcomer.cluster_ips.iter().flatten().copied().collect::<Vec<_>>()).expect("it has one cluster IP") else {
            unreachable!("the first three kinds are single-stack");
        };
        let expected = naive_choice(&world, &newcomer, family);
        world.apply(newcomer);
        let given = world.service("s99").ingress_ips().next();
        prop_assert_eq!(given, expected);
    }

    /// C5, C8: after a restart it does not matter in which order a list comes,
    /// nor whether Services or pools come first.
    #[test]
    fn c5_order_of_arrival_does_not_matter(steps in steps(), seed in any::<u64>()) {
        let mut world = World::new(pools(1));
        for step in &steps {
            run(&mut world, step);
        }
        let list: Vec<Service> = world.store.values().cloned().collect();
        let outcome = |list: Vec<Service>, pools_first: bool| {
            let mut other = World::unstarted(Settings::default());
            other.store = list.iter().map(|service| (service.key.clone(), service.clone())).collect();
            other.resources = world.resources.clone();
            if pools_first {
                other.tell_resources();
            }
            other.handle(Input::Services(list));
            if !pools_first {
                other.tell_resources();
            }
            assignments(&other)
        };
        let mut shuffled = list.clone();
        shuffled.sort_by_key(|service| {
            let text = format!("{seed}{}", service.key);
            text.bytes().fold(seed, |hash, byte| hash.rotate_left(5) ^ u64::from(byte).wrapping_mul(0x9e37_79b9))
        });
        let first = outcome(list, true);
        prop_assert_eq!(&outcome(shuffled.clone(), true), &first);
        prop_assert_eq!(&outcome(shuffled, false), &first);
    }
}
