//! Several controllers and one Lease, against the in-memory API server under
//! tokio's paused clock: one writes, and no address is ever given twice (F26).

#[path = "../kube_support.rs"]
mod support;

mod brake;
mod faults;
mod handover;
mod setup;
mod standby;
