//! Our view of a `ServiceL2Status`: which node announces which Service (A41 to A45).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::service_l2_status::{
    AnnouncingInterface, NODE_LABEL, SERVICE_NAME_LABEL, SERVICE_NAMESPACE_LABEL,
};
use crate::crd::{ServiceL2Status, ServiceL2StatusStatus};
use crate::node::NodeName;
use crate::service::ServiceKey;

/// The type of our condition, which holds for as long as the object stands.
pub const ANNOUNCED: &str = "Announced";
/// Its reason: the node is first in the election (D20).
pub const OWNER: &str = "Owner";

/// The longest value of a label.
const MAX_LABEL_LEN: usize = 63;

/// Who announces what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The node.
    pub node: NodeName,
    /// The Service.
    pub service: ServiceKey,
}

/// What a status says (A44, A45).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L2StatusContent {
    /// Who announces what.
    pub subject: Subject,
    /// The interfaces that the advertisements name, by name; none is all.
    pub interfaces: Vec<String>,
    /// The message of the condition [`ANNOUNCED`]; empty if the condition says
    /// something that we never say, `None` if there is no such condition, as
    /// under MetalLB's own CRD, which has no room for it.
    pub announced: Option<String>,
}

/// A `ServiceL2Status` as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L2Status {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version this view was read at; opaque, passed back with a write.
    pub resource_version: String,
    /// What its labels say (A42); `None` unless they say all of it. The node's
    /// name may be cut.
    pub labels: Option<Subject>,
    /// What its status says; `None` as long as there is none.
    pub content: Option<L2StatusContent>,
    /// Since when the condition [`ANNOUNCED`] has its status.
    pub announced_since: Option<Time>,
}

impl Subject {
    /// The labels of its object (A42). The name of a node may be too long for
    /// one, and is cut then; the status has all of it.
    #[must_use]
    pub fn to_labels(&self) -> BTreeMap<String, String> {
        let labels = [
            (NODE_LABEL, label_value(self.node.as_str())),
            (SERVICE_NAME_LABEL, self.service.name()),
            (SERVICE_NAMESPACE_LABEL, self.service.namespace()),
        ];
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let value = |label| labels.get(label).filter(|value| !value.is_empty()).cloned();
        Some(Self {
            node: value(NODE_LABEL)?.into(),
            service: ServiceKey::new(value(SERVICE_NAMESPACE_LABEL)?, value(SERVICE_NAME_LABEL)?),
        })
    }
}

/// As much of `name`, which is a DNS name, as a label takes.
fn label_value(name: &str) -> &str {
    let cut = name.get(..MAX_LABEL_LEN).unwrap_or(name);
    cut.trim_end_matches(['-', '.'])
}

impl L2StatusContent {
    /// The status to write, with `since` as the time of its condition.
    #[must_use]
    pub fn to_status(&self, since: Time) -> ServiceL2StatusStatus {
        let interfaces = self.interfaces.iter().map(|name| AnnouncingInterface { name: name.clone() });
        let condition = |message: &String| Condition {
            type_: ANNOUNCED.to_owned(),
            status: "True".to_owned(),
            reason: OWNER.to_owned(),
            message: message.clone(),
            observed_generation: None,
            last_transition_time: since.clone(),
        };
        ServiceL2StatusStatus {
            node: Some(self.subject.node.to_string()),
            service_name: Some(self.subject.service.name().to_owned()),
            service_namespace: Some(self.subject.service.namespace().to_owned()),
            interfaces: interfaces.collect(),
            conditions: self.announced.iter().map(condition).collect(),
        }
    }

    /// What `status` says, if it says anything. Of a name that is not there the
    /// subject has an empty one, which is nobody's.
    fn of(status: &ServiceL2StatusStatus) -> Option<Self> {
        if *status == ServiceL2StatusStatus::default() {
            return None;
        }
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let service = ServiceKey::new(text(&status.service_namespace), text(&status.service_name));
        let announced = announced(status).map(|condition| {
            let is_ours = condition.status == "True" && condition.reason == OWNER;
            if is_ours { condition.message.clone() } else { String::new() }
        });
        Some(Self {
            subject: Subject { node: text(&status.node).into(), service },
            interfaces: status.interfaces.iter().map(|interface| interface.name.clone()).collect(),
            announced,
        })
    }
}

impl L2Status {
    /// Who announces what by this object: its status goes before its labels,
    /// which anybody may edit.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.content.as_ref().map(|content| &content.subject).or(self.labels.as_ref())
    }

    /// Whether labels and status agree on `subject`, as far as they say anything.
    #[must_use]
    pub fn is_of(&self, subject: &Subject) -> bool {
        let is_labelled = |labels: &Subject| {
            labels.service == subject.service && labels.node.as_str() == label_value(subject.node.as_str())
        };
        self.labels.as_ref().is_some_and(is_labelled)
            && self.content.as_ref().is_none_or(|content| content.subject == *subject)
    }
}

impl From<&ServiceL2Status> for L2Status {
    fn from(object: &ServiceL2Status) -> Self {
        let metadata = &object.metadata;
        let status = object.status.as_ref();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            labels: metadata.labels.as_ref().and_then(Subject::from_labels),
            content: status.and_then(L2StatusContent::of),
            announced_since: status.and_then(announced).map(|found| found.last_transition_time.clone()),
        }
    }
}

fn announced(status: &ServiceL2StatusStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == ANNOUNCED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subject() -> Subject {
        Subject { node: "wk01".into(), service: ServiceKey::new("web", "nginx") }
    }

    fn seen(labels: serde_json::Value, status: serde_json::Value) -> L2Status {
        let object = json!({ "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
            "metadata": { "name": "l2-x", "uid": "u", "resourceVersion": "7", "labels": labels },
            "status": status });
        L2Status::from(&serde_json::from_value::<ServiceL2Status>(object).expect("it is one"))
    }

    #[test]
    fn a42_a44_a45_what_is_written_is_read_back() {
        let content = L2StatusContent {
            subject: subject(),
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            announced: Some("it answers".to_owned()),
        };
        let status = content.to_status(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        let read = seen(json!(subject().to_labels()), json!(status));
        assert_eq!((read.labels.as_ref(), read.content.as_ref()), (Some(&subject()), Some(&content)));
        assert_eq!(read.announced_since, Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)));
        assert!(read.is_of(&subject()));
        assert_eq!((read.name.as_str(), read.uid.as_str()), ("l2-x", "u"));
        // A45: all interfaces are an absent list.
        let all = L2StatusContent { interfaces: Vec::new(), announced: None, ..content };
        let status = json!(all.to_status(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)));
        assert_eq!(
            status,
            json!({ "node": "wk01", "serviceName": "nginx", "serviceNamespace": "web" }),
            "as MetalLB writes it"
        );
    }

    #[test]
    fn a42_a_name_that_is_too_long_for_a_label_is_cut() {
        let long = |middle: &str| format!("{}{middle}rack-7.example.org", "n".repeat(60));
        for (middle, expected) in [("aaaa", "aaa"), ("a-.a", "a")] {
            let subject = Subject { node: long(middle).into(), ..subject() };
            let labels = subject.to_labels();
            assert_eq!(labels[NODE_LABEL], format!("{}{expected}", "n".repeat(60)));
            let content = L2StatusContent { subject, interfaces: Vec::new(), announced: None };
            let status = content.to_status(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
            assert!(seen(json!(labels), json!(null)).is_of(&content.subject), "it is not written yet");
            let read = seen(json!(labels), json!(status));
            assert!(read.is_of(&content.subject));
            assert_eq!(read.subject(), Some(&content.subject));
        }
    }

    #[test]
    fn a41_to_a44_objects_that_are_not_whole() {
        let labels = json!(subject().to_labels());
        let other = json!({ "node": "wk02", "serviceName": "nginx", "serviceNamespace": "web" });
        for (labels, status, is_of, node) in [
            (labels.clone(), json!(null), true, Some("wk01")),
            (labels.clone(), json!({}), true, Some("wk01")),
            (labels.clone(), other.clone(), false, Some("wk02")),
            (json!(null), other, false, Some("wk02")),
            (json!({ NODE_LABEL: "wk01" }), json!(null), false, None),
            (labels, json!({ "node": "wk01" }), false, Some("wk01")),
        ] {
            let name = format!("{labels} {status}");
            let read = seen(labels, status);
            assert_eq!(read.is_of(&subject()), is_of, "{name}");
            assert_eq!(read.subject().map(|subject| subject.node.as_str()), node, "{name}");
        }
    }

    #[test]
    fn a_condition_of_ours_that_was_edited_says_nothing() {
        let with = |status: &str, reason: &str| {
            let condition = json!({ "type": "Announced", "status": status, "reason": reason, "message": "m",
                                    "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let status = json!({ "node": "wk01", "serviceName": "nginx", "serviceNamespace": "web",
                                 "conditions": [condition] });
            seen(json!(subject().to_labels()), status).content.and_then(|content| content.announced)
        };
        assert_eq!(with("True", "Owner").as_deref(), Some("m"));
        assert_eq!(with("False", "Owner").as_deref(), Some(""));
        assert_eq!(with("True", "Mine").as_deref(), Some(""));
    }
}
