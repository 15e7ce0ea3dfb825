//! `BGPPeer` as it is stored: `v1beta2`.

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
    version = "v1beta2",
    kind = "BGPPeer",
    plural = "bgppeers",
    namespaced,
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
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::as_number")]
    pub peer_asn: Option<i64>,
    /// Our AS number as this router shall see it; at least 1.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::local_as_number")]
    pub local_asn: Option<i64>,
    /// Instead of a number: whether the router's AS is ours (`internal`) or not (`external`).
    #[serde(default, rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::dynamic_as")]
    pub dynamic_asn: Option<String>,
    /// The router's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// Instead of an address: the interface that the router is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The address that we speak from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// The router's TCP port, 1 to 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::peer_port")]
    pub peer_port: Option<i32>,
    /// How long a silent session is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<String>,
    /// How often a keepalive is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<String>,
    /// How long to wait between attempts to connect: whole seconds, 1 s to 65535 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::connect_time")]
    pub connect_time: Option<String>,
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
    /// The Secret with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretReference>,
    /// A `BFDProfile` by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether routes stay while BGP restarts; cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::immutable_switch")]
    pub enable_graceful_restart: Option<bool>,
    /// Whether the router may be several hops away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
    /// The VRF that the router is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Deprecated in favour of `dualStackAddressFamily`.
    #[serde(default, rename = "disableMP")]
    pub disable_mp: bool,
    /// Whether routes of the family that the session is not of are exchanged as well.
    #[serde(default)]
    pub dual_stack_address_family: bool,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}

optional_spec!(BGPPeerSpec);

/// A Secret by name.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "x-kubernetes-map-type" = "atomic"))]
pub struct SecretReference {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}
