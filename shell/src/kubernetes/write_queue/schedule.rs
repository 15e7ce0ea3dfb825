//! When which key is written next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::kubernetes::connectivity::{Comeback, SPREAD};
use crate::kubernetes::error::{self, Failure};
use crate::process::backoff::Backoff;
use crate::process::random::Jitter;

/// Delays between tries of one key.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(60) };
/// Delays between tries that most likely need a change made by hand first: RBAC
/// rules, a CRD. The first ones are short: an API server that has just started
/// refuses what it will allow in a moment.
const SLOW: Backoff = Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(300) };

/// How a write went.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It stands, or it has become pointless.
    Done,
    /// Try again with backoff.
    Retry {
        /// Not before this time is over, if the server said so.
        after: Option<Duration>,
        /// The server asked for it, of all writes (429).
        of_server: bool,
    },
    /// The server did not answer: try again with backoff, or soon after the
    /// comeback.
    Unanswered(Comeback),
    /// Somebody has to change something first: try again soon, and after that
    /// every few minutes.
    RetrySlowly,
}

impl Outcome {
    /// Try again with backoff, for no reason that the server has given.
    pub const AGAIN: Self = Self::Retry { after: None, of_server: false };

    /// Try again, when `error` gives reason to hope.
    #[must_use]
    pub fn retry(error: &kube::Error) -> Self {
        match (Comeback::of(error), error::classify(error)) {
            (Some(comeback), _) => Self::Unanswered(comeback),
            (None, Failure::Transient { after }) => Self::Retry { after, of_server: after.is_some() },
            (None, _) => Self::AGAIN,
        }
    }
}

/// The wanted value of each key, and when it is to be written.
#[derive(Debug)]
pub struct Schedule<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    /// The entries that wait, by time.
    due: BTreeSet<(Instant, K)>,
    paused_until: Option<Instant>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    failures: u32,
    /// The last try was not answered.
    is_unanswered: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting(Instant),
    Writing,
    /// A newer value came while one was being written.
    Overtaken,
}

impl<K: Ord + Clone, V> Schedule<K, V> {
    /// An empty schedule for at most `capacity` keys.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), due: BTreeSet::new(), paused_until: None, capacity }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Schedule<K, V> {
    /// From now on `value` is wanted of `key`. A new value is written at once,
    /// the same one when its time has come.
    ///
    /// # Errors
    /// Gives the key back if there are too many.
    pub fn put(&mut self, now: Instant, key: K, value: V) -> Result<(), K> {
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.value == value {
                return Ok(());
            }
            entry.value = value;
            match entry.state {
                State::Waiting(at) => {
                    self.due.remove(&(at, key.clone()));
                    entry.state = State::Waiting(at.min(now));
                    self.due.insert((at.min(now), key));
                }
                State::Writing | State::Overtaken => entry.state = State::Overtaken,
            }
            return Ok(());
        }
        if self.entries.len() >= self.capacity {
            return Err(key);
        }
        self.due.insert((now, key.clone()));
        self.entries
            .insert(key, Entry { value, failures: 0, is_unanswered: false, state: State::Waiting(now) });
        Ok(())
    }

    /// A key whose time has come, with its value; it counts as being written
    /// until [`Schedule::finish`].
    pub fn take_due(&mut self, now: Instant) -> Option<(K, V)> {
        if self.next_due()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let entry = self.entries.get_mut(&key).expect("a key that is due has an entry");
        entry.state = State::Writing;
        Some((key, entry.value.clone()))
    }

    /// When the next key is due, if any waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let (at, _) = self.due.first()?;
        Some(self.paused_until.map_or(*at, |pause| pause.max(*at)))
    }

    /// Takes in how the write of `key` went.
    pub fn finish(&mut self, now: Instant, key: &K, outcome: Outcome, jitter: &mut Jitter) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_unanswered = matches!(outcome, Outcome::Unanswered(_));
        if std::mem::replace(&mut entry.is_unanswered, is_unanswered) && !is_unanswered {
            // How long nobody answered says nothing about how long an answer will stand.
            entry.failures = 0;
        }
        let delay = match outcome {
            Outcome::Done if entry.state == State::Overtaken => {
                entry.failures = 0;
                Duration::ZERO
            }
            Outcome::Done => {
                self.entries.remove(key);
                return;
            }
            Outcome::Retry { after, of_server } => {
                entry.failures = entry.failures.saturating_add(1);
                let delay = BACKOFF.delay(entry.failures, jitter).max(after.unwrap_or_default());
                if of_server {
                    self.paused_until = self.paused_until.max(Some(now + delay));
                }
                delay
            }
            Outcome::Unanswered(_) => {
                entry.failures = entry.failures.saturating_add(1);
                BACKOFF.delay(entry.failures, jitter)
            }
            Outcome::RetrySlowly => {
                entry.failures = entry.failures.saturating_add(1);
                SLOW.delay(entry.failures, jitter)
            }
        };
        entry.state = State::Waiting(now + delay);
        self.due.insert((now + delay, key.clone()));
    }

    /// The server is back: what has had no answer is due within [`SPREAD`], and
    /// its backoff begins anew.
    pub fn answers_again(&mut self, now: Instant, jitter: &mut Jitter) {
        for (key, entry) in &mut self.entries {
            if let State::Waiting(at) = entry.state
                && entry.is_unanswered
            {
                let soon = at.min(now + jitter.up_to(SPREAD));
                self.due.remove(&(at, key.clone()));
                self.due.insert((soon, key.clone()));
                entry.state = State::Waiting(soon);
                entry.failures = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> (Schedule<&'static str, u32>, Instant, Jitter) {
        (Schedule::new(2), Instant::now(), Jitter::new(1))
    }

    #[test]
    fn the_latest_value_wins() {
        let (mut schedule, now, mut jitter) = schedule();
        for value in [1, 2] {
            schedule.put(now, "a", value).expect("there is room");
        }
        assert_eq!(schedule.take_due(now), Some(("a", 2)));
        assert_eq!(schedule.take_due(now), None, "a key is written once at a time");
        schedule.put(now, "a", 3).expect("there is room");
        assert_eq!(schedule.take_due(now), None);
        schedule.finish(now, &"a", Outcome::Done, &mut jitter);
        assert_eq!(schedule.take_due(now), Some(("a", 3)), "overtaken while it was being written");
        schedule.finish(now, &"a", Outcome::Done, &mut jitter);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn the_same_value_does_not_jump_the_backoff_and_a_new_one_does() {
        let (mut schedule, now, mut jitter) = schedule();
        schedule.put(now, "a", 1).expect("there is room");
        schedule.take_due(now).expect("it is due");
        schedule.finish(now, &"a", Outcome::AGAIN, &mut jitter);
        schedule.put(now, "a", 1).expect("there is room");
        assert_eq!(schedule.take_due(now), None);
        schedule.put(now, "a", 2).expect("there is room");
        assert_eq!(schedule.take_due(now), Some(("a", 2)));
    }

    #[test]
    fn retries_wait_longer_and_longer() {
        let (mut schedule, mut now, mut jitter) = schedule();
        schedule.put(now, "a", 1).expect("there is room");
        for failures in 1..30 {
            schedule.take_due(now).expect("it is due");
            schedule.finish(now, &"a", Outcome::AGAIN, &mut jitter);
            let due = schedule.next_due().expect("it waits");
            let nominal = (BACKOFF.base * 2_u32.saturating_pow(failures - 1)).min(BACKOFF.cap);
            assert!(due - now >= nominal / 2 && due - now <= nominal, "failure {failures}");
            now = due;
        }
    }

    #[test]
    fn a_429_holds_back_every_key_for_the_time_it_names() {
        let (mut schedule, now, mut jitter) = schedule();
        schedule.put(now, "a", 1).expect("there is room");
        schedule.take_due(now).expect("it is due");
        let after = Duration::from_secs(7);
        schedule.finish(now, &"a", Outcome::Retry { after: Some(after), of_server: true }, &mut jitter);
        schedule.put(now, "b", 1).expect("there is room");
        assert_eq!(schedule.take_due(now + after - Duration::from_millis(1)), None);
        assert!(schedule.take_due(now + after).is_some());
        assert!(schedule.take_due(now + after).is_some());
    }

    #[test]
    fn what_needs_a_human_is_tried_soon_and_then_every_few_minutes() {
        let (mut schedule, mut now, mut jitter) = schedule();
        schedule.put(now, "a", 1).expect("there is room");
        for most in [5, 10, 20, 40, 80, 160, 300, 300] {
            schedule.take_due(now).expect("it is due");
            schedule.finish(now, &"a", Outcome::RetrySlowly, &mut jitter);
            let due = schedule.next_due().expect("it waits");
            let most = Duration::from_secs(most);
            assert!(due - now >= most / 2 && due - now <= most, "{:?}", due - now);
            now = due;
        }
    }

    #[test]
    fn a_refusal_after_an_outage_is_tried_again_soon() {
        let (mut schedule, mut now, mut jitter) = schedule();
        schedule.put(now, "a", 1).expect("there is room");
        for _ in 0..8 {
            schedule.take_due(now).expect("it is due");
            schedule.finish(now, &"a", Outcome::Unanswered(Comeback::never()), &mut jitter);
            now = schedule.next_due().expect("it waits");
        }
        schedule.take_due(now).expect("it is due");
        schedule.finish(now, &"a", Outcome::RetrySlowly, &mut jitter);
        let due = schedule.next_due().expect("it waits");
        assert!(due - now <= SLOW.base, "{:?}", due - now);
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let (mut schedule, now, _) = schedule();
        schedule.put(now, "a", 1).expect("there is room");
        schedule.put(now, "b", 1).expect("there is room");
        assert_eq!(schedule.put(now, "c", 1), Err("c"));
        assert_eq!(schedule.put(now, "b", 2), Ok(()));
    }
}
