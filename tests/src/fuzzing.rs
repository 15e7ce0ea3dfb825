//! What the fuzz targets call, with the rules that must hold whatever comes in.
//! `cargo test` runs the same functions over `fuzz/corpus` and seeded random bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ferrolb_api::address::{AddressRange, number};
use ferrolb_api::{NodeName, Time};
use speaker_core::{Effect, Input, MacAddr, Settings, Speaker};

use crate::inputs::{NIC, cluster, nic};

/// The addresses that the speaker under test owns.
const ASSIGNED: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 101);
const ASSIGNED6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x101);
const OWN: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 11);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 11]);
/// Offsets in an Ethernet frame that carries ARP (RFC 826).
const SENDER_IP: std::ops::Range<usize> = 28..32;
/// Offsets in an Ethernet frame that carries neighbour discovery (RFC 8200, RFC 4861).
const SOURCE_IPV6: std::ops::Range<usize> = 22..38;
const TARGET_IPV6: std::ops::Range<usize> = 62..78;
const NDP_TYPE: usize = 54;
/// An advertisement with its one option.
const NDP_FRAME: usize = 86;
/// The shortest Ethernet frame, without checksum.
const MIN_FRAME: usize = 60;
/// No ARP message is longer than this, padding included.
const MAX_FRAME: usize = 1514;

/// `data` is a sequence of frames, each behind two bytes of length. Whatever
/// they say, each is answered at most once, only for the assigned address, only
/// with this node's MAC, and never with more bytes than an ARP frame has (S4, S5, S13).
///
/// # Panics
/// If a rule is broken: that is what a fuzzer looks for.
pub fn arp_responder(data: &[u8]) {
    answer(data, |bytes| {
        if bytes[12..14] == [8, 6] {
            assert_eq!(bytes[SENDER_IP], ASSIGNED.octets(), "S4: speaks for an address nobody assigned");
        }
    });
}

/// The same for frames of neighbour discovery: spoken for is only the assigned
/// address, as IPv6 source, and in an advertisement as the target; hop limit 255.
///
/// # Panics
/// If a rule is broken.
pub fn ndp_responder(data: &[u8]) {
    answer(data, |bytes| {
        if bytes[12..14] == [0x86, 0xdd] {
            assert_eq!(bytes.len(), NDP_FRAME, "S13: larger than what asks for it");
            assert_eq!(bytes[SOURCE_IPV6], ASSIGNED6.octets(), "S4: speaks as an address nobody assigned");
            assert_eq!(bytes[21], 255, "no router may have passed it on");
            assert_eq!(bytes[80..86], MAC.0, "S5: link-layer option");
            let is_advertisement = bytes[NDP_TYPE] == 136;
            assert!(!is_advertisement || bytes[TARGET_IPV6] == ASSIGNED6.octets(), "S4: advertises another");
        }
    });
}

/// Gives a speaker each frame of `data`, and each frame it sends to `check`. What goes to one station is an answer, and
/// there is one at most.
fn answer(data: &[u8], check: impl Fn(&[u8])) {
    let mut speaker = owner();
    let mut now = Time::from_micros(60_000_000);
    for frame in frames(data) {
        now += std::time::Duration::from_millis(1);
        speaker.handle(now, Input::Frame { interface: NIC, bytes: frame });
        let mut sent = 0;
        while let Some(effect) = speaker.poll_effect() {
            let Effect::SendFrame { interface, bytes } = effect else { continue };
            assert_eq!(interface, NIC, "answered on another interface");
            assert!((MIN_FRAME..=MAX_FRAME).contains(&bytes.len()), "a frame of {} bytes", bytes.len());
            assert_eq!(bytes[6..12], MAC.0, "S5: Ethernet source");
            check(&bytes);
            sent += 1;
        }
        assert!(sent <= 1, "S13: {sent} answers to one frame");
    }
}

/// `data` is a sequence of datagrams, as in [`arp_responder`], sent by a
/// stranger. A speaker with a secret must not change its members, and neither it
/// nor one without a secret may panic or send more than a bounded answer (S13, S14).
///
/// # Panics
/// If a rule is broken.
pub fn gossip_datagram(data: &[u8]) {
    for secret in [Some(b"a secret of the cluster".to_vec()), None] {
        let sealed = secret.is_some();
        let mut speaker = speaker(secret);
        let mut now = Time::from_micros(1_000_000);
        drain(&mut speaker);
        for datagram in frames(data) {
            now += std::time::Duration::from_millis(1);
            let from = SocketAddr::from(([172, 16, 16, 66], 7946));
            speaker.handle(now, Input::Datagram { from, bytes: datagram });
            let sent = drain(&mut speaker);
            assert!(sent <= 64, "S13: one datagram caused {sent}");
            assert!(!sealed || sent == 0, "S14: answered a stranger");
        }
        let strangers: Vec<&NodeName> =
            speaker.members().filter(|member| sealed && member.as_str() != "wk01").collect();
        assert!(strangers.is_empty(), "S14: a stranger became a member: {strangers:?}");
    }
}

/// `data` as the text of an address range. What parses is a proper interval
/// that reads back as itself.
///
/// # Panics
/// If a rule is broken.
pub fn address_ranges(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(range) = text.parse::<AddressRange>() else { return };
    assert!(number(range.first()) <= number(range.last()), "{text:?}: reversed");
    assert!(range.contains(range.first()) && range.contains(range.last()), "{text:?}: lacks its ends");
    assert!(range.size() >= 1, "{text:?}: empty");
    assert!(range.overlaps(&range), "{text:?}: does not overlap itself");
    assert_eq!(range.to_string().parse(), Ok(range), "{text:?}: reads back as another range");
}

/// The pieces of `data`, each behind two bytes of big-endian length; the last
/// one may be cut short.
fn frames(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_at_checked(2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (frame, after) = after.split_at(length.min(after.len()));
        rest = after;
        Some(frame)
    })
}

/// A speaker alone on its node, which therefore owns both addresses.
fn owner() -> Speaker {
    let mut speaker = speaker(None);
    let now = Time::from_micros(1_000_000);
    let links = nic(MAC, &[(OWN.into(), 24)]);
    let kubernetes = cluster(&[("wk01", IpAddr::V4(OWN))], &[ASSIGNED.into(), ASSIGNED6.into()]);
    for input in std::iter::once(links).chain(kubernetes) {
        speaker.handle(now, input);
        drain(&mut speaker);
    }
    // All waves of the announcement schedule are over before the first frame.
    while let Some(at) = speaker.poll_timeout().filter(|at| *at < Time::from_micros(59_000_000)) {
        speaker.handle(at, Input::Timeout);
        drain(&mut speaker);
    }
    assert_eq!(
        speaker.announced().count(),
        2,
        "the speaker under test owns nothing: the rules would test nothing"
    );
    speaker
}

fn speaker(gossip_secret: Option<Vec<u8>>) -> Speaker {
    let settings = Settings {
        node: NodeName::from("wk01"),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: Some(SocketAddr::from((OWN, 7946))),
        gossip_secret,
        boot_id: 1_000,
        seed: [7; 32],
    };
    Speaker::new(settings)
}

fn drain(speaker: &mut Speaker) -> usize {
    std::iter::from_fn(|| speaker.poll_effect())
        .filter(|effect| matches!(effect, Effect::SendDatagram { .. }))
        .count()
}
