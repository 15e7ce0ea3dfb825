//! What a speaker must be told before it announces anything: one Service with an endpoint on every node.

use std::net::IpAddr;

use ferrolb_api::config::Resources;
use ferrolb_api::crd::{IPAddressPool, IPAddressPoolSpec, L2Advertisement, L2AdvertisementSpec};
use ferrolb_api::endpoints::Endpoint;
use ferrolb_api::service::{FamilyPolicy, Ingress, TrafficPolicy};
use ferrolb_api::{EndpointSlice, Node, NodeName, Service, ServiceKey};
use speaker_core::{Input, Interface, InterfaceId, MacAddr, Peer};

/// The one interface of a node.
pub const NIC: InterfaceId = InterfaceId(2);

/// The NIC as the kernel of a node would tell it.
#[must_use]
pub fn nic(mac: MacAddr, addresses: &[(IpAddr, u8)]) -> Input<'static> {
    Input::Interfaces(vec![Interface {
        id: NIC,
        name: "eth0".to_owned(),
        mac: Some(mac),
        addresses: addresses.to_vec(),
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    }])
}

/// The cluster as Kubernetes would tell it: these nodes (name and address), and the Service `default/nginx` with
/// `addresses`, which are all in the pool.
#[must_use]
pub fn cluster(nodes: &[(&str, IpAddr)], addresses: &[IpAddr]) -> Vec<Input<'static>> {
    let key = ServiceKey::new("default", "nginx");
    let pool = IPAddressPoolSpec {
        addresses: vec!["172.16.16.101-172.16.16.120".to_owned(), "fd00::101-fd00::120".to_owned()],
        auto_assign: true,
        ..IPAddressPoolSpec::default()
    };
    let service = Service {
        key: key.clone(),
        uid: "1".to_owned(),
        resource_version: "1".to_owned(),
        is_load_balancer: true,
        load_balancer_class: None,
        labels: Default::default(),
        annotations: Default::default(),
        cluster_ips: vec![Ok(IpAddr::from([10, 96, 0, 10]))],
        load_balancer_ip: None,
        primary_family: None,
        family_policy: if addresses.len() > 1 {
            FamilyPolicy::RequireDualStack
        } else {
            FamilyPolicy::SingleStack
        },
        traffic_policy: TrafficPolicy::Cluster,
        selector: Default::default(),
        ports: Vec::new(),
        ingress: addresses.iter().copied().map(Ingress::Ip).collect(),
        status_writer: None,
    };
    let endpoint = |name: &str| Endpoint { node: Some(NodeName::from(name)), can_serve: true };
    let node = |name: &str| Node {
        name: NodeName::from(name),
        labels: Default::default(),
        network_unavailable: false,
        addresses: Default::default(),
    };
    let slice = EndpointSlice {
        api_server: Default::default(),
        namespace: "default".to_owned(),
        name: "nginx-1".to_owned(),
        service: Some(key),
        endpoints: nodes.iter().map(|(name, _)| endpoint(name)).collect(),
    };
    vec![
        Input::Nodes(nodes.iter().map(|(name, _)| node(name)).collect()),
        Input::Peers(
            nodes
                .iter()
                .map(|(name, address)| Peer {
                    node: NodeName::from(*name),
                    address: *address,
                    is_running: true,
                })
                .collect(),
        ),
        Input::Resources(Resources {
            pools: vec![IPAddressPool::new("first-pool", pool)],
            l2_advertisements: vec![L2Advertisement::new("example", L2AdvertisementSpec::default())],
            ..Resources::default()
        }),
        Input::EndpointSlices(vec![slice]),
        Input::Services(vec![service]),
    ]
}
