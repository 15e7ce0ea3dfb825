//! What is known of one Service: its newest view, and what was answered to it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::service::Ingress;
use ferrolb_api::{Service, Time};

use crate::allocator::Assignment;
use crate::contest::Contest;
use crate::converge::Remark;
use crate::effect::{Effect, EventReason};
use crate::pool_choice::list;

/// A Service and the state of our conversation about it.
#[derive(Debug)]
pub(crate) struct Record {
    /// The view that came last.
    pub(crate) view: Service,
    /// Addresses that were ours to take back when the Service left us (C69a).
    pub(crate) parting: BTreeSet<IpAddr>,
    /// The highest version seen, where versions are numbers.
    newest: Option<u64>,
    /// Whether the view is older than one that came before it.
    outdated: bool,
    /// The writes asked for that may still reach the store.
    answer: Option<Answer>,
    /// What was said when the Service was looked at last.
    remarks: Vec<Remark>,
    /// What the view before this one said, if this one says something else.
    before: Option<Said>,
    contest: Contest,
    /// What somebody else has undone.
    contested: Option<Said>,
}

/// The addresses in a status and the pool in its annotation.
type Said = (Vec<IpAddr>, Option<String>);

/// What was asked to be written over one version of a Service.
#[derive(Debug)]
struct Answer {
    resource_version: String,
    addresses: Vec<IpAddr>,
    pool: Option<String>,
    /// All addresses that any of the writes carried.
    sent: BTreeSet<IpAddr>,
}

impl Record {
    /// The first view of a Service.
    pub(crate) fn new(view: Service) -> Self {
        let newest = version(&view);
        Self {
            view,
            parting: BTreeSet::new(),
            newest,
            outdated: false,
            answer: None,
            remarks: Vec::new(),
            before: None,
            contest: Contest::default(),
            contested: None,
        }
    }

    /// A newer view of the Service; usually, for a list that is made again may
    /// be older than what a watch had delivered. Where versions are numbers,
    /// that is noticed.
    pub(crate) fn update(&mut self, view: Service) {
        let seen = version(&view);
        self.outdated = seen.zip(self.newest).is_some_and(|(seen, newest)| seen < newest);
        self.newest = self.newest.max(seen);
        // What changes while a write of ours is on its way may be that write.
        let said = said(&self.view);
        let is_foreign = !self.outdated && self.answer.is_none() && self::said(&view) != said;
        self.before = is_foreign.then_some(said);
        // A write is conditional on its version: once that is overtaken, the
        // write has either come true, and then the view shows it, or never will.
        if !self.outdated
            && self.answer.as_ref().is_some_and(|answer| answer.resource_version != view.resource_version)
        {
            self.answer = None;
        }
        self.view = view;
    }

    /// Whether what was decided counts more than what the status shows.
    pub(crate) fn is_answered(&self) -> bool {
        self.outdated || self.answer.is_some()
    }

    /// The addresses that the stored status has, or may still get.
    pub(crate) fn may_be_stored(&self) -> BTreeSet<IpAddr> {
        let sent = self.answer.iter().flat_map(|answer| answer.sent.iter().copied());
        self.view.ingress_ips().chain(sent).collect()
    }

    /// Whether a write was asked for that this view does not show yet.
    pub(crate) fn awaits_write(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether the store still shows something of [`Record::parting`]. Where
    /// another class serves the Service by now, its addresses are not ours to take.
    pub(crate) fn carries_parting(&self) -> bool {
        let shown = || self.view.ingress_ips();
        !self.parting.is_empty()
            && if self.view.is_load_balancer {
                shown().next().is_some() && shown().all(|address| self.parting.contains(&address))
            } else {
                shown().next().is_some() || self.view.annotations.allocated_from_pool.is_some()
            }
    }

    /// The write that makes the status say `wanted`, if one is due. `fresh` says
    /// that the view has just come in: then a write is asked for again as long
    /// as the status does not say it (level-triggered), otherwise only once.
    /// What somebody else keeps undoing waits: see [`Record::pause`].
    pub(crate) fn write(&mut self, wanted: Option<&Assignment>, fresh: bool, now: Time) -> Vec<Effect> {
        let addresses = wanted.map(|wanted| wanted.addresses.clone()).unwrap_or_default();
        let pool = wanted.map(|wanted| wanted.pool.clone());
        let stands = self.says(&addresses, pool.as_deref());
        let due = match &self.answer {
            None => !stands,
            Some(last) => last.addresses != addresses || last.pool != pool || (fresh && !stands),
        };
        let before = if fresh { self.before.take() } else { None };
        if !due {
            return Vec::new();
        }
        let mut effects = Vec::new();
        let is = |said: &Said| said.0 == addresses && said.1 == pool;
        if self.contested.as_ref().is_some_and(|contested| !is(contested)) {
            self.contested = None;
            self.contest.settled();
        }
        if let Some(undone) = before.filter(is)
            && self.answer.is_none()
        {
            self.contested = Some(undone);
            if self.contest.undone(now) {
                effects.push(self.overwritten(&addresses));
            }
        }
        if self.pause(now).is_some() {
            return effects;
        }
        let resource_version = self.view.resource_version.clone();
        let mut sent = self.answer.take().map(|answer| answer.sent).unwrap_or_default();
        sent.extend(&addresses);
        let (answered, wanted) = (resource_version.clone(), addresses.clone());
        self.answer =
            Some(Answer { resource_version: answered, addresses: wanted, pool: pool.clone(), sent });
        let (service, uid) = (self.view.key.clone(), self.view.uid.clone());
        effects.push(Effect::WriteService { service, uid, resource_version, addresses, pool });
        effects
    }

    /// Until when nothing is written, because somebody else undoes it.
    pub(crate) fn pause(&self, now: Time) -> Option<Time> {
        self.contest.pause(now)
    }

    fn overwritten(&self, addresses: &[IpAddr]) -> Effect {
        let shown: Vec<IpAddr> = self.view.ingress_ips().collect();
        let writer = match &self.view.status_writer {
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

    /// The effects of `remarks`, without those made the last time already.
    pub(crate) fn say(&mut self, remarks: Vec<Remark>) -> Vec<Effect> {
        let new: Vec<Remark> =
            remarks.iter().filter(|remark| !self.remarks.contains(remark)).cloned().collect();
        self.remarks = remarks;
        new.into_iter()
            .map(|remark| match remark {
                Remark::Event(reason, message) => self.event(reason, message),
                Remark::Notice(notice) => Effect::Notice(notice),
            })
            .collect()
    }

    /// C73: what there is to say about old annotation keys when the Service is
    /// about to be changed.
    pub(crate) fn deprecations(&self) -> Option<Remark> {
        let keys = &self.view.annotations.deprecated;
        (!keys.is_empty()).then(|| {
            let message = format!("deprecated annotations: {}; use the prefix metallb.io/", keys.join(", "));
            Remark::Event(EventReason::DeprecatedAnnotation, message)
        })
    }

    fn event(&self, reason: EventReason, message: String) -> Effect {
        Effect::Event { service: self.view.key.clone(), uid: self.view.uid.clone(), reason, message }
    }

    /// Whether status and annotation say it already. Entries without an address
    /// are somebody else's and left alone.
    fn says(&self, addresses: &[IpAddr], pool: Option<&str>) -> bool {
        let entries = self.view.ingress.iter().filter(|entry| !matches!(entry, Ingress::Hostname(_)));
        let same = entries.map(|entry| match entry {
            Ingress::Ip(address) => Some(*address),
            Ingress::Unparsable(_) | Ingress::Hostname(_) => None,
        });
        same.eq(addresses.iter().copied().map(Some))
            && self.view.annotations.allocated_from_pool.as_deref() == pool
    }
}

fn said(view: &Service) -> Said {
    (view.ingress_ips().collect(), view.annotations.allocated_from_pool.clone())
}

fn version(view: &Service) -> Option<u64> {
    view.resource_version.parse().ok()
}
