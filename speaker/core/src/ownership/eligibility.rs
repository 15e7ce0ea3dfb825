//! Whether a Service can be announced at all, by whom, and where: MetalLB's
//! checks in MetalLB's order (D4 to D15, D30, D41), and who can reach the segment
//! (W13).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::config::{Advertisement, Config};
use ferrolb_api::service::{Ingress, TrafficPolicy};
use ferrolb_api::{Node, NodeName, Service};

use crate::effect::WithdrawReason;
use crate::interface::InterfaceSet;
use crate::ownership::election::Candidate;
use crate::ownership::reach::{Known, Place, Reaches, Subnet};

/// What the candidates of a Service depend on. Services with the same have the
/// same candidates, up to their endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Matching {
    /// The advertisements that match it, as their places in the order of their
    /// names.
    pub(crate) advertisements: Vec<usize>,
    /// Where its addresses lie, in their order (W13).
    pub(crate) places: Vec<Place>,
}

/// Where the endpoints of a Service are that can serve (D30).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Whether there is one at all, wherever (D6b).
    pub(crate) any: bool,
    /// The nodes that have one (D14).
    pub(crate) nodes: BTreeSet<NodeName>,
}

/// What can be said of a Service without knowing who is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eligible {
    /// Its addresses in the order of its status; the first one elects (D21).
    pub(crate) addresses: Vec<IpAddr>,
    /// Who may be a candidate.
    pub(crate) matching: Matching,
    /// Where this node would announce (D41).
    pub(crate) interfaces: InterfaceSet,
    /// The only nodes that may be candidates under
    /// `externalTrafficPolicy: Local` (D14).
    pub(crate) only_on: Option<BTreeSet<NodeName>>,
}

/// Who may take part at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Electorate<'a> {
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
pub(crate) struct Prospect {
    /// The candidate it is.
    pub(crate) candidate: Candidate,
    /// Whether, for all that is known, it has an interface to announce on.
    pub(crate) usable: bool,
    /// For each address, whether it has one on the segment.
    pub(crate) on_segment: Vec<Known>,
}

/// Checks a Service from the point of view of the node `own`.
///
/// # Errors
/// The reason for which it must not be announced here, whoever is alive.
pub(crate) fn check(
    service: &Service,
    load_balancer_class: Option<&str>,
    endpoints: &Endpoints,
    config: &Config,
    subnets: &BTreeSet<Subnet>,
    own: Option<&Node>,
) -> Result<Eligible, WithdrawReason> {
    // C2; upstream skips a Service of another class, and so leaks the
    // announcement of one whose class was taken away (W33).
    let of_our_class = service.load_balancer_class.as_deref() == load_balancer_class;
    if !service.is_load_balancer || !of_our_class {
        return Err(WithdrawReason::NotLoadBalancer);
    }
    let addresses = addresses(service)?;
    let pool = config.pool_of(&addresses).ok_or(WithdrawReason::IpNotAllowed)?;
    if !endpoints.any {
        return Err(WithdrawReason::NotOwner);
    }
    let (positions, advertisements): (Vec<usize>, Vec<&Advertisement>) = config
        .advertisements
        .values()
        .enumerate()
        .filter(|(_, ad)| ad.selects_pool(pool) && ad.selects_service(service))
        .unzip();
    let selects_services = |ad: &&Advertisement| !ad.service_selectors.is_empty();
    if service.annotations.allow_shared_ip.is_some() && advertisements.iter().any(selects_services) {
        return Err(WithdrawReason::SharedIpWithServiceSelector);
    }
    let here = |ad: &&&Advertisement| own.is_some_and(|node| ad.selects_node(node));
    let interfaces = interfaces(advertisements.iter().filter(here).copied())
        .ok_or(WithdrawReason::NoMatchingAdvertisement)?;
    let local = service.traffic_policy == TrafficPolicy::Local;
    let only_on = local.then(|| endpoints.nodes.clone());
    let matching = Matching {
        advertisements: positions,
        places: addresses.iter().map(|address| Place::of(*address, subnets)).collect(),
    };
    Ok(Eligible { addresses, matching, interfaces, only_on })
}

/// The nodes that may announce under one of `matching`, with their scores, in
/// the order of their names (D10 to D13, D15, D22). Endpoints are not looked at.
pub(crate) fn prospects(electorate: Electorate<'_>, matching: &Matching, config: &Config) -> Vec<Prospect> {
    let all: Vec<&Advertisement> = config.advertisements.values().collect();
    let places = &matching.places;
    let matching = matching.advertisements.iter().filter_map(|at| all.get(*at).copied());
    let matching: Vec<&Advertisement> = matching.collect();
    let nodes = electorate.nodes.values().filter(|node| {
        electorate.alive.is_none_or(|alive| alive.contains(&node.name))
            && !node.network_unavailable
            && (electorate.ignore_exclude_label || !node.is_excluded())
            && matching.iter().any(|ad| ad.selects_node(node))
    });
    let prospect = |node: &Node| {
        let score = matching.iter().map(|ad| ad.preference(node)).sum();
        let candidate = Candidate { node: node.name.clone(), score };
        let reach = electorate.reaches.get(&node.name);
        let set = interfaces(matching.iter().filter(|ad| ad.selects_node(node)).copied());
        let (Some(reach), Some(set)) = (reach, set) else {
            return Prospect { candidate, usable: true, on_segment: vec![Known::NotYet; places.len()] };
        };
        Prospect {
            candidate,
            usable: places.iter().all(|place| reach.may_announce(&set, place.family)),
            on_segment: places.iter().map(|place| reach.is_on_segment(&set, place)).collect(),
        }
    };
    nodes.map(prospect).collect()
}

/// The candidates among `prospects`, under `externalTrafficPolicy: Local` only
/// those of `only_on` (D14).
///
/// W13: a node that cannot announce is none, nor, once one is known to be on the
/// segment of an address, is a node that is not. Where that would leave nobody,
/// all stay: then addresses are routed to the nodes, or the owner is there to say
/// what is wrong.
pub(crate) fn candidates(prospects: &[Prospect], only_on: Option<&BTreeSet<NodeName>>) -> Vec<Candidate> {
    let serves = |one: &&Prospect| only_on.is_none_or(|nodes| nodes.contains(&one.candidate.node));
    let mut left: Vec<&Prospect> = prospects.iter().filter(serves).collect();
    if left.iter().any(|one| one.usable) {
        left.retain(|one| one.usable);
    }
    for address in 0..left.first().map_or(0, |one| one.on_segment.len()) {
        let known = |one: &&Prospect, known: Known| one.on_segment.get(address) == Some(&known);
        if left.iter().any(|one| known(one, Known::Yes)) {
            left.retain(|one| !known(one, Known::No));
        }
    }
    left.into_iter().map(|one| one.candidate.clone()).collect()
}

/// The entries of its status that ought to be addresses: all of them, or, as for
/// the controller (C14), all with an `ip` where there is one.
pub(crate) fn entries(service: &Service) -> impl Iterator<Item = &Ingress> {
    let has_ip = |entry: &&Ingress| !matches!(entry, Ingress::Hostname(_));
    let any = service.ingress.iter().any(|entry| has_ip(&entry));
    service.ingress.iter().filter(move |entry| !any || has_ip(entry))
}

/// D6.
fn addresses(service: &Service) -> Result<Vec<IpAddr>, WithdrawReason> {
    if service.ingress.is_empty() {
        return Err(WithdrawReason::NoIpAllocated);
    }
    let address = |entry: &Ingress| match entry {
        Ingress::Ip(address) => Ok(address.to_canonical()),
        Ingress::Unparsable(_) | Ingress::Hostname(_) => Err(WithdrawReason::InvalidIp),
    };
    entries(service).map(address).collect()
}

/// D41: the union of what the advertisements list; one without a list means
/// all. `None` if there is no advertisement.
fn interfaces<'a>(advertisements: impl Iterator<Item = &'a Advertisement>) -> Option<InterfaceSet> {
    let mut names: Option<BTreeSet<String>> = None;
    for advertisement in advertisements {
        if advertisement.interfaces.is_empty() {
            return Some(InterfaceSet::All);
        }
        names.get_or_insert_default().extend(advertisement.interfaces.iter().cloned());
    }
    names.map(InterfaceSet::Named)
}

#[cfg(test)]
mod tests;
