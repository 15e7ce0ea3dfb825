//! What people are told of Services: a `ServiceL2Status` where one is announced,
//! and an Event with the reason where none is.

use std::collections::BTreeSet;
use std::ops::Bound;

use ferrolb_api::config::{ConfigurationReport, Rejected};
use ferrolb_api::l2_status::{L2StatusContent, Subject};
use ferrolb_api::{L2Status, NodeName, ServiceKey, Time};
use sha2::{Digest, Sha256};

use crate::effect::{EventReason, Report};
use crate::interface::InterfaceSet;
use crate::outputs::Outputs;
use crate::ownership::assessment::AnnouncementState;
use crate::ownership::diagnosis::Check;
use crate::ownership::{Members, Ownership, Work};
use crate::wire::announcements::Announced;
use crate::wire::{AddressConflict, Wire};
use conflicts::Conflicts;
use l2_status::{Announcer, L2Statuses, Nodes};
use not_announced::{NotAnnounced, Notify};
use schedule::StatusSchedule;

mod conflicts;
mod l2_status;
mod not_announced;
pub(crate) mod schedule;

/// What has been told, and when the next of it is due.
#[derive(Debug, Default)]
pub(crate) struct Status {
    schedule: StatusSchedule,
    statuses: L2Statuses,
    not_announced: NotAnnounced,
    conflicts: Conflicts,
    /// The objects left out of the configuration that was told last.
    rejected: Vec<Rejected>,
}

/// What is true of the Services now.
pub(crate) struct StatusView<'a> {
    pub(crate) own: &'a NodeName,
    pub(crate) ownership: &'a Ownership,
    pub(crate) wire: &'a Wire,
    pub(crate) members: Members<'a>,
}

/// The nodes as this speaker sees them.
struct Seen<'a> {
    own: &'a NodeName,
    /// The live members; all Nodes while membership is off.
    alive: BTreeSet<&'a NodeName>,
}

impl Status {
    /// Takes all objects.
    pub(crate) fn set_l2_statuses(&mut self, objects: Vec<L2Status>) {
        self.statuses.set_all(objects);
        self.schedule.resync();
    }

    /// Takes one object.
    pub(crate) fn set_l2_status(&mut self, now: Time, object: L2Status) {
        let services = self.statuses.set(object);
        self.report_soon(now, &services);
    }

    /// Forgets one object.
    pub(crate) fn remove_l2_status(&mut self, now: Time, name: &str) {
        let services = self.statuses.remove(name);
        self.report_soon(now, &services);
    }

    /// The custom resources were judged; `changed` says whether others are in force.
    pub(crate) fn set_configuration(
        &mut self,
        report: ConfigurationReport,
        changed: bool,
        outputs: &mut Outputs,
    ) {
        if changed || self.rejected != report.rejected {
            self.rejected.clone_from(&report.rejected);
            outputs.report(Report::Configuration(report));
        }
    }

    /// Where Services were looked at, something may have to be told soon.
    pub(crate) fn follow(&mut self, now: Time, work: &Work) {
        if !work.all {
            self.report_soon(now, &work.services);
        }
        if work.all || work.election {
            self.schedule.resync();
        }
    }

    /// Another station says that it has an address that this node announces: an Event
    /// on each Service that has it, once for as long as that goes on.
    pub(crate) fn conflict(
        &mut self,
        now: Time,
        conflict: &AddressConflict,
        view: &StatusView<'_>,
        outputs: &mut Outputs,
    ) {
        let AddressConflict { address, interface, mac } = conflict;
        if !self.conflicts.note(now, conflict) {
            return;
        }
        let using = view.wire.announcements().iter().filter(|one| one.address == *address);
        for service in using.filter_map(|one| view.ownership.cluster().services().get(one.service)) {
            let message = format!(
                "another station, {mac} on {interface} of node \"{}\", says that it has {address}; find it by its \
                 hardware address and give it another one",
                view.own
            );
            outputs.event(service, EventReason::AddressConflict, message);
        }
    }

    /// When there is something to report.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.schedule.poll_timeout()
    }

    /// Reports on a few of the Services that are due.
    pub(crate) fn report(&mut self, now: Time, view: &StatusView<'_>, outputs: &mut Outputs) {
        let (services, objects) = (view.ownership.cluster().services(), self.statuses.services());
        let due = self.schedule.take(now, |after| {
            let range = (after, Bound::Unbounded);
            let service = services.range::<ServiceKey, _>(range).next().map(|(key, _)| key);
            let object = objects.range::<ServiceKey, _>(range).next().map(|(key, _)| key);
            service.into_iter().chain(object).min().cloned()
        });
        for service in due {
            self.report_on(now, &service, view, outputs);
        }
    }

    /// These Services are to be looked at in a moment.
    fn report_soon(&mut self, now: Time, services: &BTreeSet<ServiceKey>) {
        for service in services {
            self.schedule.enqueue(now, service);
        }
    }

    fn report_on(&mut self, now: Time, key: &ServiceKey, view: &StatusView<'_>, outputs: &mut Outputs) {
        let (state, seen) = (view.state(key), view.seen());
        if let AnnouncementState::Blocked(diagnosis) = &state {
            match self.not_announced.note(now, key, diagnosis.failure.check()) {
                Notify::Done => {}
                Notify::Pending(until) => self.schedule.enqueue(until, key),
                Notify::Now => {
                    let service = view.ownership.cluster().services().get(key);
                    if let Some(service) = service.filter(|_| seen.speaks_for(key)) {
                        let message = format!("no node announces it: {diagnosis}");
                        outputs.event(service, EventReason::NotAnnounced, message);
                    }
                }
            }
        } else {
            self.not_announced.end(key);
        }
        let announcer = match (view.wire.announcements().of(key), state) {
            (Some(announced), _) => Announcer::Us(Some(content(view.own, key, announced))),
            (None, _) if view.ownership.has_failed(key) => Announcer::Us(None),
            (None, AnnouncementState::Announced) => Announcer::Another,
            // The owner is there, and has said what it lacks.
            (None, AnnouncementState::Blocked(diagnosis))
                if diagnosis.failure.check() == Check::Interface =>
            {
                Announcer::Another
            }
            (None, AnnouncementState::Blocked(_) | AnnouncementState::Nothing) => Announcer::Nobody,
        };
        let changes = self.statuses.look_at(now, key, &announcer, &seen);
        if let Some(again) = changes.again {
            self.schedule.enqueue(again, key);
        }
        for (name, change) in changes.changes {
            outputs.report(Report::L2Status { name, change });
        }
    }
}

/// A44, A45 and our condition.
fn content(node: &NodeName, key: &ServiceKey, announced: &Announced) -> L2StatusContent {
    let addresses: Vec<String> = announced.addresses.iter().map(ToString::to_string).collect();
    let interfaces: Vec<String> = match &announced.interfaces {
        InterfaceSet::All => Vec::new(),
        InterfaceSet::Named(names) => names.iter().cloned().collect(),
    };
    let on = if interfaces.is_empty() { "every interface".to_owned() } else { interfaces.join(", ") };
    let message = format!("node {node} answers for {} on {on}", addresses.join(", "));
    L2StatusContent {
        subject: Subject { node: node.clone(), service: key.clone() },
        interfaces,
        announced: Some(message),
    }
}

impl<'a> StatusView<'a> {
    /// Whether anybody announces a Service, and if not, why.
    fn state(&self, key: &ServiceKey) -> AnnouncementState {
        if self.wire.announcements().of(key).is_some() && self.wire.has_usable_interface() {
            return AnnouncementState::Announced;
        }
        self.ownership.state(key, self.members)
    }

    fn seen(&self) -> Seen<'a> {
        let nodes = self.ownership.cluster().nodes();
        let alive = match self.members.alive {
            Some(alive) => alive.iter().collect(),
            None => nodes.keys().collect(),
        };
        Seen { own: self.own, alive }
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
