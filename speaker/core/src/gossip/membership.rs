//! Who is alive, behind one small surface.
//!
//! In go datagrams, time, and the peers that Kubernetes knows; out come datagrams and
//! changes. [`super::swim`] finds out; a faster detector would sit beside it and give the
//! same changes. A cluster that fell apart, or never met, stays apart by SWIM alone: every
//! second each peer that Kubernetes knows and that is not on the list is called.
//!
//! Beside the list travels what each member's node can announce on (W13).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferrolb_api::{NodeName, Time};

use crate::gossip::envelope::{Envelope, GossipRejection, MAX_BOOT, Opened};
use crate::gossip::identity::Identity;
use crate::gossip::member_report::MemberReport;
use crate::gossip::output::Output;
use crate::gossip::report_exchange::ReportExchange;
use crate::gossip::swim::Swim;
use crate::gossip::unheard::{UnheardPeers, UnheardWatch};
use crate::gossip::{member_report, swim_message};
use crate::input::Peer;
use crate::ownership::reach::{Reach, Reaches};
use crate::random::stream;
use crate::settings::Settings;

/// How often peers that are not members are called.
const CALL_PERIOD: Duration = Duration::from_secs(1);
/// The most members, dead ones included; Kubernetes stops at 5,000 nodes.
const MAX_MEMBERS: usize = 8_192;
/// The most peers called. More than Kubernetes' limit are no speakers' Pods.
const MAX_PEERS: usize = MAX_MEMBERS;
/// The member list of one node.
pub(crate) struct Membership {
    swim: Swim,
    /// With what to begin again once the own Pod's address is known, where the settings
    /// do not say it. Until then nothing is sent or taken.
    unaddressed: Option<Box<Settings>>,
    /// Those that can be reached.
    peers: BTreeMap<Arc<str>, SocketAddr>,
    peers_known: bool,
    /// Those whose Pods run, and have no address of our family.
    other_family: BTreeSet<NodeName>,
    unheard: UnheardWatch,
    port: u16,
    call_at: Option<Time>,
    alive: BTreeSet<NodeName>,
    /// The others of them.
    members: BTreeMap<NodeName, Identity>,
    exchange: ReportExchange,
    own: NodeName,
    received_feed: bool,
    left: bool,
}

impl Membership {
    /// The list of the node in `settings`, reached at `address`, with only
    /// itself on it.
    pub(crate) fn new(settings: &Settings, address: SocketAddr) -> Self {
        let is_addressed = !address.ip().is_unspecified();
        // It never leaves this process.
        let placeholder = (Ipv4Addr::LOCALHOST, address.port()).into();
        Self {
            swim: swim(settings, if is_addressed { address } else { placeholder }),
            unaddressed: (!is_addressed).then(|| Box::new(settings.clone())),
            peers: BTreeMap::new(),
            peers_known: false,
            other_family: BTreeSet::new(),
            unheard: UnheardWatch::default(),
            port: address.port(),
            call_at: None,
            alive: BTreeSet::from([settings.node.clone()]),
            members: BTreeMap::new(),
            exchange: ReportExchange::new(settings.node.clone(), MAX_MEMBERS),
            own: settings.node.clone(),
            received_feed: false,
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
        let whole = self.received_feed || (self.peers_known && self.peers.keys().all(listed));
        whole && self.members.keys().all(|member| self.exchange.reaches().contains_key(member))
    }

    /// What is known of what nodes can announce on, this node included; of one
    /// that is missing nothing was heard.
    pub(crate) const fn reaches(&self) -> &Reaches {
        self.exchange.reaches()
    }

    /// Takes what this node can announce on now. What it no longer can counts, here
    /// as elsewhere, once that has lasted.
    pub(crate) fn set_reach(&mut self, now: Time, reach: Reach) {
        if !self.left && self.exchange.set_own(now, reach) {
            self.send_to_all(now);
        }
    }

    /// Takes the speakers that Kubernetes knows. A list without ourselves is
    /// older than we are and says nothing of who is missing.
    pub(crate) fn set_peers(&mut self, now: Time, peers: &[Peer]) {
        self.peers_known |= peers.iter().any(|peer| peer.node == self.own);
        self.find_own_address(peers);
        let is_ipv6 = self.swim.identity().address().is_ipv6();
        self.peers.clear();
        let (mut ours, mut running) = (BTreeSet::new(), BTreeSet::new());
        for peer in peers.iter().filter(|peer| peer.node != self.own).take(MAX_PEERS) {
            if peer.address.is_ipv6() == is_ipv6 {
                let address = (peer.address, self.port).into();
                self.peers.entry(peer.node.as_str().into()).or_insert(address);
                ours.insert(peer.node.clone());
            }
            if peer.is_running {
                running.insert(peer.node.clone());
            }
        }
        // Who has no address of our family cannot be met.
        self.other_family = running.difference(&ours).cloned().collect();
        self.unheard.set_running(&running & &ours);
        self.call_missing_peers(now);
        self.check_unheard(now);
    }

    /// The peers that Kubernetes names and that are not on the list.
    pub(crate) fn missing(&self) -> Vec<NodeName> {
        let peers =
            self.peers.keys().map(|name| NodeName::from(&**name)).chain(self.other_family.iter().cloned());
        peers.filter(|name| !self.alive.contains(name)).collect()
    }

    /// Those of them that ought to have been heard by now.
    pub(crate) const fn unheard(&self) -> &UnheardPeers {
        self.unheard.found()
    }

    fn check_unheard(&mut self, now: Time) {
        if self.left {
            return;
        }
        let rest = UnheardPeers {
            port: self.port,
            other_family: self.other_family.clone(),
            is_ipv6: self.swim.identity().address().is_ipv6(),
            no_address: self.unaddressed.is_some() && self.peers_known,
            ..UnheardPeers::default()
        };
        let found = self.unheard.check(now, &self.alive, rest);
        self.swim.push(found.map(Output::Unheard).into_iter());
    }

    /// Begins with the own Pod's address, if that was waited for.
    fn find_own_address(&mut self, peers: &[Peer]) {
        let Some(settings) = &self.unaddressed else { return };
        // A socket that is bound to `::` takes both families.
        let takes_any = settings.gossip_address.is_some_and(|bound| bound.is_ipv6());
        let own = peers.iter().filter(|peer| peer.node == self.own).map(|peer| peer.address);
        if let Some(address) = own.into_iter().find(|address| takes_any || address.is_ipv4()) {
            self.swim = swim(settings, (address, self.port).into());
            self.unaddressed = None;
        }
    }

    /// Takes a datagram from the gossip port.
    pub(crate) fn handle_datagram(&mut self, now: Time, bytes: &[u8]) -> Result<(), GossipRejection> {
        if self.left || self.unaddressed.is_some() {
            return Ok(());
        }
        let opened = self.swim.open(bytes).inspect_err(|reason| {
            if matches!(reason, GossipRejection::WrongKey | GossipRejection::NotSealed) {
                self.unheard.mismatched(now);
            }
        })?;
        if member_report::is_report(&opened.payload) {
            return self.handle_report(now, &opened);
        }
        let header = swim_message::parse_header(&opened.payload)?;
        if header.source.name() == self.swim.identity().name() {
            return Err(GossipRejection::FromOurselves);
        }
        if let Some((name, boot)) = &opened.sender
            && (name, *boot) != (header.source.name(), header.source.boot())
        {
            return Err(GossipRejection::WrongSender);
        }
        if self.swim.known() + header.subjects.len() >= MAX_MEMBERS {
            return Err(GossipRejection::TooManyMembers);
        }
        if self.swim.renew_identity(now, &header) {
            self.send_to_all(now);
        }
        self.swim.handle_message(now, &opened.payload);
        self.received_feed |= header.is_feed && self.swim.members().next().is_some();
        self.update_alive(now);
        self.send_due(now);
        Ok(())
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.left {
            return;
        }
        self.swim.handle_timeout(now);
        if self.call_at.is_some_and(|due| due <= now) {
            self.call_missing_peers(now);
        }
        self.update_alive(now);
        if self.unheard.poll_timeout().is_some_and(|due| due <= now) {
            self.check_unheard(now);
        }
        self.exchange.forget(now);
        if self.exchange.lose(now) {
            self.send_to_all(now);
        }
        self.send_due(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        if self.left {
            return None;
        }
        let timers = [
            self.swim.poll_timeout(),
            self.call_at,
            self.exchange.poll_timeout(),
            self.unheard.poll_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// The next output, oldest first.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let reaches = |changed: bool| changed.then_some(Output::Reaches);
        self.swim.poll_output().or_else(|| reaches(self.exchange.take_changed()))
    }

    /// Tells every live member directly that this node leaves. Said again, it is
    /// sent again. From the first time on nothing else is sent or taken.
    pub(crate) fn leave(&mut self) {
        self.left = true;
        self.swim.leave();
    }

    fn call_missing_peers(&mut self, now: Time) {
        if self.left || self.unaddressed.is_some() {
            return;
        }
        self.call_at = (!self.peers.is_empty()).then(|| now + CALL_PERIOD);
        let missing = self.peers.iter().filter(|(name, _)| !self.alive.contains(&NodeName::from(&***name)));
        let missing = missing.filter_map(|(name, address)| {
            // The latest life we know of tells a peer whose clock went back how
            // far it must jump.
            let boot = self.swim.latest_boot(name).unwrap_or(0);
            Identity::new(Arc::clone(name), boot, *address).ok()
        });
        for peer in missing.collect::<Vec<_>>() {
            // First of all, so that nobody elects us who would not if it knew.
            self.send_report(&NodeName::from(&**peer.name()), peer.address(), true);
            self.swim.announce(now, peer);
        }
    }

    fn handle_report(&mut self, now: Time, opened: &Opened) -> Result<(), GossipRejection> {
        let Some(report) = MemberReport::decode(&opened.payload)? else { return Ok(()) };
        let own = self.swim.identity();
        if report.sender == *own.name() {
            return Err(GossipRejection::FromOurselves);
        }
        if opened.sender.as_ref().is_some_and(|(name, boot)| (name, *boot) != (&report.sender, report.boot)) {
            return Err(GossipRejection::WrongSender);
        }
        let sender = Arc::clone(&report.sender);
        let answer = self.exchange.take(own.boot(), &self.alive, report);
        let name = NodeName::from(&*sender);
        let member = self.members.get(&name).map(Identity::address);
        let address = member.or_else(|| self.peers.get(&sender).copied());
        if let (Some(with_reach), Some(address)) = (answer, address) {
            self.send_report(&name, address, with_reach);
        }
        self.send_due(now);
        Ok(())
    }

    /// All members must hear what this node can announce on.
    fn send_to_all(&mut self, now: Time) {
        let boot = self.swim.identity().boot();
        self.exchange.expect_acks(
            now,
            boot,
            self.members.iter().map(|(name, member)| (name.clone(), member.boot())),
        );
        self.send_due(now);
    }

    fn send_due(&mut self, now: Time) {
        for name in self.exchange.due(now) {
            if let Some(member) = self.members.get(&name) {
                self.send_report(&name, member.address(), true);
            }
        }
    }

    fn send_report(&mut self, name: &NodeName, address: SocketAddr, with_reach: bool) {
        let report = self.exchange.report(name, self.swim.identity().boot(), with_reach);
        if report.reach.is_none() && with_reach {
            return;
        }
        self.swim.send(address, &report.encode());
    }

    /// Turns what foca lists into ups and downs, one for each change of a name.
    fn update_alive(&mut self, now: Time) {
        let Some(renamed) = self.swim.take_changes() else { return };
        let members = self.swim.members();
        self.members = members.map(|id| (NodeName::from(&**id.name()), id.clone())).collect();
        let mut alive: BTreeSet<NodeName> = self.members.keys().cloned().collect();
        alive.insert(self.own.clone());
        let missed = |name: &NodeName| !self.alive.contains(name) || !alive.contains(name);
        let restarted = renamed.iter().filter(|name| !missed(name)).cloned().map(Output::Restarted);
        let down = self.alive.difference(&alive).cloned().map(Output::Down);
        let up = alive.difference(&self.alive).cloned().map(Output::Up);
        self.swim.push(restarted.chain(down).chain(up));
        for gone in self.alive.difference(&alive) {
            self.exchange.missed(gone);
        }
        let met =
            self.members.iter().filter(|(name, _)| renamed.contains(*name) || !self.alive.contains(*name));
        let met: Vec<(NodeName, u64)> = met.map(|(name, member)| (name.clone(), member.boot())).collect();
        for (name, boot) in &met {
            self.exchange.met(now, name, *boot);
        }
        self.exchange.expect_acks(now, self.swim.identity().boot(), met.into_iter());
        self.alive = alive;
        self.check_unheard(now);
    }
}

/// The protocol of the node in `settings`, reached at `address`.
fn swim(settings: &Settings, address: SocketAddr) -> Swim {
    let name: Arc<str> = settings.node.as_str().into();
    let boot = settings.boot_id.min(MAX_BOOT);
    let identity = Identity::new(Arc::clone(&name), boot, address)
        .expect("the shell checks its node name and its gossip address");
    // Two speakers, or two lives of one, may share a seed, never a nonce.
    let salt = [name.as_bytes(), &boot.to_be_bytes()].concat();
    let nonces = stream(&settings.seed, "nonces", &salt);
    let envelope = Envelope::new(name, boot, settings.gossip_secret.as_deref(), nonces);
    Swim::new(identity, stream(&settings.seed, "probes", &salt), envelope)
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Membership");
        debug.field("identity", self.swim.identity()).field("alive", &self.alive).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
