//! Neighbour discovery as checkers and probes see it: parsed once more, apart
//! from the code under test (RFC 4861 4.3, 4.4).

use std::net::Ipv6Addr;

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet,
    NdiscNeighborFlags, NdiscRepr,
};

use crate::net::frame::NDP_HOP_LIMIT;

/// A neighbour solicitation or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ndp {
    /// Ethernet source.
    pub source: EthernetAddress,
    /// Ethernet destination.
    pub destination: EthernetAddress,
    /// IPv6 source; unspecified in a duplicate detection (RFC 4862 5.4.2).
    pub from: Ipv6Addr,
    /// IPv6 destination.
    pub to: Ipv6Addr,
    /// Whether it is an advertisement; else it is a solicitation.
    pub is_advertisement: bool,
    /// The S flag: an answer, not an announcement.
    pub is_solicited: bool,
    /// Whose hardware address it is about.
    pub target: Ipv6Addr,
    /// The link-layer address option.
    pub mac: Option<EthernetAddress>,
}

impl Ndp {
    /// Whether a frame is ICMPv6 of one of these two types at all.
    #[must_use]
    pub fn is(frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&[0x86, 0xdd])
            && frame.get(20) == Some(&58)
            && matches!(frame.get(54), Some(135 | 136))
    }

    /// Reads a frame; `None` if it is something else, or not valid.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv6 {
            return None;
        }
        let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
        if packet.next_header() != IpProtocol::Icmpv6 || packet.hop_limit() != NDP_HOP_LIMIT {
            return None;
        }
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
        let checksums = smoltcp::phy::ChecksumCapabilities::default();
        let Icmpv6Repr::Ndisc(message) = Icmpv6Repr::parse(&from, &to, &icmp, &checksums).ok()? else {
            return None;
        };
        let (is_advertisement, is_solicited, target, option) = match message {
            NdiscRepr::NeighborSolicit { target_addr, lladdr } => (false, false, target_addr, lladdr),
            NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } => {
                (true, flags.contains(NdiscNeighborFlags::SOLICITED), target_addr, lladdr)
            }
            _ => return None,
        };
        let mac = option.and_then(|option| option.as_bytes().first_chunk().copied()).map(EthernetAddress);
        let (source, destination) = (frame.src_addr(), frame.dst_addr());
        Some(Self { source, destination, from, to, is_advertisement, is_solicited, target, mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame;

    #[test]
    fn questions_and_answers() {
        let (me, you) = (EthernetAddress([2, 0, 0, 0, 0, 1]), EthernetAddress([2, 0, 0, 0, 0, 2]));
        let vip: Ipv6Addr = "fd00:16::65".parse().expect("an address");
        let other: Ipv6Addr = "fd00:16::32".parse().expect("an address");
        let question = NdiscRepr::NeighborSolicit { target_addr: vip, lladdr: Some(you.into()) };
        let group = frame::solicited_node(vip);
        let asked = frame::ndp(you, frame::multicast_mac(group.into()), other, group, question);
        let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
        let answer = NdiscRepr::NeighborAdvert { flags, target_addr: vip, lladdr: Some(me.into()) };
        let answered = frame::ndp(me, you, vip, other, answer);
        for (frame, is_advertisement, mac) in [(&asked, false, you), (&answered, true, me)] {
            assert!(Ndp::is(frame));
            let parsed = Ndp::parse(frame).expect("a whole message");
            assert_eq!((parsed.is_advertisement, parsed.is_solicited), (is_advertisement, is_advertisement));
            assert_eq!((parsed.target, parsed.mac, parsed.source), (vip, Some(mac), mac));
        }
        let mut from_afar = answered;
        from_afar[21] = 254;
        assert!(Ndp::is(&from_afar));
        assert_eq!(Ndp::parse(&from_afar), None, "hop limit");
        assert_eq!(Ndp::parse(&[0; 60]), None);
    }
}
