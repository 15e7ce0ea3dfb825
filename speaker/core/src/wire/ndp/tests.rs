//! Tests of the NDP responder (D60 to D66 as W39 wants them; RFC 4861, 4862,
//! 7527).

use super::*;
use crate::fixtures::{damage, noise, overwritten, tagged};
use rand::{RngExt, SeedableRng};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x22]);
const VIP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0x12, 0x3456);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3456);
const CLIENT: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
/// Where the ICMPv6 message begins in a frame, and its options.
const ICMP: usize = 54;
const OPTIONS: usize = 78;

/// What a host sends that looks for the address.
fn solicitation() -> Message {
    Message {
        destination: MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]),
        source: ASKER,
        from: CLIENT,
        to: GROUP,
        kind: Kind::Solicitation,
        target: VIP,
        link_layer: Some(ASKER),
    }
}

/// What a host sends that has the address in its table.
fn probe() -> Message {
    Message { destination: OWN, to: VIP, ..solicitation() }
}

/// What a host sends that is about to take the address.
fn duplicate_detection() -> Message {
    Message { from: Ipv6Addr::UNSPECIFIED, link_layer: None, ..solicitation() }
}

fn announced(address: Ipv6Addr) -> Lookup {
    if address == VIP { Lookup::Announced } else { Lookup::NotAnnounced }
}

fn answer(message: &Message) -> Result<Vec<u8>, DropReason> {
    judge(message, OWN, announced).map(|()| message.reply(OWN).to_frame())
}

/// What becomes of the bytes of a message, written and read.
fn verdict(bytes: &[u8]) -> Result<Message, DropReason> {
    answer(&parse(bytes)?).map(|bytes| parse(&bytes).expect("our own frame"))
}

/// A solicitation with these options instead of its own, and a right checksum.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut bytes = solicitation().to_frame();
    bytes.truncate(OPTIONS);
    bytes.extend_from_slice(options);
    let length = u16::try_from(bytes.len() - ICMP).expect("short");
    bytes[18..20].copy_from_slice(&length.to_be_bytes());
    repair(&mut bytes);
    bytes
}

/// Makes the checksum right again.
fn repair(bytes: &mut [u8]) {
    let ip = Ipv6Packet::new_unchecked(&bytes[ETHERNET_HEADER..]);
    let (from, to) = (ip.src_addr(), ip.dst_addr());
    Icmpv6Packet::new_unchecked(&mut bytes[ICMP..]).fill_checksum(&from, &to);
}

#[test]
fn w39_answer_byte_by_byte() {
    let bytes = answer(&solicitation()).expect("a good solicitation");
    let header = [&ASKER.0[..], &OWN.0, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]].concat();
    let addresses = [VIP.octets(), CLIENT.octets()].concat();
    assert_eq!(bytes[..22], header);
    assert_eq!(bytes[22..54], addresses);
    assert_eq!(bytes[54..56], [136, 0]);
    assert_eq!(bytes[58..62], [0x60, 0, 0, 0], "S and O, not R");
    assert_eq!(bytes[62..78], VIP.octets());
    assert_eq!(bytes[78..], [&[2, 1][..], &OWN.0].concat());
    assert!(Icmpv6Packet::new_unchecked(&bytes[54..]).verify_checksum(&VIP, &CLIENT));
}

/// D62, D66: who is answered, and how.
#[test]
fn w39_forms_of_solicitations() {
    let answer = |destination, to| Message {
        destination,
        source: OWN,
        from: VIP,
        to,
        kind: Kind::Advertisement { solicited: true, overrides: true },
        target: VIP,
        link_layer: Some(OWN),
    };
    let to_all = Message {
        kind: Kind::Advertisement { solicited: false, overrides: true },
        ..answer(MacAddr([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES)
    };
    let global = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    let loopback = Ipv6Addr::LOCALHOST;
    let foreign = DropReason::ForeignDestination;
    let table = [
        ("to the group", solicitation(), Ok(answer(ASKER, CLIENT))),
        ("from a global address", Message { from: global, ..solicitation() }, Ok(answer(ASKER, global))),
        ("probe of reachability", probe(), Ok(answer(ASKER, CLIENT))),
        ("probe without option", Message { link_layer: None, ..probe() }, Ok(answer(ASKER, CLIENT))),
        ("without option", Message { link_layer: None, ..solicitation() }, Ok(answer(ASKER, CLIENT))),
        ("made unicast by Wi-Fi", Message { destination: OWN, ..solicitation() }, Ok(answer(ASKER, CLIENT))),
        ("repeated by Wi-Fi", Message { source: OTHER, ..solicitation() }, Ok(answer(ASKER, CLIENT))),
        ("duplicate detection", duplicate_detection(), Ok(to_all)),
        ("for its own source", Message { from: VIP, ..solicitation() }, Ok(answer(ASKER, VIP))),
        ("not announced", Message { target: CLIENT, to: CLIENT, ..probe() }, Err(DropReason::NotAnnounced)),
        ("another's frame", Message { destination: OTHER, ..probe() }, Err(foreign)),
        ("broadcast", Message { destination: MacAddr::BROADCAST, ..solicitation() }, Err(foreign)),
        ("another group", Message { to: ALL_NODES, ..solicitation() }, Err(foreign)),
        ("to another address", Message { to: CLIENT, ..probe() }, Err(foreign)),
        (
            "option of a group",
            Message { link_layer: Some(MacAddr::BROADCAST), ..solicitation() },
            Err(DropReason::SenderNotUnicast),
        ),
        (
            "from a group's MAC",
            Message { source: MacAddr([0x33; 6]), link_layer: None, ..solicitation() },
            Err(DropReason::SenderNotUnicast),
        ),
        ("from a group", Message { from: ALL_NODES, ..solicitation() }, Err(DropReason::SenderNotUnicast)),
        ("from loopback", Message { from: loopback, ..solicitation() }, Err(DropReason::SenderNotUnicast)),
        ("advertisement", to_all_from_another(), Err(DropReason::NotARequest)),
    ];
    for (what, message, expected) in table {
        assert_eq!(verdict(&message.to_frame()), expected, "{what}");
    }
    let elsewhere = judge(&solicitation(), OWN, |_| Lookup::OtherInterface);
    assert_eq!(elsewhere, Err(DropReason::OtherInterface));
}

fn to_all_from_another() -> Message {
    Message::unsolicited(VIP, OTHER)
}

/// RFC 4861 7.1.1 and 7.1.2, RFC 4862 5.4.3.
#[test]
fn t1_messages_that_are_not_valid() {
    let to_all = to_all_from_another();
    let solicited = Kind::Advertisement { solicited: true, overrides: true };
    let group = Message { target: ALL_NODES, to: solicited_node(ALL_NODES), ..solicitation() };
    for (what, message) in [
        ("solicited by all", Message { kind: solicited, ..to_all }),
        ("advertises a group", Message { target: ALL_NODES, ..to_all }),
        ("asks for a group", group),
        ("nobody with an option", Message { link_layer: Some(ASKER), ..duplicate_detection() }),
        ("nobody asks the address itself", Message { to: VIP, ..duplicate_detection() }),
        ("nobody asks all", Message { to: ALL_NODES, ..duplicate_detection() }),
    ] {
        assert_eq!(parse(&message.to_frame()), Err(DropReason::Malformed), "{what}");
    }
}

#[test]
fn t1_malformed_frames_have_their_reason() {
    let good = solicitation().to_frame();
    let with = |at: usize, bytes: &[u8]| overwritten(&good, at, bytes);
    let repaired = |at: usize, bytes: &[u8]| {
        let mut frame = with(at, bytes);
        repair(&mut frame);
        frame
    };
    for (what, frame, expected) in [
        ("nothing", vec![], DropReason::TooShort),
        ("a header", good[..14].to_vec(), DropReason::TooShort),
        ("half an IPv6 header", good[..40].to_vec(), DropReason::TooShort),
        ("one byte missing", good[..85].to_vec(), DropReason::TooShort),
        ("jumbo", [&good[..], &[0; 9_000]].concat(), DropReason::TooLong),
        ("802.1Q", tagged(&good), DropReason::Tagged),
        ("IPv4 by EtherType", with(12, &[0x08, 0x00]), DropReason::NotArp),
        ("version 4", with(14, &[0x45]), DropReason::Malformed),
        ("longer than the frame", with(18, &[0, 33]), DropReason::TooShort),
        ("no ICMPv6 in it", with(18, &[0, 0]), DropReason::NotNdp),
        ("no whole message", with(18, &[0, 23]), DropReason::Malformed),
        ("UDP", with(20, &[17]), DropReason::NotNdp),
        ("a fragment (RFC 6980)", with(20, &[44]), DropReason::NotNdp),
        ("hop-by-hop options", with(20, &[0]), DropReason::NotNdp),
        ("hop limit 254", with(21, &[254]), DropReason::HopLimit),
        ("hop limit 0", with(21, &[0]), DropReason::HopLimit),
        ("echo request", repaired(ICMP, &[128]), DropReason::NotNdp),
        ("router solicitation", repaired(ICMP, &[133]), DropReason::NotNdp),
        ("unknown ICMPv6", repaired(ICMP, &[200]), DropReason::NotNdp),
        ("code 1", repaired(ICMP + 1, &[1]), DropReason::Malformed),
        ("wrong checksum", with(ICMP + 2, &[0, 0]), DropReason::BadChecksum),
        ("other target", with(62, &[0xfc]), DropReason::BadChecksum),
    ] {
        assert_eq!(parse(&frame), Err(expected), "{what}");
    }
    assert_eq!(parse(&[&good[..], &[0; 4]].concat()), Ok(solicitation()), "padding is no fault");
    assert_eq!(parse(&repaired(ICMP + 4, &[0xff; 4])), Ok(solicitation()), "reserved bits are ignored");
}

/// RFC 4861 4.6, RFC 7527.
#[test]
fn t1_options() {
    let source = [&[1, 1][..], &ASKER.0].concat();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let other = [&[1, 1][..], &OTHER.0].concat();
    let target = [&[2, 1][..], &OTHER.0].concat();
    let unknown = [&[253, 3][..], &[0xff; 22]].concat();
    let bad = Err(DropReason::Malformed);
    let table = [
        ("none", vec![], Ok(None)),
        ("source", source.clone(), Ok(Some(ASKER))),
        ("nonce before it", [&nonce[..], &source].concat(), Ok(Some(ASKER))),
        ("nonce behind it", [&source[..], &nonce].concat(), Ok(Some(ASKER))),
        ("unknown before it", [&unknown[..], &source].concat(), Ok(Some(ASKER))),
        ("the other option", target, Ok(None)),
        ("two: the first", [&source[..], &other].concat(), Ok(Some(ASKER))),
        ("length zero", [&[1, 0][..], &ASKER.0].concat(), bad),
        ("length zero behind it", [&source[..], &[14, 0, 0, 0, 0, 0, 0, 0]].concat(), bad),
        ("beyond the end", [&[1, 2][..], &ASKER.0].concat(), bad),
        ("unknown beyond the end", [&source[..], &[253, 255, 0, 0, 0, 0, 0, 0]].concat(), bad),
        ("one byte", vec![1], bad),
        ("address of 14 bytes", [&[1, 2][..], &[2; 14]].concat(), bad),
        ("three bytes", vec![1, 1, 2], bad),
    ];
    for (what, options, expected) in table {
        let read = parse(&with_options(&options)).map(|message| message.link_layer);
        assert_eq!(read, expected, "{what}");
    }
    let mut probing = duplicate_detection().to_frame();
    probing.extend_from_slice(&nonce);
    probing[18..20].copy_from_slice(&32_u16.to_be_bytes());
    repair(&mut probing);
    assert!(verdict(&probing).is_ok(), "a nonce is no reason to let an address be taken twice");
}

#[test]
fn x17_claims() {
    let to_all = to_all_from_another();
    for (what, message, expected) in [
        ("advertisement", to_all, Some((VIP, OTHER))),
        ("without option", Message { link_layer: None, ..to_all }, Some((VIP, OTHER))),
        ("of a group's MAC", Message { link_layer: Some(MacAddr::BROADCAST), ..to_all }, None),
        ("from another address", Message { from: CLIENT, ..to_all }, Some((VIP, OTHER))),
        ("solicitation", solicitation(), Some((CLIENT, ASKER))),
        ("directed solicitation of another", Message::directed(VIP, OTHER, CLIENT, OWN), Some((VIP, OTHER))),
        ("teaches nothing", Message { link_layer: None, ..solicitation() }, None),
        ("duplicate detection", duplicate_detection(), None),
    ] {
        assert_eq!(message.claim(), expected, "{what}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let directed = Message::directed(VIP, OWN, CLIENT, ASKER);
    for message in [solicitation(), probe(), duplicate_detection(), to_all_from_another(), directed] {
        assert_eq!(parse(&message.to_frame()), Ok(message));
        assert!(message.to_frame().len() >= 60);
    }
}

/// Random bytes, and good frames with random damage under a right checksum. An
/// answer is never longer than 86 bytes, goes to one station unless nobody asked,
/// and only ever names what is announced.
#[test]
fn t1_s13_s14_random_frames() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(12);
    let mut replies = 0;
    for round in 0..40_000 {
        let base = [solicitation(), probe(), duplicate_detection(), to_all_from_another()][round % 4];
        let mut frame = base.to_frame();
        if round % 8 == 0 {
            frame = noise(&mut random);
        } else {
            damage(&mut random, &mut frame);
            frame.truncate(random.random_range(0..=2 * frame.len()).max(60));
            repair(&mut frame);
        }
        let Ok(message) = parse(&frame) else { continue };
        if let Ok(bytes) = answer(&message) {
            replies += 1;
            let reply = parse(&bytes).expect("our own frame");
            assert_eq!(bytes.len(), 86);
            assert_eq!(reply.destination.is_unicast(), !message.is_duplicate_detection());
            assert_eq!((reply.from, reply.target), (VIP, VIP));
            assert_eq!((reply.source, reply.link_layer), (OWN, Some(OWN)));
        }
    }
    assert!(replies > 1_000, "the test must reach the reply: {replies}");
}
