//! One open watch: newline-delimited JSON until its time is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::BoxError;

use crate::error::Refusal;
use crate::faults::{Fault, Match};
use crate::rbac::Attributes;
use crate::request::{RequestTarget, WatchOptions};
use crate::server::{Server, Shared, metadata_only, reset};
use crate::store::CommittedWrite;

/// How often a watch that asked for bookmarks gets one.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long a watch lasts that names no timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// What the server knows of an open watch.
#[derive(Debug)]
pub(crate) struct WatchEntry {
    user: String,
    target: RequestTarget,
    name: Option<String>,
    cut: bool,
    hung: bool,
}

impl WatchEntry {
    pub(crate) fn is_hit_by(&self, which: &Match) -> bool {
        let attributes = Attributes {
            verb: "watch",
            group: &self.target.kind.group,
            resource: &self.target.kind.plural,
            subresource: None,
            namespace: self.target.namespace.as_deref(),
            name: self.name.as_deref(),
        };
        which.matches(&self.user, &attributes)
    }

    pub(crate) fn cut(&mut self) {
        self.cut = true;
    }

    pub(crate) fn hang(&mut self) {
        self.hung = true;
    }
}

/// The stream behind an open watch.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    ticks: tokio::sync::watch::Receiver<u64>,
    id: u64,
    target: RequestTarget,
    options: WatchOptions,
    metadata_only: bool,
    /// Its bookmarks are newer than this: the revision it was opened at, or a later one that was asked for.
    begin: u64,
    /// The last revision that has been told or passed over.
    position: u64,
    queue: VecDeque<Bytes>,
    ended: bool,
    opened: Instant,
    deadline: Instant,
    next_bookmark: Option<Instant>,
    cut_at: Option<Instant>,
    hung_at: Option<Instant>,
    delay: Duration,
    burst: Duration,
}

enum Step {
    Line(Bytes),
    End,
    Broken,
    Wait(Option<Instant>),
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().watches.remove(&self.id);
    }
}

impl Watch {
    /// Opens a watch at the revision it asks for.
    pub(crate) fn open(
        shared: Arc<Shared>,
        user: &str,
        target: RequestTarget,
        options: WatchOptions,
        metadata_only: bool,
        faults: &[Fault],
    ) -> Self {
        let opened = Instant::now();
        let mut guard = shared.lock();
        let server = &mut *guard;
        let id = server.watches.last_key_value().map_or(0, |(id, _)| id + 1);
        let name = options.selectors.name().map(str::to_owned);
        let entry =
            WatchEntry { user: user.to_owned(), target: target.clone(), name, cut: false, hung: false };
        server.watches.insert(id, entry);
        let timeout = options.timeout_seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let mut watch = Self {
            ticks: shared.ticks.subscribe(),
            shared: shared.clone(),
            id,
            target,
            metadata_only,
            begin: options.resource_version.unwrap_or(0).max(server.store.revision()),
            position: options.resource_version.unwrap_or(0),
            queue: VecDeque::new(),
            ended: false,
            opened,
            deadline: opened + timeout,
            next_bookmark: options.bookmarks.then(|| opened + BOOKMARK_PERIOD),
            options,
            cut_at: None,
            hung_at: None,
            delay: Duration::ZERO,
            burst: Duration::ZERO,
        };
        watch.arm(faults);
        watch.begin(server, faults);
        drop(guard);
        watch
    }

    fn arm(&mut self, faults: &[Fault]) {
        for fault in faults {
            match fault {
                Fault::CutWatch(after) => self.cut_at = Some(self.opened + *after),
                Fault::HungWatch(after) => self.hung_at = Some(self.opened + *after),
                Fault::SlowWatch { delay, burst } => (self.delay, self.burst) = (*delay, *burst),
                _ => {}
            }
        }
    }

    /// Without a revision to begin at, everything that stands is told first.
    fn begin(&mut self, server: &Server, faults: &[Fault]) {
        let from_present = self.position == 0;
        let initial = self.options.send_initial_events || from_present;
        if faults.contains(&Fault::ExpiredWatch) || (!initial && self.position < server.store.compacted()) {
            let text = format!("too old resource version: {} ({})", self.position, server.store.revision());
            let refusal = Refusal::expired(&text);
            self.queue.push_back(line("ERROR", &refusal.status()));
            self.ended = true;
            return;
        }
        if !initial {
            return;
        }
        self.position = server.store.revision();
        let kind = &self.target.kind;
        let namespace = self.target.namespace.as_deref();
        for object in server.store.list(&kind.group, &kind.plural, namespace, self.position).values() {
            if self.options.selectors.matches(object) {
                self.queue.push_back(self.event("ADDED", object));
            }
        }
        if self.options.send_initial_events {
            let mut bookmark = self.bookmark(self.position);
            bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            self.queue.push_back(line("BOOKMARK", &bookmark));
        }
    }

    /// The next line, `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            self.ticks.borrow_and_update();
            match self.step() {
                Step::Line(line) => return Some(Ok(line)),
                Step::End => self.ended = true,
                Step::Broken => {
                    self.ended = true;
                    return Some(Err(reset()));
                }
                Step::Wait(until) => {
                    // The sender lives in `shared`, which this stream holds.
                    let changed = self.ticks.changed();
                    let _ = match until {
                        Some(until) => tokio::time::timeout_at(until, changed).await.is_ok(),
                        None => changed.await.is_ok(),
                    };
                }
            }
        }
    }

    fn step(&mut self) -> Step {
        let shared = self.shared.clone();
        let guard = shared.lock();
        let server = &*guard;
        let now = Instant::now();
        let reached = |moment: Option<Instant>| moment.is_some_and(|moment| now >= moment);
        let entry = server.watches.get(&self.id);
        if server.faults.is_gone(now) || reached(self.cut_at) || entry.is_some_and(|entry| entry.cut) {
            return Step::Broken;
        }
        if reached(self.hung_at) || entry.is_some_and(|entry| entry.hung) {
            return Step::Wait(None);
        }
        let mut wake = vec![self.deadline];
        wake.extend(self.cut_at.into_iter().chain(self.hung_at).chain(server.faults.next_turn(now)));
        for change in server.store.changes_after(self.position) {
            let due = self.due(change);
            if due > now {
                wake.push(due);
                break;
            }
            self.position = change.revision;
            if let Some(line) = self.told(change) {
                return Step::Line(line);
            }
        }
        // As kube-apiserver has it: to a watch that begins in the future, as after etcd was restored, nothing is told.
        let bookmark = (self.options.bookmarks && self.position > self.begin)
            .then(|| Step::Line(line("BOOKMARK", &self.bookmark(self.position))));
        if now >= self.deadline {
            self.ended = true;
            return bookmark.unwrap_or(Step::End);
        }
        if reached(self.next_bookmark) {
            self.next_bookmark = Some(now + BOOKMARK_PERIOD);
            if let Some(bookmark) = bookmark {
                return bookmark;
            }
        }
        wake.extend(self.next_bookmark);
        Step::Wait(wake.into_iter().min())
    }

    fn due(&self, change: &CommittedWrite) -> Instant {
        let due = change.at.max(self.opened) + self.delay;
        if self.burst.is_zero() {
            return due;
        }
        let turns = due.duration_since(self.opened).as_nanos().div_ceil(self.burst.as_nanos());
        self.opened + self.burst * u32::try_from(turns).unwrap_or(u32::MAX)
    }

    /// A change as this watch sees it: what leaves its selection is deleted.
    fn told(&self, change: &CommittedWrite) -> Option<Bytes> {
        let kind = &self.target.kind;
        if !change.key.is_in(&kind.group, &kind.plural, self.target.namespace.as_deref()) {
            return None;
        }
        let selectors = &self.options.selectors;
        let before = change.old.as_ref().filter(|old| selectors.matches(old));
        let after = !change.deleted && selectors.matches(&change.object);
        match (before, after) {
            (None, true) => Some(self.event("ADDED", &change.object)),
            (Some(_), true) => Some(self.event("MODIFIED", &change.object)),
            (Some(old), false) => {
                let mut last = Value::clone(old);
                last["metadata"]["resourceVersion"] = change.revision.to_string().into();
                Some(self.event("DELETED", &last))
            }
            (None, false) => None,
        }
    }

    fn event(&self, event: &str, object: &Value) -> Bytes {
        if self.metadata_only { line(event, &metadata_only(object)) } else { line(event, object) }
    }

    fn bookmark(&self, revision: u64) -> Value {
        let kind = &self.target.kind;
        json!({"apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}})
    }
}

fn line(event: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": event, "object": object}).to_string();
    text.push('\n');
    Bytes::from(text)
}
