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

use crate::ownership::election::{self, Candidate, Standing};
use crate::ownership::eligibility::{self, Eligible, Matching, Prospect};

/// The candidates under one set of advertisements, shared by its Services.
#[derive(Debug, Default)]
pub(crate) struct CandidateList {
    prospects: Vec<Prospect>,
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

/// The candidate lists of the moment, and the owner of each Service.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    lists: BTreeMap<Matching, Arc<CandidateList>>,
    /// Lists whose candidates have not been asked for since the last change.
    stale: BTreeSet<Matching>,
    known: BTreeMap<ServiceKey, Known>,
    versions: u64,
}

/// The version of no list.
const OUTDATED: u64 = 0;

/// The last answer for a Service.
#[derive(Debug)]
struct Known {
    address: IpAddr,
    version: u64,
    first: Option<(Candidate, Standing)>,
}

impl Owners {
    /// Somebody came or went, or a Node changed: candidates must be found again.
    pub(crate) fn candidates_changed(&mut self) {
        self.stale = self.lists.keys().cloned().collect();
    }

    /// The advertisements changed: what the lists are kept by means nothing now.
    pub(crate) fn clear(&mut self) {
        self.lists.clear();
        self.stale.clear();
        self.known.clear();
    }

    /// Forgets a Service.
    pub(crate) fn forget(&mut self, service: &ServiceKey) {
        self.known.remove(service);
    }

    /// The node that owns the addresses of `service`, if there is a candidate
    /// (D9). `find` gives the prospects for a set of advertisements.
    pub(crate) fn owner(
        &mut self,
        service: &ServiceKey,
        eligible: &Eligible,
        find: impl FnOnce(&Matching) -> Vec<Prospect>,
    ) -> Option<&NodeName> {
        let address = *eligible.addresses.first()?;
        let list = self.list(&eligible.matching, find);
        if !self.known.contains_key(service) {
            let unknown = Known { address, version: OUTDATED, first: None };
            self.known.insert(service.clone(), unknown);
        }
        let known = self.known.get_mut(service)?;
        let same = known.address == address;
        let unharmed = known
            .first
            .as_ref()
            .filter(|(owner, _)| list.previous != OUTDATED && !list.lost.contains(&owner.node));
        if eligible.only_on.is_some() {
            // Few endpoints, and they come and go by themselves: nothing is kept.
            let first = first(local(&list.prospects, eligible).iter(), address);
            *known = Known { address, version: OUTDATED, first };
        } else if let (true, Some((_, standing))) = (same && known.version == list.previous, unharmed) {
            let best = first(list.gained.iter(), address).filter(|(_, gained)| gained < standing);
            known.first = best.or(known.first.take());
            known.version = list.version;
        } else if !same || known.version != list.version {
            *known = Known { address, version: list.version, first: first(list.candidates.iter(), address) };
        }
        known.first.as_ref().map(|(candidate, _)| &candidate.node)
    }

    /// All candidates of a Service, in no order that matters.
    pub(crate) fn candidates(
        &self,
        eligible: &Eligible,
        find: impl FnOnce(&Matching) -> Vec<Prospect>,
    ) -> Cow<'_, [Candidate]> {
        let fresh = self.lists.get(&eligible.matching).filter(|_| !self.stale.contains(&eligible.matching));
        match (fresh, &eligible.only_on) {
            (Some(list), None) => Cow::Borrowed(&list.candidates),
            (Some(list), Some(_)) => Cow::Owned(local(&list.prospects, eligible)),
            (None, _) => Cow::Owned(local(&find(&eligible.matching), eligible)),
        }
    }

    fn list(
        &mut self,
        matching: &Matching,
        find: impl FnOnce(&Matching) -> Vec<Prospect>,
    ) -> Arc<CandidateList> {
        let old = self.lists.get(matching);
        if let Some(old) = old
            && !self.stale.contains(matching)
        {
            return Arc::clone(old);
        }
        self.stale.remove(matching);
        let prospects = find(matching);
        if let Some(old) = old
            && old.prospects == prospects
        {
            return Arc::clone(old);
        }
        let candidates = eligibility::candidates(&prospects, None);
        self.versions += 1;
        let before: BTreeSet<&Candidate> = old.iter().flat_map(|old| &old.candidates).collect();
        let after: BTreeSet<&Candidate> = candidates.iter().collect();
        let list = Arc::new(CandidateList {
            version: self.versions,
            previous: old.map_or(OUTDATED, |old| old.version),
            gained: after.difference(&before).map(|candidate| (*candidate).clone()).collect(),
            lost: before.difference(&after).map(|candidate| candidate.node.clone()).collect(),
            candidates,
            prospects,
        });
        self.lists.insert(matching.clone(), Arc::clone(&list));
        list
    }
}

/// D14.
fn local(prospects: &[Prospect], eligible: &Eligible) -> Vec<Candidate> {
    eligibility::candidates(prospects, eligible.only_on.as_ref())
}

/// The first of `candidates` in the election, with its standing.
fn first<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    address: IpAddr,
) -> Option<(Candidate, Standing)> {
    let standing = |candidate: &'a Candidate| (election::standing(candidate, address), candidate);
    candidates.map(standing).min().map(|(standing, candidate)| (candidate.clone(), standing))
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
            matching: Matching { advertisements: vec![0], places: Vec::new() },
            interfaces: InterfaceSet::All,
            only_on: None,
        }
    }

    /// Whatever comes and goes, the remembered answer is that of the election.
    #[test]
    fn d23_nothing_remembered_ever_shows() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut owners = Owners::default();
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
            let prospect = |candidate: &Candidate| Prospect {
                candidate: candidate.clone(),
                usable: true,
                on_segment: Vec::new(),
            };
            let prospects: Vec<Prospect> = candidates.iter().map(prospect).collect();
            owners.candidates_changed();
            // Some Services are not asked for in each round, and miss a version.
            let mut numbers = [0; 40];
            assert_eq!((0..60_u32).sample_fill(&mut random, &mut numbers), numbers.len());
            for number in numbers {
                let service = ServiceKey::new("default", number.to_string());
                let found = owners.owner(&service, &eligible(number), |_| prospects.clone());
                let expected = election::order(&candidates, IpAddr::V4(number.into())).into_iter().next();
                assert_eq!(found, expected.as_ref(), "round {round}, Service {number}");
            }
        }
    }
}
