//! The pools as they stand, and what each of them has for a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ferrolb_api::config::{Pool, Unavailable};
use ferrolb_api::{AddressRange, Config, IpFamily, Service};

use crate::allocator::Allocator;

/// The pools as they stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    /// Those in force, and the advertisements.
    pub(crate) config: Config,
    /// Names of pools that exist, but no valid version of them is known.
    pub(crate) rejected: BTreeSet<String>,
    capacities: BTreeMap<String, PoolCapacity>,
}

/// What a pool has, reckoned once for each configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolCapacity {
    /// Its ranges without what is excluded, in written order.
    pub(crate) assignable: Vec<AddressRange>,
    /// The same without what is reserved.
    pub(crate) unreserved: Vec<AddressRange>,
    /// How many addresses there are of each family (C81, C82), without those that are withheld.
    capacity: [i64; 2],
    unreserved_capacity: [i64; 2],
}

/// The addresses that a pool has for one Service.
#[derive(Clone, Debug)]
pub(crate) struct AvailableRanges<'a> {
    /// The pool.
    pub(crate) pool: &'a Pool,
    /// Reserved for the Service: it takes these first.
    pub(crate) reserved: Vec<AddressRange>,
    /// For everybody.
    pub(crate) open: &'a [AddressRange],
}

impl Pools {
    /// The pools of `config`, of which `rejected` exist but are not valid.
    pub(crate) fn new(config: Config, rejected: BTreeSet<String>) -> Self {
        let capacities =
            config.pools.iter().map(|(name, pool)| (name.clone(), PoolCapacity::of(pool))).collect();
        Self { config, rejected, capacities }
    }

    /// What the pool of this name has, which is in force.
    pub(crate) fn capacity(&self, pool: &str) -> &PoolCapacity {
        self.capacities.get(pool).expect("every pool in force has a capacity")
    }

    /// How many of the withheld addresses of a pool are in use: by Services that had them before.
    pub(crate) fn withheld_in_use(&self, pool: &str, family: IpFamily, allocator: &Allocator) -> i64 {
        let withheld = self.config.pools.get(pool).into_iter().flat_map(|pool| pool.withheld.keys());
        allocator.used_among(withheld, family)
    }

    /// What `pool` has for `service`, whom it admits.
    pub(crate) fn available<'a>(&'a self, pool: &'a Pool, service: &Service) -> AvailableRanges<'a> {
        let reservations = pool.reservations.iter().filter(|entry| entry.matches(service));
        let reserved: Vec<_> = reservations.flat_map(|entry| entry.ranges.iter().copied()).collect();
        let reserved = pool.without_withheld(&reserved);
        AvailableRanges { pool, reserved, open: &self.capacity(&pool.name).unreserved }
    }

    /// The pools that hold a pair of `addresses`, if they are not one and the same.
    pub(crate) fn two_pools_of(&self, addresses: &[IpAddr]) -> Option<TwoPools> {
        let &[first, second] = addresses else { return None };
        let pool = |address| self.config.pool_of(&[address]).map(|pool| (address, pool.name.clone()));
        let pair = [pool(first)?, pool(second)?];
        (pair[0].1 != pair[1].1).then_some(TwoPools(pair))
    }

    /// Who else has one of `addresses`, so that no Service is given it.
    pub(crate) fn refused(&self, addresses: &[IpAddr]) -> Option<Unavailable> {
        let refused = |address: &IpAddr| self.config.pools.values().find_map(|pool| pool.refused(*address));
        addresses.iter().find_map(refused)
    }

    /// What there is to say of a Service that keeps `addresses` of which somebody else has one,
    /// and did not ask for one that may be had by its name.
    pub(crate) fn kept_withheld(&self, addresses: &[IpAddr], is_requested: bool) -> Option<String> {
        let occupant = |address: &IpAddr| {
            let by = self.config.pools.values().find_map(|pool| pool.occupant_of(*address))?;
            (!is_requested || !by.yields_to_a_request()).then(|| format!("{address} is {by}"))
        };
        let found: Vec<_> = addresses.iter().filter_map(occupant).collect();
        (!found.is_empty()).then(|| {
            format!(
                "{}; the Service keeps it, for it has it already, but nobody would be given it. Give the \
                 Service another address, or set allowOccupiedAddresses of the pool",
                found.join(", ")
            )
        })
    }

    /// Why the pool that has one of `addresses` does not let `service` have it.
    pub(crate) fn unavailable(&self, addresses: &[IpAddr], service: &Service) -> Option<Unavailable> {
        addresses.iter().find_map(|address| {
            let owner = self.config.pools.values().find(|pool| pool.contains(*address))?;
            owner.unavailable(*address, service)
        })
    }
}

/// Two addresses that no pool holds together, each with the pool that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TwoPools([(IpAddr, String); 2]);

impl fmt::Display for TwoPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(first, its_pool), (second, other_pool)] = &self.0;
        write!(
            f,
            "{first} is of pool {its_pool:?} and {second} of pool {other_pool:?}, but both addresses of a \
             Service come from one pool: give one pool ranges of both families"
        )
    }
}

impl PoolCapacity {
    fn of(pool: &Pool) -> Self {
        let both = |capacity: fn(&Pool, IpFamily) -> i64| {
            [IpFamily::V4, IpFamily::V6].map(|family| capacity(pool, family))
        };
        Self {
            assignable: pool.assignable(),
            unreserved: pool.unreserved(),
            capacity: both(Pool::capacity),
            unreserved_capacity: both(Pool::unreserved_capacity),
        }
    }

    /// How many addresses of `family` the pool can give. Withheld ones that are kept are none of them.
    pub(crate) fn of_family(&self, family: IpFamily) -> i64 {
        of_family(self.capacity, family)
    }

    /// How many of them are reserved for nobody.
    pub(crate) fn unreserved_of_family(&self, family: IpFamily) -> i64 {
        of_family(self.unreserved_capacity, family)
    }
}

fn of_family([ipv4, ipv6]: [i64; 2], family: IpFamily) -> i64 {
    match family {
        IpFamily::V4 => ipv4,
        IpFamily::V6 => ipv6,
    }
}

impl AvailableRanges<'_> {
    /// Whether the address is reserved for the Service.
    pub(crate) fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved.iter().any(|range| range.contains(address))
    }

    /// Only what is reserved for the Service.
    pub(crate) fn reserved_only(self) -> Self {
        Self { open: &[], ..self }
    }
}
