//! A verdict as status conditions of its object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::config::{Verdict, reason};

/// The type of our condition.
pub const READY: &str = "Ready";

/// The longest message we write, in bytes. Kubernetes allows 32,768; what is
/// longer than this helps nobody and would be copied into every watch.
pub const MAX_MESSAGE_LEN: usize = 1024;

/// `previous`, the conditions that stand in the object's status, with `Ready`
/// as `verdict` has it. Conditions of other types stay as they are, and
/// `lastTransitionTime` moves to `now` only where the status changes; so the
/// result equals `previous` when there is nothing to write.
#[must_use]
pub fn with_ready(verdict: &Verdict, previous: &[Condition], now: &Time) -> Vec<Condition> {
    let mut conditions = previous.to_vec();
    let old = conditions.iter().position(|condition| condition.type_ == READY);
    let mut ready = ready(verdict, now);
    match old.map(|index| &mut conditions[index]) {
        Some(old) => {
            if old.status == ready.status {
                ready.last_transition_time = old.last_transition_time.clone();
            }
            *old = ready;
        }
        None => conditions.push(ready),
    }
    conditions
}

fn ready(verdict: &Verdict, now: &Time) -> Condition {
    let (status, reason, message) = match &verdict.outcome {
        Ok(()) => ("True", reason::ACCEPTED, String::new()),
        Err(problem) => ("False", problem.reason, shortened(problem.to_string())),
    };
    Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(verdict.generation),
        last_transition_time: now.clone(),
    }
}

fn shortened(mut message: String) -> String {
    const MORE: &str = " ...";
    if message.len() > MAX_MESSAGE_LEN {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_LEN - MORE.len()));
        message.push_str(MORE);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kind, Problem};

    fn at(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).expect("a time near 1970"))
    }

    fn verdict(generation: i64, message: Option<&str>) -> Verdict {
        let problem = |message: &str| Problem {
            reason: reason::INVALID_ADDRESSES,
            message: message.to_owned(),
            last_valid_kept: false,
        };
        let outcome = message.map_or(Ok(()), |message| Err(problem(message)));
        Verdict { kind: Kind::IPAddressPool, name: "pool".to_owned(), generation, outcome }
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let first = with_ready(&verdict(1, None), &[], &at(1));
        let [ready] = first.as_slice() else { panic!("one condition: {first:?}") };
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
        assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("Accepted", ""));
        assert_eq!((ready.observed_generation, &ready.last_transition_time), (Some(1), &at(1)));

        // The same again is nothing to write; a new generation is, in its old state.
        assert_eq!(with_ready(&verdict(1, None), &first, &at(2)), first);
        let second = with_ready(&verdict(2, None), &first, &at(3));
        assert_eq!((second[0].observed_generation, &second[0].last_transition_time), (Some(2), &at(1)));

        let third = with_ready(&verdict(3, Some("bad")), &second, &at(4));
        assert_eq!((third[0].status.as_str(), &third[0].last_transition_time), ("False", &at(4)));
        assert_eq!((third[0].reason.as_str(), third[0].message.as_str()), ("InvalidAddresses", "bad"));
        let fourth = with_ready(&verdict(3, Some("worse")), &third, &at(5));
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
        let conditions = with_ready(&verdict(1, None), std::slice::from_ref(&other), &at(8));
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[0], other);
        let again = with_ready(&verdict(1, Some("bad")), &conditions, &at(9));
        assert_eq!((&again[0], again[1].status.as_str()), (&other, "False"));
    }

    #[test]
    fn a_message_is_bounded_and_stays_text() {
        let long = "\u{e9}".repeat(5_000);
        let conditions = with_ready(&verdict(1, Some(&long)), &[], &at(1));
        assert!(conditions[0].message.len() <= MAX_MESSAGE_LEN, "{}", conditions[0].message.len());
        assert!(conditions[0].message.ends_with("\u{e9} ..."));
    }

    #[test]
    fn a_kept_version_is_mentioned() {
        let mut verdict = verdict(1, Some("bad"));
        verdict.outcome.as_mut().expect_err("made bad").last_valid_kept = true;
        let conditions = with_ready(&verdict, &[], &at(1));
        assert!(conditions[0].message.contains("last valid version stays in force"));
    }
}
