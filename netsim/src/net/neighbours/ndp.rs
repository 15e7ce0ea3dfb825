//! What neighbour discovery does to the table: reliability.md 1.3, in the order of the kernel's `ndisc_recv_ns` and
//! `ndisc_recv_na`.

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, Icmpv6Repr, Ipv6Packet, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::nud::Override;
use super::{NeighbourState, NeighbourTable};
use crate::net::frame::{self, ALL_NODES, ETHERNET_HEADER, NDP_HOP_LIMIT};

impl NeighbourTable {
    /// Takes an IPv6 packet that carries ICMPv6 type 135 or 136.
    pub fn handle_ndp(&mut self, now: Instant, packet: &[u8]) {
        let Some((from, to, message)) = parse(packet) else {
            self.counters.malformed += 1;
            return;
        };
        match message {
            Message::Solicit { target, mac } => self.handle_solicit(now, from, to, target, mac),
            Message::Advert { target, mac, flags } => self.handle_advert(now, to, target, mac, flags),
        }
    }

    fn handle_solicit(
        &mut self,
        now: Instant,
        from: Ipv6Addr,
        to: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<EthernetAddress>,
    ) {
        if !self.is_own(target.into()) {
            return;
        }
        if from.is_unspecified() {
            // Duplicate address detection (RFC 4862 5.4.3): everybody is told that the address is taken.
            if to.is_multicast() && mac.is_none() {
                let flags = NdiscNeighborFlags::OVERRIDE;
                let bytes = self.advert(frame::multicast_mac(ALL_NODES.into()), ALL_NODES, target, flags);
                self.counters.answered += 1;
                self.frames.push_back(bytes);
            }
            return;
        }
        let sender = IpAddr::V6(from);
        if self.is_own(sender) || self.silent.contains(&sender) {
            return;
        }
        if mac.is_some() {
            if !self.entries.contains_key(&sender) {
                self.create(now, sender);
            }
            self.update(now, sender, mac, NeighbourState::Stale, Override::Yes);
        } else if to.is_multicast() && !self.entries.contains_key(&sender) {
            return;
        }
        // The answer goes through the table like any packet, so that asking without a source option makes us ask back.
        let mut flags = NdiscNeighborFlags::SOLICITED;
        if to.is_multicast() {
            flags |= NdiscNeighborFlags::OVERRIDE;
        }
        let bytes = self.advert(EthernetAddress([0; 6]), from, target, flags);
        self.counters.answered += 1;
        self.output(now, sender, bytes);
    }

    fn handle_advert(
        &mut self,
        now: Instant,
        to: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<EthernetAddress>,
        flags: NdiscNeighborFlags,
    ) {
        let solicited = flags.contains(NdiscNeighborFlags::SOLICITED);
        let dropped = self.rules.sysctls && self.sysctls.drop_unsolicited_na && !solicited;
        if (to.is_multicast() && solicited) || dropped {
            self.counters.refused += 1;
            return;
        }
        let address = IpAddr::V6(target);
        if self.get(address).is_none_or(|known| known.state == NeighbourState::Failed) {
            self.counters.refused += 1;
            return;
        }
        let state = if solicited { NeighbourState::Reachable } else { NeighbourState::Stale };
        let may = if flags.contains(NdiscNeighborFlags::OVERRIDE) { Override::Yes } else { Override::Weak };
        self.update(now, address, mac, state, may);
    }

    fn advert(
        &self,
        destination: EthernetAddress,
        to: Ipv6Addr,
        target: Ipv6Addr,
        flags: NdiscNeighborFlags,
    ) -> Vec<u8> {
        let message = NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr: Some(self.mac.into()) };
        frame::ndp(self.mac, destination, target, to, message)
    }

    /// Asks who has `target`: one neighbour, or all that might have it.
    pub(super) fn ask_ndp(&mut self, target: Ipv6Addr, source: Ipv6Addr, unicast: Option<EthernetAddress>) {
        let message = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: Some(self.mac.into()) };
        let (destination, to) = match unicast {
            Some(mac) => (mac, target),
            None => {
                let group = frame::solicited_node(target);
                (frame::multicast_mac(group.into()), group)
            }
        };
        self.frames.push_back(frame::ndp(self.mac, destination, source, to, message));
    }
}

enum Message {
    Solicit { target: Ipv6Addr, mac: Option<EthernetAddress> },
    Advert { target: Ipv6Addr, mac: Option<EthernetAddress>, flags: NdiscNeighborFlags },
}

/// Whether an IPv6 packet is for [`NeighbourTable::handle_ndp`] rather than for the sockets.
pub(in crate::net) fn is_ndp(packet: &[u8]) -> bool {
    /// Offset of the next header field, its value for ICMPv6, and the length of an IPv6 header.
    const NEXT_HEADER: usize = 6;
    const ICMPV6: u8 = 58;
    const IPV6_HEADER: usize = 40;
    packet.get(NEXT_HEADER) == Some(&ICMPV6) && matches!(packet.get(IPV6_HEADER), Some(135 | 136))
}

/// The validity checks of RFC 4861 7.1.
fn parse(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr, Message)> {
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let (from, to) = (ip.src_addr(), ip.dst_addr());
    let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    if ip.hop_limit() != NDP_HOP_LIMIT || icmp.msg_code() != 0 {
        return None;
    }
    let Icmpv6Repr::Ndisc(ndisc) =
        Icmpv6Repr::parse(&from, &to, &icmp, &ChecksumCapabilities::default()).ok()?
    else {
        return None;
    };
    let message = match ndisc {
        NdiscRepr::NeighborSolicit { target_addr, lladdr } => {
            Message::Solicit { target: target_addr, mac: hardware(lladdr)? }
        }
        NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } => {
            Message::Advert { target: target_addr, mac: hardware(lladdr)?, flags }
        }
        _ => return None,
    };
    let (Message::Solicit { target, .. } | Message::Advert { target, .. }) = message;
    (!target.is_multicast()).then_some((from, to, message))
}

/// The link-layer option, which may be missing but not wrong.
fn hardware(option: Option<RawHardwareAddress>) -> Option<Option<EthernetAddress>> {
    let Some(raw) = option else { return Some(None) };
    let mac = EthernetAddress(raw.as_bytes().get(..6)?.try_into().ok()?);
    mac.is_unicast().then_some(Some(mac))
}

/// Room in front of the packet is what [`NeighbourTable::output`] expects of a frame made by [`frame::ndp`].
const _: () = assert!(ETHERNET_HEADER == 14);
