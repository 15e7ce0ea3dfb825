//! Somebody else who writes the status of a Service of ours: it is told once, and what they undo is put back ever more
//! slowly. Two writers that disagree would otherwise keep the API server, and every speaker, as busy as they can.

use std::time::Duration;

use ferrolb_api::Time;

/// What is reverted for the second time waits this long; each time after that twice as long. The first time may have been
/// a slip of somebody's hand, and is put right at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// After this time without a need to put anything back, the next one is again the first.
const RESET: Duration = Duration::from_secs(900);

/// How a Service stands to a second writer.
#[derive(Debug, Default)]
pub(crate) struct WriteConflict {
    /// How often our write was reverted since it was last left alone for long.
    reverted: u32,
    last: Time,
    /// Nothing is put back before this time.
    due: Time,
}

impl WriteConflict {
    /// Our write has been reverted. Whether that is worth telling: the first time.
    pub(crate) fn reverted(&mut self, now: Time) -> bool {
        if now.since(self.last) >= RESET {
            self.reverted = 0;
        }
        let pause = match self.reverted {
            0 => Duration::ZERO,
            times => FIRST_PAUSE.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_PAUSE),
        };
        self.reverted = self.reverted.saturating_add(1);
        self.last = now;
        self.due = now + pause;
        self.reverted == 1
    }

    /// Something else is wanted by now: it may be written at once.
    pub(crate) fn resolved(&mut self) {
        self.due = Time::ZERO;
    }

    /// Until when nothing may be put back, if it may not be now.
    pub(crate) fn pause(&self, now: Time) -> Option<Time> {
        (self.due > now).then_some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_pauses_double_up_to_a_bound_and_are_reset() {
        let mut write_conflict = WriteConflict::default();
        let mut pauses = Vec::new();
        let mut now = at(5);
        for round in 0..12 {
            assert_eq!(write_conflict.reverted(now), round == 0);
            let due = write_conflict.pause(now).unwrap_or(now);
            pauses.push(due.since(now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        now += RESET;
        assert!(write_conflict.reverted(now), "it is told again");
        assert_eq!(write_conflict.pause(now), None);
        write_conflict.reverted(now);
        assert!(write_conflict.pause(now).is_some());
        write_conflict.resolved();
        assert_eq!(write_conflict.pause(now), None);
    }
}
