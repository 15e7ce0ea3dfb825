//! One Service: its newest version, what is written into its status, and what was said about it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::service::Ingress;
use ferrolb_api::{LostAddresses, Service, Time, annotations};

use crate::allocator::{Allocator, Assignment};
use crate::effect::{Effect, EventReason, Notice};
use crate::patience::Patience;
use crate::pool_choice::list;
use crate::pools::Pools;
use crate::reconcile::{self, DesiredStatus, Finding, Reconciled};
use crate::write_state::{Seen, StatusSnapshot, StatusWrite, WriteAction};

/// The most annotations that one Event names.
const MAX_UNKNOWN: usize = 4;

/// How a Service is related to us (C2, C11). It changes when the Service is edited.
///
/// | from | to | what becomes of its addresses |
/// |---|---|---|
/// | any | `Ours` | it keeps what its status shows and it may retain, and is given what it misses |
/// | `Ours` | `NotLoadBalancer` | released, and the status is cleared; then it is forgotten |
/// | `Ours`, `NotLoadBalancer` | `Foreign` | released; the status is cleared while it shows nothing but what was ours (C69a) |
/// | none | `NotLoadBalancer` | the status is cleared (C11) |
/// | none | `Foreign` | nothing (C3) |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A LoadBalancer of our class.
    Ours,
    /// Of our class, but no LoadBalancer: it shall have no address.
    NotLoadBalancer,
    /// Not of our class: none of our business, unless it has just left us.
    Foreign,
}

impl Class {
    /// That of `service`, for a controller of `class` (`--lb-class`).
    pub(crate) fn of(service: &Service, class: Option<&str>) -> Self {
        match (service.load_balancer_class.as_deref() == class, service.is_load_balancer) {
            (true, true) => Self::Ours,
            (true, false) => Self::NotLoadBalancer,
            (false, _) => Self::Foreign,
        }
    }
}

/// What is known of one Service.
#[derive(Debug)]
pub(crate) struct ServiceState {
    /// The version that came last.
    pub(crate) object: Service,
    /// The highest version seen, where versions are numbers.
    newest: Option<u64>,
    /// Whether `object` is older than one that came before it.
    is_outdated: bool,
    /// What the version before showed, if somebody else has changed it.
    previous: Option<StatusSnapshot>,
    /// What it had from us when it left our class: ours to take back (C69a).
    to_take_back: BTreeSet<IpAddr>,
    write: StatusWrite,
    /// What it has lost and shall have again. Its annotation says the same, for the next controller.
    lost: LostAddresses,
    patience: Patience,
    /// What was found when the Service was looked at last.
    findings: Vec<Finding>,
}

/// What a look at one Service came to.
#[derive(Debug)]
pub(crate) struct Visit {
    /// What must be done.
    pub(crate) effects: Vec<Effect>,
    /// Whether it misses an address and would take one that is freed.
    pub(crate) is_waiting: bool,
    /// Whether there is nothing left to be done with it, ever.
    pub(crate) is_done: bool,
}

impl ServiceState {
    /// The first version of a Service.
    pub(crate) fn new(object: Service) -> Self {
        Self {
            newest: version(&object),
            lost: object.lost_addresses(),
            patience: Patience::default(),
            object,
            is_outdated: false,
            previous: None,
            to_take_back: BTreeSet::new(),
            write: StatusWrite::default(),
            findings: Vec::new(),
        }
    }

    /// A newer version of the Service; usually, for a list that is made again may
    /// be older than what a watch had delivered. Where versions are numbers,
    /// that is noticed.
    pub(crate) fn update(&mut self, object: Service) {
        let seen = version(&object);
        self.is_outdated = seen.zip(self.newest).is_some_and(|(seen, newest)| seen < newest);
        self.newest = self.newest.max(seen);
        // What changes while a write of ours is on its way may be that write.
        let shown = StatusSnapshot::of(&self.object);
        let is_foreign =
            !self.is_outdated && !self.write.is_pending() && StatusSnapshot::of(&object) != shown;
        self.previous = is_foreign.then_some(shown);
        if !self.is_outdated {
            self.write.observe(&object.resource_version);
        }
        self.object = object;
    }

    /// Records what it may retain, and gives it nothing (C8).
    pub(crate) fn adopt(&self, pools: &Pools, allocator: &mut Allocator) -> Vec<Effect> {
        let findings = reconcile::adopt(&self.object, self.is_stale(), pools, allocator);
        let notices = findings.into_iter().filter_map(|finding| match finding {
            Finding::Notice(notice) => Some(Effect::Notice(notice)),
            Finding::Event(..) => None,
        });
        notices.collect()
    }

    /// Whether it has lost something, and it is known what.
    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Gives it what it has lost last, if that can be had and it holds nothing.
    pub(crate) fn give_back(&mut self, pools: &Pools, allocator: &mut Allocator) -> Vec<Effect> {
        if allocator.holding(&self.object.key).is_some() {
            return Vec::new();
        }
        let findings = reconcile::give_back(&self.object, &mut self.lost, pools, allocator);
        findings.into_iter().map(|finding| self.effect(finding)).collect()
    }

    /// Brings it to where it shall be. `is_new_version` says that its version has
    /// just come in.
    pub(crate) fn visit(
        &mut self,
        class: Class,
        is_new_version: bool,
        pools: &Pools,
        allocator: &mut Allocator,
        now: Time,
    ) -> Visit {
        match class {
            Class::Ours => {
                let (is_stale, may_put_off) = (self.is_stale(), self.patience.left(now));
                let reconciled = reconcile::reconcile(
                    &self.object,
                    is_stale,
                    may_put_off,
                    &mut self.lost,
                    pools,
                    allocator,
                );
                let Reconciled { status, waiting, put_off, has_just_lost, mut findings } = reconciled;
                self.patience.note(put_off, &self.lost, has_just_lost, now);
                findings.extend(self.unknown_annotations());
                let effects = match status {
                    DesiredStatus::AsHeld => {
                        self.apply(allocator.holding(&self.object.key), findings, is_new_version, now)
                    }
                    DesiredStatus::Untouched => self.emit(findings),
                };
                Visit { effects, is_waiting: waiting, is_done: false }
            }
            Class::NotLoadBalancer => self.clear(is_new_version, allocator, now),
            Class::Foreign => self.let_go(is_new_version, allocator, now),
        }
    }

    /// The addresses that the stored status has, or may still get.
    pub(crate) fn may_be_stored(&self) -> BTreeSet<IpAddr> {
        self.object.ingress_ips().chain(self.write.sent().iter().copied()).collect()
    }

    /// When to look at it again: something is put off, or nothing is written because somebody else reverts it.
    pub(crate) fn deferred_until(&self, now: Time) -> Option<Time> {
        self.write.deferred_until(now).into_iter().chain(self.patience.until(now)).min()
    }

    /// Whether what was decided last counts more than what this version shows.
    fn is_stale(&self) -> bool {
        self.is_outdated || self.write.is_pending()
    }

    /// C11: a Service that is no LoadBalancer has no address.
    fn clear(&mut self, is_new_version: bool, allocator: &mut Allocator, now: Time) -> Visit {
        let reason = "the Service is no LoadBalancer of ours any more";
        self.lost.forget();
        self.patience = Patience::default();
        let mut effects = release(&self.object, reason, allocator);
        effects.extend(self.apply(None, Vec::new(), is_new_version, now));
        Visit { effects, is_waiting: false, is_done: !self.write.is_pending() }
    }

    /// C69a: a Service that has left our class gives back what it had from us;
    /// otherwise it is left alone (C3).
    fn let_go(&mut self, is_new_version: bool, allocator: &mut Allocator, now: Time) -> Visit {
        if let Some(held) = allocator.holding(&self.object.key) {
            self.to_take_back.extend(&held.addresses);
        }
        if self.shows_what_to_take_back() {
            return self.clear(is_new_version, allocator, now);
        }
        let effects = release(&self.object, "the Service is not of our class any more", allocator);
        Visit { effects, is_waiting: false, is_done: true }
    }

    /// Whether the store still shows something that is ours to take back. Where
    /// another class serves the Service by now, its addresses are not.
    fn shows_what_to_take_back(&self) -> bool {
        let shown = || self.object.ingress_ips();
        !self.to_take_back.is_empty()
            && if self.object.is_load_balancer {
                shown().next().is_some() && shown().all(|address| self.to_take_back.contains(&address))
            } else {
                shown().next().is_some() || self.object.annotations.allocated_from_pool.is_some()
            }
    }

    /// Makes the status say what is `held`, and says what there is to say.
    fn apply(
        &mut self,
        held: Option<&Assignment>,
        mut findings: Vec<Finding>,
        is_new_version: bool,
        now: Time,
    ) -> Vec<Effect> {
        let wanted = StatusSnapshot::wanted(held, &self.lost);
        let previous = if is_new_version { self.previous.take() } else { None };
        let seen = Seen {
            resource_version: &self.object.resource_version,
            is_new: is_new_version,
            shows_wanted: self.shows(&wanted),
            is_reverted: previous.is_some_and(|previous| previous == wanted),
        };
        if seen.is_reverted {
            // That an address which somebody else has written cannot be kept is said by
            // `statusOverwritten`, once.
            findings.retain(|finding| !matches!(finding, Finding::Event(EventReason::ClearAssignment, _)));
        }
        let action = self.write.decide(&wanted, seen, now);
        if action != WriteAction::Nothing {
            findings.extend(self.deprecations());
        }
        let mut effects = self.emit(findings);
        if action == WriteAction::Restore {
            effects.push(self.overwritten(&wanted.addresses));
        }
        if action != WriteAction::Nothing {
            effects.push(self.write_effect(wanted));
        }
        effects
    }

    fn write_effect(&self, wanted: StatusSnapshot) -> Effect {
        Effect::WriteService {
            service: self.object.key.clone(),
            uid: self.object.uid.clone(),
            resource_version: self.object.resource_version.clone(),
            addresses: wanted.addresses,
            pool: wanted.pool,
            lost_addresses: wanted.lost.to_annotation(&self.object.uid),
        }
    }

    fn overwritten(&self, addresses: &[IpAddr]) -> Effect {
        let shown: Vec<IpAddr> = self.object.ingress_ips().collect();
        let writer = match &self.object.status_writer {
            Some(manager) => format!("field manager {manager:?}"),
            None => "somebody else".to_owned(),
        };
        let message = if shown == addresses {
            format!("{writer} has changed what Ferrolb wrote; it is put back, each time more slowly")
        } else {
            let now = if shown.is_empty() { "no address".to_owned() } else { list(&shown) };
            let (then, back) = match addresses {
                [] => ("Ferrolb has given it none".to_owned(), "taken out again"),
                _ => (format!("{} is assigned", list(addresses)), "put back"),
            };
            format!(
                "{writer} has written {now} into status.loadBalancer, where {then}; it is {back}, each time more \
                 slowly. Let one of both serve this Service: see spec.loadBalancerClass"
            )
        };
        self.event(EventReason::StatusOverwritten, message)
    }

    /// The effects of `findings`, without those of the last time.
    fn emit(&mut self, findings: Vec<Finding>) -> Vec<Effect> {
        let new: Vec<Finding> =
            findings.iter().filter(|finding| !self.findings.contains(finding)).cloned().collect();
        self.findings = findings;
        new.into_iter().map(|finding| self.effect(finding)).collect()
    }

    fn effect(&self, finding: Finding) -> Effect {
        match finding {
            Finding::Event(reason, message) => self.event(reason, message),
            Finding::Notice(notice) => Effect::Notice(notice),
        }
    }

    /// What there is to say about annotations that nobody reads, most likely misspelt.
    fn unknown_annotations(&self) -> Option<Finding> {
        let keys = &self.object.annotations.unknown;
        (!keys.is_empty()).then(|| {
            let named = |key: &String| format!("{key} (did you mean {}?)", annotations::nearest(key));
            let named: Vec<String> = keys.iter().take(MAX_UNKNOWN).map(named).collect();
            Finding::Event(
                EventReason::UnknownAnnotation,
                format!("annotations that are not read: {}", named.join(", ")),
            )
        })
    }

    /// C73: what there is to say about old annotation keys when the Service is
    /// about to be changed.
    fn deprecations(&self) -> Option<Finding> {
        let keys = &self.object.annotations.deprecated;
        (!keys.is_empty()).then(|| {
            let message = format!("deprecated annotations: {}; use the prefix metallb.io/", keys.join(", "));
            Finding::Event(EventReason::DeprecatedAnnotation, message)
        })
    }

    fn event(&self, reason: EventReason, message: String) -> Effect {
        Effect::Event { service: self.object.key.clone(), uid: self.object.uid.clone(), reason, message }
    }

    /// Whether status and annotation show it already. Entries without an address
    /// are somebody else's and left alone.
    fn shows(&self, wanted: &StatusSnapshot) -> bool {
        let entries = self.object.ingress.iter().filter(|entry| !matches!(entry, Ingress::Hostname(_)));
        let shown = entries.map(|entry| match entry {
            Ingress::Ip(address) => Some(*address),
            Ingress::Unparsable(_) | Ingress::Hostname(_) => None,
        });
        shown.eq(wanted.addresses.iter().copied().map(Some))
            && self.object.annotations.allocated_from_pool == wanted.pool
            && (self.object.lost_addresses() == wanted.lost
                || self.object.annotations.lost_addresses == wanted.lost.to_annotation(&self.object.uid))
    }
}

/// Takes from `service` what it holds, and says so.
pub(crate) fn release(service: &Service, reason: &str, allocator: &mut Allocator) -> Vec<Effect> {
    let released = allocator.release(&service.key).map(|held| {
        let (service, reason) = (service.key.clone(), reason.to_owned());
        Effect::Notice(Notice::Cleared { service, addresses: held.addresses, reason })
    });
    released.into_iter().collect()
}

fn version(object: &Service) -> Option<u64> {
    object.resource_version.parse().ok()
}
