//! Tests of the ARP responder (D53 to D58).

use super::*;
use crate::fixtures::{damage, noise, overwritten, tagged};
use rand::{RngExt, SeedableRng};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 101);
const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 9);

fn request() -> Packet {
    Packet {
        destination: MacAddr::BROADCAST,
        source: ASKER,
        operation: Operation::Request,
        sender_mac: ASKER,
        sender_ip: CLIENT,
        target_mac: MacAddr([0; 6]),
        target_ip: VIP,
    }
}

fn announced(address: Ipv4Addr) -> Lookup {
    if address == VIP { Lookup::Announced } else { Lookup::NotAnnounced }
}

fn answer(packet: &Packet) -> Result<Vec<u8>, DropReason> {
    judge(packet, OWN, announced).map(|()| packet.reply(OWN).to_frame())
}

/// What a request becomes, read from the bytes that go out.
fn reply_to(packet: &Packet) -> Packet {
    match answer(packet) {
        Ok(bytes) => parse(&bytes).expect("our own frame"),
        Err(reason) => panic!("{packet:?} was dropped: {reason:?}"),
    }
}

#[test]
fn d53_d54_d58_answer_byte_by_byte() {
    let bytes = answer(&request()).expect("a good request");
    let expected = [
        &ASKER.0[..],
        &OWN.0,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2],
        &OWN.0,
        &VIP.octets(),
        &ASKER.0,
        &CLIENT.octets(),
        &[0; 18],
    ]
    .concat();
    assert_eq!(bytes, expected);
    assert_eq!(bytes.len(), 60);
}

#[test]
fn d56_h122_filter() {
    let foreign = MacAddr([2, 0, 0, 0, 0, 0x22]);
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let other = Ipv4Addr::new(172, 16, 16, 100);
    let table = [
        ("broadcast", request(), None),
        ("unicast to us", Packet { destination: OWN, ..request() }, None),
        ("a reply", Packet { operation: Operation::Reply, ..request() }, Some(DropReason::NotARequest)),
        (
            "unicast to another",
            Packet { destination: foreign, ..request() },
            Some(DropReason::ForeignDestination),
        ),
        ("multicast", Packet { destination: group, ..request() }, Some(DropReason::ForeignDestination)),
        ("not announced", Packet { target_ip: other, ..request() }, Some(DropReason::NotAnnounced)),
        ("group sender", Packet { sender_mac: group, ..request() }, Some(DropReason::SenderNotUnicast)),
        (
            "broadcast sender",
            Packet { sender_mac: MacAddr::BROADCAST, ..request() },
            Some(DropReason::SenderNotUnicast),
        ),
        (
            "no sender",
            Packet { sender_mac: MacAddr([0; 6]), ..request() },
            Some(DropReason::SenderNotUnicast),
        ),
        ("repeated by Wi-Fi", Packet { source: foreign, ..request() }, None),
    ];
    for (what, packet, expected) in table {
        assert_eq!(answer(&packet).err(), expected, "{what}");
    }
    let elsewhere = judge(&request(), OWN, |_| Lookup::OtherInterface);
    assert_eq!(elsewhere, Err(DropReason::OtherInterface));
}

#[test]
fn d57_probes_and_foreign_announcements_are_answered() {
    let probe = Packet { sender_ip: Ipv4Addr::UNSPECIFIED, ..request() };
    assert_eq!(reply_to(&probe).target_ip, Ipv4Addr::UNSPECIFIED);
    assert!(!probe.is_claim());
    let gratuitous = Packet { sender_ip: VIP, ..request() };
    let reply = reply_to(&gratuitous);
    assert_eq!((reply.sender_ip, reply.sender_mac, reply.target_mac), (VIP, OWN, ASKER));
    assert!(gratuitous.is_claim());
}

#[test]
fn t1_malformed_frames_have_their_reason() {
    let good = request().to_frame();
    let with = |at: usize, bytes: &[u8]| overwritten(&good, at, bytes);
    let table: [(&str, Vec<u8>, DropReason); 13] = [
        ("nothing", vec![], DropReason::TooShort),
        ("half a header", good[..13].to_vec(), DropReason::TooShort),
        ("a header", good[..14].to_vec(), DropReason::TooShort),
        ("one byte missing", good[..41].to_vec(), DropReason::TooShort),
        ("jumbo", [&good[..], &[0; 9_000]].concat(), DropReason::TooLong),
        ("802.1Q", tagged(&good), DropReason::Tagged),
        ("IPv4", with(12, &[0x08, 0x00]), DropReason::NotArp),
        ("hardware is no Ethernet", with(14, &[0, 6]), DropReason::Malformed),
        ("protocol is no IPv4", with(16, &[0x86, 0xdd]), DropReason::Malformed),
        ("hardware of 8 bytes", with(18, &[8]), DropReason::Malformed),
        ("protocol of 0 bytes", with(19, &[0]), DropReason::Malformed),
        ("addresses beyond the end", with(18, &[255, 255]), DropReason::TooShort),
        ("RARP", with(20, &[0, 3]), DropReason::UnknownOperation),
    ];
    for (what, frame, expected) in table {
        assert_eq!(parse(&frame), Err(expected), "{what}");
    }
    assert_eq!(parse(&good[..42]), Ok(request()), "padding is not needed");
    assert_eq!(parse(&[&good[..], &[0; 4]].concat()), Ok(request()), "nor is more of it a fault");
}

#[test]
fn what_is_written_is_read_back() {
    let reply = Packet { operation: Operation::Reply, ..request() };
    for packet in [request(), reply] {
        assert_eq!(parse(&packet.to_frame()), Ok(packet));
    }
}

/// Random bytes, and good frames with random damage. A reply never goes to a
/// group, never is longer than 60 bytes, and only ever names what is announced.
#[test]
fn t1_s13_s14_random_frames() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut replies = 0;
    for round in 0..40_000 {
        let mut frame = request().to_frame();
        if round % 8 == 0 {
            frame = noise(&mut random);
        } else {
            damage(&mut random, &mut frame);
            frame.truncate(random.random_range(0..=frame.len()).max(30));
        }
        let Ok(packet) = parse(&frame) else { continue };
        if let Ok(bytes) = answer(&packet) {
            replies += 1;
            let reply = parse(&bytes).expect("our own frame");
            assert_eq!(bytes.len(), 60);
            assert!(reply.destination.is_unicast());
            assert_eq!((reply.sender_ip, reply.sender_mac, reply.source), (VIP, OWN, OWN));
        }
    }
    assert!(replies > 1_000, "the test must reach the reply: {replies}");
}
