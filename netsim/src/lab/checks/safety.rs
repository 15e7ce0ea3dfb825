//! The safety invariants of reliability.md 3.3, looked at after every step, on
//! frames and store, not on anybody's word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ferrolb_api::config::Config;
use ferrolb_api::{NodeName, Service, ServiceKey, Time};
use smoltcp::wire::EthernetAddress;
use speaker_core::Notice;

use self::stability::Stability;
use crate::lab::address_plan;
use crate::lab::checks::claim::{FrameClaim, Saying};
use crate::lab::checks::reference_election;

mod stability;

/// S1: how long two Services that shared an address may have it after an edit that makes them differ: the other may be
/// edited as well, and the controller waits for that.
const S1_GRACE: Duration = Duration::from_secs(5);
/// S4: how long after the API took an address away a speaker may still answer for it.
const S4_GRACE: Duration = Duration::from_secs(5);
/// S13: announcements of one interface: so many at once, so many a second.
const S13_BURST: f64 = 200.0;
const S13_RATE: f64 = 1000.0;
/// S13: the API server is written to only within this time of a cause, the
/// longest back-off of a failed write included.
const S13_CAUSE: Duration = Duration::from_secs(15);
/// A run that is wrong is wrong; the first violations tell why.
const MAX_VIOLATIONS: usize = 20;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, as reliability.md names it.
    pub rule: &'static str,
    /// When.
    pub at: Time,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.rule, self.at, self.seen)
    }
}

/// What the checkers know of the run.
#[derive(Debug, Default)]
pub struct Checkers {
    violations: Vec<Violation>,
    nodes: BTreeMap<NodeName, Seen>,
    assigned: BTreeSet<IpAddr>,
    stability: Stability,
    /// Who shares an address; if the two do not fit each other, until when that may be so.
    sharers: BTreeMap<(IpAddr, ServiceKey, ServiceKey), Option<Time>>,
    /// Addresses that no Service has any more, and since when.
    left: BTreeMap<IpAddr, Time>,
    /// When the API server was last out of reach.
    unreachable: Option<Time>,
    last_cause: Time,
}

/// What was seen of one node.
#[derive(Debug, Default)]
struct Seen {
    /// Its own addresses, of all its NICs.
    own: BTreeSet<IpAddr>,
    nics: Vec<SeenNic>,
    /// The addresses in the Service statuses that its speaker has seen.
    known: BTreeSet<IpAddr>,
    /// Those that its endpoints allow it to serve (D14), each with the Services for which
    /// they do.
    servable: BTreeSet<(IpAddr, ServiceKey)>,
    /// What it announces: the same address once for each Service that has it.
    announced: BTreeSet<(IpAddr, ServiceKey)>,
}

/// What was seen at one NIC.
#[derive(Debug)]
struct SeenNic {
    mac: EthernetAddress,
    questions: u64,
    answers: u64,
    tokens: f64,
    refilled: Time,
}

impl Checkers {
    /// A node that is to be watched, with the own address of each of its NICs.
    pub fn add_node(&mut self, name: &NodeName, nics: impl IntoIterator<Item = Ipv4Addr>) {
        let mut seen = Seen::default();
        for address in nics {
            seen.own.extend([IpAddr::from(address), IpAddr::from(address_plan::ipv6(address))]);
            seen.nics.push(SeenNic {
                mac: address_plan::mac(address),
                questions: 0,
                answers: 0,
                tokens: S13_BURST,
                refilled: Time::ZERO,
            });
        }
        self.nodes.insert(name.clone(), seen);
    }

    /// Everything that was found.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Writes a violation down.
    pub fn report(&mut self, rule: &'static str, at: Time, seen: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { rule, at, seen });
        }
    }

    /// Somebody outside changed something: processes may write for a while.
    pub const fn cause(&mut self, now: Time) {
        self.last_cause = now;
    }

    /// The API server is out of reach, or was until now.
    pub const fn unreachable(&mut self, now: Time) {
        self.unreachable = Some(now);
    }

    /// The nodes that say they announce `address`.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().filter(move |(_, seen)| seen.announces(address)).map(|(name, _)| name)
    }

    /// A node's speaker has begun anew, or is gone.
    pub fn restarted(&mut self, node: &NodeName) {
        if let Some(seen) = self.nodes.get_mut(node) {
            seen.announced.clear();
            seen.known.clear();
            seen.servable.clear();
        }
    }

    /// S1 and S3, on the store: two Services have an address in common only if they
    /// share a key and no port, or have just been edited; nobody loses one for no reason.
    pub fn store_changed<'a>(
        &mut self,
        now: Time,
        services: impl Iterator<Item = &'a k8s_openapi::api::core::v1::Service>,
    ) {
        let services: Vec<Service> = services.map(Service::from).collect();
        let mut holders: BTreeMap<IpAddr, Vec<&Service>> = BTreeMap::new();
        for service in &services {
            for address in service.ingress_ips() {
                holders.entry(address).or_default().push(service);
            }
        }
        self.look_at_sharers(now, &holders);
        let assigned: BTreeSet<IpAddr> = holders.keys().copied().collect();
        for gone in self.assigned.difference(&assigned) {
            self.left.insert(*gone, now);
        }
        self.assigned = assigned;
        for seen in self.stability.look_at(&services) {
            self.report("S3", now, seen);
        }
    }

    fn look_at_sharers(&mut self, now: Time, holders: &BTreeMap<IpAddr, Vec<&Service>>) {
        let before = std::mem::take(&mut self.sharers);
        for (address, sharers) in holders {
            for (index, one) in sharers.iter().enumerate() {
                for other in &sharers[index + 1..] {
                    let pair = (*address, one.key.clone(), other.key.clone());
                    let until = match (may_share(one, other), before.get(&pair)) {
                        (true, _) => None,
                        // Given to both though they do not fit.
                        (false, None) => Some(now),
                        (false, Some(until)) => Some(until.unwrap_or(now + S1_GRACE)),
                    };
                    self.sharers.insert(pair, until);
                }
            }
        }
        self.report_unfit_sharers(now);
    }

    /// S1: time has passed.
    fn report_unfit_sharers(&mut self, now: Time) {
        let is_over = |until: &Option<Time>| until.is_some_and(|until| now >= until);
        let over: Vec<_> = self.sharers.extract_if(.., |_, until| is_over(until)).collect();
        for ((address, one, other), _) in over {
            self.report("S1", now, format!("{address} belongs to both {one} and {other}"));
        }
    }

    /// Pools, advertisements or Namespaces have changed: a reason for S3.
    pub fn config_changed(&mut self) {
        self.stability.config_changed();
    }

    /// S2, and the writes of S13: `addresses` were written to `service` by a
    /// controller that must have `config` in force.
    pub fn written(&mut self, now: Time, service: &Service, addresses: &[IpAddr], config: &Config) {
        if now - self.last_cause > S13_CAUSE {
            self.report("S13", now, format!("{} was written to without a cause", service.key));
        }
        let pool = config.pool_of(addresses);
        if !addresses.is_empty() && !pool.is_some_and(|pool| pool.admits(service)) {
            let seen = format!("{} was given {addresses:?}, which no pool in force admits", service.key);
            self.report("S2", now, seen);
        }
    }

    /// A speaker has seen Services or endpoints; `addresses` stand in the
    /// statuses, and those of them that are `servable` its node may announce for the
    /// Services beside them, as far as `externalTrafficPolicy` goes.
    pub fn knows(
        &mut self,
        node: &NodeName,
        addresses: BTreeSet<IpAddr>,
        servable: BTreeSet<(IpAddr, ServiceKey)>,
    ) {
        if let Some(seen) = self.nodes.get_mut(node) {
            seen.known = addresses;
            seen.servable = servable;
        }
    }

    /// A speaker said something. S6: who announces is first in the order of D20,
    /// by the hashes of `elector` (D21); `None` where preferences may decide. S12: it has
    /// an endpoint of each Service that it announces, where it must.
    pub fn noticed(&mut self, now: Time, node: &NodeName, notice: &Notice, elector: Option<IpAddr>) {
        let Some(seen) = self.nodes.get_mut(node) else { return };
        match notice {
            Notice::Announced { service, address, candidates } => {
                let announced = (*address, service.clone());
                let is_servable = seen.servable.contains(&announced);
                seen.announced.insert(announced);
                if !is_servable {
                    let what =
                        format!("{node} announces {address} for {service}, of which it has no endpoint");
                    self.report("S12", now, what);
                }
                if candidates.first() != Some(node) {
                    let what = format!("{node} announces {address}, but ranks {candidates:?}");
                    self.report("S6", now, what);
                } else if elector
                    .is_some_and(|elector| reference_election::first(candidates, elector) != Some(node))
                {
                    self.report(
                        "S6",
                        now,
                        format!("{node} announces {address}, but is not first of {candidates:?}"),
                    );
                }
            }
            Notice::Withdrawn { service, address, .. } => {
                seen.announced.remove(&(*address, service.clone()));
            }
            _ => {}
        }
    }

    /// A frame has arrived at a node's NIC.
    pub fn heard(&mut self, node: &NodeName, nic: usize, frame: &[u8]) {
        let seen = self.nodes.get_mut(node).and_then(|seen| seen.nics.get_mut(nic));
        if let Some(seen) = seen
            && FrameClaim::is(frame)
            && FrameClaim::parse(frame).is_some_and(|claim| claim.is_question)
        {
            seen.questions += 1;
        }
    }

    /// S4, S5, S6, S12, S13: a frame has left a node's NIC, by its speaker or its kernel.
    pub fn sent(&mut self, now: Time, node: &NodeName, nic: usize, frame: &[u8], by_speaker: bool) {
        self.report_unfit_sharers(now);
        if !FrameClaim::is(frame) {
            return;
        }
        let Some(seen) = self.nodes.get_mut(node) else { return };
        let Some(claim) = FrameClaim::parse(frame) else {
            self.report("S5", now, format!("{node} sent what cannot be read: {frame:02x?}"));
            return;
        };
        let (address, saying) = (claim.address, claim.saying);
        let mut found: Vec<(&'static str, String)> = Vec::new();
        if by_speaker {
            let own = seen.nics.get(nic).map(|nic| nic.mac);
            if Some(claim.source) != own || claim.mac.is_some_and(|mac| Some(mac) != own) {
                let (source, mac) = (claim.source, claim.mac);
                found.push((
                    "S6",
                    format!("{node} sent {saying:?} for {address} from {source} with MAC {mac:?}"),
                ));
            }
            if saying != Saying::Probe {
                let left = self.left.get(&address).copied();
                let is_stale = left.is_some_and(|left| now - left > S4_GRACE);
                let has_contact = self.unreachable.is_none_or(|at| now - at > S4_GRACE);
                if !seen.known.contains(&address) {
                    found.push((
                        "S4",
                        format!("{node} sent {saying:?} for {address}, which it was not told of"),
                    ));
                } else if !self.assigned.contains(&address) && is_stale && has_contact {
                    found.push(("S4", format!("{node} sent {saying:?} for {address}, long taken away")));
                }
            }
            if saying == Saying::Answer && !seen.announces(address) {
                found.push(("S6", format!("{node} answered for {address}, which it does not announce")));
            }
            if saying == Saying::Answer && seen.known.contains(&address) && !seen.serves(address) {
                found.push(("S12", format!("{node} answered for {address} without an endpoint of its own")));
            }
            let budget = seen.nics.get_mut(nic).and_then(|nic| nic.count(now, saying));
            found.extend(budget.map(|what| ("S13", format!("{node}: {what}"))));
        }
        for said in [Some(address), claim.from].into_iter().flatten().collect::<BTreeSet<_>>() {
            let is_own = seen.own.contains(&said) || said.is_unspecified();
            let is_announcement = by_speaker && seen.known.contains(&said);
            if !is_own && !is_announcement {
                found.push(("S5", format!("{node} claims {said}, which is neither its own nor assigned")));
            }
        }
        for (rule, what) in found {
            self.report(rule, now, what);
        }
    }
}

impl Seen {
    /// Whether it announces `address` for any Service.
    fn announces(&self, address: IpAddr) -> bool {
        self.announced.iter().any(|(announced, _)| *announced == address)
    }

    /// Whether it has endpoints, where it must, of a Service that has `address`.
    fn serves(&self, address: IpAddr) -> bool {
        self.servable.iter().any(|(servable, _)| *servable == address)
    }
}

impl SeenNic {
    /// S13: answers do not outnumber questions, announcements keep to their pace.
    fn count(&mut self, now: Time, saying: Saying) -> Option<String> {
        if saying == Saying::Answer {
            self.answers += 1;
            return (self.answers > self.questions)
                .then(|| format!("{} answers to {} questions", self.answers, self.questions));
        }
        let refill = (now - self.refilled).as_secs_f64() * S13_RATE;
        self.tokens = (self.tokens + refill).min(S13_BURST) - 1.0;
        self.refilled = now;
        (self.tokens < 0.0).then(|| "announcements beyond 200 at once and 1,000 a second".to_owned())
    }
}

fn may_share(one: &Service, other: &Service) -> bool {
    let (key, other_key) = (&one.annotations.allow_shared_ip, &other.annotations.allow_shared_ip);
    let same_key = key.is_some() && key == other_key;
    same_key && !one.ports.iter().any(|port| other.ports.contains(port))
}

#[cfg(test)]
mod tests;
