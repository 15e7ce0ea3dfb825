//! What must hold on the real stack.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use netsim::net::patchbay::Patchbay;
use netsim::net::wire::WireSettings;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use smoltcp::wire::EthernetAddress;
use tests::probe::{Probe, Record};
use tests::stations::plug;

use super::arp;
use super::lan::{Lan, PATIENCE, SILENCE};
use super::objects::{PORT, VIP};

/// A case and its name.
pub(crate) type Case = (&'static str, fn(&mut Lan));

/// All of them.
pub(crate) const ALL: &[Case] = &[
    ("resolution_by_kernel_and_simulated_clients", resolution),
    ("t13_no_privilege_is_left", no_privilege_is_left),
    ("a_link_that_comes_later_is_announced_on", late_link),
    ("takeover_after_sigkill", takeover_after_sigkill),
    ("takeover_after_the_port_is_cut", takeover_after_cut),
    ("graceful_exit_loses_no_answer", graceful_exit),
];

/// How often the client asks.
const INTERVAL: Duration = Duration::from_millis(10);
/// In less time a link that comes is spoken on: MetalLB looks for links every ten seconds (D40).
pub(crate) const AT_ONCE: Duration = Duration::from_secs(8);
/// From the death of the owner to the other's announcement in a client's table: detection takes about 1.7 s
/// (the membership profile), at the worst 2.9 s; the rest is for a busy machine.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(4);

/// The address resolves to its owner; traffic flows; what is not assigned stays silent.
fn resolution(lan: &mut Lan) {
    let owner = lan.settle();
    let (mac, name) = (lan.nodes[owner].station.mac, lan.nodes[owner].name);

    let requests = steady_requests(lan, owner);
    let record = requests.stop();
    assert_eq!((record.lost(), record.nodes()), (0, vec![name]), "of {}", record.sent());

    assert_eq!(ask_from_simulated_client(lan), Some(name.to_owned()));
    assert_eq!(lan.client_neighbour(VIP), Some(mac));

    // .100 is the API server's, .102 in the pool but not assigned, .103 outside it.
    for last in [0, 100, 102, 103, 104, 255] {
        let address = Ipv4Addr::new(172, 16, 16, last);
        assert_eq!(lan.who_answers(address), [], "nobody has {address}");
        // The broadcast addresses are no neighbours.
        if last != 0 && last != 255 {
            assert_eq!(resolve_by_kernel(lan, address), None, "nobody has {address}");
        }
    }
    assert_eq!(lan.owners(), [mac], "and the speaker still answers");
}

/// Finding 12: nothing is left to whoever takes the process over, and it still works.
fn no_privilege_is_left(lan: &mut Lan) {
    for node in &lan.nodes {
        let status = node.speaker.status();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            line.unwrap_or_else(|| panic!("no {name} in\n{status}")).to_owned()
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {}", node.name);
        }
        assert_eq!(field("NoNewPrivs"), "1");
        let told: Value =
            serde_json::from_str(&node.speaker.wait_for(&["dropped"], PATIENCE)).expect("it says JSON");
        // EPERM, by its number: the socket that could be opened at start cannot be opened any more.
        assert_eq!(told["second_packet_socket"], 1, "{told}");
        if is_root_of_the_host() {
            assert_eq!(field("Uid"), "65534\t65534\t65534\t65534", "{told}");
            assert_eq!(field("Gid"), "65534\t65534\t65534\t65534", "{told}");
            assert_eq!(field("Groups").trim(), "", "{told}");
        } else {
            let text = told["dropped"].as_str().unwrap_or_default();
            assert!(text.contains("kept: cannot"), "a user namespace of one user cannot change it: {text}");
        }
    }
    assert_eq!(lan.owners().len(), 1, "the socket opened before works on");
}

/// A NIC that is plugged in after the start, and after the privileges went, is used (D40 without its 10 s).
fn late_link(lan: &mut Lan) {
    let owner = lan.settle();
    let bay = Patchbay::start(2).expect("a second switch");
    let test = bay.connect_nothing("test", WireSettings::default()).expect("it runs");
    let mac = EthernetAddress([0x02, 0, 0, 0, 1, 1]);
    let start = Instant::now();
    plug(&bay, &lan.nodes[owner].station.namespace, "late", "late0", mac).expect("a second TAP");
    let announced = bay.wait_for(AT_ONCE, move |_, bench| arp::announced(&bench.take_inbox(test), VIP));
    assert_eq!(announced, Some(mac), "announced unasked, {:?} after the link came", start.elapsed());
    assert_eq!(arp::who_has(&bay, test, VIP, PATIENCE), [mac], "and answers there");
    assert_eq!(lan.owners(), [lan.nodes[owner].station.mac], "and here as before");

    let other = 1 - owner;
    plug(
        &bay,
        &lan.nodes[other].station.namespace,
        "late other",
        "late0",
        EthernetAddress([0x02, 0, 0, 0, 1, 2]),
    )
    .expect("a third TAP");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(arp::who_has(&bay, test, VIP, PATIENCE), [mac], "who is not the owner stays silent there too");
}

/// The speaker dies, its node does not: the address moves, and no answer is lost meanwhile.
fn takeover_after_sigkill(lan: &mut Lan) {
    let owner = lan.settle();
    let other = 1 - owner;
    let (old, new) = (lan.nodes[owner].name, lan.nodes[other].name);
    let requests = steady_requests(lan, owner);
    assert_eq!(ask_from_simulated_client(lan), Some(old.to_owned()));

    lan.nodes[owner].speaker.signal(Signal::SIGKILL);
    let took = lan.wait_for_router(lan.nodes[other].station.mac, TAKEOVER);
    measured(&format!("the router's kernel has the new owner {took:?} after SIGKILL"));
    let record = stop_once_served_by(new, requests);
    assert_eq!(record.nodes(), [old, new], "moved after {took:?}");
    assert_eq!(
        record.lost(),
        0,
        "the old node's kernel forwards until the client has moved; {}",
        record.sent()
    );
    assert_eq!(lan.owners(), [lan.nodes[other].station.mac]);
    assert_eq!(
        lan.client_neighbour(VIP),
        Some(lan.nodes[other].station.mac),
        "the second client has heard it too"
    );
    assert_eq!(ask_from_simulated_client(lan), Some(new.to_owned()));
}

/// The owner's cable is cut: what the client sees is the outage. When it is mended one owner is left.
fn takeover_after_cut(lan: &mut Lan) {
    let owner = lan.settle();
    let other = 1 - owner;
    let (old, new) = (lan.nodes[owner].name, lan.nodes[other].name);
    let requests = steady_requests(lan, owner);

    let port = lan.nodes[owner].station.port;
    lan.bay.run(move |now, bench| bench.switch.set_port_up(now, port, false)).expect("the switch runs");
    lan.wait_for_router(lan.nodes[other].station.mac, TAKEOVER);
    let record = stop_once_served_by(new, requests);
    assert_eq!(record.nodes(), [old, new]);
    let silence = record.longest_silence();
    measured(&format!("the client heard nothing for {silence:?} after the cut"));
    assert!(silence < TAKEOVER, "the client heard nothing for {silence:?}");
    assert!(record.lost() > 0, "a cut cable cannot be free: the test cuts nothing");

    lan.bay.run(move |now, bench| bench.switch.set_port_up(now, port, true)).expect("the switch runs");
    let healed = lan.settle();
    lan.wait_for_router(lan.nodes[healed].station.mac, PATIENCE);
}

/// SIGTERM: the other has taken over before this one is silent.
fn graceful_exit(lan: &mut Lan) {
    let owner = lan.settle();
    let other = 1 - owner;
    let (old, new) = (lan.nodes[owner].name, lan.nodes[other].name);
    let requests = steady_requests(lan, owner);

    let start = Instant::now();
    lan.nodes[owner].speaker.signal(Signal::SIGTERM);
    let status = lan.nodes[owner].speaker.wait(PATIENCE);
    measured(&format!("the speaker has ended {:?} after SIGTERM", start.elapsed()));
    lan.wait_for_router(lan.nodes[other].station.mac, PATIENCE);
    let record = stop_once_served_by(new, requests);
    assert!(status.success(), "{status}");
    assert_eq!(record.nodes(), [old, new]);
    assert_eq!(record.lost(), 0, "of {}", record.sent());
    assert_eq!(lan.owners(), [lan.nodes[other].station.mac]);
}

/// A client in the router's namespace that has been served by `owner` for a while.
fn steady_requests(lan: &Lan, owner: usize) -> Probe {
    let requests = Probe::start(&lan.router.namespace, (VIP, PORT), INTERVAL).expect("a socket");
    lan.wait_for_router(lan.nodes[owner].station.mac, PATIENCE);
    assert!(requests.wait_for(lan.nodes[owner].name, PATIENCE), "the owner never answers");
    thread::sleep(Duration::from_millis(300));
    requests
}

/// What a client has seen until `node` served it, and for a little longer.
fn stop_once_served_by(node: &str, requests: Probe) -> Record {
    assert!(requests.wait_for(node, PATIENCE), "{node} never answers");
    thread::sleep(Duration::from_millis(300));
    requests.stop()
}

/// Says what was measured; a bound that is only kept tells nobody how close it was.
pub(crate) fn measured(what: &str) {
    let _ = writeln!(io::stderr(), "    {what}");
}

/// One question from the simulated client; the name of the node that answers.
fn ask_from_simulated_client(lan: &Lan) -> Option<String> {
    let client = lan.client;
    let socket = lan.bay.run(move |_, bench| bench.station(client).udp_bind(0)).expect("the switch runs");
    let to = (VIP, PORT).into();
    let sent = lan.bay.run(move |_, bench| bench.station(client).udp_send(socket, None, to, b"name"));
    sent.expect("the switch runs").expect("there is room for one datagram");
    let answer = lan.bay.wait_for(PATIENCE, move |_, bench| bench.station(client).udp_receive(socket));
    lan.bay.run(move |_, bench| bench.station(client).udp_close(socket)).expect("the switch runs");
    answer.map(|answer| String::from_utf8_lossy(&answer.payload[4..]).into_owned())
}

/// Lets the router's kernel look for `address`; the hardware address it finds.
fn resolve_by_kernel(lan: &Lan, address: Ipv4Addr) -> Option<EthernetAddress> {
    let sent = lan.router.namespace.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.send_to(b"?", (address, PORT))
    });
    sent.expect("the namespace can be entered").expect("the router has a route to it");
    thread::sleep(SILENCE);
    let line = lan.router_neighbour(address).expect("the kernel is looking for it");
    line.mac
}

/// Whether this is root itself, not the root of a user namespace that maps one user.
fn is_root_of_the_host() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let all = map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    geteuid().is_root() && all.is_some_and(|count| count > 65_534)
}
