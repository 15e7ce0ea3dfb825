//! All Services that concern us, and in which order each is looked at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ferrolb_api::{Service, ServiceKey, Time};

use crate::allocator::Allocator;
use crate::effect::{Effect, Notice};
use crate::pools::Pools;
use crate::reconcile::{self, DesiredStatus, Finding, Reconciled};
use crate::service_state::ServiceState;

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
    /// What time it is.
    now: Time,
    /// When a Service is looked at again whose status somebody else keeps writing.
    later: BTreeSet<(Time, ServiceKey)>,
}

/// How a Service stands to us (C2, C11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A LoadBalancer of our class.
    Ours,
    /// Of our class, but no LoadBalancer: it shall have no address.
    Retired,
    /// Not of our class: none of our business, unless it has just left us.
    Foreign,
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

    /// It is `now`, until this is called again.
    pub(crate) fn set_time(&mut self, now: Time) {
        self.now = now;
    }

    /// When a Service is to be looked at again, if nothing comes before.
    pub(crate) fn next_retry(&self) -> Option<Time> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Looks again at those whose time has come.
    pub(crate) fn retry_due(&mut self, pools: &Pools) {
        while let Some((at, key)) = self.later.pop_first() {
            if at > self.now {
                self.later.insert((at, key));
                break;
            }
            self.reconcile(&key, pools, false);
        }
        self.retry_waiting(pools);
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
        let before = self.allocator.footprint(key);
        self.allocator.set_pending_release(key, BTreeSet::new());
        self.release(key, "the Service is deleted");
        self.freed |= before.gives_way(&self.allocator.footprint(key));
        self.states.remove(key);
        self.waiting.remove(key);
    }

    /// Looks at every Service: first at what each may keep, then at what each is
    /// missing (C5, C8). Those with more addresses come first, then by name, so
    /// that the order in which they became known does not matter. `is_new_version` says
    /// that all of them have just come in.
    pub(crate) fn reconcile_all(&mut self, pools: &Pools, is_new_version: bool) {
        self.allocator.forget_skipped();
        let keys = in_order(self.states.keys(), &self.states);
        for key in &keys {
            self.adopt(key, pools);
        }
        for key in &keys {
            self.reconcile(key, pools, is_new_version);
        }
        self.retry_waiting(pools);
    }

    /// Looks at one Service of which a version has just come in, and at those that wait
    /// for what it gave up.
    pub(crate) fn reconcile_one(&mut self, key: &ServiceKey, pools: &Pools) {
        self.reconcile(key, pools, true);
        self.retry_waiting(pools);
    }

    /// Serves those that wait, if anything was freed (C69b).
    pub(crate) fn retry_waiting(&mut self, pools: &Pools) {
        if !std::mem::take(&mut self.freed) {
            return;
        }
        for key in in_order(&self.waiting, &self.states) {
            self.reconcile(&key, pools, false);
        }
    }

    fn class_of(&self, service: &Service) -> Class {
        match (service.load_balancer_class == self.class, service.is_load_balancer) {
            (true, true) => Class::Ours,
            (true, false) => Class::Retired,
            (false, _) => Class::Foreign,
        }
    }

    fn adopt(&mut self, key: &ServiceKey, pools: &Pools) {
        let state = &self.states[key];
        match self.class_of(&state.object) {
            Class::Ours => {
                let findings = reconcile::adopt(&state.object, state.is_stale(), pools, &mut self.allocator);
                self.effects.extend(findings.into_iter().filter_map(|finding| match finding {
                    Finding::Notice(notice) => Some(Effect::Notice(notice)),
                    Finding::Event(..) => None,
                }));
            }
            Class::Retired => {}
            Class::Foreign => return,
        }
        self.mark_pending_release(key);
    }

    fn reconcile(&mut self, key: &ServiceKey, pools: &Pools, is_new_version: bool) {
        let Some(state) = self.states.get(key) else { return };
        let before = self.allocator.footprint(key);
        // Its own former addresses are free for itself.
        self.allocator.set_pending_release(key, BTreeSet::new());
        let ours = match self.class_of(&state.object) {
            Class::Ours => {
                let reconciled =
                    reconcile::reconcile(&state.object, state.is_stale(), pools, &mut self.allocator);
                self.apply(key, reconciled, is_new_version);
                true
            }
            Class::Retired => self.retire(key, is_new_version),
            Class::Foreign => self.part(key, is_new_version),
        };
        if ours {
            self.mark_pending_release(key);
        } else {
            self.states.remove(key);
            self.waiting.remove(key);
        }
        self.freed |= before.gives_way(&self.allocator.footprint(key));
    }

    fn apply(&mut self, key: &ServiceKey, reconciled: Reconciled, is_new_version: bool) {
        let Reconciled { status, waiting, mut findings } = reconciled;
        if waiting {
            self.waiting.insert(key.clone());
        } else {
            self.waiting.remove(key);
        }
        let state = self.states.get_mut(key).expect("the Service at hand has a state");
        let write = match status {
            DesiredStatus::AsHeld => state.write(self.allocator.holding(key), is_new_version, self.now),
            DesiredStatus::Untouched => Vec::new(),
        };
        if let Some(at) = state.pause(self.now) {
            self.later.insert((at, key.clone()));
        }
        let is_written = write.iter().any(|effect| matches!(effect, Effect::WriteService { .. }));
        findings.extend(is_written.then(|| state.deprecations()).flatten());
        self.effects.extend(state.say(findings));
        self.effects.extend(write);
    }

    /// C11: clears a Service that is no LoadBalancer. Returns whether there is
    /// still something to be done.
    fn retire(&mut self, key: &ServiceKey, is_new_version: bool) -> bool {
        self.release(key, "the Service is no LoadBalancer of ours any more");
        self.apply(
            key,
            Reconciled { status: DesiredStatus::AsHeld, waiting: false, findings: Vec::new() },
            is_new_version,
        );
        self.states[key].awaits_write()
    }

    /// C69a: a Service that has left our class gives back what it had from us;
    /// otherwise it is left alone (C3). Returns whether there is still something
    /// to be done.
    fn part(&mut self, key: &ServiceKey, is_new_version: bool) -> bool {
        let state = self.states.get_mut(key).expect("the Service at hand has a state");
        if let Some(held) = self.allocator.holding(key) {
            state.parting.extend(&held.addresses);
        }
        if state.carries_parting() {
            return self.retire(key, is_new_version);
        }
        self.release(key, "the Service is not of our class any more");
        false
    }

    fn release(&mut self, key: &ServiceKey, reason: &str) {
        if let Some(held) = self.allocator.release(key) {
            let (service, addresses, reason) = (key.clone(), held.addresses, reason.to_owned());
            self.effects.push(Effect::Notice(Notice::Cleared { service, addresses, reason }));
        }
    }

    fn mark_pending_release(&mut self, key: &ServiceKey) {
        let mut addresses = self.states[key].may_be_stored();
        for address in self.allocator.holding(key).iter().flat_map(|held| &held.addresses) {
            addresses.remove(address);
        }
        self.allocator.set_pending_release(key, addresses);
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
