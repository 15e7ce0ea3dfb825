//! Addresses of a pool that are not for everybody: reserved for the Services
//! that match, or excluded.

use std::fmt;
use std::net::IpAddr;

use super::{Occupant, Pool};
use crate::address::{AddressRange, is_buggy};
use crate::selector::Selector;
use crate::service::Service;

/// An entry of `spec.reservations`: nobody but the Services that match gets
/// these addresses, and those get them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The addresses, all of them in the pool.
    pub ranges: Vec<AddressRange>,
    /// The namespace of the Services; `None` is any.
    pub namespace: Option<String>,
    /// The name of the Services; `None` is any.
    pub name: Option<String>,
    /// The labels of the Services; `None` is any.
    pub service_selector: Option<Selector>,
    /// Why, in the words of its author; may be empty.
    pub reason: String,
}

/// An entry of `spec.excludedAddresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The addresses.
    pub ranges: Vec<AddressRange>,
    /// Why, in the words of its author; may be empty.
    pub reason: String,
}

/// Why a pool does not let a Service have one of its addresses. The text names
/// the entry and its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Another Service's reservation.
    #[error("{address} of pool {pool:?} is reserved for {holder}{}", Because(.reason))]
    Reserved {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: String,
        /// Whom it is reserved for.
        holder: String,
        /// The reservation's reason.
        reason: String,
    },
    /// The pool excludes it.
    #[error("{address} is among the excludedAddresses of pool {pool:?}{}", Because(.reason))]
    Excluded {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: String,
        /// The exclusion's reason.
        reason: String,
    },
    /// Somebody else has it.
    #[error("{address} of pool {pool:?} is withheld: it is {by}")]
    Withheld {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: String,
        /// Who has it.
        by: Occupant,
    },
    /// A14: the pool avoids it.
    #[error("{address} ends in .0 or .255, which pool {pool:?} avoids")]
    Buggy {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: String,
    },
}

struct Because<'a>(&'a str);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

impl Reservation {
    /// Whether the addresses are held for `service`: everything that is given
    /// must hold.
    #[must_use]
    pub fn matches(&self, service: &Service) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == service.key.namespace())
            && self.name.as_deref().is_none_or(|name| name == service.key.name())
            && self.service_selector.as_ref().is_none_or(|selector| selector.matches(&service.labels))
    }

    /// Whom the addresses are held for, in words.
    #[must_use]
    pub fn holder(&self) -> String {
        let mut holder = match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => format!("Service {namespace}/{name}"),
            (Some(namespace), None) => format!("Services in namespace {namespace}"),
            (None, Some(name)) => format!("Services named {name}"),
            (None, None) => "Services".to_owned(),
        };
        if let Some(selector) = &self.service_selector {
            holder.push_str(&format!(" with {selector}"));
        }
        holder
    }
}

impl Pool {
    /// The reservation that holds the address, if one does.
    #[must_use]
    pub fn reservation_of(&self, address: IpAddr) -> Option<&Reservation> {
        self.reservations.iter().find(|entry| holds(&entry.ranges, address))
    }

    /// The exclusion that covers the address, if one does.
    #[must_use]
    pub fn exclusion_of(&self, address: IpAddr) -> Option<&Exclusion> {
        self.exclusions.iter().find(|entry| holds(&entry.ranges, address))
    }

    /// Why `service` may not have this address of the pool, whoever uses it now.
    #[must_use]
    pub fn unavailable(&self, address: IpAddr, service: &Service) -> Option<Unavailable> {
        let pool = self.name.clone();
        if let Some(entry) = self.exclusion_of(address) {
            return Some(Unavailable::Excluded { address, pool, reason: entry.reason.clone() });
        }
        if self.avoid_buggy_ips && is_buggy(address) {
            return Some(Unavailable::Buggy { address, pool });
        }
        let entry = self.reservation_of(address).filter(|entry| !entry.matches(service))?;
        let (holder, reason) = (entry.holder(), entry.reason.clone());
        Some(Unavailable::Reserved { address, pool, holder, reason })
    }

    /// Why nobody is given this address even by its name: somebody else has it.
    #[must_use]
    pub fn refused(&self, address: IpAddr) -> Option<Unavailable> {
        let by = self.occupant_of(address).filter(|by| !by.yields_to_a_request())?.clone();
        Some(Unavailable::Withheld { address, pool: self.name.clone(), by })
    }

    /// Takes from reservations what the pool does not have any more.
    pub(super) fn clip_reservations(&mut self) {
        for entry in &mut self.reservations {
            let outside = without(&entry.ranges, self.ranges.iter());
            entry.ranges = without(&entry.ranges, outside.iter());
        }
    }

    /// The pool's ranges in written order, without what is excluded or withheld.
    #[must_use]
    pub fn assignable(&self) -> Vec<AddressRange> {
        let exclusions = self.exclusions.iter().flat_map(|entry| &entry.ranges);
        self.without_withheld(&without(&self.ranges, exclusions))
    }

    /// What is left of `ranges` without the addresses that somebody else has.
    #[must_use]
    pub fn without_withheld(&self, ranges: &[AddressRange]) -> Vec<AddressRange> {
        let single = |address: &IpAddr| AddressRange::new(*address, *address);
        let withheld: Vec<_> = self.withheld.keys().filter_map(single).collect();
        without(ranges, withheld.iter())
    }

    /// The pool's ranges in written order, without what is excluded, withheld or reserved.
    #[must_use]
    pub fn unreserved(&self) -> Vec<AddressRange> {
        without(&self.assignable(), self.reservations.iter().flat_map(|entry| &entry.ranges))
    }
}

fn holds(ranges: &[AddressRange], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

/// What is left of `ranges` without `others`: the order stays, and a range that
/// is cut becomes its ascending parts.
pub(super) fn without<'a>(
    ranges: &[AddressRange],
    others: impl Iterator<Item = &'a AddressRange>,
) -> Vec<AddressRange> {
    let mut others: Vec<_> = others.copied().collect();
    // Ascending by family and address, so that only the last part can meet the next one.
    others.sort();
    let parts_of = |range: &AddressRange| {
        let mut parts = vec![*range];
        let from = others.partition_point(|other| other.last() < range.first());
        for other in others[from..].iter().take_while(|other| other.first() <= range.last()) {
            let Some(tail) = parts.pop() else { break };
            parts.extend(tail.without(other));
        }
        parts
    };
    ranges.iter().flat_map(parts_of).collect()
}

#[cfg(test)]
mod tests;
