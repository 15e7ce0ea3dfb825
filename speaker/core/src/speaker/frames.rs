//! Frames in and frames out: interfaces, answers, conflicts, announcements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::{IpFamily, Time};

use super::Speaker;
use crate::effect::{Effect, Notice};
use crate::interface::{Interface, InterfaceId, MacAddr};
use crate::wire::announcements::Lookup;
use crate::wire::askers::Asker;
use crate::wire::gate::Request;
use crate::wire::responder::{self, DropReason, Verdict};
use crate::wire::{arp, ndp};

/// A frame that was read, whichever its protocol.
struct Heard {
    /// The address asked for.
    target: IpAddr,
    /// Which address the sender says is where.
    claim: Option<(IpAddr, MacAddr)>,
    /// Whether the claim comes with a question, and for another address.
    asks: bool,
    request: Request,
    /// Before the gate.
    verdict: Verdict,
}

impl Speaker {
    pub(super) fn handle_frame(&mut self, now: Time, interface: InterfaceId, bytes: &[u8]) {
        match self.judge_frame(now, interface, bytes) {
            Ok(bytes) => self.effects.push_back(Effect::SendFrame { interface, bytes }),
            Err(reason) => self.counters.dropped(reason),
        }
    }

    fn judge_frame(&mut self, now: Time, id: InterfaceId, bytes: &[u8]) -> Result<Vec<u8>, DropReason> {
        let interface = self.interfaces.get(&id).ok_or(DropReason::UnknownInterface)?;
        let family = if responder::is_ipv6(bytes) { IpFamily::V6 } else { IpFamily::V4 };
        let usable = interface.mac.filter(|_| interface.can_announce(family));
        let own = usable.ok_or(DropReason::UnusableInterface)?;
        let lookup = |address| self.announcements.lookup(address, &interface.name);
        let heard = match family {
            IpFamily::V4 => self.hear_arp(own, bytes, lookup)?,
            IpFamily::V6 => self.hear_ndp(own, bytes, lookup)?,
        };
        if let Some((address, mac)) = heard.claim {
            if lookup(address) == Lookup::Announced {
                self.hear_claim(now, id, address, mac);
            }
            self.remember_asker(now, &heard, Asker { ip: address, mac, interface: id });
        }
        match heard.verdict {
            Verdict::Reply(reply) => self.pass_gate(now, heard.target, heard.request).map(|()| reply),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    fn hear_arp(
        &self,
        own: MacAddr,
        bytes: &[u8],
        lookup: impl Fn(IpAddr) -> Lookup,
    ) -> Result<Heard, DropReason> {
        let packet = arp::parse(bytes)?;
        self.refuse_own(packet.source, packet.sender_mac)?;
        let mismatched = packet.source != packet.sender_mac;
        Ok(Heard {
            target: packet.target_ip.into(),
            claim: packet.is_claim().then_some((packet.sender_ip.into(), packet.sender_mac)),
            asks: packet.operation == arp::Operation::Request && packet.sender_ip != packet.target_ip,
            request: if mismatched { Request::Mismatched } else { Request::Plain },
            verdict: arp::judge(&packet, own, |address| lookup(address.into())),
        })
    }

    fn hear_ndp(
        &self,
        own: MacAddr,
        bytes: &[u8],
        lookup: impl Fn(IpAddr) -> Lookup,
    ) -> Result<Heard, DropReason> {
        let message = ndp::parse(bytes)?;
        self.refuse_own(message.source, message.sender_mac())?;
        let request = if message.is_duplicate_detection() {
            Request::ToAll
        } else if message.source != message.sender_mac() {
            Request::Mismatched
        } else {
            Request::Plain
        };
        Ok(Heard {
            target: message.target.into(),
            claim: message.claim().map(|(address, mac)| (address.into(), mac)),
            asks: message.kind == ndp::Kind::Solicitation && message.from != message.target,
            request,
            verdict: ndp::judge(&message, own, |address| lookup(address.into())),
        })
    }

    /// Two interfaces on one segment hear each other, and a looped cable brings
    /// back what was sent: neither is somebody else (RFC 7527).
    fn refuse_own(&self, source: MacAddr, sender: MacAddr) -> Result<(), DropReason> {
        let is_own = self.own_macs.contains(&source) || self.own_macs.contains(&sender);
        if is_own { Err(DropReason::OwnFrame) } else { Ok(()) }
    }

    /// Every reply comes through here.
    fn pass_gate(&mut self, now: Time, address: IpAddr, request: Request) -> Result<(), DropReason> {
        if let Some(counters) = self.counters.address(address) {
            counters.requests_received += 1;
        }
        self.gate.may_answer(now, address, request)?;
        self.counters.mismatched_senders += u64::from(request == Request::Mismatched);
        if let Some(counters) = self.counters.address(address) {
            counters.responses_sent += 1;
        }
        Ok(())
    }

    /// Another station says that it has an address of ours (X17). Whether it is
    /// more than a move that we have not heard of yet shows when we defend it.
    fn hear_claim(&mut self, now: Time, interface: InterfaceId, address: IpAddr, mac: MacAddr) {
        if let Some(handover) = &mut self.handover {
            self.gate.close(address);
            handover.claimed(address);
            return;
        }
        self.gratuitous.defend(now, address, interface, mac);
    }

    fn remember_asker(&mut self, now: Time, heard: &Heard, asker: Asker) {
        if heard.asks && self.wanted.contains_key(&heard.target) && !self.wanted.contains_key(&asker.ip) {
            self.askers.heard(now, heard.target, asker);
        }
    }

    pub(super) fn set_interfaces(&mut self, now: Time, interfaces: Vec<Interface>) {
        let before: Vec<Usable> = self.usable_interfaces().collect();
        self.interfaces = interfaces.into_iter().map(|interface| (interface.id, interface)).collect();
        self.own_macs = self.interfaces.values().filter_map(|interface| interface.mac).collect();
        self.interfaces_told = true;
        // Without regard to the carrier, which may come and go: what is joined
        // then stays joined.
        let ipv6 = self.interfaces.values().filter(|interface| interface.can_announce_ipv6());
        self.groups.set_interfaces(ipv6.map(|interface| (interface.id, interface.name.clone())).collect());
        // D44: a name that was missing may be there now.
        self.work.election = true;
        self.reach_is_stale = true;
        let after: Vec<Usable> = self.usable_interfaces().collect();
        if before == after {
            return;
        }
        let usable: BTreeMap<InterfaceId, MacAddr> = after.into_iter().map(|one| (one.id, one.mac)).collect();
        self.gratuitous.set_interfaces(&usable);
        let addresses: Vec<IpAddr> = self.announcements.addresses().collect();
        for address in addresses {
            self.retarget(now, address);
        }
    }

    /// The interfaces on which frames reach anybody.
    pub(super) fn usable_interfaces(&self) -> impl Iterator<Item = Usable> {
        let usable = self.interfaces.values().filter(|i| i.can_announce_ipv6() && i.has_carrier);
        usable.filter_map(|i| {
            let ipv4 = i.can_announce_ipv4();
            i.mac.map(|mac| Usable { id: i.id, name: i.name.clone(), mac, ipv4 })
        })
    }

    /// Announces `address` wherever it is to be announced now, and nowhere else.
    pub(super) fn retarget(&mut self, now: Time, address: IpAddr) {
        let on = self.announcements.interfaces(address);
        let targets: BTreeSet<InterfaceId> = self
            .usable_interfaces()
            .filter(|usable| on.is_some_and(|on| on.contains(&usable.name)))
            .filter(|usable| match address {
                IpAddr::V4(_) => usable.ipv4,
                // A pool may hold what is no station's address; such a source is
                // illegal (RFC 4291 2.7).
                IpAddr::V6(address) => !address.is_multicast() && !address.is_unspecified(),
            })
            .map(|usable| usable.id)
            .collect();
        if let IpAddr::V6(address) = address {
            self.groups.set_announced(address, on);
        }
        self.gratuitous.set_targets(now, address, &targets, &self.askers);
    }

    /// Joins and leaves, before the first word about a new address.
    pub(super) fn change_groups(&mut self) {
        while let Some(change) = self.groups.poll() {
            self.effects.push_back(change);
        }
    }

    pub(super) fn send_gratuitous(&mut self, now: Time) {
        while let Some(outgoing) = self.gratuitous.poll(now, &self.askers) {
            let (interface, address, mac) = (outgoing.interface, outgoing.address, outgoing.mac);
            if let Some(counters) = self.counters.address(address) {
                counters.gratuitous_sent += 1;
            }
            self.effects.push_back(Effect::SendFrame { interface, bytes: outgoing.bytes });
            if let Some(mac) = outgoing.against {
                self.counters.conflicts += 1;
                self.notice(Notice::Conflict { address, interface, mac });
            }
            if let Some(wave) = outgoing.begins {
                self.notice(Notice::Gratuitous { address, wave, interface, mac });
            }
        }
        self.counters.pacing_delays = self.gratuitous.delays();
    }
}

/// An interface on which frames reach anybody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usable {
    id: InterfaceId,
    name: String,
    mac: MacAddr,
    /// Whether it can broadcast, which ARP needs (D45).
    ipv4: bool,
}
