//! `ServiceL2Status` objects: they are watched for the core, and changed as it
//! asks (A41 to A45, D82). Nothing else waits for any of it.

use std::sync::atomic::{AtomicBool, Ordering};

use ferrolb_api::L2Status;
use ferrolb_api::crd::ServiceL2Status;
use ferrolb_api::l2_status::{L2StatusContent, Subject, Time};
use ferrolb_shell::kubernetes::error::{self, Failure};
use ferrolb_shell::kubernetes::watch::{Change, Watch};
use ferrolb_shell::kubernetes::write_queue::{self, Outcome, Queue, WriteSender};
use ferrolb_shell::{OwnPod, Readiness};
use jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use prometheus::IntCounter;
use serde_json::{Value, json};
use speaker_core::{Input, L2StatusChange};
use tokio::sync::mpsc;

/// The name that our writes have in `managedFields`: that of MetalLB's speaker.
const FIELD_MANAGER: &str = "speaker";
/// Objects that may wait for a write: more than a node announces.
const OBJECTS: usize = 65_536;

/// Changes the objects, as a task of its own.
pub(super) struct Writer {
    queue: Queue<String, L2StatusChange>,
    api: Api<ServiceL2Status>,
    own_pod: OwnPod,
    errors: IntCounter,
    /// It was said that the API server refuses.
    told: AtomicBool,
}

/// A writer for `namespace`, and where changes are put by the object's name.
pub(super) fn channel(
    client: Client,
    namespace: &str,
    own_pod: OwnPod,
    errors: IntCounter,
) -> (WriteSender<String, L2StatusChange>, Writer) {
    let (writes, queue) = write_queue::channel(OBJECTS);
    let api = Api::namespaced(client, namespace);
    (writes, Writer { queue, api, own_pod, errors, told: AtomicBool::new(false) })
}

/// Reports every object and every change of one. Their kind may be missing, or
/// be out of bounds for us: then there is nothing to report, and the speaker is
/// no less ready for it.
pub(super) async fn watch(client: Client, namespace: &str, inputs: mpsc::Sender<Input<'static>>) {
    let gate = Readiness::default().gate("watch servicel2statuses", "not listed yet");
    let api: Api<DeserializeGuard<ServiceL2Status>> = Api::namespaced(client, namespace);
    let mut watch = Watch::new(api, None, |object| L2Status::from(&object), gate);
    loop {
        let input = match watch.next().await {
            Change::List(seen) => {
                Input::L2Statuses(seen.into_iter().filter_map(|seen| seen.object.ok()).collect())
            }
            Change::Applied(seen) => match seen.object {
                Ok(object) => Input::L2Status(Box::new(object)),
                Err(_) => continue,
            },
            Change::Deleted(key) => Input::L2StatusGone(key.name),
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

impl Writer {
    /// WriteSender until nobody can ask for anything any more.
    pub(super) async fn run(self) {
        let Self { queue, api, own_pod, errors, told } = self;
        let context = Context { api, own_pod, errors, told };
        queue.run(|name: String, change: L2StatusChange| context.carry_out(name, change)).await;
    }
}

struct Context {
    api: Api<ServiceL2Status>,
    own_pod: OwnPod,
    errors: IntCounter,
    told: AtomicBool,
}

impl Context {
    async fn carry_out(&self, name: String, change: L2StatusChange) -> Outcome {
        let (verb, result) = match change {
            L2StatusChange::Create(subject) => ("create", self.create(&name, &subject).await),
            L2StatusChange::Write { content, since, resource_version } => {
                let patch = patch(&content, since, &resource_version);
                let params =
                    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                let written = self.api.patch_status(&name, &params, &Patch::Merge(&patch)).await;
                ("patch status", written.map(|_| ()))
            }
            L2StatusChange::Delete { uid } => {
                let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
                let params = DeleteParams { preconditions, ..DeleteParams::default() };
                ("delete", self.api.delete(&name, &params).await.map(|_| ()))
            }
        };
        result.map_or_else(|error| self.outcome(verb, &name, &error), |()| Outcome::Done)
    }

    /// A41 to A43: without status, which is written once the object is seen.
    async fn create(&self, name: &str, subject: &Subject) -> kube::Result<()> {
        let object = ServiceL2Status {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(subject.to_labels()),
                owner_references: self.own_pod.owner().await.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            ..ServiceL2Status::default()
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.api.create(&params, &object).await.map(|_| ())
    }

    fn outcome(&self, verb: &str, name: &str, error: &kube::Error) -> Outcome {
        let text = error::describe(error);
        match error::classify(error) {
            // The reply to the first try was lost; or a newer view of the object
            // is on its way; or it is gone.
            Failure::AlreadyExists | Failure::Conflict => return Outcome::Done,
            Failure::NotFound if verb != "create" => return Outcome::Done,
            Failure::Forbidden | Failure::Refused | Failure::NotFound => {
                self.errors.inc();
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        op = "l2Status",
                        verb,
                        name,
                        error = text,
                        "the API server refuses a ServiceL2Status; announcing does not depend on it"
                    );
                }
                return Outcome::RetrySlowly;
            }
            Failure::Transient { .. } | Failure::Expired => {}
        }
        self.errors.inc();
        tracing::debug!(op = "l2Status", verb, name, error = text, "trying again");
        Outcome::retry(error)
    }
}

/// The JSON merge patch (RFC 7396) that makes a status say `content`.
fn patch(content: &L2StatusContent, since: Option<Time>, resource_version: &str) -> Value {
    let mut status = json!(content.to_status(since.unwrap_or_else(|| Time(Timestamp::now()))));
    if content.interfaces.is_empty() {
        // A45: those that were named before are not any more.
        status["interfaces"] = Value::Null;
    }
    json!({ "metadata": { "resourceVersion": resource_version }, "status": status })
}

#[cfg(test)]
mod tests {
    use ferrolb_api::ServiceKey;

    use super::*;

    #[test]
    fn a45_names_that_are_no_longer_named_are_taken_away() {
        let subject = Subject { node: "wk01".into(), service: ServiceKey::new("default", "web") };
        let content = |interfaces: &[&str]| L2StatusContent {
            subject: subject.clone(),
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
            announced: Some("it answers".to_owned()),
        };
        let since = Some(Time(Timestamp::UNIX_EPOCH));
        let named = patch(&content(&["eth0"]), since.clone(), "7");
        assert_eq!(named["status"]["interfaces"], json!([{ "name": "eth0" }]));
        assert_eq!(named["metadata"]["resourceVersion"], "7");
        assert_eq!(named["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let all = patch(&content(&[]), since, "8");
        assert_eq!(all["status"].get("interfaces"), Some(&Value::Null));
    }
}
