//! The simulated cluster: an API server, its watch clients, and what can be
//! wrong between them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use controller_core::{Effect, PoolUsage};
use ferrolb_api::conditions;
use ferrolb_api::config::{self, Verdict};
use ferrolb_api::{L2Status, Time};
use speaker_core::L2StatusChange;

use crate::lab::address_plan;
use crate::lab::api::objects::{Key, Kind, Object};
use crate::lab::api::store::{EPOCH, Store, StoreError};
use crate::lab::api::view::{self, WatchCache};
use crate::lab::api::watch::{Delay, Update, Watch};
use crate::lab::random::Seed;

/// A watch client's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(u32);

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It stands now, and this made a new revision.
    Changed,
    /// It stood already.
    Unchanged,
    /// Refused: 404 or 409.
    Refused(StoreError),
    /// It was committed, but the answer was lost: the writer does not know.
    AnswerLost,
    /// The API server cannot be reached.
    Unreachable,
}

/// An API server and its clients.
#[derive(Debug)]
pub struct SimulatedApi {
    store: Store,
    watches: BTreeMap<WatchId, Watch>,
    opened: u32,
    delay: Delay,
    seed: Seed,
    is_reachable: bool,
    keeps_last_known_good: bool,
    answers_to_lose: u32,
    writes: u64,
    l2_status_writes: u64,
}

impl SimulatedApi {
    /// An empty cluster whose news take `delay` to reach a client.
    #[must_use]
    pub fn new(seed: Seed, delay: Delay) -> Self {
        Self {
            store: Store::default(),
            watches: BTreeMap::new(),
            opened: 0,
            delay,
            seed,
            is_reachable: true,
            keeps_last_known_good: true,
            answers_to_lose: 0,
            writes: 0,
            l2_status_writes: 0,
        }
    }

    /// The API server's store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// How many writes of our processes have made a revision (S13).
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// How many changes of `ServiceL2Status` objects have made a revision.
    #[must_use]
    pub const fn l2_status_writes(&self) -> u64 {
        self.l2_status_writes
    }

    /// Every `ServiceL2Status` as it stands.
    #[must_use]
    pub fn l2_statuses(&self) -> Vec<L2Status> {
        let objects = self.store.list(Kind::ServiceL2Status, self.store.revision());
        objects.filter_map(|(_, object)| view::l2_status(object)).collect()
    }

    /// Drops `status.lastKnownGood` of what is written from now on, as under MetalLB's CRDs.
    pub const fn forget_last_known_good(&mut self) {
        self.keeps_last_known_good = false;
    }

    /// Whether clients reach the API server.
    #[must_use]
    pub const fn is_reachable(&self) -> bool {
        self.is_reachable
    }

    /// Starts a client that lists and watches `kinds`.
    pub fn open_watch(&mut self, now: Time, name: &str, kinds: &[Kind]) -> WatchId {
        let id = WatchId(self.opened);
        self.opened += 1;
        let random = self.seed.stream(&format!("watch/{name}/{}", id.0));
        let mut watch = Watch::new(name, kinds, self.delay, now, random);
        if !self.is_reachable {
            watch.lose();
        }
        self.watches.insert(id, watch);
        id
    }

    /// Ends a client, with its process.
    pub fn close_watch(&mut self, id: WatchId) {
        self.watches.remove(&id);
    }

    /// Who watches; empty if the client has ended.
    #[must_use]
    pub fn name(&self, id: WatchId) -> &str {
        self.watches.get(&id).map(Watch::name).unwrap_or_default()
    }

    /// What a client has been told so far.
    #[must_use]
    pub fn view(&self, id: WatchId) -> Option<&WatchCache> {
        self.watches.get(&id).map(Watch::view)
    }

    /// Whether any client is still to be told something.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.watches.values().all(|watch| !watch.is_behind())
    }

    /// When [`Self::poll`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.watches.values().filter_map(Watch::poll_timeout).min()
    }

    /// The next client to be told something that is due, and what.
    pub fn poll(&mut self, now: Time) -> Option<(WatchId, Update)> {
        for (id, watch) in &mut self.watches {
            if let Some(update) = watch.poll(now, &self.store) {
                return Some((*id, update));
            }
        }
        None
    }

    /// `kubectl apply`. Returns whether anything changed.
    pub fn apply(&mut self, now: Time, object: Object) -> bool {
        let changed = self.store.apply(object);
        self.tell(now);
        changed
    }

    /// `kubectl delete`. Returns whether the object was there.
    pub fn delete(&mut self, now: Time, key: &Key) -> bool {
        let changed = self.store.delete(key);
        self.tell(now);
        changed
    }

    /// Carries out a controller's write, as its `kube.rs` would ask for it.
    /// Effects that are no writes leave everything as it is.
    pub fn write(&mut self, now: Time, effect: &Effect) -> WriteOutcome {
        if !self.is_reachable {
            return WriteOutcome::Unreachable;
        }
        let result = match effect {
            Effect::WriteService { service, uid, resource_version, addresses, pool, lost_addresses } => {
                let (namespace, name) = (service.namespace().to_owned(), service.name().to_owned());
                let key = Key { kind: Kind::Service, namespace, name };
                let (pool, lost) = (pool.as_deref(), lost_addresses.as_deref());
                self.store.write_service(&key, uid, resource_version, addresses, pool, lost)
            }
            Effect::WriteVerdict(verdict) => {
                let mut verdict = verdict.clone();
                verdict.last_known_good.take_if(|_| !self.keeps_last_known_good);
                Ok(write_verdict(&mut self.store, &verdict))
            }
            Effect::WritePoolUsage(usage) => Ok(write_usage(&mut self.store, usage)),
            Effect::ForgetPool(_) | Effect::Event { .. } | Effect::Configuration(_) | Effect::Notice(_) => {
                Ok(false)
            }
        };
        self.tell(now);
        match result {
            Ok(true) => {
                self.writes += 1;
                if self.answers_to_lose > 0 {
                    self.answers_to_lose -= 1;
                    return WriteOutcome::AnswerLost;
                }
                WriteOutcome::Changed
            }
            Ok(false) => WriteOutcome::Unchanged,
            Err(refusal) => WriteOutcome::Refused(refusal),
        }
    }

    /// Changes a `ServiceL2Status`, as a speaker's `kube.rs` would. What does not
    /// reach the API server is lost: the speaker asks again.
    pub fn write_l2_status(&mut self, now: Time, name: &str, change: &L2StatusChange) -> WriteOutcome {
        if !self.is_reachable {
            return WriteOutcome::Unreachable;
        }
        let result = self.store.change_l2_status(address_plan::NAMESPACE, name, change);
        self.tell(now);
        self.l2_status_writes += u64::from(result == Ok(true));
        match result {
            Ok(true) => WriteOutcome::Changed,
            Ok(false) => WriteOutcome::Unchanged,
            Err(refusal) => WriteOutcome::Refused(refusal),
        }
    }

    fn tell(&mut self, now: Time) {
        for watch in self.watches.values_mut() {
            watch.follow(now, &self.store);
        }
    }

    /// Fault: the API server is gone, or is back and every client lists again.
    pub fn set_reachable(&mut self, now: Time, is_reachable: bool) {
        self.is_reachable = is_reachable;
        for watch in self.watches.values_mut() {
            if is_reachable { watch.cut(now) } else { watch.lose() }
        }
    }

    /// Fault: the next `count` writes are committed, but their answers are lost.
    pub const fn lose_answers(&mut self, count: u32) {
        self.answers_to_lose = count;
    }

    /// Fault: does `harm` to the watches of every client whose name begins
    /// with `client`; all clients if it is empty.
    pub fn disturb(&mut self, client: &str, mut harm: impl FnMut(&mut Watch)) {
        for watch in self.watches.values_mut().filter(|watch| watch.name().starts_with(client)) {
            harm(watch);
        }
    }

    /// The addresses in every Service's status.
    #[must_use]
    pub fn assigned(&self) -> std::collections::BTreeSet<IpAddr> {
        self.store.assigned()
    }

    /// The usual delay, to go back to after a fault.
    #[must_use]
    pub const fn usual_delay(&self) -> Delay {
        self.delay
    }
}

/// The simulated API server's own delays: a few milliseconds, as on a quiet cluster.
pub const QUIET: Delay = Delay { min: Duration::from_millis(1), max: Duration::from_millis(4) };

fn write_verdict(store: &mut Store, verdict: &Verdict) -> bool {
    let kind = match verdict.kind {
        config::Kind::IPAddressPool => Kind::IPAddressPool,
        config::Kind::L2Advertisement => Kind::L2Advertisement,
    };
    let key = Key { kind, namespace: address_plan::NAMESPACE.to_owned(), name: verdict.name.clone() };
    store.write_status(&key, |object| {
        let observed_generation = Some(verdict.generation);
        match object {
            Object::Pool(pool) => {
                let status = Arc::make_mut(pool).status.get_or_insert_default();
                status.conditions = conditions::with_verdict(verdict, &status.conditions, &EPOCH);
                status.observed_generation = observed_generation;
                status.last_known_good = verdict.last_known_good.clone().or(status.last_known_good.take());
            }
            Object::Advertisement(ad) => {
                let status = Arc::make_mut(ad).status.get_or_insert_default();
                status.conditions = conditions::with_verdict(verdict, &status.conditions, &EPOCH);
                status.observed_generation = observed_generation;
                status.last_known_good = verdict.last_known_good.clone().or(status.last_known_good.take());
            }
            _ => {}
        }
    })
}

fn write_usage(store: &mut Store, usage: &PoolUsage) -> bool {
    let key = Key {
        kind: Kind::IPAddressPool,
        namespace: address_plan::NAMESPACE.to_owned(),
        name: usage.pool.clone(),
    };
    store.write_status(&key, |object| {
        let Object::Pool(pool) = object else { return };
        let pool = Arc::make_mut(pool);
        let generation = pool.metadata.generation.unwrap_or_default();
        let status = pool.status.get_or_insert_default();
        let exhausted = usage.exhausted.as_deref();
        status.conditions = conditions::with_exhaustion(exhausted, generation, &status.conditions, &EPOCH);
        status.assigned_ipv4 = usage.assigned_ipv4;
        status.assigned_ipv6 = usage.assigned_ipv6;
        status.available_ipv4 = usage.available_ipv4();
        status.available_ipv6 = usage.available_ipv6();
    })
}
