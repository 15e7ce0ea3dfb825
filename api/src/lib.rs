//! What controller, speaker and cluster agree on: MetalLB's kinds and
//! annotations, the checked configuration, and our view of Kubernetes objects.
//!
//! No client, no runtime, no clock: every type here is a value.

#![forbid(unsafe_code)]

pub mod address;
pub mod annotations;
pub mod conditions;
pub mod config;
pub mod configuration_state;
pub mod crd;
pub mod endpoints;
pub mod ip_family;
pub mod l2_status;
pub mod lost_addresses;
pub mod namespace;
pub mod node;
pub mod selector;
pub mod service;
pub mod time;

pub use address::AddressRange;
pub use config::Config;
pub use endpoints::EndpointSlice;
pub use ip_family::{IpFamilies, IpFamily};
pub use l2_status::L2Status;
pub use lost_addresses::LostAddresses;
pub use namespace::Namespace;
pub use node::{Node, NodeName};
pub use service::{Service, ServiceKey};
pub use time::Time;
