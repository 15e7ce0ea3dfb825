//! MetalLB's kinds (`metallb.io/v1beta1`) as Rust types; the manifests' CRDs
//! are made from them.

pub mod ip_address_pool;
pub mod l2_advertisement;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use ip_address_pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus};
pub use ip_address_pool::ServiceAllocationSpec;
pub use l2_advertisement::{L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus};
pub use l2_advertisement::PreferredNode;

/// Every CRD that we ship, in the order the manifests list them.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![IPAddressPool::crd(), L2Advertisement::crd()]
}
