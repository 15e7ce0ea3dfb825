//! Which node announces which Service, out of what Kubernetes and the members said.

pub(crate) mod cluster;
pub(crate) mod election;
pub(crate) mod eligibility;
pub(crate) mod owners;
pub(crate) mod reach;
