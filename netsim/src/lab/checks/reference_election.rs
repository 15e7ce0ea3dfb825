//! The election order of D20, and the address that is hashed for it (D21), computed
//! here once more: the checkers must not take the speaker's word for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::service::TrafficPolicy;
use ferrolb_api::{EndpointSlice, NodeName, Service, ServiceKey};
use sha2::{Digest, Sha256};

/// A candidate's key: SHA-256 of `node#address`; the smallest wins (D20).
#[must_use]
pub fn key(node: &NodeName, address: IpAddr) -> [u8; 32] {
    Sha256::digest(format!("{node}#{address}").as_bytes()).into()
}

/// The first four bytes of the key in hex: enough to show who wins and why.
#[must_use]
pub fn key_prefix(node: &NodeName, address: IpAddr) -> String {
    let [a, b, c, d, ..] = key(node, address);
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// The candidate that owns `address` if all preferences are equal.
pub fn first<'a>(
    candidates: impl IntoIterator<Item = &'a NodeName>,
    address: IpAddr,
) -> Option<&'a NodeName> {
    candidates.into_iter().min_by_key(|node| key(node, address))
}

/// By which address's hashes a Service's owner is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elector {
    /// The address.
    pub address: IpAddr,
    /// Whether other Services share addresses with it.
    pub is_shared: bool,
}

/// The [`Elector`] of `service`: the first address of its status (D21); where it shares
/// addresses, directly or by others, the one that is the first of all, or else the
/// smallest of theirs, IPv4 before IPv6. `None` where no node has endpoints for all of
/// them: then there may be several owners.
#[must_use]
pub fn elector(service: &ServiceKey, services: &[Service], slices: &[EndpointSlice]) -> Option<Elector> {
    let endpoints = |service: &Service| {
        let own = slices.iter().filter(|slice| slice.service.as_ref() == Some(&service.key));
        let serving: Vec<_> =
            own.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.can_serve).collect();
        (!serving.is_empty())
            .then(|| serving.iter().filter_map(|one| one.node.as_ref()).collect::<BTreeSet<_>>())
    };
    let takes_part = |one: &&Service| {
        let is_ours = one.is_load_balancer && one.load_balancer_class.is_none();
        is_ours && one.ingress_ips().next().is_some() && endpoints(one).is_some()
    };
    let (mut linked, mut left): (Vec<&Service>, Vec<&Service>) =
        services.iter().filter(takes_part).partition(|one| one.key == *service);
    loop {
        let addresses: BTreeSet<IpAddr> = linked.iter().flat_map(|one| one.ingress_ips()).collect();
        let (more, others): (Vec<&Service>, Vec<&Service>) =
            left.into_iter().partition(|one| one.ingress_ips().any(|address| addresses.contains(&address)));
        left = others;
        if more.is_empty() {
            break;
        }
        linked.extend(more);
    }
    let local = linked.iter().filter(|one| one.traffic_policy == TrafficPolicy::Local);
    let in_common = local.filter_map(|one| endpoints(one)).reduce(|one, other| &one & &other);
    let firsts: BTreeSet<IpAddr> = linked.iter().filter_map(|one| one.ingress_ips().next()).collect();
    let address = match firsts.len() {
        1 => firsts.first().copied(),
        _ => linked.iter().flat_map(|one| one.ingress_ips()).min(),
    };
    let is_shared = linked.len() > 1;
    let address = address.filter(|_| !is_shared || in_common.is_none_or(|nodes| !nodes.is_empty()))?;
    Some(Elector { address, is_shared })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, addresses: &[&str], policy: &str) -> Service {
        let ingress: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let value = json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let object: k8s_openapi::api::core::v1::Service = serde_json::from_value(value).expect("a Service");
        Service::from(&object)
    }

    fn slice(name: &str, nodes: &[&str]) -> EndpointSlice {
        let endpoint =
            |node: &&str| ferrolb_api::endpoints::Endpoint { node: Some((*node).into()), can_serve: true };
        EndpointSlice {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            service: Some(ServiceKey::new("default", name)),
            endpoints: nodes.iter().map(endpoint).collect(),
            api_server: BTreeSet::new(),
        }
    }

    #[test]
    fn d21_the_first_address_or_the_smallest_of_all_that_are_shared() {
        const V4: &str = "10.0.0.1";
        const V6: &str = "fd00::1";
        type Sharer<'a> = (&'a [&'a str], &'a str, &'a [&'a str]);
        type Row<'a> = (&'a str, Sharer<'a>, Sharer<'a>, Option<(&'a str, bool)>);
        let rows: [Row<'_>; 7] = [
            ("alone", (&[V6, V4], "Cluster", &["a"]), (&["10.0.0.2"], "Cluster", &["a"]), Some((V6, false))),
            ("the same first", (&[V6, V4], "Cluster", &["a"]), (&[V6], "Cluster", &["a"]), Some((V6, true))),
            ("another first", (&[V6], "Cluster", &["a"]), (&[V4, V6], "Cluster", &["b"]), Some((V4, true))),
            (
                "the other serves nothing",
                (&[V6], "Cluster", &["a"]),
                (&[V4, V6], "Cluster", &[]),
                Some((V6, false)),
            ),
            ("Local, one node", (&[V4], "Local", &["a", "b"]), (&[V4], "Local", &["b"]), Some((V4, true))),
            ("Local and Cluster", (&[V4], "Local", &["a"]), (&[V4], "Cluster", &["b"]), Some((V4, true))),
            ("Local, no node", (&[V4], "Local", &["a"]), (&[V4], "Local", &["b"]), None),
        ];
        for (what, one, other, expected) in rows {
            let services = [service("x", one.0, one.1), service("y", other.0, other.1)];
            let slices = [slice("x", one.2), slice("y", other.2)];
            let expected = expected.map(|(address, is_shared)| Elector {
                address: address.parse().expect("a literal address"),
                is_shared,
            });
            assert_eq!(elector(&services[0].key, &services, &slices), expected, "{what}");
        }
    }

    #[test]
    fn d24_prefixes_and_winners() {
        let address: IpAddr = "192.168.1.240".parse().expect("a literal address");
        let nodes = ["node-a", "node-b", "node-c"].map(NodeName::from);
        let prefixes = nodes.each_ref().map(|node| key_prefix(node, address));
        assert_eq!(prefixes, ["0905ce28", "c5db6995", "a6530f9d"]);
        assert_eq!(first(&nodes, address), Some(&nodes[0]));
        assert_eq!(first(&[], address), None);
    }
}
