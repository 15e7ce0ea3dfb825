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

use crate::pools::AvailableRanges;
use crate::sharing::{SharingConflict, SharingGroup, SharingIndex, SharingSpec, Users};

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

/// Everything that one Service keeps from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HeldResources {
    addresses: BTreeSet<IpAddr>,
    sharing: Option<SharingSpec>,
    is_edited: bool,
}

/// All assignments, and the free space between them.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    holdings: BTreeMap<ServiceKey, (Assignment, SharingSpec)>,
    /// Holders that were edited so that they do not fit the others on their address, and how they would share it. Until
    /// [`Allocator::settle`] finds that all fit, or one has moved, the address is shared as before.
    edited: BTreeMap<ServiceKey, SharingSpec>,
    users: BTreeMap<IpAddr, Users>,
    groups: BTreeMap<SharingGroup, SharingIndex>,
    /// Addresses that a status carries, or soon may, although the Service shall
    /// not have them: nobody else is given one before it is gone from there, or
    /// the store would show it twice (S1).
    pending_release: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    pending_release_of: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    /// Addresses that are not free: used, pending release, or skipped.
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

    /// How many of these addresses of `family` are in use.
    pub(crate) fn used_among<'a>(
        &self,
        addresses: impl Iterator<Item = &'a IpAddr>,
        family: IpFamily,
    ) -> i64 {
        let used = |address: &&IpAddr| IpFamily::of(**address) == family && self.users.contains_key(*address);
        i64::try_from(addresses.filter(used).count()).expect("they fit into memory")
    }

    /// The addresses of `range` that are in use, lowest first, each with a name.
    pub(crate) fn users_in(&self, range: &AddressRange) -> impl Iterator<Item = String> {
        let used = self.users.range(range.first()..=range.last());
        used.map(|(address, users)| format!("{address} {users}"))
    }

    /// What keeps `service` from the lowest address of `range` that is pending release
    /// with somebody else.
    pub(crate) fn pending_release_in(
        &self,
        range: &AddressRange,
        service: &ServiceKey,
    ) -> Option<SharingConflict> {
        self.pending_release.range(range.first()..=range.last()).find_map(|(address, services)| {
            let other = services.iter().find(|other| *other != service)?;
            Some(SharingConflict::PendingRelease { address: *address, other: other.clone() })
        })
    }

    /// What keeps `service` from sharing an address of `range` with another one
    /// that has its sharing key.
    pub(crate) fn sharing_conflict(
        &self,
        range: &AddressRange,
        service: &ServiceKey,
        sharing: &SharingSpec,
    ) -> Option<SharingConflict> {
        let own = sharing.group.as_ref()?;
        let same_key = self.groups.range(own.first_of_key()..).take_while(|(group, _)| group.has_key_of(own));
        same_key
            .filter_map(|(_, index)| index.first_in(range))
            .find_map(|address| self.grant_conflict(address, service, sharing))
    }

    /// What keeps `service` from keeping `address`, which its status carries or
    /// which it holds already.
    pub(crate) fn retain_conflict(
        &self,
        address: IpAddr,
        service: &ServiceKey,
        sharing: &SharingSpec,
    ) -> Option<SharingConflict> {
        self.users.get(&address)?.conflict(address, service, sharing, true)
    }

    /// What keeps `service` from being given `address` (C50).
    pub(crate) fn grant_conflict(
        &self,
        address: IpAddr,
        service: &ServiceKey,
        sharing: &SharingSpec,
    ) -> Option<SharingConflict> {
        let users = self.users.get(&address);
        users.and_then(|users| users.conflict(address, service, sharing, false)).or_else(|| {
            if let Some(other) = self.edited_user(address).filter(|other| *other != service) {
                return Some(SharingConflict::Unsettled { address, other: other.clone() });
            }
            let other = self.pending_release.get(&address)?.iter().find(|other| *other != service)?;
            Some(SharingConflict::PendingRelease { address, other: other.clone() })
        })
    }

    /// The address of `family` that is `available` for a Service that shares as
    /// `sharing` says: what is reserved for it, then the ranges in written order, and in each the
    /// lowest address that is free or can be shared (C33).
    pub(crate) fn pick(
        &mut self,
        available: &AvailableRanges<'_>,
        family: IpFamily,
        sharing: &SharingSpec,
    ) -> Option<IpAddr> {
        let ranges = available.reserved.iter().chain(available.open);
        ranges.filter(|range| range.family() == family).find_map(|range| {
            let free = self.lowest_free(available.pool, *range);
            let shared = self.lowest_shared(available.pool, *range, sharing);
            free.into_iter().chain(shared).min()
        })
    }

    /// Lets `change` change what `service` holds, and says whether that made
    /// anything available to others: then those that wait may be served (C7).
    ///
    /// Addresses that are pending release with the Service are free for itself
    /// meanwhile. Afterwards those are that `change` gives beside its result, but
    /// for what it holds then.
    pub(crate) fn edit<T>(
        &mut self,
        service: &ServiceKey,
        change: impl FnOnce(&mut Self) -> (T, BTreeSet<IpAddr>),
    ) -> (T, bool) {
        let before = self.held_resources(service);
        self.set_pending_release(service, BTreeSet::new());
        let (result, mut pending) = change(self);
        for address in self.holding(service).iter().flat_map(|held| &held.addresses) {
            pending.remove(address);
        }
        self.set_pending_release(service, pending);
        (result, before.frees_for_others(&self.held_resources(service)))
    }

    /// Makes `assignment` what `service` holds, in place of what it held.
    pub(crate) fn hold(&mut self, service: &ServiceKey, assignment: Assignment, sharing: SharingSpec) {
        if self.holdings.get(service).is_some_and(|(held, on)| *held == assignment && *on == sharing) {
            self.edited.remove(service);
            return;
        }
        self.release(service);
        for address in &assignment.addresses {
            self.use_address(*address, service, &assignment.pool, &sharing);
        }
        self.count(&assignment.pool, |in_use| in_use.services += 1);
        self.holdings.insert(service.clone(), (assignment, sharing));
    }

    /// Takes from `service` what it holds.
    pub(crate) fn release(&mut self, service: &ServiceKey) -> Option<Assignment> {
        self.edited.remove(service);
        let (assignment, sharing) = self.holdings.remove(service)?;
        for address in &assignment.addresses {
            self.leave_address(*address, service, &sharing);
        }
        self.count(&assignment.pool, |in_use| in_use.services -= 1);
        Some(assignment)
    }

    /// Takes note that `service` would share what it holds as `sharing` says, which the others do not admit as they were
    /// seen last. If all Services that are chained together by an address fit each other as they were edited, they
    /// stay. Returns whether that is so.
    pub(crate) fn settle(&mut self, service: &ServiceKey, sharing: &SharingSpec) -> bool {
        if !self.holdings.contains_key(service) {
            return false;
        }
        self.edited.insert(service.clone(), sharing.clone());
        let chained = self.chained(service);
        let mut users: BTreeMap<IpAddr, Users> = BTreeMap::new();
        for holder in &chained {
            let (held, before) = &self.holdings[holder];
            let sharing = self.edited.get(holder).unwrap_or(before);
            for address in &held.addresses {
                let users = users.entry(*address).or_insert_with(|| Users::new(held.pool.clone(), sharing));
                if users.conflict(*address, holder, sharing, true).is_some() {
                    return false;
                }
                users.add(holder, sharing);
            }
        }
        let edited = chained.into_iter().filter_map(|holder| {
            let sharing = self.edited.get(&holder)?.clone();
            Some((self.release(&holder)?, sharing, holder))
        });
        for (held, sharing, holder) in edited.collect::<Vec<_>>() {
            self.hold(&holder, held, sharing);
        }
        true
    }

    /// `service` and all that use an address of it, or of one of those, and so on.
    fn chained(&self, service: &ServiceKey) -> BTreeSet<ServiceKey> {
        let mut found = BTreeSet::from([service.clone()]);
        let mut next = vec![service.clone()];
        while let Some(holder) = next.pop() {
            let addresses = self.holding(&holder).map(|held| held.addresses.as_slice()).unwrap_or_default();
            for user in
                addresses.iter().filter_map(|address| self.users.get(address)).flat_map(Users::services)
            {
                if found.insert(user.clone()) {
                    next.push(user.clone());
                }
            }
        }
        found
    }

    /// A user of `address` of whom it is not decided whether it may stay.
    fn edited_user(&self, address: IpAddr) -> Option<&ServiceKey> {
        if self.edited.is_empty() {
            return None;
        }
        self.users.get(&address)?.services().iter().find(|user| self.edited.contains_key(*user))
    }

    /// The pools have changed: what a search passed by may be free now.
    pub(crate) fn forget_skipped(&mut self) {
        for address in std::mem::take(&mut self.skipped) {
            self.free_if_unused(address);
        }
    }

    /// Makes `addresses` the ones that are pending release with `service`, in place
    /// of those that were.
    fn set_pending_release(&mut self, service: &ServiceKey, addresses: BTreeSet<IpAddr>) {
        for address in self.pending_release_of.remove(service).unwrap_or_default() {
            if let Some(services) = self.pending_release.get_mut(&address) {
                services.remove(service);
                if services.is_empty() {
                    self.pending_release.remove(&address);
                }
            }
            self.free_if_unused(address);
        }
        for address in &addresses {
            self.pending_release.entry(*address).or_default().insert(service.clone());
            self.take(*address);
        }
        if !addresses.is_empty() {
            self.pending_release_of.insert(service.clone(), addresses);
        }
    }

    fn held_resources(&self, service: &ServiceKey) -> HeldResources {
        let pending = self.pending_release_of.get(service).into_iter().flatten().copied();
        let held = self.holdings.get(service);
        let addresses = held.iter().flat_map(|(assignment, _)| assignment.addresses.iter().copied());
        HeldResources {
            addresses: addresses.chain(pending).collect(),
            sharing: held.map(|(_, sharing)| sharing.clone()),
            is_edited: self.edited.contains_key(service),
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

    fn lowest_shared(&self, pool: &Pool, range: AddressRange, sharing: &SharingSpec) -> Option<IpAddr> {
        let index = self.groups.get(sharing.group.as_ref()?)?;
        let usable = |address| {
            pool.may_assign(address)
                && !self.pending_release.contains_key(&address)
                && self.edited_user(address).is_none()
        };
        index.lowest(range, &sharing.ports, usable)
    }

    fn use_address(&mut self, address: IpAddr, service: &ServiceKey, pool: &str, sharing: &SharingSpec) {
        let users = self.users.entry(address).or_insert_with(|| Users::new(pool.to_owned(), sharing));
        let newly = users.is_empty();
        users.add(service, sharing);
        let counted_in = std::mem::replace(&mut users.pool, pool.to_owned());
        if let Some(group) = users.group() {
            self.groups.entry(group.clone()).or_default().add(address, &sharing.ports);
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

    fn leave_address(&mut self, address: IpAddr, service: &ServiceKey, sharing: &SharingSpec) {
        let users = self.users.get_mut(&address).expect("every address of a holding has users");
        users.remove(service, sharing);
        let last = users.is_empty();
        if let Some(group) = users.group().cloned()
            && let Some(index) = self.groups.get_mut(&group)
        {
            index.remove(address, &sharing.ports, last);
            if index.is_empty() {
                self.groups.remove(&group);
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
        if !self.users.contains_key(&address) && !self.pending_release.contains_key(&address) {
            let at = number(address);
            self.taken.entry(IpFamily::of(address)).or_default().remove(at..=at);
        }
    }
}

impl HeldResources {
    /// Whether something in it became available to others on the way to `later`.
    fn frees_for_others(&self, later: &Self) -> bool {
        let shared_otherwise =
            self.sharing.is_some() && later.sharing.is_some() && self.sharing != later.sharing;
        let is_settled = self.is_edited && !later.is_edited;
        shared_otherwise || is_settled || !self.addresses.is_subset(&later.addresses)
    }
}
