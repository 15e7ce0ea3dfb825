//! Frames in and frames out: interfaces, answers, conflicts, announcements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use metallb_api::Time;

use super::Speaker;
use crate::announcements::Lookup;
use crate::askers::Asker;
use crate::effect::{Effect, Notice};
use crate::interface::{Interface, InterfaceId, MacAddr};
use crate::responder::arp::{self, Operation, Packet};
use crate::responder::{DropReason, Verdict};

impl Speaker {
    pub(super) fn handle_frame(&mut self, now: Time, interface: InterfaceId, bytes: &[u8]) {
        match self.judge_frame(now, interface, bytes) {
            Verdict::Reply(bytes) => self.effects.push_back(Effect::SendFrame { interface, bytes }),
            Verdict::Drop(reason) => self.counters.dropped(reason),
        }
    }

    fn judge_frame(&mut self, now: Time, id: InterfaceId, bytes: &[u8]) -> Verdict {
        let Some(interface) = self.interfaces.get(&id) else {
            return Verdict::Drop(DropReason::UnknownInterface);
        };
        let Some(own) = interface.mac.filter(|_| interface.can_announce_ipv4()) else {
            return Verdict::Drop(DropReason::UnusableInterface);
        };
        let packet = match arp::parse(bytes) {
            Ok(packet) => packet,
            Err(reason) => return Verdict::Drop(reason),
        };
        // Two interfaces on one segment hear each other.
        if self.own_macs.contains(&packet.source) || self.own_macs.contains(&packet.sender_mac) {
            return Verdict::Drop(DropReason::OwnFrame);
        }
        let claims_ours = packet.is_claim()
            && self.announcements.lookup(IpAddr::V4(packet.sender_ip), &interface.name) == Lookup::Announced;
        let announcements = &self.announcements;
        let lookup = |address| announcements.lookup(IpAddr::V4(address), &interface.name);
        let verdict = arp::judge(&packet, own, lookup);
        if claims_ours {
            self.hear_claim(now, id, &packet);
        }
        self.remember_asker(now, id, &packet);
        if matches!(verdict, Verdict::Reply(_)) { self.pass_gate(now, &packet, verdict) } else { verdict }
    }

    /// Every reply comes through here.
    fn pass_gate(&mut self, now: Time, packet: &Packet, reply: Verdict) -> Verdict {
        let address = packet.target_ip;
        if let Some(counters) = self.counters.address(address.into()) {
            counters.requests_received += 1;
        }
        let mismatched = packet.source != packet.sender_mac;
        if let Err(reason) = self.gate.may_answer(now, address, mismatched) {
            return Verdict::Drop(reason);
        }
        self.counters.mismatched_senders += u64::from(mismatched);
        if let Some(counters) = self.counters.address(address.into()) {
            counters.responses_sent += 1;
        }
        reply
    }

    /// Another station says that it has an address of ours (F17).
    fn hear_claim(&mut self, now: Time, interface: InterfaceId, packet: &Packet) {
        let address = IpAddr::V4(packet.sender_ip);
        if let Some(handover) = &mut self.handover {
            self.gate.close(address);
            handover.claimed(address);
            return;
        }
        self.counters.conflicts += 1;
        if self.gratuitous.defend(now, packet.sender_ip, interface) {
            self.notice(Notice::Conflict { address, interface, mac: packet.sender_mac });
        }
    }

    fn remember_asker(&mut self, now: Time, interface: InterfaceId, packet: &Packet) {
        let asks = packet.operation == Operation::Request && packet.sender_ip != packet.target_ip;
        if asks
            && packet.is_claim()
            && self.wanted.contains_key(&packet.target_ip)
            && !self.wanted.contains_key(&packet.sender_ip)
        {
            let asker = Asker { ip: packet.sender_ip, mac: packet.sender_mac, interface };
            self.askers.heard(now, packet.target_ip, asker);
        }
    }

    pub(super) fn set_interfaces(&mut self, now: Time, interfaces: Vec<Interface>) {
        let before: Vec<(InterfaceId, String, MacAddr)> = self.usable_interfaces().collect();
        self.interfaces = interfaces.into_iter().map(|interface| (interface.id, interface)).collect();
        self.own_macs = self.interfaces.values().filter_map(|interface| interface.mac).collect();
        self.interfaces_told = true;
        // D44: a name that was missing may be there now.
        self.work.election = true;
        let after: Vec<(InterfaceId, String, MacAddr)> = self.usable_interfaces().collect();
        if before == after {
            return;
        }
        let usable: BTreeMap<InterfaceId, MacAddr> =
            after.into_iter().map(|(id, _, mac)| (id, mac)).collect();
        self.gratuitous.set_interfaces(&usable);
        let addresses: Vec<IpAddr> = self.announcements.addresses().collect();
        for address in addresses {
            self.retarget(now, address);
        }
    }

    /// The interfaces on which frames reach anybody.
    pub(super) fn usable_interfaces(&self) -> impl Iterator<Item = (InterfaceId, String, MacAddr)> {
        let usable = self.interfaces.values().filter(|i| i.can_announce_ipv4() && i.has_carrier);
        usable.filter_map(|i| i.mac.map(|mac| (i.id, i.name.clone(), mac)))
    }

    /// Announces `address` wherever it is to be announced now, and nowhere else.
    pub(super) fn retarget(&mut self, now: Time, address: IpAddr) {
        let targets: BTreeSet<InterfaceId> = match self.announcements.interfaces(address) {
            Some(set) => self
                .usable_interfaces()
                .filter(|(_, name, _)| set.contains(name))
                .map(|(id, ..)| id)
                .collect(),
            None => BTreeSet::new(),
        };
        if let IpAddr::V4(address) = address {
            self.gratuitous.set_targets(now, address, &targets, &self.askers);
        }
    }

    pub(super) fn send_gratuitous(&mut self, now: Time) {
        while let Some(outgoing) = self.gratuitous.poll(now, &self.askers) {
            let (interface, address, mac) = (outgoing.interface, outgoing.address.into(), outgoing.mac);
            if let Some(counters) = self.counters.address(address) {
                counters.gratuitous_sent += 1;
            }
            self.effects.push_back(Effect::SendFrame { interface, bytes: outgoing.bytes });
            if let Some(wave) = outgoing.begins {
                self.notice(Notice::Gratuitous { address, wave, interface, mac });
            }
        }
        self.counters.pacing_delays = self.gratuitous.delays();
    }
}
