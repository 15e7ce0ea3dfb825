//! Our view of a Node: what decides whether it may announce (D11, D12, D13).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

/// Kubernetes' label that keeps a node out of load balancing (D12).
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The name of a Kubernetes Node; also the name of its speaker as a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeName(String);

impl NodeName {
    /// The longest name Kubernetes gives a Node, in bytes (RFC 1123 subdomain).
    pub const MAX_LEN: usize = 253;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its condition `NetworkUnavailable` is `True`; missing or
    /// `Unknown` counts as available (D11).
    pub network_unavailable: bool,
    /// The addresses of its status; its names are none.
    pub addresses: BTreeSet<IpAddr>,
}

impl Node {
    /// Whether the node is kept out of load balancing by label (D12).
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        self.labels.contains_key(EXCLUDE_LABEL)
    }
}

impl From<&core::Node> for Node {
    fn from(object: &core::Node) -> Self {
        let conditions = object.status.as_ref().and_then(|status| status.conditions.as_deref());
        let network_unavailable = conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "NetworkUnavailable" && condition.status == "True");
        let addresses = object.status.as_ref().and_then(|status| status.addresses.as_deref());
        let addresses = addresses.map(|addresses| {
            let read =
                |entry: &core::NodeAddress| entry.address.parse().ok().map(|ip: IpAddr| ip.to_canonical());
            addresses.iter().filter_map(read).collect()
        });
        Self {
            name: object.metadata.name.clone().unwrap_or_default().into(),
            labels: object.metadata.labels.clone().unwrap_or_default(),
            network_unavailable,
            addresses: addresses.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn d11_d12_what_counts_of_a_node() {
        let exclude = json!({ EXCLUDE_LABEL: "" });
        let network = |status: &str| json!([{ "type": "NetworkUnavailable", "status": status }]);
        for (labels, conditions, unavailable, excluded) in [
            (json!({}), json!(null), false, false),
            (json!({}), network("True"), true, false),
            (json!({}), network("False"), false, false),
            (json!({}), network("Unknown"), false, false),
            // D15: nothing else counts.
            (json!({}), json!([{ "type": "Ready", "status": "False" }]), false, false),
            (exclude, json!([]), false, true),
            (json!({ EXCLUDE_LABEL: "false" }), json!([]), false, true),
        ] {
            let object = json!({ "metadata": { "name": "wk01", "labels": labels },
                                 "spec": { "unschedulable": true }, "status": { "conditions": conditions } });
            let node = Node::from(&serde_json::from_value::<core::Node>(object).expect("a Node"));
            assert_eq!(node.name.as_str(), "wk01");
            assert_eq!(
                (node.network_unavailable, node.is_excluded()),
                (unavailable, excluded),
                "{conditions}"
            );
        }
        assert!(!Node::from(&core::Node::default()).is_excluded());
    }
}
