//! What the tests of this crate begin with: one good object of each kind to change, and ways to spoil a frame.

use std::collections::BTreeMap;

use ferrolb_api::annotations::Annotations;
use ferrolb_api::config::{Advertisement, Config, Pool, PoolSelection};
use ferrolb_api::service::{FamilyPolicy, Ingress, TrafficPolicy};
use ferrolb_api::{Service, ServiceKey};
use rand::{Rng, RngExt};

/// A LoadBalancer in namespace `default` that shows `ingress`.
pub(crate) fn service(name: &str, ingress: Vec<Ingress>) -> Service {
    Service {
        key: ServiceKey::new("default", name),
        uid: format!("uid-{name}"),
        resource_version: "1".to_owned(),
        is_load_balancer: true,
        load_balancer_class: None,
        labels: BTreeMap::new(),
        annotations: Annotations::default(),
        cluster_ips: Vec::new(),
        load_balancer_ip: None,
        primary_family: None,
        family_policy: FamilyPolicy::SingleStack,
        traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::new(),
        ports: Vec::new(),
        ingress,
        status_writer: None,
    }
}

/// A pool of these ranges that serves everybody.
pub(crate) fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        ranges: ranges.iter().map(|range| range.parse().expect("a legal range")).collect(),
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
        reservations: Vec::new(),
        exclusions: Vec::new(),
        allow_occupied: false,
        withheld: BTreeMap::new(),
    }
}

/// An advertisement of every pool, from every node, on every interface.
pub(crate) fn advertisement(name: &str) -> Advertisement {
    Advertisement {
        name: name.to_owned(),
        pools: PoolSelection::All,
        node_selectors: Vec::new(),
        interfaces: Vec::new(),
        service_selectors: Vec::new(),
        preferred_nodes: Vec::new(),
    }
}

/// The same on these interfaces alone.
pub(crate) fn on_interfaces(name: &str, interfaces: &[&str]) -> Advertisement {
    let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    Advertisement { interfaces, ..advertisement(name) }
}

/// These under their names.
pub(crate) fn config(
    pools: impl IntoIterator<Item = Pool>,
    advertisements: impl IntoIterator<Item = Advertisement>,
) -> Config {
    Config {
        pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
        advertisements: advertisements.into_iter().map(|ad| (ad.name.clone(), ad)).collect(),
        ..Config::default()
    }
}

/// A frame with `bytes` written over it from `at` on.
pub(crate) fn overwritten(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A frame as it is in VLAN 5 (IEEE 802.1Q).
pub(crate) fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat()
}

/// Anything at all, of up to 1,600 bytes.
pub(crate) fn noise(random: &mut impl Rng) -> Vec<u8> {
    (0..random.random_range(0..1_600)).map(|_| random.random()).collect()
}

/// Puts up to three bytes of a frame wrong.
pub(crate) fn damage(random: &mut impl Rng, frame: &mut [u8]) {
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..frame.len());
        frame[at] = random.random();
    }
}
