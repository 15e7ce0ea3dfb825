//! Decides which address each LoadBalancer Service gets.
//!
//! No I/O and no clock: [`Controller::handle`] takes one [`Input`],
//! [`Controller::poll_effect`] gives what must be done, and
//! [`Controller::poll_timeout`] says when to come back if nothing happens.

#![forbid(unsafe_code)]

mod allocator;
mod contest;
mod controller;
mod converge;
mod effect;
mod input;
mod keep;
mod ledger;
mod pool_choice;
mod pools;
mod record;
mod request;
mod sharing;
mod shortage;
mod usage;
mod verdicts;

pub use controller::{Assigned, Controller, Settings};
pub use effect::{Effect, EventReason, Notice, PoolUsage, Severity};
pub use input::Input;

#[cfg(test)]
mod tests;
