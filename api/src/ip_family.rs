//! IPv4, IPv6, and which of them a set of addresses has.

use std::fmt;
use std::net::IpAddr;

/// The family of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The other family.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The families of one or two addresses (C40).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpFamilies {
    /// One address.
    Single(IpFamily),
    /// Two addresses, one of each family.
    Dual,
}

impl IpFamilies {
    /// The families of `addresses`, or `None` where C17 says that they cannot
    /// be told: no address, two of one family, or more than two.
    #[must_use]
    pub fn of(addresses: &[IpAddr]) -> Option<Self> {
        match *addresses {
            [one] => Some(Self::Single(IpFamily::of(one))),
            [a, b] if IpFamily::of(a) != IpFamily::of(b) => Some(Self::Dual),
            _ => None,
        }
    }

    /// Whether `family` is one of these.
    #[must_use]
    pub fn contains(self, family: IpFamily) -> bool {
        match self {
            Self::Single(only) => only == family,
            Self::Dual => true,
        }
    }
}

impl fmt::Display for IpFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(family) => family.fmt(f),
            Self::Dual => f.write_str("dual-stack"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c17_families_of_one_or_two_addresses() {
        let v4: IpAddr = [10, 0, 0, 1].into();
        let v6: IpAddr = "fd00::1".parse().expect("a literal address");
        for (addresses, expected) in [
            (vec![], None),
            (vec![v4], Some(IpFamilies::Single(IpFamily::V4))),
            (vec![v6], Some(IpFamilies::Single(IpFamily::V6))),
            (vec![v6, v4], Some(IpFamilies::Dual)),
            (vec![v4, v4], None),
            (vec![v4, v6, v4], None),
        ] {
            assert_eq!(IpFamilies::of(&addresses), expected, "{addresses:?}");
        }
    }
}
