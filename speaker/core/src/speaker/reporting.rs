//! What people are told about Services: a `ServiceL2Status` where one is
//! announced, and the reason why nobody announces it where none is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;

use ferrolb_api::l2_status::{L2StatusContent, Subject};
use ferrolb_api::{L2Status, NodeName, ServiceKey, Time};
use sha2::{Digest, Sha256};

use super::Speaker;
use super::services::electorate;
use crate::effect::{EventReason, Report};
use crate::ownership::eligibility::{self, Matching};
use crate::ownership::reach::Place;
use crate::status::l2_status::{Nodes, Standing};
use crate::status::obstacle::{Link, Obstacle, Outlook, Situation};
use crate::status::silences::Word;
use crate::wire::announcements::{Announced, InterfaceSet};

/// The nodes as this speaker sees them.
struct Seen<'a> {
    own: &'a NodeName,
    /// The live members; all Nodes while membership is off.
    alive: BTreeSet<&'a NodeName>,
}

impl Speaker {
    /// Takes all objects.
    pub(super) fn set_l2_statuses(&mut self, objects: Vec<L2Status>) {
        self.statuses.set_all(objects);
        self.agenda.mark_all();
    }

    /// Takes one object.
    pub(super) fn set_l2_status(&mut self, now: Time, object: L2Status) {
        let services = self.statuses.set(object);
        self.report_soon(now, &services);
    }

    /// Forgets one object.
    pub(super) fn remove_l2_status(&mut self, now: Time, name: &str) {
        let services = self.statuses.remove(name);
        self.report_soon(now, &services);
    }

    /// These Services are to be looked at in a moment.
    pub(super) fn report_soon(&mut self, now: Time, services: &BTreeSet<ServiceKey>) {
        for service in services {
            self.agenda.mark(now, service);
        }
    }

    /// When there is something to report.
    pub(super) fn report_timeout(&self) -> Option<Time> {
        if self.knows_enough() { self.agenda.poll_timeout() } else { None }
    }

    /// Reports on a few of the Services that are due.
    pub(super) fn report(&mut self, now: Time) {
        if !self.knows_enough() {
            return;
        }
        let (services, objects) = (self.cluster.services(), self.statuses.services());
        let due = self.agenda.take(now, |after| {
            let range = (after, Bound::Unbounded);
            let service = services.range::<ServiceKey, _>(range).next().map(|(key, _)| key);
            let object = objects.range::<ServiceKey, _>(range).next().map(|(key, _)| key);
            service.into_iter().chain(object).min().cloned()
        });
        for service in due {
            self.report_on(now, &service);
        }
    }

    /// Nothing is said by one who has not heard everything, or is about to leave.
    fn knows_enough(&self) -> bool {
        let told = self.cluster.told();
        let is_told = told.services && told.endpoint_slices && told.nodes && told.resources;
        is_told && self.joined && self.interfaces_told && self.handover.is_none() && !self.gone
    }

    fn report_on(&mut self, now: Time, key: &ServiceKey) {
        let outlook = self.outlook(key);
        if let Outlook::Blocked(Obstacle { link, message }) = &outlook {
            match self.silences.note(now, key, *link) {
                Word::Said => {}
                Word::Wait(until) => self.agenda.mark(until, key),
                Word::Say if self.seen().speaks_for(key) => {
                    self.event(key, EventReason::NotAnnounced, format!("no node announces it: {message}"));
                }
                Word::Say => {}
            }
        } else {
            self.silences.end(key);
        }
        let standing = match (self.announcements.of(key), outlook) {
            (Some(announced), _) => Standing::Ours(Some(self.content(key, announced))),
            (None, _) if self.failed.contains(key) => Standing::Ours(None),
            (None, Outlook::Announced) => Standing::Theirs,
            // The owner is there, and has said what it lacks.
            (None, Outlook::Blocked(Obstacle { link: Link::Interface, .. })) => Standing::Theirs,
            (None, Outlook::Blocked(_) | Outlook::Nothing) => Standing::Nobodys,
        };
        let mut statuses = std::mem::take(&mut self.statuses);
        let changes = statuses.look_at(now, key, &standing, &self.seen());
        self.statuses = statuses;
        if let Some(again) = changes.again {
            self.agenda.mark(again, key);
        }
        for (name, change) in changes.changes {
            self.report_that(Report::L2Status { name, change });
        }
    }

    /// Whether anybody announces a Service, and if not, why.
    fn outlook(&self, key: &ServiceKey) -> Outlook {
        let Some(service) = self.cluster.services().get(key) else { return Outlook::Nothing };
        if self.announcements.of(key).is_some() && self.usable_interfaces().next().is_some() {
            return Outlook::Announced;
        }
        let (config, electorate) =
            (self.cluster.config(), electorate(&self.cluster, self.membership.as_ref(), &self.settings));
        let situation = Situation {
            service,
            load_balancer_class: self.settings.load_balancer_class.as_deref(),
            endpoints: &self.cluster.endpoints(key),
            config,
            electorate,
        };
        situation.outlook(|positions, addresses, nodes| {
            let place = |address: &IpAddr| Place::of(*address, &self.subnets);
            let places = addresses.iter().map(place).collect();
            let matching = Matching { advertisements: positions.to_vec(), places };
            let prospects = eligibility::prospects(electorate, &matching, config);
            prospects.iter().any(|one| one.usable && nodes.contains(&one.candidate.node))
        })
    }

    /// A44, A45 and our condition.
    fn content(&self, key: &ServiceKey, announced: &Announced) -> L2StatusContent {
        let node = self.settings.node.clone();
        let addresses: Vec<String> = announced.addresses.iter().map(ToString::to_string).collect();
        let interfaces: Vec<String> = match &announced.interfaces {
            InterfaceSet::All => Vec::new(),
            InterfaceSet::Named(names) => names.iter().cloned().collect(),
        };
        let on = if interfaces.is_empty() { "every interface".to_owned() } else { interfaces.join(", ") };
        let message = format!("node {node} answers for {} on {on}", addresses.join(", "));
        L2StatusContent {
            subject: Subject { node, service: key.clone() },
            interfaces,
            announced: Some(message),
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen { own: &self.settings.node, alive: self.members().collect() }
    }
}

impl Nodes for Seen<'_> {
    fn own(&self) -> &NodeName {
        self.own
    }

    fn is_alive(&self, node: &NodeName) -> bool {
        self.alive.contains(node)
    }

    /// One of the live members, and for each Service another one: nothing is
    /// agreed on, and all who see the same members name the same.
    fn speaks_for(&self, service: &ServiceKey) -> bool {
        let digest = |node: &NodeName| Sha256::digest(format!("{node}#{service}"));
        let first = self.alive.iter().min_by_key(|node| digest(node));
        first.is_some_and(|first| **first == *self.own)
    }
}
