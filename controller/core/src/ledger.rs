//! All Services that concern us, and in which order each is looked at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ferrolb_api::{Service, ServiceKey, Time};

use crate::allocator::Allocator;
use crate::converge::{self, Outcome, Remark, Wanted};
use crate::effect::{Effect, Notice};
use crate::pools::Pools;
use crate::record::Record;

/// The Services and who waits for an address.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// `--lb-class` (C2).
    class: Option<String>,
    records: BTreeMap<ServiceKey, Record>,
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
enum Standing {
    /// A LoadBalancer of our class.
    Ours,
    /// Of our class, but no LoadBalancer: it shall have no address.
    Retired,
    /// Not of our class: none of our business, unless it has just left us.
    Foreign,
}

impl Ledger {
    /// An empty ledger for Services of `class`.
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
    pub(crate) fn next_look(&self) -> Option<Time> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Looks again at those whose time has come.
    pub(crate) fn look_again(&mut self, pools: &Pools) {
        while let Some((at, key)) = self.later.pop_first() {
            if at > self.now {
                self.later.insert((at, key));
                break;
            }
            self.settle(&key, pools, false);
        }
        self.retry_waiting(pools);
    }

    /// The effects since the last call, oldest first.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes note of a view of a Service.
    pub(crate) fn observe(&mut self, view: Service) {
        let key = view.key.clone();
        if self.records.get(&key).is_some_and(|record| record.view.uid != view.uid) {
            // Deleted and made again in between: another Service.
            self.remove(&key);
        }
        match self.records.get_mut(&key) {
            Some(record) => record.update(view),
            None => {
                self.records.insert(key, Record::new(view));
            }
        }
    }

    /// Takes note that these are all Services there are.
    pub(crate) fn observe_all(&mut self, views: Vec<Service>) {
        let listed: BTreeSet<ServiceKey> = views.iter().map(|view| view.key.clone()).collect();
        let gone: Vec<ServiceKey> =
            self.records.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
        for view in views {
            self.observe(view);
        }
    }

    /// A Service is gone, and with it whatever it held (C10).
    pub(crate) fn remove(&mut self, key: &ServiceKey) {
        let before = self.allocator.footprint(key);
        self.allocator.set_lingering(key, BTreeSet::new());
        self.release(key, "the Service is deleted");
        self.freed |= before.gives_way(&self.allocator.footprint(key));
        self.records.remove(key);
        self.waiting.remove(key);
    }

    /// Looks at every Service: first at what each may keep, then at what each is
    /// missing (C5, C8). Those with more addresses come first, then by name, so
    /// that the order in which they became known does not matter. `fresh` says
    /// that all views have just come in.
    pub(crate) fn settle_all(&mut self, pools: &Pools, fresh: bool) {
        self.allocator.forget_skipped();
        let keys = in_order(self.records.keys(), &self.records);
        for key in &keys {
            self.adopt(key, pools);
        }
        for key in &keys {
            self.settle(key, pools, fresh);
        }
        self.retry_waiting(pools);
    }

    /// Looks at one Service whose view has just come in, and at those that wait
    /// for what it gave up.
    pub(crate) fn settle_one(&mut self, key: &ServiceKey, pools: &Pools) {
        self.settle(key, pools, true);
        self.retry_waiting(pools);
    }

    /// Serves those that wait, if anything was freed (C69b).
    pub(crate) fn retry_waiting(&mut self, pools: &Pools) {
        if !std::mem::take(&mut self.freed) {
            return;
        }
        for key in in_order(&self.waiting, &self.records) {
            self.settle(&key, pools, false);
        }
    }

    fn standing(&self, service: &Service) -> Standing {
        match (service.load_balancer_class == self.class, service.is_load_balancer) {
            (true, true) => Standing::Ours,
            (true, false) => Standing::Retired,
            (false, _) => Standing::Foreign,
        }
    }

    fn adopt(&mut self, key: &ServiceKey, pools: &Pools) {
        let record = &self.records[key];
        match self.standing(&record.view) {
            Standing::Ours => {
                let remarks = converge::adopt(&record.view, record.is_answered(), pools, &mut self.allocator);
                self.effects.extend(remarks.into_iter().filter_map(|remark| match remark {
                    Remark::Notice(notice) => Some(Effect::Notice(notice)),
                    Remark::Event(..) => None,
                }));
            }
            Standing::Retired => {}
            Standing::Foreign => return,
        }
        self.mark_lingering(key);
    }

    fn settle(&mut self, key: &ServiceKey, pools: &Pools, fresh: bool) {
        let Some(record) = self.records.get(key) else { return };
        let before = self.allocator.footprint(key);
        // Its own former addresses are free for itself.
        self.allocator.set_lingering(key, BTreeSet::new());
        let ours = match self.standing(&record.view) {
            Standing::Ours => {
                let outcome =
                    converge::converge(&record.view, record.is_answered(), pools, &mut self.allocator);
                self.apply(key, outcome, fresh);
                true
            }
            Standing::Retired => self.retire(key, fresh),
            Standing::Foreign => self.part(key, fresh),
        };
        if ours {
            self.mark_lingering(key);
        } else {
            self.records.remove(key);
            self.waiting.remove(key);
        }
        self.freed |= before.gives_way(&self.allocator.footprint(key));
    }

    fn apply(&mut self, key: &ServiceKey, outcome: Outcome, fresh: bool) {
        let Outcome { status, waiting, mut remarks } = outcome;
        if waiting {
            self.waiting.insert(key.clone());
        } else {
            self.waiting.remove(key);
        }
        let record = self.records.get_mut(key).expect("the Service at hand has a record");
        let write = match status {
            Wanted::AsHeld => record.write(self.allocator.holding(key), fresh, self.now),
            Wanted::Untouched => Vec::new(),
        };
        if let Some(at) = record.pause(self.now) {
            self.later.insert((at, key.clone()));
        }
        let is_written = write.iter().any(|effect| matches!(effect, Effect::WriteService { .. }));
        remarks.extend(is_written.then(|| record.deprecations()).flatten());
        self.effects.extend(record.say(remarks));
        self.effects.extend(write);
    }

    /// C11: clears a Service that is no LoadBalancer. Returns whether there is
    /// still something to be done.
    fn retire(&mut self, key: &ServiceKey, fresh: bool) -> bool {
        self.release(key, "the Service is no LoadBalancer of ours any more");
        self.apply(key, Outcome { status: Wanted::AsHeld, waiting: false, remarks: Vec::new() }, fresh);
        self.records[key].awaits_write()
    }

    /// C69a: a Service that has left our class gives back what it had from us;
    /// otherwise it is left alone (C3). Returns whether there is still something
    /// to be done.
    fn part(&mut self, key: &ServiceKey, fresh: bool) -> bool {
        let record = self.records.get_mut(key).expect("the Service at hand has a record");
        if let Some(held) = self.allocator.holding(key) {
            record.parting.extend(&held.addresses);
        }
        if record.carries_parting() {
            return self.retire(key, fresh);
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

    fn mark_lingering(&mut self, key: &ServiceKey) {
        let mut addresses = self.records[key].may_be_stored();
        for address in self.allocator.holding(key).iter().flat_map(|held| &held.addresses) {
            addresses.remove(address);
        }
        self.allocator.set_lingering(key, addresses);
    }
}

/// C5: more addresses first, then by name.
fn in_order<'a>(
    keys: impl IntoIterator<Item = &'a ServiceKey>,
    records: &BTreeMap<ServiceKey, Record>,
) -> Vec<ServiceKey> {
    let mut keys: Vec<ServiceKey> = keys.into_iter().cloned().collect();
    // Stable: the keys come by name.
    keys.sort_by_key(|key| Reverse(records.get(key).map_or(0, |record| record.view.ingress_ips().count())));
    keys
}
