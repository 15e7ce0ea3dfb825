//! How long to wait before the next try.

use std::time::Duration;

use crate::process::random::Jitter;

/// Exponential growth with jitter and a cap. Half of each delay is fixed and
/// half is random, so that many processes do not come back in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first delay.
    pub base: Duration,
    /// The longest delay at all.
    pub cap: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row, from half of the nominal
    /// delay up to all of it. Zero failures count as one.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: &mut Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let nominal = self.base.saturating_mul(1 << doublings).min(self.cap);
        let half = nominal / 2;
        half + jitter.up_to(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_with_jitter_below_it() {
        let backoff = Backoff { base: Duration::from_millis(800), cap: Duration::from_secs(30) };
        let mut jitter = Jitter::new(7);
        for (failures, most) in [(0, 800), (1, 800), (2, 1_600), (6, 25_600), (7, 30_000), (u32::MAX, 30_000)]
        {
            for _ in 0..100 {
                let delay = backoff.delay(failures, &mut jitter);
                let most = Duration::from_millis(most);
                assert!(delay >= most / 2 && delay <= most, "{failures} failures: {delay:?}");
            }
        }
    }
}
