//! Objects of a cluster that several tests put in.

use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
use k8s_openapi::api::core::v1::Service;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The namespace that everything of ours is in.
pub const NAMESPACE: &str = "metallb-system";

/// An object of the test's own making.
///
/// # Panics
/// If it is none of that kind.
#[must_use]
pub fn typed<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the test's own object decodes")
}

/// A pool of these ranges.
#[must_use]
pub fn pool(name: &str, addresses: &[&str]) -> IPAddressPool {
    typed(json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"addresses": addresses}}))
}

/// An advertisement of every pool.
#[must_use]
pub fn advertisement(name: &str) -> L2Advertisement {
    typed(json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {}}))
}

/// A Service of type LoadBalancer.
#[must_use]
pub fn service(namespace: &str, name: &str) -> Service {
    typed(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}}}))
}
