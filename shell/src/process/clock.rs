//! The cores' [`Time`], read from tokio's clock so that tests can pause it.

use std::time::Duration;

use ferrolb_api::Time;
use tokio::time::Instant;

/// A monotonic clock whose origin is the moment it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// The time at `instant`; zero if it lies before the origin.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Time {
        Time::ZERO + instant.saturating_duration_since(self.origin)
    }

    /// The instant at which [`Clock::now`] will be `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        // Beyond 30 years tokio's own timers saturate as well.
        const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
        self.origin + time.since(Time::ZERO).min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_times_convert_both_ways() {
        let clock = Clock::start();
        let time = Time::from_micros(1_500_000);
        assert_eq!(clock.at(clock.instant(time)), time);
        assert_eq!(clock.at(clock.origin - Duration::from_nanos(1)), Time::ZERO);
        assert!(clock.instant(Time::from_micros(u64::MAX)) > clock.origin);
    }
}
