//! What ARP frames do to the table: reliability.md 1.2, in the order of the kernel's `arp_process`.

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::time::Instant;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use super::model::ArpAccept;
use super::nud::Override;
use super::{NeighbourState, NeighbourTable};
use crate::net::frame::{self, Arp};

const NOBODY: EthernetAddress = EthernetAddress([0; 6]);

impl NeighbourTable {
    /// Takes an ARP packet that came in a frame sent to `destination`.
    pub fn handle_arp(&mut self, now: Instant, destination: EthernetAddress, packet: &[u8]) {
        let Some(arp) = parse(packet) else {
            self.counters.malformed += 1;
            return;
        };
        let request = arp.operation == ArpOperation::Request;
        if request && self.policer.as_mut().is_some_and(|policer| !policer.admits(now)) {
            self.counters.policed += 1;
            return;
        }
        let (sender, target) = (IpAddr::V4(arp.spa), IpAddr::V4(arp.tpa));
        if arp.tpa.is_multicast() || arp.tpa.is_loopback() {
            return;
        }
        if sender == target && self.rules.sysctls && self.sysctls.drop_gratuitous_arp {
            self.counters.refused += 1;
            return;
        }
        if arp.spa.is_unspecified() {
            // Somebody checks whether the address is free (RFC 5227). Nothing is learned from it.
            if request && self.is_own(target) {
                self.answer_arp(arp);
            }
            return;
        }
        if self.is_own(sender) || self.silent.contains(&sender) {
            return;
        }
        if request && self.is_own(target) {
            self.learn_from_question(now, sender, arp.sha);
            self.answer_arp(arp);
            return;
        }
        if request && self.silent.contains(&target) {
            return;
        }
        self.learn_from_talk(now, destination, arp);
    }

    /// A question for us: its sender is about to talk to us, so it is believed at once.
    pub(super) fn learn_from_question(&mut self, now: Instant, sender: IpAddr, mac: EthernetAddress) {
        if !self.entries.contains_key(&sender) {
            self.create(now, sender);
        }
        self.update(now, sender, Some(mac), NeighbourState::Stale, Override::Yes);
    }

    /// Replies, and requests among others that we happen to hear.
    fn learn_from_talk(&mut self, now: Instant, destination: EthernetAddress, arp: Arp) {
        let sender = IpAddr::V4(arp.spa);
        let request = arp.operation == ArpOperation::Request;
        let to_self = arp.spa == arp.tpa;
        let gratuitous = to_self && (request || arp.tha == arp.sha) && !arp.spa.is_broadcast();
        if to_self && !request && !self.rules.gratuitous_replies {
            self.counters.refused += 1;
            return;
        }
        if !self.entries.contains_key(&sender) {
            let wanted = (self.accepts_unasked(sender) && (gratuitous || !request))
                || (self.rules.announcements_create && gratuitous && request);
            if !wanted {
                self.counters.refused += 1;
                return;
            }
            self.create(now, sender);
        }
        let unlocked = self.get(sender).is_some_and(|known| now > known.updated + self.rules.lock);
        let may = if unlocked || (gratuitous && self.rules.gratuitous_beats_lock) {
            Override::Yes
        } else {
            Override::No
        };
        let proof = !request && destination == self.mac;
        let state = if proof { NeighbourState::Reachable } else { NeighbourState::Stale };
        self.update(now, sender, Some(arp.sha), state, may);
    }

    fn accepts_unasked(&self, sender: IpAddr) -> bool {
        self.rules.sysctls
            && match self.sysctls.arp_accept {
                ArpAccept::Never => false,
                ArpAccept::Always => true,
                ArpAccept::SameSubnet => self.is_on_link(sender),
            }
    }

    fn answer_arp(&mut self, question: Arp) {
        self.counters.answered += 1;
        let answer = Arp {
            operation: ArpOperation::Reply,
            sha: self.mac,
            spa: question.tpa,
            tha: question.sha,
            tpa: question.spa,
        };
        self.frames.push_back(frame::arp(self.mac, question.sha, answer));
    }

    /// Asks who has `target`: one neighbour, or all.
    pub(super) fn ask_arp(&mut self, target: Ipv4Addr, source: Ipv4Addr, unicast: Option<EthernetAddress>) {
        let question =
            Arp { operation: ArpOperation::Request, sha: self.mac, spa: source, tha: NOBODY, tpa: target };
        let destination = unicast.unwrap_or(EthernetAddress::BROADCAST);
        self.frames.push_back(frame::arp(self.mac, destination, question));
    }
}

/// An ARP packet for IPv4 on Ethernet whose sender can exist.
fn parse(packet: &[u8]) -> Option<Arp> {
    let packet = ArpPacket::new_checked(packet).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    let known = matches!(operation, ArpOperation::Request | ArpOperation::Reply);
    (known && source_hardware_addr.is_unicast()).then_some(Arp {
        operation,
        sha: source_hardware_addr,
        spa: source_protocol_addr,
        tha: target_hardware_addr,
        tpa: target_protocol_addr,
    })
}
