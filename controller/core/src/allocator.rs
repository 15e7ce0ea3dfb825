//! Who uses which address, and where the free ones are.
//!
//! Free space is what intervals leave uncovered: a `/64` costs nothing, and the
//! lowest free address is found in logarithmic time (W24).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::address::{from_number, is_buggy, number};
use ferrolb_api::config::Pool;
use ferrolb_api::{AddressRange, IpFamily, ServiceKey};
use rangemap::RangeInclusiveSet;

use crate::pools::Offer;
use crate::sharing::{Circle, CircleIndex, Conflict, Terms, Users};

/// What a Service holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Its addresses, in the order of its status.
    pub(crate) addresses: Vec<IpAddr>,
    /// The pool they come from.
    pub(crate) pool: String,
}

/// What of one pool is in use: distinct addresses by family (C80), and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InUse {
    /// IPv4 addresses.
    pub(crate) ipv4: i64,
    /// IPv6 addresses.
    pub(crate) ipv6: i64,
    /// Services that have at least one of them.
    pub(crate) services: i64,
}

impl InUse {
    /// Addresses of `family`.
    pub(crate) fn of(&self, family: IpFamily) -> i64 {
        match family {
            IpFamily::V4 => self.ipv4,
            IpFamily::V6 => self.ipv6,
        }
    }
}

/// Everything that keeps an address from another Service; see [`Allocator::footprint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    addresses: BTreeSet<IpAddr>,
    terms: Option<Terms>,
}

/// All assignments, and the free space between them.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    holdings: BTreeMap<ServiceKey, (Assignment, Terms)>,
    users: BTreeMap<IpAddr, Users>,
    circles: BTreeMap<Circle, CircleIndex>,
    /// Addresses that a status carries, or soon may, although the Service shall
    /// not have them: nobody else is given one before it is gone from there, or
    /// the store would show it twice (S1).
    lingering: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    lingering_of: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    /// Addresses that are not free: used, lingering, or skipped.
    taken: BTreeMap<IpFamily, RangeInclusiveSet<u128>>,
    /// Addresses that `avoidBuggyIPs` made a search pass by, so that none passes
    /// by them again.
    skipped: BTreeSet<IpAddr>,
    in_use: BTreeMap<String, InUse>,
    changes: u64,
}

impl Allocator {
    /// What `service` holds.
    pub(crate) fn holding(&self, service: &ServiceKey) -> Option<&Assignment> {
        self.holdings.get(service).map(|(assignment, _)| assignment)
    }

    /// All assignments by Service.
    pub(crate) fn holdings(&self) -> impl Iterator<Item = (&ServiceKey, &Assignment)> {
        self.holdings.iter().map(|(service, (assignment, _))| (service, assignment))
    }

    /// How many addresses of `pool` are in use, each counted once however many
    /// Services share it (C56, C80).
    pub(crate) fn in_use(&self, pool: &str) -> InUse {
        self.in_use.get(pool).copied().unwrap_or_default()
    }

    /// A number that changes whenever an assignment does.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many addresses of `range` are in use.
    pub(crate) fn used_in(&self, range: &AddressRange) -> i64 {
        i64::try_from(self.users.range(range.first()..=range.last()).count()).expect("they fit into memory")
    }

    /// The addresses of `range` that are in use, lowest first, each with a name.
    pub(crate) fn users_in(&self, range: &AddressRange) -> impl Iterator<Item = String> {
        let used = self.users.range(range.first()..=range.last());
        used.map(|(address, users)| format!("{address} {users}"))
    }

    /// What keeps `service` from the lowest address of `range` that lingers with
    /// somebody else.
    pub(crate) fn lingers_in(&self, range: &AddressRange, service: &ServiceKey) -> Option<Conflict> {
        self.lingering.range(range.first()..=range.last()).find_map(|(address, services)| {
            let other = services.iter().find(|other| *other != service)?;
            Some(Conflict::Lingering { address: *address, other: other.clone() })
        })
    }

    /// What keeps `service` from keeping `address`, which its status carries or
    /// which it holds already.
    pub(crate) fn keep_conflict(
        &self,
        address: IpAddr,
        service: &ServiceKey,
        terms: &Terms,
    ) -> Option<Conflict> {
        self.users.get(&address)?.conflict(address, service, terms)
    }

    /// What keeps `service` from being given `address` (C50).
    pub(crate) fn grant_conflict(
        &self,
        address: IpAddr,
        service: &ServiceKey,
        terms: &Terms,
    ) -> Option<Conflict> {
        self.keep_conflict(address, service, terms).or_else(|| {
            let other = self.lingering.get(&address)?.iter().find(|other| *other != service)?;
            Some(Conflict::Lingering { address, other: other.clone() })
        })
    }

    /// The address of `family` that is in `offer` for a Service on `terms`: what
    /// is reserved for it, then the ranges in written order, and in each the
    /// lowest address that is free or can be shared (C33).
    pub(crate) fn pick(&mut self, offer: &Offer<'_>, family: IpFamily, terms: &Terms) -> Option<IpAddr> {
        let ranges = offer.reserved.iter().chain(offer.open);
        ranges.filter(|range| range.family() == family).find_map(|range| {
            let free = self.lowest_free(offer.pool, *range);
            let shared = self.lowest_shared(offer.pool, *range, terms);
            free.into_iter().chain(shared).min()
        })
    }

    /// Makes `assignment` what `service` holds, in place of what it held.
    pub(crate) fn hold(&mut self, service: &ServiceKey, assignment: Assignment, terms: Terms) {
        if self.holdings.get(service).is_some_and(|(held, on)| *held == assignment && *on == terms) {
            return;
        }
        self.release(service);
        for address in &assignment.addresses {
            self.use_address(*address, service, &assignment.pool, &terms);
        }
        self.count(&assignment.pool, |in_use| in_use.services += 1);
        self.holdings.insert(service.clone(), (assignment, terms));
    }

    /// Takes from `service` what it holds.
    pub(crate) fn release(&mut self, service: &ServiceKey) -> Option<Assignment> {
        let (assignment, terms) = self.holdings.remove(service)?;
        for address in &assignment.addresses {
            self.leave_address(*address, service, &terms);
        }
        self.count(&assignment.pool, |in_use| in_use.services -= 1);
        Some(assignment)
    }

    /// Makes `addresses` the ones that linger with `service`, in place of those
    /// that did.
    pub(crate) fn set_lingering(&mut self, service: &ServiceKey, addresses: BTreeSet<IpAddr>) {
        for address in self.lingering_of.remove(service).unwrap_or_default() {
            if let Some(services) = self.lingering.get_mut(&address) {
                services.remove(service);
                if services.is_empty() {
                    self.lingering.remove(&address);
                }
            }
            self.free_if_unused(address);
        }
        for address in &addresses {
            self.lingering.entry(*address).or_default().insert(service.clone());
            self.take(*address);
        }
        if !addresses.is_empty() {
            self.lingering_of.insert(service.clone(), addresses);
        }
    }

    /// All that `service` keeps from others. If it shrinks or changes, others
    /// that wait may be served (C7).
    pub(crate) fn footprint(&self, service: &ServiceKey) -> Footprint {
        let lingering = self.lingering_of.get(service).into_iter().flatten().copied();
        let held = self.holdings.get(service);
        let addresses = held.iter().flat_map(|(assignment, _)| assignment.addresses.iter().copied());
        Footprint {
            addresses: addresses.chain(lingering).collect(),
            terms: held.map(|(_, terms)| terms.clone()),
        }
    }

    /// The pools have changed: what a search passed by may be free now.
    pub(crate) fn forget_skipped(&mut self) {
        for address in std::mem::take(&mut self.skipped) {
            self.free_if_unused(address);
        }
    }

    fn lowest_free(&mut self, pool: &Pool, range: AddressRange) -> Option<IpAddr> {
        let taken = self.taken.entry(range.family()).or_default();
        let all = number(range.first())..=number(range.last());
        loop {
            let lowest = *taken.gaps(&all).next()?.start();
            let address = from_number(range.family(), lowest);
            if !(pool.avoid_buggy_ips && is_buggy(address)) {
                return Some(address);
            }
            taken.insert(lowest..=lowest);
            self.skipped.insert(address);
        }
    }

    fn lowest_shared(&self, pool: &Pool, range: AddressRange, terms: &Terms) -> Option<IpAddr> {
        let index = self.circles.get(terms.circle.as_ref()?)?;
        let usable = |address| pool.may_assign(address) && !self.lingering.contains_key(&address);
        index.lowest(range, &terms.ports, usable)
    }

    fn use_address(&mut self, address: IpAddr, service: &ServiceKey, pool: &str, terms: &Terms) {
        let users = self.users.entry(address).or_insert_with(|| Users::new(pool.to_owned(), terms));
        let newly = users.is_empty();
        users.add(service, terms);
        let counted_in = std::mem::replace(&mut users.pool, pool.to_owned());
        if let Some(circle) = users.circle() {
            self.circles.entry(circle.clone()).or_default().add(address, &terms.ports);
        }
        if newly {
            self.count_address(pool, address, 1);
            self.take(address);
        } else if counted_in != pool {
            // The pool was renamed under its addresses (C61).
            self.count_address(&counted_in, address, -1);
            self.count_address(pool, address, 1);
        }
    }

    fn leave_address(&mut self, address: IpAddr, service: &ServiceKey, terms: &Terms) {
        let users = self.users.get_mut(&address).expect("every address of a holding has users");
        users.remove(service, terms);
        let last = users.is_empty();
        if let Some(circle) = users.circle().cloned()
            && let Some(index) = self.circles.get_mut(&circle)
        {
            index.remove(address, &terms.ports, last);
            if index.is_empty() {
                self.circles.remove(&circle);
            }
        }
        if last {
            let pool = std::mem::take(&mut users.pool);
            self.users.remove(&address);
            self.count_address(&pool, address, -1);
            self.free_if_unused(address);
        }
    }

    fn count_address(&mut self, pool: &str, address: IpAddr, change: i64) {
        self.count(pool, |in_use| match IpFamily::of(address) {
            IpFamily::V4 => in_use.ipv4 += change,
            IpFamily::V6 => in_use.ipv6 += change,
        });
    }

    fn count(&mut self, pool: &str, change: impl FnOnce(&mut InUse)) {
        self.changes += 1;
        let in_use = self.in_use.entry(pool.to_owned()).or_default();
        change(in_use);
        if *in_use == InUse::default() {
            self.in_use.remove(pool);
        }
    }

    fn take(&mut self, address: IpAddr) {
        let at = number(address);
        self.taken.entry(IpFamily::of(address)).or_default().insert(at..=at);
    }

    fn free_if_unused(&mut self, address: IpAddr) {
        if !self.users.contains_key(&address) && !self.lingering.contains_key(&address) {
            let at = number(address);
            self.taken.entry(IpFamily::of(address)).or_default().remove(at..=at);
        }
    }
}

impl Footprint {
    /// Whether something in it became available to others on the way to `later`.
    pub(crate) fn gives_way(&self, later: &Self) -> bool {
        let shared_otherwise = self.terms.is_some() && later.terms.is_some() && self.terms != later.terms;
        shared_otherwise || !self.addresses.is_subset(&later.addresses)
    }
}
