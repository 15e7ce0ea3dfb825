//! What this node says of its addresses: replies, announcements and multicast groups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::{IpFamily, NodeName, ServiceKey, Time};

use crate::counters::Counters;
use crate::effect::{Effect, Notice, WithdrawReason};
use crate::interface::{Interface, InterfaceId, InterfaceSet, MacAddr};
use crate::outputs::Outputs;
use crate::random::Stream;
use announcements::{Announced, Announcements, Lookup};
use drop_reason::DropReason;
use gate::{Gate, Request};
use gratuitous::Gratuitous;
use multicast::MulticastGroups;
use requesters::{Requester, Requesters};
use responder::ReceivedFrame;
use segments::{Heard, Segments};

pub(crate) mod announcements;
pub(crate) mod arp;
pub(crate) mod drop_reason;
pub(crate) mod frame;
mod gate;
mod gratuitous;
mod multicast;
pub(crate) mod ndp;
mod obstacles;
mod requesters;
mod responder;
mod segments;
mod token_bucket;

/// The interfaces of this node, and what it says on them.
#[derive(Debug)]
pub(crate) struct Wire {
    interfaces: BTreeMap<InterfaceId, Interface>,
    interfaces_synced: bool,
    own_macs: BTreeSet<MacAddr>,
    segments: Segments,
    announcements: Announcements,
    /// The addresses of eligible Services, whoever owns them, with how many have
    /// each: those whose requesters are remembered.
    wanted: BTreeMap<IpAddr, usize>,
    requesters: Requesters,
    gate: Gate,
    gratuitous: Gratuitous,
    groups: MulticastGroups,
}

/// A frame of another station that was read.
pub(crate) struct HeardFrame {
    /// That it has an address of ours, if it says so.
    pub(crate) claim: Option<AddressClaim>,
    received: ReceivedFrame,
    interface: InterfaceId,
    own: MacAddr,
    /// Before the gate.
    verdict: Result<(), DropReason>,
}

/// Another station says that it has an address that this node announces (X17).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressClaim {
    pub(crate) address: IpAddr,
    interface: InterfaceId,
    mac: MacAddr,
}

/// Another station stands by its claim to an address that this node announces (X17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressConflict {
    pub(crate) address: IpAddr,
    /// The name of the interface that it was heard on.
    pub(crate) interface: String,
    /// Of the other station.
    pub(crate) mac: MacAddr,
}

/// An interface on which frames reach anybody.
#[derive(Debug, PartialEq, Eq)]
struct Usable {
    id: InterfaceId,
    mac: MacAddr,
    /// For ARP (D45).
    ipv4: bool,
    /// For NDP (D46).
    ipv6: bool,
    addresses: Vec<(IpAddr, u8)>,
}

impl Wire {
    /// Without interfaces, silent. `jitter` spreads announcements.
    pub(crate) fn new(jitter: Stream) -> Self {
        Self {
            interfaces: BTreeMap::new(),
            interfaces_synced: false,
            own_macs: BTreeSet::new(),
            segments: Segments::default(),
            announcements: Announcements::default(),
            wanted: BTreeMap::new(),
            requesters: Requesters::default(),
            gate: Gate::new(),
            gratuitous: Gratuitous::new(jitter),
            groups: MulticastGroups::default(),
        }
    }

    /// What this node announces.
    pub(crate) const fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// The interfaces of this node, usable or not; `None` before they were listed.
    pub(crate) fn interfaces(&self) -> Option<impl Iterator<Item = &Interface>> {
        self.interfaces_synced.then(|| self.interfaces.values())
    }

    /// Whether one out of `set` is usable for addresses of `family`.
    pub(crate) fn can_announce(&self, set: &InterfaceSet, family: IpFamily) -> bool {
        let mut usable = self.interfaces.values().filter(|interface| interface.is_usable(family));
        usable.any(|interface| set.contains(&interface.name))
    }

    /// Why none out of `set` is usable for addresses of `family`, with what to do about
    /// it.
    pub(crate) fn obstacles(&self, set: &InterfaceSet, family: IpFamily) -> String {
        obstacles::text(&self.interfaces, set, family)
    }

    /// Whether there is an interface on which frames reach anybody.
    pub(crate) fn has_usable_interface(&self) -> bool {
        self.usable().next().is_some()
    }

    /// Why this node can no longer announce a Service that it announces.
    pub(crate) fn lost(&self, key: &ServiceKey) -> Option<String> {
        let announced = self.announcements.of(key)?;
        let family = announced.addresses.iter().map(|address| IpFamily::of(*address));
        let lost = family.into_iter().find(|family| !self.can_announce(&announced.interfaces, *family))?;
        Some(self.obstacles(&announced.interfaces, lost))
    }

    /// Takes all interfaces.
    pub(crate) fn set_interfaces(&mut self, now: Time, interfaces: Vec<Interface>) {
        let before: Vec<Usable> = self.usable().collect();
        self.interfaces = interfaces.into_iter().map(|interface| (interface.id, interface)).collect();
        self.own_macs = self.interfaces.values().filter_map(|interface| interface.mac).collect();
        self.interfaces_synced = true;
        // Without regard to the carrier, which may come and go: what is joined
        // then stays joined.
        let ipv6 = self.interfaces.values().filter(|interface| interface.can_announce(IpFamily::V6));
        self.groups.set_interfaces(ipv6.map(|interface| (interface.id, interface.name.clone())).collect());
        let after: Vec<Usable> = self.usable().collect();
        if before == after {
            return;
        }
        let usable: BTreeMap<InterfaceId, MacAddr> = after.into_iter().map(|one| (one.id, one.mac)).collect();
        self.segments.set_interfaces(&usable);
        self.gratuitous.set_interfaces(&usable);
        self.retarget_all(now);
    }

    /// A Service has these addresses, whoever owns them: this node may have to
    /// announce them at any moment, and remembers who asks for them.
    pub(crate) fn want(&mut self, addresses: &[IpAddr], interfaces: &InterfaceSet) {
        for address in addresses {
            *self.wanted.entry(*address).or_default() += 1;
            if let IpAddr::V6(address) = address {
                self.groups.overhear(*address, interfaces);
            }
        }
    }

    /// Takes one [`Self::want`] of these addresses back.
    pub(crate) fn unwant(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            let users = self.wanted.entry(*address).or_default();
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.wanted.remove(address);
                self.requesters.forget(*address);
                if let IpAddr::V6(address) = address {
                    self.groups.forget(*address);
                }
            }
        }
    }

    /// Announces `announced` for a Service, and nothing else of it. `order` gives its
    /// candidates, the owner first. Gives whether its addresses are others than before.
    pub(crate) fn announce(
        &mut self,
        now: Time,
        key: &ServiceKey,
        announced: Announced,
        order: impl FnOnce() -> Vec<NodeName>,
        outputs: &mut Outputs,
    ) -> bool {
        let before = self.announcements.of(key);
        if before == Some(&announced) {
            return false;
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
            return false;
        }
        let (service, reason) = (key, WithdrawReason::LoadBalancerIpChanged);
        outputs.counters.withdrawn += u64::from(!gone.is_empty());
        for address in gone {
            outputs.notice(Notice::Withdrawn { service: service.clone(), address, reason, owner: None });
        }
        let candidates = order();
        for address in addresses {
            let candidates = candidates.clone();
            outputs.notice(Notice::Announced { service: service.clone(), address, candidates });
        }
        outputs.counters.announced += 1;
        true
    }

    /// Stops announcing a Service, because of `reason`; `owner` has it now.
    pub(crate) fn withdraw(
        &mut self,
        now: Time,
        key: &ServiceKey,
        reason: WithdrawReason,
        owner: Option<&NodeName>,
        outputs: &mut Outputs,
    ) {
        let withdrawn = self.announcements.withdraw(key);
        outputs.counters.withdrawn += u64::from(!withdrawn.is_empty());
        for address in withdrawn {
            self.retarget(now, address);
            let (service, owner) = (key.clone(), owner.cloned());
            outputs.notice(Notice::Withdrawn { service, address, reason, owner });
        }
    }

    /// Announces addresses again that are still ours, but that others may have
    /// announced meanwhile.
    pub(crate) fn reannounce(&mut self, now: Time, addresses: &BTreeSet<IpAddr>) {
        for address in addresses {
            self.gratuitous.reannounce(now, *address, &self.requesters);
        }
    }

    /// Announces nothing more by itself; what is asked for is still answered.
    pub(crate) fn stop_announcing(&mut self) {
        self.gratuitous.stop_all();
    }

    /// Reads a frame that came in on `interface`.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        interface: InterfaceId,
        bytes: &[u8],
    ) -> Result<HeardFrame, DropReason> {
        let known = self.interfaces.get(&interface).ok_or(DropReason::UnknownInterface)?;
        let usable = known.mac.filter(|_| known.can_announce(ReceivedFrame::family(bytes)));
        let own = usable.ok_or(DropReason::UnusableInterface)?;
        let received = ReceivedFrame::parse(bytes)?;
        if let Err(reason) = self.refuse_own(&received) {
            self.hear_own(now, interface, received.senders().0);
            return Err(reason);
        }
        let lookup = |address| match self.announcements.lookup(address, &known.name) {
            Lookup::Announced if self.is_silent(now, interface, address) => Lookup::OtherInterface,
            found => found,
        };
        let claim = received.claim().filter(|(address, _)| lookup(*address) == Lookup::Announced);
        Ok(HeardFrame {
            claim: claim.map(|(address, mac)| AddressClaim { address, interface, mac }),
            verdict: received.judge(own, lookup),
            received,
            interface,
            own,
        })
    }

    /// Answers a frame, if that is right, and remembers who asks.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        heard: &HeardFrame,
        counters: &mut Counters,
    ) -> Result<Vec<u8>, DropReason> {
        self.remember_requester(now, heard);
        heard.verdict?;
        self.pass_gate(now, heard.received.target(), heard.received.request(), counters)?;
        Ok(heard.received.reply(heard.own))
    }

    /// Says whose an address is that another station claims. Whether the claim is more
    /// than a move that we have not heard of yet shows by then.
    pub(crate) fn defend(&mut self, now: Time, claim: AddressClaim) {
        self.gratuitous.defend(now, claim.address, claim.interface, claim.mac);
    }

    /// Another node has `address` now: it is not answered for any more.
    pub(crate) fn yield_address(&mut self, address: IpAddr) {
        self.gate.close(address);
    }

    /// When announcements are due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.gratuitous.poll_timeout().into_iter().chain(self.segments.poll_timeout()).min()
    }

    /// Joins and leaves groups, before the first word about a new address.
    pub(crate) fn change_groups(&mut self, outputs: &mut Outputs) {
        while let Some(change) = self.groups.poll() {
            outputs.push(change);
        }
    }

    /// Sends the announcements that are due. Gives the conflicts that have shown.
    pub(crate) fn send_gratuitous(&mut self, now: Time, outputs: &mut Outputs) -> Vec<AddressConflict> {
        let mut conflicts = Vec::new();
        if self.segments.forget_old(now) {
            self.retarget_all(now);
        }
        while let Some(outgoing) = self.gratuitous.poll(now, &self.requesters) {
            let (interface, address, mac) = (outgoing.interface, outgoing.address, outgoing.mac);
            if let Some(counters) = outputs.counters.address(address) {
                counters.gratuitous_sent += 1;
            }
            outputs.push(Effect::SendFrame { interface, bytes: outgoing.bytes });
            if let Some(mac) = outgoing.against {
                outputs.counters.conflicts += 1;
                outputs.notice(Notice::Conflict { address, interface, mac });
                let name = self.interfaces.get(&interface).map(|interface| interface.name.clone());
                conflicts.push(AddressConflict { address, interface: name.unwrap_or_default(), mac });
            }
            if let Some(wave) = outgoing.begins {
                outputs.notice(Notice::Gratuitous { address, wave, interface, mac });
            }
        }
        outputs.counters.pacing_delays = self.gratuitous.delays();
        conflicts
    }

    /// Two interfaces on one segment hear each other, and a looped cable brings
    /// back what was sent: neither is somebody else (RFC 7527).
    fn refuse_own(&self, received: &ReceivedFrame) -> Result<(), DropReason> {
        let (source, sender) = received.senders();
        let is_own = self.own_macs.contains(&source) || self.own_macs.contains(&sender);
        if is_own { Err(DropReason::OwnFrame) } else { Ok(()) }
    }

    /// One of our interfaces hears what another has sent.
    fn hear_own(&mut self, now: Time, listener: InterfaceId, source: MacAddr) {
        let heard = self.segments.hear(now, listener, source);
        if heard == Heard::Pair {
            self.retarget_all(now);
        }
        if heard != Heard::Nothing {
            // So that the other one hears it as well; and so that neighbours have the one
            // that is left, which may have announced long ago.
            let addresses = self.announcements.addresses().collect();
            self.reannounce(now, &addresses);
        }
    }

    /// Whether an announced address is answered on another interface of the same segment.
    fn is_silent(&self, now: Time, interface: InterfaceId, address: IpAddr) -> bool {
        self.segments.has_heard(interface) && !self.targets(now, address).contains(&interface)
    }

    /// Every reply comes through here, before it is written.
    fn pass_gate(
        &mut self,
        now: Time,
        address: IpAddr,
        request: Request,
        counters: &mut Counters,
    ) -> Result<(), DropReason> {
        if let Some(counters) = counters.address(address) {
            counters.requests_received += 1;
        }
        self.gate.may_answer(now, address, request)?;
        counters.mismatched_senders += u64::from(request == Request::Mismatched);
        if let Some(counters) = counters.address(address) {
            counters.responses_sent += 1;
        }
        Ok(())
    }

    fn remember_requester(&mut self, now: Time, heard: &HeardFrame) {
        let Some((ip, mac)) = heard.received.claim() else { return };
        let target = heard.received.target();
        if heard.received.asks() && self.wanted.contains_key(&target) && !self.wanted.contains_key(&ip) {
            self.requesters.heard(now, target, Requester { ip, mac, interface: heard.interface });
        }
    }

    /// The interfaces on which frames reach anybody.
    fn usable(&self) -> impl Iterator<Item = Usable> {
        self.interfaces.values().filter_map(|interface| {
            let [ipv4, ipv6] = [IpFamily::V4, IpFamily::V6].map(|family| interface.is_usable(family));
            let (id, addresses) = (interface.id, interface.addresses.clone());
            interface.mac.filter(|_| ipv4 || ipv6).map(|mac| Usable { id, mac, ipv4, ipv6, addresses })
        })
    }

    /// Announces `address` wherever it is to be announced now, and nowhere else.
    fn retarget(&mut self, now: Time, address: IpAddr) {
        let targets = self.targets(now, address);
        if let IpAddr::V6(address) = address {
            self.groups.set_announced(address, self.announcements.interfaces(address.into()));
        }
        self.gratuitous.set_targets(now, address, &targets, &self.requesters);
    }

    fn retarget_all(&mut self, now: Time) {
        let addresses: Vec<IpAddr> = self.announcements.addresses().collect();
        for address in addresses {
            self.retarget(now, address);
        }
    }

    /// The interfaces to announce `address` on now. Of those on one segment it is the one
    /// with the address in its subnet, or else the oldest.
    fn targets(&self, now: Time, address: IpAddr) -> BTreeSet<InterfaceId> {
        let mut targets = BTreeSet::new();
        // A pool may hold what is no station's address; such a source is illegal (RFC 4291
        // 2.7).
        let is_illegal = address.is_ipv6() && (address.is_multicast() || address.is_unspecified());
        let Some(on) = self.announcements.interfaces(address).filter(|_| !is_illegal) else { return targets };
        let family = IpFamily::of(address);
        let usable = self.interfaces.values().filter(|one| one.is_usable(family) && on.contains(&one.name));
        let mut usable: Vec<&Interface> = usable.collect();
        usable.sort_by_key(|one| (!one.is_on_subnet_of(address), one.id));
        for one in usable {
            if !targets.iter().any(|other| self.segments.is_one_segment(now, *other, one.id)) {
                targets.insert(one.id);
            }
        }
        targets
    }
}
