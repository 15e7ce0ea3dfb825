//! Which node announces which Service, out of what Kubernetes and the members said.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::config::{self, Config, NodeNetwork, Occupied, Resources, Verdict};
use ferrolb_api::{AddressRange, EndpointSlice, IpFamily, Node, NodeName, Service, ServiceKey};

use crate::effect::WithdrawReason;
use crate::interface::InterfaceSet;
use crate::settings::Settings;
use crate::wire::announcements::Announced;
use address_groups::{AddressGroup, AddressGroups, Sharers};
use assessment::{AnnouncementState, Context, Eligible};
use candidates::{CandidateKey, CandidateNode, ElectionContext};
use cluster::Cluster;
use diagnosis::{CheckFailure, Diagnosis};
use election::Candidate;
use group_election::Part;
use owner_cache::OwnerCache;
use reach::{Reaches, Subnet};

mod address_groups;
pub(crate) mod assessment;
mod candidates;
pub(crate) mod cluster;
pub(crate) mod diagnosis;
pub(crate) mod election;
mod group_election;
pub(crate) mod lacks;
mod owner_cache;
pub(crate) mod reach;

/// What is known of the cluster, and what follows from it for this node.
#[derive(Debug)]
pub(crate) struct Ownership {
    own: NodeName,
    /// `--lb-class` (C2).
    load_balancer_class: Option<String>,
    /// `--ignore-exclude-lb` (D12).
    ignore_exclude_label: bool,
    cluster: Cluster,
    /// What is known of each Service without knowing who is alive.
    checked: BTreeMap<ServiceKey, Result<Eligible, WithdrawReason>>,
    /// Those of them that share addresses.
    groups: AddressGroups,
    owners: OwnerCache,
    /// The subnets of the nodes that addresses of pools lie in (W13).
    subnets: BTreeSet<Subnet>,
    /// Where this node reaches the API server, and what it sees on its own interfaces.
    api_server: BTreeSet<IpAddr>,
    network: Option<NodeNetwork>,
    /// The addresses that somebody else has, as far as this node knows.
    occupied: Occupied,
    /// Services that this node owns and has no usable interface for, as far as all
    /// their addresses go, and what was said of each (D44).
    failed: BTreeMap<ServiceKey, String>,
    work: Work,
}

/// What must be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Check these Services, and elect for them.
    pub(crate) services: BTreeSet<ServiceKey>,
    /// Check all.
    pub(crate) all: bool,
    /// Elect for all.
    pub(crate) election: bool,
}

/// Who is alive, and what each can announce on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    /// The live members; `None` while membership is off (D10, H110).
    pub(crate) alive: Option<&'a BTreeSet<NodeName>>,
    /// What is known of what they can announce on (W13).
    pub(crate) reaches: &'a Reaches,
}

/// What is to be done about one Service.
#[derive(Debug)]
pub(crate) enum Decision {
    /// This node owns it: it announces those of its addresses that it has a usable
    /// interface for, perhaps none, and has to say that it cannot announce the others
    /// (D44).
    Announce(Announced, Option<String>),
    /// It does not, and who does, if that was asked.
    Withdraw(WithdrawReason, Option<NodeName>),
}

impl Members<'static> {
    /// Those of a cluster whose nodes do not talk: all Nodes, and they know nothing
    /// of each other (H110).
    pub(crate) const fn unknown() -> Self {
        static NOTHING: Reaches = Reaches::new();
        Self { alive: None, reaches: &NOTHING }
    }
}

impl Ownership {
    /// Nothing known yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            own: settings.node.clone(),
            load_balancer_class: settings.load_balancer_class.clone(),
            ignore_exclude_label: settings.ignore_exclude_label,
            cluster: Cluster::default(),
            checked: BTreeMap::new(),
            groups: AddressGroups::default(),
            owners: OwnerCache::default(),
            subnets: BTreeSet::new(),
            api_server: BTreeSet::new(),
            network: None,
            occupied: Occupied::default(),
            failed: BTreeMap::new(),
            work: Work::default(),
        }
    }

    /// What Kubernetes has told.
    pub(crate) const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Takes the custom resources. Gives the verdicts, and whether what is in force
    /// has changed.
    pub(crate) fn set_resources(
        &mut self,
        resources: &Resources,
        members: Members<'_>,
    ) -> (Vec<Verdict>, bool) {
        let checked = config::check(resources, self.cluster.config());
        if self.api_server != resources.api_server {
            self.api_server.clone_from(&resources.api_server);
            self.find_occupied();
        }
        (checked.verdicts, self.set_config(checked.config, members))
    }

    /// Puts a configuration in force. Gives whether it is another one.
    pub(crate) fn set_config(&mut self, config: Config, members: Members<'_>) -> bool {
        let changed = self.cluster.set_config(config);
        if changed {
            self.owners.clear();
            self.work.all = true;
            self.reaches_changed(members);
        }
        changed
    }

    /// Takes all Services.
    pub(crate) fn set_services(&mut self, services: Vec<Service>) {
        self.work.services.extend(self.cluster.set_services(services));
    }

    /// Takes one Service.
    pub(crate) fn set_service(&mut self, service: Service) {
        self.work.services.insert(service.key.clone());
        self.cluster.set_service(service);
    }

    /// Forgets one Service.
    pub(crate) fn remove_service(&mut self, key: ServiceKey) {
        self.cluster.remove_service(&key);
        self.work.services.insert(key);
    }

    /// Takes all EndpointSlices.
    pub(crate) fn set_endpoint_slices(&mut self, slices: Vec<EndpointSlice>) {
        let affected = self.cluster.set_endpoint_slices(slices);
        self.endpoints_changed(affected);
    }

    /// Takes one EndpointSlice.
    pub(crate) fn set_endpoint_slice(&mut self, slice: EndpointSlice) {
        let affected = self.cluster.set_endpoint_slice(slice);
        self.endpoints_changed(affected);
    }

    /// Forgets one EndpointSlice.
    pub(crate) fn remove_endpoint_slice(&mut self, namespace: String, name: String) {
        let affected = self.cluster.remove_endpoint_slice(namespace, name);
        self.endpoints_changed(affected);
    }

    fn endpoints_changed(&mut self, affected: BTreeSet<ServiceKey>) {
        if affected.contains(&cluster::api_server_service()) {
            self.find_occupied();
        }
        self.work.services.extend(affected);
    }

    /// Takes what this node sees on its interfaces. Gives whether that is news.
    pub(crate) fn set_network(&mut self, network: NodeNetwork) -> bool {
        let is_news = self.network.as_ref() != Some(&network);
        self.network = Some(network);
        if is_news {
            self.find_occupied();
        }
        is_news
    }

    /// Each Service is looked at where an address is somebody else's now, or no more.
    fn find_occupied(&mut self) {
        let api_server = self.api_server.iter().chain(self.cluster.api_server());
        let occupied = Occupied::new(api_server, self.cluster.nodes().values(), &self.network);
        if self.occupied != occupied {
            self.occupied = occupied;
            self.work.all = true;
        }
    }

    /// Takes all Nodes.
    pub(crate) fn set_nodes(&mut self, nodes: Vec<Node>) {
        if self.cluster.set_nodes(nodes) {
            self.owners.candidates_changed();
            self.work.all = true;
            self.find_occupied();
        }
    }

    /// A member came or went.
    pub(crate) fn members_changed(&mut self) {
        self.owners.candidates_changed();
        self.work.election = true;
    }

    /// Others may be candidates now. Where that depends on a subnet that nobody
    /// had before, or has no more, each Service is looked at.
    pub(crate) fn reaches_changed(&mut self, members: Members<'_>) {
        self.members_changed();
        let config = self.cluster.config();
        let ranges = config.pools.values().flat_map(|pool| &pool.ranges);
        // Where the addresses of pools lie that cannot be used, nobody knows.
        let anywhere = AddressRange::ALL.iter().filter(|_| !config.unusable_pools.is_empty());
        let subnets = reach::subnets_of(members.reaches, ranges.chain(anywhere));
        if self.subnets != subnets {
            self.subnets = subnets;
            self.owners.clear();
            self.work.all = true;
        }
    }

    /// What this node owns, or could announce, may be something else now.
    pub(crate) const fn elect(&mut self) {
        self.work.election = true;
    }

    /// What must be looked at again, each Service by its name; nothing before the
    /// configuration is known (D5).
    pub(crate) fn take_work(&mut self) -> Work {
        if !self.cluster.synced().resources {
            return Work::default();
        }
        let mut work = std::mem::take(&mut self.work);
        if work.all {
            work.services.extend(self.cluster.services().keys().chain(self.checked.keys()).cloned());
        }
        work
    }

    /// D4 to D8: looks at a Service anew. Gives the addresses that it had before, if it
    /// was eligible here. One without a load balancer needs no memory of ours.
    pub(crate) fn check(&mut self, key: &ServiceKey) -> Option<Vec<IpAddr>> {
        let checked = self.cluster.services().get(key).map(|service| {
            let own = self.cluster.nodes().get(&self.own);
            let endpoints = self.cluster.endpoints(key);
            assessment::assess(self.context(), service, &endpoints).on_node(own)
        });
        let before = self.checked.remove(key).and_then(Result::ok);
        let after = checked.as_ref().and_then(|checked| checked.as_ref().ok());
        self.groups.change(key, before.as_ref(), after);
        if after.is_none() {
            self.owners.forget(key);
        }
        if let Some(checked) = checked {
            self.checked.insert(key.clone(), checked);
        }
        before.filter(|before| before.interfaces.is_some()).map(|before| before.addresses)
    }

    /// Links those that share addresses, after all were checked. Gives the Services that
    /// may have another owner by that.
    pub(crate) fn regroup(&mut self) -> BTreeSet<ServiceKey> {
        let concerned = self.groups.regroup(|key| self.checked.get(key)?.as_ref().ok());
        self.owners.regrouped(&concerned);
        concerned
    }

    /// What a Service announces where its owner is, if some node may announce it.
    fn eligible(&self, key: &ServiceKey) -> Option<&Eligible> {
        self.checked.get(key)?.as_ref().ok()
    }

    /// The addresses of a Service that this node may announce, and where.
    pub(crate) fn eligible_here(&self, key: &ServiceKey) -> Option<(&[IpAddr], &InterfaceSet)> {
        let eligible = self.eligible(key)?;
        Some((&eligible.addresses, eligible.interfaces.as_ref()?))
    }

    /// The Services that an election may change something about: those that are
    /// `announced`, or would be but for D44, and those that this node owns. Of ten
    /// thousand others nothing is copied.
    pub(crate) fn affected<'a>(
        &mut self,
        members: Members<'_>,
        announced: impl Iterator<Item = &'a ServiceKey>,
    ) -> Vec<ServiceKey> {
        let find = find_by(&self.cluster, members, self.ignore_exclude_label);
        let mut affected = Vec::new();
        for (key, checked) in &self.checked {
            let Ok(eligible) = checked else { continue };
            let is_own = match self.groups.of(key) {
                None => self.owners.owner(key, eligible, &find) == Some(&self.own),
                Some((group, place)) => {
                    let parts = self.owners.owners(group, &find);
                    part_of(&parts, place).is_some_and(|part| part.owner == self.own)
                }
            };
            if is_own {
                affected.push(key.clone());
            }
        }
        affected.extend(announced.cloned());
        affected.extend(self.failed.keys().cloned());
        affected
    }

    /// Decides about a Service. `usable` says whether this node has a usable interface
    /// for a family out of a set, and if not, why.
    pub(crate) fn decide(
        &mut self,
        key: &ServiceKey,
        members: Members<'_>,
        usable: impl Fn(&InterfaceSet, IpFamily) -> Result<(), String>,
    ) -> Decision {
        let reason = match self.checked.get(key) {
            None => Some(WithdrawReason::ServiceDeleted),
            Some(Err(reason)) => Some(*reason),
            Some(Ok(eligible)) if eligible.interfaces.is_none() => {
                Some(WithdrawReason::NoMatchingAdvertisement)
            }
            Some(Ok(_)) => None,
        };
        if let Some(reason) = reason {
            return self.withdraw(key, reason, None);
        }
        let owner = self.owner(key, members);
        let eligible_here = self.eligible_here(key).filter(|_| owner.as_ref() == Some(&self.own));
        let Some((eligible, interfaces)) = eligible_here else {
            return self.withdraw(key, WithdrawReason::NotOwner, owner);
        };
        let interfaces = interfaces.clone();
        let (mut addresses, mut failures) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
        for address in eligible {
            match usable(&interfaces, IpFamily::of(*address)) {
                Ok(()) => addresses.push(*address),
                Err(why) => failures.entry(why).or_default().push(address.to_string()),
            }
        }
        // Which addresses it is about goes without saying where it is all of them.
        let is_all = addresses.is_empty() && failures.len() == 1;
        let text = |(why, failed): (&String, &Vec<String>)| {
            if is_all { why.clone() } else { format!("{}: {why}", failed.join(", ")) }
        };
        let failure = failures.iter().map(text).collect::<Vec<_>>().join("; ");
        let is_news = !failure.is_empty() && self.failed.get(key) != Some(&failure);
        if failure.is_empty() {
            self.failed.remove(key);
        } else {
            self.failed.insert(key.clone(), failure.clone());
        }
        Decision::Announce(Announced { addresses, interfaces }, is_news.then_some(failure))
    }

    /// The node that announces an eligible Service, or has an address of it for others;
    /// `None` where that one is this node.
    fn owner(&mut self, key: &ServiceKey, members: Members<'_>) -> Option<NodeName> {
        let eligible = self.checked.get(key)?.as_ref().ok()?;
        let find = find_by(&self.cluster, members, self.ignore_exclude_label);
        let Some((group, place)) = self.groups.of(key) else {
            return self.owners.owner(key, eligible, find).cloned();
        };
        let parts = self.owners.owners(group, find);
        let left_out = || left_out_by(group, &parts, place).filter(|part| part.owner != self.own);
        part_of(&parts, place).or_else(left_out).map(|part| part.owner.clone())
    }

    fn withdraw(&mut self, key: &ServiceKey, reason: WithdrawReason, owner: Option<NodeName>) -> Decision {
        self.failed.remove(key);
        Decision::Withdraw(reason, owner)
    }

    /// Whether this node owns a Service and has no usable interface for it (D44).
    pub(crate) fn has_failed(&self, key: &ServiceKey) -> bool {
        self.failed.contains_key(key)
    }

    /// The nodes that can serve a Service, in no order that matters. One that shares its
    /// address is served by those of them that can serve the others as well.
    pub(crate) fn candidates(&self, key: &ServiceKey, members: Members<'_>) -> Cow<'_, [Candidate]> {
        let Some(eligible) = self.eligible(key) else { return Cow::Borrowed(&[]) };
        self.owners.candidates(eligible, find_by(&self.cluster, members, self.ignore_exclude_label))
    }

    /// The nodes that may own what a Service announces, the owner first (D20).
    pub(crate) fn order(&self, key: &ServiceKey, members: Members<'_>) -> Vec<NodeName> {
        let Some((group, place)) = self.groups.of(key) else {
            let first = self.eligible(key).and_then(|eligible| eligible.addresses.first());
            return first
                .map_or_else(Vec::new, |first| election::order(&self.candidates(key, members), *first));
        };
        let elected = self.owners.elect(group, find_by(&self.cluster, members, self.ignore_exclude_label));
        let one = elected.iter().find(|one| one.part.serves.contains(&place));
        one.map_or_else(Vec::new, |one| election::order(&one.candidates, one.part.address))
    }

    /// Whether anybody announces a Service, and if not, why: every node comes to the
    /// same answer.
    pub(crate) fn state(&self, key: &ServiceKey, members: Members<'_>) -> AnnouncementState {
        let Some(service) = self.cluster.services().get(key) else { return AnnouncementState::Nothing };
        let election = election_context(&self.cluster, members, self.ignore_exclude_label);
        let state = assessment::assess(self.context(), service, &self.cluster.endpoints(key)).state(election);
        match (&state, self.groups.of(key)) {
            (AnnouncementState::Announced, Some((group, place))) => {
                let find = find_by(&self.cluster, members, self.ignore_exclude_label);
                let parts = self.owners.peek(group, find);
                let left_out = left_out_by(group, &parts, place);
                left_out.map_or(state, |part| AnnouncementState::Blocked(left_out_of(group, part, place)))
            }
            _ => state,
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            load_balancer_class: self.load_balancer_class.as_deref(),
            config: self.cluster.config(),
            subnets: &self.subnets,
            occupied: &self.occupied,
        }
    }
}

/// Who may take part in elections now.
fn election_context<'a>(
    cluster: &'a Cluster,
    members: Members<'a>,
    ignore_exclude_label: bool,
) -> ElectionContext<'a> {
    let Members { alive, reaches } = members;
    ElectionContext { nodes: cluster.nodes(), alive, reaches, ignore_exclude_label }
}

/// How nodes are found that may announce, by the configuration in force.
fn find_by<'a>(
    cluster: &'a Cluster,
    members: Members<'a>,
    ignore_exclude_label: bool,
) -> impl Fn(&CandidateKey) -> Vec<CandidateNode> + 'a {
    let election = election_context(cluster, members, ignore_exclude_label);
    move |key| candidates::find(election, key, cluster.config())
}

/// The part of a group in which the sharers at `place` are served.
fn part_of(parts: &[Part], place: usize) -> Option<&Part> {
    parts.iter().find(|part| part.serves.contains(&place))
}

/// The part of a group whose owner answers for an address of the sharers at `place`, and
/// cannot serve them.
fn left_out_by<'a>(group: &AddressGroup, parts: &'a [Part], place: usize) -> Option<&'a Part> {
    let own = &group.sharers.get(place)?.addresses;
    let has_one = |sharers: &Sharers| sharers.addresses.iter().any(|address| own.contains(address));
    let answers = |part: &&Part| part.serves.iter().filter_map(|at| group.sharers.get(*at)).any(has_one);
    parts.iter().find(answers).filter(|part| !part.serves.contains(&place))
}

/// Why the sharers at `place` are not announced.
fn left_out_of(group: &AddressGroup, part: &Part, place: usize) -> Diagnosis {
    let served: Vec<_> = part.serves.iter().filter_map(|at| group.sharers.get(*at)).collect();
    let own = group.sharers.get(place).into_iter().flat_map(|sharers| &sharers.addresses);
    let shared = own.filter(|address| served.iter().any(|sharers| sharers.addresses.contains(address)));
    let services: BTreeSet<&ServiceKey> = served.iter().flat_map(|sharers| &sharers.services).collect();
    let names = vec![shared.collect(), services.into_iter().collect(), [&part.owner].into_iter().collect()];
    Diagnosis { failure: CheckFailure::LeftOutOfSharing, names }
}

#[cfg(test)]
mod tests;
