//! The world: one virtual clock over switch, hosts, speakers, controller and
//! API server. A step jumps to the next thing that is due.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use metallb_api::{ServiceKey, Time};
use smoltcp::wire::EthernetAddress;

use super::checkers::Checkers;
use super::client::Client;
use super::clock;
use super::cluster::{Cluster, WatchId};
use super::controllers::ControllerProcess;
use super::fingerprint::Fingerprint;
use super::manifests::Manifests;
use super::node::Node;
use super::objects::Kind;
use super::plan;
use super::random::Seed;
use super::scenario::{Action, Scenario};
use super::stranger::Stranger;
use super::timeline::{Timeline, Tone};
use super::watch::Update;
use crate::net::host::Host;
use crate::net::station::Station;
use crate::net::switch::{PortId, Switch};

mod liveness;
mod narrate;
mod script;
mod setup;
mod stations;

pub use liveness::Outcome;
pub use setup::{SetupError, Workload};

/// Gossip frames that the stranger can have recorded.
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
    ApiHost,
    Stranger,
    Controller,
}

/// Whose NIC a port of the switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Node(usize),
    Client(usize),
    ApiHost,
    Stranger,
}

/// A station's wire: its port, and which side of a broken switch it is on.
#[derive(Clone, Copy, Debug)]
struct Wired {
    seat: Seat,
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
    node_ports: Vec<PortId>,
    /// The first is measured; the last is the router.
    clients: Vec<Client>,
    client_ports: Vec<PortId>,
    api_host: Host,
    api_port: PortId,
    stranger: Stranger,
    stranger_port: PortId,
    cluster: Cluster,
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
    checkers: Checkers,
    timeline: Timeline,
    fingerprint: Fingerprint,
    steps: u64,
    narrator: narrate::Narrator,
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
        scenario.validate().map_err(SetupError::Scenario)?;
        let seed = Seed::new(seed);
        let workload = Workload::new(manifests, scenario.nodes)?;
        let mut switch = Switch::new(seed.word("switch"));
        let faults = stations::faults(scenario.link);
        let mut wired = Vec::new();
        let mut ports_by_mac = BTreeMap::new();
        let mut plug = |name: &str, seat: Seat, address: Ipv4Addr| {
            let port = switch.add_port(name, faults);
            wired.push(Wired { seat, is_apart: false });
            ports_by_mac.insert(plan::mac(address), port);
            port
        };
        let (mut nodes, mut node_ports) = (Vec::new(), Vec::new());
        for index in 0..scenario.nodes {
            let (name, address) = (plan::node_name(index), plan::node_address(index));
            node_ports.push(plug(&name, Seat::Node(usize::from(index)), address));
            nodes.push(Node::new(&name, address, seed, SECRET));
        }
        let (clients, addresses) = stations::clients(scenario, seed);
        let seats = clients.iter().zip(addresses).enumerate();
        let client_ports = seats
            .map(|(index, (client, address))| plug(client.name(), Seat::Client(index), address))
            .collect();
        let api_port = plug("api", Seat::ApiHost, plan::API_VIP);
        let stranger_port = plug("stranger", Seat::Stranger, Stranger::ADDRESS);
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
            api_host: stations::api_host(seed),
            api_port,
            stranger: Stranger::new(seed),
            stranger_port,
            cluster: Cluster::new(seed, scenario.api),
            controller: None,
            script: BTreeMap::new(),
            service: workload.first_service(),
            workload,
            address: None,
            former_owner: None,
            first_fault: None,
            owners: Vec::new(),
            recorded_gossip: VecDeque::new(),
            checkers: Checkers::default(),
            timeline: Timeline::new(is_recording),
            fingerprint: Fingerprint::new(),
            steps: 0,
            narrator: narrate::Narrator::default(),
            scenario: scenario.clone(),
            seed,
        };
        world.prepare();
        Ok(world)
    }

    /// Does the next thing that is due. Returns `false` when the run is over.
    pub fn step(&mut self) -> bool {
        let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= self.end) else {
            if self.now < self.end {
                self.now = self.end;
                self.finish();
            }
            return false;
        };
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
            Due::ApiHost => {
                self.api_host.poll(clock::instant(self.now));
                self.collect_api_host();
            }
            Due::Stranger => {
                self.stranger.poll(self.now);
                self.collect_stranger();
            }
            Due::Controller => {
                if let Some(controller) = &mut self.controller {
                    controller.poll(self.now, &mut self.cluster);
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
        let api = self.cluster.poll_timeout().map(|at| (at, Due::Api));
        let switch = self.switch.poll_timeout().map(|at| (clock::time(at), Due::Switch));
        let nodes =
            self.nodes.iter().enumerate().filter_map(|(i, n)| Some((n.poll_timeout()?, Due::Node(i))));
        let clients =
            self.clients.iter().enumerate().filter_map(|(i, c)| Some((c.poll_timeout()?, Due::Client(i))));
        let host = self.api_host.poll_timeout().map(|at| (clock::time(at), Due::ApiHost));
        let stranger = self.stranger.poll_timeout().map(|at| (at, Due::Stranger));
        let controller = self.controller.as_ref().and_then(ControllerProcess::poll_timeout);
        let controller = controller.map(|at| (at, Due::Controller));
        let single = [script, api, switch, host, stranger, controller].into_iter().flatten();
        // What is overdue is due now: time never runs backwards.
        let due = single.chain(nodes).chain(clients).map(|(at, due)| (at.max(self.now), due));
        due.min()
    }

    fn deliver_news(&mut self) {
        let Some((watch, update)) = self.cluster.poll(self.now) else { return };
        let name = self.cluster.name(watch).to_owned();
        self.fingerprint.add(self.now, &name, format!("{update:?}").as_bytes());
        if let Some(index) = self.nodes.iter().position(|node| node.has_watch(watch)) {
            self.nodes[index].handle_update(self.now, &self.cluster, watch, &update);
            if self.nodes[index].watch() == Some(watch) && concerns(&update, Kind::Service) {
                self.tell_checkers(index, watch);
            }
            self.collect_node(index);
        } else if let Some(controller) = &mut self.controller
            && controller.watch() == watch
        {
            controller.handle(self.now, &self.cluster, &update);
            self.collect_controller();
        }
    }

    fn tell_checkers(&mut self, index: usize, watch: WatchId) {
        let Some(view) = self.cluster.view(watch) else { return };
        let services = view.services();
        let addresses = services.iter().flat_map(metallb_api::Service::ingress_ips).collect();
        self.checkers.told(self.nodes[index].name(), addresses);
    }

    fn deliver_frame(&mut self) {
        let instant = clock::instant(self.now);
        let Some((port, frame)) = self.switch.poll(instant) else { return };
        let to = self.wired[port.index()];
        // F10: a switch broken in two carries nothing between its halves.
        if self.sender(&frame).is_some_and(|from| from.is_apart != to.is_apart) {
            return;
        }
        self.fingerprint.add(self.now, self.switch.port_name(port), &frame);
        match to.seat {
            Seat::Node(index) => {
                self.checkers.heard(self.nodes[index].name(), &frame);
                self.nodes[index].handle_frame(self.now, frame);
                self.collect_node(index);
            }
            Seat::Client(index) => {
                self.clients[index].handle_frame(self.now, &frame);
                self.collect_client(index);
            }
            Seat::ApiHost => {
                self.api_host.handle_frame(instant, &frame);
                self.api_host.poll(instant);
                self.collect_api_host();
            }
            Seat::Stranger => {
                self.stranger.handle_frame(self.now, frame);
                self.collect_stranger();
            }
        }
    }

    fn sender(&self, frame: &[u8]) -> Option<Wired> {
        let mac = EthernetAddress(*frame.get(6..12)?.first_chunk()?);
        let port = self.ports_by_mac.get(&mac)?;
        self.wired.get(port.index()).copied()
    }

    /// Takes what a node has done and sends its frames on their way.
    fn collect_node(&mut self, index: usize) {
        let deeds = self.nodes[index].take_deeds();
        let mut by_speaker = Vec::new();
        for deed in deeds {
            self.node_did(index, deed, &mut by_speaker);
        }
        self.narrate_frames(index, &by_speaker);
        let port = self.node_ports[index];
        while let Some(frame) = self.nodes[index].poll_frame() {
            let is_speakers = by_speaker.contains(&frame);
            self.checkers.sent(self.now, self.nodes[index].name(), &frame, is_speakers);
            self.record_gossip(&frame);
            self.switch.send(clock::instant(self.now), port, frame);
        }
    }

    fn record_gossip(&mut self, frame: &[u8]) {
        let port = frame.get(36..38).map(|port| u16::from_be_bytes([port[0], port[1]]));
        if frame.get(12..14) == Some(&[0x08, 0x00]) && port == Some(plan::GOSSIP_PORT) {
            self.recorded_gossip.push_back(frame.to_vec());
            if self.recorded_gossip.len() > RECORDED_GOSSIP {
                self.recorded_gossip.pop_front();
            }
        }
    }

    fn collect_client(&mut self, index: usize) {
        for noticed in self.clients[index].take_noticed() {
            self.client_noticed(index, noticed);
        }
        let port = self.client_ports[index];
        while let Some(frame) = self.clients[index].poll_frame() {
            self.narrate_question(index, &frame);
            self.switch.send(clock::instant(self.now), port, frame);
        }
    }

    fn collect_api_host(&mut self) {
        while let Some(frame) = self.api_host.poll_frame() {
            self.switch.send(clock::instant(self.now), self.api_port, frame);
        }
    }

    fn collect_stranger(&mut self) {
        while let Some(frame) = self.stranger.poll_frame() {
            self.switch.send(clock::instant(self.now), self.stranger_port, frame);
        }
    }

    fn collect_controller(&mut self) {
        let Some(controller) = &mut self.controller else { return };
        let deeds = controller.take_deeds();
        for deed in deeds {
            self.controller_did(deed);
        }
    }

    /// Looks at the store after it may have changed: S1, and whom the clients ask.
    fn store_changed(&mut self) {
        self.checkers.store_changed(self.now, self.cluster.store().services());
        let first = self.service.as_ref().and_then(|key| self.first_address(key));
        if first != self.address {
            self.address = first;
            for index in 0..self.clients.len() {
                self.clients[index].set_target(self.now, first);
            }
        }
    }

    fn first_address(&self, key: &ServiceKey) -> Option<Ipv4Addr> {
        let services = self.cluster.store().services().map(metallb_api::Service::from);
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
        let (node, port) = (&self.nodes[index], self.node_ports[index]);
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

fn concerns(update: &Update, kind: Kind) -> bool {
    match update {
        Update::Listed(listed) => *listed == kind,
        Update::Changed(key) | Update::Gone(key) => key.kind == kind,
    }
}
