//! What people are told of Services: `ServiceL2Status` objects and Events.

pub(crate) mod agenda;
pub(crate) mod l2_status;
pub(crate) mod obstacle;
pub(crate) mod silences;
