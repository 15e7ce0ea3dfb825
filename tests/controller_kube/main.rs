//! The controller as it runs, event loop and core included, against the
//! in-memory API server under tokio's paused clock: what stands in the end,
//! and how many writes it took.

#[path = "../controller_process.rs"]
mod controller_process;
#[path = "../kube_support.rs"]
mod support;

mod faults;
mod setup;
mod surroundings;
mod writes;
