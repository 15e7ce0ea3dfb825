//! The fuzz targets' functions over the stored corpus and seeded random input.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;

use netsim::net::frame;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smoltcp::wire::{EthernetAddress, Icmpv6Packet, Ipv6Packet, NdiscNeighborFlags, NdiscRepr};

/// Random inputs for each target in one run of the tests.
const RANDOM_INPUTS: u64 = 2_000;

#[test]
fn arp_responder_survives_corpus_and_random_frames() {
    run("arp_responder", tests::fuzzing::arp_responder, arp_like);
}

#[test]
fn ndp_responder_survives_corpus_and_random_frames() {
    run("ndp_responder", tests::fuzzing::ndp_responder, ndp_like);
}

#[test]
fn gossip_datagram_survives_corpus_and_random_datagrams() {
    run("gossip_datagram", tests::fuzzing::gossip_datagram, gossip_like);
}

#[test]
fn address_ranges_survives_corpus_and_random_text() {
    run("address_ranges", tests::fuzzing::address_ranges, range_like);
}

fn run(target: &str, check: fn(&[u8]), generate: fn(&mut ChaCha8Rng) -> Vec<u8>) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
        check(&fs::read(entry.expect("a folder can be listed").path()).expect("a corpus file can be read"));
        replayed += 1;
    }
    assert!(replayed >= 5, "{target}: only {replayed} files in its corpus");
    for seed in 0..RANDOM_INPUTS {
        let input = generate(&mut ChaCha8Rng::seed_from_u64(seed));
        if std::panic::catch_unwind(|| check(&input)).is_err() {
            panic!("{target} failed with seed {seed}, input {input:02x?}");
        }
    }
}

/// Frames that are almost ARP: a right one with a few bytes changed, cut or added.
fn arp_like(random: &mut ChaCha8Rng) -> Vec<u8> {
    const REQUEST: &[u8] = &[
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
        172, 16, 16, 1, 0, 0, 0, 0, 0, 0, 172, 16, 16, 101,
    ];
    let mut input = Vec::new();
    for _ in 0..random.random_range(1..6) {
        let mut frame = REQUEST.to_vec();
        frame.resize(random.random_range(42..70), 0);
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..frame.len());
            frame[at] = random.random();
        }
        frame.truncate(match random.random_bool(0.2) {
            true => random.random_range(0..=frame.len()),
            false => frame.len(),
        });
        push(&mut input, &frame);
    }
    input
}

/// Frames that are almost neighbour discovery, mostly with a right checksum: one byte in a hundred thousand would be by
/// chance.
fn ndp_like(random: &mut ChaCha8Rng) -> Vec<u8> {
    const IP: usize = 14;
    const ICMP: usize = 54;
    let address: Ipv6Addr = "fd00::101".parse().expect("an address");
    let other: Ipv6Addr = "fd00::9".parse().expect("an address");
    let mut input = Vec::new();
    for _ in 0..random.random_range(1..6) {
        let mac = EthernetAddress([2, 0, 0, 0, 0, 0x99]);
        let option = random.random_bool(0.8).then_some(mac.into());
        let from = [other, Ipv6Addr::UNSPECIFIED, address][random.random_range(0..3)];
        let to = [frame::solicited_node(address), address, frame::ALL_NODES][random.random_range(0..3)];
        let message = if random.random_bool(0.8) {
            NdiscRepr::NeighborSolicit { target_addr: address, lladdr: option }
        } else {
            NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: address,
                lladdr: option,
            }
        };
        let own = EthernetAddress([2, 0, 0, 0, 0, 11]);
        let destination = [frame::multicast_mac(to.into()), own][random.random_range(0..2)];
        let mut frame = frame::ndp(mac, destination, from, to, message);
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..frame.len());
            frame[at] = random.random();
        }
        if random.random_bool(0.2) {
            frame.truncate(random.random_range(0..=frame.len()));
        }
        if frame.len() > ICMP + 4 && random.random_bool(0.9) {
            let ip = Ipv6Packet::new_unchecked(&frame[IP..]);
            let (from, to) = (ip.src_addr(), ip.dst_addr());
            Icmpv6Packet::new_unchecked(&mut frame[ICMP..]).fill_checksum(&from, &to);
        }
        push(&mut input, &frame);
    }
    input
}

/// Datagrams without a seal: noise, or almost what a member tells of its node's interfaces.
fn gossip_like(random: &mut ChaCha8Rng) -> Vec<u8> {
    const REPORT: &[u8] = &[
        0, 0, 1, 4, b'w', b'k', b'0', b'2', 0, 0, 0, 0, 0, 0, 0,
        7, // no seal, mark, version, sender, boot
        1, 0, 16, 0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 0, 0, 0, 0, 1, // heard
        2, 0, 41, 0, 0, 0, 0, 0, 0, 0, 9, 3, 1, // reach: number, flags, one link
        4, b'e', b't', b'h', b'0', 1, 2, // its name, flags, two subnets
        4, 24, 172, 16, 16, 0, 6, 64, 0xfd, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut input = framed_noise(random);
    for _ in 0..random.random_range(1..6) {
        let mut datagram = REPORT.to_vec();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(1..datagram.len());
            datagram[at] = random.random();
        }
        if random.random_bool(0.2) {
            datagram.truncate(random.random_range(0..=datagram.len()));
        }
        push(&mut input, &datagram);
    }
    input
}

fn framed_noise(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..random.random_range(1..6) {
        let mut datagram = vec![0; random.random_range(0..200)];
        random.fill_bytes(&mut datagram);
        if let Some(version) = datagram.first_mut() {
            *version = random.random_range(0..4);
        }
        push(&mut input, &datagram);
    }
    input
}

fn range_like(random: &mut ChaCha8Rng) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "10.0.0.1",
        "10.0.0.255",
        "::ffff:10.0.0.1",
        "fd00::",
        "fd00::1",
        "::",
        "255.255.255.255",
        "-",
        "/",
        "0",
        "24",
        "32",
        "64",
        "128",
        "129",
        " ",
        "01",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "%eth0",
        "1.2.3",
        "é",
    ];
    let pieces = (0..random.random_range(1..6)).map(|_| PIECES[random.random_range(0..PIECES.len())]);
    pieces.collect::<String>().into_bytes()
}

fn push(input: &mut Vec<u8>, piece: &[u8]) {
    let length = u16::try_from(piece.len()).expect("pieces are short");
    input.extend(length.to_be_bytes());
    input.extend(piece);
}
