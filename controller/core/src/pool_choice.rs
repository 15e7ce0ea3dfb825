//! Which addresses a Service without any is given, and from which pool (C30 to C44).

use std::net::IpAddr;

use ferrolb_api::config::{Pool, Withheld};
use ferrolb_api::service::FamilyPolicy;
use ferrolb_api::{IpFamilies, IpFamily, Service};

use crate::allocator::{Allocator, Assignment};
use crate::pools::{Offer, Pools};
use crate::sharing::{Conflict, Terms};
use crate::shortage::{Refusal, Tried};

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
    #[error("the Service is {service}, the addresses it asks for are {asked}")]
    Families {
        /// What it asks for.
        asked: IpFamilies,
        /// What its cluster IPs are.
        service: IpFamilies,
    },
    /// C21
    #[error("no pool holds {}, which it asks for", list(.0))]
    NotInPool(Vec<IpAddr>),
    /// C32
    #[error("it asks for pool {asked:?} and for an address of pool {owner:?}")]
    OtherPool {
        /// The pool it asks for.
        asked: String,
        /// The pool that has the address it asks for.
        owner: String,
    },
    /// C50
    #[error(transparent)]
    Conflict(Conflict),
    /// The pool excludes it, avoids it or holds it for another Service.
    #[error("{0}, and it asks for it")]
    Withheld(Withheld),
    /// C34, C41, C42
    #[error("pool {pool:?}, which it asks for, has no free {families} address: {why}")]
    Exhausted {
        /// The pool it asks for.
        pool: String,
        /// What is missing.
        families: IpFamilies,
        /// Why.
        why: Refusal,
    },
    /// C35
    #[error("no pool has a free {families} address for it: {tried}")]
    NothingFree {
        /// What is missing.
        families: IpFamilies,
        /// The pools, and why each has none.
        tried: Tried,
    },
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
    asked: Option<&[IpAddr]>,
    terms: &Terms,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Result<Assignment, AllocationError> {
    let asked_pool = crate::request::pool(service);
    if let Some(addresses) = asked {
        return explicit(service, families, addresses, asked_pool, terms, pools, allocator);
    }
    if let Some(name) = asked_pool {
        let pool = pools.admitting(name, service)?;
        // C44: which single family is taken does not depend on the primary one.
        let wishes = wishes(families, service.family_policy, IpFamily::V4);
        let offer = [pools.offer(pool, service)];
        let found = match reserved(service, &offer, &wishes, terms, allocator)? {
            None => from_any(&offer, &wishes, terms, allocator),
            found => found,
        };
        return found.ok_or_else(|| {
            let why = Refusal::of(&pools.offer(pool, service), families, true, pools, allocator);
            AllocationError::Exhausted { pool: name.to_owned(), families, why }
        });
    }
    if pools.config.pools.is_empty() && pools.rejected.is_empty() {
        return Err(AllocationError::NoPools);
    }
    let primary = service.primary_family.unwrap_or(IpFamily::V4);
    let wishes = wishes(families, service.family_policy, primary);
    automatic(service, &wishes, terms, pools, allocator)?.ok_or_else(|| {
        let tried = Tried::all(service, families, pools, allocator);
        AllocationError::NothingFree { families, tried }
    })
}

/// C32: the addresses asked for, all or none.
fn explicit(
    service: &Service,
    families: IpFamilies,
    addresses: &[IpAddr],
    asked_pool: Option<&str>,
    terms: &Terms,
    pools: &Pools,
    allocator: &Allocator,
) -> Result<Assignment, AllocationError> {
    let asked = IpFamilies::of(addresses).expect("a request is one address, or one of each family");
    if asked != families {
        return Err(AllocationError::Families { asked, service: families });
    }
    let withheld = pools.withheld(addresses, service);
    let owner = pools.config.pool_of(addresses).ok_or_else(|| match withheld.clone() {
        Some(withheld) => AllocationError::Withheld(withheld),
        None => AllocationError::NotInPool(addresses.to_vec()),
    })?;
    if !owner.admits(service) {
        return Err(AllocationError::NotAdmitted(owner.name.clone()));
    }
    if let Some(asked) = asked_pool.filter(|asked| *asked != owner.name) {
        return Err(AllocationError::OtherPool { asked: asked.to_owned(), owner: owner.name.clone() });
    }
    if let Some(withheld) = withheld {
        return Err(AllocationError::Withheld(withheld));
    }
    let conflict = |address: &IpAddr| allocator.grant_conflict(*address, &service.key, terms);
    match addresses.iter().find_map(conflict) {
        Some(conflict) => Err(AllocationError::Conflict(conflict)),
        None => Ok(Assignment { addresses: addresses.to_vec(), pool: owner.name.clone() }),
    }
}

/// What is reserved for the Service, then C35: the pools pinned to it by
/// priority, then the unpinned ones. Pools that are equal otherwise go by name
/// (W25, W26). A reservation counts as if the Service had asked for the pool:
/// it holds even where `autoAssign` is false, for a family that is not reserved
/// too.
fn automatic(
    service: &Service,
    wishes: &[Vec<IpFamily>],
    terms: &Terms,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Result<Option<Assignment>, AllocationError> {
    let admitting = pools.config.pools.values().filter(|pool| pool.admits(service));
    let mut offers: Vec<Offer<'_>> = admitting.map(|pool| pools.offer(pool, service)).collect();
    // Stable: the map gives them by name.
    offers.sort_by_key(|offer| rank(offer.pool));
    let found = reserved(service, &offers, wishes, terms, allocator)?;
    let for_all = offers.into_iter().filter(|offer| offer.pool.auto_assign);
    let (pinned, unpinned): (Vec<_>, Vec<_>) = for_all.partition(|offer| offer.pool.allocation.is_some());
    let tiers = [pinned, unpinned];
    Ok(found.or_else(|| tiers.iter().find_map(|tier| from_any(tier, wishes, terms, allocator))))
}

/// Addresses of which at least one is reserved for the Service. One that only
/// lingers with somebody who has to give it back is waited for: what a Service
/// has once, it keeps.
fn reserved(
    service: &Service,
    offers: &[Offer<'_>],
    wishes: &[Vec<IpFamily>],
    terms: &Terms,
    allocator: &mut Allocator,
) -> Result<Option<Assignment>, AllocationError> {
    for offer in offers.iter().filter(|offer| !offer.reserved.is_empty()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            if !wishes.iter().flatten().any(|wished| *wished == family)
                || allocator.pick(&offer.clone().reserved_only(), family, terms).is_some()
            {
                continue;
            }
            let mut ranges = offer.reserved.iter().filter(|range| range.family() == family);
            if let Some(conflict) = ranges.find_map(|range| allocator.lingers_in(range, &service.key)) {
                return Err(AllocationError::Conflict(conflict));
            }
        }
    }
    Ok(wishes.iter().find_map(|wish| {
        offers.iter().filter(|offer| !offer.reserved.is_empty()).find_map(|offer| {
            let found = all_of(offer, wish, terms, allocator)?;
            found.addresses.iter().any(|address| offer.is_reserved(*address)).then_some(found)
        })
    }))
}

/// C35: 1 is best; 0, unset and what makes no sense come last (W26).
fn rank(pool: &Pool) -> i64 {
    let priority = pool.allocation.as_ref().map_or(0, |allocation| allocation.priority);
    if priority > 0 { priority } else { i64::MAX }
}

/// What the Service would take, best first (C41 to C43). Of a pair the IPv4
/// address comes first (C47).
fn wishes(families: IpFamilies, policy: FamilyPolicy, primary: IpFamily) -> Vec<Vec<IpFamily>> {
    match (families, policy) {
        (IpFamilies::Single(family), _) => vec![vec![family]],
        (IpFamilies::Dual, FamilyPolicy::PreferDualStack) => {
            vec![vec![IpFamily::V4, IpFamily::V6], vec![primary], vec![primary.other()]]
        }
        (IpFamilies::Dual, _) => vec![vec![IpFamily::V4, IpFamily::V6]],
    }
}

/// C43: one wish is tried on all of `offers` before the next.
fn from_any(
    offers: &[Offer<'_>],
    wishes: &[Vec<IpFamily>],
    terms: &Terms,
    allocator: &mut Allocator,
) -> Option<Assignment> {
    wishes.iter().find_map(|wish| offers.iter().find_map(|offer| all_of(offer, wish, terms, allocator)))
}

/// One address of each family in `wish`, or nothing.
fn all_of(
    offer: &Offer<'_>,
    wish: &[IpFamily],
    terms: &Terms,
    allocator: &mut Allocator,
) -> Option<Assignment> {
    let addresses: Option<Vec<IpAddr>> =
        wish.iter().map(|family| allocator.pick(offer, *family, terms)).collect();
    Some(Assignment { addresses: addresses?, pool: offer.pool.name.clone() })
}
