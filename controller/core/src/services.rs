//! All Services that concern us, and in which order each is looked at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ferrolb_api::{Service, ServiceKey, Time};

use crate::allocator::Allocator;
use crate::effect::Effect;
use crate::pools::Pools;
use crate::service_state::{Class, ServiceState, Visit, release};

/// The Services and who waits for an address.
#[derive(Debug, Default)]
pub(crate) struct ServiceTable {
    /// `--lb-class` (C2).
    class: Option<String>,
    states: BTreeMap<ServiceKey, ServiceState>,
    waiting: BTreeSet<ServiceKey>,
    allocator: Allocator,
    /// Whether something became available that a waiting Service may want.
    freed: bool,
    effects: Vec<Effect>,
    /// When a Service is looked at again whose status somebody else keeps writing.
    deferred: BTreeSet<(Time, ServiceKey)>,
}

impl ServiceTable {
    /// An empty table for Services of `class`.
    pub(crate) fn new(class: Option<String>) -> Self {
        Self { class, ..Self::default() }
    }

    /// Who holds what.
    pub(crate) fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// The Services that would take an address if one were freed.
    pub(crate) fn waiting(&self) -> &BTreeSet<ServiceKey> {
        &self.waiting
    }

    /// When a Service is to be looked at again, if nothing comes before.
    pub(crate) fn next_retry(&self) -> Option<Time> {
        self.deferred.first().map(|(at, _)| *at)
    }

    /// Looks again at those whose time has come.
    pub(crate) fn retry_due(&mut self, pools: &Pools, now: Time) {
        while let Some((at, key)) = self.deferred.pop_first() {
            if at > now {
                self.deferred.insert((at, key));
                break;
            }
            self.reconcile(&key, pools, false, now);
        }
        self.retry_waiting(pools, now);
    }

    /// The effects since the last call, oldest first.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes note of a version of a Service.
    pub(crate) fn observe(&mut self, object: Service) {
        let key = object.key.clone();
        if self.states.get(&key).is_some_and(|state| state.object.uid != object.uid) {
            // Deleted and made again in between: another Service.
            self.remove(&key);
        }
        match self.states.get_mut(&key) {
            Some(state) => state.update(object),
            None => {
                self.states.insert(key, ServiceState::new(object));
            }
        }
    }

    /// Takes note that these are all Services there are.
    pub(crate) fn observe_all(&mut self, objects: Vec<Service>) {
        let listed: BTreeSet<ServiceKey> = objects.iter().map(|object| object.key.clone()).collect();
        let gone: Vec<ServiceKey> =
            self.states.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
        for object in objects {
            self.observe(object);
        }
    }

    /// A Service is gone, and with it whatever it held (C10).
    pub(crate) fn remove(&mut self, key: &ServiceKey) {
        self.waiting.remove(key);
        let Some(state) = self.states.remove(key) else { return };
        let (effects, freed) = self.allocator.edit(key, |allocator| {
            (release(&state.object, "the Service is deleted", allocator), BTreeSet::new())
        });
        self.effects.extend(effects);
        self.freed |= freed;
    }

    /// Looks at every Service: first at what each may retain, then at what each is
    /// missing (C5, C8). Those with more addresses come first, then by name, so
    /// that the order in which they became known does not matter. `is_new_version` says
    /// that all of them have just come in.
    pub(crate) fn reconcile_all(&mut self, pools: &Pools, is_new_version: bool, now: Time) {
        self.allocator.forget_skipped();
        let keys = in_order(self.states.keys(), &self.states);
        for key in &keys {
            self.adopt(key, pools);
        }
        self.give_back(&keys, pools);
        for key in &keys {
            self.reconcile(key, pools, is_new_version, now);
        }
        self.retry_waiting(pools, now);
    }

    /// Looks at one Service of which a version has just come in, and at those that wait
    /// for what it gave up.
    pub(crate) fn reconcile_one(&mut self, key: &ServiceKey, pools: &Pools, now: Time) {
        self.reconcile(key, pools, true, now);
        self.retry_waiting(pools, now);
    }

    /// Serves those that wait, if anything was freed (C69b).
    pub(crate) fn retry_waiting(&mut self, pools: &Pools, now: Time) {
        if !std::mem::take(&mut self.freed) {
            return;
        }
        let keys = in_order(&self.waiting, &self.states);
        self.give_back(&keys, pools);
        for key in keys {
            self.reconcile(&key, pools, false, now);
        }
    }

    fn adopt(&mut self, key: &ServiceKey, pools: &Pools) {
        let state = &self.states[key];
        let class = Class::of(&state.object, self.class.as_deref());
        if class == Class::Foreign {
            return;
        }
        // What becomes available here is seen by all: each is looked at after this.
        let (effects, _freed) = self.allocator.edit(key, |allocator| {
            let effects = match class {
                Class::Ours => state.adopt(pools, allocator),
                Class::NotLoadBalancer | Class::Foreign => Vec::new(),
            };
            (effects, state.may_be_stored())
        });
        self.effects.extend(effects);
    }

    /// What a Service has lost goes back to it before anybody is given anything.
    fn give_back(&mut self, keys: &[ServiceKey], pools: &Pools) {
        for key in keys {
            let Some(state) = self.states.get_mut(key).filter(|state| state.has_lost()) else { continue };
            if Class::of(&state.object, self.class.as_deref()) != Class::Ours {
                continue;
            }
            let (effects, _freed) = self
                .allocator
                .edit(key, |allocator| (state.give_back(pools, allocator), state.may_be_stored()));
            self.effects.extend(effects);
        }
    }

    fn reconcile(&mut self, key: &ServiceKey, pools: &Pools, is_new_version: bool, now: Time) {
        let Some(state) = self.states.get_mut(key) else { return };
        let class = Class::of(&state.object, self.class.as_deref());
        let (visit, freed) = self.allocator.edit(key, |allocator| {
            let visit = state.visit(class, is_new_version, pools, allocator, now);
            let stored = if visit.is_done { BTreeSet::new() } else { state.may_be_stored() };
            (visit, stored)
        });
        self.freed |= freed;
        let Visit { effects, is_waiting, is_done } = visit;
        self.effects.extend(effects);
        self.deferred.extend(state.deferred_until(now).map(|until| (until, key.clone())));
        if is_waiting {
            self.waiting.insert(key.clone());
        } else {
            self.waiting.remove(key);
        }
        if is_done {
            self.states.remove(key);
        }
    }
}

/// C5: more addresses first, then by name.
fn in_order<'a>(
    keys: impl IntoIterator<Item = &'a ServiceKey>,
    states: &BTreeMap<ServiceKey, ServiceState>,
) -> Vec<ServiceKey> {
    let mut keys: Vec<ServiceKey> = keys.into_iter().cloned().collect();
    // Stable: the keys come by name.
    keys.sort_by_key(|key| Reverse(states.get(key).map_or(0, |state| state.object.ingress_ips().count())));
    keys
}
