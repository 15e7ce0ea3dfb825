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
pub(crate) struct Silences(BTreeMap<ServiceKey, Silence>);

#[derive(Debug)]
struct Silence {
    check: Check,
    since: Time,
    said: Option<Check>,
}

/// What is to be done about an obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It was said.
    Said,
    /// It may go away by itself until then.
    Wait(Time),
    /// Say it now.
    Say,
}

impl Silences {
    /// `check` is what keeps `service` from being announced.
    pub(crate) fn note(&mut self, now: Time, service: &ServiceKey, check: Check) -> Word {
        let silence = self.0.entry(service.clone()).or_insert(Silence { check, since: now, said: None });
        if silence.check != check {
            (silence.check, silence.since) = (check, now);
        }
        if silence.said == Some(check) {
            return Word::Said;
        }
        let due = silence.since + PATIENCE;
        if now < due {
            return Word::Wait(due);
        }
        silence.said = Some(check);
        Word::Say
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
        let mut silences = Silences::default();
        for (seconds, check, expected) in [
            (0, Some(Check::Endpoints), Word::Wait(at(5))),
            (4, Some(Check::Endpoints), Word::Wait(at(5))),
            (5, Some(Check::Endpoints), Word::Say),
            (6, Some(Check::Endpoints), Word::Said),
            (7, Some(Check::Nodes), Word::Wait(at(12))),
            // It was only a moment: what was said before still holds.
            (9, Some(Check::Endpoints), Word::Said),
            (10, Some(Check::Nodes), Word::Wait(at(15))),
            (16, Some(Check::Nodes), Word::Say),
            (17, Some(Check::Endpoints), Word::Wait(at(22))),
            (22, Some(Check::Endpoints), Word::Say),
            (23, None, Word::Said),
            (24, Some(Check::Endpoints), Word::Wait(at(29))),
            (29, Some(Check::Endpoints), Word::Say),
        ] {
            match check {
                Some(check) => assert_eq!(silences.note(at(seconds), &web, check), expected, "{seconds}"),
                None => silences.end(&web),
            }
        }
    }
}
