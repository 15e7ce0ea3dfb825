//! One client's list-and-watch of the API server, with everything that goes
//! wrong with one: late, cut, stale, repeated, unreachable.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ferrolb_api::Time;

use crate::lab::address_plan;
use crate::lab::api::objects::{Key, Kind, Object};
use crate::lab::api::store::Store;
use crate::lab::api::view::WatchCache;
use crate::lab::random::RandomStream;

/// How long a client waits before it lists again after its watch was lost: the
/// first step of kube-runtime's back-off with its jitter.
const RELIST: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(1600));

/// How soon the API server's news reach a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At best.
    pub min: Duration,
    /// At worst.
    pub max: Duration,
}

/// What a client was just told; its [`WatchCache`] holds the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// All objects of a kind, after a (new) list.
    Listed(Kind),
    /// An object was created or changed.
    Changed(Key),
    /// An object was deleted.
    Gone(Key),
}

/// One client's watches, one for each kind it wants.
#[derive(Debug)]
pub struct Watch {
    name: String,
    feeds: BTreeMap<Kind, Feed>,
    view: WatchCache,
    delay: Delay,
    random: RandomStream,
    extra_for_deletes: Duration,
    list_lag: u64,
}

#[derive(Debug)]
struct Feed {
    state: State,
    /// Changes up to this revision are in `pending` or delivered.
    scheduled: u64,
    pending: VecDeque<(Time, Key, u64)>,
    delivered: VecDeque<(Key, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watching,
    ListAt(Time),
    Unreachable,
}

/// How many delivered changes a feed remembers, to be able to repeat them.
const REMEMBERED: usize = 16;

impl Watch {
    /// A client that begins to list `kinds` now.
    #[must_use]
    pub fn new(name: &str, kinds: &[Kind], delay: Delay, now: Time, mut random: RandomStream) -> Self {
        let mut feeds = BTreeMap::new();
        for kind in kinds {
            let state = State::ListAt(now + random.between(delay.min, delay.max));
            feeds.insert(
                *kind,
                Feed { state, scheduled: 0, pending: VecDeque::new(), delivered: VecDeque::new() },
            );
        }
        Self {
            name: name.to_owned(),
            feeds,
            view: WatchCache::default(),
            delay,
            random,
            extra_for_deletes: Duration::ZERO,
            list_lag: 0,
        }
    }

    /// Who watches.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has been told so far.
    #[must_use]
    pub const fn view(&self) -> &WatchCache {
        &self.view
    }

    /// Whether it still is to be told something.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.feeds.values().any(|feed| feed.state != State::Watching || !feed.pending.is_empty())
    }

    /// When [`Self::poll`] has something to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.feeds.values().filter_map(Feed::due).min()
    }

    /// Takes note of what has changed in the store since the last call.
    pub fn follow(&mut self, now: Time, store: &Store) {
        for (kind, feed) in &mut self.feeds {
            if feed.state != State::Watching {
                continue;
            }
            for change in newer(store, feed.scheduled) {
                if change.key.kind != *kind || !is_visible(&change.key) {
                    continue;
                }
                let deleted = store.at(&change.key, change.revision).is_none();
                let extra = if deleted { self.extra_for_deletes } else { Duration::ZERO };
                let due = now + self.random.between(self.delay.min, self.delay.max) + extra;
                feed.push(due, change.key.clone(), change.revision);
            }
            feed.scheduled = store.revision();
        }
    }

    /// The next update that is due, if any.
    pub fn poll(&mut self, now: Time, store: &Store) -> Option<Update> {
        loop {
            let due = |feed: &Feed| feed.due().filter(|due| *due <= now);
            let (_, kind) = self.feeds.iter().filter_map(|(kind, feed)| Some((due(feed)?, *kind))).min()?;
            let feed = self.feeds.get_mut(&kind)?;
            if let State::ListAt(_) = feed.state {
                let revision = store.revision().saturating_sub(std::mem::take(&mut self.list_lag));
                let objects = store.list(kind, revision).filter(|(key, _)| is_visible(key));
                self.view.replace(kind, objects.map(|(key, object)| (key.clone(), object.clone())));
                feed.state = State::Watching;
                feed.scheduled = revision;
                self.follow(now, store);
                return Some(Update::Listed(kind));
            }
            let (_, key, revision) = feed.pending.pop_front()?;
            feed.delivered.push_back((key.clone(), revision));
            if feed.delivered.len() > REMEMBERED {
                feed.delivered.pop_front();
            }
            if let Some(update) = self.deliver(key, store.at_exactly(revision)) {
                return Some(update);
            }
        }
    }

    /// B28: a change of a custom resource's status only is not worth telling.
    fn deliver(&mut self, key: Key, object: Option<&Object>) -> Option<Update> {
        let Some(object) = object else {
            return self.view.remove(&key).then_some(Update::Gone(key));
        };
        let old = self.view.put(key.clone(), object.clone());
        let (new, old) = (object.metadata(), old.as_ref().map(Object::metadata));
        let is_same = old.is_some_and(|old| old.generation == new.generation && old.labels == new.labels);
        (!(object.has_generation() && is_same)).then_some(Update::Changed(key))
    }

    /// Fault: the connection breaks; what was under way is lost, and the
    /// client lists again after its back-off.
    pub fn cut(&mut self, now: Time) {
        for feed in self.feeds.values_mut() {
            feed.pending.clear();
            feed.state = State::ListAt(now + self.random.between(RELIST.0, RELIST.1));
        }
    }

    /// Fault: nothing reaches the client until [`Self::cut`] lets it list again.
    pub fn lose(&mut self) {
        for feed in self.feeds.values_mut() {
            feed.pending.clear();
            feed.state = State::Unreachable;
        }
    }

    /// Fault: the next list comes from a server that is `revisions` behind.
    pub const fn list_stale(&mut self, revisions: u64) {
        self.list_lag = revisions;
    }

    /// Fault: the last changes of each kind are delivered once more, in order,
    /// and after them the newest state of what they concern.
    pub fn replay(&mut self, now: Time) {
        for feed in self.feeds.values_mut().filter(|feed| feed.state == State::Watching) {
            let again: Vec<_> = feed.delivered.iter().cloned().collect();
            for (key, revision) in again {
                let due = now + self.random.between(self.delay.min, self.delay.max);
                feed.push(due, key, revision);
            }
        }
    }

    /// Fault: from now on news take this long.
    pub const fn set_delay(&mut self, delay: Delay) {
        self.delay = delay;
    }

    /// Fault: deletions take this much longer than other news.
    pub const fn delay_deletes(&mut self, extra: Duration) {
        self.extra_for_deletes = extra;
    }
}

/// Custom resources and Pods are watched in the programs' own namespace only.
fn is_visible(key: &Key) -> bool {
    let is_ours = key.namespace == address_plan::NAMESPACE;
    match key.kind {
        Kind::IPAddressPool | Kind::L2Advertisement | Kind::ServiceL2Status | Kind::Pod => is_ours,
        Kind::Namespace | Kind::Node | Kind::EndpointSlice | Kind::Service => true,
    }
}

impl Feed {
    fn due(&self) -> Option<Time> {
        match self.state {
            State::ListAt(at) => Some(at),
            State::Watching => self.pending.front().map(|(due, ..)| *due),
            State::Unreachable => None,
        }
    }

    /// One connection delivers in order, however late.
    fn push(&mut self, due: Time, key: Key, revision: u64) {
        let not_before = self.pending.back().map_or(due, |(last, ..)| due.max(*last));
        self.pending.push_back((not_before, key, revision));
    }
}

fn newer(store: &Store, revision: u64) -> &[crate::lab::api::store::Change] {
    let changes = store.changes();
    let known = changes.partition_point(|change| change.revision <= revision);
    changes.get(known..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lab::random::Seed;

    const DELAY: Delay = Delay { min: Duration::from_millis(1), max: Duration::from_millis(5) };

    fn namespace(name: &str) -> Object {
        let value = json!({"metadata": {"name": name}});
        Object::from_json(Kind::Namespace, value).expect("a Namespace")
    }

    /// Runs a watch until nothing is due any more, and says what it was told.
    fn drain(watch: &mut Watch, store: &Store, now: &mut Time) -> Vec<Update> {
        let mut told = Vec::new();
        watch.follow(*now, store);
        while let Some(due) = watch.poll_timeout() {
            *now = due.max(*now);
            told.extend(watch.poll(*now, store));
        }
        told
    }

    fn watching(store: &Store) -> (Watch, Time) {
        let mut now = Time::ZERO;
        let random = Seed::new(1).stream("watch");
        let mut watch = Watch::new("test", &[Kind::Namespace], DELAY, now, random);
        assert_eq!(drain(&mut watch, store, &mut now), [Update::Listed(Kind::Namespace)]);
        (watch, now)
    }

    #[test]
    fn lists_then_follows_in_order() {
        let mut store = Store::default();
        store.apply(namespace("a"));
        let (mut watch, mut now) = watching(&store);
        store.apply(namespace("b"));
        store.delete(&namespace("a").key());
        let told = drain(&mut watch, &store, &mut now);
        assert_eq!(told, [Update::Changed(namespace("b").key()), Update::Gone(namespace("a").key())]);
        assert!(!watch.is_behind());
    }

    #[test]
    fn after_a_cut_a_list_replaces_what_was_missed() {
        let mut store = Store::default();
        store.apply(namespace("a"));
        let (mut watch, mut now) = watching(&store);
        store.delete(&namespace("a").key());
        watch.follow(now, &store);
        watch.cut(now);
        assert_eq!(drain(&mut watch, &store, &mut now), [Update::Listed(Kind::Namespace)]);
        assert_eq!(watch.view().objects(Kind::Namespace).count(), 0);
    }

    #[test]
    fn a_stale_list_is_overtaken_by_the_watch() {
        let mut store = Store::default();
        store.apply(namespace("a"));
        let (mut watch, mut now) = watching(&store);
        store.apply(namespace("b"));
        watch.cut(now);
        watch.list_stale(1);
        let told = drain(&mut watch, &store, &mut now);
        assert_eq!(told, [Update::Listed(Kind::Namespace), Update::Changed(namespace("b").key())]);
    }

    #[test]
    fn a_replay_ends_with_the_newest_state() {
        let mut store = Store::default();
        let (mut watch, mut now) = watching(&store);
        store.apply(namespace("a"));
        store.delete(&namespace("a").key());
        drain(&mut watch, &store, &mut now);
        watch.replay(now);
        let told = drain(&mut watch, &store, &mut now);
        assert_eq!(told, [Update::Changed(namespace("a").key()), Update::Gone(namespace("a").key())]);
    }

    #[test]
    fn unreachable_is_silent_until_it_is_mended() {
        let mut store = Store::default();
        let (mut watch, mut now) = watching(&store);
        watch.lose();
        store.apply(namespace("a"));
        assert_eq!(drain(&mut watch, &store, &mut now), []);
        watch.cut(now);
        assert_eq!(drain(&mut watch, &store, &mut now), [Update::Listed(Kind::Namespace)]);
    }
}
