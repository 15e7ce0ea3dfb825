//! `BGPPeer`: a router to speak BGP with (A70).
//!
//! MetalLB converts between `v1beta1` and `v1beta2` by a webhook. We have none
//! and need none: `v1beta1` has no field that `v1beta2` has not under the same
//! name, with the same type and meaning, and neither schema drops what it does
//! not know. So both are served, and the API server only changes the
//! `apiVersion` (conversion strategy `None`). The strategy is written out, for
//! an installed CRD of MetalLB's still names a webhook that is gone with
//! MetalLB, and then no peer could be read at all.

pub mod v1beta1;
pub mod v1beta2;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition,
};
use kube::CustomResourceExt as _;
use kube::core::crd::merge_crds;

/// The CRD with both versions.
#[must_use]
pub(crate) fn crd() -> CustomResourceDefinition {
    let versions = vec![v1beta2::BGPPeer::crd(), v1beta1::BGPPeer::crd()];
    let mut crd = merge_crds(versions, "v1beta2").expect("both are of one group, kind and scope");
    crd.spec.conversion = Some(CustomResourceConversion { strategy: "None".to_owned(), webhook: None });
    crd
}
