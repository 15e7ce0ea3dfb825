//! A network interface as the speaker sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ferrolb_api::IpFamily;

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
    /// Administratively up (`IFF_UP`).
    pub is_up: bool,
    /// Has a carrier (`IFF_LOWER_UP`).
    pub has_carrier: bool,
    /// Can broadcast (`IFF_BROADCAST`).
    pub can_broadcast: bool,
    /// Does no ARP (`IFF_NOARP`).
    pub no_arp: bool,
    /// Enslaved to a bridge, bond or VRF (`IFLA_MASTER`).
    pub has_master: bool,
}

impl Interface {
    /// Whether ARP can be answered on it (D45).
    #[must_use]
    pub fn can_announce_ipv4(&self) -> bool {
        self.can_announce_ipv6() && self.can_broadcast
    }

    /// Whether NDP can be answered on it (D46). A link-local address is not
    /// needed (W39): we speak as the announced address.
    #[must_use]
    pub fn can_announce_ipv6(&self) -> bool {
        self.is_up && !self.has_master && !self.no_arp && self.mac.is_some()
    }

    /// Whether addresses of `family` can be announced on it (D45, D46).
    #[must_use]
    pub fn can_announce(&self, family: IpFamily) -> bool {
        match family {
            IpFamily::V4 => self.can_announce_ipv4(),
            IpFamily::V6 => self.can_announce_ipv6(),
        }
    }
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
