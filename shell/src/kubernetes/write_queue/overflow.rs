//! What a full queue leaves out: counted, and reported once a minute.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The values left out since the last report.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    count: u64,
    quiet_until: Option<Instant>,
}

impl Overflow {
    /// One more was left out.
    pub(super) fn add(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// When there is something to report: the first at once, those that follow
    /// when the minute is over.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (self.count > 0).then(|| self.quiet_until.map_or(now, |until| until.max(now)))
    }

    /// The number to report, if the time for it has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.due(now)? > now {
            return None;
        }
        self.quiet_until = Some(now + REPORT_EVERY);
        Some(std::mem::take(&mut self.count))
    }

    /// What has not been reported yet, at the end.
    pub(super) fn rest(&self) -> Option<u64> {
        (self.count > 0).then_some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_report_a_minute_with_the_number() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut left_out = Overflow::default();
        assert_eq!((left_out.due(start), left_out.take_due(start)), (None, None));
        // Second, left out in it, reported then.
        let table = [
            (0, 1, Some(1)),
            (1, 500, None),
            (59, 1, None),
            (60, 0, Some(501)),
            (90, 2, None),
            (120, 0, Some(2)),
            (180, 0, None),
            (500, 1, Some(1)),
        ];
        for (second, added, reported) in table {
            for _ in 0..added {
                left_out.add();
            }
            assert_eq!(left_out.take_due(at(second)), reported, "second {second}");
        }
        assert_eq!(left_out.rest(), None);
        left_out.add();
        assert_eq!((left_out.due(at(501)), left_out.rest()), (Some(at(560)), Some(1)));
    }
}
