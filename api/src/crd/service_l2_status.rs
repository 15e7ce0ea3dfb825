//! `ServiceL2Status`: which node announces a Service, for people to read (A40 to A45).

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{optional_spec::optional_spec, schema};

/// How the generated names begin (A41).
pub const NAME_PREFIX: &str = "l2-";
/// The label with the announcing node (A42).
pub const NODE_LABEL: &str = "metallb.io/node";
/// The label with the Service's name (A42).
pub const SERVICE_NAME_LABEL: &str = "metallb.io/service-name";
/// The label with the Service's namespace (A42).
pub const SERVICE_NAMESPACE_LABEL: &str = "metallb.io/service-namespace";

/// Nothing is asked for (A40).
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ServiceL2Status",
    plural = "servicel2statuses",
    namespaced,
    doc = "The node that announces a Service by ARP and NDP.",
    status = "ServiceL2StatusStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Allocated Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Service Name", type_ = "string", json_path = ".status.serviceName"),
    printcolumn(name = "Service Namespace", type_ = "string", json_path = ".status.serviceNamespace")
)]
#[serde(remote = "Self")]
pub struct ServiceL2StatusSpec {}

optional_spec!(ServiceL2StatusSpec);

/// Who announces what. The first three never change once they are set (A44):
/// a new owner makes an object of its own.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceL2StatusStatus {
    /// The node that announces (A44).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_name")]
    pub node: Option<String>,
    /// The name of the Service (A44).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_name")]
    pub service_name: Option<String>,
    /// The namespace of the Service (A44).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_name")]
    pub service_namespace: Option<String>,
    /// The interfaces that the advertisements name; none listed means all (A45).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<AnnouncingInterface>,
    /// Whether the Service is announced, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// An interface of the announcing node (A45).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncingInterface {
    /// Its name.
    #[serde(default)]
    pub name: String,
}
