//! What is found about an object as its status conditions, in the form that
//! kstatus reads: Flux with `wait: true` and Argo CD turn red for a bad object,
//! and only for it.
//!
//! * `Ready`: the object as it now stands is in force, or why not.
//! * `Stalled`, present only while `Ready` is false: nothing happens before the
//!   object, or the one it collides with, is edited. Without it kstatus would
//!   take a bad object for one that is still on its way.
//! * `Effective`: an advertisement finds a pool, a pool an advertisement. It is
//!   not part of `Ready`: either may come later, in any order (B15).
//! * `Exhausted`, present only while it holds: a pool has no free address left.
//!   Neither is this part of `Ready`, or an upgrade of one application would
//!   fail because another one has taken the last address.
//!
//! `Reconciling` is never written: an object is judged in one step, and until
//! then its `observedGeneration` is behind, which kstatus reads the same way.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::config::{Verdict, reason};

/// Whether the object is in force.
pub const READY: &str = "Ready";
/// Whether the object stays as it is until somebody edits it.
pub const STALLED: &str = "Stalled";
/// Whether the object has an effect.
pub const EFFECTIVE: &str = "Effective";
/// Whether a pool has no free address left.
pub const EXHAUSTED: &str = "Exhausted";

/// The longest message we write, in bytes. Kubernetes allows 32,768; what is
/// longer than this helps nobody and would be copied into every watch.
pub const MAX_MESSAGE_LEN: usize = 1024;

/// `previous`, the conditions that stand in the object's status, with `Ready`,
/// `Stalled` and `Effective` as `verdict` has them. Conditions of other types
/// stay as they are, and `lastTransitionTime` moves to `now` only where the
/// status changes; so the result equals `previous` when there is nothing to write.
#[must_use]
pub fn with_verdict(verdict: &Verdict, previous: &[Condition], now: &Time) -> Vec<Condition> {
    let (ready, stalled) = match &verdict.outcome {
        Ok(()) => (State::new(true, reason::ACCEPTED, &verdict.note), None),
        Err(problem) => {
            let message = problem.to_string();
            (State::new(false, problem.reason, &message), Some(State::new(true, problem.reason, &message)))
        }
    };
    let effective = verdict.effective.as_ref();
    let effective =
        effective.map(|effective| State::new(effective.holds, effective.reason, &effective.message));
    let mut conditions = previous.to_vec();
    for (kind, state) in [(READY, Some(ready)), (STALLED, stalled), (EFFECTIVE, effective)] {
        set(&mut conditions, kind, state, verdict.generation, now);
    }
    conditions
}

/// `previous` with `Exhausted` saying `message`, or without it. `generation` is
/// that of the object when it was judged last.
#[must_use]
pub fn with_exhaustion(
    message: Option<&str>,
    generation: i64,
    previous: &[Condition],
    now: &Time,
) -> Vec<Condition> {
    let mut conditions = previous.to_vec();
    let state = message.map(|message| State::new(true, reason::POOL_EXHAUSTED, message));
    set(&mut conditions, EXHAUSTED, state, generation, now);
    conditions
}

/// What one condition says.
struct State {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl State {
    fn new(holds: bool, reason: &'static str, message: &str) -> Self {
        Self { holds, reason, message: shortened(message.to_owned(), MAX_MESSAGE_LEN) }
    }
}

/// Puts the condition `kind` where it stands, or last; `None` removes it.
fn set(conditions: &mut Vec<Condition>, kind: &str, state: Option<State>, generation: i64, now: &Time) {
    let Some(State { holds, reason, message }) = state else {
        conditions.retain(|condition| condition.type_ != kind);
        return;
    };
    let mut new = Condition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: now.clone(),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// `message`, cut so that it has at most `max` bytes, of which four say so.
pub(crate) fn shortened(mut message: String, max: usize) -> String {
    const MORE: &str = " ...";
    if message.len() > max {
        message.truncate(message.floor_char_boundary(max - MORE.len()));
        message.push_str(MORE);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Effective, Kind, Problem};

    fn at(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).expect("a time near 1970"))
    }

    fn verdict(generation: i64, message: Option<&str>) -> Verdict {
        let problem = |message: &str| Problem {
            reason: reason::INVALID_ADDRESSES,
            message: message.to_owned(),
            last_valid_kept: false,
            only_until_restart: false,
        };
        let outcome = message.map_or(Ok(()), |message| Err(problem(message)));
        Verdict {
            kind: Kind::IPAddressPool,
            name: "pool".to_owned(),
            generation,
            outcome,
            effective: None,
            note: String::new(),
            last_known_good: None,
        }
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let first = with_verdict(&verdict(1, None), &[], &at(1));
        let [ready] = first.as_slice() else { panic!("one condition: {first:?}") };
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
        assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("Accepted", ""));
        assert_eq!((ready.observed_generation, &ready.last_transition_time), (Some(1), &at(1)));

        // The same again is nothing to write; a new generation is, in its old state.
        assert_eq!(with_verdict(&verdict(1, None), &first, &at(2)), first);
        let second = with_verdict(&verdict(2, None), &first, &at(3));
        assert_eq!((second[0].observed_generation, &second[0].last_transition_time), (Some(2), &at(1)));

        let third = with_verdict(&verdict(3, Some("bad")), &second, &at(4));
        assert_eq!((third[0].status.as_str(), &third[0].last_transition_time), ("False", &at(4)));
        assert_eq!((third[0].reason.as_str(), third[0].message.as_str()), ("InvalidAddresses", "bad"));
        let fourth = with_verdict(&verdict(3, Some("worse")), &third, &at(5));
        assert_eq!((fourth[0].message.as_str(), &fourth[0].last_transition_time), ("worse", &at(4)));
    }

    #[test]
    fn conditions_of_others_stay() {
        let other = Condition {
            type_: "Synced".to_owned(),
            status: "Unknown".to_owned(),
            reason: "Theirs".to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: at(7),
        };
        let conditions = with_verdict(&verdict(1, None), std::slice::from_ref(&other), &at(8));
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[0], other);
        let again = with_verdict(&verdict(1, Some("bad")), &conditions, &at(9));
        assert_eq!((&again[0], again[1].status.as_str()), (&other, "False"));
        assert_eq!(again.len(), 3, "Ready and Stalled beside the other one");
    }

    #[test]
    fn a_message_is_bounded_and_stays_text() {
        let long = "\u{e9}".repeat(5_000);
        let conditions = with_verdict(&verdict(1, Some(&long)), &[], &at(1));
        assert!(conditions[0].message.len() <= MAX_MESSAGE_LEN, "{}", conditions[0].message.len());
        assert!(conditions[0].message.ends_with("\u{e9} ..."));
    }

    #[test]
    fn a_kept_version_is_mentioned() {
        let mut verdict = verdict(1, Some("bad"));
        verdict.outcome.as_mut().expect_err("made bad").last_valid_kept = true;
        let conditions = with_verdict(&verdict, &[], &at(1));
        assert!(conditions[0].message.contains("last valid version stays in force"));
    }

    /// As kstatus computes it (sigs.k8s.io/cli-utils): what Flux and Argo CD show.
    fn kstatus(conditions: &[Condition]) -> &'static str {
        let is = |kind: &str, status: &str| {
            conditions.iter().any(|condition| condition.type_ == kind && condition.status == status)
        };
        match () {
            () if is("Reconciling", "True") => "InProgress",
            () if is(STALLED, "True") => "Failed",
            () if is(READY, "True") => "Current",
            () => "InProgress",
        }
    }

    #[test]
    fn kstatus_fails_for_a_bad_object_only() {
        let good = with_verdict(&verdict(1, None), &[], &at(1));
        assert_eq!(kstatus(&good), "Current");
        let bad = with_verdict(&verdict(2, Some("bad")), &good, &at(2));
        assert_eq!(kstatus(&bad), "Failed");
        let stalled = bad.iter().find(|condition| condition.type_ == STALLED).expect("it fails by this");
        assert_eq!((stalled.reason.as_str(), stalled.message.as_str()), ("InvalidAddresses", "bad"));
        assert_eq!(stalled.observed_generation, Some(2));
        // Correcting it is enough.
        let corrected = with_verdict(&verdict(3, None), &bad, &at(3));
        assert_eq!(kstatus(&corrected), "Current");
        assert!(corrected.iter().all(|condition| condition.type_ != STALLED));
    }

    #[test]
    fn without_effect_or_exhausted_is_still_ready() {
        let mut idle = verdict(4, None);
        idle.effective = Some(Effective {
            holds: false,
            reason: reason::NO_ADVERTISEMENT,
            message: "nobody announces it".to_owned(),
        });
        let conditions = with_verdict(&idle, &[], &at(1));
        let conditions = with_exhaustion(Some("all 2 are in use"), 4, &conditions, &at(2));
        assert_eq!(kstatus(&conditions), "Current");
        let shown: Vec<_> = conditions
            .iter()
            .map(|c| format!("{}={} {} {}", c.type_, c.status, c.reason, c.message))
            .collect();
        assert_eq!(
            shown,
            [
                "Ready=True Accepted ",
                "Effective=False NoAdvertisement nobody announces it",
                "Exhausted=True PoolExhausted all 2 are in use",
            ]
        );
        assert!(conditions.iter().all(|condition| condition.observed_generation == Some(4)));
        assert_eq!(with_exhaustion(Some("all 2 are in use"), 4, &conditions, &at(3)), conditions);
        assert_eq!(with_exhaustion(None, 4, &conditions, &at(3)).len(), 2);
    }
}
