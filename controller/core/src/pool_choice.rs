//! Which addresses a Service without any is given, and from which pool (C30 to C44).

use std::fmt;
use std::net::IpAddr;

use ferrolb_api::annotations::LOAD_BALANCER_IPS;
use ferrolb_api::config::{Pool, Unavailable};
use ferrolb_api::service::FamilyPolicy;
use ferrolb_api::{IpFamilies, IpFamily, Service};

use crate::allocator::{Allocator, Assignment};
use crate::exhaustion::{PoolFailure, PoolFailures};
use crate::pools::{AvailableRanges, Pools, TwoPools};
use crate::sharing::{SharingConflict, SharingSpec};

/// Why a Service cannot be given an address (F24).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocationError {
    /// C12
    #[error("there is no IPAddressPool")]
    NoPools,
    /// C34
    #[error("pool {0:?}, which it asks for, does not exist")]
    UnknownPool(String),
    /// The pool's last edit went wrong.
    #[error("pool {0:?}, which it asks for, is not valid; its Ready condition says why")]
    RejectedPool(String),
    /// C36
    #[error("pool {0:?} is not for this Service: its serviceAllocation says otherwise")]
    NotAdmitted(String),
    /// C32
    #[error("the Service is {service}, the addresses it asks for are {requested}; {}", remedy(*.service))]
    Families {
        /// What it asks for.
        requested: IpFamilies,
        /// What its cluster IPs are.
        service: IpFamilies,
    },
    /// C21
    #[error("no pool holds {}, which it asks for", list(.0))]
    NotInPool(Vec<IpAddr>),
    /// C21
    #[error("{0}")]
    TwoPools(TwoPools),
    /// C32
    #[error("it asks for pool {requested:?} and for an address of pool {owner:?}")]
    OtherPool {
        /// The pool it asks for.
        requested: String,
        /// The pool that has the address it asks for.
        owner: String,
    },
    /// C50
    #[error(transparent)]
    Conflict(SharingConflict),
    /// The pool excludes it, avoids it or holds it for another Service.
    #[error("{0}, and it asks for it")]
    Unavailable(Unavailable),
    /// C34, C41, C42
    #[error("pool {pool:?}, which it asks for, has no free {families} address: {why}{}", Also(.sharing))]
    Exhausted {
        /// The pool it asks for.
        pool: String,
        /// What is missing.
        families: IpFamilies,
        /// Why.
        why: PoolFailure,
        /// Why it does not share one with another Service that has its key.
        sharing: Option<Box<SharingConflict>>,
    },
    /// C35
    #[error("no pool has a free {families} address for it: {failures}{}", Also(.sharing))]
    NothingFree {
        /// What is missing.
        families: IpFamilies,
        /// The pools, and why each has none.
        failures: PoolFailures,
        /// Why it does not share one with another Service that has its key.
        sharing: Option<Box<SharingConflict>>,
    },
}

/// What to do if what is asked for is not of the families of the `service`.
fn remedy(service: IpFamilies) -> String {
    match service {
        IpFamilies::Single(family) => format!("ask for one {family} address"),
        IpFamilies::Dual => {
            format!("ask for one IPv4 and one IPv6 address by the annotation {LOAD_BALANCER_IPS}")
        }
    }
}

/// A last part of a text, if there is one.
struct Also<'a>(&'a Option<Box<SharingConflict>>);

impl fmt::Display for Also<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |conflict| write!(f, "; {conflict}"))
    }
}

/// `a, b`.
pub(crate) fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Finds addresses for `service`, which holds none: those it asks for, from the
/// pool it asks for, or from the first that has some (C30).
///
/// # Errors
/// If there is nothing for it.
pub(crate) fn choose(
    service: &Service,
    families: IpFamilies,
    requested: Option<&[IpAddr]>,
    sharing: &SharingSpec,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Result<Assignment, AllocationError> {
    let requested_pool = crate::request::pool(service);
    if let Some(addresses) = requested {
        return explicit(service, families, addresses, requested_pool, sharing, pools, allocator);
    }
    if let Some(name) = requested_pool {
        let pool = admitting(name, service, pools)?;
        // C44: which single family is taken does not depend on the primary one.
        let preferences = family_preferences(families, service.family_policy, IpFamily::V4);
        let available = [pools.available(pool, service)];
        let found = match reserved(service, &available, &preferences, sharing, allocator)? {
            None => from_any(&available, &preferences, sharing, allocator),
            found => found,
        };
        return found.ok_or_else(|| {
            let why = PoolFailure::of(&pools.available(pool, service), families, true, pools, allocator);
            let sharing = sharing_conflict(service, &available, families, sharing, allocator);
            AllocationError::Exhausted { pool: name.to_owned(), families, why, sharing }
        });
    }
    if pools.config.pools.is_empty() && pools.rejected.is_empty() {
        return Err(AllocationError::NoPools);
    }
    let primary = service.primary_family.unwrap_or(IpFamily::V4);
    let preferences = family_preferences(families, service.family_policy, primary);
    automatic(service, &preferences, sharing, pools, allocator)?.ok_or_else(|| {
        let failures = PoolFailures::all(service, families, pools, allocator);
        let for_all = pools.config.pools.values().filter(|pool| pool.auto_assign && pool.admits(service));
        let by_pool: Vec<_> = for_all.map(|pool| pools.available(pool, service)).collect();
        let sharing = sharing_conflict(service, &by_pool, families, sharing, allocator);
        AllocationError::NothingFree { families, failures, sharing }
    })
}

/// What keeps `service` from sharing an address with another one that has its key.
fn sharing_conflict(
    service: &Service,
    by_pool: &[AvailableRanges<'_>],
    families: IpFamilies,
    sharing: &SharingSpec,
    allocator: &Allocator,
) -> Option<Box<SharingConflict>> {
    let ranges = by_pool.iter().flat_map(|available| available.reserved.iter().chain(available.open));
    ranges
        .filter(|range| families.contains(range.family()))
        .find_map(|range| allocator.sharing_conflict(range, &service.key, sharing))
        .map(Box::new)
}

/// The pool `name`, if it exists and admits `service` (C34, C36).
fn admitting<'a>(name: &str, service: &Service, pools: &'a Pools) -> Result<&'a Pool, AllocationError> {
    let pool = pools.config.pools.get(name).ok_or_else(|| match pools.rejected.contains(name) {
        true => AllocationError::RejectedPool(name.to_owned()),
        false => AllocationError::UnknownPool(name.to_owned()),
    })?;
    pool.admits(service).then_some(pool).ok_or_else(|| AllocationError::NotAdmitted(name.to_owned()))
}

/// C32: the addresses requested, all or none.
fn explicit(
    service: &Service,
    families: IpFamilies,
    addresses: &[IpAddr],
    requested_pool: Option<&str>,
    sharing: &SharingSpec,
    pools: &Pools,
    allocator: &Allocator,
) -> Result<Assignment, AllocationError> {
    let requested = IpFamilies::of(addresses).expect("a request is one address, or one of each family");
    if requested != families {
        return Err(AllocationError::Families { requested, service: families });
    }
    let unavailable = pools.unavailable(addresses, service);
    let owner = pools.config.pool_of(addresses).ok_or_else(|| match unavailable.clone() {
        Some(unavailable) => AllocationError::Unavailable(unavailable),
        None => match pools.two_pools_of(addresses) {
            Some(two) => AllocationError::TwoPools(two),
            None => AllocationError::NotInPool(addresses.to_vec()),
        },
    })?;
    if !owner.admits(service) {
        return Err(AllocationError::NotAdmitted(owner.name.clone()));
    }
    if let Some(requested) = requested_pool.filter(|requested| *requested != owner.name) {
        return Err(AllocationError::OtherPool {
            requested: requested.to_owned(),
            owner: owner.name.clone(),
        });
    }
    if let Some(unavailable) = unavailable.or_else(|| pools.refused(addresses)) {
        return Err(AllocationError::Unavailable(unavailable));
    }
    let conflict = |address: &IpAddr| allocator.grant_conflict(*address, &service.key, sharing);
    match addresses.iter().find_map(conflict) {
        Some(conflict) => Err(AllocationError::Conflict(conflict)),
        None => Ok(Assignment { addresses: addresses.to_vec(), pool: owner.name.clone() }),
    }
}

/// What is reserved for the Service, then C35: the pools pinned to it by
/// priority, then the unpinned ones. Pools that are equal otherwise go by name
/// (W25, W26). A reservation counts as if the Service had requested the pool:
/// it holds even where `autoAssign` is false, for a family that is not reserved
/// too.
fn automatic(
    service: &Service,
    preferences: &[Vec<IpFamily>],
    sharing: &SharingSpec,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Result<Option<Assignment>, AllocationError> {
    let admitting = pools.config.pools.values().filter(|pool| pool.admits(service));
    let mut by_pool: Vec<AvailableRanges<'_>> =
        admitting.map(|pool| pools.available(pool, service)).collect();
    // Stable: the map gives them by name.
    by_pool.sort_by_key(|available| rank(available.pool));
    let found = reserved(service, &by_pool, preferences, sharing, allocator)?;
    let for_all = by_pool.into_iter().filter(|available| available.pool.auto_assign);
    let (pinned, unpinned): (Vec<_>, Vec<_>) =
        for_all.partition(|available| available.pool.allocation.is_some());
    let tiers = [pinned, unpinned];
    Ok(found.or_else(|| tiers.iter().find_map(|tier| from_any(tier, preferences, sharing, allocator))))
}

/// Addresses of which at least one is reserved for the Service. One that only
/// is pending release with somebody who has to give it back is waited for: what a Service
/// has once, it keeps.
fn reserved(
    service: &Service,
    by_pool: &[AvailableRanges<'_>],
    preferences: &[Vec<IpFamily>],
    sharing: &SharingSpec,
    allocator: &mut Allocator,
) -> Result<Option<Assignment>, AllocationError> {
    for available in by_pool.iter().filter(|available| !available.reserved.is_empty()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            if !preferences.iter().flatten().any(|preferred| *preferred == family)
                || allocator.pick(&available.clone().reserved_only(), family, sharing).is_some()
            {
                continue;
            }
            let mut ranges = available.reserved.iter().filter(|range| range.family() == family);
            if let Some(conflict) = ranges.find_map(|range| allocator.pending_release_in(range, &service.key))
            {
                return Err(AllocationError::Conflict(conflict));
            }
        }
    }
    Ok(preferences.iter().find_map(|wanted| {
        by_pool.iter().filter(|available| !available.reserved.is_empty()).find_map(|available| {
            let found = all_of(available, wanted, sharing, allocator)?;
            found.addresses.iter().any(|address| available.is_reserved(*address)).then_some(found)
        })
    }))
}

/// C35: 1 is best; 0, unset and what makes no sense come last (W26).
fn rank(pool: &Pool) -> i64 {
    let priority = pool.allocation.as_ref().map_or(0, |allocation| allocation.priority);
    if priority > 0 { priority } else { i64::MAX }
}

/// The families that the Service would take, best first (C41 to C43). Of a pair
/// the IPv4 address comes first (C47).
fn family_preferences(families: IpFamilies, policy: FamilyPolicy, primary: IpFamily) -> Vec<Vec<IpFamily>> {
    match (families, policy) {
        (IpFamilies::Single(family), _) => vec![vec![family]],
        (IpFamilies::Dual, FamilyPolicy::PreferDualStack) => {
            vec![vec![IpFamily::V4, IpFamily::V6], vec![primary], vec![primary.other()]]
        }
        (IpFamilies::Dual, _) => vec![vec![IpFamily::V4, IpFamily::V6]],
    }
}

/// C43: each preference is tried on all of `by_pool` before the next.
fn from_any(
    by_pool: &[AvailableRanges<'_>],
    preferences: &[Vec<IpFamily>],
    sharing: &SharingSpec,
    allocator: &mut Allocator,
) -> Option<Assignment> {
    preferences
        .iter()
        .find_map(|wanted| by_pool.iter().find_map(|available| all_of(available, wanted, sharing, allocator)))
}

/// One address of each family in `wanted`, or nothing.
fn all_of(
    available: &AvailableRanges<'_>,
    wanted: &[IpFamily],
    sharing: &SharingSpec,
    allocator: &mut Allocator,
) -> Option<Assignment> {
    let addresses: Option<Vec<IpAddr>> =
        wanted.iter().map(|family| allocator.pick(available, *family, sharing)).collect();
    Some(Assignment { addresses: addresses?, pool: available.pool.name.clone() })
}
