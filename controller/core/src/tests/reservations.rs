//! Reservations and exclusions: held for whom they are for, and from all others.

use ferrolb_api::Service;
use ferrolb_api::crd::IPAddressPool;
use ferrolb_api::service::FamilyPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;

use super::world::{
    World, carrying, dual, exclusion, labels, lb, lb_with, lb6, pinned, pool, pool_with, port, reservation,
};
use crate::{Input, Settings};

const OWNING_GATEWAY: &str = "gateway.envoyproxy.io/owning-gateway-name";

/// .101 for Traefik by name, .102 for a Gateway by its labels, .110 for nobody.
fn cluster(addresses: &[&str]) -> IPAddressPool {
    pool_with("first-pool", addresses, |spec| {
        spec.reservations = vec![
            reservation(&["172.16.16.101"], |entry| {
                entry.namespace = Some("traefik".to_owned());
                entry.name = Some("traefik".to_owned());
                entry.reason = Some("DNS points at it".to_owned());
            }),
            reservation(&["172.16.16.102/32"], |entry| {
                let match_labels = Some(labels(&[(OWNING_GATEWAY, "web")]));
                entry.service_selector = Some(LabelSelector { match_labels, match_expressions: None });
            }),
        ];
        spec.excluded_addresses = vec![exclusion(&["172.16.16.100", "172.16.16.110"], "not ours")];
    })
}

fn usual() -> IPAddressPool {
    cluster(&["172.16.16.101-172.16.16.120"])
}

fn traefik() -> Service {
    lb("traefik/traefik")
}

fn gateway() -> Service {
    lb_with("envoy/envoy-web-5f3a", |service| service.labels = labels(&[(OWNING_GATEWAY, "web")]))
}

fn asking(name: &str, address: &str) -> Service {
    lb_with(name, |service| service.annotations.load_balancer_ips = Some(address.to_owned()))
}

#[test]
fn nobody_else_gets_a_reserved_address_even_before_its_service_exists() {
    let mut world = World::new(vec![usual()]);
    world.apply(lb("nginx"));
    assert_eq!(world.vips("nginx"), "172.16.16.103");
    world.apply(traefik());
    world.apply(gateway());
    assert_eq!(world.vips("traefik/traefik"), "172.16.16.101");
    assert_eq!(world.vips("envoy/envoy-web-5f3a"), "172.16.16.102");
    // Nor after it is gone, nor when nothing else is left.
    world.delete("traefik/traefik");
    for number in 0..20 {
        world.apply(lb(&format!("s{number}")));
    }
    let given: Vec<String> = world.store.keys().map(|key| world.vips(&key.to_string())).collect();
    assert!(!given.iter().any(|vip| vip == "172.16.16.101" || vip == "172.16.16.110"), "{given:?}");
    assert_eq!(given.iter().filter(|vip| vip.is_empty()).count(), 4, "21 want one of the 17 that are left");
    world.apply(traefik());
    assert_eq!(world.vips("traefik/traefik"), "172.16.16.101");
}

#[test]
fn whoever_asks_for_what_is_set_aside_is_told_why_not() {
    for (service, expected) in [
        (
            asking("nginx", "172.16.16.101"),
            "AllocationFailed: no address: 172.16.16.101 of pool \"first-pool\" is reserved for Service \
             traefik/traefik (DNS points at it), and it asks for it",
        ),
        (
            asking("nginx", "172.16.16.102"),
            "AllocationFailed: no address: 172.16.16.102 of pool \"first-pool\" is reserved for Services with \
             gateway.envoyproxy.io/owning-gateway-name=web, and it asks for it",
        ),
        (
            asking("nginx", "172.16.16.110"),
            "AllocationFailed: no address: 172.16.16.110 is among the excludedAddresses of pool \
             \"first-pool\" (not ours), and it asks for it",
        ),
        (
            lb_with("nginx", |service| service.load_balancer_ip = Some("172.16.16.101".to_owned())),
            "AllocationFailed: no address: 172.16.16.101 of pool \"first-pool\" is reserved for Service \
             traefik/traefik (DNS points at it), and it asks for it",
        ),
    ] {
        let mut world = World::new(vec![usual()]);
        world.apply(service);
        assert_eq!((world.vips("nginx").as_str(), world.texts("nginx")), ("", vec![expected.to_owned()]));
    }
    // By pool it gets what is left; Traefik may ask as it likes.
    let mut world = World::new(vec![usual()]);
    let by_pool = |name: &str| {
        lb_with(name, |service| service.annotations.address_pool = Some("first-pool".to_owned()))
    };
    world.apply(by_pool("nginx"));
    assert_eq!(world.vips("nginx"), "172.16.16.103");
    for service in [by_pool("traefik/traefik"), asking("traefik/traefik", "172.16.16.101")] {
        world.apply(service);
        assert_eq!(world.vips("traefik/traefik"), "172.16.16.101");
        world.delete("traefik/traefik");
    }
    world.apply(asking("traefik/traefik", "172.16.16.105"));
    assert_eq!(world.vips("traefik/traefik"), "172.16.16.105", "it asked for another one");
}

#[test]
fn c62_a_holder_gives_way_to_a_reservation_and_to_an_exclusion() {
    let mut world = World::new(vec![pool("first-pool", &["172.16.16.101-172.16.16.120"])]);
    for number in 0..10 {
        world.apply(lb(&format!("s{number}")));
    }
    assert_eq!((world.vips("s0").as_str(), world.vips("s9").as_str()), ("172.16.16.101", "172.16.16.110"));
    world.forget_what_was_said();
    world.tell_pools(vec![usual()]);
    world.let_time_pass();
    assert_eq!(world.vips("s0"), "172.16.16.111");
    assert_eq!(
        world.texts("s0"),
        [
            "ClearAssignment: 172.16.16.101 cannot be kept: 172.16.16.101 of pool \"first-pool\" is reserved \
             for Service traefik/traefik (DNS points at it); it is given back to this Service as soon as a pool \
             has it again",
            "IPAllocated: assigned 172.16.16.111 from pool \"first-pool\"; 172.16.16.101, which it has lost, is \
             not to be had",
        ]
    );
    assert_eq!((world.vips("s1").as_str(), world.vips("s9").as_str()), ("172.16.16.112", "172.16.16.113"));
    assert_eq!(world.vips("s2"), "172.16.16.103", "the others keep theirs");
}

/// The reserved address is still in the old holder's status when its Service
/// comes: that one waits for the few milliseconds rather than take another for good.
#[test]
fn its_service_waits_for_the_old_holder_to_be_cleared() {
    let mut world = World::new(vec![pool("first-pool", &["172.16.16.101-172.16.16.120"])]);
    world.apply(lb("nginx"));
    world.hold_writes = true;
    world.tell_pools(vec![usual()]);
    world.apply(traefik());
    assert_eq!(world.vips("nginx"), "172.16.16.101", "the write is on its way");
    assert_eq!(world.controller.waiting().count(), 2);
    world.land();
    assert_eq!(world.vips("nginx"), "");
    world.land();
    assert_eq!(world.vips("traefik/traefik"), "172.16.16.101");
    world.hold_writes = false;
    world.let_time_pass();
    assert_eq!(world.vips("nginx"), "172.16.16.103");
    assert_eq!(world.controller.waiting().count(), 0);
}

#[test]
fn s3_a_service_with_an_address_keeps_it_when_one_is_reserved_for_it() {
    let mut world = World::new(vec![pool("first-pool", &["172.16.16.103-172.16.16.120"])]);
    world.apply(traefik());
    assert_eq!(world.vips("traefik/traefik"), "172.16.16.103");
    world.tell_pools(vec![usual()]);
    world.restart(Settings::default());
    assert_eq!((world.vips("traefik/traefik").as_str(), world.writes), ("172.16.16.103", 0));
    // Once it needs one, it gets the reserved one.
    world.tell_pools(vec![cluster(&["172.16.16.101-172.16.16.102", "172.16.16.104-172.16.16.120"])]);
    world.let_time_pass();
    assert_eq!(world.vips("traefik/traefik"), "172.16.16.101");
}

#[test]
fn c65_labels_decide_who_matches() {
    let mut world = World::new(vec![usual()]);
    world.apply(gateway());
    assert_eq!(world.vips("envoy/envoy-web-5f3a"), "172.16.16.102");
    world.edit("envoy/envoy-web-5f3a", |service| service.labels.clear());
    world.let_time_pass();
    assert_eq!(world.vips("envoy/envoy-web-5f3a"), "172.16.16.103");
    world.apply(lb_with("envoy/next", |service| service.labels = labels(&[(OWNING_GATEWAY, "web")])));
    assert_eq!(world.vips("envoy/next"), "172.16.16.102");
}

#[test]
fn c50_matching_services_share_by_the_usual_rules() {
    let team = |name: &str, number: u16, key: Option<&str>| {
        lb_with(name, |service| {
            service.ports = vec![port("TCP", number)];
            service.annotations.allow_shared_ip = key.map(str::to_owned);
        })
    };
    let mut world = World::new(vec![pool_with("a", &["10.0.0.0/29"], |spec| {
        spec.reservations =
            vec![reservation(&["10.0.0.5"], |entry| entry.namespace = Some("mail".to_owned()))];
    })]);
    world.apply(team("mail/smtp", 25, Some("mail")));
    world.apply(team("mail/imap", 143, Some("mail")));
    world.apply(team("mail/relay", 25, Some("mail")));
    world.apply(team("mail/loner", 80, None));
    // The same key, but not meant by the reservation.
    world.apply(team("other/web", 80, Some("mail")));
    let vips =
        ["mail/smtp", "mail/imap", "mail/relay", "mail/loner", "other/web"].map(|name| world.vips(name));
    assert_eq!(vips, ["10.0.0.5", "10.0.0.5", "10.0.0.0", "10.0.0.1", "10.0.0.0"]);
}

#[test]
fn both_families_and_pools_that_are_not_automatic() {
    let with = |addresses: &[&str], reserved: &[&str], auto: bool| {
        pool_with("z", addresses, |spec| {
            spec.auto_assign = auto;
            spec.reservations = vec![reservation(reserved, |entry| entry.name = Some("mine".to_owned()))];
        })
    };
    let all = &["10.1.0.0/24", "fd01::/64"][..];
    for (reserved, auto, service, expected) in [
        (
            &["10.1.0.9", "fd01::9"][..],
            true,
            dual("mine", FamilyPolicy::RequireDualStack),
            "10.1.0.9,fd01::9",
        ),
        (&["10.1.0.9"], true, dual("mine", FamilyPolicy::RequireDualStack), "10.1.0.9,fd01::"),
        (&["fd01::9"], true, dual("mine", FamilyPolicy::PreferDualStack), "10.1.0.0,fd01::9"),
        // Only what is reserved, for nothing else there is asked for.
        (&["10.1.0.9", "fd01::9"], false, lb6("mine"), "fd01::9"),
        (&["10.1.0.9"], false, lb("mine"), "10.1.0.9"),
        (&["10.1.0.9"], false, lb6("mine"), "fd00::"),
        (&["10.1.0.9"], false, lb("other"), "10.0.0.0"),
        // The other family as if it had asked for the pool (C44), and at once, as C25 would add it.
        (&["10.1.0.9"], false, dual("mine", FamilyPolicy::RequireDualStack), "10.1.0.9,fd01::"),
        (&["fd01::9"], false, dual("mine", FamilyPolicy::RequireDualStack), "10.1.0.0,fd01::9"),
        (&["10.1.0.9"], false, dual("mine", FamilyPolicy::PreferDualStack), "10.1.0.9,fd01::"),
        (&["fd01::9"], false, dual("mine", FamilyPolicy::PreferDualStack), "10.1.0.0,fd01::9"),
        (&["10.1.0.9"], false, dual("other", FamilyPolicy::RequireDualStack), "10.0.0.0,fd00::"),
    ] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/24", "fd00::/64"]), with(all, reserved, auto)]);
        let name = service.key.name().to_owned();
        world.apply(service);
        assert_eq!((world.vips(&name).as_str(), world.writes), (expected, 1), "{reserved:?} {auto}");
    }
    // C36 stands above it.
    let mut elsewhere = pinned("z", all, |allocation| allocation.namespaces = vec!["shop".to_owned()]);
    elsewhere.spec.reservations = with(all, &["10.1.0.9"], true).spec.reservations;
    let mut world = World::new(vec![pool("a", &["10.0.0.0/24"]), elsewhere]);
    world.apply(lb("mine"));
    world.apply(lb("shop/mine"));
    assert_eq!((world.vips("mine").as_str(), world.vips("shop/mine").as_str()), ("10.0.0.0", "10.1.0.9"));
}

#[test]
fn c81_exclusions_are_no_capacity_and_large_ones_cost_nothing() {
    let mut world = World::new(vec![pool_with("a", &["10.0.0.0/24", "fd00::/64"], |spec| {
        spec.excluded_addresses =
            vec![exclusion(&["10.0.0.0/25", "10.0.0.200"], ""), exclusion(&["fd00::/65", "192.168.0.1"], "")];
        let whole = |entry: &mut ferrolb_api::crd::ReservationSpec| entry.name = Some("big".to_owned());
        spec.reservations = vec![reservation(&["fd00::8000:0:0:0/66"], whole)];
    })]);
    assert_eq!((world.usage["a"].total_ipv4, world.usage["a"].total_ipv6), (127, i64::MAX));
    world.apply(lb("four"));
    world.apply(lb6("six"));
    world.apply(lb6("big"));
    let vips = ["four", "six", "big"].map(|name| world.vips(name));
    assert_eq!(vips, ["10.0.0.128", "fd00::c000:0:0:0", "fd00::8000:0:0:0"]);
    assert_eq!(world.usage["a"].exhausted, None);
}

/// A rebuild: Services in any order, the pools somewhere between, writes that
/// are slow or not, and a restart on the way.
fn rebuild(order: &[usize], pools_at: usize, listed: usize, slow: bool, services: &[Service]) -> World {
    let mut world = World::unstarted(Settings::default());
    world.hold_writes = slow;
    world.resources.pools = vec![usual()];
    for (index, number) in order.iter().enumerate() {
        if index == pools_at {
            world.tell_resources();
        }
        let service = world.put(services[*number].clone());
        match index.cmp(&listed) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => world.tell_all(),
            std::cmp::Ordering::Greater => world.handle(Input::Service(Box::new(service))),
        }
    }
    world.tell_resources();
    world.tell_all();
    world.hold_writes = false;
    while !world.on_their_way.is_empty() {
        world.land();
    }
    world.let_time_pass();
    world.tell_all();
    world
}

fn everybody() -> Vec<Service> {
    let others = ["a/1", "default/nginx", "zz/9"].map(lb);
    [traefik(), gateway()].into_iter().chain(others).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_rebuild_each_reserved_address_is_with_its_service(
        order in Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
        pools_at in 0..6_usize,
        listed in 0..5_usize,
        slow in any::<bool>(),
    ) {
        let world = rebuild(&order, pools_at, listed, slow, &everybody());
        prop_assert_eq!(world.vips("traefik/traefik"), "172.16.16.101");
        prop_assert_eq!(world.vips("envoy/envoy-web-5f3a"), "172.16.16.102");
        let mut others = ["a/1", "default/nginx", "zz/9"].map(|name| world.vips(name));
        others.sort();
        prop_assert_eq!(others, ["172.16.16.103", "172.16.16.104", "172.16.16.105"]);
    }

    /// The same with statuses out of an old backup: whoever has what is set
    /// aside for another one loses it, and then it is there for its Service.
    #[test]
    fn after_a_restore_nobody_has_what_is_set_aside_for_another(
        order in Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
        pools_at in 0..6_usize,
        listed in 0..5_usize,
        slow in any::<bool>(),
        stale in prop::collection::vec(prop::option::of(prop_oneof![Just(110_u8), 100..106_u8]), 5),
    ) {
        let services: Vec<Service> = everybody().into_iter().zip(&stale).map(|(service, host)| match host {
            Some(host) => carrying(service, &[&format!("172.16.16.{host}")], "first-pool"),
            None => service,
        }).collect();
        let world = rebuild(&order, pools_at, listed, slow, &services);
        for (service, host) in services.iter().zip(&stale) {
            let has = world.vips(&service.key.to_string());
            prop_assert!(!has.is_empty(), "{}", service.key);
            let reserved = match service.key.namespace() {
                "traefik" => Some((101, "172.16.16.101")),
                "envoy" => Some((102, "172.16.16.102")),
                _ => None,
            };
            let Some((own, address)) = reserved else {
                prop_assert!(has.as_str() > "172.16.16.102" && has != "172.16.16.110", "{} has {has}", service.key);
                continue;
            };
            // What is of no use to it does not count: it is as if it had none.
            let useless = host.is_none_or(|host| host == own || host < 103 || host == 110);
            if useless {
                prop_assert_eq!(has, address);
            }
        }
    }
}
