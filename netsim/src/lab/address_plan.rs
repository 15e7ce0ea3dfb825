//! The address plan of the simulated LANs: 172.16.16.0/24 with fd00:16::/64,
//! and, where nodes have a second NIC, 172.16.17.0/24 with fd00:17::/64.

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{EthernetAddress, IpCidr};

/// Bits of a LAN's IPv4 prefix.
pub const PREFIX_LEN: u8 = 24;
/// Bits of a LAN's IPv6 prefix.
pub const PREFIX_LEN_IPV6: u8 = 64;
/// The default gateway.
pub const ROUTER: Ipv4Addr = address(1);
/// The Kubernetes API's own virtual address, somebody else's to answer for.
pub const API_VIP: Ipv4Addr = address(100);
/// The namespace of everything of ours.
pub const NAMESPACE: &str = "metallb-system";
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

/// A LAN. Who is on one hears nothing of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lan {
    /// `eth0` of every node; clients, router and API server are here.
    First,
    /// `eth1` of the nodes, in scenarios that give them one.
    Second,
}

impl Lan {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// What nodes call their NIC on it.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::First => "eth0",
            Self::Second => "eth1",
        }
    }

    /// The station `last` on it.
    #[must_use]
    pub const fn address(self, last: u8) -> Ipv4Addr {
        match self {
            Self::First => Ipv4Addr::new(172, 16, 16, last),
            Self::Second => Ipv4Addr::new(172, 16, 17, last),
        }
    }

    /// Its VLAN on the switch.
    #[must_use]
    pub const fn vlan(self) -> u16 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }
}

/// The IPv6 address of the station that has this IPv4 address.
#[must_use]
pub const fn ipv6(address: Ipv4Addr) -> Ipv6Addr {
    let [_, _, lan, last] = address.octets();
    // 172.16.16.x is fd00:16::x: the LAN is spelled the same.
    Ipv6Addr::new(0xfd00, lan as u16 + 6, 0, 0, 0, 0, 0, last as u16)
}

/// A station's own addresses, of both families.
#[must_use]
pub fn own_addresses(address: Ipv4Addr) -> Vec<IpCidr> {
    vec![IpCidr::new(address.into(), PREFIX_LEN), IpCidr::new(ipv6(address).into(), PREFIX_LEN_IPV6)]
}

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

/// The address of node `index` on a LAN: the same last number on each.
#[must_use]
pub const fn node_address_on(lan: Lan, index: u8) -> Ipv4Addr {
    lan.address(11 + index % MAX_NODES)
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

/// The address of whoever sits on a LAN and tries things: `.45`, no node's and no client's.
#[must_use]
pub const fn probe_address(lan: Lan) -> Ipv4Addr {
    lan.address(45)
}

/// The MAC of the station with this address: 02:00, then the address in hex.
#[must_use]
pub const fn mac(address: Ipv4Addr) -> EthernetAddress {
    let [a, b, c, d] = address.octets();
    EthernetAddress([2, 0, a, b, c, d])
}
