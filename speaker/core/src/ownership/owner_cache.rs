//! Who owns each Service's addresses, kept up to date at little cost.
//!
//! The answer is always what [`crate::ownership::election`] gives for the candidates of the
//! moment. What is remembered only saves work: when one of a hundred nodes dies,
//! only the Services that it owned are hashed again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_api::{NodeName, ServiceKey};

use crate::ownership::address_groups::AddressGroup;
use crate::ownership::assessment::Eligible;
use crate::ownership::candidates::{self, CandidateKey, CandidateNode};
use crate::ownership::election::{self, Candidate, Rank};
use crate::ownership::group_election::{self, Elected, Part};

/// The candidates under one set of advertisements, shared by its Services.
#[derive(Debug, Default)]
pub(crate) struct CandidateList {
    nodes: Vec<CandidateNode>,
    candidates: Vec<Candidate>,
    /// Numbers the list; another number, other candidates.
    version: u64,
    /// The list that this one came after.
    previous: u64,
    /// Who is here, but was not there, or with another score.
    gained: Vec<Candidate>,
    /// Who was there, but is not here, or with another score.
    lost: BTreeSet<NodeName>,
}

/// The candidate lists of the moment, and the owner of each Service and each group.
#[derive(Debug, Default)]
pub(crate) struct OwnerCache {
    lists: BTreeMap<CandidateKey, Arc<CandidateList>>,
    /// Lists whose candidates have not been asked for since the last change.
    stale: BTreeSet<CandidateKey>,
    known: BTreeMap<ServiceKey, CachedOwner>,
    /// The owners in each group of Services that share addresses, by its first Service.
    shared: BTreeMap<ServiceKey, Arc<[Part]>>,
    versions: u64,
}

/// The version of no list.
const OUTDATED: u64 = 0;

/// The last answer for a Service.
#[derive(Debug)]
struct CachedOwner {
    address: IpAddr,
    version: u64,
    first: Option<(Candidate, Rank)>,
}

impl OwnerCache {
    /// Somebody came or went, or a Node changed: candidates must be found again.
    pub(crate) fn candidates_changed(&mut self) {
        self.stale = self.lists.keys().cloned().collect();
        self.shared.clear();
    }

    /// The advertisements changed: what the lists are kept by means nothing now.
    pub(crate) fn clear(&mut self) {
        self.lists.clear();
        self.stale.clear();
        self.known.clear();
        self.shared.clear();
    }

    /// Forgets a Service.
    pub(crate) fn forget(&mut self, service: &ServiceKey) {
        self.known.remove(service);
    }

    /// The groups of these Services are others now, or none.
    pub(crate) fn regrouped(&mut self, services: &BTreeSet<ServiceKey>) {
        for service in services {
            self.shared.remove(service);
            self.known.remove(service);
        }
    }

    /// The node that owns the addresses of `service`, which shares none, if there is a
    /// candidate (D9). `find` gives the nodes for a set of advertisements.
    pub(crate) fn owner(
        &mut self,
        service: &ServiceKey,
        eligible: &Eligible,
        find: impl FnOnce(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Option<&NodeName> {
        let address = *eligible.addresses.first()?;
        let list = self.list(&eligible.key, find);
        if !self.known.contains_key(service) {
            let unknown = CachedOwner { address, version: OUTDATED, first: None };
            self.known.insert(service.clone(), unknown);
        }
        let known = self.known.get_mut(service)?;
        let same = known.address == address;
        let still_candidate = known
            .first
            .as_ref()
            .filter(|(owner, _)| list.previous != OUTDATED && !list.lost.contains(&owner.node));
        if eligible.only_on.is_some() {
            // Few endpoints, and they come and go by themselves: nothing is kept.
            let first = first(local(&list.nodes, eligible).iter(), address);
            *known = CachedOwner { address, version: OUTDATED, first };
        } else if let (true, Some((_, rank))) = (same && known.version == list.previous, still_candidate) {
            let best = first(list.gained.iter(), address).filter(|(_, gained)| gained < rank);
            known.first = best.or(known.first.take());
            known.version = list.version;
        } else if !same || known.version != list.version {
            *known =
                CachedOwner { address, version: list.version, first: first(list.candidates.iter(), address) };
        }
        known.first.as_ref().map(|(candidate, _)| &candidate.node)
    }

    /// The owners in a group.
    pub(crate) fn owners(
        &mut self,
        group: &AddressGroup,
        find: impl Fn(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Arc<[Part]> {
        if let Some(known) = self.shared.get(&group.first) {
            return Arc::clone(known);
        }
        // So that groups under the same advertisements find their nodes once.
        for sharers in &group.sharers {
            self.list(&sharers.key, &find);
        }
        let parts = self.peek(group, find);
        self.shared.insert(group.first.clone(), Arc::clone(&parts));
        parts
    }

    /// The same for one who only looks.
    pub(crate) fn peek(
        &self,
        group: &AddressGroup,
        find: impl Fn(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Arc<[Part]> {
        let known = self.shared.get(&group.first).cloned();
        known.unwrap_or_else(|| self.elect(group, find).into_iter().map(|one| one.part).collect())
    }

    /// All elections of a group, with their candidates.
    pub(crate) fn elect(
        &self,
        group: &AddressGroup,
        find: impl Fn(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Vec<Elected> {
        let found: Vec<Cow<'_, [CandidateNode]>> =
            group.sharers.iter().map(|sharers| self.nodes(&sharers.key, &find)).collect();
        let nodes: Vec<&[CandidateNode]> = found.iter().map(AsRef::as_ref).collect();
        group_election::elect(group, &nodes)
    }

    /// The nodes that may announce under `key`.
    pub(crate) fn nodes(
        &self,
        key: &CandidateKey,
        find: impl Fn(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Cow<'_, [CandidateNode]> {
        match self.lists.get(key).filter(|_| !self.stale.contains(key)) {
            Some(list) => Cow::Borrowed(&list.nodes),
            None => Cow::Owned(find(key)),
        }
    }

    /// All candidates of a Service, in no order that matters.
    pub(crate) fn candidates(
        &self,
        eligible: &Eligible,
        find: impl FnOnce(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Cow<'_, [Candidate]> {
        let fresh = self.lists.get(&eligible.key).filter(|_| !self.stale.contains(&eligible.key));
        match (fresh, &eligible.only_on) {
            (Some(list), None) => Cow::Borrowed(&list.candidates),
            (Some(list), Some(_)) => Cow::Owned(local(&list.nodes, eligible)),
            (None, _) => Cow::Owned(local(&find(&eligible.key), eligible)),
        }
    }

    fn list(
        &mut self,
        key: &CandidateKey,
        find: impl FnOnce(&CandidateKey) -> Vec<CandidateNode>,
    ) -> Arc<CandidateList> {
        let old = self.lists.get(key);
        if let Some(old) = old
            && !self.stale.contains(key)
        {
            return Arc::clone(old);
        }
        self.stale.remove(key);
        let nodes = find(key);
        if let Some(old) = old
            && old.nodes == nodes
        {
            return Arc::clone(old);
        }
        let candidates = candidates::select(&nodes, None);
        self.versions += 1;
        let before: BTreeSet<&Candidate> = old.iter().flat_map(|old| &old.candidates).collect();
        let after: BTreeSet<&Candidate> = candidates.iter().collect();
        let list = Arc::new(CandidateList {
            version: self.versions,
            previous: old.map_or(OUTDATED, |old| old.version),
            gained: after.difference(&before).map(|candidate| (*candidate).clone()).collect(),
            lost: before.difference(&after).map(|candidate| candidate.node.clone()).collect(),
            candidates,
            nodes,
        });
        self.lists.insert(key.clone(), Arc::clone(&list));
        list
    }
}

/// D14.
fn local(nodes: &[CandidateNode], eligible: &Eligible) -> Vec<Candidate> {
    candidates::select(nodes, eligible.only_on.as_ref())
}

/// The first of `candidates` in the election, with its rank.
fn first<'a>(candidates: impl Iterator<Item = &'a Candidate>, address: IpAddr) -> Option<(Candidate, Rank)> {
    let rank = |candidate: &'a Candidate| (election::rank(candidate, address), candidate);
    candidates.map(rank).min().map(|(rank, candidate)| (candidate.clone(), rank))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::InterfaceSet;
    use rand::seq::IteratorRandom;
    use rand::{RngExt, SeedableRng};

    fn eligible(number: u32) -> Eligible {
        Eligible {
            addresses: vec![IpAddr::V4(number.into())],
            key: CandidateKey { advertisements: vec![0], locations: Vec::new(), pool: None },
            only_on: None,
            interfaces: Some(InterfaceSet::All),
        }
    }

    /// Whatever comes and goes, the remembered answer is that of the election.
    #[test]
    fn d23_nothing_remembered_ever_shows() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut owners = OwnerCache::default();
        let mut alive: BTreeMap<NodeName, u64> = BTreeMap::new();
        for round in 0..300 {
            let node = NodeName::from(format!("n{}", random.random_range(0..12)));
            if random.random_bool(0.5) {
                alive.insert(node, random.random_range(0..3) / 2);
            } else {
                alive.remove(&node);
            }
            let candidates: Vec<Candidate> =
                alive.iter().map(|(node, score)| Candidate { node: node.clone(), score: *score }).collect();
            let candidate_node = |candidate: &Candidate| CandidateNode {
                candidate: candidate.clone(),
                usable: true,
                on_segment: Vec::new(),
            };
            let nodes: Vec<CandidateNode> = candidates.iter().map(candidate_node).collect();
            owners.candidates_changed();
            // Some Services are not asked for in each round, and miss a version.
            let mut numbers = [0; 40];
            assert_eq!((0..60_u32).sample_fill(&mut random, &mut numbers), numbers.len());
            for number in numbers {
                let service = ServiceKey::new("default", number.to_string());
                let found = owners.owner(&service, &eligible(number), |_| nodes.clone());
                let expected = election::order(&candidates, IpAddr::V4(number.into())).into_iter().next();
                assert_eq!(found, expected.as_ref(), "round {round}, Service {number}");
            }
        }
    }
}
