//! The speaker's decisions in a large cluster: time for an election, for an ARP request, and memory for each Service.
//!
//! Run with `cargo bench -p benches --bench speaker_core`. The figures in docs/performance.md come from here.

use std::hint::black_box;
use std::net::Ipv4Addr;

use benches::cluster::{self, SLASH_16, node_name, nodes, resources, service_with_address, two_views};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use ferrolb_api::Time;
use speaker_core::{Effect, Input, Interface, InterfaceId, MacAddr, Settings, Speaker};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const NIC: InterfaceId = InterfaceId(2);
const OWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);
const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);
/// All that is told is told at once; announcements are due then, too.
const START: Time = Time::ZERO;

fn main() {
    divan::main();
}

/// One of `node_count` nodes leaves and comes back: two elections over all Services.
#[divan::bench(args = [(100, 100), (1_000, 100), (10_000, 100)], sample_count = 10)]
fn node_leaves_and_returns(bencher: Bencher<'_, '_>, (services, node_count): (usize, usize)) {
    let mut speaker = speaker(services, node_count);
    let all = nodes(node_count);
    let fewer = all[..node_count - 1].to_vec();
    bencher
        .counter(ItemsCount::new(2 * services))
        .with_inputs(|| (fewer.clone(), all.clone()))
        .bench_local_values(|(fewer, all)| {
            speaker.handle(START, Input::Nodes(fewer));
            drain(&mut speaker);
            speaker.handle(START, Input::Nodes(all));
            drain(&mut speaker)
        });
}

/// One ARP request for an address that this node announces, beside others.
#[divan::bench(args = [1, 100, 10_000])]
fn arp_request_answered(bencher: Bencher<'_, '_>, announced: usize) {
    let mut speaker = speaker(announced, 1);
    let frame = arp_request(cluster::address(announced / 2));
    bencher.bench_local(|| {
        speaker.handle(START, Input::Frame { interface: NIC, bytes: &frame });
        assert_eq!(drain(&mut speaker), 1, "one frame goes out: the reply");
    });
}

/// One ARP request for an address that is nobody's business here: most of what a speaker hears.
#[divan::bench(args = [1, 100, 10_000])]
fn arp_request_of_others(bencher: Bencher<'_, '_>, announced: usize) {
    let mut speaker = speaker(announced, 1);
    let frame = arp_request(Ipv4Addr::new(10, 99, 0, 1));
    bencher.bench_local(|| {
        speaker.handle(START, Input::Frame { interface: NIC, bytes: &frame });
        assert_eq!(drain(&mut speaker), 0, "nothing is said");
    });
}

/// One Service changes, beside others.
#[divan::bench(args = [100, 1_000, 10_000])]
fn one_service_changes(bencher: Bencher<'_, '_>, others: usize) {
    let mut speaker = speaker(others, 3);
    let views = two_views(50);
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        speaker.handle(START, Input::Service(Box::new(views[turn % 2].clone())));
        drain(&mut speaker)
    });
}

/// What a speaker keeps of Services and endpoints that it does not announce itself, among three nodes: the column "max
/// alloc" divided by their number. One third of the Services is its own.
#[divan::bench(args = [1_000, 10_000], sample_count = 3)]
fn memory(count: usize) -> Speaker {
    speaker(count, 3)
}

/// A speaker on the first of `node_count` nodes, without membership, that has
/// announced what it owns of `services` Services.
fn speaker(services: usize, node_count: usize) -> Speaker {
    let mut speaker = Speaker::new(Settings {
        node: node_name(0),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: None,
        gossip_secret: None,
        boot_id: 1,
        seed: [7; 32],
    });
    speaker.handle(START, Input::Interfaces(vec![nic()]));
    speaker.handle(START, Input::Resources(resources(SLASH_16)));
    speaker.handle(START, Input::Nodes(nodes(node_count)));
    speaker.handle(START, Input::EndpointSlices(Vec::new()));
    speaker.handle(START, Input::Services(Vec::new()));
    for number in 0..services {
        speaker.handle(START, Input::EndpointSlice(cluster::slice(number, node_count)));
        speaker.handle(START, Input::Service(Box::new(service_with_address(number))));
        drain(&mut speaker);
    }
    speaker
}

/// Takes all effects; returns how many of them were frames.
fn drain(speaker: &mut Speaker) -> usize {
    let mut frames = 0;
    while let Some(effect) = speaker.poll_effect() {
        frames += usize::from(matches!(effect, Effect::SendFrame { .. }));
        black_box(effect);
    }
    frames
}

fn nic() -> Interface {
    Interface {
        id: NIC,
        name: "eth0".to_owned(),
        mac: Some(OWN_MAC),
        addresses: vec![([10, 100, 255, 254].into(), 16)],
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    }
}

/// A broadcast ARP request (RFC 826), padded to 60 bytes.
fn arp_request(target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(ASKER.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(ASKER.0);
    frame.extend([10, 100, 255, 1]);
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame.resize(60, 0);
    frame
}
