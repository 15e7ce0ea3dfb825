//! What the shells of both binaries share: flags, JSON logs, HTTP endpoints,
//! watches, writes with backoff, Kubernetes Events.
//!
//! Nothing here has an opinion about addresses or announcements; it moves bytes
//! and objects between Kubernetes, an operator and the cores.

#![forbid(unsafe_code)]

pub mod admin;
pub mod kubernetes;
pub mod process;
pub mod start;

pub use admin::readiness::{Gate, Readiness};
pub use kubernetes::own_pod::OwnPod;
pub use process::clock::Clock;
pub use process::flags::CommonArgs;
pub use process::shutdown::Shutdown;
