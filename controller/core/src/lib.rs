//! Decides which address each LoadBalancer Service gets.
//!
//! No I/O and no clock: [`Controller::handle`] takes one [`Input`],
//! [`Controller::poll_effect`] gives what must be done, and
//! [`Controller::poll_timeout`] says when to come back if nothing happens.

#![forbid(unsafe_code)]

mod controller;
mod effect;
mod input;

pub use controller::{Controller, Settings};
pub use effect::{Effect, EventReason, EventType, Notice, PoolUsage, Severity};
pub use input::Input;
