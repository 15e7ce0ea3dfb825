//! Both shells against the in-memory API server: virtual time, and faults at will.

mod configuration_state;
mod controller_kube;
mod controller_lease;
mod controller_process;
mod metrics_https;
mod speaker_kube;
mod speaker_l2_status;
mod support;
