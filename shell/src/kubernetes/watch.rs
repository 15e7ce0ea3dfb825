//! A list, then its changes, for as long as the process lives.
//!
//! kube-runtime's watcher (looked at in version 5) does not fit: it keeps to itself what a wrapper would have to know.
//! The end of a watch, its bookmarks and the version of a list do not come out of it, so a watch that ends without a
//! word cannot be told from one that tells little; watches that end at once are started again without a pause; that a
//! watch has begun again after failures cannot be seen, so neither can the failures be called over; and it cannot be
//! started at a version, so whoever gives up a start that hangs, or one that is answered with status 410, for which it
//! asks for ever, begins with a list.
//!
//! This one lists again on 410, on a line it cannot read and wherever the server's history may be another than the one
//! that was watched; a hung connection is noticed within a minute.

mod history;
mod setback;
mod table;

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use kube::api::{ListParams, WatchParams};
use kube::core::{DeserializeGuard, WatchEvent};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use crate::admin::readiness::Gate;
use crate::kubernetes::connectivity;
use crate::kubernetes::retry::BUSY_TRIES;
use crate::process::backoff::Backoff;
use crate::process::random::Jitter;

use history::{History, WentBack};
use setback::Setback;
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
/// While the server's history is in doubt, see [`history`], a watch lasts this long and up to [`DOUBT_SPREAD`] more, so
/// that the list after it comes within a minute of the server's return.
const DOUBT_SECONDS: u32 = 20;
/// Spreads the lists of many nodes after an outage.
const DOUBT_SPREAD: u32 = 20;
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
/// For this long after its return the server is asked again soon, for it may refuse what it is about to allow.
const RETURN: Duration = Duration::from_secs(30);
/// By how many tries the delay grows meanwhile at most: then everybody is back within two seconds of its readiness.
const RETURN_TRIES: u32 = 2;
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
    /// Whether the run of failures was told of.
    is_told: bool,
    /// The failures since the server has answered again, by which the delay grows.
    tries: u32,
    /// How often the watch was refused since it was last allowed.
    refusals: u32,
    history: History,
    /// Whether the last request was not answered at all.
    is_away: bool,
    /// When the server has answered again after that.
    returned: Option<Instant>,
    jitter: Jitter,
}

enum State<K> {
    /// Nothing is known, or what was known is outdated.
    List,
    /// To be watched from this resource version on.
    Start(String),
    /// The stream, its start and the time it may be silent.
    Watching { version: String, events: Events<K>, since: Instant, agreed: Duration },
}

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<DeserializeGuard<K>>>>;

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
            is_told: false,
            tries: 0,
            refusals: 0,
            history: History::default(),
            is_away: false,
            returned: None,
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
                self.listed(version);
                self.succeeded();
                Ok(Some(Change::List(objects)))
            }
            State::Start(_) if self.history.list_at().is_some_and(|at| Instant::now() >= at) => {
                Ok(self.list_again())
            }
            State::Start(version) => {
                let version = version.clone();
                self.start(version).await?;
                Ok(None)
            }
            State::Watching { events, since, agreed, .. } => {
                let (since, agreed) = (*since, *agreed);
                let list_at = self.history.list_at();
                let dead_at = Instant::now() + agreed + WATCH_MARGIN;
                match timeout_at(list_at.map_or(dead_at, |at| at.min(dead_at)), events.next()).await {
                    Ok(Some(event)) => self.take(event),
                    Ok(None) => self.ended(since.elapsed(), agreed),
                    Err(_) if list_at.is_some() => Ok(self.list_again()),
                    Err(_) => {
                        let silence = (agreed + WATCH_MARGIN).as_secs();
                        Err(Setback::again(format!("the watch was silent for {silence} s")))
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

    fn listed(&mut self, version: String) {
        if let Some(WentBack { from, to }) = self.history.listed(&version) {
            tracing::warn!(
                op = "watch",
                resource = self.what,
                from,
                to,
                "the API server's revisions went back"
            );
        }
        self.state = State::Start(version);
    }

    /// The server's history may not be the one that was watched.
    fn list_again(&mut self) -> Option<Change<V>> {
        tracing::debug!(op = "watch", resource = self.what, "listing again after an interruption");
        self.state = State::List;
        None
    }

    async fn start(&mut self, version: String) -> Result<(), Setback> {
        let (longest, spread) = if self.history.is_in_doubt() {
            (DOUBT_SECONDS + DOUBT_SPREAD, DOUBT_SPREAD)
        } else {
            (WATCH_SECONDS, WATCH_SPREAD)
        };
        let spread = u32::try_from(self.jitter.next_u64() % u64::from(spread)).unwrap_or_default();
        let seconds = longest - spread;
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
        if self.is_away {
            self.is_returned();
        }
        let (since, agreed) = (Instant::now(), Duration::from_secs(u64::from(seconds)));
        self.history.watching(agreed);
        self.state = State::Watching { version, events, since, agreed };
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
                self.history.told(&seen);
                *version = seen;
                Ok(())
            }
            _ => Err(Setback::relist("the watch sent an object without a resource version")),
        }
    }

    /// The server ended the watch, as it does after the agreed time.
    fn ended(&mut self, lasted: Duration, agreed: Duration) -> Result<Option<Change<V>>, Setback> {
        if lasted < SHORT_WATCH {
            return Err(Setback::again("the watch ended at once"));
        }
        if lasted + WATCH_MARGIN < agreed {
            // So does a server that is being stopped.
            self.history.interrupted(false);
        } else if self.history.is_in_doubt() {
            return Ok(self.list_again());
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
        if self.is_told && self.refusals == 0 {
            tracing::info!(op = "watch", resource = self.what, failures = self.failures, "watching again");
        }
        if self.failures > 0 || !self.gate.is_ready() {
            self.gate.ready();
        }
        self.failures = 0;
        self.is_told = false;
        self.tries = 0;
    }

    /// Says what happened, once for each run of failures, and waits.
    async fn recover(&mut self, setback: Setback) {
        self.failures = self.failures.saturating_add(1);
        self.count_try(&setback);
        if setback.relist {
            self.state = State::List;
        } else {
            self.history.interrupted(setback.was_away);
            self.resume();
        }
        let (delay, is_news) = if setback.may_not_watch {
            // The list between two watches succeeds.
            self.refusals = self.refusals.saturating_add(1);
            let soon = BACKOFF.delay(self.refusals, &mut self.jitter);
            (if self.refusals < REFUSALS { soon } else { POLL }, self.refusals == REFUSALS)
        } else {
            let is_new = self.returned.is_some_and(|at| at.elapsed() < RETURN);
            let tries = if is_new { self.tries.min(RETURN_TRIES) } else { self.tries };
            let delay = BACKOFF.delay(tries, &mut self.jitter);
            let is_news = !self.is_told && (!setback.is_busy || self.failures >= BUSY_TRIES);
            self.is_told |= is_news;
            (delay.max(setback.after.unwrap_or_default()), is_news)
        };
        let (resource, failures, error) = (&self.what, self.failures, &setback.why);
        if is_news && setback.may_not_watch {
            tracing::warn!(op = "watch", resource, error, "listing in the place of a watch");
        } else if is_news {
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
            self.is_returned();
        }
    }

    /// Whoever is answered at all after an outage, be it by a refusal, begins with the first delay.
    fn count_try(&mut self, setback: &Setback) {
        if setback.is_answer && self.is_away {
            self.is_returned();
        }
        self.is_away |= setback.was_away;
        self.tries = self.tries.saturating_add(1);
    }

    fn is_returned(&mut self) {
        (self.is_away, self.returned, self.tries) = (false, Some(Instant::now()), 0);
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

fn key_of<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> ObjectKey {
    let meta = object.meta();
    ObjectKey {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
