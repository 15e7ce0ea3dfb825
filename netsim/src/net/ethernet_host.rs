//! A station that is smoltcp alone, its own ARP and NDP included.
//!
//! Embedded devices run it, so it is a client model in its own right, and a harsh one: it ignores every gratuitous ARP,
//! keeps an entry alive with every packet from that hardware address, and files an IPv6 advertisement under the packet's
//! source instead of its target. Its table cannot be read.

use std::net::IpAddr;

use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::frame::ETHERNET_HEADER;
use super::random::Stream;
use super::stack::Stack;
use super::station::Station;

/// The station.
#[derive(Debug)]
pub struct EthernetHost {
    mac: EthernetAddress,
    stack: Stack,
}

impl EthernetHost {
    /// A station with up to eight addresses and at most one gateway of each family. `name` names its random stream.
    #[must_use]
    pub fn new(
        name: &str,
        mac: EthernetAddress,
        addresses: &[IpCidr],
        gateways: &[IpAddr],
        seed: u64,
    ) -> Self {
        let mut stream = Stream::new(seed, &format!("ethernet host {name}"));
        let mut stack = Stack::new(HardwareAddress::Ethernet(mac), &mut stream);
        stack.set_addresses(addresses);
        let routes = stack.interface_mut().routes_mut();
        for gateway in gateways {
            let added = match gateway {
                IpAddr::V4(gateway) => routes.add_default_ipv4_route(*gateway),
                IpAddr::V6(gateway) => routes.add_default_ipv6_route(*gateway),
            };
            added.expect("room for a route of each family");
        }
        Self { mac, stack }
    }

    /// Its hardware address.
    #[must_use]
    pub const fn mac(&self) -> EthernetAddress {
        self.mac
    }
}

impl Station for EthernetHost {
    fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        if frame.len() >= ETHERNET_HEADER {
            self.stack.ingress(now, frame);
        }
    }

    fn poll(&mut self, now: Instant) {
        while self.stack.is_due(now) {
            self.stack.egress(now);
        }
    }

    fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.stack.outgoing.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.stack.wake()
    }

    fn stack(&mut self) -> &mut Stack {
        &mut self.stack
    }
}
