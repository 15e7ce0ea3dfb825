//! Addresses that somebody else has, so that no Service is to be given one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Pool, Resources};
use crate::address::is_buggy;
use crate::node::{Node, NodeName};

/// Who has an address. Of several the first one here is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupant {
    /// The API server is reached by it.
    ApiServer,
    /// It is in the status of a Node.
    Node(NodeName),
    /// It stands on an interface of a node.
    Interface {
        /// The node.
        node: NodeName,
        /// The interface.
        interface: String,
    },
    /// The default route of a node goes by it.
    Gateway(NodeName),
    /// It names a subnet that nodes are in (RFC 919 section 7).
    Network(IpNet),
    /// It is the broadcast address of one (RFC 919 section 7).
    Broadcast(IpNet),
    /// Every router of one has it (RFC 4291 section 2.6.1).
    RouterAnycast(IpNet),
}

/// What the speaker of one node sees of its network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeNetwork {
    /// The node.
    pub node: NodeName,
    /// The addresses on its interfaces that neighbours are reached by, each with its prefix length.
    pub addresses: BTreeSet<(String, IpNet)>,
    /// The gateways of its default routes.
    pub gateways: BTreeSet<IpAddr>,
}

/// All addresses that are known to belong to somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupied {
    occupants: BTreeMap<IpAddr, Occupant>,
}

impl Occupied {
    /// Those that `resources` tell of.
    #[must_use]
    pub fn of(resources: &Resources) -> Self {
        Self::new(&resources.api_server, resources.nodes.iter().flatten(), &resources.node_networks)
    }

    /// The API server's, those of Nodes and of their networks.
    #[must_use]
    pub fn new<'a>(
        api_server: impl IntoIterator<Item = &'a IpAddr>,
        nodes: impl IntoIterator<Item = &'a Node>,
        networks: impl IntoIterator<Item = &'a NodeNetwork>,
    ) -> Self {
        let mut occupied = Self::default();
        for address in api_server {
            occupied.insert(*address, Occupant::ApiServer);
        }
        for node in nodes {
            for address in &node.addresses {
                occupied.insert(*address, Occupant::Node(node.name.clone()));
            }
        }
        for network in networks {
            occupied.insert_network(network);
        }
        occupied
    }

    fn insert_network(&mut self, network: &NodeNetwork) {
        let node = &network.node;
        for (interface, net) in &network.addresses {
            let (node, interface) = (node.clone(), interface.clone());
            self.insert(net.addr(), Occupant::Interface { node, interface });
            let subnet = net.trunc();
            match subnet {
                // RFC 3021: of two addresses neither is set apart.
                IpNet::V4(_) if net.prefix_len() < 31 => {
                    self.insert(subnet.network(), Occupant::Network(subnet));
                    self.insert(subnet.broadcast(), Occupant::Broadcast(subnet));
                }
                // RFC 6164: nor on a link between two routers.
                IpNet::V6(_) if net.prefix_len() < 127 => {
                    self.insert(subnet.network(), Occupant::RouterAnycast(subnet));
                }
                IpNet::V4(_) | IpNet::V6(_) => {}
            }
        }
        for gateway in &network.gateways {
            self.insert(*gateway, Occupant::Gateway(node.clone()));
        }
    }

    /// Who has the address, if somebody has.
    #[must_use]
    pub fn occupant(&self, address: IpAddr) -> Option<&Occupant> {
        self.occupants.get(&address)
    }

    fn insert(&mut self, address: IpAddr, occupant: Occupant) {
        let address = address.to_canonical();
        let first = self.occupants.entry(address).or_insert_with(|| occupant.clone());
        if occupant < *first {
            *first = occupant;
        }
    }
}

impl Occupant {
    /// Whether a Service may have the address all the same if it asks for it by name: nobody
    /// answers there, and small subnets are short of addresses.
    #[must_use]
    pub const fn yields_to_a_request(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Broadcast(_) | Self::RouterAnycast(_))
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiServer => f.write_str("the API server's"),
            Self::Node(node) => write!(f, "Node {node}'s"),
            Self::Interface { node, interface } => write!(f, "on {interface} of Node {node}"),
            Self::Gateway(node) => write!(f, "the default gateway of Node {node}"),
            Self::Network(subnet) => write!(f, "the network address of the nodes' subnet {subnet}"),
            Self::Broadcast(subnet) => write!(f, "the broadcast address of the nodes' subnet {subnet}"),
            Self::RouterAnycast(subnet) => {
                write!(f, "the router anycast address of the nodes' subnet {subnet}")
            }
        }
    }
}

impl Pool {
    /// Keeps back what somebody else has, unless the pool allows it.
    pub(super) fn withhold(&mut self, occupied: &Occupied) {
        let is_withheld = |address: IpAddr, occupant: &Occupant| {
            self.contains(address)
                && self.exclusion_of(address).is_none()
                && !(self.avoid_buggy_ips && is_buggy(address))
                && (!self.allow_occupied || occupant.yields_to_a_request())
                && !(occupant.yields_to_a_request() && self.reservation_of(address).is_some())
        };
        let withheld = occupied.occupants.iter().filter(|(address, by)| is_withheld(**address, by));
        self.withheld = withheld.map(|(address, by)| (*address, by.clone())).collect();
    }

    /// Who has the address of the pool, so that nobody is given it unasked.
    #[must_use]
    pub fn occupant_of(&self, address: IpAddr) -> Option<&Occupant> {
        self.withheld.get(&address)
    }
}

#[cfg(test)]
mod tests;
