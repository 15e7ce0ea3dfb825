//! `BGPAdvertisement`: which pools are announced by BGP, to whom (A71).

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{EmptyStatus, Other};
use crate::crd::{optional_spec::optional_spec, schema};

/// Announces pools by BGP (A71). Without a spec: all pools, from all nodes, to
/// all peers.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPAdvertisement",
    plural = "bgpadvertisements",
    namespaced,
    doc = "Announces IPAddressPools by BGP. Kept for MetalLB: nothing is announced by BGP.",
    status = "EmptyStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "IPAddressPools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers"),
    printcolumn(name = "Node Selectors", type_ = "string", json_path = ".spec.nodeSelectors", priority = 10)
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(extend(
    "x-kubernetes-preserve-unknown-fields" = true,
    "x-kubernetes-validations" = json!([{
        "rule": "!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || \
                 ((!has(self.aggregationLength) || self.aggregationLength == 32) && \
                 (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))",
        "message": "serviceSelectors need every address announced by itself: leave aggregationLength at 32 \
                    and aggregationLengthV6 at 128",
    }]),
))]
pub struct BGPAdvertisementSpec {
    /// Length of the IPv4 prefix that addresses are announced in; at least 1.
    #[serde(default = "whole_ipv4")]
    #[schemars(range(min = 1))]
    pub aggregation_length: i32,
    /// Length of the IPv6 prefix that addresses are announced in.
    #[serde(default = "whole_ipv6", rename = "aggregationLengthV6")]
    pub aggregation_length_v6: i32,
    /// `LOCAL_PREF`: the highest wins inside an AS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<i32>,
    /// Communities by value, or by a name that a `Community` gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
    /// Pools by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,
    /// Pools by label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that announce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// The peers to announce to; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Services by label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub service_selectors: Vec<LabelSelector>,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}

optional_spec!(BGPAdvertisementSpec);

fn whole_ipv4() -> i32 {
    32
}

fn whole_ipv6() -> i32 {
    128
}

impl Default for BGPAdvertisementSpec {
    fn default() -> Self {
        Self {
            aggregation_length: whole_ipv4(),
            aggregation_length_v6: whole_ipv6(),
            local_pref: None,
            communities: Vec::new(),
            ip_address_pools: Vec::new(),
            ip_address_pool_selectors: Vec::new(),
            node_selectors: Vec::new(),
            peers: Vec::new(),
            service_selectors: Vec::new(),
            other: Other::new(),
        }
    }
}
