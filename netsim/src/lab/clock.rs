//! Virtual time: ours for the cores, smoltcp's for the simulated hosts.

use std::time::Duration;

use ferrolb_api::Time;
use smoltcp::time::Instant;

/// The same point in time as smoltcp writes it.
#[must_use]
pub fn instant(time: Time) -> Instant {
    Instant::from_micros(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

/// The same point in time as the cores write it; what lies before the origin
/// is the origin.
#[must_use]
pub fn time(instant: Instant) -> Time {
    Time::from_micros(u64::try_from(instant.total_micros()).unwrap_or(0))
}

/// A duration as milliseconds with one decimal, the unit of every outage.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree_to_the_microsecond() {
        for micros in [0, 1, 999_999, 86_400_000_000] {
            let there = instant(Time::from_micros(micros));
            assert_eq!(time(there), Time::from_micros(micros));
        }
        assert_eq!(time(Instant::from_micros(-5)), Time::ZERO);
    }
}
