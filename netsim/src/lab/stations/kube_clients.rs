//! What a node's Kubernetes clients make of news: the speaker's inputs, and
//! the traffic that kube-proxy lets in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::service::{Port, TrafficPolicy};
use ferrolb_api::{NodeName, ServiceKey};
use speaker_core::Input;

use crate::lab::api::objects::Kind;
use crate::lab::api::view::{self, WatchCache};
use crate::lab::api::watch::Update;

/// What [`Input::Resources`] is made of.
const RESOURCES: &[Kind] = &[Kind::Namespace, Kind::IPAddressPool, Kind::L2Advertisement];

/// The traffic that a node takes for Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// The addresses whose packets it accepts.
    pub addresses: BTreeSet<IpAddr>,
    /// What is served on them.
    pub ports: BTreeSet<(IpAddr, Port)>,
    /// The Services that are, by their addresses.
    pub services: BTreeSet<(IpAddr, ServiceKey)>,
}

/// The speaker's input that follows from an update.
#[must_use]
pub fn input(view: &WatchCache, update: &Update) -> Option<Input<'static>> {
    let kind = match update {
        Update::Listed(kind) => *kind,
        Update::Changed(key) | Update::Gone(key) => key.kind,
    };
    if RESOURCES.contains(&kind) {
        return view.has_listed(RESOURCES).then(|| Input::Resources(view.resources()));
    }
    Some(match (kind, update) {
        (Kind::Node, _) => Input::Nodes(view.nodes()),
        (Kind::Pod, _) => Input::Peers(view.peers()),
        (Kind::Service, Update::Listed(_)) => Input::Services(view.services()),
        (Kind::Service, Update::Changed(key) | Update::Gone(key)) => {
            match view.get(key).and_then(view::service) {
                Some(service) => Input::Service(Box::new(service)),
                None => Input::ServiceGone(ServiceKey::new(key.namespace.clone(), key.name.clone())),
            }
        }
        (Kind::ServiceL2Status, Update::Listed(_)) => Input::L2Statuses(view.l2_statuses()),
        (Kind::ServiceL2Status, Update::Changed(key) | Update::Gone(key)) => {
            match view.get(key).and_then(view::l2_status) {
                Some(object) => Input::L2Status(Box::new(object)),
                None => Input::L2StatusGone(key.name.clone()),
            }
        }
        (_, Update::Listed(_)) => Input::EndpointSlices(view.endpoint_slices()),
        (_, Update::Changed(key) | Update::Gone(key)) => match view.get(key).and_then(view::endpoint_slice) {
            Some(slice) => Input::EndpointSlice(slice),
            None => Input::EndpointSliceGone { namespace: key.namespace.clone(), name: key.name.clone() },
        },
    })
}

/// kube-proxy's part: the addresses whose packets this node accepts, and their
/// ports. Under `externalTrafficPolicy: Local` only with an endpoint of its own.
#[must_use]
pub fn proxied(view: &WatchCache, node: &NodeName) -> Proxied {
    let slices = view.endpoint_slices();
    let has_local = |service: &ServiceKey| {
        let own = slices.iter().filter(|slice| slice.service.as_ref() == Some(service));
        own.flat_map(|slice| &slice.endpoints).any(|e| e.can_serve && e.node.as_ref() == Some(node))
    };
    let mut proxied = Proxied::default();
    for service in view.services() {
        if service.traffic_policy == TrafficPolicy::Cluster || has_local(&service.key) {
            for address in service.ingress_ips() {
                proxied.addresses.insert(address);
                proxied.services.insert((address, service.key.clone()));
                proxied.ports.extend(service.ports.iter().map(|port| (address, port.clone())));
            }
        }
    }
    proxied
}
