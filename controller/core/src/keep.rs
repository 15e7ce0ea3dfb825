//! Whether a Service may keep what it has (C19 to C24).

use std::net::IpAddr;

use ferrolb_api::config::Withheld;
use ferrolb_api::service::{FamilyPolicy, Ingress};
use ferrolb_api::{IpFamilies, Service};

use crate::allocator::{Allocator, Assignment};
use crate::pool_choice::list;
use crate::pools::Pools;
use crate::request::{self, RequestError};
use crate::sharing::{Conflict, Terms};

/// A Service and what counts for it.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    /// The Service as it was seen last.
    pub(crate) service: &'a Service,
    /// Whether that view is older than what was decided last: then memory counts
    /// before the status it shows, otherwise after it.
    pub(crate) answered: bool,
    /// The pools.
    pub(crate) pools: &'a Pools,
    /// On which terms it uses an address.
    pub(crate) terms: Terms,
    /// The addresses it asks for.
    pub(crate) asked: Result<Option<Vec<IpAddr>>, RequestError>,
}

/// Why a Service cannot keep its addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Loss {
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
    Withheld(Withheld),
    /// C36
    #[error("pool {0:?} is not for this Service: its serviceAllocation says otherwise")]
    NotAdmitted(String),
    /// C50
    #[error(transparent)]
    Conflict(Conflict),
    /// C22
    #[error("pool {0:?} is asked for")]
    OtherPoolAsked(String),
    /// C24
    #[error("{} is asked for", list(.0))]
    OtherAddressAsked(Vec<IpAddr>),
}

impl Loss {
    /// Whether the Service itself asked for the change.
    pub(crate) fn is_asked_for(&self) -> bool {
        matches!(self, Self::OtherPoolAsked(_) | Self::OtherAddressAsked(_))
    }
}

impl<'a> Situation<'a> {
    /// The situation of `service`.
    pub(crate) fn new(service: &'a Service, answered: bool, pools: &'a Pools) -> Self {
        Self { service, answered, pools, terms: Terms::of(service), asked: request::addresses(service) }
    }

    /// C19 to C24: the first of what it has that it may keep.
    pub(crate) fn keep(&self, allocator: &Allocator, families: IpFamilies) -> Result<Assignment, Loss> {
        let held = allocator.holding(&self.service.key);
        // What a rejected pool gave is left where it stands, but not written anew (S2).
        let in_memory = held.map(|held| {
            let stands = same_set(&held.addresses, &self.shown());
            (held.addresses.clone(), stands.then_some(held.pool.as_str()))
        });
        let shown = Some(self.shown()).filter(|shown| !shown.is_empty() && !self.unparsable());
        // A pair whose second address is on its way counts as known, too.
        let answered = self.answered
            || held
                .zip(shown.as_ref())
                .is_some_and(|(held, shown)| shown.iter().all(|address| held.addresses.contains(address)));
        let in_status = shown.map(|shown| (shown, self.service.annotations.allocated_from_pool.as_deref()));
        let candidates = if answered { [in_memory, in_status] } else { [in_status, in_memory] };
        let mut losses = Vec::new();
        for (addresses, origin) in candidates.into_iter().flatten() {
            match self.may_keep(&addresses, origin, families, allocator) {
                Ok(pool) => return Ok(Assignment { addresses, pool }),
                Err(loss) => losses.push((addresses, loss)),
            }
        }
        // What counts is why it loses what it has.
        let current = self.current(allocator);
        let loss = losses.into_iter().find(|(addresses, _)| *addresses == current);
        Err(loss.map_or(Loss::Families, |(_, loss)| loss))
    }

    /// The pool that lets it keep `addresses`, which once came from `origin`.
    fn may_keep(
        &self,
        addresses: &[IpAddr],
        origin: Option<&str>,
        families: IpFamilies,
        allocator: &Allocator,
    ) -> Result<String, Loss> {
        let has = IpFamilies::of(addresses).ok_or(Loss::Families)?;
        let half = has != IpFamilies::Dual && families == IpFamilies::Dual;
        if has != families && !(half && self.service.family_policy == FamilyPolicy::PreferDualStack) {
            return Err(Loss::FamiliesChanged { service: families });
        }
        let pool = self.owner(addresses, origin)?;
        if let Some(conflict) = addresses.iter().find_map(|address| self.conflict(*address, allocator)) {
            return Err(Loss::Conflict(conflict));
        }
        if let Some(asked) = request::pool(self.service).filter(|asked| *asked != pool) {
            return Err(Loss::OtherPoolAsked(asked.to_owned()));
        }
        match &self.asked {
            Ok(Some(asked)) if !same_set(asked, addresses) => Err(Loss::OtherAddressAsked(asked.clone())),
            _ => Ok(pool),
        }
    }

    /// C21: the pool that holds all of `addresses`, admits the Service and
    /// withholds none of them. A
    /// pool that exists but is not valid keeps what came from it: an edit gone
    /// wrong takes no address away.
    pub(crate) fn owner(&self, addresses: &[IpAddr], origin: Option<&str>) -> Result<String, Loss> {
        let pool = self.pools.config.pool_of(addresses);
        match (pool, origin.filter(|origin| self.pools.rejected.contains(*origin))) {
            (Some(pool), _) if pool.admits(self.service) => {
                match self.pools.withheld(addresses, self.service) {
                    Some(withheld) => Err(Loss::Withheld(withheld)),
                    None => Ok(pool.name.clone()),
                }
            }
            (_, Some(origin)) => Ok(origin.to_owned()),
            (Some(pool), None) => Err(Loss::NotAdmitted(pool.name.clone())),
            (None, None) => {
                let withheld = self.pools.withheld(addresses, self.service);
                Err(withheld.map_or(Loss::NotInPool, Loss::Withheld))
            }
        }
    }

    /// What keeps it from keeping `address` (C50).
    pub(crate) fn conflict(&self, address: IpAddr, allocator: &Allocator) -> Option<Conflict> {
        allocator.keep_conflict(address, &self.service.key, &self.terms)
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
