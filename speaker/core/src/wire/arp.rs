//! ARP for IPv4 over Ethernet (RFC 826): frames read, judged and written.

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol};

use crate::interface::MacAddr;
use crate::wire::announcements::Lookup;
use crate::wire::drop_reason::DropReason;
use crate::wire::frame::{ETHERNET_HEADER, MAX_FRAME, VLAN_TAGS};

/// Ethernet's minimum without checksum, in bytes: what is shorter is padded.
const MIN_FRAME: usize = 60;

/// An ARP packet with the Ethernet addresses it came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
    pub(crate) operation: Operation,
    pub(crate) sender_mac: MacAddr,
    pub(crate) sender_ip: Ipv4Addr,
    pub(crate) target_mac: MacAddr,
    pub(crate) target_ip: Ipv4Addr,
}

/// What an ARP packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Request,
    Reply,
}

/// Reads a frame. Whatever the bytes, it gives a packet or a reason.
pub(crate) fn parse(bytes: &[u8]) -> Result<Packet, DropReason> {
    if bytes.len() > MAX_FRAME {
        return Err(DropReason::TooLong);
    }
    let frame = EthernetFrame::new_checked(bytes).map_err(|_| DropReason::TooShort)?;
    match frame.ethertype() {
        EthernetProtocol::Arp => {}
        EthernetProtocol::Unknown(tag) if VLAN_TAGS.contains(&tag) => return Err(DropReason::Tagged),
        _ => return Err(DropReason::NotArp),
    }
    let packet = ArpPacket::new_checked(frame.payload()).map_err(|_| DropReason::TooShort)?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    } = ArpRepr::parse(&packet).map_err(|_| DropReason::Malformed)?
    else {
        return Err(DropReason::Malformed);
    };
    Ok(Packet {
        destination: MacAddr(frame.dst_addr().0),
        source: MacAddr(frame.src_addr().0),
        operation: match operation {
            ArpOperation::Request => Operation::Request,
            ArpOperation::Reply => Operation::Reply,
            ArpOperation::Unknown(_) => return Err(DropReason::UnknownOperation),
        },
        sender_mac: MacAddr(source_hardware_addr.0),
        sender_ip: source_protocol_addr,
        target_mac: MacAddr(target_hardware_addr.0),
        target_ip: target_protocol_addr,
    })
}

impl Packet {
    /// Writes the frame, padded with zeros to Ethernet's minimum (D54).
    pub(crate) fn to_frame(self) -> Vec<u8> {
        let mut bytes = vec![0; MIN_FRAME];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        frame.set_dst_addr(EthernetAddress(self.destination.0));
        frame.set_src_addr(EthernetAddress(self.source.0));
        frame.set_ethertype(EthernetProtocol::Arp);
        let repr = ArpRepr::EthernetIpv4 {
            operation: match self.operation {
                Operation::Request => ArpOperation::Request,
                Operation::Reply => ArpOperation::Reply,
            },
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender_ip,
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: self.target_ip,
        };
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
        bytes
    }

    /// The answer of the station `own` to this request.
    pub(crate) const fn reply(&self, own: MacAddr) -> Self {
        Self {
            destination: self.sender_mac,
            source: own,
            operation: Operation::Reply,
            sender_mac: own,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Whether the packet says that `sender_ip` is at `sender_mac`: every
    /// packet does, but a probe (RFC 5227) and one from a group address.
    pub(crate) fn is_claim(&self) -> bool {
        !self.sender_ip.is_unspecified() && self.sender_mac.is_unicast()
    }
}

/// Judges a packet of another station that came in where `own` is our address
/// (D53 to D58). `lookup` says whether the address asked for is announced there; it
/// is asked only when everything else fits.
pub(crate) fn judge(
    packet: &Packet,
    own: MacAddr,
    lookup: impl FnOnce(Ipv4Addr) -> Lookup,
) -> Result<(), DropReason> {
    if packet.operation != Operation::Request {
        return Err(DropReason::NotARequest);
    }
    if packet.destination != own && packet.destination != MacAddr::BROADCAST {
        return Err(DropReason::ForeignDestination);
    }
    if !packet.sender_mac.is_unicast() {
        return Err(DropReason::SenderNotUnicast);
    }
    lookup(packet.target_ip).require()
}

#[cfg(test)]
mod tests;
