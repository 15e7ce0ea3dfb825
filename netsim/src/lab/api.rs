//! The simulated Kubernetes API: objects and manifests, the store, watches and their faults.

mod kustomize;
pub mod manifests;
pub mod objects;
pub mod server;
pub mod store;
pub mod view;
pub mod watch;
pub mod yaml;
