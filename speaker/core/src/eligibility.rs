//! Whether a Service can be announced at all, by whom, and where: MetalLB's
//! checks in MetalLB's order (D4 to D15, D30, D41).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use metallb_api::config::{Advertisement, Config};
use metallb_api::service::{Ingress, TrafficPolicy};
use metallb_api::{Node, NodeName, Service};

use crate::announcements::InterfaceSet;
use crate::effect::WithdrawReason;
use crate::election::Candidate;

/// The advertisements that match a Service, as their places in the order of
/// their names. Services with the same ones have the same candidates, up to
/// their endpoints.
pub(crate) type Matching = Vec<usize>;

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
    /// `--ignore-exclude-lb` (D12).
    pub(crate) ignore_exclude_label: bool,
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
    let (matching, advertisements): (Matching, Vec<&Advertisement>) = config
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
    Ok(Eligible { addresses, matching, interfaces, only_on })
}

/// The nodes that may announce under one of `matching`, with their scores, in
/// the order of their names (D10 to D13, D15, D22). Endpoints are not looked at.
pub(crate) fn candidates(electorate: Electorate<'_>, matching: &Matching, config: &Config) -> Vec<Candidate> {
    let all: Vec<&Advertisement> = config.advertisements.values().collect();
    let matching: Vec<&Advertisement> = matching.iter().filter_map(|at| all.get(*at).copied()).collect();
    let nodes = electorate.nodes.values().filter(|node| {
        electorate.alive.is_none_or(|alive| alive.contains(&node.name))
            && !node.network_unavailable
            && (electorate.ignore_exclude_label || !node.is_excluded())
            && matching.iter().any(|ad| ad.selects_node(node))
    });
    nodes
        .map(|node| Candidate {
            node: node.name.clone(),
            score: matching.iter().map(|ad| ad.preference(node)).sum(),
        })
        .collect()
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
    service.ingress.iter().map(address).collect()
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
