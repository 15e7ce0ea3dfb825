//! A whole cluster on one machine, without containers and without root: the shipped programs as processes, under their
//! service accounts' tokens, with the arguments and files of the shipped manifests; a real API server; nodes as network
//! namespaces whose NICs are ports of a simulated switch.
//!
//! What is played is the rest of Kubernetes, as far as an address needs it: the kubelet (`pod.rs`), kube-proxy
//! (`proxy.rs`), and the controllers that make Pods and EndpointSlices (`cluster.rs`).
//!
//! A program that uses this calls [`run_if_asked`] and then [`tests::namespaces::enter`] first thing in `main`.

mod admin;
mod backend;
mod cluster;
mod lan;
mod pod;
mod probe;
mod program;
mod proxy;

pub use cluster::{API_PORT, Cluster, NGINX, OVERLAY, Outage};
pub use lan::{API, CLIENT, Lan, NODES};
pub use program::{Program, run_if_asked};
pub use tests::probe::Record;
