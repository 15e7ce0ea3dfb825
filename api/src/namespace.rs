//! Our view of a Namespace: its name and labels, for pool pinning (A18).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl From<&core::Namespace> for Namespace {
    fn from(object: &core::Namespace) -> Self {
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            labels: object.metadata.labels.clone().unwrap_or_default(),
        }
    }
}
