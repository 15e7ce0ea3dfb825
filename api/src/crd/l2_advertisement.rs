//! `L2Advertisement`: which pools are announced, from where (A25 to A34).

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LastKnownGood, schema};

/// Announces pools by ARP and NDP (A26). Without a spec: all pools, from all
/// nodes, on all interfaces.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    namespaced,
    doc = "Announces the addresses of IPAddressPools by ARP and NDP.",
    status = "L2AdvertisementStatus",
    derive = "PartialEq",
    printcolumn(name = "IPAddressPools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".spec.interfaces"),
    printcolumn(name = "Node Selectors", type_ = "string", json_path = ".spec.nodeSelectors", priority = 10),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
// `remote` turns the derived functions into inherent ones, for the two impls below.
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct L2AdvertisementSpec {
    /// Pools by name (A27).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pools")]
    pub ip_address_pools: Vec<String>,
    /// Pools by label (A28).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that may announce (A29).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// Exact names of the interfaces to announce on (A30).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Services by label (A31).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub service_selectors: Vec<LabelSelector>,
    /// Nodes that are preferred over others (A32).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_node_selectors: Vec<PreferredNode>,
}

impl Serialize for L2AdvertisementSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// A26: `spec` is optional, but kube's derive makes it a plain field. A type
/// that reads itself as an option may be left out of its object.
impl<'de> Deserialize<'de> for L2AdvertisementSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written(L2AdvertisementSpec);
        impl<'de> Deserialize<'de> for Written {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                L2AdvertisementSpec::deserialize(deserializer).map(Self)
            }
        }
        Ok(Option::<Written>::deserialize(deserializer)?.map_or_else(Self::default, |Written(spec)| spec))
    }
}

/// A soft preference for nodes (A33, A34).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PreferredNode {
    /// Added to the score of a node that matches; 1 to 100.
    #[schemars(schema_with = "schema::weight")]
    pub weight: i32,
    /// The nodes that are meant; an empty selector means every node.
    #[schemars(schema_with = "schema::selector")]
    pub preference: LabelSelector,
}

/// What the controller says of an advertisement.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementStatus {
    /// `Ready` and its reason, `Stalled` beside it, and `Effective`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The generation that the conditions speak of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The version that was accepted last, for processes that start while a later one is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_known_good: Option<LastKnownGood>,
}
