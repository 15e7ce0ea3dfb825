//! Whether a Service may keep what it has (C19 to C24).

use std::net::IpAddr;

use ferrolb_api::config::Unavailable;
use ferrolb_api::service::{FamilyPolicy, Ingress};
use ferrolb_api::{IpFamilies, Service};

use crate::allocator::{Allocator, Assignment};
use crate::pool_choice::list;
use crate::pools::Pools;
use crate::request::{self, RequestError};
use crate::sharing::{SharingConflict, SharingSpec};

/// A Service and what counts for it.
#[derive(Debug)]
pub(crate) struct RetainContext<'a> {
    /// The Service as it was seen last.
    pub(crate) service: &'a Service,
    /// Whether that version is older than what was decided last: then memory counts
    /// before the status it shows, otherwise after it.
    pub(crate) is_stale: bool,
    /// The pools.
    pub(crate) pools: &'a Pools,
    /// How it shares an address.
    pub(crate) sharing: SharingSpec,
    /// The addresses it asks for.
    pub(crate) requested: Result<Option<Vec<IpAddr>>, RequestError>,
}

/// Why a Service cannot keep its addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RetainError {
    /// C17
    #[error("it is not one address, nor one of each family")]
    Families,
    /// C19
    #[error("the Service is {service} now")]
    FamiliesChanged {
        /// What its cluster IPs are.
        service: IpFamilies,
    },
    /// C21
    #[error("no pool holds it")]
    NotInPool,
    /// The pool excludes it, avoids it or holds it for another Service (C62, C64).
    #[error(transparent)]
    Unavailable(Unavailable),
    /// C36
    #[error("pool {0:?} is not for this Service: its serviceAllocation says otherwise")]
    NotAdmitted(String),
    /// C50
    #[error(transparent)]
    Conflict(SharingConflict),
    /// C22
    #[error("pool {0:?} is asked for")]
    OtherPoolRequested(String),
    /// C24
    #[error("{} is asked for", list(.0))]
    OtherAddressRequested(Vec<IpAddr>),
}

impl RetainError {
    /// Whether the Service itself requested the change.
    pub(crate) fn is_requested(&self) -> bool {
        matches!(self, Self::OtherPoolRequested(_) | Self::OtherAddressRequested(_))
    }

    /// Whether no pool lets the Service have them, which may be a slip that is put right: they are kept for it.
    pub(crate) fn is_of_pools(&self) -> bool {
        matches!(self, Self::NotInPool | Self::NotAdmitted(_) | Self::Unavailable(_))
    }

    /// Whether an edit of another Service may end it.
    pub(crate) fn may_settle(&self) -> bool {
        matches!(self, Self::Conflict(conflict) if conflict.may_settle())
    }
}

impl<'a> RetainContext<'a> {
    /// The situation of `service`.
    pub(crate) fn new(service: &'a Service, is_stale: bool, pools: &'a Pools) -> Self {
        Self {
            service,
            is_stale,
            pools,
            sharing: SharingSpec::of(service),
            requested: request::addresses(service),
        }
    }

    /// C19 to C24: the first of what it has that it may keep.
    pub(crate) fn retain(
        &self,
        allocator: &Allocator,
        families: IpFamilies,
    ) -> Result<Assignment, RetainError> {
        let held = allocator.holding(&self.service.key);
        // What a rejected pool gave is left where it stands, but not written anew (S2).
        let in_memory = held.map(|held| {
            let stands = same_set(&held.addresses, &self.shown());
            (held.addresses.clone(), stands.then_some(held.pool.as_str()))
        });
        let shown = Some(self.shown()).filter(|shown| !shown.is_empty() && !self.unparsable());
        // A pair whose second address is on its way counts as known, too.
        let is_stale = self.is_stale
            || held
                .zip(shown.as_ref())
                .is_some_and(|(held, shown)| shown.iter().all(|address| held.addresses.contains(address)));
        let in_status = shown.map(|shown| (shown, self.service.annotations.origin()));
        let candidates = if is_stale { [in_memory, in_status] } else { [in_status, in_memory] };
        let mut errors = Vec::new();
        for (addresses, origin) in candidates.into_iter().flatten() {
            match self.may_retain(&addresses, origin, families, allocator) {
                Ok(pool) => return Ok(Assignment { addresses, pool }),
                Err(error) => errors.push((addresses, error)),
            }
        }
        // What counts is why it loses what it has.
        let current = self.current(allocator);
        let error = errors.into_iter().find(|(addresses, _)| *addresses == current);
        Err(error.map_or(RetainError::Families, |(_, error)| error))
    }

    /// The pool that lets it keep `addresses`, which once came from `origin`.
    fn may_retain(
        &self,
        addresses: &[IpAddr],
        origin: Option<&str>,
        families: IpFamilies,
        allocator: &Allocator,
    ) -> Result<String, RetainError> {
        let has = IpFamilies::of(addresses).ok_or(RetainError::Families)?;
        let half = has != IpFamilies::Dual && families == IpFamilies::Dual;
        if has != families && !(half && self.service.family_policy == FamilyPolicy::PreferDualStack) {
            return Err(RetainError::FamiliesChanged { service: families });
        }
        let pool = self.owner(addresses, origin)?;
        if let Some(conflict) = addresses.iter().find_map(|address| self.conflict(*address, allocator)) {
            return Err(RetainError::Conflict(conflict));
        }
        if let Some(requested) = request::pool(self.service).filter(|requested| *requested != pool) {
            return Err(RetainError::OtherPoolRequested(requested.to_owned()));
        }
        match &self.requested {
            Ok(Some(requested)) if !same_set(requested, addresses) => {
                Err(RetainError::OtherAddressRequested(requested.clone()))
            }
            _ => Ok(pool),
        }
    }

    /// The pool that gives `addresses` back, which the Service has lost.
    pub(crate) fn may_return(
        &self,
        addresses: &[IpAddr],
        families: IpFamilies,
        allocator: &Allocator,
    ) -> Option<String> {
        let key = &self.service.key;
        let is_free = |address: &IpAddr| allocator.grant_conflict(*address, key, &self.sharing).is_none();
        let pool = self.may_retain(addresses, None, families, allocator).ok()?;
        addresses.iter().all(is_free).then_some(pool)
    }

    /// C21: the pool that holds all of `addresses`, admits the Service and
    /// withholds none of them. A
    /// pool that exists but is not valid keeps what came from it: an edit gone
    /// wrong takes no address away.
    pub(crate) fn owner(&self, addresses: &[IpAddr], origin: Option<&str>) -> Result<String, RetainError> {
        let pool = self.pools.config.pool_of(addresses);
        match (pool, origin.filter(|origin| self.pools.rejected.contains(*origin))) {
            (Some(pool), _) if pool.admits(self.service) => {
                match self.pools.unavailable(addresses, self.service) {
                    Some(unavailable) => Err(RetainError::Unavailable(unavailable)),
                    None => Ok(pool.name.clone()),
                }
            }
            (_, Some(origin)) => Ok(origin.to_owned()),
            (Some(pool), None) => Err(RetainError::NotAdmitted(pool.name.clone())),
            (None, None) => {
                let unavailable = self.pools.unavailable(addresses, self.service);
                Err(unavailable.map_or(RetainError::NotInPool, RetainError::Unavailable))
            }
        }
    }

    /// What keeps it from keeping `address` (C50).
    pub(crate) fn conflict(&self, address: IpAddr, allocator: &Allocator) -> Option<SharingConflict> {
        allocator.retain_conflict(address, &self.service.key, &self.sharing)
    }

    /// What it has: in memory, else in its status.
    pub(crate) fn current(&self, allocator: &Allocator) -> Vec<IpAddr> {
        allocator.holding(&self.service.key).map_or_else(|| self.shown(), |held| held.addresses.clone())
    }

    /// Whether its status has an entry that is no address (C17).
    pub(crate) fn unparsable(&self) -> bool {
        self.service.ingress.iter().any(|entry| matches!(entry, Ingress::Unparsable(_)))
    }

    /// The addresses in its status.
    pub(crate) fn shown(&self) -> Vec<IpAddr> {
        self.service.ingress_ips().collect()
    }
}

fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}
