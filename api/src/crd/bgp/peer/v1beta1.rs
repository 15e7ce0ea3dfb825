//! `BGPPeer` as old manifests write it: `v1beta1`, deprecated.

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::bgp::{EmptyStatus, Other, schema as bgp_schema};
use crate::crd::{optional_spec::optional_spec, schema};

/// A router and the session with it (A70). AS numbers go to 4294967295;
/// durations are written like `90s`.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPPeer",
    plural = "bgppeers",
    namespaced,
    storage = false,
    deprecated = "metallb.io/v1beta1 BGPPeer is deprecated; use metallb.io/v1beta2",
    doc = "A BGP router. Kept for MetalLB: nothing is announced by BGP.",
    status = "EmptyStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "string", json_path = ".spec.peerASN"),
    printcolumn(name = "BFD Profile", type_ = "string", json_path = ".spec.bfdProfile"),
    printcolumn(name = "Multi Hops", type_ = "string", json_path = ".spec.ebgpMultiHop")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BGPPeerSpec {
    /// Our AS number.
    #[serde(rename = "myASN")]
    #[schemars(schema_with = "bgp_schema::as_number")]
    pub my_asn: i64,
    /// The router's AS number.
    #[serde(rename = "peerASN")]
    #[schemars(schema_with = "bgp_schema::as_number")]
    pub peer_asn: i64,
    /// The router's address.
    pub peer_address: String,
    /// The address that we speak from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// The router's TCP port, up to 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::old_peer_port")]
    pub peer_port: Option<i32>,
    /// How long a silent session is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<String>,
    /// How often a keepalive is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<String>,
    /// Our router id.
    #[serde(rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// Nodes that speak with this router; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// The password of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A `BFDProfile` by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the router may be several hops away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}

optional_spec!(BGPPeerSpec);
