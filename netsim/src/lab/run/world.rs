//! The world: one virtual clock over switch, hosts, speakers, controller and
//! API server. A step jumps to the next thing that is due.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use ferrolb_api::{ServiceKey, Time};
use smoltcp::wire::EthernetAddress;

use crate::lab::address_plan::{self, Lan};
use crate::lab::api::manifests::Manifests;
use crate::lab::api::server::SimulatedApi;
use crate::lab::checks::safety::Checkers;
use crate::lab::clock;
use crate::lab::random::Seed;
use crate::lab::run::action::Action;
use crate::lab::run::fingerprint::Fingerprint;
use crate::lab::run::scenario::Scenario;
use crate::lab::run::timeline::{Timeline, Tone};
use crate::lab::stations::adversary::Adversary;
use crate::lab::stations::client::Client;
use crate::lab::stations::controller::ControllerProcess;
use crate::lab::stations::node::Node;
use crate::lab::stations::probe_host::ProbeHost;
use crate::net::host::Host;
use crate::net::port::PortId;
use crate::net::station::Station;
use crate::net::switch::Switch;

pub(in crate::lab::run) mod actions;
mod cabling;
mod delivery;
mod interactive;
mod liveness;
mod script;
mod setup;
mod trace;

use cabling::Cabling;
pub use interactive::{Proto, RecordedEvent, Reply};
pub use liveness::Outcome;
pub use setup::{SetupError, Workload};

/// Gossip frames that the adversary can have recorded.
const RECORDED_GOSSIP: usize = 256;
/// The secret that the speakers share.
const SECRET: &[u8] = b"simulated-memberlist-secret";

/// Who is due, in the order in which things due at the same time are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Script,
    Api,
    Switch,
    Node(usize),
    Client(usize),
    ProbeHost(usize),
    ApiHost,
    Adversary,
    Controller,
}

/// Which station, and which of its NICs, a port of the switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StationId {
    /// A node, and which of its NICs.
    Node(usize, usize),
    Client(usize),
    ProbeHost(usize),
    ApiHost,
    Adversary,
}

/// A station's wire: its port, and which side of a broken switch it is on.
#[derive(Clone, Copy, Debug)]
struct Wired {
    station: StationId,
    is_apart: bool,
}

/// A run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    seed: Seed,
    now: Time,
    end: Time,
    switch: Switch,
    /// By port number.
    wired: Vec<Wired>,
    ports_by_mac: BTreeMap<EthernetAddress, PortId>,
    nodes: Vec<Node>,
    /// Of each node the ports of its NICs.
    node_ports: Vec<Vec<PortId>>,
    /// The first is measured; the last is the router.
    clients: Vec<Client>,
    client_ports: Vec<PortId>,
    /// Only where a caller steers the run.
    probes: Vec<ProbeHost>,
    probe_ports: Vec<PortId>,
    api_host: Host,
    api_port: PortId,
    adversary: Adversary,
    adversary_port: PortId,
    api: SimulatedApi,
    controller: Option<ControllerProcess>,
    script: BTreeMap<(Time, u32), Event>,
    workload: Workload,
    /// The Service whose first address is asked for, and the address.
    service: Option<ServiceKey>,
    address: Option<Ipv4Addr>,
    former_owner: Option<usize>,
    /// When the first step of the scenario was done.
    first_fault: Option<Time>,
    /// Who owned the first address, and since when: only changes.
    owners: Vec<(Time, usize)>,
    recorded_gossip: VecDeque<Vec<u8>>,
    /// Kubernetes Events so far.
    events: Vec<RecordedEvent>,
    checkers: Checkers,
    timeline: Timeline,
    fingerprint: Fingerprint,
    steps: u64,
    trace: trace::Trace,
}

/// Something on the script.
#[derive(Clone, Debug)]
enum Event {
    Boot(usize),
    StartController,
    ApplyServices,
    Step(Action),
}

impl World {
    /// Lays the cables and writes the script; nothing has happened yet.
    ///
    /// # Errors
    /// [`SetupError`] if the scenario is not valid.
    pub fn new(
        scenario: &Scenario,
        manifests: &Manifests,
        seed: u64,
        is_recording: bool,
    ) -> Result<Self, SetupError> {
        let workload = Workload::new(manifests, scenario.nodes)?;
        Self::lay_out(scenario, workload, seed, &[], is_recording)
    }

    fn lay_out(
        scenario: &Scenario,
        workload: Workload,
        seed: u64,
        probes: &[Lan],
        is_recording: bool,
    ) -> Result<Self, SetupError> {
        scenario.validate().map_err(SetupError::Scenario)?;
        let seed = Seed::new(seed);
        let mut cabling = Cabling::new(scenario.link, seed);
        let nodes = cabling::nodes(scenario, seed, SECRET);
        let node_ports = cabling.plug_nodes(&nodes);
        let (clients, addresses) = cabling::clients(scenario, seed);
        let seats = clients.iter().zip(addresses).enumerate();
        let client_ports = seats
            .map(|(index, (client, at))| {
                cabling.plug(client.name(), StationId::Client(index), Lan::First, at)
            })
            .collect();
        let probes: Vec<ProbeHost> =
            probes.iter().map(|lan| ProbeHost::new(*lan, seed.word("tester"))).collect();
        let probe_ports = cabling.plug_probes(&probes);
        let api_port = cabling.plug("api", StationId::ApiHost, Lan::First, address_plan::API_VIP);
        let adversary_port =
            cabling.plug(Adversary::NAME, StationId::Adversary, Lan::First, Adversary::ADDRESS);
        let Cabling { switch, wired, ports_by_mac, .. } = cabling;
        let mut world = Self {
            now: Time::ZERO,
            end: Time::ZERO,
            switch,
            wired,
            ports_by_mac,
            nodes,
            node_ports,
            clients,
            client_ports,
            probes,
            probe_ports,
            api_host: cabling::api_host(seed),
            api_port,
            adversary: Adversary::new(seed),
            adversary_port,
            api: SimulatedApi::new(seed, scenario.api),
            controller: None,
            script: BTreeMap::new(),
            service: workload.first_service(),
            workload,
            address: None,
            former_owner: None,
            first_fault: None,
            owners: Vec::new(),
            recorded_gossip: VecDeque::new(),
            events: Vec::new(),
            checkers: Checkers::default(),
            timeline: Timeline::new(is_recording),
            fingerprint: Fingerprint::new(),
            steps: 0,
            trace: trace::Trace::default(),
            scenario: scenario.clone(),
            seed,
        };
        world.prepare();
        Ok(world)
    }

    /// Does the next thing that is due. Returns `false` when the run is over.
    pub fn step(&mut self) -> bool {
        let has_worked = self.do_next();
        if !has_worked && self.now < self.end {
            self.now = self.end;
            self.finish();
        }
        has_worked
    }

    /// Does the next thing that is due before the end. Returns `false` if there
    /// is none.
    fn do_next(&mut self) -> bool {
        let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= self.end) else { return false };
        self.now = self.now.max(at);
        self.steps += 1;
        match due {
            Due::Script => self.perform_next(),
            Due::Api => self.deliver_news(),
            Due::Switch => self.deliver_frame(),
            Due::Node(index) => {
                self.nodes[index].poll(self.now);
                self.collect_node(index);
            }
            Due::Client(index) => {
                self.clients[index].poll(self.now);
                self.collect_client(index);
            }
            Due::ProbeHost(index) => {
                self.probes[index].poll(self.now);
                self.collect_probe(index);
            }
            Due::ApiHost => {
                self.api_host.poll(clock::instant(self.now));
                self.collect_api_host();
            }
            Due::Adversary => {
                self.adversary.poll(self.now);
                self.collect_adversary();
            }
            Due::Controller => {
                if let Some(controller) = &mut self.controller {
                    controller.poll(self.now, &mut self.api);
                }
                self.collect_controller();
            }
        }
        true
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while self.step() {}
    }

    fn next_due(&self) -> Option<(Time, Due)> {
        let script = self.script.keys().next().map(|(at, _)| (*at, Due::Script));
        let api = self.api.poll_timeout().map(|at| (at, Due::Api));
        let switch = self.switch.poll_timeout().map(|at| (clock::time(at), Due::Switch));
        let nodes =
            self.nodes.iter().enumerate().filter_map(|(i, n)| Some((n.poll_timeout()?, Due::Node(i))));
        let clients =
            self.clients.iter().enumerate().filter_map(|(i, c)| Some((c.poll_timeout()?, Due::Client(i))));
        let probes =
            self.probes.iter().enumerate().filter_map(|(i, t)| Some((t.poll_timeout()?, Due::ProbeHost(i))));
        let host = self.api_host.poll_timeout().map(|at| (clock::time(at), Due::ApiHost));
        let adversary = self.adversary.poll_timeout().map(|at| (at, Due::Adversary));
        let controller = self.controller.as_ref().and_then(ControllerProcess::poll_timeout);
        let controller = controller.map(|at| (at, Due::Controller));
        let single = [script, api, switch, host, adversary, controller].into_iter().flatten();
        // What is overdue is due now: time never runs backwards.
        let due = single.chain(nodes).chain(clients).chain(probes).map(|(at, due)| (at.max(self.now), due));
        due.min()
    }

    /// Looks at the store after it may have changed: S1, and whom the clients ask.
    fn store_changed(&mut self) {
        self.checkers.store_changed(self.now, self.api.store().services());
        let first = self.service.as_ref().and_then(|key| self.first_address(key));
        if first != self.address {
            self.address = first;
            for index in 0..self.clients.len() {
                self.clients[index].set_target(self.now, first);
            }
        }
    }

    fn first_address(&self, key: &ServiceKey) -> Option<Ipv4Addr> {
        let services = self.api.store().services().map(ferrolb_api::Service::from);
        let service = services.into_iter().find(|service| service.key == *key)?;
        service.ingress_ips().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// The node that announces the first address, if it is exactly one of
    /// those that can be heard.
    fn owner(&self) -> Option<usize> {
        let address = IpAddr::V4(self.address?);
        let mut owners = self.checkers.owners(address).filter_map(|name| self.index_of(name.as_str()));
        owners.find(|index| self.is_in_core(*index))
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name().as_str() == name)
    }

    /// Whether a node is up and can be heard: the part of the world in which
    /// liveness is demanded.
    fn is_in_core(&self, index: usize) -> bool {
        let (node, port) = (&self.nodes[index], self.node_ports[index][0]);
        let wire = self.switch.wire(port);
        node.is_speaking()
            && !node.is_frozen()
            && self.switch.port_is_up(port)
            && !wire.to_switch.cut
            && !wire.to_station.cut
            && !self.wired[port.index()].is_apart
    }

    /// Where the run stands.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// What happened so far, for people.
    pub const fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// The same, to read.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The clients, the measured one first, the router last.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The names of the nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name().as_str())
    }

    /// When the first step of the scenario was done.
    #[must_use]
    pub const fn first_fault(&self) -> Option<Time> {
        self.first_fault
    }

    /// The switch, to record what goes over it.
    pub const fn switch_mut(&mut self) -> &mut Switch {
        &mut self.switch
    }

    /// A node, to break it.
    pub fn node_mut(&mut self, index: usize) -> Option<&mut Node> {
        self.nodes.get_mut(index)
    }

    fn log(&mut self, who: &str, tone: Tone, what: impl Into<String>) {
        self.timeline.log(self.now, who, tone, what);
    }
}
