//! Whether this node may speak for an address at this moment: asked for every
//! single reply, after everything else has been found right.
//!
//! Today only a departure closes it. What else casts doubt on an ownership, such
//! as a clock that jumped or peers that know of a newer owner, belongs here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::Time;

use crate::wire::drop_reason::DropReason;
use crate::wire::token_bucket::TokenBucket;

/// Replies a second over all interfaces, and how many at once (T3).
const REPLY_RATE: u64 = 20_000;
const REPLY_BURST: u64 = 2_000;
/// The same where the sender is not the Ethernet source (T3).
const MISMATCH_RATE: u64 = 50;
/// The same for answers that go to all: of one host that looks for an address of
/// its own there are few (T3).
const TO_ALL_RATE: u64 = 50;

/// What makes a request worth a smaller budget than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Nothing.
    Plain,
    /// Its sender, as it says, is not its Ethernet source.
    Mismatched,
    /// Its answer goes to all: duplicate address detection in IPv6.
    ToAll,
}

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    handed_over: BTreeSet<IpAddr>,
    replies: TokenBucket,
    mismatches: TokenBucket,
    to_all: TokenBucket,
}

impl Gate {
    /// An open gate.
    pub(crate) const fn new() -> Self {
        Self {
            handed_over: BTreeSet::new(),
            replies: TokenBucket::new(REPLY_RATE, REPLY_BURST),
            mismatches: TokenBucket::new(MISMATCH_RATE, MISMATCH_RATE),
            to_all: TokenBucket::new(TO_ALL_RATE, TO_ALL_RATE),
        }
    }

    /// Another node has `address` now: not another word about it.
    pub(crate) fn close(&mut self, address: IpAddr) {
        self.handed_over.insert(address);
    }

    /// Whether a reply for `address` may go out.
    pub(crate) fn may_answer(
        &mut self,
        now: Time,
        address: IpAddr,
        request: Request,
    ) -> Result<(), DropReason> {
        if self.handed_over.contains(&address) {
            return Err(DropReason::HandedOver);
        }
        let within = match request {
            Request::Plain => true,
            Request::Mismatched => self.mismatches.take(now),
            Request::ToAll => self.to_all.take(now),
        };
        if !within {
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
        let address = IpAddr::from([172, 16, 16, 101]);
        let answered = |gate: &mut Gate, request| {
            (0..10_000).filter(|_| gate.may_answer(now, address, request).is_ok()).count() as u64
        };
        assert_eq!(answered(&mut gate, Request::Mismatched), MISMATCH_RATE);
        assert_eq!(answered(&mut gate, Request::ToAll), TO_ALL_RATE);
        assert_eq!(answered(&mut gate, Request::Plain), REPLY_BURST - MISMATCH_RATE - TO_ALL_RATE);
    }

    #[test]
    fn a_closed_gate_stays_closed_for_that_address() {
        let mut gate = Gate::new();
        let (one, two) = (IpAddr::from([172, 16, 16, 101]), IpAddr::from([172, 16, 16, 102]));
        gate.close(one);
        assert_eq!(gate.may_answer(Time::ZERO, one, Request::Plain), Err(DropReason::HandedOver));
        assert_eq!(gate.may_answer(Time::ZERO, two, Request::Plain), Ok(()));
    }
}
