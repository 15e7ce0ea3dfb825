//! `IPAddressPool`: addresses for Services (A10 to A20).

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reservations::{self, ExclusionSpec, ReservationSpec};
use super::{LastKnownGood, schema};

/// The addresses that LoadBalancer Services are given (A11).
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "IPAddressPool",
    plural = "ipaddresspools",
    namespaced,
    doc = "Addresses for Services of type LoadBalancer.",
    status = "IPAddressPoolStatus",
    derive = "PartialEq",
    printcolumn(name = "Auto Assign", type_ = "boolean", json_path = ".spec.autoAssign"),
    printcolumn(name = "Avoid Buggy IPs", type_ = "boolean", json_path = ".spec.avoidBuggyIPs"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// CIDR prefixes and `start-end` ranges; they are used in this order (A12).
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Vec<String>,
    /// Whether Services that ask for nothing in particular get addresses of this pool (A13).
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Whether IPv4 addresses ending in .0 and .255 are never used (A14).
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Pins the pool to namespaces or Services (A15).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocationSpec>,
    /// Addresses held for the Services that match: nobody else ever gets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "reservations::reservations")]
    pub reservations: Vec<ReservationSpec>,
    /// Addresses that are never handed out, whatever `addresses` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "reservations::exclusions")]
    pub excluded_addresses: Vec<ExclusionSpec>,
    /// Whether addresses are handed out that a node, the API server or a router has.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_occupied_addresses: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

fn yes() -> bool {
    true
}

/// Whom a pool is pinned to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocationSpec {
    /// 1 is best; 0 or unset is last (A16).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Namespaces by name (A17).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    pub namespaces: Vec<String>,
    /// Namespaces by label (A18).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services by label (A19).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::selectors")]
    pub service_selectors: Vec<LabelSelector>,
}

/// What the controller says of a pool.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolStatus {
    /// IPv4 addresses in use (A20, C80).
    #[serde(default, rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// IPv6 addresses in use.
    #[serde(default, rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// IPv4 addresses still free.
    #[serde(default, rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// IPv6 addresses still free.
    #[serde(default, rename = "availableIPv6")]
    pub available_ipv6: i64,
    /// `Ready` and its reason, `Stalled` beside it, `Effective`, and `Exhausted` while it holds.
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
