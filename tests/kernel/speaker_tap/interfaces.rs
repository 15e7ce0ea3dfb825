//! Interfaces as a node really has them: ports of bridges, cables that are out, two on one segment.

use std::io;
use std::time::Instant;

use netsim::net::patchbay::Patchbay;
use netsim::net::port::PortId;
use serde_json::json;
use smoltcp::wire::EthernetAddress;
use tests::kernel;
use tests::stations::plug;

use super::arp;
use super::cases::{AT_ONCE, Case};
use super::lan::{Lan, MEMBERS, PATIENCE, SILENCE};
use super::objects::{self, VIP};

/// All of them.
pub(crate) const ALL: &[Case] = &[
    ("d45_w18_an_interface_that_cannot_announce_says_why", cannot_announce),
    ("w51_of_two_interfaces_on_one_segment_one_answers", one_segment),
];

/// How an interface is put out of action, what is said of it, and how that is put right.
type Trouble = (fn() -> io::Result<()>, &'static str, fn() -> io::Result<()>);

const TROUBLES: [Trouble; 3] = [
    (
        || kernel::set_bridge("veth0", Some("br0")),
        "veth0 is a port of br0: name br0 in the L2Advertisement",
        || kernel::set_bridge("veth0", None),
    ),
    (|| kernel::set_down("veth0"), "veth0 is down: ip link set veth0 up", || kernel::set_up("veth0")),
    (|| kernel::set_down("veth1"), "veth0 has no carrier", || kernel::set_up("veth1")),
];

/// The one interface that is named becomes unable to announce, in each way, and able again.
fn cannot_announce(lan: &mut Lan) {
    let owner = lan.settle();
    let mut resources = objects::cluster(&MEMBERS).swap_remove(0);
    resources["items"][1]["spec"] = json!({"interfaces": ["veth0"]});
    for node in &mut lan.nodes {
        node.speaker.tell(std::slice::from_ref(&resources));
    }
    let node = &lan.nodes[owner];
    node.speaker.wait_for(&["AnnounceFailed", "the node has no interface veth0"], PATIENCE);
    let since = node.speaker.lines().len();
    let made = node.station.namespace.run(|| {
        kernel::add_bridge("br0")?;
        kernel::add_veth("veth0", "veth1")
    });
    made.expect("it can be entered").expect("the kernel has bridges and veth");
    node.speaker.wait_for_since(since, &["NodeAssigned"], PATIENCE);
    for (break_it, text, mend_it) in TROUBLES {
        let since = node.speaker.lines().len();
        node.station.namespace.run(break_it).expect("it can be entered").expect("the kernel obeys");
        node.speaker.wait_for_since(since, &["AnnounceFailed", text], PATIENCE);
        node.speaker.wait_for_since(since, &["Withdrawn"], PATIENCE);
        let since = node.speaker.lines().len();
        node.station.namespace.run(mend_it).expect("it can be entered").expect("the kernel obeys");
        node.speaker.wait_for_since(since, &["NodeAssigned"], PATIENCE);
    }
}

/// Of two NICs on one switch one answers; while it is down the other does.
fn one_segment(lan: &mut Lan) {
    let owner = lan.settle();
    let node = &lan.nodes[owner];
    let bay = Patchbay::start(2).expect("a second switch");
    let test = bay.connect_nothing("test", netsim::net::wire::WireSettings::default()).expect("it runs");
    let macs = [1, 2].map(|last| EthernetAddress([0x02, 0, 0, 0, 1, last]));
    for (name, mac) in ["one0", "two0"].into_iter().zip(macs) {
        plug(&bay, &node.station.namespace, name, name, mac).expect("a TAP");
    }
    let [first, second] = macs;
    only_answer(&bay, test, first);
    node.station
        .namespace
        .run(|| kernel::set_down("one0"))
        .expect("it can be entered")
        .expect("it goes down");
    only_answer(&bay, test, second);
    node.station.namespace.run(|| kernel::set_up("one0")).expect("it can be entered").expect("it comes up");
    only_answer(&bay, test, first);
    assert_eq!(lan.owners(), [node.station.mac], "and on the other segment as before");
}

/// Waits until `mac` alone answers, three times in a row.
fn only_answer(bay: &Patchbay, test: PortId, mac: EthernetAddress) {
    let (begun, mut answers) = (Instant::now(), Vec::new());
    while !answers.ends_with(&[vec![mac], vec![mac], vec![mac]]) {
        assert!(begun.elapsed() < AT_ONCE, "{mac} alone should answer; answers were {answers:?}");
        answers.push(arp::who_has(bay, test, VIP, SILENCE));
    }
}
