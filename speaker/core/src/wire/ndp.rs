//! Neighbour discovery (RFC 4861, 4862): frames read, judged and written.
//!
//! The source of all we send is the announced address itself, never a
//! link-local one: an interface needs none (W39), and hosts that file an
//! advertisement under its sender get it right as well (D65).

use std::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use crate::interface::MacAddr;
use crate::wire::announcements::Lookup;
use crate::wire::drop_reason::DropReason;
use crate::wire::frame::{ETHERNET_HEADER, MAX_FRAME, VLAN_TAGS};

/// All nodes of the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// What every message carries, and what proves that no router passed it on
/// (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
/// Options are counted in units of eight bytes (RFC 4861 4.6).
const OPTION_UNIT: usize = 8;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// A message with the addresses it came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Of the Ethernet frame.
    pub(crate) destination: MacAddr,
    /// Of the Ethernet frame.
    pub(crate) source: MacAddr,
    pub(crate) from: Ipv6Addr,
    pub(crate) to: Ipv6Addr,
    pub(crate) kind: Kind,
    /// The address that is asked for or advertised.
    pub(crate) target: Ipv6Addr,
    /// The option: of the sender in a solicitation, of the target in an
    /// advertisement.
    pub(crate) link_layer: Option<MacAddr>,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Solicitation,
    /// With its flags S and O; R is ignored and never set.
    Advertisement {
        solicited: bool,
        overrides: bool,
    },
}

/// Reads a frame. Whatever the bytes, it gives a message that passes the
/// validity checks of RFC 4861 7.1, or a reason.
pub(crate) fn parse(bytes: &[u8]) -> Result<Message, DropReason> {
    if bytes.len() > MAX_FRAME {
        return Err(DropReason::TooLong);
    }
    let frame = EthernetFrame::new_checked(bytes).map_err(|_| DropReason::TooShort)?;
    match frame.ethertype() {
        EthernetProtocol::Ipv6 => {}
        EthernetProtocol::Unknown(tag) if VLAN_TAGS.contains(&tag) => return Err(DropReason::Tagged),
        _ => return Err(DropReason::NotArp),
    }
    let ip = Ipv6Packet::new_checked(frame.payload()).map_err(|_| DropReason::TooShort)?;
    if ip.version() != 6 {
        return Err(DropReason::Malformed);
    }
    // No extension header is looked behind: fragments are forbidden here
    // (RFC 6980), and nobody sends others.
    if ip.next_header() != IpProtocol::Icmpv6 {
        return Err(DropReason::NotNdp);
    }
    let (option, is_advertisement) = match ip.payload().first().map(|kind| Icmpv6Message::from(*kind)) {
        Some(Icmpv6Message::NeighborSolicit) => (SOURCE_LINK_LAYER, false),
        Some(Icmpv6Message::NeighborAdvert) => (TARGET_LINK_LAYER, true),
        _ => return Err(DropReason::NotNdp),
    };
    let icmp = Icmpv6Packet::new_checked(ip.payload()).map_err(|_| DropReason::Malformed)?;
    if ip.hop_limit() != HOP_LIMIT {
        return Err(DropReason::HopLimit);
    }
    if !icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr()) {
        return Err(DropReason::BadChecksum);
    }
    let flags = icmp.neighbor_flags();
    let kind = if is_advertisement {
        Kind::Advertisement {
            solicited: flags.contains(NdiscNeighborFlags::SOLICITED),
            overrides: flags.contains(NdiscNeighborFlags::OVERRIDE),
        }
    } else {
        Kind::Solicitation
    };
    let message = Message {
        destination: MacAddr(frame.dst_addr().0),
        source: MacAddr(frame.src_addr().0),
        from: ip.src_addr(),
        to: ip.dst_addr(),
        kind,
        target: icmp.target_addr(),
        link_layer: link_layer(icmp.payload(), option)?,
    };
    if icmp.msg_code() != 0 || !message.is_valid() {
        return Err(DropReason::Malformed);
    }
    Ok(message)
}

/// Finds the option `wanted`, the first if there are several. Options that we do
/// not know, as the nonce of RFC 7527, are passed over.
fn link_layer(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, DropReason> {
    let mut found = None;
    while !options.is_empty() {
        let [kind, units, ..] = *options else { return Err(DropReason::Malformed) };
        // A length of zero would keep us here for ever (RFC 4861 4.6).
        let length = usize::from(units) * OPTION_UNIT;
        let (option, rest) = options
            .split_at_checked(length)
            .filter(|(option, _)| !option.is_empty())
            .ok_or(DropReason::Malformed)?;
        if kind == wanted {
            let mac: &[u8; 6] = option[2..].try_into().map_err(|_| DropReason::Malformed)?;
            found.get_or_insert(MacAddr(*mac));
        }
        options = rest;
    }
    Ok(found)
}

impl Message {
    /// NS, "who has `requester`? tell `address`", to one neighbour: it takes the
    /// sender in before it answers.
    pub(crate) fn directed(
        address: Ipv6Addr,
        mac: MacAddr,
        requester: Ipv6Addr,
        requester_mac: MacAddr,
    ) -> Self {
        Self {
            destination: requester_mac,
            source: mac,
            from: address,
            to: requester,
            kind: Kind::Solicitation,
            target: requester,
            link_layer: Some(mac),
        }
    }

    /// NA S=0 O=1 R=0, "`address` is at `mac`", to all (RFC 4861 7.2.6).
    pub(crate) fn unsolicited(address: Ipv6Addr, mac: MacAddr) -> Self {
        Self {
            destination: multicast_mac(ALL_NODES),
            source: mac,
            from: address,
            to: ALL_NODES,
            kind: Kind::Advertisement { solicited: false, overrides: true },
            target: address,
            link_layer: Some(mac),
        }
    }

    /// The answer of the station `own` to this solicitation (RFC 4861 7.2.4).
    pub(crate) fn reply(&self, own: MacAddr) -> Self {
        let to_all = Self::unsolicited(self.target, own);
        if self.is_duplicate_detection() {
            // Its sender has no address yet.
            return to_all;
        }
        Self {
            destination: self.sender_mac(),
            to: self.from,
            kind: Kind::Advertisement { solicited: true, overrides: true },
            ..to_all
        }
    }

    /// Writes the frame; with its option it is longer than Ethernet's minimum.
    pub(crate) fn to_frame(self) -> Vec<u8> {
        let link_layer = self.link_layer.map(|mac| EthernetAddress(mac.0).into());
        let icmp = Icmpv6Repr::Ndisc(match self.kind {
            Kind::Solicitation => NdiscRepr::NeighborSolicit { target_addr: self.target, lladdr: link_layer },
            Kind::Advertisement { solicited, overrides } => {
                let mut flags = NdiscNeighborFlags::empty();
                flags.set(NdiscNeighborFlags::SOLICITED, solicited);
                flags.set(NdiscNeighborFlags::OVERRIDE, overrides);
                NdiscRepr::NeighborAdvert { flags, target_addr: self.target, lladdr: link_layer }
            }
        });
        let ip = Ipv6Repr {
            src_addr: self.from,
            dst_addr: self.to,
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit: HOP_LIMIT,
        };
        let mut bytes = vec![0; ETHERNET_HEADER + ip.buffer_len() + icmp.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        frame.set_dst_addr(EthernetAddress(self.destination.0));
        frame.set_src_addr(EthernetAddress(self.source.0));
        frame.set_ethertype(EthernetProtocol::Ipv6);
        let mut packet = Ipv6Packet::new_unchecked(&mut bytes[ETHERNET_HEADER..]);
        ip.emit(&mut packet);
        let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
        icmp.emit(&self.from, &self.to, &mut body, &ChecksumCapabilities::default());
        bytes
    }

    /// Whether it comes from a host that checks whether an address is free: it
    /// has no address yet to be answered at (RFC 4862 5.4).
    pub(crate) fn is_duplicate_detection(&self) -> bool {
        self.kind == Kind::Solicitation && self.from.is_unspecified()
    }

    /// Where its sender is, as far as it says.
    pub(crate) fn sender_mac(&self) -> MacAddr {
        self.link_layer.unwrap_or(self.source)
    }

    /// What a neighbour learns from it: that this address is there. A
    /// solicitation without the option teaches nothing, and a host that checks
    /// whether an address is free does not have it.
    pub(crate) fn claim(&self) -> Option<(Ipv6Addr, MacAddr)> {
        let claim = match self.kind {
            Kind::Advertisement { .. } => (self.target, self.sender_mac()),
            Kind::Solicitation => (self.from, self.link_layer?),
        };
        claim.1.is_unicast().then_some(claim)
    }

    /// RFC 4861 7.1.1 and 7.1.2, as far as addresses and flags go.
    fn is_valid(&self) -> bool {
        if self.target.is_multicast() {
            return false;
        }
        match self.kind {
            Kind::Advertisement { solicited, .. } => !(solicited && self.to.is_multicast()),
            Kind::Solicitation if self.from.is_unspecified() => {
                self.link_layer.is_none() && self.to == solicited_node(self.target)
            }
            Kind::Solicitation => true,
        }
    }
}

/// Judges a message of another station that came in where `own` is our address (D62
/// as W39 wants it). `lookup` says whether the address asked for is announced there;
/// it is asked only when everything else fits.
pub(crate) fn judge(
    message: &Message,
    own: MacAddr,
    lookup: impl FnOnce(Ipv6Addr) -> Lookup,
) -> Result<(), DropReason> {
    if message.kind != Kind::Solicitation {
        return Err(DropReason::NotARequest);
    }
    // To the group of the target, or to the target itself by a neighbour that
    // checks whether it is still there (RFC 4861 7.3.3).
    let group = solicited_node(message.target);
    let is_for_us = message.to == message.target || message.to == group;
    if !is_for_us || !(message.destination == own || message.destination == multicast_mac(group)) {
        return Err(DropReason::ForeignDestination);
    }
    if !message.sender_mac().is_unicast() || message.from.is_multicast() || message.from.is_loopback() {
        return Err(DropReason::SenderNotUnicast);
    }
    lookup(message.target).require()
}

/// The group that is asked about `address` (RFC 4291 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// Where a packet to `group` goes on Ethernet (RFC 2464 7).
fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests;
