//! Who owns the addresses of a group: of the nodes that can serve the most of its
//! Services, the first in MetalLB's order.
//!
//! Where a node can serve all, these are the candidates that all Services have in
//! common. Where none can, the owner serves those that it can, and the others are left
//! out, for an address is answered by one node only. Services that are left with no
//! address that is answered are elected for by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::NodeName;

use crate::ownership::address_groups::{AddressGroup, Sharers};
use crate::ownership::candidates::{self, CandidateNode};
use crate::ownership::election::{self, Candidate};
use crate::ownership::reach::Known;

/// One owner and what it serves. A group that no node can serve as a whole may have
/// several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The owner.
    pub(crate) owner: NodeName,
    /// The address that was hashed.
    pub(crate) address: IpAddr,
    /// The sharers that it serves, by their places in the group, in order.
    pub(crate) serves: Vec<usize>,
}

/// The outcome of one election.
#[derive(Debug)]
pub(crate) struct Elected {
    /// What is remembered of it.
    pub(crate) part: Part,
    /// The nodes that could serve as much as the owner, in no order that matters.
    pub(crate) candidates: Vec<Candidate>,
}

/// Sharers with the nodes that can serve them.
struct Contender<'a> {
    place: usize,
    sharers: &'a Sharers,
    nodes: BTreeMap<&'a NodeName, &'a CandidateNode>,
    /// Whether one of the nodes has an interface for them, for all that is known (W13).
    is_usable: bool,
}

/// Elects for a group. `nodes` are, for each of its sharers, the nodes that may announce
/// them, as [`candidates::find`] gives them.
pub(crate) fn elect(group: &AddressGroup, nodes: &[&[CandidateNode]]) -> Vec<Elected> {
    let all: Vec<Contender<'_>> = group
        .sharers
        .iter()
        .zip(nodes)
        .enumerate()
        .map(|(place, (sharers, nodes))| Contender::new(place, sharers, nodes))
        .collect();
    let mut ahead: Vec<Vec<&Contender<'_>>> = vec![all.iter().collect()];
    let mut elected = Vec::new();
    while let Some(linked) = ahead.pop() {
        let Some(one) = elect_linked(&linked) else { continue };
        let served = linked.iter().filter(|contender| one.part.serves.contains(&contender.place));
        let answered: BTreeSet<IpAddr> =
            served.flat_map(|contender| &contender.sharers.addresses).copied().collect();
        let is_free = |one: &&&Contender<'_>| one.sharers.addresses.iter().all(|it| !answered.contains(it));
        ahead.extend(components(linked.iter().filter(is_free).copied().collect()));
        elected.push(one);
    }
    elected
}

/// The address whose hash decides for all of `addresses`, each a Service's in the order
/// of its status: the first one where that is the same for all (D20, D21), else the
/// smallest IPv4 address, or without one the smallest IPv6 address, whatever the
/// Services are called.
pub(crate) fn hashed_address<'a>(addresses: impl Iterator<Item = &'a [IpAddr]> + Clone) -> Option<IpAddr> {
    let first: BTreeSet<&IpAddr> = addresses.clone().filter_map(<[IpAddr]>::first).collect();
    match first.len() {
        1 => first.first().map(|one| **one),
        // IPv4 sorts before IPv6.
        _ => addresses.flatten().min().copied(),
    }
}

/// Elects for Services that are linked with each other; `None` if nobody can serve any.
fn elect_linked(linked: &[&Contender<'_>]) -> Option<Elected> {
    let address = hashed_address(linked.iter().map(|one| one.sharers.addresses.as_slice()))?;
    // One that has no interface anywhere must not take the address away from others.
    let some_usable = linked.iter().any(|one| one.is_usable);
    let counted: Vec<&Contender<'_>> =
        linked.iter().filter(|one| one.is_usable || !some_usable).copied().collect();
    // How many Services a node can serve, and the sum of its scores over them.
    let mut tally: BTreeMap<&NodeName, (usize, u64)> = BTreeMap::new();
    for contender in &counted {
        let services = contender.sharers.services.len();
        for (node, found) in &contender.nodes {
            let (count, score) = tally.entry(node).or_default();
            *count += services;
            let weight = u64::try_from(services).unwrap_or(u64::MAX);
            *score = score.saturating_add(found.candidate.score.saturating_mul(weight));
        }
    }
    let most = tally.values().map(|(count, _)| *count).max()?;
    tally.retain(|_, (count, _)| *count == most);
    retain_on_segment(&mut tally, address, &counted);
    let candidates: Vec<Candidate> =
        tally.into_iter().map(|(node, (_, score))| Candidate { node: node.clone(), score }).collect();
    let owner = candidates.iter().min_by_key(|one| election::rank(one, address))?.node.clone();
    let serves = linked.iter().filter(|one| one.nodes.contains_key(&owner)).map(|one| one.place);
    let mut serves: Vec<usize> = serves.collect();
    serves.sort_unstable();
    Some(Elected { part: Part { owner, address, serves }, candidates })
}

/// W13: once a node is known to be on the segment of an address, one that is not is no
/// candidate. The address that is hashed counts first, the others in their order.
fn retain_on_segment<T>(left: &mut BTreeMap<&NodeName, T>, hashed: IpAddr, contenders: &[&Contender<'_>]) {
    let mut addresses: Vec<IpAddr> =
        contenders.iter().flat_map(|one| one.sharers.addresses.iter().copied()).collect();
    addresses.sort_unstable_by_key(|address| (*address != hashed, *address));
    addresses.dedup();
    for address in addresses {
        let known: BTreeMap<&NodeName, Known> =
            left.keys().map(|node| (*node, on_segment(node, address, contenders))).collect();
        if known.values().any(|known| *known == Known::Yes) {
            left.retain(|node, _| known.get(node) != Some(&Known::No));
        }
    }
}

/// Whether a node is on the segment of an address for one of its Services.
fn on_segment(node: &NodeName, address: IpAddr, contenders: &[&Contender<'_>]) -> Known {
    let known = |one: &&Contender<'_>| {
        let at = one.sharers.addresses.iter().position(|it| *it == address)?;
        one.nodes.get(node)?.on_segment.get(at).copied()
    };
    let mut all = contenders.iter().filter_map(known);
    let seen: BTreeSet<Known> = all.by_ref().collect();
    [Known::Yes, Known::NotYet].into_iter().find(|known| seen.contains(known)).unwrap_or(Known::No)
}

/// Parts them into those that are linked with each other.
fn components<'a, 'b>(mut left: Vec<&'a Contender<'b>>) -> Vec<Vec<&'a Contender<'b>>> {
    let mut found = Vec::new();
    while let Some(first) = left.pop() {
        let mut addresses: BTreeSet<IpAddr> = first.sharers.addresses.iter().copied().collect();
        let mut linked = vec![first];
        loop {
            let shares = |one: &&Contender<'_>| one.sharers.addresses.iter().any(|it| addresses.contains(it));
            let (more, others): (Vec<_>, Vec<_>) = left.into_iter().partition(shares);
            left = others;
            if more.is_empty() {
                break;
            }
            addresses.extend(more.iter().flat_map(|one| &one.sharers.addresses));
            linked.extend(more);
        }
        found.push(linked);
    }
    found
}

impl<'a> Contender<'a> {
    fn new(place: usize, sharers: &'a Sharers, nodes: &'a [CandidateNode]) -> Self {
        let able = candidates::able(nodes, sharers.only_on.as_ref());
        let is_usable = able.iter().any(|one| one.usable);
        let nodes = able.into_iter().map(|one| (&one.candidate.node, one)).collect();
        Self { place, sharers, nodes, is_usable }
    }
}

#[cfg(test)]
mod tests;
