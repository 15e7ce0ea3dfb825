//! MetalLB's kinds (`metallb.io/v1beta1`) as Rust types; the manifests' CRDs
//! are made from them.

pub mod ip_address_pool;
pub mod l2_advertisement;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use ip_address_pool::ServiceAllocationSpec;
pub use ip_address_pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus};
pub use l2_advertisement::PreferredNode;
pub use l2_advertisement::{L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus};

/// Every CRD that we ship, in the order the manifests list them.
///
/// Use this, not `IPAddressPool::crd()`: only here a schema is finished, so
/// that every object of MetalLB's fits (A26: an `L2Advertisement` needs no spec).
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![schema::finish(IPAddressPool::crd(), true), schema::finish(L2Advertisement::crd(), false)]
}

#[cfg(test)]
mod tests;
