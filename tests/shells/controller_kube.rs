//! The controller as it runs, event loop and core included, against the
//! in-memory API server under tokio's paused clock: what stands in the end,
//! and how many writes it took.

mod faults;
mod returning;
mod setup;
mod surroundings;
mod writes;
