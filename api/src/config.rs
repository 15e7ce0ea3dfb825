//! All custom resources in, one checked [`Config`] and a verdict for every
//! object out. A bad object is left out and named; the rest stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::address::{AddressRange, is_buggy};
use crate::crd::LastKnownGood;
use crate::ip_family::IpFamily;
use crate::node::Node;
use crate::selector::Selector;
use crate::service::Service;

mod check;
mod occupied;
pub mod reason;
mod reservations;
mod resources;

pub use check::check;
pub use occupied::{NodeNetwork, Occupant, Occupied};
pub use reservations::{Exclusion, Reservation, Unavailable};
pub use resources::{Resources, Undecodable};

/// A checked configuration: every value in it is valid because it exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Pools by name. No two overlap (B6).
    pub pools: BTreeMap<String, Pool>,
    /// Layer 2 advertisements by name.
    pub advertisements: BTreeMap<String, Advertisement>,
    /// The version of each object that is in force, to stay while a later one is bad.
    pub versions: BTreeMap<(Kind, String), Version>,
    /// Pools that exist, and of which no valid version is known: without addresses.
    pub unusable_pools: BTreeMap<String, Pool>,
    /// Advertisements that exist, and of which no valid version is known.
    pub unusable_advertisements: BTreeSet<String>,
}

/// A version of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The `metadata.uid`, where there is one.
    pub uid: Option<String>,
    /// Its spec, and which it was.
    pub source: LastKnownGood,
}

/// An `IPAddressPool` (A11 to A19).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its labels, for `ipAddressPoolSelectors` (A28).
    pub labels: BTreeMap<String, String>,
    /// Its addresses in written order (C33); no two overlap.
    pub ranges: Vec<AddressRange>,
    /// Whether it serves Services that do not ask for it (A13).
    pub auto_assign: bool,
    /// Whether IPv4 addresses ending in .0 and .255 are skipped (A14).
    pub avoid_buggy_ips: bool,
    /// Whom the pool is pinned to, if it is (A15).
    pub allocation: Option<ServiceAllocation>,
    /// Addresses held for the Services that match, in written order. Of all
    /// entries here and in `exclusions` no two overlap.
    pub reservations: Vec<Reservation>,
    /// Addresses never handed out. They may lie outside of the pool, as a precaution.
    pub exclusions: Vec<Exclusion>,
    /// Whether it gives out addresses that a node, the API server or a router has.
    pub allow_occupied: bool,
    /// Those of its addresses that somebody else has, and who. Of what is excluded, avoided or
    /// allowed there is none here, nor of what is reserved and may be had by name.
    pub withheld: BTreeMap<IpAddr, Occupant>,
}

/// `spec.serviceAllocation` of a pool (A15 to A19).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAllocation {
    /// 1 is best; 0 is last (A16, C35).
    pub priority: i64,
    /// The namespaces it serves; `None` is every namespace. An empty set, left
    /// by selectors that match nothing yet, serves nobody (W29).
    pub namespaces: Option<BTreeSet<String>>,
    /// Labels of the Services it serves; empty is every Service (A19).
    pub service_selectors: Vec<Selector>,
}

/// An `L2Advertisement` (A26 to A34).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Its name.
    pub name: String,
    /// The pools it announces.
    pub pools: PoolSelection,
    /// Nodes that may announce; empty is all (A29).
    pub node_selectors: Vec<Selector>,
    /// Exact interface names; empty is all (A30).
    pub interfaces: Vec<String>,
    /// Services it applies to; empty is all (A31).
    pub service_selectors: Vec<Selector>,
    /// Soft preferences among its own nodes (A32).
    pub preferred_nodes: Vec<Preference>,
}

/// Which pools an advertisement announces (A27, A28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolSelection {
    /// Neither names nor selectors are given.
    All,
    /// By name or by label; either suffices.
    Some {
        /// Names; unknown ones are ignored (B15).
        names: BTreeSet<String>,
        /// Label selectors.
        selectors: Vec<Selector>,
    },
}

/// One entry of `preferredNodeSelectors` (A33, A34).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// 1 to 100.
    pub weight: u32,
    /// The nodes it is given to.
    pub nodes: Selector,
}

/// What [`check`] makes of the resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is in force.
    pub config: Config,
    /// One verdict for each pool and advertisement, by kind and name.
    pub verdicts: Vec<Verdict>,
}

/// What we say of one object, in its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The `metadata.generation` that was judged.
    pub generation: i64,
    /// Whether it is in force, or why not.
    pub outcome: Result<(), Problem>,
    /// Whether what is in force of it has an effect; `None` where nothing is.
    pub effective: Option<Effective>,
    /// What is worth knowing of an object that is in force as it stands; may be empty.
    pub note: String,
    /// What is in force of it: this version or the last valid one.
    pub last_known_good: Option<LastKnownGood>,
}

/// An object that is not in force as it stands, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Rejected {
    /// Its kind and name, as `IPAddressPool/first`.
    #[must_use]
    pub fn object(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

/// What a process has in force of the custom resources, and what it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationReport {
    /// The number of pools in force.
    pub pools: usize,
    /// The number of advertisements in force.
    pub advertisements: usize,
    /// What is left out, in the order of the verdicts.
    pub rejected: Vec<Rejected>,
}

impl ConfigurationReport {
    /// That of `config` and the verdicts which led to it.
    #[must_use]
    pub fn new(config: &Config, verdicts: &[Verdict]) -> Self {
        let rejected = verdicts.iter().filter_map(|verdict| {
            let problem = verdict.outcome.as_ref().err()?.to_string();
            Some(Rejected { kind: verdict.kind, name: verdict.name.clone(), problem })
        });
        Self {
            pools: config.pools.len(),
            advertisements: config.advertisements.len(),
            rejected: rejected.collect(),
        }
    }
}

/// Whether an object does something: an advertisement that finds a pool, a pool
/// that is advertised. Neither makes the object wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Whether it does.
    pub holds: bool,
    /// The condition's reason, one of [`reason`].
    pub reason: &'static str,
    /// What it has an effect on, or what is missing.
    pub message: String,
}

/// The kinds that have a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `IPAddressPool`.
    IPAddressPool,
    /// `L2Advertisement`.
    L2Advertisement,
}

impl Kind {
    /// The kind as it is written in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IPAddressPool => "IPAddressPool",
            Self::L2Advertisement => "L2Advertisement",
        }
    }

    /// The kind that is written `text` in a manifest, if we have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::IPAddressPool, Self::L2Advertisement].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an object is not in force. Its text is [`Problem::message`] and, where
/// it applies, that the last valid version stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The condition's reason, one of [`reason`].
    pub reason: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
    /// Whether the object's last valid version stays in force meanwhile.
    pub last_valid_kept: bool,
    /// Whether a restarted process would not find that version: it stands in no status.
    pub only_until_restart: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.last_valid_kept {
            f.write_str("; until this is fixed its last valid version stays in force")?;
        }
        if self.only_until_restart {
            f.write_str(" for as long as this process runs")?;
        }
        Ok(())
    }
}

impl Config {
    /// The pool that contains all of `addresses` (C21), excluded ones excepted,
    /// and buggy ones where the pool avoids them.
    #[must_use]
    pub fn pool_of(&self, addresses: &[IpAddr]) -> Option<&Pool> {
        self.pools.values().find(|pool| addresses.iter().all(|address| pool.may_assign(*address)))
    }

    /// The pool of a Service that has `addresses`: that which contains them or, where none
    /// does, that which they were taken from, if it exists and no valid version of it is known.
    #[must_use]
    pub fn pool_serving(&self, service: &Service, addresses: &[IpAddr]) -> Option<&Pool> {
        let origin = || self.unusable_pools.get(service.annotations.origin()?);
        self.pool_of(addresses).or_else(origin)
    }

    /// The advertisements that announce `pool` and apply to `service`, in name
    /// order (D13).
    pub fn advertisements_for<'a>(
        &'a self,
        pool: &'a Pool,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Advertisement> {
        self.advertisements.values().filter(|ad| ad.selects_pool(pool) && ad.selects_service(service))
    }
}

impl Pool {
    /// Whether the address lies in one of its ranges.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether the address lies in the pool and is not one it avoids (A14) or
    /// excludes. It may be reserved: see [`Pool::unavailable`].
    #[must_use]
    pub fn may_assign(&self, address: IpAddr) -> bool {
        self.contains(address)
            && !(self.avoid_buggy_ips && is_buggy(address))
            && self.exclusion_of(address).is_none()
    }

    /// How many addresses of `family` it can assign, for counters: saturates
    /// at `i64::MAX` and leaves out those it avoids or excludes (C81, C82).
    #[must_use]
    pub fn capacity(&self, family: IpFamily) -> i64 {
        self.count(&self.assignable(), family)
    }

    /// How many addresses of `family` it can assign to Services without a
    /// reservation; counted as in [`Pool::capacity`].
    #[must_use]
    pub fn unreserved_capacity(&self, family: IpFamily) -> i64 {
        self.count(&self.unreserved(), family)
    }

    fn count(&self, ranges: &[AddressRange], family: IpFamily) -> i64 {
        let ranges = ranges.iter().filter(|range| range.family() == family);
        ranges.map(|range| range.usable(self.avoid_buggy_ips)).fold(0, i64::saturating_add)
    }

    /// Whether the pool's `serviceAllocation` admits the Service (C36).
    #[must_use]
    pub fn admits(&self, service: &Service) -> bool {
        self.allocation.as_ref().is_none_or(|allocation| {
            let namespace = service.key.namespace();
            allocation.namespaces.as_ref().is_none_or(|names| names.contains(namespace))
                && Selector::any_matches(&allocation.service_selectors, &service.labels)
        })
    }
}

impl Advertisement {
    /// Whether it announces `pool` (A27, A28).
    #[must_use]
    pub fn selects_pool(&self, pool: &Pool) -> bool {
        match &self.pools {
            PoolSelection::All => true,
            PoolSelection::Some { names, selectors } => {
                names.contains(&pool.name) || selectors.iter().any(|selector| selector.matches(&pool.labels))
            }
        }
    }

    /// Whether it applies to `service` (A31).
    #[must_use]
    pub fn selects_service(&self, service: &Service) -> bool {
        Selector::any_matches(&self.service_selectors, &service.labels)
    }

    /// Whether `node` may announce under it (A29).
    #[must_use]
    pub fn selects_node(&self, node: &Node) -> bool {
        Selector::any_matches(&self.node_selectors, &node.labels)
    }

    /// The score it gives to `node`: the weights of the preferences that match,
    /// for its own nodes only (D22).
    #[must_use]
    pub fn preference(&self, node: &Node) -> u64 {
        if !self.selects_node(node) {
            return 0;
        }
        let matching =
            self.preferred_nodes.iter().filter(|preference| preference.nodes.matches(&node.labels));
        matching.map(|preference| u64::from(preference.weight)).sum()
    }
}

#[cfg(test)]
mod tests;
