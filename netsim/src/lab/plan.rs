//! The address plan of the simulated LAN, 172.16.16.0/24.

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

/// Bits of the LAN's prefix.
pub const PREFIX_LEN: u8 = 24;
/// The default gateway.
pub const ROUTER: Ipv4Addr = address(1);
/// The Kubernetes API's own virtual address, somebody else's to answer for.
pub const API_VIP: Ipv4Addr = address(100);
/// Where the speakers gossip.
pub const GOSSIP_PORT: u16 = 7946;
/// Where the measuring echo service listens on every load-balanced address.
pub const ECHO_PORT: u16 = 7;
/// Where the web service listens.
pub const HTTP_PORT: u16 = 80;
/// Most nodes that the plan has addresses for.
pub const MAX_NODES: u8 = 30;
/// Most clients that the plan has addresses for.
pub const MAX_CLIENTS: u8 = 20;

/// The address 172.16.16.`last`.
#[must_use]
pub const fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 16, last)
}

/// The address of node `index`, counted from 0: 172.16.16.11 on.
#[must_use]
pub const fn node_address(index: u8) -> Ipv4Addr {
    address(11 + index % MAX_NODES)
}

/// The name of node `index`, counted from 0: `wk01` on.
#[must_use]
pub fn node_name(index: u8) -> String {
    format!("wk{:02}", index + 1)
}

/// The address of client `index`, counted from 0: 172.16.16.50 on.
#[must_use]
pub const fn client_address(index: u8) -> Ipv4Addr {
    address(50 + index % MAX_CLIENTS)
}

/// The MAC of the station with this address: 02:00, then the address in hex.
#[must_use]
pub const fn mac(address: Ipv4Addr) -> EthernetAddress {
    let [a, b, c, d] = address.octets();
    EthernetAddress([2, 0, a, b, c, d])
}
