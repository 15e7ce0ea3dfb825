//! What the shells of both binaries share: flags, JSON logs, HTTP endpoints,
//! watches, writes with backoff, Kubernetes Events.
//!
//! Nothing here has an opinion about addresses or announcements; it moves bytes
//! and objects between Kubernetes, an operator and the cores.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod client;
pub mod clock;
pub mod comeback;
pub mod configuration_state;
pub mod events;
pub mod failure;
pub mod flags;
pub mod http;
pub mod leadership;
pub mod lease;
pub mod logs;
pub mod metrics;
pub mod namespace;
pub mod own_pod;
pub mod queue;
pub mod random;
pub mod readiness;
pub mod resources;
pub mod shutdown;
pub mod tls;
pub mod watch;

pub use clock::Clock;
pub use flags::CommonArgs;
pub use own_pod::OwnPod;
pub use readiness::{Gate, Readiness};
pub use shutdown::Shutdown;
