//! A token bucket: how many frames may go out by when.

use std::time::Duration;

use ferrolb_api::Time;

const MICROS: u64 = 1_000_000;

/// Lets `rate` frames a second through, and `burst` at once after a rest.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    rate: u64,
    /// In millionths of a frame, so that no rounding adds up.
    capacity: u64,
    level: u64,
    filled_at: Time,
}

impl TokenBucket {
    /// A full bucket. `rate` and `burst` are at least 1.
    pub(crate) const fn new(rate: u64, burst: u64) -> Self {
        let capacity = burst * MICROS;
        Self { rate, capacity, level: capacity, filled_at: Time::ZERO }
    }

    /// Takes leave for one frame. `false`: not before [`Self::ready_at`].
    pub(crate) fn take(&mut self, now: Time) -> bool {
        self.fill(now);
        let enough = self.level >= MICROS;
        if enough {
            self.level -= MICROS;
        }
        enough
    }

    /// When the next frame may go, if none goes before.
    pub(crate) fn ready_at(&self, now: Time) -> Time {
        let now = now.max(self.filled_at);
        let level = self.level_at(now);
        now + Duration::from_micros(MICROS.saturating_sub(level).div_ceil(self.rate))
    }

    fn fill(&mut self, now: Time) {
        self.level = self.level_at(now);
        self.filled_at = self.filled_at.max(now);
    }

    fn level_at(&self, now: Time) -> u64 {
        let elapsed = u64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        self.level.saturating_add(elapsed.saturating_mul(self.rate)).min(self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let mut bucket = TokenBucket::new(1_000, 200);
        let mut now = Time::from_micros(5_000_000);
        let burst = (0..1_000).take_while(|_| bucket.take(now)).count();
        assert_eq!(burst, 200);
        for _ in 0..300 {
            assert_eq!(bucket.ready_at(now), now + Duration::from_millis(1));
            now = bucket.ready_at(now);
            assert!(bucket.take(now));
            assert!(!bucket.take(now));
        }
    }

    #[test]
    fn rest_fills_up_to_the_burst_and_no_further() {
        let mut bucket = TokenBucket::new(10, 10);
        let start = Time::from_micros(1);
        assert_eq!((0..100).take_while(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..100).take_while(|_| bucket.take(later)).count(), 10);
        assert_eq!(
            (0..100).take_while(|_| bucket.take(start)).count(),
            0,
            "time that runs back gives nothing"
        );
    }
}
