//! foca's timers in the order they are due.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use ferrolb_api::Time;
use foca::Timer;

use super::identity::Identity;

/// The most timers kept. A cluster of 5,000 nodes has about as many; beyond
/// this, what only frees memory later is left out.
const MAX_TIMERS: usize = 65_536;

/// A queue of timers; the earliest is first, and at equal times foca's own order
/// holds, as after a pause.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    due: Time,
    timer: Timer<Identity>,
    sequence: u64,
}

impl Timers {
    /// Adds a timer.
    pub(crate) fn add(&mut self, due: Time, timer: Timer<Identity>) {
        if self.queue.len() >= MAX_TIMERS && matches!(timer, Timer::RemoveDown(_)) {
            return;
        }
        self.sequence += 1;
        self.queue.push(Reverse(Entry { due, timer, sequence: self.sequence }));
    }

    /// When the first one is due.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse(entry)| entry.due)
    }

    /// The first one that is due by `now`, and when it was.
    pub(crate) fn pop(&mut self, now: Time) -> Option<(Time, Timer<Identity>)> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop().map(|Reverse(entry)| (entry.due, entry.timer))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = self.due.cmp(&other.due);
        by_time.then_with(|| self.timer.cmp(&other.timer)).then(self.sequence.cmp(&other.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_then_by_kind_then_by_age() {
        let at = Time::from_micros;
        let mut timers = Timers::default();
        timers.add(at(20), Timer::PeriodicAnnounce(1));
        timers.add(at(10), Timer::PeriodicGossip(1));
        timers.add(at(10), Timer::ProbeRandomMember(1));
        timers.add(at(10), Timer::PeriodicGossip(2));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        let mut popped = Vec::new();
        while let Some((due, timer)) = timers.pop(at(20)) {
            popped.push((due.as_micros(), timer));
        }
        let expected = [
            (10, Timer::ProbeRandomMember(1)),
            (10, Timer::PeriodicGossip(1)),
            (10, Timer::PeriodicGossip(2)),
            (20, Timer::PeriodicAnnounce(1)),
        ];
        assert_eq!(popped, expected);
    }
}
