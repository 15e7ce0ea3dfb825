//! Equal occurrences become one Event with a count, and no object gets more
//! than a few a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tokio::time::Instant;

use super::{Occurrence, Reporter};

/// Events that are remembered for counting; the one that has been quiet for
/// longest is forgotten first. About 1 kB each.
pub(super) const ENTRIES: usize = 1_024;
/// Objects whose Events are counted out; the one that has spent least is
/// forgotten first. About 100 bytes each.
const BUDGETS: usize = 8_192;
/// An Event that is quiet for longer than the API server keeps it (an hour by
/// default) starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(50 * 60);
/// Events that one object may have at once (client-go's number).
const BURST: f64 = 25.0;
/// Time after which one object may have another Event.
const REFILL: Duration = Duration::from_secs(20);
/// Longest message, in bytes, that the API server takes.
const MESSAGE_BYTES: usize = 1_024;

/// What makes two occurrences the same Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    reason: &'static str,
    message: String,
}

impl EventKey {
    /// The namespace of the object, which is also that of the Event.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// The Events of the last hour, to count with.
#[derive(Debug)]
pub struct Aggregation {
    reporter: Reporter,
    events: BTreeMap<EventKey, (Instant, Event)>,
    budgets: BTreeMap<String, Budget>,
    last_name: i128,
}

/// The token bucket of one object.
#[derive(Clone, Copy, Debug)]
struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    fn tokens_at(&self, now: Instant) -> f64 {
        let refilled = now.duration_since(self.at).as_secs_f64() / REFILL.as_secs_f64();
        (self.tokens + refilled).min(BURST)
    }
}

impl Aggregation {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(reporter: Reporter) -> Self {
        Self { reporter, events: BTreeMap::new(), budgets: BTreeMap::new(), last_name: 0 }
    }

    /// The Event that an occurrence makes, or one that it adds to. `None` if
    /// its object has had too many of late.
    pub fn add(
        &mut self,
        now: Instant,
        date: Timestamp,
        occurrence: Occurrence,
    ) -> Option<(EventKey, Event)> {
        if !self.spend(now, &occurrence.uid) {
            tracing::debug!(
                op = "event",
                reason = occurrence.reason,
                name = occurrence.name,
                "too many Events"
            );
            return None;
        }
        let is_warning = occurrence.is_warning;
        let key = EventKey {
            kind: occurrence.kind,
            namespace: occurrence.namespace,
            name: occurrence.name,
            uid: occurrence.uid,
            reason: occurrence.reason,
            message: shortened(occurrence.message),
        };
        let fresh = self.events.get_mut(&key).filter(|(last, _)| now.duration_since(*last) < FORGET_AFTER);
        let event = if let Some((last, event)) = fresh {
            *last = now;
            event.count = Some(event.count.unwrap_or(1).saturating_add(1));
            event.last_timestamp = Some(Time(date));
            event.clone()
        } else {
            let event = self.event(&key, date, is_warning);
            self.make_room();
            self.events.insert(key.clone(), (now, event.clone()));
            event
        };
        Some((key, event))
    }

    fn event(&mut self, key: &EventKey, date: Timestamp, is_warning: bool) -> Event {
        // client-go's naming: unique without asking the server for a name.
        self.last_name = date.as_nanosecond().max(self.last_name + 1);
        let Reporter { component, host } = &self.reporter;
        Event {
            metadata: ObjectMeta {
                namespace: Some(key.namespace.clone()),
                name: Some(format!("{}.{:x}", key.name, self.last_name)),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some(key.kind.to_owned()),
                namespace: Some(key.namespace.clone()),
                name: Some(key.name.clone()),
                uid: Some(key.uid.clone()),
                ..ObjectReference::default()
            },
            reason: Some(key.reason.to_owned()),
            message: Some(key.message.clone()),
            type_: Some(if is_warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource { component: Some((*component).to_owned()), host: host.clone() }),
            reporting_component: Some((*component).to_owned()),
            reporting_instance: host.clone(),
            first_timestamp: Some(Time(date)),
            last_timestamp: Some(Time(date)),
            count: Some(1),
            ..Event::default()
        }
    }

    /// Takes one token of the object's, if it has any.
    fn spend(&mut self, now: Instant, uid: &str) -> bool {
        if self.budgets.len() >= BUDGETS && !self.budgets.contains_key(uid) {
            self.forget_budgets(now);
        }
        let budget = self.budgets.entry(uid.to_owned()).or_insert(Budget { tokens: BURST, at: now });
        let tokens = budget.tokens_at(now);
        let has_one = tokens >= 1.0;
        *budget = Budget { tokens: if has_one { tokens - 1.0 } else { tokens }, at: now };
        has_one
    }

    /// Those that are full again, and where there are few, half of all: whoever
    /// floods has a smaller one than most.
    fn forget_budgets(&mut self, now: Instant) {
        self.budgets.retain(|_, budget| budget.tokens_at(now) < BURST);
        if self.budgets.len() > BUDGETS / 2 {
            let mut tokens: Vec<f64> = self.budgets.values().map(|budget| budget.tokens_at(now)).collect();
            tokens.sort_by(f64::total_cmp);
            let median = tokens[tokens.len() / 2];
            self.budgets.retain(|_, budget| budget.tokens_at(now) < median);
        }
    }

    fn make_room(&mut self) {
        if self.events.len() < ENTRIES {
            return;
        }
        let oldest = self.events.iter().min_by_key(|(_, (last, _))| *last).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.events.remove(&key);
        }
    }
}

/// The message, cut at a character so that the API server takes it.
fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let mut end = MESSAGE_BYTES - 3;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("...");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregation() -> Aggregation {
        Aggregation::new(Reporter { component: "metallb-speaker", host: Some("wk01".to_owned()) })
    }

    fn occurrence(uid: usize, message: &str) -> Occurrence {
        Occurrence {
            kind: "Service",
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: uid.to_string(),
            reason: "nodeAssigned",
            message: message.to_owned(),
            is_warning: false,
        }
    }

    fn date(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a small number of seconds is a date")
    }

    #[test]
    fn f20_f30_an_event_as_metallb_writes_it() {
        let text = "announcing from node \"wk01\" with protocol \"layer2\"";
        let (_, event) =
            aggregation().add(Instant::now(), date(9), occurrence(1, text)).expect("it is the first");
        assert_eq!(event.reason.as_deref(), Some("nodeAssigned"));
        assert_eq!(event.message.as_deref(), Some(text));
        assert_eq!(event.type_.as_deref(), Some("Normal"));
        assert_eq!(event.involved_object.kind.as_deref(), Some("Service"));
        assert_eq!(event.involved_object.uid.as_deref(), Some("1"));
        let source = event.source.expect("it says who reports");
        assert_eq!(source.component.as_deref(), Some("metallb-speaker"));
        assert_eq!(source.host.as_deref(), Some("wk01"));
        assert!(event.metadata.name.expect("it is named").starts_with("web."));
    }

    #[test]
    fn equal_occurrences_are_counted_and_others_are_not() {
        let mut aggregation = aggregation();
        let now = Instant::now();
        let mut counts = Vec::new();
        let mut names = Vec::new();
        for message in ["a", "a", "b", "a"] {
            let (_, event) = aggregation.add(now, date(9), occurrence(1, message)).expect("within the burst");
            counts.push(event.count.expect("it is counted"));
            names.push(event.metadata.name.expect("it is named"));
        }
        assert_eq!(counts, [1, 2, 1, 3]);
        assert_eq!(names[0], names[1]);
        assert_ne!(names[0], names[2], "two Events at the same moment have two names");
    }

    #[test]
    fn an_expired_event_is_made_anew() {
        let mut aggregation = aggregation();
        let now = Instant::now();
        aggregation.add(now, date(9), occurrence(1, "a")).expect("it is the first");
        let (_, event) =
            aggregation.add(now + FORGET_AFTER, date(9), occurrence(1, "a")).expect("long after the burst");
        assert_eq!(event.count, Some(1));
    }

    #[test]
    fn one_object_cannot_flood_and_another_is_not_held_back() {
        let mut aggregation = aggregation();
        let now = Instant::now();
        let passed = (0..100).filter(|_| aggregation.add(now, date(9), occurrence(1, "a")).is_some()).count();
        assert_eq!(passed, 25);
        assert!(aggregation.add(now, date(9), occurrence(2, "a")).is_some());
        assert!(aggregation.add(now + REFILL, date(9), occurrence(1, "a")).is_some());
        assert!(aggregation.add(now + REFILL, date(9), occurrence(1, "a")).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut aggregation = aggregation();
        let now = Instant::now();
        for number in 0..3 * ENTRIES {
            let later = now + REFILL * u32::try_from(number).expect("a small number");
            aggregation.add(later, date(9), occurrence(number, "a")).expect("each object is new");
        }
        assert!(aggregation.events.len() <= ENTRIES && aggregation.budgets.len() <= BUDGETS);
    }

    #[test]
    fn any_number_of_objects_have_their_first_event_at_once_and_who_floods_does_not() {
        let mut aggregation = aggregation();
        let now = Instant::now();
        let flood = |aggregation: &mut Aggregation| {
            (0..100).filter(|_| aggregation.add(now, date(9), occurrence(0, "a")).is_some()).count()
        };
        assert_eq!(flood(&mut aggregation), 25);
        for number in 1..3 * BUDGETS {
            aggregation.add(now, date(9), occurrence(number, "a")).expect("each object is new");
            assert!(aggregation.budgets.len() <= BUDGETS);
        }
        assert_eq!(flood(&mut aggregation), 0, "it is not forgotten for the others");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let cut = shortened("ä".repeat(600));
        assert!(cut.len() <= MESSAGE_BYTES && cut.ends_with("ä..."));
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
