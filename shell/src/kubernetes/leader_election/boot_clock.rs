//! A clock that goes on while the machine is suspended.

use std::time::Duration;

use ferrolb_api::Time;
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The time since it was made, by CLOCK_BOOTTIME. Tokio's clock, which does not
/// count suspension, is asked as well and the later of both counts: that is the
/// virtual time where tokio's clock is one.
///
/// Neither clock goes on while a hypervisor holds the whole machine; after that
/// a write is only held back by the version that it names.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootClock {
    tokio: Instant,
    boot: Duration,
}

impl BootClock {
    /// A clock that starts at zero now.
    pub(super) fn start() -> Self {
        Self { tokio: Instant::now(), boot: since_boot() }
    }

    /// The time now.
    pub(super) fn now(&self) -> Time {
        let boot = since_boot().saturating_sub(self.boot);
        Time::ZERO + self.tokio.elapsed().max(boot)
    }

    /// When tokio's timers have to go off to see [`BootClock::now`] reach `time`,
    /// if the machine stays boot_clock.
    pub(super) fn instant(&self, time: Time) -> Instant {
        // Beyond 30 years tokio's own timers saturate as well.
        const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
        Instant::now() + time.since(self.now()).min(FAR)
    }
}

fn since_boot() -> Duration {
    // Linux has had it since 2.6.39; without it tokio's clock counts alone.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_virtual_time_and_never_goes_back() {
        let clock = BootClock::start();
        let mut last = clock.now();
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(700)).await;
            let now = clock.now();
            assert!(now > last);
            last = now;
        }
        assert!(last >= Time::ZERO + Duration::from_secs(70));
        let in_a_minute = clock.instant(last + Duration::from_secs(60)) - Instant::now();
        assert!(in_a_minute <= Duration::from_secs(60) && in_a_minute > Duration::from_secs(59));
    }

    #[test]
    fn suspension_counts() {
        // As if 50 s had passed by CLOCK_BOOTTIME since the start and none by the other.
        let clock =
            BootClock { tokio: Instant::now(), boot: since_boot().saturating_sub(Duration::from_secs(50)) };
        let uptime = since_boot();
        assert!(!uptime.is_zero(), "this kernel has the clock");
        let expected = uptime.min(Duration::from_secs(50));
        assert!(clock.now() >= Time::ZERO + expected);
    }
}
