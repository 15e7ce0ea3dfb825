//! What a Service is told when it cannot have what it wants: true, and what to do about it.

use ferrolb_api::Service;
use ferrolb_api::service::{FamilyPolicy, TrafficPolicy};

use super::world::{World, carrying, dual, labels, lb, lb_with, pool, port};

/// Applies `services`, and gives what the last of them is told.
fn told(pools: &[(&str, &[&str])], services: Vec<Service>) -> String {
    let mut world = World::new(pools.iter().map(|(name, addresses)| pool(name, addresses)).collect());
    let last = services.last().expect("the test has one").key.to_string();
    for service in services {
        world.apply(service);
    }
    world.texts(&last).join("\n")
}

fn sharing(name: &str, number: u16, change: impl FnOnce(&mut Service)) -> Service {
    lb_with(name, |service| {
        service.annotations.allow_shared_ip = Some("global".to_owned());
        service.ports = vec![port("TCP", number)];
        change(service);
    })
}

fn local(service: &mut Service) {
    service.traffic_policy = TrafficPolicy::Local;
    service.selector = labels(&[("app", "pihole")]);
}

#[test]
fn c50_to_c52_why_two_do_not_share_is_named() {
    let first = || sharing("first", 80, |_| {});
    for (second, fragment) in [
        (
            sharing("second", 53, local),
            "metallb.io/allow-shared-ip is the same, but externalTrafficPolicy is Local with the selector \
             app=pihole here and Cluster there",
        ),
        (
            sharing("second", 53, |service| service.annotations.allow_shared_ip = Some("other".to_owned())),
            "metallb.io/allow-shared-ip is \"other\" here and \"global\" there",
        ),
        (
            sharing("second", 53, |service| service.annotations.allow_shared_ip = None),
            "it has no annotation metallb.io/allow-shared-ip",
        ),
        (sharing("second", 80, |_| {}), "which uses port TCP/80"),
    ] {
        let mut asks = second.clone();
        asks.annotations.load_balancer_ips = Some("10.0.0.1".to_owned());
        let text = told(&[("a", &["10.0.0.1/32"])], vec![first(), asks]);
        assert!(text.contains("10.0.0.1") && text.contains(fragment), "{text}");
        // One that asks for nothing is told of the others that have its key.
        let has_key = second.annotations.allow_shared_ip.as_deref() == Some("global");
        let text = told(&[("a", &["10.0.0.1/32"])], vec![first(), second]);
        assert!(text.contains("all 1 IPv4 addresses are in use"), "{text}");
        assert_eq!(text.contains(fragment), has_key, "{text}");
    }
    let text = told(
        &[("a", &["10.0.0.1/32"])],
        vec![
            lb("first"),
            sharing("second", 53, |service| {
                service.annotations.load_balancer_ips = Some("10.0.0.1".to_owned());
            }),
        ],
    );
    assert!(text.contains("the other has no annotation metallb.io/allow-shared-ip"), "{text}");
}

#[test]
fn c21_a_pair_from_two_pools_is_told_that_it_takes_one() {
    let pools: [(&str, &[&str]); 2] = [("v4", &["10.0.0.0/24"]), ("v6", &["fd00::/120"])];
    let asking = |annotation: Option<&str>, field: Option<&str>| {
        let mut service = dual("s", FamilyPolicy::PreferDualStack);
        service.annotations.load_balancer_ips = annotation.map(str::to_owned);
        service.load_balancer_ip = field.map(str::to_owned);
        vec![service]
    };
    let text = told(&pools, asking(Some("10.0.0.5,fd00::5"), None));
    let expected = "10.0.0.5 is of pool \"v4\" and fd00::5 of pool \"v6\", but both addresses of a Service \
                    come from one pool: give one pool ranges of both families";
    assert!(text.contains(expected), "{text}");
    let text = told(&pools, asking(Some("10.0.0.5,fd01::5"), None));
    assert!(text.contains("no pool holds 10.0.0.5, fd01::5"), "{text}");
    let text = told(&pools, asking(None, Some("10.0.0.7")));
    let expected = "ask for one IPv4 and one IPv6 address by the annotation metallb.io/loadBalancerIPs";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn c31_an_empty_entry_is_named_with_its_position() {
    for (annotation, position) in [("10.0.0.2,", 2), (",10.0.0.2", 1), ("10.0.0.2,,fd00::2", 2), (" , ", 1)] {
        let asks =
            lb_with("s", |service| service.annotations.load_balancer_ips = Some(annotation.to_owned()));
        let text = told(&[("a", &["10.0.0.0/24"])], vec![asks]);
        assert!(text.contains(&format!("entry {position} is an empty entry")), "{annotation}: {text}");
    }
}

#[test]
fn c8_c72_an_address_that_an_old_metallb_gave_is_kept_while_its_pool_is_rejected() {
    // The second pool overlaps with the first, and no valid version of it is known.
    let mut world = World::new(vec![pool("p1", &["10.0.0.0/28"]), pool("p2", &["10.0.0.8-10.0.0.31"])]);
    let mut adopted = carrying(lb("s"), &["10.0.0.20"], "p2");
    adopted.annotations.deprecated_allocated_from_pool = adopted.annotations.allocated_from_pool.take();
    world.apply(adopted);
    assert_eq!((world.vips("s").as_str(), world.origin("s")), ("10.0.0.20", Some("p2")));
    assert_eq!(world.reasons("s"), Vec::<&str>::new());
}

#[test]
fn a_misspelt_annotation_is_named_once_with_what_was_meant() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/24"])]);
    world.apply(lb_with("s", |service| {
        service.annotations.unknown = vec!["metallb.universe.tf/allow-shared-ips".to_owned()];
    }));
    let texts = world.texts("s").join("\n");
    let expected = "unknownAnnotation: annotations that are not read: metallb.universe.tf/allow-shared-ips \
                    (did you mean metallb.io/allow-shared-ip?)";
    assert!(texts.contains(expected), "{texts}");
    world.edit("s", |service| service.labels = labels(&[("a", "b")]));
    world.tell_all();
    assert_eq!(world.texts("s"), Vec::<String>::new());
}
