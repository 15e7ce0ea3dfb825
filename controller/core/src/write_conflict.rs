//! Somebody else who writes the status of a Service of ours: it is told once, and what it reverts is put back ever more
//! slowly. Two writers that disagree would otherwise keep the API server, and every speaker, as busy as they can.

use std::time::Duration;

use ferrolb_api::Time;

/// What is reverted for the second time waits this long; each time after that twice as long. The first time may have been
/// a slip of somebody's hand, and is put right at once.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// After this time without a need to put anything back, the next one is again the first.
const RESET: Duration = Duration::from_secs(900);

/// How often somebody else has reverted what we wrote into the status of a Service.
#[derive(Debug, Default)]
pub(crate) struct WriteConflict {
    /// How often since it was last left alone for long.
    times: u32,
    last: Time,
}

impl WriteConflict {
    /// Our write has been reverted: how long to wait before it is put back. Zero
    /// is the first time, the one that is worth telling.
    pub(crate) fn reverted(&mut self, now: Time) -> Duration {
        if now.since(self.last) >= RESET {
            self.times = 0;
        }
        let delay = match self.times {
            0 => Duration::ZERO,
            times => FIRST_DELAY.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_DELAY),
        };
        self.times = self.times.saturating_add(1);
        self.last = now;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delays_double_up_to_a_bound_and_are_reset() {
        let mut conflict = WriteConflict::default();
        let mut now = Time::ZERO + Duration::from_secs(5);
        let mut delays = Vec::new();
        for _ in 0..12 {
            let delay = conflict.reverted(now);
            delays.push(delay.as_secs());
            now += delay;
        }
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        now += RESET;
        assert_eq!(conflict.reverted(now), Duration::ZERO, "it is told again");
        assert_eq!(conflict.reverted(now), FIRST_DELAY);
    }
}
