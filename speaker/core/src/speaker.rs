//! The speaker's state machine; it dispatches, others decide.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferrolb_api::config::{ConfigurationReport, Rejected, Resources};
use ferrolb_api::{NodeName, ServiceKey, Time};

use crate::counters::Counters;
use crate::effect::{Effect, Notice, Report, WithdrawReason};
use crate::gossip::membership::{Membership, Output};
use crate::input::{Input, Peer};
use crate::interface::{Interface, InterfaceId, MacAddr};
use crate::ownership::cluster::Cluster;
use crate::ownership::eligibility::Eligible;
use crate::ownership::owners::Owners;
use crate::random::stream;
use crate::status::agenda::Agenda;
use crate::status::l2_status::L2Statuses;
use crate::wire::announcements::{Announcement, Announcements};
use crate::wire::askers::Askers;
use crate::wire::gate::Gate;
use crate::wire::gratuitous::Gratuitous;
use crate::wire::groups::Groups;

use crate::ownership::reach::Subnet;
use crate::status::silences::Silences;

use handover::Handover;

mod frames;
mod handover;
mod leaving;
mod reaches;
mod reporting;
mod services;

/// How long a speaker that can know of its peers waits for those that never answer
/// before it claims what it owns among those it sees (W15).
const JOIN_GRACE: Duration = Duration::from_secs(3);
/// How late a timer may be before neighbours may have been told of another
/// owner. Below it no peer can have declared this node dead.
const PAUSE: Duration = Duration::from_secs(1);

/// What is fixed when a speaker starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node it runs on.
    pub node: NodeName,
    /// `--lb-class` (C2).
    pub load_balancer_class: Option<String>,
    /// `--ignore-exclude-lb` (D12).
    pub ignore_exclude_label: bool,
    /// Where peers reach it; `None` switches membership off, and every known
    /// Node is a candidate (E2).
    pub gossip_address: Option<SocketAddr>,
    /// The shared secret, as read from the mounted file; `None` sends and
    /// accepts plain datagrams (`--insecure-gossip`).
    pub gossip_secret: Option<Vec<u8>>,
    /// Milliseconds since the Unix epoch at start: a restarted speaker's
    /// identity wins over the one it had before.
    pub boot_id: u64,
    /// Seed of every random choice: jitter, probe order, nonces.
    pub seed: [u8; 32],
}

/// Why a speaker cannot do its work yet (W43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No custom resources were read.
    #[error("the configuration has not been read yet")]
    Configuration,
    /// Services, endpoints or Nodes were not listed.
    #[error("Services, EndpointSlices and Nodes have not all been listed yet")]
    Cluster,
    /// Kubernetes does not know our node.
    #[error("there is no Node of this speaker's name")]
    OwnNode,
    /// Nothing to answer ARP or NDP on.
    #[error("no interface can announce: none is an Ethernet link that is up and has a carrier")]
    Interfaces,
    /// The other speakers have not been met (W15).
    #[error("the other speakers have not answered yet")]
    Membership,
    /// It was told to end.
    #[error("the speaker is leaving")]
    Leaving,
}

/// Announces the addresses that its node owns.
#[derive(Debug)]
pub struct Speaker {
    settings: Settings,
    effects: VecDeque<Effect>,
    counters: Counters,

    cluster: Cluster,
    /// What is known of each Service without knowing who is alive.
    checked: BTreeMap<ServiceKey, Result<Eligible, WithdrawReason>>,
    owners: Owners,
    announcements: Announcements,
    /// Services with an `announceFailed` that still holds (D44).
    failed: BTreeSet<ServiceKey>,
    rejected: Vec<Rejected>,
    work: Work,
    /// What people are told of Services, and when the next of them is due.
    agenda: Agenda,
    statuses: L2Statuses,
    silences: Silences,

    interfaces: BTreeMap<InterfaceId, Interface>,
    interfaces_told: bool,
    own_macs: BTreeSet<MacAddr>,
    /// Interfaces or the names in advertisements changed since our reach was told.
    reach_is_stale: bool,
    /// The subnets of the nodes that addresses of pools lie in (W13).
    subnets: BTreeSet<Subnet>,
    gate: Gate,
    gratuitous: Gratuitous,
    askers: Askers,
    groups: Groups,
    /// The addresses of eligible Services, whoever owns them, with how many have
    /// each: those whose askers are remembered.
    wanted: BTreeMap<IpAddr, usize>,

    membership: Option<Membership>,
    /// When the API server first named the peers, and when all that it takes to
    /// claim something had been told (W15).
    peers_since: Option<Time>,
    cluster_since: Option<Time>,
    joined: bool,
    /// Members that came up since the last look.
    returned: BTreeSet<NodeName>,
    paused: bool,
    handover: Option<Handover>,
    gone: bool,
}

/// What must be looked at again.
#[derive(Debug, Default)]
struct Work {
    /// Check these Services, and elect for them.
    services: BTreeSet<ServiceKey>,
    /// Check all.
    all: bool,
    /// Elect for all.
    election: bool,
}

impl Speaker {
    /// A speaker that knows nothing yet and claims nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let jitter = stream(&settings.seed, "jitter", settings.node.as_str().as_bytes());
        let membership = settings.gossip_address.map(|address| Membership::new(&settings, address));
        Self {
            effects: VecDeque::new(),
            counters: Counters::default(),
            cluster: Cluster::default(),
            checked: BTreeMap::new(),
            owners: Owners::default(),
            announcements: Announcements::default(),
            failed: BTreeSet::new(),
            rejected: Vec::new(),
            work: Work::default(),
            agenda: Agenda::default(),
            statuses: L2Statuses::default(),
            silences: Silences::default(),
            interfaces: BTreeMap::new(),
            interfaces_told: false,
            own_macs: BTreeSet::new(),
            reach_is_stale: false,
            subnets: BTreeSet::new(),
            gate: Gate::new(),
            gratuitous: Gratuitous::new(jitter),
            askers: Askers::default(),
            groups: Groups::default(),
            wanted: BTreeMap::new(),
            membership,
            peers_since: None,
            cluster_since: None,
            joined: false,
            returned: BTreeSet::new(),
            paused: false,
            handover: None,
            gone: false,
            settings,
        }
    }

    /// Takes one input. Never blocks, never fails; what must be done is queued
    /// as effects.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.gone {
            return;
        }
        self.notice_pause(now);
        match input {
            // The path of a flood: nothing but an answer comes of a frame.
            Input::Frame { interface, bytes } => {
                self.handle_frame(now, interface, bytes);
                return self.finish_handover(now);
            }
            Input::Datagram { bytes, .. } => self.handle_datagram(now, bytes),
            Input::Timeout => self.handle_timeout(now),
            Input::Shutdown => self.begin_handover(now),
            _ if self.handover.is_some() => {}
            Input::Interfaces(interfaces) => self.set_interfaces(now, interfaces),
            Input::Resources(resources) => self.set_resources(&resources),
            Input::Services(services) => {
                let changed = self.cluster.set_services(services);
                self.work.services.extend(changed);
            }
            Input::Service(service) => {
                self.work.services.insert(service.key.clone());
                self.cluster.set_service(*service);
            }
            Input::ServiceGone(key) => {
                self.cluster.remove_service(&key);
                self.work.services.insert(key);
            }
            Input::EndpointSlices(slices) => {
                let affected = self.cluster.set_endpoint_slices(slices);
                self.work.services.extend(affected);
            }
            Input::EndpointSlice(slice) => {
                let affected = self.cluster.set_endpoint_slice(slice);
                self.work.services.extend(affected);
            }
            Input::EndpointSliceGone { namespace, name } => {
                let affected = self.cluster.remove_endpoint_slice(namespace, name);
                self.work.services.extend(affected);
            }
            Input::Nodes(nodes) => {
                if self.cluster.set_nodes(nodes) {
                    self.owners.candidates_changed();
                    self.work.all = true;
                }
            }
            Input::Peers(peers) => self.set_peers(now, &peers),
            Input::L2Statuses(objects) => self.set_l2_statuses(objects),
            Input::L2Status(object) => self.set_l2_status(now, *object),
            Input::L2StatusGone(name) => self.remove_l2_status(now, &name),
        }
        self.conclude(now);
    }

    /// The next effect, oldest first. Drain it to `None` after every `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call `handle` with [`Input::Timeout`] if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.urgent_timeout().into_iter().chain(self.report_timeout()).min()
    }

    /// The same without what is done for people to read, which may wait.
    fn urgent_timeout(&self) -> Option<Time> {
        if self.gone {
            return None;
        }
        let grace = self.grace_ends().filter(|_| !self.joined);
        let membership = self.membership.as_ref().and_then(Membership::poll_timeout);
        let handover = self.handover.as_ref().map(Handover::poll_timeout);
        [grace, membership, handover, self.gratuitous.poll_timeout()].into_iter().flatten().min()
    }

    /// What it has counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What this node announces, by Service (F7).
    pub fn announced(&self) -> impl Iterator<Item = Announcement<'_>> {
        self.announcements.iter()
    }

    /// The live members, this node included; all Nodes while membership is off.
    pub fn members(&self) -> impl Iterator<Item = &NodeName> {
        let alive = self.membership.iter().flat_map(Membership::alive);
        let nodes = if self.membership.is_none() { Some(self.cluster.nodes()) } else { None };
        alive.chain(nodes.into_iter().flat_map(BTreeMap::keys))
    }

    /// Whether it can do its work (W43).
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn is_ready(&self) -> Result<(), NotReady> {
        let told = self.cluster.told();
        let missing = [
            (self.handover.is_some() || self.gone, NotReady::Leaving),
            (!told.resources, NotReady::Configuration),
            (!(told.services && told.endpoint_slices && told.nodes), NotReady::Cluster),
            (!self.cluster.nodes().contains_key(&self.settings.node), NotReady::OwnNode),
            (self.usable_interfaces().next().is_none(), NotReady::Interfaces),
            (!self.joined, NotReady::Membership),
        ];
        missing.into_iter().find(|(missing, _)| *missing).map_or(Ok(()), |(_, why)| Err(why))
    }

    fn handle_datagram(&mut self, now: Time, bytes: &[u8]) {
        let Some(membership) = &mut self.membership else { return };
        match membership.handle_datagram(now, bytes) {
            Ok(()) => self.counters.gossip_received += 1,
            Err(reason) => self.counters.refused(reason),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if let Some(membership) = &mut self.membership {
            membership.handle_timeout(now);
        }
        self.repeat_leave(now);
        self.report(now);
    }

    fn set_peers(&mut self, now: Time, peers: &[Peer]) {
        self.peers_since.get_or_insert(now);
        if let Some(membership) = &mut self.membership {
            membership.set_peers(now, peers);
        }
    }

    fn set_resources(&mut self, resources: &Resources) {
        let (verdicts, changed) = self.cluster.set_resources(resources);
        let report = ConfigurationReport::new(self.cluster.config(), &verdicts);
        if changed {
            self.config_changed();
        }
        if changed || self.rejected != report.rejected {
            self.rejected.clone_from(&report.rejected);
            self.report_that(Report::Configuration(report));
        }
    }

    fn config_changed(&mut self) {
        self.owners.clear();
        self.work.all = true;
        self.reach_is_stale = true;
        self.reaches_changed();
    }

    /// Draws the conclusions from what was taken in.
    fn conclude(&mut self, now: Time) {
        self.set_reach(now);
        self.drain_membership();
        if self.handover.is_some() {
            return self.finish_handover(now);
        }
        self.consider_joined(now);
        self.settle(now);
        self.change_groups();
        self.remind(now);
        self.send_gratuitous(now);
    }

    fn drain_membership(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let mut reaches = false;
        while let Some(output) = membership.poll_output() {
            let notice = match output {
                Output::Send(to, bytes) => {
                    self.counters.gossip_sent += 1;
                    self.effects.push_back(Effect::SendDatagram { to, bytes });
                    continue;
                }
                Output::Reaches => {
                    reaches = true;
                    continue;
                }
                Output::Restarted(member) => Notice::MemberRestarted(member),
                Output::Up(member) => {
                    self.counters.members_up += 1;
                    self.returned.insert(member.clone());
                    Notice::MemberUp(member)
                }
                Output::Down(member) => {
                    self.counters.members_down += 1;
                    Notice::MemberDown(member)
                }
            };
            self.effects.push_back(Effect::Report(Report::Notice(notice)));
            self.owners.candidates_changed();
            self.work.election = true;
        }
        self.counters.members = membership.alive().len();
        if reaches {
            self.reaches_changed();
        }
    }

    /// W15: a speaker that knows nobody yet would win every election.
    fn consider_joined(&mut self, now: Time) {
        let told = self.cluster.told();
        if told.services && told.endpoint_slices && told.nodes {
            self.cluster_since.get_or_insert(now);
        }
        let grace_is_over = self.grace_ends().is_some_and(|end| now >= end);
        if self.joined || !(grace_is_over || self.membership.as_ref().is_none_or(Membership::is_joined)) {
            return;
        }
        self.joined = true;
        self.returned.clear();
        self.work.election = true;
        let members = self.membership.iter().flat_map(Membership::alive).cloned().collect();
        self.notice(Notice::Joined { members });
    }

    /// E10: peers that nobody can have named yet are no peers that do not answer.
    /// Where Pods cannot be listed it is enough that the rest has been.
    fn grace_ends(&self) -> Option<Time> {
        self.peers_since.or(self.cluster_since).map(|since| since + JOIN_GRACE)
    }

    fn notice_pause(&mut self, now: Time) {
        let late = self.urgent_timeout().map_or(Duration::ZERO, |due| now.since(due));
        if late > PAUSE && !self.paused {
            self.paused = true;
            self.counters.pauses += 1;
            self.notice(Notice::Paused(late));
        }
    }

    /// Announces again what is still ours, but may have been announced by others:
    /// after a pause everything; after a member's return, as at the end of a
    /// partition, what that member could own.
    fn remind(&mut self, now: Time) {
        let paused = std::mem::take(&mut self.paused);
        let returned = std::mem::take(&mut self.returned);
        if !paused && returned.is_empty() {
            return;
        }
        let services: Vec<ServiceKey> = self.announcements.services().cloned().collect();
        let disputed = |service: &ServiceKey| {
            paused || self.candidates_of(service).iter().any(|candidate| returned.contains(&candidate.node))
        };
        let disputed: Vec<ServiceKey> = services.into_iter().filter(disputed).collect();
        let addresses: BTreeSet<IpAddr> = disputed
            .iter()
            .filter_map(|service| self.announcements.of(service))
            .flat_map(|announced| announced.addresses.iter().copied())
            .collect();
        for address in addresses {
            self.gratuitous.remind(now, address, &self.askers);
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.report_that(Report::Notice(notice));
    }

    fn report_that(&mut self, report: Report) {
        self.effects.push_back(Effect::Report(report));
    }
}

#[cfg(test)]
mod tests;
