//! The process itself: its flags, logs, clock, random bytes and end.

pub mod backoff;
pub mod clock;
pub mod flags;
pub mod logs;
pub mod namespace;
pub mod random;
pub mod shutdown;
