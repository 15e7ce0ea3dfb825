//! Decides which addresses this node owns, and answers ARP and NDP for them.
//!
//! No I/O and no clock: [`Speaker::handle`] takes one [`Input`],
//! [`Speaker::poll_effect`] gives what must be done, and
//! [`Speaker::poll_timeout`] says when to come back if nothing happens. The
//! same type runs in the `speaker` binary and in the simulator.

#![forbid(unsafe_code)]

mod counters;
mod effect;
#[cfg(test)]
mod fixtures;
mod gossip;
mod graceful_shutdown;
mod input;
mod interface;
mod lifecycle;
mod not_ready;
mod outputs;
mod ownership;
mod random;
mod settings;
mod speaker;
mod status;
mod wire;

pub use counters::{AddressCounters, Counters, MAX_COUNTED_ADDRESSES};
pub use effect::{Effect, EventReason, L2StatusChange, Notice, Report, WithdrawReason};
pub use gossip::envelope::GossipRejection;
pub use input::{Input, Peer};
pub use interface::{Interface, InterfaceId, InterfaceSet, MacAddr};
pub use not_ready::NotReady;
pub use ownership::diagnosis::{Check, CheckFailure};
pub use settings::Settings;
pub use speaker::Speaker;
pub use wire::announcements::Announcement;
pub use wire::drop_reason::DropReason;
