//! Which addresses a Service without any is given, and from which pool (C30 to C44).

use std::collections::BTreeSet;
use std::net::IpAddr;

use metallb_api::config::Pool;
use metallb_api::service::FamilyPolicy;
use metallb_api::{Config, IpFamilies, IpFamily, Service};

use crate::allocator::{Allocator, Assignment};
use crate::sharing::{Conflict, Terms};

/// The pools as they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pools {
    /// Those in force, and the advertisements.
    pub(crate) config: Config,
    /// Names of pools that exist, but no valid version of them is known.
    pub(crate) rejected: BTreeSet<String>,
}

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
    /// C34, C41, C42
    #[error("pool {pool:?} has no free {families} address")]
    Exhausted {
        /// The pool it asks for.
        pool: String,
        /// What is missing.
        families: IpFamilies,
    },
    /// C35
    #[error("no pool that serves it has a free {0} address")]
    NothingFree(IpFamilies),
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
        return from_pool(pool, &wishes, terms, allocator)
            .ok_or_else(|| AllocationError::Exhausted { pool: name.to_owned(), families });
    }
    if pools.config.pools.is_empty() && pools.rejected.is_empty() {
        return Err(AllocationError::NoPools);
    }
    let primary = service.primary_family.unwrap_or(IpFamily::V4);
    automatic(service, &wishes(families, service.family_policy, primary), terms, &pools.config, allocator)
        .ok_or(AllocationError::NothingFree(families))
}

impl Pools {
    /// The pool `name`, if it exists and admits `service`.
    fn admitting(&self, name: &str, service: &Service) -> Result<&Pool, AllocationError> {
        let pool = self.config.pools.get(name).ok_or_else(|| match self.rejected.contains(name) {
            true => AllocationError::RejectedPool(name.to_owned()),
            false => AllocationError::UnknownPool(name.to_owned()),
        })?;
        pool.admits(service).then_some(pool).ok_or_else(|| AllocationError::NotAdmitted(name.to_owned()))
    }
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
    let owner =
        pools.config.pool_of(addresses).ok_or_else(|| AllocationError::NotInPool(addresses.to_vec()))?;
    if !owner.admits(service) {
        return Err(AllocationError::NotAdmitted(owner.name.clone()));
    }
    if let Some(asked) = asked_pool.filter(|asked| *asked != owner.name) {
        return Err(AllocationError::OtherPool { asked: asked.to_owned(), owner: owner.name.clone() });
    }
    let conflict = |address: &IpAddr| allocator.grant_conflict(*address, &service.key, terms);
    match addresses.iter().find_map(conflict) {
        Some(conflict) => Err(AllocationError::Conflict(conflict)),
        None => Ok(Assignment { addresses: addresses.to_vec(), pool: owner.name.clone() }),
    }
}

/// C35: the pools pinned to the Service by priority, then the unpinned ones.
/// Pools that are equal otherwise go by name (W25, W26).
fn automatic(
    service: &Service,
    wishes: &[Vec<IpFamily>],
    terms: &Terms,
    config: &Config,
    allocator: &mut Allocator,
) -> Option<Assignment> {
    let open = || config.pools.values().filter(|pool| pool.auto_assign);
    let mut pinned: Vec<&Pool> =
        open().filter(|pool| pool.allocation.is_some() && pool.admits(service)).collect();
    // Stable: the map gives them by name.
    pinned.sort_by_key(|pool| rank(pool));
    let unpinned: Vec<&Pool> = open().filter(|pool| pool.allocation.is_none()).collect();
    [pinned, unpinned].iter().find_map(|tier| {
        // C43: one wish is tried on the whole tier before the next.
        wishes.iter().find_map(|wish| tier.iter().find_map(|pool| all_of(pool, wish, terms, allocator)))
    })
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

fn from_pool(
    pool: &Pool,
    wishes: &[Vec<IpFamily>],
    terms: &Terms,
    allocator: &mut Allocator,
) -> Option<Assignment> {
    wishes.iter().find_map(|wish| all_of(pool, wish, terms, allocator))
}

/// One address of each family in `wish`, or nothing.
fn all_of(pool: &Pool, wish: &[IpFamily], terms: &Terms, allocator: &mut Allocator) -> Option<Assignment> {
    let addresses: Option<Vec<IpAddr>> =
        wish.iter().map(|family| allocator.pick(pool, *family, terms)).collect();
    Some(Assignment { addresses: addresses?, pool: pool.name.clone() })
}
