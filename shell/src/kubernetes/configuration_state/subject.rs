//! Whose `ConfigurationState` it is, and what has to be written so that it
//! stands: without any I/O.

use std::collections::BTreeMap;

use ferrolb_api::NodeName;
use ferrolb_api::configuration_state;
use ferrolb_api::crd::ConfigurationState;
use ferrolb_api::crd::configuration_state::{
    COMPONENT_LABEL, CONFIG_VALID, CONTROLLER, ConfigurationStateStatus, NODE_LABEL, NetworkStatus,
    POOLS_VALID, SPEAKER, speaker_object,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource as _;
use serde_json::{Value, json};

use crate::kubernetes::watch::{Change, Seen};

/// The longest value of a label.
const MAX_LABEL_LEN: usize = 63;

/// The process whose object it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The controller.
    Controller,
    /// The speaker of a node.
    Speaker(NodeName),
}

impl Subject {
    /// The name of the object (A51).
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Controller => CONTROLLER.to_owned(),
            Self::Speaker(node) => speaker_object(node.as_str()),
        }
    }

    /// The field manager of what is written (A59).
    #[must_use]
    pub const fn field_owner(&self) -> &'static str {
        match self {
            Self::Controller => "poolReconciler",
            Self::Speaker(_) => "configReconciler",
        }
    }

    /// The type of the condition (A56).
    #[must_use]
    pub const fn condition(&self) -> &'static str {
        match self {
            Self::Controller => POOLS_VALID,
            Self::Speaker(_) => CONFIG_VALID,
        }
    }

    /// The labels (A52). A node's name that is too long for one is left out:
    /// the API server would refuse the object.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        match self {
            Self::Controller => [label(COMPONENT_LABEL, CONTROLLER)].into(),
            Self::Speaker(node) => {
                let node = Some(node.as_str()).filter(|name| name.len() <= MAX_LABEL_LEN);
                let node = node.map(|name| label(NODE_LABEL, name));
                [label(COMPONENT_LABEL, SPEAKER)].into_iter().chain(node).collect()
            }
        }
    }

    /// What to apply to the object, which is made by that; `None` if it has its
    /// labels and its owner (A53), and while nothing is known of it.
    pub(super) fn metadata(&self, owner: Option<&OwnerReference>, standing: &ObjectState) -> Option<Value> {
        let labels = self.labels();
        match standing {
            ObjectState::Unseen => return None,
            ObjectState::Absent => {}
            ObjectState::There(object) => {
                let has_labels = labels.iter().all(|(key, value)| object.labels.get(key) == Some(value));
                if has_labels && owner.is_none_or(|owner| object.owners.contains(&owner.uid)) {
                    return None;
                }
            }
        }
        let metadata = ObjectMeta {
            name: Some(self.name()),
            labels: Some(labels),
            owner_references: owner.map(|owner| vec![owner.clone()]),
            ..ObjectMeta::default()
        };
        Some(applied(json!({ "metadata": metadata })))
    }

    /// What to apply to the status so that it says `message`; `None` if it does.
    /// Only the own condition is applied: others are not ours.
    pub(super) fn status(&self, message: Option<&str>, standing: &ObjectState, now: &Time) -> Option<Value> {
        let nothing = ConfigurationStateStatus::default();
        let before = match standing {
            ObjectState::Unseen => return None,
            ObjectState::Absent => &nothing,
            ObjectState::There(object) => &object.status,
        };
        let mut wanted = configuration_state::status(self.condition(), message, before, now);
        if wanted == *before {
            return None;
        }
        // It has a write of its own.
        wanted.network = None;
        wanted.conditions.retain(|condition| condition.type_ == self.condition());
        let mut status = json!(wanted);
        // Also where it is empty: what is not applied would stay as somebody else
        // has written it.
        status["errorSummary"] = wanted.error_summary.into();
        Some(applied(json!({ "metadata": { "name": self.name() }, "status": status })))
    }
}

impl ObjectState {
    /// The UID of the object if it is there and does not say `network`.
    pub(super) fn lacks(&self, network: &NetworkStatus) -> Option<&str> {
        let Self::There(object) = self else { return None };
        (object.status.network.as_ref() != Some(network)).then_some(object.uid.as_str())
    }
}

fn applied(mut object: Value) -> Value {
    object["apiVersion"] = ConfigurationState::api_version(&()).into();
    object["kind"] = ConfigurationState::kind(&()).into();
    object
}

/// What is known of the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum ObjectState {
    /// Nothing: it was not looked at yet.
    #[default]
    Unseen,
    /// It does not exist.
    Absent,
    /// This.
    There(Box<Object>),
}

/// What matters of an object that exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object {
    version: String,
    uid: String,
    labels: BTreeMap<String, String>,
    owners: Vec<String>,
    status: ConfigurationStateStatus,
}

/// What matters of `object`.
pub(super) fn slim(object: ConfigurationState) -> Object {
    let metadata = object.metadata;
    Object {
        version: metadata.resource_version.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        owners: metadata.owner_references.into_iter().flatten().map(|owner| owner.uid).collect(),
        status: object.status.unwrap_or_default(),
    }
}

impl ObjectState {
    /// Takes in a change of the one object that is watched.
    pub(super) fn see(&mut self, change: Change<Object>) {
        match change {
            Change::List(mut seen) => match seen.pop() {
                Some(seen) => *self = Self::There(Box::new(read(seen))),
                None => *self = Self::Absent,
            },
            Change::Applied(seen) => {
                let object = read(seen);
                if !self.is_newer_than(&object) {
                    *self = Self::There(Box::new(object));
                }
            }
            Change::Deleted(_) => *self = Self::Absent,
        }
    }

    /// Takes in what a write has made of the object.
    pub(super) fn replace(&mut self, object: ConfigurationState) {
        *self = Self::There(Box::new(slim(object)));
    }

    /// A watch is behind the answers to our own writes: taken for news, what it
    /// says of them would be written again.
    fn is_newer_than(&self, object: &Object) -> bool {
        let number = |object: &Object| object.version.parse::<u64>().ok();
        let Self::There(known) = self else { return false };
        matches!((number(known), number(object)), (Some(known), Some(seen)) if known > seen)
    }
}

/// An object that cannot be read is one that has nothing of what it should.
fn read(seen: Seen<Object>) -> Object {
    seen.object.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ferrolb_api::crd::configuration_state::ConfigurationResult;

    use super::*;
    use crate::kubernetes::watch::ObjectKey;

    fn at(seconds: i64) -> Time {
        Time(jiff::Timestamp::from_second(seconds).expect("a time near 1970"))
    }

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: "controller-1".to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    fn object(version: &str, value: &Value) -> ConfigurationState {
        let mut whole = applied(value.clone());
        whole["metadata"]["resourceVersion"] = version.into();
        serde_json::from_value(whole).expect("it is one")
    }

    #[test]
    fn a51_a52_a56_a59_names() {
        let speaker = Subject::Speaker(NodeName::from("wk01"));
        let labels = |subject: &Subject| json!(subject.labels());
        let shown =
            |subject: &Subject| (subject.name(), labels(subject), subject.condition(), subject.field_owner());
        assert_eq!(
            shown(&Subject::Controller),
            (
                "controller".to_owned(),
                json!({ "metallb.io/component-type": "controller" }),
                "poolReconcilerValid",
                "poolReconciler"
            )
        );
        assert_eq!(
            shown(&speaker),
            (
                "speaker-wk01".to_owned(),
                json!({ "metallb.io/component-type": "speaker", "metallb.io/node-name": "wk01" }),
                "configReconcilerValid",
                "configReconciler"
            )
        );
        let long = Subject::Speaker(NodeName::from("n".repeat(64)));
        assert_eq!(labels(&long), json!({ "metallb.io/component-type": "speaker" }), "no label is so long");
    }

    #[test]
    fn a53_labels_and_owner_are_applied_until_they_stand() {
        let subject = Subject::Controller;
        let pod = owner("u1");
        assert_eq!(subject.metadata(Some(&pod), &ObjectState::Unseen), None);
        let made = subject.metadata(Some(&pod), &ObjectState::Absent).expect("it does not exist");
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(made["metadata"]["ownerReferences"][0]["controller"], Value::Null);
        let mut standing = ObjectState::Absent;
        standing.replace(object("1", &made));
        assert_eq!(subject.metadata(Some(&pod), &standing), None);
        assert_eq!(subject.metadata(None, &standing), None, "another owner is not taken away");
        assert!(subject.metadata(Some(&owner("u2")), &standing).is_some(), "another Pod took over");
        let mut edited = made;
        edited["metadata"]["labels"] = json!({});
        standing.replace(object("2", &edited));
        assert!(subject.metadata(Some(&pod), &standing).is_some(), "a label was taken away");
    }

    #[test]
    fn a54_a59_h136_a_status_is_applied_until_it_stands() {
        let subject = Subject::Controller;
        assert_eq!(subject.status(Some(""), &ObjectState::Unseen, &at(1)), None);
        let mut standing = ObjectState::Absent;
        let unknown = subject.status(None, &standing, &at(1)).expect("nothing stands");
        assert_eq!(unknown["status"], json!({ "result": "Unknown", "errorSummary": "" }));
        let valid = subject.status(Some(""), &standing, &at(1)).expect("nothing stands");
        assert_eq!(valid["status"]["result"], "Valid");
        // Somebody else's condition is in the sum, and not in what we apply.
        let mut foreign = valid;
        let other = json!({ "type": "theirs", "status": "False", "reason": "ConfigurationError",
            "message": "no such profile", "lastTransitionTime": "1970-01-01T00:00:00Z" });
        foreign["status"]["conditions"].as_array_mut().expect("there is one").push(other);
        standing.replace(object("1", &foreign));
        let summed = subject.status(Some(""), &standing, &at(2)).expect("the sum is another one");
        assert_eq!(summed["status"]["conditions"].as_array().map(Vec::len), Some(1));
        assert_eq!(summed["status"]["errorSummary"], "no such profile");
        assert_eq!(summed["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:01Z");
        let ObjectState::There(there) = &mut standing else { panic!("it is there") };
        there.status.result = Some(ConfigurationResult::Invalid);
        there.status.error_summary = "no such profile".to_owned();
        assert_eq!(subject.status(Some(""), &standing, &at(3)), None);
    }

    #[test]
    fn an_echo_of_an_own_write_is_no_news() {
        let seen = |version: &str| Seen {
            key: ObjectKey::default(),
            object: Ok(Object { version: version.to_owned(), ..Object::default() }),
        };
        let mut standing = ObjectState::Unseen;
        standing.see(Change::List(Vec::new()));
        assert_eq!(standing, ObjectState::Absent);
        standing.replace(object("10", &json!({ "metadata": {}, "status": { "result": "Valid" } })));
        let written = standing.clone();
        standing.see(Change::Applied(seen("9")));
        assert_eq!(standing, written);
        standing.see(Change::Applied(seen("11")));
        assert_ne!(standing, written);
        standing.see(Change::Deleted(ObjectKey::default()));
        assert_eq!(standing, ObjectState::Absent);
    }
}
