//! Since when nobody announces a Service, and whether that has been said.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_api::{ServiceKey, Time};

use crate::ownership::diagnosis::Check;

/// An obstacle is worth a word once it has lasted this long: Pods that start
/// and speakers that take over are no obstacles.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The Services that nobody announces. Every speaker keeps them, so that the
/// next one to speak for a Service does not say again what was said.
#[derive(Debug, Default)]
pub(crate) struct NotAnnounced(BTreeMap<ServiceKey, NotifyState>);

#[derive(Debug)]
struct NotifyState {
    check: Check,
    since: Time,
    notified: Option<Check>,
}

/// What is to be done about an obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    /// It was said.
    Done,
    /// It may go away by itself until then.
    Pending(Time),
    /// Say it now.
    Now,
}

impl NotAnnounced {
    /// `check` is what keeps `service` from being announced.
    pub(crate) fn note(&mut self, now: Time, service: &ServiceKey, check: Check) -> Notify {
        let state =
            self.0.entry(service.clone()).or_insert(NotifyState { check, since: now, notified: None });
        if state.check != check {
            (state.check, state.since) = (check, now);
        }
        if state.notified == Some(check) {
            return Notify::Done;
        }
        let due = state.since + PATIENCE;
        if now < due {
            return Notify::Pending(due);
        }
        state.notified = Some(check);
        Notify::Now
    }

    /// `service` is announced, or there is nothing to announce.
    pub(crate) fn end(&mut self, service: &ServiceKey) {
        self.0.remove(service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn said_once_after_five_seconds_and_again_only_for_another_reason() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let web = ServiceKey::new("default", "web");
        let mut not_announced = NotAnnounced::default();
        for (seconds, check, expected) in [
            (0, Some(Check::Endpoints), Notify::Pending(at(5))),
            (4, Some(Check::Endpoints), Notify::Pending(at(5))),
            (5, Some(Check::Endpoints), Notify::Now),
            (6, Some(Check::Endpoints), Notify::Done),
            (7, Some(Check::Nodes), Notify::Pending(at(12))),
            // It was only a moment: what was said before still holds.
            (9, Some(Check::Endpoints), Notify::Done),
            (10, Some(Check::Nodes), Notify::Pending(at(15))),
            (16, Some(Check::Nodes), Notify::Now),
            (17, Some(Check::Endpoints), Notify::Pending(at(22))),
            (22, Some(Check::Endpoints), Notify::Now),
            (23, None, Notify::Done),
            (24, Some(Check::Endpoints), Notify::Pending(at(29))),
            (29, Some(Check::Endpoints), Notify::Now),
        ] {
            match check {
                Some(check) => {
                    assert_eq!(not_announced.note(at(seconds), &web, check), expected, "{seconds}")
                }
                None => not_announced.end(&web),
            }
        }
    }
}
