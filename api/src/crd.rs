//! MetalLB's kinds (`metallb.io`) as Rust types; the manifests' CRDs are made
//! from them.

pub mod bgp;
pub mod configuration_state;
pub mod ip_address_pool;
pub mod l2_advertisement;
mod last_known_good;
mod optional_spec;
pub mod reservations;
mod schema;
pub mod service_l2_status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use configuration_state::{ConfigurationState, ConfigurationStateStatus};
pub use ip_address_pool::ServiceAllocationSpec;
pub use ip_address_pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus};
pub use l2_advertisement::PreferredNode;
pub use l2_advertisement::{L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus};
pub use last_known_good::LastKnownGood;
pub use reservations::{ExclusionSpec, ReservationSpec};
pub use service_l2_status::{ServiceL2Status, ServiceL2StatusStatus};

/// Every CRD that we ship, in the order the manifests list them.
///
/// Use this, not `IPAddressPool::crd()`: only here a schema is finished, so
/// that every object of MetalLB's fits (A26: an `L2Advertisement` needs no spec).
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let needs_spec = [IPAddressPool::crd()];
    let needs_none = [
        L2Advertisement::crd(),
        ServiceL2Status::crd(),
        ConfigurationState::crd(),
        bgp::peer::crd(),
        bgp::advertisement::BGPAdvertisement::crd(),
        bgp::bfd_profile::BFDProfile::crd(),
        bgp::community::Community::crd(),
        bgp::service_bgp_status::ServiceBGPStatus::crd(),
    ];
    let finished = |spec_required| move |crd| schema::finish(crd, spec_required);
    needs_spec.map(finished(true)).into_iter().chain(needs_none.map(finished(false))).collect()
}

#[cfg(test)]
mod tests;
