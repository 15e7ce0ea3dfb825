//! Whether this node may speak for an address at this moment: asked for every
//! single reply, after everything else has been found right.
//!
//! Today only a departure closes it. What else casts doubt on an ownership, such
//! as a clock that jumped or peers that know of a newer owner, belongs here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use metallb_api::Time;

use crate::pacing::Bucket;
use crate::responder::DropReason;

/// Replies a second over all interfaces, and how many at once (T3).
const REPLY_RATE: u64 = 20_000;
const REPLY_BURST: u64 = 2_000;
/// The same where the ARP sender is not the Ethernet source (T3).
const MISMATCH_RATE: u64 = 50;

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    handed_over: BTreeSet<IpAddr>,
    replies: Bucket,
    mismatches: Bucket,
}

impl Gate {
    /// An open gate.
    pub(crate) const fn new() -> Self {
        Self {
            handed_over: BTreeSet::new(),
            replies: Bucket::new(REPLY_RATE, REPLY_BURST),
            mismatches: Bucket::new(MISMATCH_RATE, MISMATCH_RATE),
        }
    }

    /// Another node has `address` now: not another word about it.
    pub(crate) fn close(&mut self, address: IpAddr) {
        self.handed_over.insert(address);
    }

    /// Whether a reply for `address` may go out. `mismatched`: the request's ARP
    /// sender is not its Ethernet source.
    pub(crate) fn may_answer(
        &mut self,
        now: Time,
        address: Ipv4Addr,
        mismatched: bool,
    ) -> Result<(), DropReason> {
        if self.handed_over.contains(&IpAddr::V4(address)) {
            return Err(DropReason::HandedOver);
        }
        if mismatched && !self.mismatches.take(now) {
            return Err(DropReason::RateLimited);
        }
        if !self.replies.take(now) {
            return Err(DropReason::RateLimited);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t3_replies_are_limited_and_mismatches_more_so() {
        let mut gate = Gate::new();
        let now = Time::from_micros(1);
        let address = Ipv4Addr::new(172, 16, 16, 101);
        let answered = |gate: &mut Gate, mismatched| {
            (0..10_000).filter(|_| gate.may_answer(now, address, mismatched).is_ok()).count() as u64
        };
        assert_eq!(answered(&mut gate, true), MISMATCH_RATE);
        assert_eq!(answered(&mut gate, false), REPLY_BURST - MISMATCH_RATE);
    }

    #[test]
    fn a_closed_gate_stays_closed_for_that_address() {
        let mut gate = Gate::new();
        let (one, two) = (Ipv4Addr::new(172, 16, 16, 101), Ipv4Addr::new(172, 16, 16, 102));
        gate.close(one.into());
        assert_eq!(gate.may_answer(Time::ZERO, one, false), Err(DropReason::HandedOver));
        assert_eq!(gate.may_answer(Time::ZERO, two, false), Ok(()));
    }
}
