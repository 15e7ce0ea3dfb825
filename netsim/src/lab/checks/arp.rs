//! ARP frames as checkers and timeline see them: parsed once more, apart from
//! the code under test.

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol};

/// What an ARP frame of a speaker is (docs/rules.md, "Frames").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A question for somebody's address.
    Question,
    /// A unicast answer to one.
    Answer,
    /// Broadcast request with sender and target the same (RFC 5227 1.1).
    GratuitousRequest,
    /// Unicast request to somebody who asked not long ago; it must note the
    /// sender before it answers (RFC 826).
    DirectedRequest,
    /// Broadcast reply with sender and target the same.
    GratuitousReply,
    /// A request with sender 0.0.0.0 (RFC 5227 1.1).
    Probe,
}

/// An ARP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Ethernet source.
    pub source: EthernetAddress,
    /// Ethernet destination.
    pub destination: EthernetAddress,
    /// Whether it is a reply; else it is a request.
    pub is_reply: bool,
    /// Sender's hardware address.
    pub sender_mac: EthernetAddress,
    /// Sender's protocol address.
    pub sender: Ipv4Addr,
    /// Target's protocol address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads a frame; `None` if it is not ARP for IPv4 over Ethernet.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Arp {
            return None;
        }
        let packet = ArpPacket::new_checked(frame.payload()).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        let is_reply = match operation {
            ArpOperation::Request => false,
            ArpOperation::Reply => true,
            ArpOperation::Unknown(_) => return None,
        };
        Some(Self {
            source: frame.src_addr(),
            destination: frame.dst_addr(),
            is_reply,
            sender_mac: source_hardware_addr,
            sender: source_protocol_addr,
            target: target_protocol_addr,
        })
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        let is_gratuitous = self.sender == self.target;
        match (self.is_reply, is_gratuitous, self.destination.is_unicast()) {
            (false, ..) if self.sender.is_unspecified() => Role::Probe,
            (false, true, _) => Role::GratuitousRequest,
            (false, false, true) => Role::DirectedRequest,
            (false, false, false) => Role::Question,
            (true, true, _) => Role::GratuitousReply,
            (true, false, _) => Role::Answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::{self, Arp as Fields};

    #[test]
    fn roles() {
        let (me, you) = (EthernetAddress([2, 0, 0, 0, 0, 1]), EthernetAddress([2, 0, 0, 0, 0, 2]));
        let (vip, peer) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        let all = EthernetAddress::BROADCAST;
        for (to, operation, sender, target, expected) in [
            (all, ArpOperation::Request, vip, vip, Role::GratuitousRequest),
            (all, ArpOperation::Reply, vip, vip, Role::GratuitousReply),
            (you, ArpOperation::Request, vip, peer, Role::DirectedRequest),
            (you, ArpOperation::Reply, vip, peer, Role::Answer),
            (all, ArpOperation::Request, vip, peer, Role::Question),
            (all, ArpOperation::Request, Ipv4Addr::UNSPECIFIED, vip, Role::Probe),
        ] {
            let fields = Fields { operation, sha: me, spa: sender, tha: you, tpa: target };
            let parsed = Arp::parse(&frame::arp(me, to, fields)).expect("a whole ARP frame");
            assert_eq!(parsed.role(), expected);
        }
        assert_eq!(Arp::parse(&[0; 41]), None);
    }
}
