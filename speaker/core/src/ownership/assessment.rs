//! Whether a Service is announced, and if not, why: one walk along the checks of
//! [`crate::ownership::diagnosis`], MetalLB's among them (D4 to D15, D30, D41).
//!
//! [`assess`] looks at what every node sees alike and nobody's death changes; what
//! follows for one node and what follows for all are views of its answer. Only the
//! second asks who is alive, and makes a text: few Services need one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::config::{Advertisement, Config, Kind, Occupant, Occupied, Pool};
use ferrolb_api::service::{Ingress, TrafficPolicy};
use ferrolb_api::{Node, NodeName, Service};

use crate::effect::WithdrawReason;
use crate::interface::InterfaceSet;
use crate::ownership::candidates::{self, CandidateKey, ElectionContext, interfaces};
use crate::ownership::diagnosis::{Check, CheckFailure, Diagnosis, Names};
use crate::ownership::lacks::lack;
use crate::ownership::reach::{AddressLocation, Subnet};

/// The order in which MetalLB looks at a Service: at its endpoints before it looks
/// for advertisements (D6b, D7).
const METALLB_ORDER: [Check; 5] =
    [Check::Class, Check::Address, Check::Pool, Check::Endpoints, Check::Advertisement];

/// Where the endpoints of a Service are that can serve (D30).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Whether there is one at all, wherever (D6b).
    pub(crate) any: bool,
    /// The nodes that have one (D14).
    pub(crate) nodes: BTreeSet<NodeName>,
}

/// What all Services are assessed by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// `--lb-class` (C2).
    pub(crate) load_balancer_class: Option<&'a str>,
    /// The configuration in force.
    pub(crate) config: &'a Config,
    /// The subnets of the nodes that addresses of pools lie in (W13).
    pub(crate) subnets: &'a BTreeSet<Subnet>,
    /// The addresses that somebody else has. Of what stands on interfaces each node knows its own.
    pub(crate) occupied: &'a Occupied,
}

/// What can be said of a Service without knowing who asks and who is alive.
#[derive(Clone, Debug)]
pub(crate) struct Assessment<'a> {
    context: Context<'a>,
    service: &'a Service,
    endpoints: &'a Endpoints,
    /// The checks that it fails, in their order, as far as they could be made.
    failures: Vec<CheckFailure>,
    /// Its addresses in the order of its status.
    addresses: Vec<IpAddr>,
    pool: Option<&'a Pool>,
    /// The advertisements that announce the pool and apply to the Service, with their
    /// places in the order of their names.
    advertisements: Vec<(usize, &'a Advertisement)>,
}

/// A Service that some node would announce if it were elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eligible {
    /// Its addresses in the order of its status; the first one elects (D21).
    pub(crate) addresses: Vec<IpAddr>,
    /// Who may be a candidate.
    pub(crate) key: CandidateKey,
    /// The only nodes that may be candidates under
    /// `externalTrafficPolicy: Local` (D14).
    pub(crate) only_on: Option<BTreeSet<NodeName>>,
    /// Where this node would announce (D41); `None` if no advertisement selects it (D8).
    pub(crate) interfaces: Option<InterfaceSet>,
}

/// Whether anybody announces a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnnouncementState {
    /// It has no address, or is not of our class: there is nothing to announce.
    Nothing,
    /// Some node announces it.
    Announced,
    /// Nobody does.
    Blocked(Diagnosis),
}

/// Walks the checks of a Service as far as its nodes.
pub(crate) fn assess<'a>(
    context: Context<'a>,
    service: &'a Service,
    endpoints: &'a Endpoints,
) -> Assessment<'a> {
    let mut assessment = Assessment {
        context,
        service,
        endpoints,
        failures: Vec::new(),
        addresses: Vec::new(),
        pool: None,
        advertisements: Vec::new(),
    };
    if let Err(failure) = assessment.find_pool() {
        assessment.failures.push(failure);
        return assessment;
    }
    if let Err(failure) = assessment.find_advertisements() {
        assessment.failures.push(failure);
    }
    if !endpoints.any {
        assessment.failures.push(CheckFailure::NoEndpoint);
    }
    assessment
}

impl<'a> Assessment<'a> {
    /// C2, D4, D6. Upstream skips a Service of another class, and so leaks the
    /// announcement of one whose class was taken away (W33).
    fn find_pool(&mut self) -> Result<(), CheckFailure> {
        let service = self.service;
        let of_our_class = service.load_balancer_class.as_deref() == self.context.load_balancer_class;
        if !service.is_load_balancer || !of_our_class {
            return Err(CheckFailure::NotOurs);
        }
        if service.ingress.is_empty() {
            return Err(CheckFailure::NoAddress);
        }
        let address = |entry: &Ingress| match entry {
            Ingress::Ip(address) => Ok(address.to_canonical()),
            Ingress::Unparsable(_) | Ingress::Hostname(_) => Err(CheckFailure::NotAnAddress),
        };
        self.addresses = entries(service).map(address).collect::<Result<_, _>>()?;
        self.pool = self.context.config.pool_serving(service, &self.addresses);
        let pool = self.pool.ok_or(CheckFailure::NotInPool)?;
        let is_occupied = !pool.allow_occupied && self.occupants().next().is_some();
        if is_occupied { Err(CheckFailure::Occupied) } else { Ok(()) }
    }

    /// Those of its addresses that somebody else answers for, and who.
    fn occupants(&self) -> impl Iterator<Item = (IpAddr, &'a Occupant)> {
        let occupied = self.context.occupied;
        let occupant = move |address: &IpAddr| Some((*address, occupied.occupant(*address)?));
        self.addresses.iter().filter_map(occupant).filter(|(_, by)| !by.yields_to_a_request())
    }

    /// D7, D8: those that announce the pool and apply to the Service.
    fn find_advertisements(&mut self) -> Result<(), CheckFailure> {
        self.advertisements = self.of_pool().filter(|(_, ad)| ad.selects_service(self.service)).collect();
        if self.advertisements.is_empty() {
            let is_advertised = self.of_pool().next().is_some();
            return Err(if is_advertised { CheckFailure::NotSelected } else { CheckFailure::NotAdvertised });
        }
        if self.service.annotations.allow_shared_ip.is_some() && self.selecting().is_some() {
            return Err(CheckFailure::SharedUnderSelectors);
        }
        Ok(())
    }

    fn of_pool(&self) -> impl Iterator<Item = (usize, &'a Advertisement)> + use<'a> {
        let (pool, advertisements) = (self.pool, self.context.config.advertisements.values());
        advertisements.enumerate().filter(move |(_, ad)| pool.is_some_and(|pool| ad.selects_pool(pool)))
    }

    /// The first that selects Services by their labels.
    fn selecting(&self) -> Option<&'a Advertisement> {
        self.applicable().find(|ad| !ad.service_selectors.is_empty())
    }

    fn applicable(&self) -> impl Iterator<Item = &'a Advertisement> {
        self.advertisements.iter().map(|(_, ad)| *ad)
    }

    /// By what its candidates are found.
    fn key(&self) -> CandidateKey {
        let pool = self.pool.filter(|pool| self.service.annotations.origin() != Some(&pool.name));
        let location = |address: &IpAddr| AddressLocation::of(*address, self.context.subnets);
        CandidateKey {
            advertisements: self.advertisements.iter().map(|(at, _)| *at).collect(),
            locations: self.addresses.iter().map(location).collect(),
            pool: pool.map(|pool| lack(Kind::IPAddressPool, &pool.name)),
        }
    }

    /// D14: where its endpoints must be.
    fn only_on(&self) -> Option<&'a BTreeSet<NodeName>> {
        (self.service.traffic_policy == TrafficPolicy::Local).then_some(&self.endpoints.nodes)
    }

    /// The view from the node `own`: what it would announce. But for the interfaces all
    /// nodes see the same.
    ///
    /// # Errors
    /// The reason for which none must, whoever is alive.
    pub(crate) fn on_node(&self, own: Option<&Node>) -> Result<Eligible, WithdrawReason> {
        let failure_of = |check: Check| self.failures.iter().find(|failure| failure.check() == check);
        if let Some(failure) = METALLB_ORDER.into_iter().find_map(failure_of) {
            return Err(failure.withdraw_reason());
        }
        let here = self.applicable().filter(|ad| own.is_some_and(|node| ad.selects_node(node)));
        let (key, only_on, interfaces) = (self.key(), self.only_on().cloned(), interfaces(here));
        Ok(Eligible { addresses: self.addresses.clone(), key, only_on, interfaces })
    }

    /// The view from nowhere: every node comes to the same answer, whichever it is.
    pub(crate) fn state(&self, election: ElectionContext<'_>) -> AnnouncementState {
        match self.first_failure(election) {
            None => AnnouncementState::Announced,
            Some(Diagnosis { failure, .. }) if failure.text().is_none() => AnnouncementState::Nothing,
            Some(diagnosis) => AnnouncementState::Blocked(diagnosis),
        }
    }

    fn first_failure(&self, election: ElectionContext<'_>) -> Option<Diagnosis> {
        if let Some(failure) = self.failures.first() {
            return Some(Diagnosis { failure: *failure, names: self.names(*failure) });
        }
        self.nodes(election).and_then(|nodes| self.check_layer2(election, &nodes)).err()
    }

    /// The nodes that may announce it, alive or not (D11 to D14). Here the part of the
    /// chain ends that does not depend on the protocol.
    fn nodes<'n>(&self, election: ElectionContext<'n>) -> Result<BTreeSet<&'n NodeName>, Diagnosis> {
        let advertisements: Vec<&Advertisement> = self.applicable().collect();
        let checked: Vec<(&NodeName, Result<(), CheckFailure>)> = election
            .nodes
            .values()
            .map(|node| (&node.name, election.may_announce(node, &advertisements)))
            .collect();
        let mut nodes: BTreeSet<&NodeName> =
            checked.iter().filter(|(_, result)| result.is_ok()).map(|(name, _)| *name).collect();
        if nodes.is_empty() {
            // The one that came furthest says most.
            let furthest = checked.iter().filter_map(|(_, result)| result.err()).max();
            let failure = furthest.unwrap_or(CheckFailure::NoNodeSelected);
            let names = if failure == CheckFailure::NoNodeSelected {
                advertisements.iter().map(|ad| &ad.name).collect()
            } else {
                let selected =
                    checked.iter().filter(|(_, result)| *result != Err(CheckFailure::NoNodeSelected));
                selected.map(|(name, _)| *name).collect()
            };
            return Err(Diagnosis { failure, names: vec![names] });
        }
        if let Some(only_on) = self.only_on() {
            let names = nodes.iter().collect();
            nodes.retain(|node| only_on.contains(*node));
            if nodes.is_empty() {
                return Err(Diagnosis { failure: CheckFailure::NoLocalEndpoint, names: vec![names] });
            }
        }
        Ok(nodes)
    }

    /// Of the nodes that may announce one must be alive (D10) and have an interface
    /// (W13).
    fn check_layer2(
        &self,
        election: ElectionContext<'_>,
        nodes: &BTreeSet<&NodeName>,
    ) -> Result<(), Diagnosis> {
        if !nodes.iter().any(|node| election.is_alive(node)) {
            let names = vec![nodes.iter().collect()];
            return Err(Diagnosis { failure: CheckFailure::NoSpeaker, names });
        }
        let candidates = candidates::find(election, &self.key(), self.context.config);
        if candidates.iter().any(|one| one.usable && nodes.contains(&one.candidate.node)) {
            return Ok(());
        }
        let named: BTreeSet<&String> = self.applicable().flat_map(|ad| &ad.interfaces).collect();
        let names: Names = nodes.iter().collect();
        if named.is_empty() || self.applicable().any(|ad| ad.interfaces.is_empty()) {
            return Err(Diagnosis { failure: CheckFailure::NoInterface, names: vec![names] });
        }
        let names = vec![names, named.iter().collect()];
        Err(Diagnosis { failure: CheckFailure::NoNamedInterface, names })
    }

    /// What a failure of the Service itself is of.
    fn names(&self, failure: CheckFailure) -> Vec<Names> {
        let names = match failure {
            CheckFailure::NotAnAddress => {
                let text = |entry: &'a Ingress| match entry {
                    Ingress::Ip(_) => None,
                    Ingress::Unparsable(text) | Ingress::Hostname(text) => Some(format!("{text:?}")),
                };
                entries(self.service).find_map(text).into_iter().collect()
            }
            CheckFailure::NotInPool => self.addresses.iter().collect(),
            CheckFailure::Occupied => {
                self.occupants().map(|(address, by)| format!("{address} is {by}")).collect()
            }
            CheckFailure::NotAdvertised => self.pool.iter().map(|pool| &pool.name).collect(),
            CheckFailure::NotSelected => self.of_pool().map(|(_, ad)| &ad.name).collect(),
            CheckFailure::SharedUnderSelectors => self.selecting().iter().map(|ad| &ad.name).collect(),
            _ => return Vec::new(),
        };
        vec![names]
    }
}

/// The entries of its status that ought to be addresses: all of them, or, as for
/// the controller (C14), all with an `ip` where there is one.
fn entries(service: &Service) -> impl Iterator<Item = &Ingress> {
    let has_ip = |entry: &&Ingress| !matches!(entry, Ingress::Hostname(_));
    let any = service.ingress.iter().any(|entry| has_ip(&entry));
    service.ingress.iter().filter(move |entry| !any || has_ip(entry))
}

#[cfg(test)]
mod diagnosis_tests;
#[cfg(test)]
mod tests;
