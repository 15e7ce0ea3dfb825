//! `BFDProfile`: how fast a dead router is noticed (A72).

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EmptyStatus, Other, schema as bgp_schema};
use crate::crd::optional_spec::optional_spec;

/// The settings of a BFD session (A72). Intervals are milliseconds, 10 to 60000.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    namespaced,
    doc = "The settings of a BFD session. Kept for MetalLB: nothing is announced by BGP.",
    status = "EmptyStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Passive Mode", type_ = "boolean", json_path = ".spec.passiveMode"),
    printcolumn(name = "Transmit Interval", type_ = "integer", json_path = ".spec.transmitInterval"),
    printcolumn(name = "Receive Interval", type_ = "integer", json_path = ".spec.receiveInterval"),
    printcolumn(name = "Multiplier", type_ = "integer", json_path = ".spec.detectMultiplier")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BFDProfileSpec {
    /// Shortest interval at which packets can be received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::bfd_interval")]
    pub receive_interval: Option<i32>,
    /// Shortest interval at which packets are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::bfd_interval")]
    pub transmit_interval: Option<i32>,
    /// Shortest interval at which echo packets can be received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::bfd_interval")]
    pub echo_interval: Option<i32>,
    /// How many packets may be lost in a row, 2 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::bfd_multiplier")]
    pub detect_multiplier: Option<i32>,
    /// The lowest TTL taken from a router several hops away, 1 to 254.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bgp_schema::bfd_ttl")]
    pub minimum_ttl: Option<i32>,
    /// Whether echo packets are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Whether to wait for the router's first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}

optional_spec!(BFDProfileSpec);
