//! Why nobody announces a Service: the first broken link of the chain from its
//! class to its owner, in words that say what to do.
//!
//! Unlike [`crate::ownership::eligibility`] it looks at the Service from nowhere: every
//! node comes to the same answer, whichever it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::config::{Advertisement, Config, Pool};
use ferrolb_api::node::EXCLUDE_LABEL;
use ferrolb_api::service::{Ingress, TrafficPolicy};
use ferrolb_api::{Node, NodeName, Service};

use crate::ownership::eligibility::{self, Electorate, Endpoints};

/// The most names in one message.
const MAX_NAMES: usize = 5;

/// The links of the chain, in its order. Class, and a pool or a reservation
/// that has nothing to give, are the controller's to report: without an address
/// there is nothing to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// The status has an entry that is no address (D6).
    Address,
    /// The addresses are not all in one pool that is in force (D6).
    Pool,
    /// No advertisement announces the pool, or applies to the Service (D7, D8).
    Advertisement,
    /// None can serve, or none where it must be (D6b, D14).
    Endpoints,
    /// No node may announce (D11 to D13).
    Nodes,
    /// No speaker is alive on a node that may.
    Owner,
    /// No such node has a usable interface (W13).
    Interface,
}

/// The first broken link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) link: Link,
    /// What is missing and what to do about it.
    pub(crate) message: String,
}

/// What can be said of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// It has no address, or is not of our class: there is nothing to announce.
    Nothing,
    /// Some node announces it.
    Announced,
    /// Nobody does.
    Blocked(Obstacle),
}

/// A Service and all that decides who announces it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) service: &'a Service,
    pub(crate) load_balancer_class: Option<&'a str>,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) config: &'a Config,
    pub(crate) electorate: Electorate<'a>,
}

impl<'a> Situation<'a> {
    /// Looks for the first broken link. `is_usable` says whether one of these
    /// nodes has an interface for these addresses under the advertisements at
    /// these places in the order of their names.
    pub(crate) fn outlook(
        &self,
        is_usable: impl FnOnce(&[usize], &[IpAddr], &BTreeSet<NodeName>) -> bool,
    ) -> Outlook {
        let service = self.service;
        let of_our_class = service.load_balancer_class.as_deref() == self.load_balancer_class;
        if !service.is_load_balancer || !of_our_class || service.ingress.is_empty() {
            return Outlook::Nothing;
        }
        match self.chain(is_usable) {
            Ok(()) => Outlook::Announced,
            Err(obstacle) => Outlook::Blocked(obstacle),
        }
    }

    fn chain(
        &self,
        is_usable: impl FnOnce(&[usize], &[IpAddr], &BTreeSet<NodeName>) -> bool,
    ) -> Result<(), Obstacle> {
        let addresses = self.addresses()?;
        let pool = self.config.pool_of(&addresses).ok_or_else(|| {
            let message = format!(
                "{} is in no IPAddressPool that is in force; add a pool with it, or look at the Ready \
                 condition of the pool that should have it",
                list(addresses.iter())
            );
            Obstacle::new(Link::Pool, message)
        })?;
        let (positions, advertisements) = self.advertisements(pool)?;
        if !self.endpoints.any {
            let message = "no endpoint of the Service is ready; look at its Pods and at its selector";
            return Err(Obstacle::new(Link::Endpoints, message));
        }
        let nodes = self.nodes(&advertisements)?;
        let nodes = self.with_endpoints(nodes)?;
        let alive = self.electorate.alive;
        if !nodes.iter().any(|node| alive.is_none_or(|alive| alive.contains(*node))) {
            let message = format!(
                "no speaker is alive on {}, and no other node may announce; look at the speakers' Pods",
                list(nodes.iter())
            );
            return Err(Obstacle::new(Link::Owner, message));
        }
        let nodes: BTreeSet<NodeName> = nodes.into_iter().cloned().collect();
        if is_usable(&positions, &addresses, &nodes) {
            return Ok(());
        }
        Err(Obstacle::new(Link::Interface, no_interface(&advertisements, &nodes)))
    }

    /// D6.
    fn addresses(&self) -> Result<Vec<IpAddr>, Obstacle> {
        let address = |entry: &Ingress| match entry {
            Ingress::Ip(address) => Ok(address.to_canonical()),
            Ingress::Unparsable(text) | Ingress::Hostname(text) => {
                let message = format!(
                    "{text:?} in its status is no IP address; whoever wrote it there manages this Service \
                     as well"
                );
                Err(Obstacle::new(Link::Address, message))
            }
        };
        eligibility::entries(self.service).map(address).collect()
    }

    /// D7, D8: those that announce the pool and apply to the Service.
    fn advertisements(&self, pool: &Pool) -> Result<(Vec<usize>, Vec<&'a Advertisement>), Obstacle> {
        let service = self.service;
        let of_pool = self.config.advertisements.values().enumerate().filter(|(_, ad)| ad.selects_pool(pool));
        let of_pool: Vec<(usize, &Advertisement)> = of_pool.collect();
        let failed = |message| Obstacle::new(Link::Advertisement, message);
        if of_pool.is_empty() {
            let name = &pool.name;
            return Err(failed(format!(
                "no L2Advertisement in force announces IPAddressPool {name}; create one, or add the pool to \
                 one that exists"
            )));
        }
        let names = list(of_pool.iter().map(|(_, ad)| &ad.name));
        let (positions, matched): (Vec<usize>, Vec<&Advertisement>) =
            of_pool.into_iter().filter(|(_, ad)| ad.selects_service(service)).unzip();
        if matched.is_empty() {
            return Err(failed(format!(
                "the serviceSelectors of L2Advertisement {names} do not match the labels of the Service"
            )));
        }
        let selects = matched.iter().find(|ad| !ad.service_selectors.is_empty());
        match selects.filter(|_| service.annotations.allow_shared_ip.is_some()) {
            None => Ok((positions, matched)),
            Some(ad) => Err(failed(format!(
                "the Service may share its address, and L2Advertisement {} has serviceSelectors: the \
                 Services of one address could get different owners; remove either",
                ad.name
            ))),
        }
    }

    /// D11 to D13: the nodes that may announce, alive or not.
    fn nodes(&self, advertisements: &[&Advertisement]) -> Result<Vec<&'a NodeName>, Obstacle> {
        let failed = |message| Obstacle::new(Link::Nodes, message);
        let mut nodes: Vec<&Node> = self.electorate.nodes.values().collect();
        nodes.retain(|node| advertisements.iter().any(|ad| ad.selects_node(node)));
        if nodes.is_empty() {
            let names = list(advertisements.iter().map(|ad| &ad.name));
            return Err(failed(format!(
                "the nodeSelectors of L2Advertisement {names} match no Node; label a Node or change them"
            )));
        }
        let all = list(nodes.iter().map(|node| &node.name));
        nodes.retain(|node| self.electorate.ignore_exclude_label || !node.is_excluded());
        if nodes.is_empty() {
            return Err(failed(format!(
                "{all} may not announce because of the label {EXCLUDE_LABEL}, which Talos and kubeadm give \
                 to control planes; remove it, or run the speakers with --ignore-exclude-lb"
            )));
        }
        nodes.retain(|node| !node.network_unavailable);
        if nodes.is_empty() {
            return Err(failed(format!(
                "every Node that may announce ({all}) has the condition NetworkUnavailable; look at the \
                 cluster's network plugin"
            )));
        }
        Ok(nodes.into_iter().map(|node| &node.name).collect())
    }

    /// D14.
    fn with_endpoints(&self, mut nodes: Vec<&'a NodeName>) -> Result<Vec<&'a NodeName>, Obstacle> {
        if self.service.traffic_policy == TrafficPolicy::Cluster {
            return Ok(nodes);
        }
        let all = list(nodes.iter());
        nodes.retain(|node| self.endpoints.nodes.contains(*node));
        if nodes.is_empty() {
            let message = format!(
                "externalTrafficPolicy is Local, and no ready endpoint runs on a node that may announce \
                 ({all}); run one there, or set it to Cluster"
            );
            return Err(Obstacle::new(Link::Endpoints, message));
        }
        Ok(nodes)
    }
}

impl Obstacle {
    fn new(link: Link, message: impl Into<String>) -> Self {
        Self { link, message: message.into() }
    }
}

/// W13: what candidates lack.
fn no_interface(advertisements: &[&Advertisement], nodes: &BTreeSet<NodeName>) -> String {
    let named: BTreeSet<&String> = advertisements.iter().flat_map(|ad| &ad.interfaces).collect();
    let nodes = list(nodes.iter());
    if named.is_empty() || advertisements.iter().any(|ad| ad.interfaces.is_empty()) {
        return format!("none of {nodes} has an interface that is up and can announce");
    }
    format!(
        "none of {nodes} has one of the interfaces that the L2Advertisements name ({}) in a state to \
         announce; correct the names, or leave them out for all interfaces",
        list(named.iter())
    )
}

/// `a, b and 3 more`.
fn list(names: impl ExactSizeIterator<Item = impl ToString>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut text = names.take(MAX_NAMES).map(|name| name.to_string()).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests;
