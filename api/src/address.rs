//! Address ranges as intervals: a `/64` is two numbers, never a list (B3, B4).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::ip_family::IpFamily;

/// All addresses from `first` to `last`, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// B3: no `-`, and not a CIDR prefix.
    #[error(
        "{text:?} is neither a CIDR prefix like 192.168.1.0/24 nor a range like 192.168.1.10-192.168.1.20"
    )]
    NotAPrefix {
        /// What was written.
        text: String,
    },
    /// B3: one address, without its prefix length.
    #[error("{text:?} has no prefix length; for this one address write {address}/{length}")]
    MissingPrefixLength {
        /// What was written.
        text: String,
        /// The address in it.
        address: IpAddr,
        /// The prefix length of a single address: 32 or 128.
        length: u8,
    },
    /// B4: one side of the `-` is no address.
    #[error("{text:?}: {part:?} is not an IP address; both ends of a range must be written in full")]
    NotAnAddress {
        /// What was written.
        text: String,
        /// The side that does not parse.
        part: String,
    },
    /// B5: the range runs backwards.
    #[error("{text:?}: the range starts after it ends; did you mean {last}-{first}?")]
    Reversed {
        /// What was written.
        text: String,
        /// Its start.
        first: IpAddr,
        /// Its end.
        last: IpAddr,
    },
    /// B17: the ends are of different families.
    #[error("{text:?}: one end is IPv4, the other IPv6")]
    MixedFamilies {
        /// What was written.
        text: String,
    },
}

impl AddressRange {
    /// All addresses of both families.
    pub const ALL: [Self; 2] = [
        Self { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), last: IpAddr::V4(Ipv4Addr::BROADCAST) },
        Self { first: IpAddr::V6(Ipv6Addr::UNSPECIFIED), last: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) },
    ];

    /// The range from `first` to `last`, or `None` if the families differ or
    /// `first` is greater.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (IpFamily::of(first) == IpFamily::of(last) && first <= last).then_some(Self { first, last })
    }

    /// The lowest address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// The family of all its addresses.
    #[must_use]
    pub const fn family(&self) -> IpFamily {
        IpFamily::of(self.first)
    }

    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.family() == IpFamily::of(address) && self.first <= address && address <= self.last
    }

    /// Whether the two ranges have an address in common (B6).
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }

    /// The range in words: an address alone if it holds no other.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.first == self.last { self.first.to_string() } else { self.to_string() }
    }

    /// How many addresses it holds; saturates for `::/0`.
    #[must_use]
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// How many of its addresses `avoidBuggyIPs` skips, by arithmetic (C82).
    #[must_use]
    pub fn buggy(&self) -> u128 {
        if self.family() == IpFamily::V6 {
            return 0;
        }
        // Of every 256 numbers one ends in 0 and one in 255.
        let below = |end: u128| end.div_ceil(256) + end / 256;
        below(number(self.last) + 1) - below(number(self.first))
    }

    /// How many addresses can be assigned, for counters (C81, C82). What holds
    /// 2^62 or more counts as `i64::MAX`, as in MetalLB.
    #[must_use]
    pub fn usable(&self, avoid_buggy_ips: bool) -> i64 {
        let skipped = if avoid_buggy_ips { self.buggy() } else { 0 };
        match self.size() - skipped {
            many if many >= 1 << 62 => i64::MAX,
            few => i64::try_from(few).expect("less than 2^62"),
        }
    }

    /// The part of it that is no unicast address which neighbours can use, and what it is. A
    /// Kubernetes object may name none of these as an address of a Service either.
    #[must_use]
    pub fn not_for_services(&self) -> Option<(Self, &'static str)> {
        const V4: [(u32, u32, &str); 5] = [
            (0, 0x00ff_ffff, "unspecified"),
            (0x7f00_0000, 0x7fff_ffff, "loopback"),
            (0xa9fe_0000, 0xa9fe_ffff, "link-local"),
            (0xe000_0000, 0xefff_ffff, "multicast"),
            (u32::MAX, u32::MAX, "broadcast"),
        ];
        const V6: [(u128, u128, &str); 4] = [
            (0, 0, "unspecified"),
            (1, 1, "loopback"),
            (0xfe80 << 112, (0xfec0 << 112) - 1, "link-local"),
            (0xff00 << 112, u128::MAX, "multicast"),
        ];
        let v4 = V4.into_iter().map(|(first, last, kind)| (u128::from(first), u128::from(last), kind));
        let special: Vec<_> = match self.family() {
            IpFamily::V4 => v4.collect(),
            IpFamily::V6 => V6.into_iter().collect(),
        };
        special.into_iter().find_map(|(first, last, kind)| {
            let first = number(self.first).max(first);
            let last = number(self.last).min(last);
            let at = |number| from_number(self.family(), number);
            Some((Self::new(at(first), at(last)).filter(|_| first <= last)?, kind))
        })
    }

    /// What is left of it without `other`: nothing, one part or two.
    #[must_use]
    pub fn without(&self, other: &Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![*self];
        }
        let at = |number| from_number(self.family(), number);
        let below =
            (self.first < other.first).then(|| Self { first: self.first, last: at(number(other.first) - 1) });
        let above =
            (other.last < self.last).then(|| Self { first: at(number(other.last) + 1), last: self.last });
        below.into_iter().chain(above).collect()
    }
}

/// The address as a number, so that ranges can be computed with.
#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of `family` with this number; IPv4 uses the low 32 bits.
#[must_use]
pub fn from_number(family: IpFamily, number: u128) -> IpAddr {
    match family {
        IpFamily::V4 => IpAddr::V4(Ipv4Addr::from((number & u128::from(u32::MAX)) as u32)),
        IpFamily::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// The prefix that `text` stands for if it has host bits, which are masked (B3): `10.0.0.0/24` for
/// `10.0.0.7/24`.
#[must_use]
pub fn widened(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let net = IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()?;
    (net.addr() != net.network()).then(|| net.trunc())
}

/// Whether `avoidBuggyIPs` skips the address: IPv4 ending in 0 or 255 (A14).
#[must_use]
pub fn is_buggy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets()[3], 0 | 255))
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    /// Reads `a-b` or a CIDR prefix, whose host bits are masked (B3). An
    /// IPv4-mapped address counts as the IPv4 address in it (B16).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((first, last)) = text.split_once('-') else {
            return prefix(text).ok_or_else(|| not_a_prefix(text));
        };
        let address = |part: &str| {
            let part = part.trim();
            part.parse::<IpAddr>()
                .map(|address| address.to_canonical())
                .map_err(|_| AddressRangeError::NotAnAddress { text: text.to_owned(), part: part.to_owned() })
        };
        let (first, last) = (address(first)?, address(last)?);
        if IpFamily::of(first) != IpFamily::of(last) {
            return Err(AddressRangeError::MixedFamilies { text: text.to_owned() });
        }
        Self::new(first, last).ok_or_else(|| AddressRangeError::Reversed {
            text: text.to_owned(),
            first,
            last,
        })
    }
}

fn not_a_prefix(text: &str) -> AddressRangeError {
    let text = text.to_owned();
    match text.parse::<IpAddr>() {
        Ok(address) => {
            let length = if address.is_ipv4() { 32 } else { 128 };
            AddressRangeError::MissingPrefixLength { text, address, length }
        }
        Err(_) => AddressRangeError::NotAPrefix { text },
    }
}

fn prefix(text: &str) -> Option<AddressRange> {
    // `IpNet` itself would read leading zeros, whose meaning is disputed (B3).
    let (address, length) = text.split_once('/')?;
    let length = Some(length).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()))?;
    let net = IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()?;
    let (first, last) = (net.network(), net.broadcast());
    // B16: a prefix inside ::ffff:0:0/96 is an IPv4 prefix.
    let (first, last) = match (first.to_canonical(), last.to_canonical()) {
        (a @ IpAddr::V4(_), b @ IpAddr::V4(_)) => (a, b),
        _ => (first, last),
    };
    AddressRange::new(first, last)
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests;
