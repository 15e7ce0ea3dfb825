//! What must hold: frames as claims, the safety invariants, the reference election, the measure of an outage.

pub mod arp;
pub mod claim;
pub mod ndp;
pub mod outage;
pub mod reference_election;
pub mod safety;
