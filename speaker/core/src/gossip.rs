//! Who is alive, and what members tell each other directly, over UDP.

pub(crate) mod envelope;
pub(crate) mod identity;
mod member_report;
pub(crate) mod membership;
pub(crate) mod output;
mod report_exchange;
mod swim;
mod swim_message;
mod timers;
pub(crate) mod unheard;
