//! Kubernetes Events of core/v1, as MetalLB writes them (F20): created once,
//! then counted.
//!
//! MetalLB's RBAC allows `create` and `patch` of core Events and nothing of
//! `events.k8s.io` (G78, G90), which is what the `Recorder` of kube-runtime 5 writes.

mod aggregation;

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::kubernetes::error::{self, Failure};
use crate::kubernetes::write_queue::{self, Outcome};

pub use aggregation::{Aggregation, EventKey};

/// Occurrences that may wait to be aggregated, which is quick; for more the
/// reporter waits.
const QUEUE: usize = 1_024;
/// Events that may wait to be written, about 1 kB each: a node that takes over
/// thousands of Services says so of each of them, once.
const WRITES: usize = 16_384;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// `metallb-controller` or `metallb-speaker` (F20).
    pub component: &'static str,
    /// The node, for a process that belongs to one.
    pub host: Option<String>,
}

/// Something that happened to an object of core/v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The object's kind: `Service` or `Pod`.
    pub kind: &'static str,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's UID.
    pub uid: String,
    /// The exact reason.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// Whether somebody should look: `Warning`, else `Normal`.
    pub is_warning: bool,
}

/// Takes occurrences.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Occurrence>,
}

/// WriteSender Events, as a task of its own.
#[derive(Debug)]
pub struct EventWriter {
    receiver: mpsc::Receiver<Occurrence>,
    aggregation: Aggregation,
}

/// A writer and the way to it.
#[must_use]
pub fn channel(reporter: Reporter) -> (Events, EventWriter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Events { sender }, EventWriter { receiver, aggregation: Aggregation::new(reporter) })
}

impl Events {
    /// Reports what happened. Waits for room, which comes soon whatever the API
    /// server does; false if the writer is gone.
    pub async fn report(&self, occurrence: Occurrence) -> bool {
        self.sender.send(occurrence).await.is_ok()
    }
}

impl EventWriter {
    /// WriteSender until all [`Events`] are dropped and what is due is written.
    pub async fn run(mut self, client: Client) {
        let (writes, queue) = write_queue::channel(WRITES);
        let refused = AtomicBool::new(false);
        let written = queue.run(|key: EventKey, event: Event| write(client.clone(), key, event, &refused));
        let aggregated = async move {
            while let Some(occurrence) = self.receiver.recv().await {
                let event = self.aggregation.add(Instant::now(), Timestamp::now(), occurrence);
                if let Some((key, event)) = event {
                    writes.put(key, event).await;
                }
            }
        };
        tokio::join!(written, aggregated);
    }
}

/// Creates the Event, or updates the count of the one that is there.
async fn write(client: Client, key: EventKey, event: Event, refused: &AtomicBool) -> Outcome {
    let api: Api<Event> = Api::namespaced(client, key.namespace());
    if event.count.unwrap_or(1) > 1 {
        let name = event.metadata.name.clone().unwrap_or_default();
        let update = json!({ "count": event.count, "lastTimestamp": event.last_timestamp });
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(&update)).await {
            Ok(_) => return Outcome::Done,
            // It was never created, or it has expired: create it now.
            Err(error) if error::classify(&error) == Failure::NotFound => {}
            Err(error) => return outcome("patch", &error, refused),
        }
    }
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => Outcome::Done,
        Err(error) => outcome("create", &error, refused),
    }
}

fn outcome(verb: &str, error: &kube::Error, refused: &AtomicBool) -> Outcome {
    match error::classify(error) {
        Failure::Transient { .. } | Failure::Conflict => Outcome::retry(error),
        // The reply to the first try was lost.
        Failure::AlreadyExists => Outcome::Done,
        // Its namespace is going away, or somebody forbids it: it is only an Event.
        _ => {
            if !refused.swap(true, Ordering::Relaxed) {
                let error = error::describe(error);
                tracing::warn!(op = "event", verb, error, "the API server refuses Events; they are dropped");
            }
            Outcome::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn f30_who_waits_for_room_loses_nothing() {
        let occurrence = |number: usize| Occurrence {
            kind: "Service",
            namespace: "default".to_owned(),
            name: format!("s{number}"),
            uid: String::new(),
            reason: "nodeAssigned",
            message: String::new(),
            is_warning: false,
        };
        let (events, mut writer) = channel(Reporter { component: "metallb-speaker", host: None });
        let reported = tokio::spawn(async move {
            for number in 0..2 * QUEUE {
                assert!(events.report(occurrence(number)).await);
            }
        });
        // Until it is full.
        tokio::task::yield_now().await;
        for number in 0..2 * QUEUE {
            assert_eq!(writer.receiver.recv().await, Some(occurrence(number)));
        }
        reported.await.expect("all were taken");
    }
}
