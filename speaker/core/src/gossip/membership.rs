//! Who is alive: SWIM by foca behind one small surface.
//!
//! In go datagrams, time, and the peers that Kubernetes knows; out come
//! datagrams and changes. A faster detector would sit beside it and give the
//! same changes. Two defects of foca 2.0 are cured here:
//!
//! - A timer that declares a suspect dead also strikes a member that has refuted
//!   the suspicion. It is let through only while the suspicion stands.
//! - A cluster that fell apart, or never met, stays apart. Every second an
//!   announce goes to each peer that Kubernetes knows and foca does not list.
//!
//! Beside the list travels what each member's node can announce on (W13).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_api::{NodeName, Time};
use foca::{Foca, NoCustomBroadcast, Notification, PostcardCodec, Runtime, State, Timer};

use crate::gossip::envelope::{Envelope, GossipRejection, MAX_BOOT, MAX_PAYLOAD, Opened};
use crate::gossip::identity::Identity;
use crate::gossip::report::Report;
use crate::gossip::reports::Reports;
use crate::gossip::timers::Timers;
use crate::gossip::{report, swim_message};
use crate::input::Peer;
use crate::ownership::reach::{Reach, Reaches};
use crate::random::{Stream, stream};
use crate::settings::Settings;

/// How often a member is probed. With the three below: the profile of SWIM, the
/// quickest that killed no healthy node at 20 % loss or in a pause of one second.
const PROBE_PERIOD: Duration = Duration::from_millis(300);
/// How long a probe may take before others are asked to probe as well.
const PROBE_RTT: Duration = Duration::from_millis(100);
/// How long a suspect has to refute.
const SUSPECT_TO_DOWN: Duration = Duration::from_millis(1_200);
/// How often news is gossiped.
const GOSSIP_PERIOD: Duration = Duration::from_millis(100);
/// How often each piece of news is passed on; not scaled down for small
/// clusters, where one lost datagram would lose a refutation.
const MAX_TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(15).expect("not zero");
/// How many are asked to probe a silent member.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(5).expect("not zero");
/// How many each round of gossip goes to.
const GOSSIP_FANOUT: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
/// How long a dead life of a member is remembered, so that stale gossip cannot
/// revive it.
const REMEMBER_DOWN: Duration = Duration::from_secs(3_600);
/// How often peers that are not members are called.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(1);
/// The most members, dead ones included; Kubernetes stops at 5,000 nodes.
const MAX_MEMBERS: usize = 8_192;
/// The most peers called. More than Kubernetes' limit are no speakers' Pods.
const MAX_PEERS: usize = MAX_MEMBERS;
/// How late a timer may be before this node must have been asleep. News of its
/// suspects may lie unread, so they get another probe period.
const ASLEEP: Duration = Duration::from_millis(300);

/// Something that the member list asks for or tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send a datagram.
    Send(SocketAddr, Vec<u8>),
    /// A member is alive now.
    Up(NodeName),
    /// A member is dead or has left.
    Down(NodeName),
    /// A member came back without having been missed.
    Restarted(NodeName),
    /// What is known of what nodes can announce on has changed.
    Reaches,
}

/// The member list of one node.
pub(crate) struct Membership {
    foca: Foca<Identity, PostcardCodec, Stream, NoCustomBroadcast>,
    world: World,
    peers: BTreeMap<Arc<str>, SocketAddr>,
    peers_known: bool,
    port: u16,
    announce_at: Option<Time>,
    alive: BTreeSet<NodeName>,
    /// The others of them.
    members: BTreeMap<NodeName, Identity>,
    reports: Reports,
    own: NodeName,
    fed: bool,
    left: bool,
}

/// What foca acts upon.
struct World {
    now: Time,
    timers: Timers,
    envelope: Envelope,
    outputs: VecDeque<Output>,
    /// Whether the list changed since the last look, and which members came
    /// under a new identity.
    changed: bool,
    renamed: BTreeSet<NodeName>,
}

impl Membership {
    /// The list of the node in `settings`, reached at `address`, with only
    /// itself on it.
    pub(crate) fn new(settings: &Settings, address: SocketAddr) -> Self {
        let name: Arc<str> = settings.node.as_str().into();
        let boot = settings.boot_id.min(MAX_BOOT);
        let identity = Identity::new(Arc::clone(&name), boot, address)
            .expect("the shell checks its node name and its gossip address");
        // Two speakers, or two lives of one, may share a seed, never a nonce.
        let salt = [name.as_bytes(), &boot.to_be_bytes()].concat();
        let nonces = stream(&settings.seed, "nonces", &salt);
        let envelope = Envelope::new(name, boot, settings.gossip_secret.as_deref(), nonces);
        let probes = stream(&settings.seed, "probes", &salt);
        Self {
            foca: Foca::new(identity, config(), probes, PostcardCodec),
            world: World {
                now: Time::ZERO,
                timers: Timers::default(),
                envelope,
                outputs: VecDeque::new(),
                changed: false,
                renamed: BTreeSet::new(),
            },
            peers: BTreeMap::new(),
            peers_known: false,
            port: address.port(),
            announce_at: None,
            alive: BTreeSet::from([settings.node.clone()]),
            members: BTreeMap::new(),
            reports: Reports::new(settings.node.clone(), MAX_MEMBERS),
            own: settings.node.clone(),
            fed: false,
            left: false,
        }
    }

    /// The live members, this node included: alive or suspect (D10, E12).
    pub(crate) fn alive(&self) -> &BTreeSet<NodeName> {
        &self.alive
    }

    /// Whether the list can be trusted to be whole (W15): a member has told us
    /// all it knows, or every peer that Kubernetes knows is on it; and each has
    /// told what its node can announce on.
    pub(crate) fn is_joined(&self) -> bool {
        let listed = |name: &Arc<str>| self.alive.contains(&NodeName::from(&**name));
        let whole = self.fed || (self.peers_known && self.peers.keys().all(listed));
        whole && self.members.keys().all(|member| self.reports.reaches().contains_key(member))
    }

    /// What is known of what nodes can announce on, this node included; of one
    /// that is missing nothing was heard.
    pub(crate) const fn reaches(&self) -> &Reaches {
        self.reports.reaches()
    }

    /// Takes what this node can announce on now. What it no longer can counts, here
    /// as elsewhere, once that has lasted.
    pub(crate) fn set_reach(&mut self, now: Time, reach: Reach) {
        if !self.left && self.reports.set_own(now, reach) {
            self.tell_all(now);
        }
    }

    /// Takes the speakers that Kubernetes knows. A list without ourselves is
    /// older than we are and says nothing of who is missing.
    pub(crate) fn set_peers(&mut self, now: Time, peers: &[Peer]) {
        self.peers_known |= peers.iter().any(|peer| peer.node == self.own);
        let others = peers.iter().filter(|peer| peer.node != self.own).take(MAX_PEERS);
        let others = others.map(|peer| (peer.node.as_str().into(), (peer.address, self.port).into()));
        self.peers = others.collect();
        self.announce(now);
    }

    /// Takes a datagram from the gossip port.
    pub(crate) fn handle_datagram(&mut self, now: Time, bytes: &[u8]) -> Result<(), GossipRejection> {
        if self.left {
            return Ok(());
        }
        let opened = self.world.envelope.open(bytes)?;
        if report::is_report(&opened.payload) {
            return self.handle_report(now, &opened);
        }
        let glimpse = swim_message::glimpse(&opened.payload)?;
        if glimpse.source.name() == self.foca.identity().name() {
            return Err(GossipRejection::FromOurselves);
        }
        if let Some((name, boot)) = &opened.sender
            && (name, *boot) != (glimpse.source.name(), glimpse.source.boot())
        {
            return Err(GossipRejection::WrongSender);
        }
        if self.foca.iter_membership_state().len() + glimpse.subjects.len() >= MAX_MEMBERS {
            return Err(GossipRejection::TooManyMembers);
        }
        self.world.now = now;
        self.outlive(&glimpse);
        // An error leaves foca as it was: the message was for an earlier identity
        // of ours, or asks for a probe that is over.
        let _ = self.foca.handle_data(&opened.payload, &mut self.world);
        self.fed |= glimpse.is_feed && self.foca.num_members() > 0;
        self.update_alive();
        self.tell_due(now);
        Ok(())
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.left {
            return;
        }
        self.world.now = now;
        while let Some((due, timer)) = self.world.timers.pop(now) {
            if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
                let stands = self.foca.iter_members().any(|member| {
                    member.id() == member_id
                        && member.incarnation() == *incarnation
                        && member.state() == State::Suspect
                });
                if !stands {
                    continue;
                }
                if now.since(due) > ASLEEP {
                    self.world.timers.add(now + PROBE_PERIOD, timer);
                    continue;
                }
            }
            // An error is foca's note to us that a probe was cut short by a
            // pause; it has recovered by then.
            let _ = self.foca.handle_timer(timer, &mut self.world);
        }
        if self.announce_at.is_some_and(|due| due <= now) {
            self.announce(now);
        }
        self.update_alive();
        self.reports.forget(now);
        if self.reports.lose(now) {
            self.tell_all(now);
        }
        self.tell_due(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        if self.left {
            return None;
        }
        self.world.timers.next().into_iter().chain(self.announce_at).chain(self.reports.poll_timeout()).min()
    }

    /// The next output, oldest first.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let reaches = |changed: bool| changed.then_some(Output::Reaches);
        self.world.outputs.pop_front().or_else(|| reaches(self.reports.take_changed()))
    }

    /// Tells every live member directly that this node leaves. Said again, it is
    /// sent again. From the first time on nothing else is sent or taken.
    pub(crate) fn leave(&mut self) {
        self.left = true;
        for member in self.foca.iter_members() {
            let bytes = swim_message::leave(self.foca.identity(), member.id());
            self.world
                .outputs
                .push_back(Output::Send(member.id().address(), self.world.envelope.seal(&bytes)));
        }
    }

    fn announce(&mut self, now: Time) {
        if self.left {
            return;
        }
        self.world.now = now;
        self.announce_at = (!self.peers.is_empty()).then(|| now + ANNOUNCE_PERIOD);
        let missing = self.peers.iter().filter(|(name, _)| !self.alive.contains(&NodeName::from(&***name)));
        let missing = missing.filter_map(|(name, address)| {
            // The latest life we know of tells a peer whose clock went back how
            // far it must jump.
            let boot = self.world.envelope.latest_boot(name).unwrap_or(0);
            Identity::new(Arc::clone(name), boot, *address).ok()
        });
        for peer in missing.collect::<Vec<_>>() {
            // First of all, so that nobody elects us who would not if it knew.
            self.tell(&NodeName::from(&**peer.name()), peer.address(), true);
            self.foca.announce(peer, &mut self.world).expect("an announce of checked names fits a datagram");
        }
    }

    /// T20: whoever speaks of a later life of ours than this one has known us
    /// before our clock went back. Only a life after that one is believed.
    fn outlive(&mut self, glimpse: &swim_message::Glimpse) {
        let own = self.foca.identity();
        let named = glimpse.subjects.iter().chain([&glimpse.destination]);
        let latest = named.filter(|id| id.name() == own.name()).map(Identity::boot).max();
        let Some(latest) = latest.filter(|boot| *boot > own.boot()) else { return };
        let Some(later) = own.after(latest) else { return };
        self.world.envelope.set_boot(later.boot());
        self.foca.change_identity(later, &mut self.world).expect("it differs, and fits a datagram");
        self.tell_all(self.world.now);
    }

    fn handle_report(&mut self, now: Time, opened: &Opened) -> Result<(), GossipRejection> {
        let Some(report) = Report::decode(&opened.payload)? else { return Ok(()) };
        let own = self.foca.identity();
        if report.sender == *own.name() {
            return Err(GossipRejection::FromOurselves);
        }
        if opened.sender.as_ref().is_some_and(|(name, boot)| (name, *boot) != (&report.sender, report.boot)) {
            return Err(GossipRejection::WrongSender);
        }
        let sender = Arc::clone(&report.sender);
        let answer = self.reports.take(own.boot(), &self.alive, report);
        let name = NodeName::from(&*sender);
        let member = self.members.get(&name).map(Identity::address);
        let address = member.or_else(|| self.peers.get(&sender).copied());
        if let (Some(with_reach), Some(address)) = (answer, address) {
            self.tell(&name, address, with_reach);
        }
        self.tell_due(now);
        Ok(())
    }

    /// All members must hear what this node can announce on.
    fn tell_all(&mut self, now: Time) {
        let boot = self.foca.identity().boot();
        self.reports.owe(now, boot, self.members.iter().map(|(name, member)| (name.clone(), member.boot())));
        self.tell_due(now);
    }

    fn tell_due(&mut self, now: Time) {
        for name in self.reports.due(now) {
            if let Some(member) = self.members.get(&name) {
                self.tell(&name, member.address(), true);
            }
        }
    }

    fn tell(&mut self, name: &NodeName, address: SocketAddr, with_reach: bool) {
        let report = self.reports.report(name, self.foca.identity().boot(), with_reach);
        if report.reach.is_none() && with_reach {
            return;
        }
        let datagram = self.world.envelope.seal(&report.encode());
        self.world.outputs.push_back(Output::Send(address, datagram));
    }

    /// Turns what foca lists into ups and downs, one for each change of a name.
    fn update_alive(&mut self) {
        if !std::mem::take(&mut self.world.changed) {
            return;
        }
        let members = self.foca.iter_members().map(foca::Member::id);
        self.members = members.map(|id| (NodeName::from(&**id.name()), id.clone())).collect();
        let mut alive: BTreeSet<NodeName> = self.members.keys().cloned().collect();
        alive.insert(self.own.clone());
        let renamed = std::mem::take(&mut self.world.renamed);
        let outputs = &mut self.world.outputs;
        let missed = |name: &NodeName| !self.alive.contains(name) || !alive.contains(name);
        outputs.extend(renamed.iter().filter(|name| !missed(name)).cloned().map(Output::Restarted));
        outputs.extend(self.alive.difference(&alive).cloned().map(Output::Down));
        outputs.extend(alive.difference(&self.alive).cloned().map(Output::Up));
        for gone in self.alive.difference(&alive) {
            self.reports.missed(gone);
        }
        let met =
            self.members.iter().filter(|(name, _)| renamed.contains(*name) || !self.alive.contains(*name));
        let met: Vec<(NodeName, u64)> = met.map(|(name, member)| (name.clone(), member.boot())).collect();
        for (name, boot) in &met {
            self.reports.met(self.world.now, name, *boot);
        }
        self.reports.owe(self.world.now, self.foca.identity().boot(), met.into_iter());
        self.alive = alive;
    }
}

impl Runtime<Identity> for World {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.changed = true;
        if let Notification::Rename(_, after) = notification {
            self.renamed.insert(NodeName::from(&**after.name()));
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        let datagram = self.envelope.seal(data);
        self.outputs.push_back(Output::Send(to.address(), datagram));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.add(self.now + after, event);
    }
}

/// The profile of SWIM.
fn config() -> foca::Config {
    foca::Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: INDIRECT_PROBES,
        max_transmissions: MAX_TRANSMISSIONS,
        suspect_to_down_after: SUSPECT_TO_DOWN,
        remove_down_after: Some(REMEMBER_DOWN),
        max_packet_size: NonZeroUsize::new(MAX_PAYLOAD).expect("not zero"),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(foca::PeriodicParams { frequency: GOSSIP_PERIOD, num_members: GOSSIP_FANOUT }),
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Membership");
        debug.field("identity", self.foca.identity()).field("alive", &self.alive).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
