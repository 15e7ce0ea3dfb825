//! A world that a test drives: what is done to it step by step, and what is
//! asked of it. A scenario is written beforehand; here the next step may depend
//! on what was seen.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferrolb_api::ServiceKey;
use k8s_openapi::api::core::v1::{NodeCondition, Taint};

use super::setup::{endpoints, speaker_pod};
use super::{RecordedEvent, SetupError, Workload, World};
use crate::lab::address_plan::Lan;
use crate::lab::api::manifests::{ManifestError, Manifests};
use crate::lab::api::objects::{Key, Kind, Object};
use crate::lab::api::server::SimulatedApi;
use crate::lab::api::view;
use crate::lab::checks::safety::Violation;
use crate::lab::run::action::{Action, Target};
use crate::lab::run::scenario::Scenario;
use crate::lab::stations::node::Node;
use crate::lab::stations::probe_host::ProbeHost;

/// How long one waits for whoever has an address to say so.
const CLAIMS: Duration = Duration::from_millis(500);
/// How long one waits for an answer; a kernel asks three times for an address,
/// once a second, before it gives up.
const ANSWER: Duration = Duration::from_secs(4);

/// How a Service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// One datagram, answered by one.
    Udp,
    /// A page.
    Tcp,
}

/// An answer of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The node that gave it, as it says itself.
    pub node: String,
    /// The NIC that the asking kernel had the address at.
    pub via: String,
}

impl World {
    /// The nodes of a scenario, a controller, a probe on every LAN, and no
    /// object but the Nodes and their speakers' Pods. Steps of the scenario are
    /// done at their times; whatever else comes is up to the caller.
    ///
    /// # Errors
    /// [`SetupError`] if the scenario is not valid.
    pub fn interactive(scenario: &Scenario, seed: u64) -> Result<Self, SetupError> {
        let lans = if scenario.has_second_lan { &Lan::ALL[..] } else { &[Lan::First] };
        Self::lay_out(scenario, Workload::bare(scenario.nodes), seed, lans, true)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.end = self.now + duration;
        while self.do_next() {}
        self.now = self.end;
    }

    /// Does something now.
    pub fn act(&mut self, action: Action) {
        self.checkers.cause(self.now);
        self.perform(&action);
    }

    /// `kubectl apply -f`: every object of a text. A Service without an
    /// EndpointSlice gets one with an endpoint on every node.
    ///
    /// # Errors
    /// The first fault of the text; then nothing is applied.
    pub fn apply_text(&mut self, text: &str) -> Result<(), ManifestError> {
        let manifests = Manifests::parse("applied.yaml".as_ref(), text)?;
        self.act(Action::apply(manifests.objects));
        Ok(())
    }

    /// From now on the CRDs are MetalLB's, whose API server drops the fields that they do not know.
    pub const fn use_metallbs_crds(&mut self) {
        self.api.forget_last_known_good();
    }

    /// `kubectl edit`: changes one object. Nothing happens if it is not there.
    pub fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Object)) {
        let Some(mut object) = self.api.store().get(key).cloned() else { return };
        change(&mut object);
        self.checkers.cause(self.now);
        self.apply(object);
    }

    /// `kubectl delete`.
    pub fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.act(Action::delete(Key { kind, namespace, name }));
    }

    /// Gives a Service ready endpoints on these nodes and nowhere else.
    pub fn set_endpoints(&mut self, service: &ServiceKey, nodes: &[&str]) {
        self.checkers.cause(self.now);
        let slice = endpoints(service, nodes.iter().map(|node| (*node).to_owned()));
        self.api.apply(self.now, slice);
    }

    /// `kubectl label node`; no value takes the label away.
    pub fn label_node(&mut self, node: &str, label: &str, value: Option<&str>) {
        self.edit(&node_key(node), |object| {
            let labels = object.metadata_mut().labels.get_or_insert_default();
            match value {
                Some(value) => labels.insert(label.to_owned(), value.to_owned()),
                None => labels.remove(label),
            };
        });
    }

    /// Sets a Node's condition `NetworkUnavailable` (D11).
    pub fn set_network_unavailable(&mut self, node: &str, is_unavailable: bool) {
        self.edit(&node_key(node), |object| {
            let Object::Node(node) = object else { return };
            let node = std::sync::Arc::make_mut(node);
            let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
            conditions.retain(|condition| condition.type_ != "NetworkUnavailable");
            conditions.push(NodeCondition {
                type_: "NetworkUnavailable".to_owned(),
                status: if is_unavailable { "True" } else { "False" }.to_owned(),
                ..Default::default()
            });
        });
    }

    /// A taint that the speakers do not tolerate, and what follows: the Pod is
    /// evicted with SIGTERM, and none is made until the taint is taken away.
    pub fn taint(&mut self, node: &str, is_tainted: bool) {
        self.edit(&node_key(node), |object| {
            let Object::Node(node) = object else { return };
            let spec = std::sync::Arc::make_mut(node).spec.get_or_insert_default();
            let (key, effect) = ("keep-off".to_owned(), "NoExecute".to_owned());
            spec.taints = is_tainted.then(|| vec![Taint { key, effect, ..Default::default() }]);
        });
        let Some(index) = self.stations.index_of(node) else { return };
        let target = Target::Node(node.to_owned());
        let pod = speaker_pod(u8::try_from(index).unwrap_or(u8::MAX));
        if is_tainted {
            self.act(Action::delete(pod.key()));
            self.act(Action::on("stop", target));
        } else {
            self.api.apply(self.now, pod);
            self.act(Action::on("start", target));
        }
    }

    /// The carrier of a node's NIC on a LAN goes, and the node notices, or is back.
    pub fn set_link(&mut self, node: &str, lan: Lan, has_carrier: bool) {
        let Some(index) = self.stations.index_of(node) else { return };
        let Some(nic) = Lan::ALL.iter().position(|one| *one == lan) else { return };
        self.checkers.cause(self.now);
        self.set_carrier(index, nic, has_carrier);
        self.collect_node(index);
    }

    /// Who answers a question for `address` on a LAN, by ARP or neighbour
    /// discovery: the names of the NICs whose hardware addresses were given,
    /// each once. `wk01` is its `eth0`; `wk01/eth1` is its second one.
    pub fn who_has(&mut self, lan: Lan, address: IpAddr) -> Vec<String> {
        let Some(index) = self.probe_on(lan) else { return Vec::new() };
        self.stations.probes[index].ask_who_has(address);
        self.collect_probe(index);
        self.run_for(CLAIMS);
        let claims: BTreeSet<_> = self.stations.probes[index].claims().iter().copied().collect();
        let named = claims.iter().filter(|claim| claim.address == address).map(|claim| {
            let name = self.network.station_of(claim.mac).unwrap_or_else(|| claim.mac.to_string());
            if claim.source == claim.mac { name } else { format!("{name}, says {}", claim.source) }
        });
        named.collect()
    }

    /// Asks a Service once, from a kernel that knows no neighbour.
    pub fn ask(&mut self, lan: Lan, to: SocketAddr, how: Proto) -> Option<Reply> {
        let index = self.probe_on(lan)?;
        match how {
            Proto::Udp => self.stations.probes[index].ask(self.now, to),
            Proto::Tcp => self.stations.probes[index].fetch(self.now, to),
        }
        self.collect_probe(index);
        let answer = |probe: &ProbeHost| match how {
            Proto::Udp => probe.answer().map(str::to_owned),
            Proto::Tcp => probe.page().flatten()?.strip_prefix("hello from ").map(str::to_owned),
        };
        self.end = self.now + ANSWER;
        while answer(&self.stations.probes[index]).is_none() && self.do_next() {}
        let probe = &self.stations.probes[index];
        let via = probe.neighbour(to.ip()).and_then(|mac| self.network.station_of(mac)).unwrap_or_default();
        Some(Reply { node: answer(probe)?, via })
    }

    fn probe_on(&self, lan: Lan) -> Option<usize> {
        self.stations.probes.iter().position(|probe| probe.lan() == lan)
    }

    /// The addresses in a Service's status, in order.
    #[must_use]
    pub fn addresses_of(&self, service: &ServiceKey) -> Vec<IpAddr> {
        let (namespace, name) = (service.namespace().to_owned(), service.name().to_owned());
        let object = self.api.store().get(&Key { kind: Kind::Service, namespace, name });
        object.and_then(view::service).iter().flat_map(|service| service.ingress_ips()).collect()
    }

    /// The API server.
    #[must_use]
    pub const fn api(&self) -> &SimulatedApi {
        &self.api
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.stations.nodes.get(self.stations.index_of(name)?)
    }

    /// Every Kubernetes Event so far.
    #[must_use]
    pub fn events(&self) -> &[RecordedEvent] {
        &self.record.events
    }

    /// What the checkers have found so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        self.checkers.violations()
    }
}

fn node_key(name: &str) -> Key {
    Key { kind: Kind::Node, namespace: String::new(), name: name.to_owned() }
}
