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
mod input;
mod interface;
mod ownership;
mod random;
mod speaker;
mod status;
mod wire;

pub use counters::{AddressCounters, Counters, MAX_COUNTED_ADDRESSES};
pub use effect::{Effect, EventReason, L2StatusChange, Notice, Report, WithdrawReason};
pub use gossip::envelope::GossipRejection;
pub use input::{Input, Peer};
pub use interface::{Interface, InterfaceId, MacAddr};
pub use speaker::{NotReady, Settings, Speaker};
pub use wire::announcements::{Announcement, InterfaceSet};
pub use wire::responder::DropReason;
