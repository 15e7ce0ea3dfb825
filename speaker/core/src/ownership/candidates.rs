//! Which nodes may announce a Service: MetalLB's checks of a node in MetalLB's order
//! (D10 to D15, D22), who can reach the segment (W13), and who has the configuration.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_api::config::{Advertisement, Config, Kind};
use ferrolb_api::{Node, NodeName};

use crate::interface::InterfaceSet;
use crate::ownership::diagnosis::CheckFailure;
use crate::ownership::election::Candidate;
use crate::ownership::lacks::{Lack, lack};
use crate::ownership::reach::{AddressLocation, Known, Reaches};

/// What the candidates of a Service depend on. Services with the same have the
/// same candidates, up to their endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CandidateKey {
    /// The advertisements that match it, as their places in the order of their
    /// names.
    pub(crate) advertisements: Vec<usize>,
    /// Where its addresses lie, in their order (W13).
    pub(crate) locations: Vec<AddressLocation>,
    /// The pool that a node must have. `None` where the Service says that its addresses came
    /// from it: then a node that lacks the pool announces it all the same.
    pub(crate) pool: Option<Lack>,
}

/// Who may take part in elections at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElectionContext<'a> {
    /// All Nodes.
    pub(crate) nodes: &'a BTreeMap<NodeName, Node>,
    /// The live members; `None` while membership is off (D10, H110).
    pub(crate) alive: Option<&'a BTreeSet<NodeName>>,
    /// What is known of what they can announce on (W13).
    pub(crate) reaches: &'a Reaches,
    /// `--ignore-exclude-lb` (D12).
    pub(crate) ignore_exclude_label: bool,
}

/// A node that MetalLB would take for a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CandidateNode {
    /// The candidate it is.
    pub(crate) candidate: Candidate,
    /// Whether, for all that is known, it has an interface to announce on.
    pub(crate) usable: bool,
    /// For each address, whether it has one on the segment.
    pub(crate) on_segment: Vec<Known>,
}

impl ElectionContext<'_> {
    /// Whether the speaker of a node is alive (D10).
    pub(crate) fn is_alive(&self, node: &NodeName) -> bool {
        self.alive.is_none_or(|alive| alive.contains(node))
    }

    /// Whether a node may announce under one of `advertisements`, alive or not (D11 to
    /// D13).
    ///
    /// # Errors
    /// The first check that it fails.
    pub(crate) fn may_announce(
        &self,
        node: &Node,
        advertisements: &[&Advertisement],
    ) -> Result<(), CheckFailure> {
        if !advertisements.iter().any(|ad| ad.selects_node(node)) {
            Err(CheckFailure::NoNodeSelected)
        } else if node.is_excluded() && !self.ignore_exclude_label {
            Err(CheckFailure::NodesExcluded)
        } else if node.network_unavailable {
            Err(CheckFailure::NetworkUnavailable)
        } else {
            Ok(())
        }
    }
}

/// The nodes that may announce under the advertisements of `key`, with their scores,
/// in the order of their names (D10 to D13, D15, D22). Endpoints are not looked at. One that
/// has told that it lacks the pool, or every advertisement that selects it, is left out.
pub(crate) fn find(election: ElectionContext<'_>, key: &CandidateKey, config: &Config) -> Vec<CandidateNode> {
    let all: Vec<&Advertisement> = config.advertisements.values().collect();
    let locations = &key.locations;
    let matching = key.advertisements.iter().filter_map(|at| all.get(*at).copied());
    let matching: Vec<&Advertisement> = matching.collect();
    let nodes = election
        .nodes
        .values()
        .filter(|node| election.is_alive(&node.name) && election.may_announce(node, &matching).is_ok());
    let candidate_node = |node: &Node| {
        let reach = election.reaches.get(&node.name);
        let lacks = |object: Lack| reach.is_some_and(|reach| reach.has_told_to_lack(object));
        let has = |ad: &&&Advertisement| !lacks(lack(Kind::L2Advertisement, &ad.name));
        let here: Vec<&Advertisement> = matching.iter().filter(has).copied().collect();
        if key.pool.is_some_and(lacks) || !here.iter().any(|ad| ad.selects_node(node)) {
            return None;
        }
        let score = here.iter().map(|ad| ad.preference(node)).sum();
        let candidate = Candidate { node: node.name.clone(), score };
        let set = interfaces(here.iter().filter(|ad| ad.selects_node(node)).copied());
        let (Some(reach), Some(set)) = (reach, set) else {
            let on_segment = vec![Known::NotYet; locations.len()];
            return Some(CandidateNode { candidate, usable: true, on_segment });
        };
        Some(CandidateNode {
            candidate,
            usable: locations.iter().all(|location| reach.may_announce(&set, location.family)),
            on_segment: locations.iter().map(|location| reach.is_on_segment(&set, location)).collect(),
        })
    };
    nodes.filter_map(candidate_node).collect()
}

/// The candidates among `nodes`, under `externalTrafficPolicy: Local` only those of
/// `only_on` (D14).
///
/// W13: a node that cannot announce is none, nor, once one is known to be on the
/// segment of an address, is a node that is not. Where that would leave nobody,
/// all stay: then addresses are routed to the nodes, or the owner is there to say
/// what is wrong.
pub(crate) fn select(nodes: &[CandidateNode], only_on: Option<&BTreeSet<NodeName>>) -> Vec<Candidate> {
    let mut left = able(nodes, only_on);
    for address in 0..left.first().map_or(0, |one| one.on_segment.len()) {
        let known = |one: &&CandidateNode, known: Known| one.on_segment.get(address) == Some(&known);
        if left.iter().any(|one| known(one, Known::Yes)) {
            left.retain(|one| !known(one, Known::No));
        }
    }
    left.into_iter().map(|one| one.candidate.clone()).collect()
}

/// The same, wherever the addresses lie: those that can announce and serve.
pub(crate) fn able<'a>(
    nodes: &'a [CandidateNode],
    only_on: Option<&BTreeSet<NodeName>>,
) -> Vec<&'a CandidateNode> {
    let serves = |one: &&CandidateNode| only_on.is_none_or(|nodes| nodes.contains(&one.candidate.node));
    let mut left: Vec<&CandidateNode> = nodes.iter().filter(serves).collect();
    if left.iter().any(|one| one.usable) {
        left.retain(|one| one.usable);
    }
    left
}

/// D41: the union of what the advertisements list; one without a list means
/// all. `None` if there is no advertisement.
pub(crate) fn interfaces<'a>(
    advertisements: impl Iterator<Item = &'a Advertisement>,
) -> Option<InterfaceSet> {
    let mut names: Option<BTreeSet<String>> = None;
    for advertisement in advertisements {
        if advertisement.interfaces.is_empty() {
            return Some(InterfaceSet::All);
        }
        names.get_or_insert_default().extend(advertisement.interfaces.iter().cloned());
    }
    names.map(InterfaceSet::Named)
}
