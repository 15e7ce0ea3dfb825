//! Decides which addresses this node owns, and answers ARP for them.
//!
//! No I/O and no clock: [`Speaker::handle`] takes one [`Input`],
//! [`Speaker::poll_effect`] gives what must be done, and
//! [`Speaker::poll_timeout`] says when to come back if nothing happens. The
//! same type runs in the `speaker` binary and in the simulator.

#![forbid(unsafe_code)]

mod effect;
mod input;
mod interface;
mod speaker;

pub use effect::{Effect, EventReason, EventType, Notice, WithdrawReason};
pub use input::{Input, Peer};
pub use interface::{Interface, InterfaceId, MacAddr};
pub use speaker::{Settings, Speaker};
