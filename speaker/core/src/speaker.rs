//! The speaker's state machine: it takes inputs, asks the rooms in their order, and
//! gives what they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::config::{ConfigurationReport, Resources};
use ferrolb_api::{NodeName, ServiceKey, Time};

use crate::counters::Counters;
use crate::effect::{Effect, EventReason, Notice, Report, WithdrawReason};
use crate::gossip::membership::Membership;
use crate::gossip::output::Output;
use crate::gossip::unheard::UnheardPeers;
use crate::graceful_shutdown::GracefulShutdown;
use crate::input::{Input, Peer};
use crate::interface::{self, Interface, InterfaceId};
use crate::lifecycle::Lifecycle;
use crate::not_ready::NotReady;
use crate::outputs::Outputs;
use crate::ownership::reach::Reach;
use crate::ownership::{Decision, Members, Ownership, lacks};
use crate::random::stream;
use crate::settings::Settings;
use crate::status::{Status, StatusView};
use crate::wire::Wire;
use crate::wire::announcements::Announcement;
use crate::wire::drop_reason::DropReason;

/// Announces the addresses that its node owns.
///
/// One owner drives it by four kinds of methods:
///
/// - **Input**: [`handle`](Self::handle) alone changes it. It takes the time, which never goes
///   back, and one [`Input`]; it never blocks and never fails.
/// - **Output**: [`poll_effect`](Self::poll_effect) gives what is to be done.
/// - **Time**: [`poll_timeout`](Self::poll_timeout) gives when to come back.
/// - **Views**: [`is_ready`](Self::is_ready), [`announced`](Self::announced),
///   [`members`](Self::members) and [`counters`](Self::counters) look and change nothing.
///
/// The order matters: call `handle`, then `poll_effect` until it gives `None`, then
/// `poll_timeout`, then wait for an input or for that time, whichever comes first, and begin
/// again. A late [`Input::Timeout`] is no error, but by more than a second it counts as a
/// pause in which others may have taken addresses over. After [`Effect::Exit`] nothing has an
/// effect any more.
#[derive(Debug)]
pub struct Speaker {
    settings: Settings,
    outputs: Outputs,
    lifecycle: Lifecycle,
    /// Who is alive; `None` while membership is off.
    membership: Option<Membership>,
    /// What this node is to announce.
    ownership: Ownership,
    /// What it announces, and answers.
    wire: Wire,
    /// What people are told of it.
    status: Status,
}

impl Speaker {
    /// A speaker that knows nothing yet and claims nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let jitter = stream(&settings.seed, "jitter", settings.node.as_str().as_bytes());
        Self {
            outputs: Outputs::default(),
            lifecycle: Lifecycle::new(),
            membership: settings.gossip_address.map(|address| Membership::new(&settings, address)),
            ownership: Ownership::new(&settings),
            wire: Wire::new(jitter),
            status: Status::default(),
            settings,
        }
    }

    /// Takes one input. Never blocks, never fails; what must be done is queued
    /// as effects.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.lifecycle.has_left() {
            return;
        }
        self.detect_pause(now);
        match input {
            // The path of a flood: nothing but an answer comes of a frame.
            Input::Frame { interface, bytes } => {
                self.handle_frame(now, interface, bytes);
                return self.check_left(now);
            }
            Input::Datagram { bytes, .. } => self.handle_datagram(now, bytes),
            Input::Timeout => self.handle_timeout(now),
            Input::Shutdown => self.begin_shutdown(now),
            _ if self.lifecycle.is_leaving() => {}
            Input::Interfaces(interfaces) => self.set_interfaces(now, interfaces),
            Input::Resources(resources) => self.set_resources(now, &resources),
            Input::Services(services) => self.ownership.set_services(services),
            Input::Service(service) => self.ownership.set_service(*service),
            Input::ServiceGone(key) => self.ownership.remove_service(key),
            Input::EndpointSlices(slices) => self.ownership.set_endpoint_slices(slices),
            Input::EndpointSlice(slice) => self.ownership.set_endpoint_slice(slice),
            Input::EndpointSliceGone { namespace, name } => {
                self.ownership.remove_endpoint_slice(namespace, name);
            }
            Input::Nodes(nodes) => self.ownership.set_nodes(nodes),
            Input::Peers(peers) => self.set_peers(now, &peers),
            Input::L2Statuses(objects) => self.status.set_l2_statuses(objects),
            Input::L2Status(object) => self.status.set_l2_status(now, *object),
            Input::L2StatusGone(name) => self.status.remove_l2_status(now, &name),
        }
        self.step(now);
    }

    /// The next effect, oldest first. Drain it to `None` after every `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.outputs.effects.pop_front()
    }

    /// When to call `handle` with [`Input::Timeout`] if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let reports = if self.can_report() { self.status.poll_timeout() } else { None };
        self.urgent_timeout().into_iter().chain(reports).min()
    }

    /// The same without what is done for people to read, which may wait.
    fn urgent_timeout(&self) -> Option<Time> {
        if self.lifecycle.has_left() {
            return None;
        }
        let membership = self.membership.as_ref().and_then(Membership::poll_timeout);
        [self.lifecycle.poll_timeout(), membership, self.wire.poll_timeout()].into_iter().flatten().min()
    }

    /// What it has counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.outputs.counters
    }

    /// What this node announces, by Service (F7).
    pub fn announced(&self) -> impl Iterator<Item = Announcement<'_>> {
        self.wire.announcements().iter()
    }

    /// The live members, this node included; all Nodes while membership is off.
    pub fn members(&self) -> impl Iterator<Item = &NodeName> {
        let alive = self.membership.iter().flat_map(Membership::alive);
        let nodes = if self.membership.is_none() { Some(self.ownership.cluster().nodes()) } else { None };
        alive.chain(nodes.into_iter().flat_map(BTreeMap::keys))
    }

    /// The speakers that Kubernetes names and that ought to be heard by now.
    #[must_use]
    pub fn unheard(&self) -> Option<&UnheardPeers> {
        self.membership.as_ref().map(Membership::unheard).filter(|peers| !peers.is_empty())
    }

    /// Whether it can do its work (W43).
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn is_ready(&self) -> Result<(), NotReady> {
        let cluster = self.ownership.cluster();
        let missing = [
            (self.lifecycle.is_leaving(), NotReady::Leaving),
            (!cluster.synced().resources, NotReady::Configuration),
            (!cluster.synced().cluster(), NotReady::Cluster),
            (!cluster.nodes().contains_key(&self.settings.node), NotReady::OwnNode),
            (!self.wire.has_usable_interface(), NotReady::Interfaces),
            (!self.lifecycle.has_joined(), NotReady::Membership),
        ];
        missing.into_iter().find(|(missing, _)| *missing).map_or(Ok(()), |(_, why)| Err(why))
    }

    fn handle_frame(&mut self, now: Time, interface: InterfaceId, bytes: &[u8]) {
        match self.answer(now, interface, bytes) {
            Ok(bytes) => self.outputs.push(Effect::SendFrame { interface, bytes }),
            Err(reason) => self.outputs.counters.dropped(reason),
        }
    }

    fn answer(&mut self, now: Time, interface: InterfaceId, bytes: &[u8]) -> Result<Vec<u8>, DropReason> {
        let heard = self.wire.receive(now, interface, bytes)?;
        match (heard.claim, self.lifecycle.shutdown_mut()) {
            (Some(claim), Some(shutdown)) => {
                self.wire.yield_address(claim.address);
                shutdown.claimed(claim.address);
            }
            (Some(claim), None) => self.wire.defend(now, claim),
            (None, _) => {}
        }
        self.wire.answer(now, &heard, &mut self.outputs.counters)
    }

    fn handle_datagram(&mut self, now: Time, bytes: &[u8]) {
        let Some(membership) = &mut self.membership else { return };
        match membership.handle_datagram(now, bytes) {
            Ok(()) => self.outputs.counters.gossip_received += 1,
            Err(reason) => self.outputs.counters.refused(reason),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if let Some(membership) = &mut self.membership {
            membership.handle_timeout(now);
            if self.lifecycle.shutdown_mut().is_some_and(|shutdown| shutdown.repeat(now)) {
                membership.leave();
            }
        }
        if self.can_report() {
            let view = StatusView {
                own: &self.settings.node,
                ownership: &self.ownership,
                wire: &self.wire,
                members: members(self.membership.as_ref()),
            };
            self.status.report(now, &view, &mut self.outputs);
        }
    }

    fn set_interfaces(&mut self, now: Time, interfaces: Vec<Interface>) {
        let network = interface::network(&self.settings.node, &interfaces);
        if self.ownership.set_network(network.clone()) {
            self.outputs.report(Report::Network(network));
        }
        self.wire.set_interfaces(now, interfaces);
        // D44: a name that was missing may be there now.
        self.ownership.elect();
        self.set_reach(now);
    }

    fn set_peers(&mut self, now: Time, peers: &[Peer]) {
        self.lifecycle.peers_named(now);
        if let Some(membership) = &mut self.membership {
            membership.set_peers(now, peers);
        }
    }

    fn set_resources(&mut self, now: Time, resources: &Resources) {
        let members = members(self.membership.as_ref());
        let (verdicts, changed) = self.ownership.set_resources(resources, members);
        let report = ConfigurationReport::new(self.ownership.cluster().config(), &verdicts);
        self.status.set_configuration(report, changed, &mut self.outputs);
        if changed {
            self.set_reach(now);
        }
    }

    /// Says what this node can announce on, out of its interfaces and of the names in
    /// advertisements, and what it lacks of the configuration. It counts here once it counts for all (W13).
    fn set_reach(&mut self, now: Time) {
        let (Some(membership), Some(interfaces)) = (&mut self.membership, self.wire.interfaces()) else {
            return;
        };
        let advertisements = self.ownership.cluster().config().advertisements.values();
        let named: BTreeSet<&str> =
            advertisements.flat_map(|one| &one.interfaces).map(String::as_str).collect();
        let cluster = self.ownership.cluster();
        let lacks = cluster.synced().resources.then(|| lacks::of(cluster.config()));
        membership.set_reach(now, Reach { lacks, ..Reach::of(interfaces, &named) });
    }

    /// Draws the conclusions from what was taken in.
    fn step(&mut self, now: Time) {
        self.drain_membership();
        if self.lifecycle.is_leaving() {
            return self.check_left(now);
        }
        self.check_joined(now);
        self.evaluate(now);
        self.wire.change_groups(&mut self.outputs);
        self.reannounce(now);
        let conflicts = self.wire.send_gratuitous(now, &mut self.outputs);
        let view = StatusView {
            own: &self.settings.node,
            ownership: &self.ownership,
            wire: &self.wire,
            members: members(self.membership.as_ref()),
        };
        for conflict in conflicts {
            self.status.conflict(now, &conflict, &view, &mut self.outputs);
        }
    }

    fn drain_membership(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let mut reaches = false;
        while let Some(output) = membership.poll_output() {
            let notice = match output {
                Output::Send(to, bytes) => {
                    self.outputs.counters.gossip_sent += 1;
                    self.outputs.push(Effect::SendDatagram { to, bytes });
                    continue;
                }
                Output::Reaches => {
                    reaches = true;
                    continue;
                }
                Output::Unheard(peers) => {
                    self.outputs.report(Report::Unheard(peers));
                    continue;
                }
                Output::Restarted(member) => Notice::MemberRestarted(member),
                Output::Up(member) => {
                    self.outputs.counters.members_up += 1;
                    self.lifecycle.returned(member.clone());
                    Notice::MemberUp(member)
                }
                Output::Down(member) => {
                    self.outputs.counters.members_down += 1;
                    Notice::MemberDown(member)
                }
            };
            self.outputs.notice(notice);
            self.ownership.members_changed();
        }
        self.outputs.counters.members = membership.alive().len();
        if reaches {
            self.ownership.reaches_changed(members(Some(membership)));
        }
    }

    /// W15: a speaker that knows nobody yet would win every election.
    fn check_joined(&mut self, now: Time) {
        let is_whole = self.membership.as_ref().is_none_or(Membership::is_joined);
        if self.lifecycle.check_joined(now, self.ownership.cluster().synced(), is_whole) {
            self.ownership.elect();
            let members = self.membership.iter().flat_map(Membership::alive).cloned().collect();
            let missing = self.membership.as_ref().map(Membership::missing).unwrap_or_default();
            self.outputs.notice(Notice::Joined { members, missing });
        }
    }

    fn detect_pause(&mut self, now: Time) {
        let due = self.urgent_timeout();
        if let Some(late) = self.lifecycle.detect_pause(now, due) {
            self.outputs.counters.pauses += 1;
            self.outputs.notice(Notice::Paused(late));
        }
    }

    /// Looks at the Services about which something has changed, and at no others (D2).
    fn evaluate(&mut self, now: Time) {
        let mut work = self.ownership.take_work();
        for service in &work.services {
            let before = self.ownership.check(service);
            if let Some((addresses, interfaces)) = self.ownership.eligible_here(service) {
                self.wire.want(addresses, interfaces);
            }
            if let Some(before) = before {
                self.wire.unwant(&before);
            }
        }
        work.services.extend(self.ownership.regroup());
        if !self.lifecycle.has_joined() || self.wire.interfaces().is_none() {
            if work.election || !work.services.is_empty() {
                self.ownership.elect();
            }
            return;
        }
        if work.election {
            let announced = self.wire.announcements().services();
            work.services.extend(self.ownership.affected(members(self.membership.as_ref()), announced));
        }
        self.status.follow(now, &work);
        for service in work.services {
            let members = members(self.membership.as_ref());
            let (wire, own) = (&self.wire, members.reaches.get(&self.settings.node));
            let decision = self.ownership.decide(&service, members, |set, family| {
                // A link that blinks goes on counting for a moment, here as for all (W13).
                let still_counts = || own.is_some_and(|reach| reach.can_announce(set, family));
                let is_usable = wire.can_announce(set, family) || still_counts();
                if is_usable { Ok(()) } else { Err(wire.obstacles(set, family)) }
            });
            self.apply(now, &service, decision);
        }
    }

    fn apply(&mut self, now: Time, key: &ServiceKey, decision: Decision) {
        let (own, outputs) = (&self.settings.node, &mut self.outputs);
        match decision {
            Decision::Announce(announced, failure) => {
                if announced.addresses.is_empty() {
                    let reason = WithdrawReason::InterfaceMissing;
                    self.wire.withdraw(now, key, reason, Some(own), outputs);
                } else {
                    let members = members(self.membership.as_ref());
                    let order = || self.ownership.order(key, members);
                    if self.wire.announce(now, key, announced, order, outputs) {
                        let message = format!("announcing from node \"{own}\" with protocol \"layer2\"");
                        self.event(key, EventReason::NodeAssigned, message);
                    }
                }
                if let Some(failure) = failure {
                    self.announce_failed(key, &failure);
                }
            }
            Decision::Withdraw(reason, owner) => {
                let lost = if reason == WithdrawReason::NotOwner { self.wire.lost(key) } else { None };
                self.wire.withdraw(now, key, reason, owner.as_ref(), outputs);
                if let Some(why) = lost {
                    self.announce_failed(key, &why);
                }
            }
        }
    }

    fn announce_failed(&mut self, key: &ServiceKey, why: &str) {
        let node = &self.settings.node;
        let message = format!("not announcing from node \"{node}\" with protocol \"layer2\": {why}");
        self.event(key, EventReason::AnnounceFailed, message);
    }

    fn event(&mut self, key: &ServiceKey, reason: EventReason, message: String) {
        if let Some(service) = self.ownership.cluster().services().get(key) {
            self.outputs.event(service, reason, message);
        }
    }

    /// Announces again what is still ours, but may have been announced by others:
    /// after a pause everything; after a member's return, as at the end of a
    /// partition, what that member could own.
    fn reannounce(&mut self, now: Time) {
        let Some(doubt) = self.lifecycle.take_doubt() else { return };
        let members = members(self.membership.as_ref());
        let addresses = self.addresses_of(|service| {
            let candidates = self.ownership.candidates(service, members);
            doubt.concerns(candidates.iter().map(|candidate| &candidate.node))
        });
        self.wire.reannounce(now, &addresses);
    }

    /// The addresses of the announced Services that are `chosen`.
    fn addresses_of(&self, chosen: impl Fn(&ServiceKey) -> bool) -> BTreeSet<IpAddr> {
        let announcements = self.wire.announcements();
        let chosen = announcements.services().filter(|service| chosen(service));
        let announced = chosen.filter_map(|service| announcements.of(service));
        announced.flat_map(|announced| announced.addresses.iter().copied()).collect()
    }

    /// Leaves the member list, and goes on answering until the successors do.
    fn begin_shutdown(&mut self, now: Time) {
        if self.lifecycle.is_leaving() {
            return;
        }
        self.wire.stop_announcing();
        let mut waiting = BTreeSet::new();
        // Without membership nobody learns that we leave, so nobody will claim.
        if let Some(membership) = &mut self.membership {
            membership.leave();
            let members = members(self.membership.as_ref());
            waiting = self.addresses_of(|service| self.ownership.candidates(service, members).len() > 1);
        }
        self.lifecycle.leave(GracefulShutdown::new(now, waiting));
    }

    /// Ends once the last address has been taken over, or time is up.
    fn check_left(&mut self, now: Time) {
        if !self.lifecycle.check_left(now) {
            return;
        }
        let members = members(self.membership.as_ref());
        for Announcement { service, address, .. } in self.wire.announcements().iter() {
            let order = self.ownership.order(service, members);
            let owner = order.into_iter().find(|node| *node != self.settings.node);
            let (service, reason) = (service.clone(), WithdrawReason::Leaving);
            self.outputs.notice(Notice::Withdrawn { service, address, reason, owner });
        }
        self.outputs.push(Effect::Exit);
    }

    /// Nothing is said by one who has not heard everything, or is about to leave.
    fn can_report(&self) -> bool {
        let is_synced = self.ownership.cluster().synced().all() && self.wire.interfaces().is_some();
        is_synced && self.lifecycle.is_serving()
    }
}

/// What elections have to know of the members.
fn members(membership: Option<&Membership>) -> Members<'_> {
    match membership {
        Some(membership) => Members { alive: Some(membership.alive()), reaches: membership.reaches() },
        None => Members::unknown(),
    }
}

#[cfg(test)]
mod tests;
