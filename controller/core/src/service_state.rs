//! What is known of one Service: its newest version, and what is written to it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::service::Ingress;
use ferrolb_api::{Service, Time};

use crate::allocator::Assignment;
use crate::effect::{Effect, EventReason};
use crate::pool_choice::list;
use crate::reconcile::Finding;
use crate::write_conflict::WriteConflict;

/// A Service and the state of our conversation about it.
#[derive(Debug)]
pub(crate) struct ServiceState {
    /// The version that came last.
    pub(crate) object: Service,
    /// Addresses that were ours to take back when the Service left us (C69a).
    pub(crate) parting: BTreeSet<IpAddr>,
    /// The highest version seen, where versions are numbers.
    newest: Option<u64>,
    /// Whether it is older than one that came before it.
    outdated: bool,
    /// The writes asked for that may still reach the store.
    pending: Option<PendingWrite>,
    /// What was emitted when the Service was looked at last.
    findings: Vec<Finding>,
    /// What the version before this one showed, if this one says something else.
    before: Option<StatusSnapshot>,
    write_conflict: WriteConflict,
    /// What somebody else has reverted.
    reverted: Option<StatusSnapshot>,
}

/// The addresses in a status and the pool in its annotation.
type StatusSnapshot = (Vec<IpAddr>, Option<String>);

/// What was asked to be written over one version of a Service.
#[derive(Debug)]
struct PendingWrite {
    resource_version: String,
    addresses: Vec<IpAddr>,
    pool: Option<String>,
    /// All addresses that any of the writes carried.
    sent: BTreeSet<IpAddr>,
}

impl ServiceState {
    /// The first version of a Service.
    pub(crate) fn new(object: Service) -> Self {
        let newest = version(&object);
        Self {
            object,
            parting: BTreeSet::new(),
            newest,
            outdated: false,
            pending: None,
            findings: Vec::new(),
            before: None,
            write_conflict: WriteConflict::default(),
            reverted: None,
        }
    }

    /// A newer version of the Service; usually, for a list that is made again may
    /// be older than what a watch had delivered. Where versions are numbers,
    /// that is noticed.
    pub(crate) fn update(&mut self, object: Service) {
        let seen = version(&object);
        self.outdated = seen.zip(self.newest).is_some_and(|(seen, newest)| seen < newest);
        self.newest = self.newest.max(seen);
        // What changes while a write of ours is on its way may be that write.
        let shown = snapshot(&self.object);
        let is_foreign = !self.outdated && self.pending.is_none() && snapshot(&object) != shown;
        self.before = is_foreign.then_some(shown);
        // A write is conditional on its version: once that is overtaken, the
        // write has either come true, and then the object shows it, or never will.
        if !self.outdated
            && self
                .pending
                .as_ref()
                .is_some_and(|pending| pending.resource_version != object.resource_version)
        {
            self.pending = None;
        }
        self.object = object;
    }

    /// Whether what was decided counts more than what the status shows.
    pub(crate) fn is_stale(&self) -> bool {
        self.outdated || self.pending.is_some()
    }

    /// The addresses that the stored status has, or may still get.
    pub(crate) fn may_be_stored(&self) -> BTreeSet<IpAddr> {
        let sent = self.pending.iter().flat_map(|pending| pending.sent.iter().copied());
        self.object.ingress_ips().chain(sent).collect()
    }

    /// Whether a write was asked for that this version does not show yet.
    pub(crate) fn awaits_write(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the store still shows something of [`ServiceState::parting`]. Where
    /// another class serves the Service by now, its addresses are not ours to take.
    pub(crate) fn carries_parting(&self) -> bool {
        let shown = || self.object.ingress_ips();
        !self.parting.is_empty()
            && if self.object.is_load_balancer {
                shown().next().is_some() && shown().all(|address| self.parting.contains(&address))
            } else {
                shown().next().is_some() || self.object.annotations.allocated_from_pool.is_some()
            }
    }

    /// The write that makes the status say `wanted`, if one is due. `is_new_version` says
    /// that the version has just come in: then a write is asked for again as long
    /// as the status does not say it (level-triggered), otherwise only once.
    /// What somebody else keeps undoing waits: see [`ServiceState::pause`].
    pub(crate) fn write(
        &mut self,
        wanted: Option<&Assignment>,
        is_new_version: bool,
        now: Time,
    ) -> Vec<Effect> {
        let addresses = wanted.map(|wanted| wanted.addresses.clone()).unwrap_or_default();
        let pool = wanted.map(|wanted| wanted.pool.clone());
        let stands = self.says(&addresses, pool.as_deref());
        let due = match &self.pending {
            None => !stands,
            Some(last) => last.addresses != addresses || last.pool != pool || (is_new_version && !stands),
        };
        let before = if is_new_version { self.before.take() } else { None };
        if !due {
            return Vec::new();
        }
        let mut effects = Vec::new();
        let is = |snapshot: &StatusSnapshot| snapshot.0 == addresses && snapshot.1 == pool;
        if self.reverted.as_ref().is_some_and(|reverted| !is(reverted)) {
            self.reverted = None;
            self.write_conflict.resolved();
        }
        if let Some(reverted) = before.filter(is)
            && self.pending.is_none()
        {
            self.reverted = Some(reverted);
            if self.write_conflict.reverted(now) {
                effects.push(self.overwritten(&addresses));
            }
        }
        if self.pause(now).is_some() {
            return effects;
        }
        let resource_version = self.object.resource_version.clone();
        let mut sent = self.pending.take().map(|pending| pending.sent).unwrap_or_default();
        sent.extend(&addresses);
        let (decided_on, wanted) = (resource_version.clone(), addresses.clone());
        self.pending =
            Some(PendingWrite { resource_version: decided_on, addresses: wanted, pool: pool.clone(), sent });
        let (service, uid) = (self.object.key.clone(), self.object.uid.clone());
        effects.push(Effect::WriteService { service, uid, resource_version, addresses, pool });
        effects
    }

    /// Until when nothing is written, because somebody else undoes it.
    pub(crate) fn pause(&self, now: Time) -> Option<Time> {
        self.write_conflict.pause(now)
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
            format!(
                "{writer} has written {now} into status.loadBalancer, where {} is assigned; it is put back, each \
                 time more slowly. Let one of both serve this Service: see spec.loadBalancerClass",
                list(addresses)
            )
        };
        self.event(EventReason::StatusOverwritten, message)
    }

    /// The effects of `findings`, without those made the last time already.
    pub(crate) fn say(&mut self, findings: Vec<Finding>) -> Vec<Effect> {
        let new: Vec<Finding> =
            findings.iter().filter(|finding| !self.findings.contains(finding)).cloned().collect();
        self.findings = findings;
        new.into_iter()
            .map(|finding| match finding {
                Finding::Event(reason, message) => self.event(reason, message),
                Finding::Notice(notice) => Effect::Notice(notice),
            })
            .collect()
    }

    /// C73: what there is to say about old annotation keys when the Service is
    /// about to be changed.
    pub(crate) fn deprecations(&self) -> Option<Finding> {
        let keys = &self.object.annotations.deprecated;
        (!keys.is_empty()).then(|| {
            let message = format!("deprecated annotations: {}; use the prefix metallb.io/", keys.join(", "));
            Finding::Event(EventReason::DeprecatedAnnotation, message)
        })
    }

    fn event(&self, reason: EventReason, message: String) -> Effect {
        Effect::Event { service: self.object.key.clone(), uid: self.object.uid.clone(), reason, message }
    }

    /// Whether status and annotation say it already. Entries without an address
    /// are somebody else's and left alone.
    fn says(&self, addresses: &[IpAddr], pool: Option<&str>) -> bool {
        let entries = self.object.ingress.iter().filter(|entry| !matches!(entry, Ingress::Hostname(_)));
        let same = entries.map(|entry| match entry {
            Ingress::Ip(address) => Some(*address),
            Ingress::Unparsable(_) | Ingress::Hostname(_) => None,
        });
        same.eq(addresses.iter().copied().map(Some))
            && self.object.annotations.allocated_from_pool.as_deref() == pool
    }
}

fn snapshot(object: &Service) -> StatusSnapshot {
    (object.ingress_ips().collect(), object.annotations.allocated_from_pool.clone())
}

fn version(object: &Service) -> Option<u64> {
    object.resource_version.parse().ok()
}
