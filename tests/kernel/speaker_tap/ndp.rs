//! The same for IPv6: the Service gets a second address, and the router's kernel is the judge.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use netsim::net::frame;
use netsim::net::neighbours::NeighbourState;
use netsim::net::patchbay::Patchbay;
use netsim::net::wire::WireSettings;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use smoltcp::wire::{EthernetAddress, NdiscNeighborFlags, NdiscRepr};
use tests::echo::Echo;
use tests::kernel::{self, KernelNeighbour};
use tests::namespaces::{Namespace, set_sysctl};
use tests::stations::{KernelStation, NIC, plug};

use super::cases::{AT_ONCE, Case, TAKEOVER, measured};
use super::lan::{Lan, MEMBERS, PATIENCE};
use super::objects::{self, PORT};

/// All cases.
pub(crate) const ALL: &[Case] = &[
    ("d61_d66_w39_ndp_resolution_reachability_and_duplicates", resolution),
    ("w11_ndp_on_a_link_that_comes_later", late_link),
    ("ndp_takeover_after_sigkill", takeover),
];

/// The Service's second address; its solicited-node group, as the kernel writes it in its table.
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x101);
const GROUP: &str = "ff0200000000000000000001ff000101";
/// So many probes of reachability, and at least for this long.
const PROBES: u32 = 3;
const WATCHED: Duration = Duration::from_secs(8);
/// How often the router asks.
const PACE: Duration = Duration::from_millis(20);

/// The kernel finds the owner; its probes of reachability are answered; nobody else can take the address.
fn resolution(lan: &mut Lan) {
    let backends = dual_stack(lan);
    let owner = lan.settle();
    let (mac, name) = (lan.nodes[owner].station.mac, lan.nodes[owner].name);
    let router = &lan.router.namespace;

    // Before there is an entry, whose first timer would still be a long one.
    router.run(shorten_timers).expect("a namespace").expect("it may set its own timers");
    let socket = router.run(open).expect("a namespace").expect("a socket");
    assert_eq!(ask(&socket).as_deref(), Some(name), "resolved through the group, and served");
    assert_eq!(on_file(router).and_then(|line| line.mac), Some(mac));
    for node in &lan.nodes {
        assert!(listens(&node.station.namespace, NIC), "{} is in the group, the owner or not", node.name);
    }

    let start = Instant::now();
    let (mut confirmed, mut before, mut asked) = (0, NeighbourState::Reachable, 0);
    while start.elapsed() < WATCHED || confirmed < PROBES {
        assert_eq!(ask(&socket).as_deref(), Some(name), "after {:?}", start.elapsed());
        asked += 1;
        let line = on_file(router).expect("an address in use stays on file");
        assert_eq!(line.mac, Some(mac), "{line:?}");
        assert!(line.state.is_valid(), "{line:?}");
        confirmed += u32::from(line.state == NeighbourState::Reachable && line.state != before);
        before = line.state;
        assert!(
            start.elapsed() < PATIENCE,
            "UDP confirms nothing: only answered probes make it reachable again: {confirmed}"
        );
        thread::sleep(PACE);
    }
    measured(&format!("{confirmed} probes of reachability answered, {asked} questions, none lost"));

    let stranger =
        KernelStation::join(&lan.bay, "stranger", [172, 16, 16, 66].into()).expect("one more station");
    let verdict = stranger.namespace.run(take_address).expect("a namespace").expect("it may try");
    assert!(verdict.failed, "the stranger's kernel must see that the address is taken: {verdict:?}");
    measured(&format!("duplicate detected after {:?}", verdict.after));
    assert_eq!(ask(&socket).as_deref(), Some(name));
    assert_eq!(on_file(router).and_then(|line| line.mac), Some(mac), "and nothing has moved");
    drop(backends);
}

/// The speaker dies, its node does not: the router's kernel follows, and no answer is lost.
fn takeover(lan: &mut Lan) {
    let backends = dual_stack(lan);
    let owner = lan.settle();
    let (old, new) = (lan.nodes[owner].name, lan.nodes[1 - owner].name);
    let mac = lan.nodes[1 - owner].station.mac;
    let router = &lan.router.namespace;
    let socket = router.run(open).expect("a namespace").expect("a socket");
    assert_eq!(ask(&socket).as_deref(), Some(old));

    lan.nodes[owner].speaker.signal(Signal::SIGKILL);
    let start = Instant::now();
    let mut served = vec![old.to_owned()];
    while on_file(router).and_then(|line| line.mac) != Some(mac) {
        assert!(start.elapsed() < TAKEOVER, "the router still has {:?}", on_file(router));
        served.extend(ask(&socket));
        thread::sleep(PACE);
    }
    measured(&format!("the router's kernel has the new owner {:?} after SIGKILL", start.elapsed()));
    assert_eq!(ask(&socket).as_deref(), Some(new));
    served.dedup();
    assert!(served == [old] || served == [old, new], "{served:?}");
    drop(backends);
}

/// A NIC that is plugged in after the start joins the group and is spoken on.
fn late_link(lan: &mut Lan) {
    let backends = dual_stack(lan);
    let owner = lan.settle();
    let namespace = &lan.nodes[owner].station.namespace;
    let bay = Patchbay::start(2).expect("a second switch");
    let test = bay.connect_nothing("test", WireSettings::default()).expect("it runs");
    let mac = EthernetAddress([0x02, 0, 0, 0, 1, 1]);
    plug(&bay, namespace, "late", "late0", mac).expect("a second TAP");
    let announced = frame::ndp(
        mac,
        frame::multicast_mac(frame::ALL_NODES.into()),
        VIP6,
        frame::ALL_NODES,
        NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: VIP6,
            lladdr: Some(mac.into()),
        },
    );
    let heard =
        bay.wait_for(AT_ONCE, move |_, bench| bench.take_inbox(test).contains(&announced).then_some(()));
    assert!(heard.is_some(), "announced there unasked, S=0 O=1 R=0 from the address itself");
    let deadline = Instant::now() + PATIENCE;
    while !listens(namespace, "late0") {
        assert!(Instant::now() < deadline, "it never joins the group there");
        thread::sleep(PACE);
    }
    drop(backends);
}

/// Whether the kernel of a namespace receives what is sent to the group on an interface.
fn listens(namespace: &Namespace, interface: &str) -> bool {
    let groups = namespace.run(|| fs::read_to_string("/proc/thread-self/net/igmp6"));
    let groups = groups.expect("a namespace").expect("IPv6 is on");
    groups.lines().any(|line| line.split_whitespace().nth(1) == Some(interface) && line.contains(GROUP))
}

/// Gives every station an IPv6 address, and the Service its second one.
fn dual_stack(lan: &mut Lan) -> Vec<Echo> {
    let own = |last: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let router = lan.router.namespace.run(|| {
        kernel::add_address(NIC, own(1), 64)?;
        kernel::await_address(own(1))
    });
    router.expect("a namespace").expect("it may add addresses");
    let mut backends = Vec::new();
    let mut lists = objects::cluster(&MEMBERS);
    for list in &mut lists {
        add_ipv6(list);
    }
    for node in &mut lan.nodes {
        let last = u16::from(node.station.mac.0[5]);
        let socket = node.station.namespace.run(|| -> io::Result<UdpSocket> {
            kernel::add_address(NIC, own(last), 64)?;
            kernel::await_address(own(last))?;
            kernel::add_address("lo", VIP6.into(), 128)?;
            kernel::await_address(VIP6.into())?;
            UdpSocket::bind((VIP6, PORT))
        });
        let socket = socket.expect("a namespace").expect("it may add addresses");
        backends.push(Echo::start(socket, node.name).expect("it may have a timeout"));
        node.speaker.tell(&lists);
    }
    let announced = ["Announced", "fd00::101"];
    let deadline = Instant::now() + PATIENCE;
    while !lan
        .nodes
        .iter()
        .any(|node| node.speaker.lines().iter().any(|line| announced.iter().all(|part| line.contains(part))))
    {
        assert!(Instant::now() < deadline, "nobody announces {VIP6}");
        thread::sleep(PACE);
    }
    backends
}

fn add_ipv6(list: &mut Value) {
    let items = list["items"].as_array_mut().expect("a list");
    for item in items {
        match item["kind"].as_str() {
            Some("IPAddressPool") => {
                item["spec"]["addresses"].as_array_mut().expect("ranges").push(json!("fd00::101-fd00::102"));
            }
            Some(_) => {}
            None => {
                if let Some(ingress) = item["status"]["loadBalancer"]["ingress"].as_array_mut() {
                    ingress.push(json!({"ip": VIP6}));
                }
            }
        }
    }
}

fn open() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket)
}

/// One question; the name of the node that answers.
fn ask(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 64];
    socket.send_to(b"?", (VIP6, PORT)).ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    let node = buffer[..length].strip_prefix(b"?")?;
    Some(String::from_utf8_lossy(node).into_owned())
}

fn on_file(router: &Namespace) -> Option<KernelNeighbour> {
    let table = router.run(kernel::neighbours).expect("a namespace").expect("a table can be read");
    table.into_iter().find(|line| line.address == IpAddr::V6(VIP6))
}

/// Minutes become seconds: reachable for 0.25 to 0.75 s, then a second of delay, then the probe.
fn shorten_timers() -> io::Result<()> {
    set_sysctl("ipv6/neigh/eth0/base_reachable_time_ms", "500")?;
    set_sysctl("ipv6/neigh/eth0/delay_first_probe_time", "1")?;
    set_sysctl("ipv6/neigh/eth0/retrans_time_ms", "300")
}

#[derive(Debug)]
struct Detection {
    failed: bool,
    after: Duration,
}

/// Tries to take the address, as any host does that has it configured: after looking whether somebody has it.
fn take_address() -> io::Result<Detection> {
    /// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE` of linux/if_addr.h.
    const FAILED: u32 = 0x08;
    const TENTATIVE: u32 = 0x40;
    let start = Instant::now();
    kernel::add_address_with_detection(NIC, VIP6.into(), 64)?;
    loop {
        let table = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
        let line = table.lines().find(|line| line.starts_with("fd000000000000000000000000000101"));
        let flags = line.and_then(|line| line.split_whitespace().nth(4));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 16).ok()).unwrap_or(TENTATIVE);
        let after = start.elapsed();
        if flags & FAILED != 0 || flags & TENTATIVE == 0 || after > PATIENCE {
            return Ok(Detection { failed: flags & FAILED != 0, after });
        }
        thread::sleep(PACE);
    }
}
