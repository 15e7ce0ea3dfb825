//! A list, then its changes, for as long as the process lives.
//!
//! kube-runtime's watcher tries a watch again for ever when the server answers
//! it with 410, and puts no bound on a list or on the start of a watch that
//! hangs. This one lists again on 410, on a line it cannot read and on a
//! timeout, so a change is never lost and a hung connection is noticed within
//! a minute.

mod table;

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use kube::api::{ListParams, WatchParams};
use kube::core::{DeserializeGuard, WatchEvent};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::admin::readiness::Gate;
use crate::kubernetes::connectivity::{self, Comeback};
use crate::kubernetes::error::{self, Failure};
use crate::process::backoff::Backoff;
use crate::process::random::Jitter;

pub use table::Table;

/// Objects in one page of a list; client-go's number.
const PAGE: u32 = 500;
/// A page that takes longer is asked for again.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// A watch that has not begun after this time is started again.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// The server ends a watch after this many seconds, up to [`WATCH_SPREAD`]
/// less: then a silent one is dead, and it is noticed within a minute.
const WATCH_SECONDS: u32 = 50;
/// Spreads the ends of many watches.
const WATCH_SPREAD: u32 = 5;
/// How much longer than agreed the end of a watch is waited for.
const WATCH_MARGIN: Duration = Duration::from_secs(5);
/// A watch that ended sooner counts as a failure, so that a server that ends
/// each at once is not asked in a loop.
const SHORT_WATCH: Duration = Duration::from_secs(1);
/// Without the verb `watch`, as for a speaker's Pods under MetalLB's own rules
/// (G70), a list this often takes its place.
const POLL: Duration = Duration::from_secs(30);
/// A watch that is refused this often in a row is not allowed. Before that it
/// may be a server that has just started and does not know its rules yet.
const REFUSALS: u32 = 4;
/// Delays between tries.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(800), cap: Duration::from_secs(30) };

/// Namespace (empty for objects outside of one) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// An object as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<V> {
    /// Which.
    pub key: ObjectKey,
    /// The object, or why it cannot be read.
    pub object: Result<V, Undecodable>,
}

/// An object that does not have the shape its kind asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Its `metadata.generation`.
    pub generation: i64,
    /// What is wrong with it.
    pub error: String,
}

/// One change of what is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<V> {
    /// Everything there is: what is missing here is gone.
    List(Vec<Seen<V>>),
    /// An object was created or changed.
    Applied(Seen<V>),
    /// An object was deleted.
    Deleted(ObjectKey),
}

/// A running list and watch of objects of kind `K`, each turned into a `V` as
/// it comes in, so that no more is kept than is looked at.
pub struct Watch<K, V> {
    api: Api<DeserializeGuard<K>>,
    labels: Option<String>,
    fields: Option<String>,
    convert: fn(K) -> V,
    gate: Gate,
    what: String,
    state: State<K>,
    failures: u32,
    /// The failures since the server has answered again, by which the delay grows.
    tries: u32,
    /// How often the watch was refused since it was last allowed.
    refusals: u32,
    jitter: Jitter,
}

enum State<K> {
    /// Nothing is known, or what was known is outdated.
    List,
    /// To be watched from this resource version on.
    Start(String),
    /// The stream, its start and the time it may be silent.
    Watching { version: String, events: Events<K>, since: Instant, silence: Duration },
}

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<DeserializeGuard<K>>>>;

/// Why a step did not succeed: what to do next, when, and what to tell.
struct Setback {
    relist: bool,
    may_not_watch: bool,
    after: Option<Duration>,
    comeback: Option<Comeback>,
    why: String,
}

impl<K, V> Watch<K, V>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    V: Send + 'static,
{
    /// Watches what `api` names, restricted to `labels` if given. `gate` opens
    /// with the first list, and stays open: what is known stays in force.
    #[must_use]
    pub fn new(
        api: Api<DeserializeGuard<K>>,
        labels: Option<String>,
        convert: fn(K) -> V,
        gate: Gate,
    ) -> Self {
        let what = K::plural(&()).into_owned();
        gate.not_ready("not listed yet");
        Self {
            api,
            labels,
            fields: None,
            convert,
            gate,
            what,
            state: State::List,
            failures: 0,
            tries: 0,
            refusals: 0,
            jitter: Jitter::seeded(),
        }
    }

    /// The same, restricted to the one object `name`.
    #[must_use]
    pub fn of_one(mut self, name: &str) -> Self {
        self.fields = Some(format!("metadata.name={name}"));
        self
    }

    /// The changes, the first of which is a list. Never ends.
    pub fn into_stream(self) -> impl Stream<Item = Change<V>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let change = watch.next().await;
            Some((change, watch))
        })
    }

    /// The next change. Not cancel-safe; [`Watch::into_stream`] is.
    pub async fn next(&mut self) -> Change<V> {
        loop {
            match self.step().await {
                Ok(Some(change)) => return change,
                Ok(None) => {}
                Err(setback) => self.recover(setback).await,
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Change<V>>, Setback> {
        match &mut self.state {
            State::List => {
                let (objects, version) = self.list().await?;
                self.state = State::Start(version);
                self.succeeded();
                Ok(Some(Change::List(objects)))
            }
            State::Start(version) => {
                let version = version.clone();
                self.start(version).await?;
                Ok(None)
            }
            State::Watching { events, since, silence, .. } => {
                let since = *since;
                match timeout(*silence, events.next()).await {
                    Ok(Some(event)) => self.take(event),
                    Ok(None) => self.ended(since),
                    Err(_) => {
                        Err(Setback::again(format!("the watch was silent for {} s", silence.as_secs())))
                    }
                }
            }
        }
    }

    /// All pages of the list, and the version they stand for.
    async fn list(&mut self) -> Result<(Vec<Seen<V>>, String), Setback> {
        let mut objects = Vec::new();
        let mut params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..ListParams::default()
        }
        .limit(PAGE);
        loop {
            let page = timeout(LIST_TIMEOUT, self.api.list(&params)).await;
            let page = page.map_err(|_| Setback::relist("the list timed out"))?;
            let page = page.map_err(|error| Setback::from_error("list", &error, true))?;
            objects.extend(page.items.into_iter().map(|object| self.seen(object)));
            match (page.metadata.continue_, page.metadata.resource_version) {
                (Some(token), _) if !token.is_empty() => params.continue_token = Some(token),
                (_, Some(version)) if !version.is_empty() => return Ok((objects, version)),
                _ => return Err(Setback::relist("the list has no resource version")),
            }
        }
    }

    async fn start(&mut self, version: String) -> Result<(), Setback> {
        let spread = u32::try_from(self.jitter.next_u64() % u64::from(WATCH_SPREAD)).unwrap_or_default();
        let seconds = WATCH_SECONDS - spread;
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let events = timeout(START_TIMEOUT, self.api.watch(&params, &version)).await;
        let events = events.map_err(|_| Setback::again("the watch did not start"))?;
        let events = events.map_err(|error| Setback::from_error("watch", &error, false))?.boxed();
        self.refusals = 0;
        let silence = Duration::from_secs(u64::from(seconds)) + WATCH_MARGIN;
        self.state = State::Watching { version, events, since: Instant::now(), silence };
        Ok(())
    }

    fn take(
        &mut self,
        event: kube::Result<WatchEvent<DeserializeGuard<K>>>,
    ) -> Result<Option<Change<V>>, Setback> {
        let change = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                self.advance(object.meta().resource_version.clone())?;
                Some(Change::Applied(self.seen(object)))
            }
            Ok(WatchEvent::Deleted(object)) => {
                self.advance(object.meta().resource_version.clone())?;
                Some(Change::Deleted(key_of(&object)))
            }
            Ok(WatchEvent::Bookmark(bookmark)) => {
                self.advance(Some(bookmark.metadata.resource_version))?;
                None
            }
            Ok(WatchEvent::Error(status)) => {
                let error = kube::Error::Api(status);
                return Err(Setback::from_error("watch", &error, false));
            }
            // The connection broke; what comes next is asked for again.
            Err(error @ kube::Error::ReadEvents(_)) => {
                return Err(Setback::from_error("watch", &error, false));
            }
            // A line that cannot be read, for which the client makes up a status
            // without a code: resuming would only meet it again.
            Err(error) => return Err(Setback::from_error("watch", &error, true)),
        };
        self.succeeded();
        Ok(change)
    }

    /// Remembers how far the watch has come.
    fn advance(&mut self, seen: Option<String>) -> Result<(), Setback> {
        match (&mut self.state, seen.filter(|version| !version.is_empty())) {
            (State::Watching { version, .. }, Some(seen)) => {
                *version = seen;
                Ok(())
            }
            _ => Err(Setback::relist("the watch sent an object without a resource version")),
        }
    }

    /// The server ended the watch, as it does after the agreed time.
    fn ended(&mut self, since: Instant) -> Result<Option<Change<V>>, Setback> {
        if since.elapsed() < SHORT_WATCH {
            return Err(Setback::again("the watch ended at once"));
        }
        self.resume();
        self.succeeded();
        Ok(None)
    }

    /// Goes on from the last version that was seen.
    fn resume(&mut self) {
        if let State::Watching { version, .. } = &mut self.state {
            self.state = State::Start(std::mem::take(version));
        }
    }

    fn succeeded(&mut self) {
        if self.failures > 0 && self.refusals == 0 {
            tracing::info!(op = "watch", resource = self.what, failures = self.failures, "watching again");
        }
        if self.failures > 0 || !self.gate.is_ready() {
            self.gate.ready();
        }
        self.failures = 0;
        self.tries = 0;
    }

    /// Says what happened, once for each run of failures, and waits.
    async fn recover(&mut self, setback: Setback) {
        self.failures = self.failures.saturating_add(1);
        self.tries = self.tries.saturating_add(1);
        if setback.relist {
            self.state = State::List;
        } else {
            self.resume();
        }
        let (delay, is_news) = if setback.may_not_watch {
            // The list between two watches succeeds.
            self.refusals = self.refusals.saturating_add(1);
            let soon = BACKOFF.delay(self.refusals, &mut self.jitter);
            (if self.refusals < REFUSALS { soon } else { POLL }, self.refusals == REFUSALS)
        } else {
            let delay = BACKOFF.delay(self.tries, &mut self.jitter);
            (delay.max(setback.after.unwrap_or_default()), self.failures == 1)
        };
        let (resource, failures, error) = (&self.what, self.failures, &setback.why);
        if is_news {
            tracing::warn!(op = "watch", resource, error, "trying again");
        } else {
            tracing::debug!(op = "watch", resource, failures, error, "trying again");
        }
        if self.gate.is_ready() {
            self.gate.ready_but(setback.why);
        } else {
            self.gate.not_ready(setback.why);
        }
        if connectivity::wait_out(delay, setback.comeback, &mut self.jitter).await {
            self.tries = 0;
        }
    }

    fn seen(&self, object: DeserializeGuard<K>) -> Seen<V> {
        let key = key_of(&object);
        let object = match object.0 {
            Ok(object) => Ok((self.convert)(object)),
            Err(invalid) => Err(Undecodable {
                generation: invalid.metadata.generation.unwrap_or_default(),
                error: invalid.error,
            }),
        };
        Seen { key, object }
    }
}

impl<K, V> Debug for Watch<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("what", &self.what)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl Setback {
    fn again(why: impl Into<String>) -> Self {
        Self { relist: false, may_not_watch: false, after: None, comeback: None, why: why.into() }
    }

    fn relist(why: impl Into<String>) -> Self {
        Self { relist: true, ..Self::again(why) }
    }

    fn from_error(verb: &str, error: &kube::Error, relist: bool) -> Self {
        let failure = error::classify(error);
        let text = error::describe(error);
        let may_not_watch = failure == Failure::Forbidden && verb == "watch";
        let why = match failure {
            Failure::Forbidden if may_not_watch => {
                format!("the RBAC rules lack the verb watch, listing every {} s: {text}", POLL.as_secs())
            }
            Failure::Forbidden => format!("the RBAC rules lack the verb {verb}: {text}"),
            Failure::NotFound => format!("there is no such kind; its CRD is in manifests/crds: {text}"),
            _ => format!("{verb}: {text}"),
        };
        let after = match failure {
            Failure::Transient { after } => after,
            _ => None,
        };
        let relist = relist || may_not_watch || failure == Failure::Expired;
        Self { relist, may_not_watch, after, comeback: Comeback::of(error), why }
    }
}

fn key_of<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> ObjectKey {
    let meta = object.meta();
    ObjectKey {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
