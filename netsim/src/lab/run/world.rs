//! The world: one virtual clock over switch, hosts, speakers, controller and
//! API server. A step jumps to the next thing that is due.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ferrolb_api::{ServiceKey, Time};

use crate::lab::address_plan::Lan;
use crate::lab::api::manifests::Manifests;
use crate::lab::api::server::SimulatedApi;
use crate::lab::checks::safety::Checkers;
use crate::lab::clock;
use crate::lab::random::Seed;
use crate::lab::run::action::Action;
use crate::lab::run::scenario::Scenario;
use crate::lab::run::timeline::{Timeline, Tone};
use crate::lab::stations::client::Client;
use crate::lab::stations::node::Node;
use crate::net::station::Station as _;
use crate::net::switch::Switch;

pub(in crate::lab::run) mod actions;

mod delivery;
mod interactive;
mod liveness;
mod measured;
mod network;
mod record;
mod script;
mod setup;
mod stations;
mod trace;

pub use interactive::{Proto, Reply};
pub use liveness::Outcome;
use measured::Measured;
use network::Network;
pub use record::RecordedEvent;
use record::RunRecord;
pub use setup::{SetupError, Workload};
use stations::{Stations, Timer};

/// The secret that the speakers share.
const SECRET: &[u8] = b"simulated-memberlist-secret";

/// Who is due, in the order in which things due at the same time are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Script,
    Api,
    Switch,
    Station(Timer),
}

/// A run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    seed: Seed,
    now: Time,
    end: Time,
    steps: u64,
    script: BTreeMap<(Time, u32), Event>,
    workload: Workload,
    network: Network,
    stations: Stations,
    api: SimulatedApi,
    checkers: Checkers,
    measured: Measured,
    record: RunRecord,
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
        let stations = Stations::new(scenario, seed, SECRET, probes);
        let mut world = Self {
            scenario: scenario.clone(),
            seed,
            now: Time::ZERO,
            end: Time::ZERO,
            steps: 0,
            script: BTreeMap::new(),
            network: Network::new(scenario.link, seed.word("switch"), &stations),
            stations,
            api: SimulatedApi::new(seed, scenario.api),
            checkers: Checkers::default(),
            measured: Measured { service: workload.first_service(), ..Measured::default() },
            workload,
            record: RunRecord::new(is_recording),
            trace: trace::Trace::default(),
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
            Due::Station(timer) => self.poll_station(timer),
        }
        true
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while self.step() {}
    }

    fn poll_station(&mut self, timer: Timer) {
        let (now, stations) = (self.now, &mut self.stations);
        match timer {
            Timer::Node(index) => {
                stations.nodes[index].poll(now);
                self.collect_node(index);
            }
            Timer::Client(index) => {
                stations.clients[index].poll(now);
                self.collect_client(index);
            }
            Timer::ProbeHost(index) => {
                stations.probes[index].poll(now);
                self.collect_probe(index);
            }
            Timer::ApiHost => {
                stations.api_host.poll(clock::instant(now));
                self.collect_api_host();
            }
            Timer::Adversary => {
                stations.adversary.poll(now);
                self.collect_adversary();
            }
            Timer::Controller => {
                if let Some(controller) = &mut stations.controller {
                    controller.poll(now, &mut self.api);
                }
                self.collect_controller();
            }
        }
    }

    fn next_due(&self) -> Option<(Time, Due)> {
        let script = self.script.keys().next().map(|(at, _)| (*at, Due::Script));
        let api = self.api.poll_timeout().map(|at| (at, Due::Api));
        let switch = self.network.switch.poll_timeout().map(|at| (clock::time(at), Due::Switch));
        let stations = self.stations.timers().map(|(at, timer)| (at, Due::Station(timer)));
        // What is overdue is due now: time never runs backwards.
        let due = [script, api, switch].into_iter().flatten().chain(stations);
        due.map(|(at, due)| (at.max(self.now), due)).min()
    }

    /// Looks at the store after it may have changed: S1, and whom the clients ask.
    fn store_changed(&mut self) {
        self.checkers.store_changed(self.now, self.api.store().services());
        let first = self.measured.service.as_ref().and_then(|key| self.first_address(key));
        if first != self.measured.address {
            self.measured.address = first;
            for index in 0..self.stations.clients.len() {
                self.stations.clients[index].set_target(self.now, first);
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
        let address = IpAddr::V4(self.measured.address?);
        let mut owners =
            self.checkers.owners(address).filter_map(|name| self.stations.index_of(name.as_str()));
        owners.find(|index| self.is_in_core(*index))
    }

    /// Whether a node is up and can be heard: the part of the world in which
    /// liveness is demanded.
    fn is_in_core(&self, index: usize) -> bool {
        let node = &self.stations.nodes[index];
        node.is_speaking() && !node.is_frozen() && self.network.reaches(index)
    }

    /// Where the run stands.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// What happened so far, for people.
    pub const fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.record.timeline
    }

    /// The same, to read.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        &self.record.timeline
    }

    /// The clients, the measured one first, the router last.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.stations.clients
    }

    /// The names of the nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.stations.nodes.iter().map(|node| node.name().as_str())
    }

    /// When the first step of the scenario was done.
    #[must_use]
    pub const fn first_fault(&self) -> Option<Time> {
        self.measured.first_fault
    }

    /// The switch, to record what goes over it.
    pub const fn switch_mut(&mut self) -> &mut Switch {
        &mut self.network.switch
    }

    /// A node, to break it.
    pub fn node_mut(&mut self, index: usize) -> Option<&mut Node> {
        self.stations.nodes.get_mut(index)
    }

    fn log(&mut self, who: &str, tone: Tone, what: impl Into<String>) {
        self.record.timeline.log(self.now, who, tone, what);
    }
}
