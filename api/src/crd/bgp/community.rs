//! `Community`: names for BGP communities (A73).

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EmptyStatus, Other};
use crate::crd::optional_spec::optional_spec;

/// Names for BGP communities (A73).
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "Community",
    plural = "communities",
    namespaced,
    doc = "Names for BGP communities. Kept for MetalLB: nothing is announced by BGP.",
    status = "EmptyStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(remote = "Self")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct CommunitySpec {
    /// The names and what they stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<CommunityAlias>,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}

optional_spec!(CommunitySpec);

/// A name for a community.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct CommunityAlias {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The community, like `64512:100` or `large:64512:1:2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Fields that came with another version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}
