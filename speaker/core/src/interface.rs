//! A network interface as the speaker sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ferrolb_api::config::NodeNetwork;
use ferrolb_api::{IpFamily, NodeName};
use ipnet::IpNet;

use crate::ownership::reach::Subnet;

/// The kernel's index of an interface, unique on the node at any one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether exactly one station has it: neither broadcast, nor multicast,
    /// nor all zeros.
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An interface with what decides whether it can announce (D45, D46).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub id: InterfaceId,
    /// Its name.
    pub name: String,
    /// Its current Ethernet address; `None` if it has none of six bytes.
    pub mac: Option<MacAddr>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The gateways of the default routes that go out on it.
    pub gateways: Vec<IpAddr>,
    /// Administratively up (`IFF_UP`).
    pub is_up: bool,
    /// Has a carrier (`IFF_LOWER_UP`).
    pub has_carrier: bool,
    /// Can broadcast (`IFF_BROADCAST`).
    pub can_broadcast: bool,
    /// Does no ARP (`IFF_NOARP`).
    pub no_arp: bool,
    /// The bridge, bond or VRF that it is a port of (`IFLA_MASTER`).
    pub master: Option<InterfaceId>,
    /// The kernel takes no IPv6 on it (`disable_ipv6`).
    pub ipv6_is_off: bool,
}

/// Why nothing can be announced on an interface (D45, D46), the first that is in
/// the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It is a port of this bridge, bond or VRF, which gets its frames.
    Port(InterfaceId),
    /// It has no Ethernet address: a tunnel, or loopback.
    NotEthernet,
    /// It does no ARP, nor NDP.
    NoArp,
    /// It is point to point, and ARP has to broadcast.
    NoBroadcast,
    /// The kernel drops the IPv6 packets that an answer would bring.
    Ipv6IsOff,
    /// It is not up.
    Down,
    /// It is up, and nothing is plugged in.
    NoCarrier,
}

impl Interface {
    /// What is in the way of announcing addresses of `family` on it, if anything. It
    /// needs no address of its own; a link-local one neither (W39): we speak as the
    /// announced address.
    #[must_use]
    pub fn obstacle(&self, family: IpFamily) -> Option<Obstacle> {
        if let Some(master) = self.master {
            return Some(Obstacle::Port(master));
        }
        let found = match family {
            _ if self.mac.is_none() => Obstacle::NotEthernet,
            _ if self.no_arp => Obstacle::NoArp,
            IpFamily::V4 if !self.can_broadcast => Obstacle::NoBroadcast,
            IpFamily::V6 if self.ipv6_is_off => Obstacle::Ipv6IsOff,
            _ if !self.is_up => Obstacle::Down,
            _ if !self.has_carrier => Obstacle::NoCarrier,
            _ => return None,
        };
        Some(found)
    }

    /// Whether addresses of `family` can be announced on it now.
    #[must_use]
    pub fn is_usable(&self, family: IpFamily) -> bool {
        self.obstacle(family).is_none()
    }

    /// The same without regard to the carrier, which may come and go.
    #[must_use]
    pub fn can_announce(&self, family: IpFamily) -> bool {
        matches!(self.obstacle(family), None | Some(Obstacle::NoCarrier))
    }

    /// Whether one of its subnets holds `address`.
    pub(crate) fn is_on_subnet_of(&self, address: IpAddr) -> bool {
        let mut subnets = self.addresses.iter().filter_map(|(own, prefix)| Subnet::of(*own, *prefix));
        subnets.any(|subnet| subnet.contains(address))
    }
}

/// What stands on the network of `node`. An address counts where neighbours ask for it: one on a
/// dummy, as kube-proxy keeps those of Services in its IPVS mode, does not.
pub(crate) fn network(node: &NodeName, interfaces: &[Interface]) -> NodeNetwork {
    let mut network =
        NodeNetwork { node: node.clone(), addresses: BTreeSet::new(), gateways: BTreeSet::new() };
    for interface in interfaces {
        for (address, prefix) in &interface.addresses {
            let address = address.to_canonical();
            if interface.can_announce(IpFamily::of(address))
                && let Ok(net) = IpNet::new(address, *prefix)
            {
                network.addresses.insert((interface.name.clone(), net));
            }
        }
        network.gateways.extend(interface.gateways.iter().map(IpAddr::to_canonical));
    }
    network
}

/// Where an address is announced (D41).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterfaceSet {
    /// On every interface that can.
    All,
    /// On those with these names.
    Named(BTreeSet<String>),
}

impl InterfaceSet {
    /// Whether the interface called `name` is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }

    /// Both sets together; "all" wins (H118).
    pub(crate) fn union(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Named(mut names), Self::Named(more)) => {
                names.extend(more.iter().cloned());
                Self::Named(names)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }
}
