//! Eligible Services that have an address in common need one owner: the groups of
//! them, linked over all their addresses, kept up to date at little cost.
//!
//! An address is answered by one node only, and the addresses of one Service have one
//! owner (D21). So two Services that share an address have the same owner, and where one
//! of them has a second address, so have those that share that one. A Service that
//! shares nothing is in no group and costs nothing here but its line in the index.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_api::{NodeName, ServiceKey};

use crate::ownership::assessment::Eligible;
use crate::ownership::candidates::CandidateKey;

/// All groups of two Services or more.
#[derive(Debug, Default)]
pub(crate) struct AddressGroups {
    /// Who has which address.
    users: BTreeSet<(IpAddr, ServiceKey)>,
    /// The group of each Service that has one, and its place among the sharers.
    of: BTreeMap<ServiceKey, (Arc<AddressGroup>, usize)>,
    /// Services whose groups may be others now.
    changed: BTreeSet<ServiceKey>,
}

/// Services that are linked by the addresses that they share.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddressGroup {
    /// The first of its Services; no two groups of the moment have the same.
    pub(crate) first: ServiceKey,
    /// All of its Services, those alike together.
    pub(crate) sharers: Vec<Sharers>,
}

/// Services of a group that are alike in everything that an election looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sharers {
    /// Their addresses in the order of their status.
    pub(crate) addresses: Vec<IpAddr>,
    /// Who may be a candidate.
    pub(crate) key: CandidateKey,
    /// The only nodes that may be, under `externalTrafficPolicy: Local` (D14).
    pub(crate) only_on: Option<BTreeSet<NodeName>>,
    /// Their names, in order.
    pub(crate) services: Vec<ServiceKey>,
}

/// What Services are alike in: addresses, candidates, and where endpoints must be.
type Alike<'a> = (&'a Vec<IpAddr>, &'a CandidateKey, &'a Option<BTreeSet<NodeName>>);

impl Eligible {
    const fn alike(&self) -> Alike<'_> {
        (&self.addresses, &self.key, &self.only_on)
    }
}

impl AddressGroups {
    /// A Service is eligible with something else than `before`.
    pub(crate) fn change(
        &mut self,
        service: &ServiceKey,
        before: Option<&Eligible>,
        after: Option<&Eligible>,
    ) {
        if before.map(Eligible::alike) == after.map(Eligible::alike) {
            return;
        }
        for address in before.into_iter().flat_map(|before| &before.addresses) {
            self.users.remove(&(*address, service.clone()));
        }
        for address in after.into_iter().flat_map(|after| &after.addresses) {
            self.users.insert((*address, service.clone()));
        }
        let mut addresses = after.into_iter().flat_map(|after| &after.addresses);
        if self.of.contains_key(service) || addresses.any(|address| self.users_of(*address).nth(1).is_some())
        {
            self.changed.insert(service.clone());
        }
    }

    /// Links anew what may be linked otherwise than before. Gives all Services that this
    /// concerns: the old and the new members of each such group.
    pub(crate) fn regroup<'a>(
        &mut self,
        eligible: impl Fn(&ServiceKey) -> Option<&'a Eligible>,
    ) -> BTreeSet<ServiceKey> {
        let mut concerned = BTreeSet::new();
        for service in std::mem::take(&mut self.changed) {
            if let Some((group, _)) = self.of.get(&service) {
                concerned.extend(group.services().cloned());
            }
            concerned.insert(service);
        }
        for service in &concerned {
            self.of.remove(service);
        }
        let mut left = concerned.clone();
        while let Some(service) = left.pop_first() {
            let members = self.linked_with(&service, &eligible);
            for member in &members {
                left.remove(member);
            }
            if members.len() > 1 {
                self.insert(&members, &eligible);
                concerned.extend(members);
            }
        }
        concerned
    }

    /// The group of `service`, and which of its sharers it is, if it shares an address.
    pub(crate) fn of(&self, service: &ServiceKey) -> Option<(&Arc<AddressGroup>, usize)> {
        self.of.get(service).map(|(group, place)| (group, *place))
    }

    fn users_of(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        let first = (address, ServiceKey::new("", ""));
        let users = self.users.range(first..).take_while(move |(other, _)| *other == address);
        users.map(|(_, service)| service)
    }

    /// Those that `service` is linked with, itself among them if it is eligible.
    fn linked_with<'a>(
        &self,
        service: &ServiceKey,
        eligible: &impl Fn(&ServiceKey) -> Option<&'a Eligible>,
    ) -> BTreeSet<ServiceKey> {
        let mut linked = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut ahead: Vec<&ServiceKey> = vec![service];
        while let Some(next) = ahead.pop() {
            let Some(found) = eligible(next).filter(|_| linked.insert(next.clone())) else { continue };
            for address in found.addresses.iter().filter(|address| seen.insert(**address)) {
                ahead.extend(self.users_of(*address));
            }
        }
        linked
    }

    fn insert<'a>(
        &mut self,
        members: &BTreeSet<ServiceKey>,
        eligible: &impl Fn(&ServiceKey) -> Option<&'a Eligible>,
    ) {
        let members = members.iter().filter_map(|member| Some((member, eligible(member)?)));
        let Some(group) = AddressGroup::of(members).map(Arc::new) else { return };
        for (place, sharers) in group.sharers.iter().enumerate() {
            for service in &sharers.services {
                self.of.insert(service.clone(), (Arc::clone(&group), place));
            }
        }
    }
}

impl AddressGroup {
    /// That of these Services; `None` without any.
    pub(crate) fn of<'a>(members: impl Iterator<Item = (&'a ServiceKey, &'a Eligible)>) -> Option<Self> {
        let mut alike: BTreeMap<Alike<'a>, BTreeSet<&'a ServiceKey>> = BTreeMap::new();
        for (service, eligible) in members {
            alike.entry(eligible.alike()).or_default().insert(service);
        }
        let first = alike.values().filter_map(BTreeSet::first).min().map(|first| (*first).clone())?;
        let sharers =
            |((addresses, key, only_on), services): (Alike<'a>, BTreeSet<&'a ServiceKey>)| Sharers {
                addresses: addresses.clone(),
                key: key.clone(),
                only_on: only_on.clone(),
                services: services.into_iter().cloned().collect(),
            };
        Some(Self { first, sharers: alike.into_iter().map(sharers).collect() })
    }

    /// All of its Services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.sharers.iter().flat_map(|sharers| &sharers.services)
    }
}
