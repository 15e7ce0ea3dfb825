//! What this node says of its addresses: replies, announcements and multicast groups.

pub(crate) mod announcements;
pub(crate) mod arp;
pub(crate) mod askers;
pub(crate) mod gate;
pub(crate) mod gratuitous;
pub(crate) mod groups;
pub(crate) mod ndp;
mod pacing;
pub(crate) mod responder;
