//! Decides which addresses this node owns, and answers ARP and NDP for them.
//!
//! No I/O and no clock: [`Speaker::handle`] takes one [`Input`],
//! [`Speaker::poll_effect`] gives what must be done, and
//! [`Speaker::poll_timeout`] says when to come back if nothing happens. The
//! same type runs in the `speaker` binary and in the simulator.

#![forbid(unsafe_code)]

mod agenda;
mod announcements;
mod askers;
mod cluster;
mod counters;
mod effect;
mod election;
mod eligibility;
mod envelope;
#[cfg(test)]
mod fixtures;
mod gate;
mod gratuitous;
mod groups;
mod handover;
mod input;
mod interface;
mod l2_status;
mod membership;
mod obstacle;
mod owners;
mod pacing;
mod random;
mod reach;
mod responder;
mod silences;
mod speaker;

pub use announcements::{Announcement, InterfaceSet};
pub use counters::{AddressCounters, Counters, MAX_COUNTED_ADDRESSES};
pub use effect::{Effect, EventReason, L2StatusChange, Notice, WithdrawReason};
pub use envelope::GossipRejection;
pub use input::{Input, Peer};
pub use interface::{Interface, InterfaceId, MacAddr};
pub use responder::DropReason;
pub use speaker::{NotReady, Settings, Speaker};
