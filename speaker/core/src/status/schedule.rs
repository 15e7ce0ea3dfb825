//! Which Services are to be looked at once more for the sake of people: their
//! `ServiceL2Status` and the reason why nobody announces them.
//!
//! None of it is urgent, so it happens on timers of its own and a little at a
//! time: a failover of ten thousand Services is announced first, and reported
//! over the seconds that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use ferrolb_api::{ServiceKey, Time};

/// Services looked at in one step, some microseconds each.
pub(crate) const STEP: usize = 64;
/// Time between two steps.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// When which Service is due.
#[derive(Debug, Default)]
pub(crate) struct StatusSchedule {
    due: BTreeSet<(Time, ServiceKey)>,
    /// The same by Service: each is due once, at the earliest of its times.
    at: BTreeMap<ServiceKey, Time>,
    /// No step before this.
    not_before: Time,
    resync: Option<Resync>,
}

/// A pass over all Services.
#[derive(Debug, Default)]
struct Resync {
    /// Where it has come to.
    after: Option<ServiceKey>,
    /// Something has changed since it began: another one follows.
    again: bool,
}

impl StatusSchedule {
    /// `service` is to be looked at, at `at` or sooner.
    pub(crate) fn enqueue(&mut self, at: Time, service: &ServiceKey) {
        match self.at.get_mut(service) {
            Some(known) if *known <= at => return,
            Some(known) => {
                self.due.remove(&(*known, service.clone()));
                *known = at;
            }
            None => {
                self.at.insert(service.clone(), at);
            }
        }
        self.due.insert((at, service.clone()));
    }

    /// All Services are to be looked at.
    pub(crate) fn resync(&mut self) {
        match &mut self.resync {
            Some(resync) => resync.again = true,
            None => self.resync = Some(Resync::default()),
        }
    }

    /// When there is something to look at.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let due = self.due.first().map(|(at, _)| *at);
        let resync = self.resync.as_ref().map(|_| self.not_before);
        let first = due.into_iter().chain(resync).min()?;
        Some(first.max(self.not_before))
    }

    /// The Services to look at now, few enough for one step. `next` gives the
    /// first of all Services behind the one given.
    pub(crate) fn take(
        &mut self,
        now: Time,
        next: impl Fn(Bound<&ServiceKey>) -> Option<ServiceKey>,
    ) -> Vec<ServiceKey> {
        let mut taken = Vec::new();
        if now < self.not_before {
            return taken;
        }
        while taken.len() < STEP && self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, service)) = self.due.pop_first() else { break };
            self.at.remove(&service);
            taken.push(service);
        }
        while taken.len() < STEP
            && let Some(resync) = &mut self.resync
        {
            let after = resync.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            match next(after) {
                Some(service) => {
                    taken.push(service.clone());
                    resync.after = Some(service);
                }
                None => self.resync = resync.again.then(Resync::default),
            }
        }
        if !taken.is_empty() {
            self.not_before = now + PAUSE;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    fn key(number: usize) -> ServiceKey {
        ServiceKey::new("default", format!("{number:05}"))
    }

    fn nothing(_: Bound<&ServiceKey>) -> Option<ServiceKey> {
        None
    }

    #[test]
    fn each_is_due_once_and_at_the_earliest_time() {
        let mut schedule = StatusSchedule::default();
        assert_eq!(schedule.poll_timeout(), None);
        schedule.enqueue(at(50), &key(1));
        schedule.enqueue(at(30), &key(1));
        schedule.enqueue(at(70), &key(1));
        schedule.enqueue(at(60), &key(2));
        assert_eq!(schedule.poll_timeout(), Some(at(30)));
        assert_eq!(schedule.take(at(29), nothing), []);
        assert_eq!(schedule.take(at(30), nothing), [key(1)]);
        assert_eq!(schedule.poll_timeout(), Some(at(60)));
        assert_eq!(schedule.take(at(60), nothing), [key(2)]);
        assert_eq!(schedule.poll_timeout(), None);
    }

    #[test]
    fn a_sweep_takes_its_time_and_is_repeated_if_something_changed() {
        let mut schedule = StatusSchedule::default();
        let all: BTreeSet<ServiceKey> = (0..150).map(key).collect();
        let next =
            |after: Bound<&ServiceKey>| all.range::<ServiceKey, _>((after, Bound::Unbounded)).next().cloned();
        schedule.resync();
        schedule.enqueue(at(0), &key(9_999));
        let mut steps = Vec::new();
        let mut taken = Vec::new();
        while let Some(due) = schedule.poll_timeout() {
            let step = schedule.take(due, next);
            if steps.len() == 1 {
                schedule.resync();
            }
            steps.push((due, step.len()));
            taken.extend(step);
            assert!(steps.len() < 20, "it ends: {steps:?}");
        }
        assert_eq!(taken.first(), Some(&key(9_999)), "what is due goes first");
        assert_eq!(taken.len(), 1 + 150 + 150);
        assert!(steps.iter().all(|(_, count)| *count <= STEP), "{steps:?}");
        assert!(steps.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PAUSE), "{steps:?}");
    }
}
