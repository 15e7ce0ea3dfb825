//! What the fuzz targets call, with the rules that must hold whatever comes in.
//! `cargo test` runs the same functions over `fuzz/corpus` and seeded random bytes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use metallb_api::address::{AddressRange, number};
use metallb_api::config::Resources;
use metallb_api::crd::{IPAddressPool, IPAddressPoolSpec, L2Advertisement, L2AdvertisementSpec};
use metallb_api::endpoints::Endpoint;
use metallb_api::service::{FamilyPolicy, Ingress, TrafficPolicy};
use metallb_api::{EndpointSlice, Node, NodeName, Service, ServiceKey, Time};
use speaker_core::{Effect, Input, Interface, InterfaceId, MacAddr, Peer, Settings, Speaker};

/// The one address that the speaker under test owns.
const ASSIGNED: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 101);
const OWN: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 11);
const NIC: InterfaceId = InterfaceId(2);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 11]);
/// Offsets in an Ethernet frame that carries ARP (RFC 826).
const SENDER_IP: std::ops::Range<usize> = 28..32;
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
    let mut speaker = owner();
    let mut now = Time::from_micros(60_000_000);
    for frame in frames(data) {
        now += std::time::Duration::from_millis(1);
        speaker.handle(now, Input::Frame { interface: NIC, bytes: frame });
        let mut replies = 0;
        while let Some(effect) = speaker.poll_effect() {
            let Effect::SendFrame { interface, bytes } = effect else { continue };
            assert_eq!(interface, NIC, "answered on another interface");
            assert!((MIN_FRAME..=MAX_FRAME).contains(&bytes.len()), "a frame of {} bytes", bytes.len());
            assert_eq!(bytes[6..12], MAC.0, "S5: Ethernet source");
            assert_eq!(bytes[SENDER_IP], ASSIGNED.octets(), "S4: speaks for an address nobody assigned");
            replies += usize::from(bytes[0] & 1 == 0);
        }
        assert!(replies <= 1, "S13: {replies} answers to one frame");
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

/// A speaker alone on its node, which therefore owns [`ASSIGNED`].
fn owner() -> Speaker {
    let mut speaker = speaker(None);
    let now = Time::from_micros(1_000_000);
    for input in cluster() {
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
        1,
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

/// The least a speaker must be told to own an address.
fn cluster() -> Vec<Input<'static>> {
    let node = NodeName::from("wk01");
    let key = ServiceKey::new("default", "nginx");
    let pool = IPAddressPoolSpec {
        addresses: vec!["172.16.16.101-172.16.16.120".to_owned()],
        auto_assign: true,
        ..IPAddressPoolSpec::default()
    };
    let service = Service {
        key: key.clone(),
        uid: "1".to_owned(),
        resource_version: "1".to_owned(),
        is_load_balancer: true,
        load_balancer_class: None,
        labels: Default::default(),
        annotations: Default::default(),
        cluster_ips: vec![Ok(IpAddr::from([10, 96, 0, 10]))],
        load_balancer_ip: None,
        primary_family: None,
        family_policy: FamilyPolicy::SingleStack,
        traffic_policy: TrafficPolicy::Cluster,
        selector: Default::default(),
        ports: Vec::new(),
        ingress: vec![Ingress::Ip(ASSIGNED.into())],
    };
    let slice = EndpointSlice {
        namespace: "default".to_owned(),
        name: "nginx-1".to_owned(),
        service: Some(key),
        endpoints: vec![Endpoint { node: Some(node.clone()), can_serve: true }],
    };
    let nic = Interface {
        id: NIC,
        name: "eth0".to_owned(),
        mac: Some(MAC),
        addresses: vec![(OWN.into(), 24)],
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        has_master: false,
    };
    vec![
        Input::Interfaces(vec![nic]),
        Input::Nodes(vec![Node {
            name: node.clone(),
            labels: Default::default(),
            network_unavailable: false,
        }]),
        Input::Peers(vec![Peer { node, address: OWN.into() }]),
        Input::Resources(Resources {
            pools: vec![IPAddressPool::new("first-pool", pool)],
            l2_advertisements: vec![L2Advertisement::new("example", L2AdvertisementSpec::default())],
            ..Resources::default()
        }),
        Input::EndpointSlices(vec![slice]),
        Input::Services(vec![service]),
    ]
}
