//! A graceful shutdown: peers are told, and clients served until a peer has taken over.
//!
//! Silence before the successor speaks would lose answers; speaking beside it
//! for a moment does no harm, since every node forwards to the same endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::Time;

/// How long peers may take. A leave that reached nobody is noticed by then, or
/// soon after, as if this node had died.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon the leave is said again, against loss. It matters only while addresses
/// wait: once each has a successor, that one has heard it, and gossips it to the others.
const REPEAT_EVERY: Duration = Duration::from_millis(50);
const REPEATS: u8 = 4;

/// A shutdown under way.
#[derive(Debug)]
pub(crate) struct GracefulShutdown {
    waiting: BTreeSet<IpAddr>,
    ends: Time,
    repeat_at: Time,
    repeats_left: u8,
}

impl GracefulShutdown {
    /// A shutdown that begins now and waits until each of `waiting` has been
    /// claimed by another station.
    pub(crate) fn new(now: Time, waiting: BTreeSet<IpAddr>) -> Self {
        Self { waiting, ends: now + PATIENCE, repeat_at: now + REPEAT_EVERY, repeats_left: REPEATS }
    }

    /// Another station has claimed `address`.
    pub(crate) fn claimed(&mut self, address: IpAddr) {
        self.waiting.remove(&address);
    }

    /// Whether nothing is left to wait for.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.waiting.is_empty() || now >= self.ends
    }

    /// Whether it is time to say the leave again.
    pub(crate) fn repeat(&mut self, now: Time) -> bool {
        let again = self.repeats_left > 0 && now >= self.repeat_at;
        if again {
            self.repeats_left -= 1;
            self.repeat_at = now + REPEAT_EVERY;
        }
        again
    }

    /// When to look again.
    pub(crate) fn poll_timeout(&self) -> Time {
        if self.repeats_left > 0 { self.repeat_at.min(self.ends) } else { self.ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn ends_with_the_last_claim_or_after_a_second() {
        let (one, two): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut shutdown = GracefulShutdown::new(at(0), [one, two].into());
        shutdown.claimed(one);
        assert!(!shutdown.is_over(at(999)));
        assert!(shutdown.is_over(at(1_000)));
        shutdown.claimed(two);
        assert!(shutdown.is_over(at(1)));
        assert!(GracefulShutdown::new(at(0), BTreeSet::new()).is_over(at(0)));
    }

    #[test]
    fn leave_is_said_five_times_in_all() {
        let mut shutdown = GracefulShutdown::new(at(0), [IpAddr::from([10, 0, 0, 1])].into());
        let mut said = Vec::new();
        while shutdown.poll_timeout() < at(1_000) {
            let now = shutdown.poll_timeout();
            assert!(shutdown.repeat(now));
            said.push(now);
        }
        assert_eq!(said, [at(50), at(100), at(150), at(200)]);
    }
}
