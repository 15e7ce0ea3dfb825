//! What a node can announce on: its usable interfaces and the subnets on them,
//! as far as they matter to who may be a candidate (W13), and what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ferrolb_api::address::{AddressRange, from_number, number};
use ferrolb_api::{IpFamily, NodeName};

use crate::interface::Interface;
use crate::interface::InterfaceSet;
use crate::ownership::lacks::Lack;

/// An on-link subnet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet {
    network: IpAddr,
    prefix: u8,
}

/// What one interface can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Whether ARP can be answered on it (D45).
    pub(crate) ipv4: bool,
    /// Whether NDP cannot: IPv6 is switched off on it.
    pub(crate) no_ipv6: bool,
    /// Its subnets; none is legal.
    pub(crate) subnets: BTreeSet<Subnet>,
}

/// The usable interfaces of one node: Ethernet, up, with a carrier.
///
/// Only those are listed that have a subnet or that an advertisement names. A
/// node has a virtual interface for each of its Pods, and those come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whether there is a usable interface for IPv4, and for IPv6, listed or not.
    pub(crate) any: (bool, bool),
    /// Whether some that should be listed are not: then what is missing here may
    /// still be there.
    pub(crate) cut: bool,
    /// By name.
    pub(crate) links: BTreeMap<String, Link>,
    /// What its speaker lacks of the configuration; `None` before that knows it, and of a
    /// version that does not tell.
    pub(crate) lacks: Option<BTreeSet<Lack>>,
}

/// Where an address lies, as far as candidates may differ by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AddressLocation {
    /// Its family.
    pub(crate) family: IpFamily,
    /// Those of the known subnets that it lies in.
    pub(crate) subnets: BTreeSet<Subnet>,
}

/// Of all nodes that are known.
pub(crate) type Reaches = BTreeMap<NodeName, Reach>;

/// What is known of a property of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    Yes,
    No,
    /// Nothing was heard of it. It counts as good: no node is dropped on ignorance.
    NotYet,
}

impl Subnet {
    /// The subnet of an address with its prefix length, if it is one that
    /// neighbours share: neither link-local, nor a single address, nor everything.
    pub(crate) fn of(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = address.to_canonical();
        let (bits, local) = match address {
            IpAddr::V4(address) => (32, address.is_link_local() || address.is_loopback()),
            IpAddr::V6(address) => (128, address.is_unicast_link_local() || address.is_loopback()),
        };
        let is_segment = !local && !address.is_multicast() && prefix > 0 && prefix < bits;
        is_segment.then(|| Self { network: masked(address, prefix), prefix })
    }

    /// Its first address.
    pub(crate) const fn network(self) -> IpAddr {
        self.network
    }

    /// Its prefix length in bits.
    pub(crate) const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in it.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix) == self.network
    }

    /// Whether it has an address in common with `range`.
    pub(crate) fn touches(self, range: &AddressRange) -> bool {
        let (family, bits) = width(self.network);
        let last = number(self.network) | (!0_u128 >> (128 - bits)) >> self.prefix;
        AddressRange::new(self.network, from_number(family, last)).is_some_and(|own| own.overlaps(range))
    }
}

impl Reach {
    /// That of a node with these interfaces, where advertisements name `named`.
    pub(crate) fn of<'a>(
        interfaces: impl IntoIterator<Item = &'a Interface>,
        named: &BTreeSet<&str>,
    ) -> Self {
        let mut reach = Self::default();
        for interface in interfaces {
            let (ipv4, ipv6) = (interface.is_usable(IpFamily::V4), interface.is_usable(IpFamily::V6));
            if !ipv4 && !ipv6 {
                continue;
            }
            reach.any = (reach.any.0 || ipv4, reach.any.1 || ipv6);
            let subnets =
                interface.addresses.iter().filter_map(|(address, prefix)| Subnet::of(*address, *prefix));
            let subnets: BTreeSet<Subnet> = subnets.collect();
            if !subnets.is_empty() || named.contains(interface.name.as_str()) {
                reach.links.insert(interface.name.clone(), Link { ipv4, no_ipv6: !ipv6, subnets });
            }
        }
        reach
    }

    /// Whether all that `other` can do can be done here as well.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.lacks_no_more_than(other)
            && (self.any.0 || !other.any.0)
            && (self.any.1 || !other.any.1)
            && other.links.iter().all(|(name, link)| {
                let same = self.links.get(name);
                same.is_some_and(|own| {
                    (own.ipv4 || !link.ipv4)
                        && (link.no_ipv6 || !own.no_ipv6)
                        && own.subnets.is_superset(&link.subnets)
                })
            })
    }

    /// Whether its speaker has all of the configuration that it had in `other`.
    pub(crate) fn lacks_no_more_than(&self, other: &Self) -> bool {
        other.lacks.as_ref().is_none_or(|had| self.lacks.as_ref().is_none_or(|lacks| lacks.is_subset(had)))
    }

    /// Whether its speaker has told that it lacks an object.
    pub(crate) fn has_told_to_lack(&self, object: Lack) -> bool {
        self.lacks.as_ref().is_some_and(|lacks| lacks.contains(&object))
    }

    /// Whether the node may have a usable interface out of `set` for an address
    /// of `family`.
    pub(crate) fn may_announce(&self, set: &InterfaceSet, family: IpFamily) -> bool {
        self.has_any(family) && (self.cut || self.can_announce(set, family))
    }

    /// Whether one that is listed is usable.
    pub(crate) fn can_announce(&self, set: &InterfaceSet, family: IpFamily) -> bool {
        match set {
            InterfaceSet::All => self.has_any(family),
            InterfaceSet::Named(names) => names.iter().any(|name| self.link(name, family).is_some()),
        }
    }

    fn has_any(&self, family: IpFamily) -> bool {
        let (ipv4, ipv6) = self.any;
        if family == IpFamily::V4 { ipv4 } else { ipv6 }
    }

    /// Whether one out of `set` is on the segment of an address.
    pub(crate) fn is_on_segment(&self, set: &InterfaceSet, location: &AddressLocation) -> Known {
        let links = self.links.keys().filter(|name| set.contains(name));
        let mut links = links.filter_map(|name| self.link(name, location.family));
        if links.any(|link| !link.subnets.is_disjoint(&location.subnets)) {
            Known::Yes
        } else if self.cut {
            Known::NotYet
        } else {
            Known::No
        }
    }

    fn link(&self, name: &str, family: IpFamily) -> Option<&Link> {
        self.links.get(name).filter(|link| match family {
            IpFamily::V4 => link.ipv4,
            IpFamily::V6 => !link.no_ipv6,
        })
    }
}

impl AddressLocation {
    /// That of `address` among `subnets`.
    pub(crate) fn of(address: IpAddr, subnets: &BTreeSet<Subnet>) -> Self {
        let around = subnets.iter().copied().filter(|subnet| subnet.contains(address));
        Self { family: IpFamily::of(address), subnets: around.collect() }
    }
}

/// The subnets of all nodes that share an address with one of `ranges`.
pub(crate) fn subnets_of<'a>(
    reaches: &Reaches,
    ranges: impl Iterator<Item = &'a AddressRange> + Clone,
) -> BTreeSet<Subnet> {
    let links = reaches.values().flat_map(|reach| reach.links.values());
    let subnets: BTreeSet<Subnet> = links.flat_map(|link| link.subnets.iter().copied()).collect();
    subnets.into_iter().filter(|subnet| ranges.clone().any(|range| subnet.touches(range))).collect()
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn width(address: IpAddr) -> (IpFamily, u32) {
    match address {
        IpAddr::V4(_) => (IpFamily::V4, 32),
        IpAddr::V6(_) => (IpFamily::V6, 128),
    }
}

/// `address` with all bits after `prefix` zero; `prefix` is not beyond its width.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let (family, bits) = width(address);
    let host = bits.saturating_sub(u32::from(prefix));
    let kept = number(address).checked_shr(host).unwrap_or(0).checked_shl(host).unwrap_or(0);
    from_number(family, kept)
}
