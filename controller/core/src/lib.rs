//! Decides which address each LoadBalancer Service gets.
//!
//! No I/O and no clock: [`Controller::handle`] takes one [`Input`],
//! [`Controller::poll_effect`] gives what must be done, and
//! [`Controller::poll_timeout`] says when to come back if nothing happens.

#![forbid(unsafe_code)]

mod allocator;
mod controller;
mod effect;
mod exhaustion;
mod input;
mod pool_choice;
mod pools;
mod reconcile;
mod request;
mod retain;
mod service_state;
mod services;
mod sharing;
mod usage;
mod verdicts;
mod write_conflict;

pub use controller::{Assigned, Controller, Settings};
pub use effect::{Effect, EventReason, Notice, PoolUsage};
pub use input::Input;

#[cfg(test)]
mod tests;
