//! What hangs on the switch beside the nodes, and by what wires.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::{EthernetAddress, IpCidr};

use super::{StationId, Wired};
use crate::lab::address_plan::{self, Lan};
use crate::lab::random::Seed;
use crate::lab::run::scenario::{Link, Scenario};
use crate::lab::stations::client::{Client, ClientKind, Pace};
use crate::lab::stations::node::Node;
use crate::lab::stations::probe_host::ProbeHost;
use crate::net::faults::{Chance, Faults};
use crate::net::host::{Host, HostSettings};
use crate::net::port::PortId;
use crate::net::switch::Switch;

/// How often the router asks the first address, beside the clients.
const ROUTER_PACE: Pace = Pace { ask: Duration::from_millis(250), fetch: Duration::ZERO };

/// A switch whose ports are being wired.
#[derive(Debug)]
pub(super) struct Cabling {
    faults: Faults,
    pub(super) switch: Switch,
    /// By port number.
    pub(super) wired: Vec<Wired>,
    pub(super) ports_by_mac: BTreeMap<EthernetAddress, PortId>,
}

impl Cabling {
    /// A switch without ports.
    pub(super) fn new(link: Link, seed: Seed) -> Self {
        let switch = Switch::new(seed.word("switch"));
        Self { faults: faults(link), switch, wired: Vec::new(), ports_by_mac: BTreeMap::new() }
    }

    /// Wires the NIC of the station that has this address.
    pub(super) fn plug(&mut self, name: &str, station: StationId, lan: Lan, address: Ipv4Addr) -> PortId {
        let port = self.switch.add_port(name, self.faults);
        self.switch.set_vlan(port, lan.vlan());
        self.wired.push(Wired { station, is_apart: false });
        self.ports_by_mac.insert(address_plan::mac(address), port);
        port
    }

    /// Wires every NIC of every node.
    pub(super) fn plug_nodes(&mut self, nodes: &[Node]) -> Vec<Vec<PortId>> {
        let mut ports = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let nics = node.nics().iter().enumerate();
            let nics = nics.map(|(nic, (lan, at))| {
                self.plug(&node.nic_name(nic), StationId::Node(index, nic), *lan, *at)
            });
            ports.push(nics.collect());
        }
        ports
    }

    /// Wires the probes.
    pub(super) fn plug_probes(&mut self, probes: &[ProbeHost]) -> Vec<PortId> {
        let plugs = probes.iter().map(ProbeHost::lan).enumerate().map(|(index, lan)| {
            let name = format!("tester/{}", lan.interface());
            self.plug(&name, StationId::ProbeHost(index), lan, address_plan::probe_address(lan))
        });
        plugs.collect()
    }
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

/// The nodes of a scenario.
pub(super) fn nodes(scenario: &Scenario, seed: Seed, secret: &[u8]) -> Vec<Node> {
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
pub(super) fn clients(scenario: &Scenario, seed: Seed) -> (Vec<Client>, Vec<Ipv4Addr>) {
    let (mut clients, mut addresses) = (Vec::new(), Vec::new());
    for (index, kind) in scenario.clients.iter().enumerate() {
        let number = u8::try_from(index).unwrap_or(u8::MAX);
        let address = address_plan::client_address(number);
        let name = if index == 0 { "client".to_owned() } else { kind.as_str().to_owned() };
        let is_taken = clients.iter().any(|client: &Client| client.name() == name);
        let name = if is_taken || name == "router" { format!("{name}-{}", index + 1) } else { name };
        let fetch = if index == 0 { scenario.fetch_every } else { Duration::ZERO };
        let pace = Pace { ask: scenario.ask_every, fetch };
        clients.push(Client::new(&name, *kind, address, pace, seed.word(&format!("client/{index}"))));
        addresses.push(address);
    }
    let kind = ClientKind::RouterIgnoringGratuitousReplies;
    clients.push(Client::new("router", kind, address_plan::ROUTER, ROUTER_PACE, seed.word("router")));
    addresses.push(address_plan::ROUTER);
    (clients, addresses)
}

/// The host that has the API server's address.
pub(super) fn api_host(seed: Seed) -> Host {
    let address = IpCidr::new(address_plan::API_VIP.into(), address_plan::PREFIX_LEN);
    Host::new(HostSettings::new("api", address_plan::mac(address_plan::API_VIP), address, seed.word("api")))
}
