//! Whoever does something: nodes with their speakers, the controller, clients, the probe host, the adversary.

pub mod adversary;
pub mod backends;
pub mod client;
pub mod controller;
pub mod fetch;
pub mod kube_clients;
mod machine;
pub mod nic_filter;
pub mod node;
pub mod probe_host;
pub mod speaker_output;
