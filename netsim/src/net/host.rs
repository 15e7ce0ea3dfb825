//! A station with a neighbour table of ours: a client, a router, a node of the cluster.
//!
//! smoltcp does IP, UDP, TCP and ping over a medium of bare IP packets; who has which hardware address is decided by
//! [`NeighbourTable`] after the host's [`ClientModel`].

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv6Address};

use super::frame::{self, ETHERNET_HEADER};
use super::neighbours::{ClientModel, NeighbourTable, Sysctls, is_ndp, write_header};
use super::random::Stream;
use super::stack::Stack;
use super::station::Station;

/// What a host is made of.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Names its random stream, so it should be unique in a run.
    pub name: String,
    /// Hardware address.
    pub mac: EthernetAddress,
    /// Own addresses with their subnets, up to eight; the host answers ARP and NDP for them.
    pub addresses: Vec<IpCidr>,
    /// Where packets for other subnets go; one for each family at most. Without one they are dropped.
    pub gateways: Vec<IpAddr>,
    /// What its neighbour table believes.
    pub model: ClientModel,
    /// Kernel settings of a Linux model.
    pub sysctls: Sysctls,
    /// The run's seed.
    pub seed: u64,
}

impl HostSettings {
    /// A Linux host with one address, no gateway and default settings.
    #[must_use]
    pub fn new(name: &str, mac: EthernetAddress, address: IpCidr, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            mac,
            addresses: vec![address],
            gateways: Vec::new(),
            model: ClientModel::Linux,
            sysctls: Sysctls::default(),
            seed,
        }
    }
}

/// The host.
#[derive(Debug)]
pub struct Host {
    mac: EthernetAddress,
    addresses: Vec<IpCidr>,
    gateways: Vec<IpAddr>,
    loopback: BTreeSet<IpAddr>,
    stack: Stack,
    neighbours: NeighbourTable,
    /// Packets to itself.
    to_self: VecDeque<Vec<u8>>,
    /// Frames that need no neighbour: multicast and broadcast.
    frames: VecDeque<Vec<u8>>,
    unroutable: u64,
}

impl Host {
    /// A host that has just come up and knows nobody.
    #[must_use]
    pub fn new(settings: HostSettings) -> Self {
        let mut stream = Stream::new(settings.seed, &format!("host {}", settings.name));
        let neighbours_stream = Stream::new(settings.seed, &format!("neighbours of {}", settings.name));
        let mut stack = Stack::new(HardwareAddress::Ip, &mut stream);
        // Which addresses are ours is decided here, so that there may be more of them than smoltcp has room for.
        stack.interface_mut().set_any_ip(true);
        let routes = stack.interface_mut().routes_mut();
        let default_routes = "room for a route of each family";
        routes.add_default_ipv4_route(Ipv4Address::LOCALHOST).expect(default_routes);
        routes.add_default_ipv6_route(Ipv6Address::LOCALHOST).expect(default_routes);
        let mut host = Self {
            mac: settings.mac,
            addresses: Vec::new(),
            gateways: settings.gateways,
            loopback: BTreeSet::new(),
            stack,
            neighbours: NeighbourTable::new(
                settings.mac,
                settings.model,
                settings.sysctls,
                &neighbours_stream,
            ),
            to_self: VecDeque::new(),
            frames: VecDeque::new(),
            unroutable: 0,
        };
        host.set_addresses(&settings.addresses);
        host
    }

    /// Its hardware address.
    #[must_use]
    pub const fn mac(&self) -> EthernetAddress {
        self.mac
    }

    /// Its own addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpCidr] {
        &self.addresses
    }

    /// Replaces its own addresses.
    ///
    /// # Panics
    /// If there are more than eight.
    pub fn set_addresses(&mut self, addresses: &[IpCidr]) {
        self.addresses = addresses.to_vec();
        self.stack.set_addresses(addresses);
        self.neighbours.set_own(addresses);
    }

    /// Replaces the addresses it takes packets for, and sends from, without ever answering ARP or NDP for them: what
    /// kube-proxy makes of a Service address on a node with `arp_ignore=1`. Any number.
    pub fn set_loopback(&mut self, addresses: BTreeSet<IpAddr>) {
        self.neighbours.set_silent(addresses.clone());
        self.loopback = addresses;
    }

    /// The addresses given to [`Host::set_loopback`].
    #[must_use]
    pub const fn loopback(&self) -> &BTreeSet<IpAddr> {
        &self.loopback
    }

    /// Who it thinks has which address.
    #[must_use]
    pub const fn neighbours(&self) -> &NeighbourTable {
        &self.neighbours
    }

    /// The same, to flush it.
    pub const fn neighbours_mut(&mut self) -> &mut NeighbourTable {
        &mut self.neighbours
    }

    /// Packets dropped because they had no way to go.
    #[must_use]
    pub const fn unroutable(&self) -> u64 {
        self.unroutable
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| IpAddr::from(own.address()) == address)
            || self.loopback.contains(&address)
    }

    /// Whether a packet to `address` is for this host.
    fn takes(&self, address: IpAddr) -> bool {
        match address {
            _ if self.is_local(address) => true,
            IpAddr::V4(to) => {
                to.is_broadcast() || to == Ipv4Address::new(224, 0, 0, 1) || self.is_subnet_broadcast(to)
            }
            IpAddr::V6(to) => to == frame::ALL_NODES,
        }
    }

    fn is_subnet_broadcast(&self, address: Ipv4Address) -> bool {
        self.addresses.iter().any(|own| match own {
            IpCidr::Ipv4(own) => own.broadcast() == Some(address),
            IpCidr::Ipv6(_) => false,
        })
    }

    /// The neighbour that a packet to `address` is handed to.
    fn next_hop(&self, address: IpAddr) -> Option<IpAddr> {
        if self.addresses.iter().any(|own| own.contains_addr(&address.into())) {
            return Some(address);
        }
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == address.is_ipv4())
    }

    /// Sends what the stack has produced on its way.
    fn route_outgoing(&mut self, now: Instant) {
        while let Some(mut packet) = self.stack.outgoing.pop_front() {
            let Some((_, to)) = endpoints(&packet[ETHERNET_HEADER..]) else { continue };
            let broadcast = matches!(to, IpAddr::V4(to) if to.is_broadcast() || self.is_subnet_broadcast(to));
            if broadcast || to.is_multicast() {
                let mac = if broadcast { EthernetAddress::BROADCAST } else { frame::multicast_mac(to) };
                write_header(&mut packet, mac, self.mac, to);
                self.frames.push_back(packet);
            } else if self.is_local(to) {
                self.to_self.push_back(packet);
            } else if let Some(hop) = self.next_hop(to) {
                self.neighbours.output(now, hop, packet);
            } else {
                self.unroutable += 1;
            }
        }
    }

    /// Takes an IP packet off the wire.
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let Some((from, to)) = endpoints(packet) else { return };
        if !self.takes(to) || self.is_local(from) {
            return;
        }
        if acknowledges_tcp(packet)
            && let Some(hop) = self.next_hop(from)
        {
            self.neighbours.confirm(now, hop);
        }
        self.stack.ingress(now, packet);
        self.route_outgoing(now);
    }
}

impl Station for Host {
    fn handle_frame(&mut self, now: Instant, bytes: &[u8]) {
        if bytes.len() < ETHERNET_HEADER {
            return;
        }
        let destination = EthernetAddress::from_bytes(&bytes[0..6]);
        if destination != self.mac && !destination.is_broadcast() && !destination.is_multicast() {
            return;
        }
        let payload = &bytes[ETHERNET_HEADER..];
        match u16::from_be_bytes([bytes[12], bytes[13]]) {
            0x0806 => self.neighbours.handle_arp(now, destination, payload),
            0x86dd if is_ndp(payload) => self.neighbours.handle_ndp(now, payload),
            0x0800 | 0x86dd => self.handle_packet(now, payload),
            _ => {}
        }
    }

    fn poll(&mut self, now: Instant) {
        self.neighbours.poll(now);
        while self.stack.is_due(now) || !self.to_self.is_empty() {
            while let Some(packet) = self.to_self.pop_front() {
                self.stack.ingress(now, &packet[ETHERNET_HEADER..]);
            }
            self.stack.egress(now);
            self.route_outgoing(now);
        }
    }

    fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front().or_else(|| self.neighbours.poll_frame())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.stack.wake(), self.neighbours.poll_timeout()];
        timers.into_iter().flatten().min()
    }

    fn stack(&mut self) -> &mut Stack {
        &mut self.stack
    }
}

/// Source and destination of an IP packet.
fn endpoints(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            Some((from.into(), to.into()))
        }
        6 => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some((from.into(), to.into()))
        }
        _ => None,
    }
}

/// Whether the packet is a TCP segment that proves its sender hears us: acknowledgement set, reset not (RFC 4861 7.3.1).
fn acknowledges_tcp(packet: &[u8]) -> bool {
    const TCP: u8 = 6;
    const FLAGS: usize = 13;
    const ACK: u8 = 0x10;
    const RST: u8 = 0x04;
    let (protocol, header) = match packet.first() {
        Some(first) if first >> 4 == 4 => (packet.get(9), usize::from(first & 0x0f) * 4),
        _ => (packet.get(6), 40),
    };
    protocol == Some(&TCP) && packet.get(header + FLAGS).is_some_and(|flags| flags & (ACK | RST) == ACK)
}

#[cfg(test)]
mod tests;
