//! The patch bay against the real kernel: a namespace behind a TAP, a simulated host beside it, one switch.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use netsim::net::host::{Host, HostSettings};
use netsim::net::neighbours::NeighbourState;
use netsim::net::patchbay::Patchbay;
use netsim::net::port::PortId;
use netsim::net::stack::Pong;
use netsim::net::tap::TapPort;
use netsim::net::wire::WireSettings;
use smoltcp::wire::{EthernetAddress, IpCidr};
use tests::kernel;
use tests::namespaces::Namespace;

const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const HOST_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 8, 1]);
const PATIENCE: Duration = Duration::from_secs(30);

/// All cases.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("patchbay_kernel::a_simulated_host_and_the_kernel_talk", || Ok(talk()?)),
        Trial::test("patchbay_kernel::what_the_test_cuts_is_cut", || Ok(cut()?)),
        Trial::test("patchbay_kernel::a_tap_refuses_a_bad_name", bad_name),
    ]
}

/// A namespace with a TAP, and a host, on one switch.
struct Lan {
    bay: Patchbay,
    node: Namespace,
    tap: PortId,
    host: PortId,
}

impl Lan {
    fn new() -> io::Result<Self> {
        let node = Namespace::new()?;
        let bay = Patchbay::start(1)?;
        let tap = node.run(|| -> io::Result<TapPort> {
            let tap = TapPort::open("eth0").map_err(io::Error::other)?;
            kernel::set_up("eth0")?;
            kernel::add_address("eth0", KERNEL.into(), 24)?;
            Ok(tap)
        })??;
        let tap = bay.connect_tap("node", tap, WireSettings::default())?;
        let host = Host::new(HostSettings::new("host", HOST_MAC, IpCidr::new(HOST.into(), 24), 1));
        let host = bay.connect_station("host", host, WireSettings::default()).map_err(io::Error::other)?;
        Ok(Self { bay, node, tap, host })
    }

    /// Whether the kernel answers a ping of the host.
    fn pings(&self, sequence: u16, patience: Duration) -> io::Result<bool> {
        let host = self.host;
        let sent = self.bay.run(move |_, bench| bench.station(host).ping(KERNEL.into(), sequence));
        sent.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let wanted = Pong { from: KERNEL.into(), sequence };
        let pong = self.bay.wait_for(patience, move |_, bench| {
            std::iter::from_fn(|| bench.station(host).next_pong()).find(|pong| *pong == wanted)
        });
        Ok(pong.is_some())
    }
}

fn talk() -> Result<(), io::Error> {
    let lan = Lan::new()?;
    lan.bay.run(|_, bench| bench.switch.start_capture(&[])).map_err(io::Error::other)?;
    assert!(lan.pings(1, PATIENCE)?, "the kernel answers a ping");

    let table = lan.node.run(kernel::neighbours)??;
    let line = table.iter().find(|line| line.address == HOST).expect("the kernel has answered the host");
    assert_eq!(line.mac, Some(HOST_MAC));
    assert_ne!(line.state, NeighbourState::Failed);

    let socket = lan.node.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"question", SocketAddr::new(HOST.into(), 54))?;
    let host = lan.host;
    let unreachable = lan.bay.wait_for(PATIENCE, move |_, bench| {
        let frames = bench.switch.capture().map(|capture| capture.frames().to_vec()).unwrap_or_default();
        // ICMP destination unreachable, sent by the host: nobody listens at port 54.
        frames.into_iter().find(|sent| {
            sent.port == host && sent.frame.get(23) == Some(&1) && sent.frame.get(34..36) == Some(&[3, 3])
        })
    });
    assert!(unreachable.is_some(), "the host's stack has answered the kernel's datagram");
    assert_eq!(lan.bay.run(|_, bench| bench.undelivered()).map_err(io::Error::other)?, 0);
    Ok(())
}

fn cut() -> Result<(), io::Error> {
    let lan = Lan::new()?;
    assert!(lan.pings(1, PATIENCE)?);
    let tap = lan.tap;
    lan.bay.run(move |_, bench| bench.switch.wire_mut(tap).to_switch.cut = true).map_err(io::Error::other)?;
    assert!(!lan.pings(2, Duration::from_millis(100))?, "the kernel hears but is not heard");
    lan.bay.run(move |_, bench| bench.switch.wire_mut(tap).set_cut(false)).map_err(io::Error::other)?;
    assert!(lan.pings(3, PATIENCE)?);
    lan.bay.run(move |now, bench| bench.switch.set_port_up(now, tap, false)).map_err(io::Error::other)?;
    assert!(!lan.pings(4, Duration::from_millis(100))?);
    lan.bay.run(move |now, bench| bench.switch.set_port_up(now, tap, true)).map_err(io::Error::other)?;
    assert!(lan.pings(5, PATIENCE)?);
    Ok(())
}

fn bad_name() -> Result<(), Failed> {
    for name in ["", "sixteen-bytes-xx"] {
        let Err(error) = TapPort::open(name) else { return Err(format!("{name:?} was taken").into()) };
        assert!(error.to_string().contains("1 to 15 bytes"), "{error}");
    }
    let first = TapPort::open("twice")?;
    let error = TapPort::open(first.name()).expect_err("the name is taken");
    assert!(error.to_string().contains("another process"), "{error}");
    Ok(())
}
