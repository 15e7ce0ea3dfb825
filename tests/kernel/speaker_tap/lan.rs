//! The network of one case: two nodes, a router, a simulated client, and a port for the test.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use netsim::net::host::{Host, HostSettings};
use netsim::net::patchbay::Patchbay;
use netsim::net::port::PortId;
use netsim::net::wire::WireSettings;
use smoltcp::wire::{EthernetAddress, IpCidr};
use tests::kernel::{self, KernelNeighbour};
use tests::stations::KernelStation;

use super::arp;
use super::node::Node;
use super::objects::{self, VIP};

const WK01: (&str, Ipv4Addr) = ("wk01", Ipv4Addr::new(172, 16, 16, 11));
const WK02: (&str, Ipv4Addr) = ("wk02", Ipv4Addr::new(172, 16, 16, 12));
/// The nodes of the cluster.
pub(crate) const MEMBERS: [(&str, Ipv4Addr); 2] = [WK01, WK02];
const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 50);

/// What has not come true after this time will not: a machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long nobody must have answered an ARP request before nobody will.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// Everything plugged in and running.
#[derive(Debug)]
pub(crate) struct Lan {
    /// The switch.
    pub(crate) bay: Patchbay,
    /// wk01 and wk02.
    pub(crate) nodes: Vec<Node>,
    /// 172.16.16.1, a kernel of its own.
    pub(crate) router: KernelStation,
    /// 172.16.16.50, a simulated host.
    pub(crate) client: PortId,
    /// Nothing but the test.
    pub(crate) test: PortId,
}

/// Runs a case on a network of its own. If it panics the capture is kept, and what the speakers said is printed.
pub(crate) fn with_lan(name: &str, case: &dyn Fn(&mut Lan)) {
    let mut lan = Lan::start().expect("namespaces and TAP devices can be made, or `main` would have ended");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        lan.form();
        case(&mut lan);
    }));
    if let Err(panic) = outcome {
        lan.report(name);
        resume_unwind(panic);
    }
}

impl Lan {
    fn start() -> anyhow::Result<Self> {
        let bay = Patchbay::start(1)?;
        bay.run(|_, bench| bench.switch.start_capture(&[]))?;
        let router = KernelStation::join(&bay, "router", ROUTER)?;
        let settings = HostSettings::new(
            "client",
            EthernetAddress([0x02, 0, 0, 0, 0, 0x50]),
            IpCidr::new(CLIENT.into(), 24),
            1,
        );
        let client = bay.connect_station("client", Host::new(settings), WireSettings::default())?;
        let test = bay.connect_nothing("test", WireSettings::default())?;
        let nodes = MEMBERS.map(|(name, address)| Node::start(&bay, name, address));
        Ok(Self { nodes: nodes.into_iter().collect::<Result<_, _>>()?, bay, router, client, test })
    }

    /// Tells the speakers of the cluster and waits until they know each other and one of them answers.
    fn form(&mut self) {
        for node in &mut self.nodes {
            node.speaker.tell(&objects::cluster(&MEMBERS));
        }
        for node in &self.nodes {
            let other = if node.name == WK01.0 { WK02.0 } else { WK01.0 };
            node.speaker.wait_for(&["MemberUp", other], PATIENCE);
        }
        self.settle();
    }

    /// Waits until exactly one node answers for the address, three times in a row. Gives its index.
    pub(crate) fn settle(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        loop {
            answers.push(arp::who_has(&self.bay, self.test, VIP, SILENCE));
            if let [.., a, b, c] = answers.as_slice()
                && a.len() == 1
                && a == b
                && b == c
            {
                return self.index_of(a[0]);
            }
            assert!(
                Instant::now() < deadline,
                "no single owner within {PATIENCE:?}; answers were {answers:?}"
            );
        }
    }

    /// Everybody who answers an ARP request for the address; somebody must.
    pub(crate) fn owners(&self) -> Vec<EthernetAddress> {
        arp::who_has(&self.bay, self.test, VIP, PATIENCE)
    }

    /// Everybody who answers an ARP request for an address that nobody should have.
    pub(crate) fn who_answers(&self, address: Ipv4Addr) -> Vec<EthernetAddress> {
        arp::who_has(&self.bay, self.test, address, SILENCE)
    }

    /// The node with this hardware address.
    pub(crate) fn index_of(&self, mac: EthernetAddress) -> usize {
        let found = self.nodes.iter().position(|node| node.station.mac == mac);
        found.unwrap_or_else(|| panic!("{mac} is no node's"))
    }

    /// What the router's kernel has on file for `address`.
    pub(crate) fn router_neighbour(&self, address: Ipv4Addr) -> Option<KernelNeighbour> {
        let table = self.router.namespace.run(kernel::neighbours).and_then(|table| table);
        let table = table.expect("a neighbour table can be read");
        table.into_iter().find(|line| line.address == IpAddr::V4(address))
    }

    /// What the simulated client has on file for `address`.
    pub(crate) fn client_neighbour(&self, address: Ipv4Addr) -> Option<EthernetAddress> {
        let client = self.client;
        let entry =
            self.bay.run(move |_, bench| bench.host(client).neighbours().get(address.into()).copied());
        entry.expect("the switch runs").and_then(|entry| entry.mac)
    }

    /// Waits until the router's kernel has `mac` on file for the address; gives how long that took.
    pub(crate) fn wait_for_router(&self, mac: EthernetAddress, patience: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let line = self.router_neighbour(VIP);
            let elapsed = start.elapsed();
            if line.is_some_and(|line| line.mac == Some(mac)) {
                return elapsed;
            }
            assert!(elapsed < patience, "after {patience:?} the router still has {line:?}, not {mac}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes the capture next to the other build products and prints what the speakers said.
    fn report(&self, name: &str) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcapng"));
        let capture = self.bay.run(|_, bench| bench.switch.take_capture()).ok().flatten();
        let written = capture.and_then(|capture| {
            let file = BufWriter::new(File::create(&path).ok()?);
            capture.write_to(file).ok()
        });
        let mut err = std::io::stderr().lock();
        let _ = match written {
            Some(()) => writeln!(err, "{name}: every frame is in {}", path.display()),
            None => writeln!(err, "{name}: the capture could not be written"),
        };
        for node in &self.nodes {
            let _ = writeln!(err, "--- {}\n{}", node.name, node.speaker.lines().join("\n"));
        }
    }
}
