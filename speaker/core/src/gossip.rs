//! Who is alive, and what members tell each other directly, over UDP.

pub(crate) mod envelope;
mod identity;
pub(crate) mod membership;
mod report;
mod reports;
mod swim_message;
mod timers;
