//! Why a pool has no address for a Service, and who has them all (F24).

use std::fmt;

use ferrolb_api::{AddressRange, IpFamilies, IpFamily, Service};

use crate::allocator::Allocator;
use crate::pools::{AvailableRanges, Pools};

/// The most pools that one message goes into.
const MAX_POOLS: usize = 8;
/// The most addresses that one message names with their users.
const MAX_HOLDERS: usize = 10;
/// The same where it is about one pool of several.
const MAX_HOLDERS_OF_POOL: usize = 3;

/// Every pool that could not serve a Service, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolFailures(Vec<(String, PoolFailure)>);

/// Why one pool does not serve a Service that asks for nothing in particular.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolFailure {
    /// Its last edit went wrong.
    #[error("it is not valid, its Ready condition says why")]
    Rejected,
    /// C36
    #[error("its serviceAllocation is not for this Service")]
    NotAdmitted,
    /// A13
    #[error("autoAssign is false and the Service does not ask for it")]
    Manual,
    /// C41
    #[error("it has no {0} addresses to give")]
    NoSuchFamily(IpFamily),
    /// Somebody else has all of them.
    #[error("all its {0} addresses are withheld, its Ready condition says why")]
    AllWithheld(IpFamily),
    /// A reservation is for the Service, and does not go further than this.
    #[error("all {family} addresses reserved for it are in use: {holders}")]
    ReservedInUse {
        /// The family.
        family: IpFamily,
        /// The addresses, and by whom.
        holders: String,
    },
    /// All are held for others.
    #[error("all {capacity} {family} addresses are reserved for others")]
    AllReserved {
        /// The family.
        family: IpFamily,
        /// How many there are.
        capacity: i64,
    },
    /// All are taken.
    #[error("all {capacity} {family} addresses are in use{}, by {services} Service{}",
            if *.with_reserved { " or reserved" } else { "" }, if *.services == 1 { "" } else { "s" })]
    AllInUse {
        /// The family.
        family: IpFamily,
        /// How many there are.
        capacity: i64,
        /// Whether some of them are reserved.
        with_reserved: bool,
        /// How many Services have an address of the pool.
        services: i64,
    },
    /// The last ones are still in the status of Services that have lost them.
    #[error("no {0} address is free at the moment")]
    NoneNow(IpFamily),
}

impl PoolFailures {
    /// All pools, for a Service of `families` that none of them has served.
    pub(crate) fn all(service: &Service, families: IpFamilies, pools: &Pools, allocator: &Allocator) -> Self {
        let in_force = pools.config.pools.values().map(|pool| {
            let failure = match () {
                () if !pool.admits(service) => PoolFailure::NotAdmitted,
                () => {
                    let available = pools.available(pool, service);
                    let is_meant = available.reserved.iter().any(|range| families.contains(range.family()));
                    match pool.auto_assign || is_meant {
                        true => PoolFailure::of(&available, families, pool.auto_assign, pools, allocator),
                        false => PoolFailure::Manual,
                    }
                }
            };
            (pool.name.clone(), failure)
        });
        let rejected = pools.rejected.iter().map(|name| (name.clone(), PoolFailure::Rejected));
        let mut all: Vec<_> = in_force.chain(rejected).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(all)
    }
}

impl fmt::Display for PoolFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (pool, failure)) in self.0.iter().take(MAX_POOLS).enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            write!(f, "pool {pool:?}: {failure}")?;
        }
        match self.0.len().saturating_sub(MAX_POOLS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl PoolFailure {
    /// What is short in `available` for a Service of `families`. `is_open` says
    /// whether it may have addresses that are not reserved for it.
    pub(crate) fn of(
        available: &AvailableRanges<'_>,
        families: IpFamilies,
        is_open: bool,
        pools: &Pools,
        allocator: &Allocator,
    ) -> Self {
        let pool = available.pool;
        let total = pools.capacity(&pool.name);
        let wanted: &[IpFamily] = match &families {
            IpFamilies::Single(family) => std::slice::from_ref(family),
            IpFamilies::Dual => &[IpFamily::V4, IpFamily::V6],
        };
        let in_use = allocator.in_use(&pool.name);
        let short = wanted.iter().find_map(|family| {
            let (capacity, unreserved) = (total.of_family(*family), total.unreserved_of_family(*family));
            match () {
                () if capacity == 0
                    && pool.withheld.keys().any(|address| IpFamily::of(*address) == *family) =>
                {
                    Some(Self::AllWithheld(*family))
                }
                () if capacity == 0 => Some(Self::NoSuchFamily(*family)),
                () if available.reserved.iter().any(|range| range.family() == *family)
                    && (unreserved == 0 || !is_open) =>
                {
                    reserved_in_use(available, *family, allocator)
                }
                () if unreserved == 0 => Some(Self::AllReserved { family: *family, capacity }),
                () if in_use.of(*family) - pools.withheld_in_use(&pool.name, *family, allocator)
                    >= unreserved =>
                {
                    Some(Self::AllInUse {
                        family: *family,
                        capacity,
                        with_reserved: unreserved < capacity,
                        services: in_use.services,
                    })
                }
                () => None,
            }
        });
        short.unwrap_or(Self::NoneNow(wanted[0]))
    }
}

/// All that is reserved for the Service is in use; `None` if some is not.
fn reserved_in_use(
    available: &AvailableRanges<'_>,
    family: IpFamily,
    allocator: &Allocator,
) -> Option<PoolFailure> {
    let ranges = || available.reserved.iter().filter(|range| range.family() == family);
    let used: i64 = ranges().map(|range| allocator.used_in(range)).sum();
    let size =
        ranges().map(|range| range.usable(available.pool.avoid_buggy_ips)).fold(0, i64::saturating_add);
    (used > 0 && used >= size).then(|| {
        let holders = holders(ranges(), used, MAX_HOLDERS_OF_POOL, allocator);
        PoolFailure::ReservedInUse { family, holders }
    })
}

/// What there is to say of `pool` if all addresses of a family are in use or
/// reserved: who has them.
pub(crate) fn exhaustion(pool: &str, pools: &Pools, allocator: &Allocator) -> Option<String> {
    let total = pools.capacity(pool);
    let reserved = pools.config.pools.get(pool).map(|pool| &pool.reservations)?;
    let texts = [IpFamily::V4, IpFamily::V6].into_iter().filter_map(|family| {
        let (capacity, unreserved) = (total.of_family(family), total.unreserved_of_family(family));
        let used = allocator.in_use(pool).of(family) - pools.withheld_in_use(pool, family, allocator);
        // Most pools are far from it, and it is not necessary to count.
        if capacity == 0 || used < unreserved {
            return None;
        }
        let of_family = |range: &&AddressRange| range.family() == family;
        let ranges = reserved.iter().flat_map(|entry| &entry.ranges).filter(of_family);
        let used_by_right: i64 = ranges.map(|range| allocator.used_in(range)).sum();
        if unreserved > 0 && used - used_by_right < unreserved || used < capacity && unreserved == 0 {
            return None;
        }
        let holders = holders(total.assignable.iter().filter(of_family), used, MAX_HOLDERS, allocator);
        let held = match capacity - used {
            0 => String::new(),
            free => format!(", {free} reserved and not in use"),
        };
        Some(format!("no free {family} address: {used} of {capacity} in use{held}: {holders}"))
    });
    Some(texts.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
}

/// `10.0.0.1 default/a, 10.0.0.2 default/b, default/c and 7 more`, of `used`
/// addresses in all, of which at most `most` are named.
fn holders<'a>(
    ranges: impl Iterator<Item = &'a AddressRange>,
    used: i64,
    most: usize,
    allocator: &Allocator,
) -> String {
    let named: Vec<String> = ranges.flat_map(|range| allocator.users_in(range)).take(most).collect();
    let more = used - i64::try_from(named.len()).expect("a few");
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
