//! Complete Ethernet frames for ARP and neighbour discovery, as stations and tests send them.

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscRepr,
};

/// Length of an Ethernet header without tags.
pub const ETHERNET_HEADER: usize = 14;

/// Neighbour discovery is only valid with this hop limit (RFC 4861, 7.1).
pub const NDP_HOP_LIMIT: u8 = 255;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The four addresses of an ARP packet, named as in RFC 826.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Sender's hardware address.
    pub sha: EthernetAddress,
    /// Sender's protocol address.
    pub spa: Ipv4Addr,
    /// Target's hardware address.
    pub tha: EthernetAddress,
    /// Target's protocol address.
    pub tpa: Ipv4Addr,
}

/// An ARP frame of 42 bytes from `source` to `destination`.
#[must_use]
pub fn arp(source: EthernetAddress, destination: EthernetAddress, arp: Arp) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: arp.operation,
        source_hardware_addr: arp.sha,
        source_protocol_addr: arp.spa,
        target_hardware_addr: arp.tha,
        target_protocol_addr: arp.tpa,
    };
    let mut bytes = ethernet(source, destination, EthernetProtocol::Arp, repr.buffer_len());
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
    bytes
}

/// A neighbour discovery frame: hop limit 255 and a right checksum.
#[must_use]
pub fn ndp(
    source: EthernetAddress,
    destination: EthernetAddress,
    from: Ipv6Addr,
    to: Ipv6Addr,
    message: NdiscRepr<'_>,
) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(message);
    let ip = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: NDP_HOP_LIMIT,
    };
    let mut bytes =
        ethernet(source, destination, EthernetProtocol::Ipv6, ip.buffer_len() + icmp.buffer_len());
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[ETHERNET_HEADER..]);
    ip.emit(&mut packet);
    let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
    icmp.emit(&from, &to, &mut body, &ChecksumCapabilities::default());
    bytes
}

/// Where a packet to this multicast group is sent on Ethernet (RFC 1112 6.4, RFC 2464 7).
#[must_use]
pub fn multicast_mac(group: std::net::IpAddr) -> EthernetAddress {
    match group {
        std::net::IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            EthernetAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        std::net::IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            EthernetAddress([0x33, 0x33, a, b, c, d])
        }
    }
}

/// The solicited-node group of an address (RFC 4291 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// A frame with its Ethernet header filled in and `payload` zero bytes behind it.
fn ethernet(
    source: EthernetAddress,
    destination: EthernetAddress,
    kind: EthernetProtocol,
    payload: usize,
) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER + payload];
    let header = EthernetRepr { src_addr: source, dst_addr: destination, ethertype: kind };
    header.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::NdiscNeighborFlags;

    const A: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    #[test]
    fn arp_frame_reads_back() {
        let sent = Arp {
            operation: ArpOperation::Request,
            sha: A,
            spa: Ipv4Addr::new(172, 16, 16, 101),
            tha: EthernetAddress([0; 6]),
            tpa: Ipv4Addr::new(172, 16, 16, 101),
        };
        let bytes = arp(A, EthernetAddress::BROADCAST, sent);
        assert_eq!(bytes.len(), 42);
        assert_eq!(&bytes[..14], &[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(&bytes[14..22], &[0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(&bytes[28..32], &[172, 16, 16, 101]);
    }

    #[test]
    fn ndp_frame_has_hop_limit_and_checksum() {
        let vip: Ipv6Addr = "fd09::100".parse().expect("an address");
        let advert = NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: vip,
            lladdr: Some(A.into()),
        };
        let bytes = ndp(A, multicast_mac(ALL_NODES.into()), vip, ALL_NODES, advert);
        assert_eq!(&bytes[..6], &[0x33, 0x33, 0, 0, 0, 1]);
        let ip = Ipv6Packet::new_checked(&bytes[ETHERNET_HEADER..]).expect("a whole packet");
        assert_eq!(ip.hop_limit(), NDP_HOP_LIMIT);
        let icmp = Icmpv6Packet::new_checked(ip.payload()).expect("a whole message");
        assert!(icmp.verify_checksum(&vip, &ALL_NODES));
    }

    #[test]
    fn solicited_node_group() {
        let group = solicited_node("fd09::12:3456".parse().expect("an address"));
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(multicast_mac(group.into()), EthernetAddress([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
    }
}
