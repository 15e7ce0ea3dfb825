//! Several controllers and one Lease, against the in-memory API server under
//! tokio's paused clock: one writes, and no address is ever given twice (X26).

mod brake;
mod faults;
mod handover;
mod setup;
mod standby;
