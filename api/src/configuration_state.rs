//! What a process makes of the configuration as a whole, for the status of its
//! `ConfigurationState` (A54 to A58).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::conditions::shortened;
use crate::config::Rejected;
use crate::crd::configuration_state::{CONFIGURATION_ERROR, ConfigurationStateStatus, RECONCILED};

/// The longest message, in bytes. Kubernetes allows 32,768; whoever has more
/// wrong than this finds the rest at the objects themselves.
pub const MAX_MESSAGE_LEN: usize = 4_096;
/// The longest part of a message that is about one object, in bytes, where not
/// everything has room.
const MAX_PROBLEM_LEN: usize = 256;
/// Room for the number of objects that are not named.
const MORE_LEN: usize = 64;

/// The message of a condition (A58): empty if nothing is left out, otherwise
/// every object that is, and why. Of very many only as many as have room, and
/// how many more there are.
#[must_use]
pub fn message(rejected: &[Rejected]) -> String {
    if rejected.is_empty() {
        return String::new();
    }
    let entry = |rejected: &Rejected| format!("{}: {}", rejected.object(), rejected.problem);
    let prefix = "configuration error: ".to_owned();
    let whole = prefix.clone() + &rejected.iter().map(entry).collect::<Vec<_>>().join("; ");
    if whole.len() <= MAX_MESSAGE_LEN {
        return whole;
    }
    let mut text = prefix;
    for (index, one) in rejected.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        let next = format!("{separator}{}", shortened(entry(one), MAX_PROBLEM_LEN));
        if text.len() + next.len() + MORE_LEN > MAX_MESSAGE_LEN {
            text.push_str(&format!("; and {} more", rejected.len() - index));
            break;
        }
        text.push_str(&next);
    }
    text
}

/// `previous`, the status that stands, with the condition `kind` (A56) saying
/// `message`: True if it is empty (A57). `None` is not judged yet: then there is
/// no such condition. Conditions of other types stay and have their part in the
/// result (A54).
///
/// Unlike in MetalLB (A59) `lastTransitionTime` moves to `now` only where the
/// status of the condition changes; so the result equals `previous` when there
/// is nothing to write.
#[must_use]
pub fn status(
    kind: &str,
    message: Option<&str>,
    previous: &ConfigurationStateStatus,
    now: &Time,
) -> ConfigurationStateStatus {
    let mut conditions = previous.conditions.clone();
    let old = conditions.iter().position(|condition| condition.type_ == kind);
    let new = message.map(|message| {
        let (status, reason) =
            if message.is_empty() { ("True", RECONCILED) } else { ("False", CONFIGURATION_ERROR) };
        let unchanged = old.map(|at| &conditions[at]).filter(|old| old.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: None,
            last_transition_time: unchanged
                .map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
        }
    });
    match (old, new) {
        (Some(at), Some(new)) => conditions[at] = new,
        (None, Some(new)) => conditions.push(new),
        (Some(at), None) => {
            conditions.remove(at);
        }
        (None, None) => {}
    }
    let network = previous.network.clone();
    ConfigurationStateStatus { network, ..ConfigurationStateStatus::summarised(conditions) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Kind;
    use crate::crd::configuration_state::{CONFIG_VALID, ConfigurationResult, POOLS_VALID};

    fn at(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).expect("a time near 1970"))
    }

    fn rejected(object: &str, problem: &str) -> Rejected {
        let (kind, name) = object.split_once('/').expect("the test writes kind/name");
        let kind = Kind::parse(kind).expect("one of ours");
        Rejected { kind, name: name.to_owned(), problem: problem.to_owned() }
    }

    #[test]
    fn a58_the_message_names_every_object_and_why() {
        let pool = rejected("IPAddressPool/first", "spec.addresses is empty");
        let advertisement = rejected("L2Advertisement/all", "spec.interfaces: written twice");
        for (objects, expected) in [
            (vec![], ""),
            (vec![pool.clone()], "configuration error: IPAddressPool/first: spec.addresses is empty"),
            (
                vec![pool, advertisement],
                "configuration error: IPAddressPool/first: spec.addresses is empty; \
                 L2Advertisement/all: spec.interfaces: written twice",
            ),
        ] {
            assert_eq!(message(&objects), expected);
        }
    }

    #[test]
    fn a58_the_message_is_bounded_and_says_what_is_missing() {
        let long = "\u{e9}".repeat(3_000);
        let one = message(&[rejected("IPAddressPool/long", &long)]);
        assert!(one.starts_with("configuration error: IPAddressPool/long: \u{e9}") && one.ends_with(" ..."));
        for count in [2, 17, 500] {
            let many: Vec<_> =
                (0..count).map(|number| rejected(&format!("IPAddressPool/p{number}"), &long)).collect();
            let text = message(&many);
            assert!(text.len() <= MAX_MESSAGE_LEN, "{count}: {}", text.len());
            let named = text.matches("IPAddressPool/").count();
            let more =
                if named < count { format!("; and {} more", count - named) } else { " ...".to_owned() };
            assert!(named >= 2 && text.ends_with(&more), "{count}: {text}");
        }
        // Short ones are all named, however many there are.
        let short: Vec<_> =
            (0..90).map(|number| rejected(&format!("IPAddressPool/p{number}"), "bad")).collect();
        assert_eq!(message(&short).matches("IPAddressPool/").count(), 90);
    }

    #[test]
    fn a54_to_a57_h136_the_status_of_a_judgement() {
        use ConfigurationResult::{Invalid, Unknown, Valid};
        let none = ConfigurationStateStatus::default();
        for (message, result, summary, condition) in [
            (None, Unknown, "", None),
            (Some(""), Valid, "", Some(("True", "Reconciled", ""))),
            (Some("bad"), Invalid, "bad", Some(("False", "ConfigurationError", "bad"))),
        ] {
            for kind in [POOLS_VALID, CONFIG_VALID] {
                let status = status(kind, message, &none, &at(1));
                assert_eq!((status.result, status.error_summary.as_str()), (Some(result), summary));
                let found = status.conditions.first().map(|condition| {
                    assert_eq!(condition.type_, kind);
                    (condition.status.as_str(), condition.reason.as_str(), condition.message.as_str())
                });
                assert_eq!(found, condition);
            }
        }
    }

    #[test]
    fn a59_the_time_of_transition_moves_with_the_status_only() {
        let judge = |message, previous: &ConfigurationStateStatus, now| {
            status(POOLS_VALID, message, previous, &at(now))
        };
        let time = |status: &ConfigurationStateStatus| status.conditions[0].last_transition_time.clone();
        let valid = judge(Some(""), &ConfigurationStateStatus::default(), 1);
        assert_eq!(judge(Some(""), &valid, 2), valid, "there is nothing to write");
        let bad = judge(Some("bad"), &valid, 3);
        assert_eq!(time(&bad), at(3));
        let worse = judge(Some("worse"), &bad, 4);
        assert_eq!((time(&worse), worse.error_summary.as_str()), (at(3), "worse"));
        assert_eq!(time(&judge(Some(""), &worse, 5)), at(5));
        assert_eq!(judge(None, &worse, 6).result, Some(ConfigurationResult::Unknown));
    }

    #[test]
    fn a54_a55_conditions_of_other_parts_count_and_stay() {
        let other = Condition {
            type_: "theirs".to_owned(),
            status: "False".to_owned(),
            reason: CONFIGURATION_ERROR.to_owned(),
            message: "no such profile".to_owned(),
            observed_generation: None,
            last_transition_time: at(7),
        };
        let before = ConfigurationStateStatus::summarised(vec![other.clone()]);
        let after = status(CONFIG_VALID, Some(""), &before, &at(8));
        assert_eq!(after.conditions.len(), 2);
        assert_eq!(after.conditions[0], other);
        assert_eq!(after.result, Some(ConfigurationResult::Invalid));
        assert_eq!(after.error_summary, "no such profile");
    }
}
