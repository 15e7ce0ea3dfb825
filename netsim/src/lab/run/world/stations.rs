//! Whoever is in a run: nodes, clients, probe hosts, the host of the API server's address, the adversary, the controller.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_api::config::NodeNetwork;
use ferrolb_api::{NodeName, Time};
use smoltcp::wire::IpCidr;

use crate::lab::address_plan::{self, Lan};
use crate::lab::clock;
use crate::lab::random::Seed;
use crate::lab::run::scenario::Scenario;
use crate::lab::stations::adversary::Adversary;
use crate::lab::stations::client::{Client, ClientKind, Pace};
use crate::lab::stations::controller::ControllerProcess;
use crate::lab::stations::node::Node;
use crate::lab::stations::probe_host::ProbeHost;
use crate::net::host::{Host, HostSettings};
use crate::net::station::Station as _;

/// How often the router asks the first address, beside the clients.
const ROUTER_PACE: Pace = Pace { ask: Duration::from_millis(250), fetch: Duration::ZERO };

/// A station with a timer; in the order in which stations that are due at the same time are polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Node(usize),
    Client(usize),
    ProbeHost(usize),
    ApiHost,
    Adversary,
    Controller,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Stations {
    pub(super) nodes: Vec<Node>,
    /// The first is measured; the last is the router.
    pub(super) clients: Vec<Client>,
    /// Only where a caller drives the run.
    pub(super) probes: Vec<ProbeHost>,
    pub(super) api_host: Host,
    pub(super) adversary: Adversary,
    pub(super) controller: Option<ControllerProcess>,
    /// What the speakers have said last of their nodes' networks.
    pub(super) networks: BTreeMap<NodeName, NodeNetwork>,
}

impl Stations {
    /// The stations of a scenario, all of them without power, with a probe host on each of `probes`.
    pub(super) fn new(scenario: &Scenario, seed: Seed, secret: &[u8], probes: &[Lan]) -> Self {
        Self {
            nodes: nodes(scenario, seed, secret),
            clients: clients(scenario, seed),
            probes: probes.iter().map(|lan| ProbeHost::new(*lan, seed.word("tester"))).collect(),
            api_host: api_host(seed),
            adversary: Adversary::new(seed),
            controller: None,
            networks: BTreeMap::new(),
        }
    }

    /// The node of this name.
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name().as_str() == name)
    }

    /// Every timer that runs.
    pub(super) fn timers(&self) -> impl Iterator<Item = (Time, Timer)> {
        let nodes =
            self.nodes.iter().enumerate().map(|(index, node)| (node.poll_timeout(), Timer::Node(index)));
        let clients = self
            .clients
            .iter()
            .enumerate()
            .map(|(index, client)| (client.poll_timeout(), Timer::Client(index)));
        let probes = self
            .probes
            .iter()
            .enumerate()
            .map(|(index, probe)| (probe.poll_timeout(), Timer::ProbeHost(index)));
        let single = [
            (self.api_host.poll_timeout().map(clock::time), Timer::ApiHost),
            (self.adversary.poll_timeout(), Timer::Adversary),
            (self.controller.as_ref().and_then(ControllerProcess::poll_timeout), Timer::Controller),
        ];
        let timers = nodes.chain(clients).chain(probes).chain(single);
        timers.filter_map(|(at, timer)| Some((at?, timer)))
    }
}

/// The nodes of a scenario.
fn nodes(scenario: &Scenario, seed: Seed, secret: &[u8]) -> Vec<Node> {
    let node = |index| {
        let node =
            Node::new(&address_plan::node_name(index), address_plan::node_address(index), seed, secret);
        if scenario.has_second_lan {
            node.with_second_nic(address_plan::node_address_on(Lan::Second, index))
        } else {
            node
        }
    };
    (0..scenario.nodes).map(node).collect()
}

/// The clients of a scenario, and the router behind them.
fn clients(scenario: &Scenario, seed: Seed) -> Vec<Client> {
    let mut clients = Vec::new();
    for (index, kind) in scenario.clients.iter().enumerate() {
        let number = u8::try_from(index).unwrap_or(u8::MAX);
        let address = address_plan::client_address(number);
        let name = if index == 0 { "client".to_owned() } else { kind.as_str().to_owned() };
        let is_taken = clients.iter().any(|client: &Client| client.name() == name);
        let name = if is_taken || name == "router" { format!("{name}-{}", index + 1) } else { name };
        let fetch = if index == 0 { scenario.fetch_every } else { Duration::ZERO };
        let pace = Pace { ask: scenario.ask_every, fetch };
        clients.push(Client::new(&name, *kind, address, pace, seed.word(&format!("client/{index}"))));
    }
    let kind = ClientKind::RouterIgnoringGratuitousReplies;
    clients.push(Client::new("router", kind, address_plan::ROUTER, ROUTER_PACE, seed.word("router")));
    clients
}

/// The host that has the API server's address.
fn api_host(seed: Seed) -> Host {
    let address = IpCidr::new(address_plan::API_VIP.into(), address_plan::PREFIX_LEN);
    Host::new(HostSettings::new("api", address_plan::mac(address_plan::API_VIP), address, seed.word("api")))
}
