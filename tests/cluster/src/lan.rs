//! The network: one switch, and on it the API server, the nodes, the controllers' Pods, a router, and us. Behind the
//! router, in a VLAN of its own, a client.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use netsim::net::patchbay::Patchbay;
use netsim::net::port::PortId;
use smoltcp::wire::EthernetAddress;
use tests::kernel;
use tests::namespaces::{Namespace, set_sysctl};
use tests::stations::{KernelStation, plug};

/// Where the API server is: the address that Talos announces for it.
pub const API: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 100);
/// Where the client is, in a network of its own.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 10);
/// The nodes and their addresses.
pub const NODES: [(&str, Ipv4Addr); 2] =
    [("wk01", Ipv4Addr::new(172, 16, 16, 11)), ("wk02", Ipv4Addr::new(172, 16, 16, 12))];
/// Addresses of the controllers' Pods, one for each replica; a network of Pods without an overlay.
pub(crate) const PODS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 16, 16, 21), Ipv4Addr::new(172, 16, 16, 22)];

const CONSOLE: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 1);
/// The router's second NIC, its name, hardware address and address.
const BEHIND: (&str, EthernetAddress, Ipv4Addr) =
    ("eth1", EthernetAddress([0x02, 0, 0, 0, 50, 1]), Ipv4Addr::new(192, 168, 50, 1));
const BEHIND_VLAN: u16 = 50;

/// Everything plugged in.
#[derive(Debug)]
pub struct Lan {
    bay: Patchbay,
    /// The calling process's own namespace, from which people work.
    pub console: KernelStation,
    /// The API server's.
    pub api: KernelStation,
    /// Forwards between the nodes' network and the client's.
    pub router: KernelStation,
    /// Whoever wants something of a Service.
    pub client: KernelStation,
    /// In the order of [`NODES`].
    pub nodes: Vec<KernelStation>,
    /// Of the controllers' Pods.
    pub pods: Vec<KernelStation>,
}

impl Lan {
    /// Builds it. The process must be alone in a network namespace of its own, see [`tests::namespaces::enter`].
    pub(crate) fn start() -> io::Result<Self> {
        let bay = Patchbay::start(1)?;
        let console = KernelStation::join_from(Namespace::current()?, &bay, "console", CONSOLE)?;
        let api = KernelStation::join(&bay, "api", API)?;
        let router = KernelStation::join(&bay, "router", ROUTER)?;
        let client = KernelStation::join(&bay, "client", CLIENT)?;
        let (name, mac, address) = BEHIND;
        let behind = plug(&bay, &router.namespace, "router to client", name, mac)?;
        router.namespace.run(|| -> io::Result<()> {
            kernel::add_address(name, IpAddr::V4(address), 24)?;
            set_sysctl("ipv4/ip_forward", "1")
        })??;
        client.namespace.run(|| kernel::add_default_route(IpAddr::V4(address)))??;
        let port = client.port;
        bay.run(move |_, bench| {
            bench.switch.set_vlan(behind, BEHIND_VLAN);
            bench.switch.set_vlan(port, BEHIND_VLAN);
        })
        .map_err(io::Error::other)?;
        let nodes = NODES.iter().map(|(name, address)| node(&bay, name, *address));
        let pods = PODS.iter().zip(1..).map(|(address, number)| {
            let station = KernelStation::join(&bay, &format!("controller {number}"), *address)?;
            station.namespace.run(|| kernel::add_default_route(IpAddr::V4(ROUTER)))??;
            Ok(station)
        });
        let (nodes, pods) = (nodes.collect::<io::Result<_>>()?, pods.collect::<io::Result<_>>()?);
        let lan = Self { bay, console, api, router, client, nodes, pods };
        lan.record()?;
        Ok(lan)
    }

    /// Pulls a node's cable, or plugs it in again.
    ///
    /// # Errors
    /// Here and below: if the switch has stopped.
    pub fn set_link(&self, node: usize, is_up: bool) -> io::Result<()> {
        let port: PortId = self.nodes[node].port;
        let set = self.bay.run(move |now, bench| bench.switch.set_port_up(now, port, is_up));
        set.map_err(io::Error::other)
    }

    /// Forgets the frames seen so far and records from now on.
    ///
    /// # Errors
    /// See [`Lan::set_link`].
    pub fn record(&self) -> io::Result<()> {
        self.bay.run(|_, bench| bench.switch.start_capture(&[])).map_err(io::Error::other)
    }

    /// Writes the frames since [`Lan::record`] into a pcapng file and goes on without recording.
    ///
    /// # Errors
    /// See [`Lan::set_link`]; or if the file cannot be written.
    pub fn write_capture(&self, path: &Path) -> io::Result<()> {
        let capture = self.bay.run(|_, bench| bench.switch.take_capture()).map_err(io::Error::other)?;
        let Some(capture) = capture else { return Ok(()) };
        capture.write_to(BufWriter::new(File::create(path)?)).map_err(io::Error::other)
    }

    /// All namespaces with their names.
    pub fn namespaces(&self) -> impl Iterator<Item = (String, &Namespace)> {
        let single = [("api", &self.api), ("router", &self.router), ("client", &self.client)];
        let nodes = NODES.iter().map(|(name, _)| (*name).to_owned()).zip(&self.nodes);
        let pods = (1..).map(|number| format!("controller-{number}")).zip(&self.pods);
        single
            .map(|(name, station)| (name.to_owned(), station))
            .into_iter()
            .chain(nodes)
            .chain(pods)
            .map(|(name, station)| (name, &station.namespace))
    }
}

/// A node's network, with the settings that kube-proxy asks for in IPVS mode: its kernel takes packets for addresses on
/// `lo`, and never answers ARP for them.
fn node(bay: &Patchbay, name: &str, address: Ipv4Addr) -> io::Result<KernelStation> {
    let station = KernelStation::join(bay, name, address)?;
    station.namespace.run(|| -> io::Result<()> {
        set_sysctl("ipv4/conf/all/arp_ignore", "1")?;
        set_sysctl("ipv4/conf/all/arp_announce", "2")?;
        kernel::add_default_route(IpAddr::V4(ROUTER))
    })??;
    Ok(station)
}
