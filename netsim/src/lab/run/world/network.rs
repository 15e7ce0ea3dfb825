//! The LAN of a run: the switch, whose NIC each port leads to, and which half of a broken switch a port is on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ferrolb_api::Time;
use smoltcp::wire::EthernetAddress;

use super::stations::Stations;
use crate::lab::address_plan::{self, Lan};
use crate::lab::clock;
use crate::lab::run::scenario::Link;
use crate::lab::stations::adversary::Adversary;
use crate::lab::stations::node::Node;
use crate::lab::stations::probe_host::ProbeHost;
use crate::net::faults::{Chance, Faults};
use crate::net::port::PortId;
use crate::net::switch::Switch;

/// Which station, and which of its NICs, a port of the switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StationId {
    /// A node, and which of its NICs.
    Node(usize, usize),
    Client(usize),
    ProbeHost(usize),
    ApiHost,
    Adversary,
}

/// What is at a port, and which side of a broken switch it is on.
#[derive(Clone, Copy, Debug)]
struct Wired {
    station: StationId,
    is_apart: bool,
}

/// The switch and its wires.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) switch: Switch,
    /// By port number.
    wired: Vec<Wired>,
    ports_by_mac: BTreeMap<EthernetAddress, PortId>,
    /// Of each node the ports of its NICs.
    pub(super) nodes: Vec<Vec<PortId>>,
    pub(super) clients: Vec<PortId>,
    pub(super) probes: Vec<PortId>,
    pub(super) api_host: Option<PortId>,
    pub(super) adversary: Option<PortId>,
}

impl Network {
    /// Wires every NIC of every station.
    pub(super) fn new(link: Link, seed: u64, stations: &Stations) -> Self {
        let mut network = Self {
            switch: Switch::new(seed),
            wired: Vec::new(),
            ports_by_mac: BTreeMap::new(),
            nodes: Vec::new(),
            clients: Vec::new(),
            probes: Vec::new(),
            api_host: None,
            adversary: None,
        };
        let faults = faults(link);
        let mut plug = |name: &str, station, lan, address| network.plug(faults, name, station, lan, address);
        let nodes = stations.nodes.iter().enumerate().map(|(index, node)| plug_node(&mut plug, index, node));
        let nodes = nodes.collect();
        let clients = stations.clients.iter().map(|client| (client.name(), client.address()));
        let clients = clients
            .enumerate()
            .map(|(index, (name, at))| plug(name, StationId::Client(index), Lan::First, at))
            .collect();
        let lans = stations.probes.iter().map(ProbeHost::lan).enumerate();
        let probes = lans
            .map(|(index, lan)| {
                let (name, at) = (format!("tester/{}", lan.interface()), address_plan::probe_address(lan));
                plug(&name, StationId::ProbeHost(index), lan, at)
            })
            .collect();
        let api_host = plug("api", StationId::ApiHost, Lan::First, address_plan::API_VIP);
        let adversary = plug(Adversary::NAME, StationId::Adversary, Lan::First, Adversary::ADDRESS);
        Self { nodes, clients, probes, api_host: Some(api_host), adversary: Some(adversary), ..network }
    }

    fn plug(&mut self, faults: Faults, name: &str, station: StationId, lan: Lan, at: Ipv4Addr) -> PortId {
        let port = self.switch.add_port(name, faults);
        self.switch.set_vlan(port, lan.vlan());
        self.wired.push(Wired { station, is_apart: false });
        self.ports_by_mac.insert(address_plan::mac(at), port);
        port
    }

    /// A station puts a frame on its wire.
    pub(super) fn send(&mut self, now: Time, port: PortId, frame: Vec<u8>) {
        self.switch.send(clock::instant(now), port, frame);
    }

    /// The next frame that has arrived, where and at which station.
    pub(super) fn poll(&mut self, now: Time) -> Option<(StationId, PortId, Vec<u8>)> {
        let (port, frame) = self.switch.poll(clock::instant(now))?;
        let to = self.wired[port.index()];
        // X10: a switch broken in two carries nothing between its halves.
        let is_separated = self.sender(&frame).is_some_and(|from| from.is_apart != to.is_apart);
        (!is_separated).then_some((to.station, port, frame))
    }

    fn sender(&self, frame: &[u8]) -> Option<Wired> {
        let mac = EthernetAddress(*frame.get(6..12)?.first_chunk()?);
        let port = self.ports_by_mac.get(&mac)?;
        self.wired.get(port.index()).copied()
    }

    /// The name of the station with this NIC.
    pub(super) fn station_of(&self, mac: EthernetAddress) -> Option<String> {
        let port = self.ports_by_mac.get(&mac)?;
        Some(self.switch.port_name(*port).to_owned())
    }

    /// Whether a node's first NIC has a link, and a cable that carries both ways to all others.
    pub(super) fn reaches(&self, node: usize) -> bool {
        let port = self.nodes[node][0];
        let wire = self.switch.wire(port);
        let is_whole = !wire.to_switch.cut && !wire.to_station.cut;
        self.switch.port_is_up(port) && is_whole && !self.wired[port.index()].is_apart
    }

    /// X10: a node is on one side of a broken switch, all others on the other.
    pub(super) fn isolate(&mut self, node: usize) {
        self.wired[self.nodes[node][0].index()].is_apart = true;
    }

    /// The switch is whole again.
    pub(super) fn heal(&mut self) {
        for wired in &mut self.wired {
            wired.is_apart = false;
        }
    }
}

fn plug_node(
    plug: &mut impl FnMut(&str, StationId, Lan, Ipv4Addr) -> PortId,
    index: usize,
    node: &Node,
) -> Vec<PortId> {
    let nics = node.nics().iter().enumerate();
    nics.map(|(nic, (lan, at))| plug(&node.nic_name(nic), StationId::Node(index, nic), *lan, *at)).collect()
}

/// What every wire does to frames.
fn faults(link: Link) -> Faults {
    let micros = |duration: Duration| {
        smoltcp::time::Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    };
    Faults {
        jitter: micros(link.jitter),
        loss: Chance::ratio(link.loss, 10_000),
        ..Faults::delay(micros(link.delay))
    }
}
