//! From what is known of a Service to what this node announces of it.

use std::borrow::Cow;
use std::net::IpAddr;

use ferrolb_api::{NodeName, ServiceKey, Time};

use super::{Settings, Speaker, Work};
use crate::effect::{EventReason, Notice, Report, WithdrawReason};
use crate::gossip::membership::Membership;
use crate::ownership::cluster::Cluster;
use crate::ownership::election::{self, Candidate};
use crate::ownership::eligibility::{self, Electorate, Eligible, Matching};
use crate::ownership::reach::Reaches;
use crate::wire::announcements::{Announced, InterfaceSet};

/// What is to be done about one Service.
enum Decision {
    Announce(Announced),
    /// D44.
    NoInterface,
    Withdraw(WithdrawReason, Option<NodeName>),
}

impl Speaker {
    /// Looks at what has changed, and nothing else (D2).
    pub(super) fn settle(&mut self, now: Time) {
        if !self.cluster.told().resources {
            return;
        }
        let Work { mut services, all, election } = std::mem::take(&mut self.work);
        if all {
            services.extend(self.cluster.services().keys().chain(self.checked.keys()).cloned());
        }
        for service in &services {
            self.check(service);
        }
        if !(self.joined && self.interfaces_told) {
            self.work.election = election || !services.is_empty();
            return;
        }
        if election {
            services.extend(self.affected());
        }
        if !all {
            self.report_soon(now, &services);
        }
        if all || election {
            self.agenda.mark_all();
        }
        for service in services {
            let decision = self.decide(&service);
            self.carry_out(now, &service, decision);
        }
    }

    /// The candidates of a Service, in no order that matters.
    pub(super) fn candidates_of(&self, service: &ServiceKey) -> Cow<'_, [Candidate]> {
        let Some(Ok(eligible)) = self.checked.get(service) else { return Cow::Borrowed(&[]) };
        let config = self.cluster.config();
        let electorate = electorate(&self.cluster, self.membership.as_ref(), &self.settings);
        self.owners.candidates(eligible, |matching| eligibility::prospects(electorate, matching, config))
    }

    /// The candidates of a Service, the owner first (D20).
    pub(super) fn order_of(&self, service: &ServiceKey) -> Vec<NodeName> {
        match self.checked.get(service) {
            Some(Ok(Eligible { addresses, .. })) if !addresses.is_empty() => {
                election::order(&self.candidates_of(service), addresses[0])
            }
            _ => Vec::new(),
        }
    }

    /// D4 to D8. A Service without a load balancer needs no memory of ours.
    fn check(&mut self, key: &ServiceKey) {
        let checked = self.cluster.services().get(key).map(|service| {
            let class = self.settings.load_balancer_class.as_deref();
            let own = self.cluster.nodes().get(&self.settings.node);
            let (endpoints, config) = (self.cluster.endpoints(key), self.cluster.config());
            eligibility::check(service, class, &endpoints, config, &self.subnets, own)
        });
        let before = self.checked.remove(key).and_then(Result::ok);
        if let Some(Ok(eligible)) = &checked {
            for address in &eligible.addresses {
                *self.wanted.entry(*address).or_default() += 1;
                if let IpAddr::V6(address) = address {
                    self.groups.overhear(*address, &eligible.interfaces);
                }
            }
        } else {
            self.owners.forget(key);
        }
        for address in before.into_iter().flat_map(|eligible| eligible.addresses) {
            let users = self.wanted.entry(address).or_default();
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.wanted.remove(&address);
                self.askers.forget(address);
                if let IpAddr::V6(address) = address {
                    self.groups.forget(address);
                }
            }
        }
        if let Some(checked) = checked {
            self.checked.insert(key.clone(), checked);
        }
    }

    /// The Services that an election may change something about: those that are
    /// announced, or would be but for D44, and those that this node owns. Of ten
    /// thousand others nothing is copied.
    fn affected(&mut self) -> Vec<ServiceKey> {
        let config = self.cluster.config();
        let electorate = electorate(&self.cluster, self.membership.as_ref(), &self.settings);
        let find = |matching: &Matching| eligibility::prospects(electorate, matching, config);
        let mut affected = Vec::new();
        for (key, checked) in &self.checked {
            let Ok(eligible) = checked else { continue };
            if self.owners.owner(key, eligible, find) == Some(&self.settings.node) {
                affected.push(key.clone());
            }
        }
        affected.extend(self.announcements.services().chain(&self.failed).cloned());
        affected
    }

    fn decide(&mut self, key: &ServiceKey) -> Decision {
        let eligible = match self.checked.get(key) {
            None => return Decision::Withdraw(WithdrawReason::ServiceDeleted, None),
            Some(Err(reason)) => return Decision::Withdraw(*reason, None),
            Some(Ok(eligible)) => eligible,
        };
        let config = self.cluster.config();
        let electorate = electorate(&self.cluster, self.membership.as_ref(), &self.settings);
        let find = |matching: &Matching| eligibility::prospects(electorate, matching, config);
        let owner = self.owners.owner(key, eligible, find);
        if owner != Some(&self.settings.node) {
            return Decision::Withdraw(WithdrawReason::NotOwner, owner.cloned());
        }
        let exists = |name: &String| self.interfaces.values().any(|interface| interface.name == *name);
        match &eligible.interfaces {
            InterfaceSet::Named(names) if !names.iter().any(exists) => Decision::NoInterface,
            interfaces => Decision::Announce(Announced {
                addresses: eligible.addresses.clone(),
                interfaces: interfaces.clone(),
            }),
        }
    }

    fn carry_out(&mut self, now: Time, key: &ServiceKey, decision: Decision) {
        if !matches!(decision, Decision::NoInterface) {
            self.failed.remove(key);
        }
        match decision {
            Decision::Announce(announced) => self.announce(now, key, announced),
            Decision::Withdraw(reason, owner) => self.withdraw(now, key, reason, owner),
            Decision::NoInterface => {
                self.withdraw(now, key, WithdrawReason::InterfaceMissing, Some(self.settings.node.clone()));
                if self.failed.insert(key.clone()) {
                    let message = self.failure(key);
                    self.event(key, EventReason::AnnounceFailed, message);
                }
            }
        }
    }

    fn announce(&mut self, now: Time, key: &ServiceKey, announced: Announced) {
        let before = self.announcements.of(key);
        if before == Some(&announced) {
            return;
        }
        let same = before.is_some_and(|before| {
            before.addresses.len() == announced.addresses.len()
                && before.addresses.iter().all(|address| announced.addresses.contains(address))
        });
        // D6a: said of all its addresses; on the wire only those move that did.
        let gone = before.filter(|_| !same).map(|before| before.addresses.clone()).unwrap_or_default();
        let addresses = announced.addresses.clone();
        let changed = self.announcements.announce(key, announced);
        for address in changed {
            self.retarget(now, address);
        }
        if same {
            return;
        }
        let (service, reason) = (key, WithdrawReason::LoadBalancerIpChanged);
        self.counters.withdrawn += u64::from(!gone.is_empty());
        for address in gone {
            self.notice(Notice::Withdrawn { service: service.clone(), address, reason, owner: None });
        }
        let candidates = self.order_of(key);
        for address in addresses {
            let candidates = candidates.clone();
            self.notice(Notice::Announced { service: service.clone(), address, candidates });
        }
        self.counters.announced += 1;
        let message = format!("announcing from node \"{}\" with protocol \"layer2\"", self.settings.node);
        self.event(key, EventReason::NodeAssigned, message);
    }

    fn withdraw(&mut self, now: Time, key: &ServiceKey, reason: WithdrawReason, owner: Option<NodeName>) {
        let withdrawn = self.announcements.withdraw(key);
        self.counters.withdrawn += u64::from(!withdrawn.is_empty());
        for address in withdrawn {
            self.retarget(now, address);
            let (service, owner) = (key.clone(), owner.clone());
            self.notice(Notice::Withdrawn { service, address, reason, owner });
        }
    }

    pub(super) fn event(&mut self, key: &ServiceKey, reason: EventReason, message: String) {
        let Some(service) = self.cluster.services().get(key) else { return };
        let uid = service.uid.clone();
        self.report_that(Report::Event { service: key.clone(), uid, reason, message });
    }

    fn failure(&self, key: &ServiceKey) -> String {
        let names = match self.checked.get(key) {
            Some(Ok(Eligible { interfaces: InterfaceSet::Named(names), .. })) => {
                names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            }
            _ => String::new(),
        };
        let node = &self.settings.node;
        format!(
            "not announcing from node \"{node}\" with protocol \"layer2\": \
             it has none of the interfaces that the advertisements name ({names})"
        )
    }
}

/// What is known of other nodes without membership.
static NOTHING: Reaches = Reaches::new();

/// Who may take part in elections now.
pub(super) fn electorate<'a>(
    cluster: &'a Cluster,
    membership: Option<&'a Membership>,
    settings: &Settings,
) -> Electorate<'a> {
    let ignore_exclude_label = settings.ignore_exclude_label;
    Electorate {
        nodes: cluster.nodes(),
        alive: membership.map(Membership::alive),
        // H110: nodes that do not talk know nothing of each other.
        reaches: membership.map_or(&NOTHING, Membership::reaches),
        ignore_exclude_label,
    }
}
