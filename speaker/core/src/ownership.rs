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
use assessment::{AnnouncementState, Context, Eligible};
use candidates::{CandidateKey, ElectionContext};
use cluster::Cluster;
use election::Candidate;
use owner_cache::OwnerCache;
use reach::{Reaches, Subnet};

pub(crate) mod assessment;
mod candidates;
pub(crate) mod cluster;
pub(crate) mod diagnosis;
pub(crate) mod election;
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

    /// D4 to D8: looks at a Service anew. Gives what it was before, if it was
    /// eligible. One without a load balancer needs no memory of ours.
    pub(crate) fn check(&mut self, key: &ServiceKey) -> Option<Eligible> {
        let checked = self.cluster.services().get(key).map(|service| {
            let own = self.cluster.nodes().get(&self.own);
            let endpoints = self.cluster.endpoints(key);
            assessment::assess(self.context(), service, &endpoints).on_node(own)
        });
        let before = self.checked.remove(key).and_then(Result::ok);
        if !matches!(checked, Some(Ok(_))) {
            self.owners.forget(key);
        }
        if let Some(checked) = checked {
            self.checked.insert(key.clone(), checked);
        }
        before
    }

    /// What a Service announces where its owner is, if it may be announced here.
    pub(crate) fn eligible(&self, key: &ServiceKey) -> Option<&Eligible> {
        self.checked.get(key)?.as_ref().ok()
    }

    /// The Services that an election may change something about: those that are
    /// `announced`, or would be but for D44, and those that this node owns. Of ten
    /// thousand others nothing is copied.
    pub(crate) fn affected<'a>(
        &mut self,
        members: Members<'_>,
        announced: impl Iterator<Item = &'a ServiceKey>,
    ) -> Vec<ServiceKey> {
        let election = election_context(&self.cluster, members, self.ignore_exclude_label);
        let config = self.cluster.config();
        let find = |key: &CandidateKey| candidates::find(election, key, config);
        let mut affected = Vec::new();
        for (key, checked) in &self.checked {
            let Ok(eligible) = checked else { continue };
            if self.owners.owner(key, eligible, find) == Some(&self.own) {
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
        let eligible = match self.checked.get(key) {
            None => return self.withdraw(key, WithdrawReason::ServiceDeleted, None),
            Some(Err(reason)) => return self.withdraw(key, *reason, None),
            Some(Ok(eligible)) => eligible,
        };
        let election = election_context(&self.cluster, members, self.ignore_exclude_label);
        let config = self.cluster.config();
        let find = |key: &CandidateKey| candidates::find(election, key, config);
        let owner = self.owners.owner(key, eligible, find);
        if owner != Some(&self.own) {
            let owner = owner.cloned();
            return self.withdraw(key, WithdrawReason::NotOwner, owner);
        }
        let interfaces = eligible.interfaces.clone();
        let (mut addresses, mut failures) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
        for address in &eligible.addresses {
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

    fn withdraw(&mut self, key: &ServiceKey, reason: WithdrawReason, owner: Option<NodeName>) -> Decision {
        self.failed.remove(key);
        Decision::Withdraw(reason, owner)
    }

    /// Whether this node owns a Service and has no usable interface for it (D44).
    pub(crate) fn has_failed(&self, key: &ServiceKey) -> bool {
        self.failed.contains_key(key)
    }

    /// The candidates of a Service, in no order that matters.
    pub(crate) fn candidates(&self, key: &ServiceKey, members: Members<'_>) -> Cow<'_, [Candidate]> {
        let Some(eligible) = self.eligible(key) else { return Cow::Borrowed(&[]) };
        let election = election_context(&self.cluster, members, self.ignore_exclude_label);
        let config = self.cluster.config();
        self.owners.candidates(eligible, |key| candidates::find(election, key, config))
    }

    /// The candidates of a Service, the owner first (D20).
    pub(crate) fn order(&self, key: &ServiceKey, members: Members<'_>) -> Vec<NodeName> {
        let first = self.eligible(key).and_then(|eligible| eligible.addresses.first());
        first.map_or_else(Vec::new, |first| election::order(&self.candidates(key, members), *first))
    }

    /// Whether anybody announces a Service, and if not, why: every node comes to the
    /// same answer.
    pub(crate) fn state(&self, key: &ServiceKey, members: Members<'_>) -> AnnouncementState {
        let Some(service) = self.cluster.services().get(key) else { return AnnouncementState::Nothing };
        let election = election_context(&self.cluster, members, self.ignore_exclude_label);
        assessment::assess(self.context(), service, &self.cluster.endpoints(key)).state(election)
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
