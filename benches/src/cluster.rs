//! A cluster of a given size, as both cores are told of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ferrolb_api::annotations::Annotations;
use ferrolb_api::config::Resources;
use ferrolb_api::crd::{IPAddressPool, IPAddressPoolSpec, L2Advertisement, L2AdvertisementSpec};
use ferrolb_api::endpoints::Endpoint;
use ferrolb_api::service::{FamilyPolicy, Ingress, Port, TrafficPolicy};
use ferrolb_api::{EndpointSlice, Node, NodeName, Service, ServiceKey};

/// The name of the only pool.
pub const POOL: &str = "pool";
/// A pool of 65,536 addresses.
pub const SLASH_16: &str = "10.100.0.0/16";
/// A pool of 2^64 addresses.
pub const SLASH_64: &str = "fd00:100::/64";

/// One pool of these addresses, advertised everywhere.
#[must_use]
pub fn resources(addresses: &str) -> Resources {
    let spec =
        IPAddressPoolSpec { addresses: vec![addresses.to_owned()], auto_assign: true, ..Default::default() };
    Resources {
        pools: vec![IPAddressPool::new(POOL, spec)],
        l2_advertisements: vec![L2Advertisement::new("everywhere", L2AdvertisementSpec::default())],
        ..Default::default()
    }
}

/// LoadBalancer Service `number`, of the family of `addresses`, as long as it is
/// without an address.
#[must_use]
pub fn service(number: usize, addresses: &str) -> Service {
    let name = format!("service-{number:06}");
    let cluster_ip: IpAddr =
        if addresses.contains(':') { [0xfd96, 0, 0, 0, 0, 0, 0, 1].into() } else { [10, 96, 0, 1].into() };
    Service {
        key: ServiceKey::new("default", name.clone()),
        uid: format!("6f1c4f4e-0000-4000-8000-{number:012}"),
        resource_version: format!("{}", 100_000 + number),
        is_load_balancer: true,
        load_balancer_class: None,
        labels: BTreeMap::from([("app".to_owned(), name.clone())]),
        annotations: Annotations::default(),
        cluster_ips: vec![Ok(cluster_ip)],
        load_balancer_ip: None,
        primary_family: None,
        family_policy: FamilyPolicy::SingleStack,
        traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::from([("app".to_owned(), name)]),
        ports: vec![Port { protocol: "TCP".to_owned(), port: 80 }],
        ingress: Vec::new(),
        status_writer: None,
    }
}

/// Service `number` with the address in its status that a controller gave it, out
/// of [`SLASH_16`].
///
/// # Panics
/// If the pool has no such address.
#[must_use]
pub fn service_with_address(number: usize) -> Service {
    let mut service = service(number, SLASH_16);
    service.ingress = vec![Ingress::Ip(address(number).into())];
    service.annotations.allocated_from_pool = Some(POOL.to_owned());
    service
}

/// [`service_with_address`], and the same after a change that changes nothing
/// for it.
///
/// # Panics
/// If the pool has no such address.
#[must_use]
pub fn two_views(number: usize) -> [Service; 2] {
    let mut changed = service_with_address(number);
    changed.labels.insert("version".to_owned(), "2".to_owned());
    [service_with_address(number), changed]
}

/// Address `number` of [`SLASH_16`].
///
/// # Panics
/// If the pool has no such address.
#[must_use]
pub fn address(number: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(number).expect("a /16 has 65,536 addresses").to_be_bytes();
    Ipv4Addr::new(10, 100, high, low)
}

/// Node `number`.
#[must_use]
pub fn node_name(number: usize) -> NodeName {
    format!("node-{number:03}").into()
}

/// The first `count` nodes.
#[must_use]
pub fn nodes(count: usize) -> Vec<Node> {
    let node = |number| Node {
        name: node_name(number),
        labels: BTreeMap::new(),
        network_unavailable: false,
        addresses: Default::default(),
    };
    (0..count).map(node).collect()
}

/// The endpoints of Service `number`: one, on one of `nodes` nodes.
#[must_use]
pub fn slice(number: usize, nodes: usize) -> EndpointSlice {
    let key = ServiceKey::new("default", format!("service-{number:06}"));
    EndpointSlice {
        api_server: Default::default(),
        namespace: "default".to_owned(),
        name: format!("{}-abcde", key.name()),
        service: Some(key),
        endpoints: vec![Endpoint { node: Some(node_name(number % nodes)), can_serve: true }],
    }
}
