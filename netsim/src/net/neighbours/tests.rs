//! Tests of the neighbour models beyond the table of rows.

use super::*;
use crate::net::frame::{self, Arp};
use smoltcp::wire::{ArpOperation, Icmpv6Packet, Ipv6Packet, NdiscNeighborFlags, NdiscRepr};
use std::net::{Ipv4Addr, Ipv6Addr};

const CLIENT: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xc]);
const A: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xa]);
const NOBODY: EthernetAddress = EthernetAddress([0; 6]);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

fn at(seconds: i64) -> Instant {
    Instant::from_secs(seconds)
}

fn table(model: ClientModel) -> NeighbourTable {
    let mut table = NeighbourTable::new(CLIENT, model, Sysctls::default(), &Stream::new(1, "table"));
    table.set_own(&[IpCidr::new(CLIENT_IP.into(), 24)]);
    table
}

fn packet(tag: u8) -> Vec<u8> {
    vec![tag; ETHERNET_HEADER + 20]
}

fn hear(table: &mut NeighbourTable, now: Instant, destination: EthernetAddress, arp: Arp) {
    let bytes = frame::arp(arp.sha, destination, arp);
    table.handle_arp(now, destination, &bytes[ETHERNET_HEADER..]);
}

fn reply(spa: Ipv4Addr, sha: EthernetAddress) -> Arp {
    Arp { operation: ArpOperation::Reply, sha, spa, tha: CLIENT, tpa: CLIENT_IP }
}

/// What left the table: where to, and what kind.
fn sent(table: &mut NeighbourTable) -> Vec<(EthernetAddress, u16)> {
    std::iter::from_fn(|| table.poll_frame())
        .map(|frame| (EthernetAddress::from_bytes(&frame[..6]), u16::from_be_bytes([frame[12], frame[13]])))
        .collect()
}

/// What an entry has been through.
struct Life {
    states: Vec<(i64, NeighbourState)>,
    frames: Vec<(i64, EthernetAddress)>,
}

/// The states an entry goes through from `start` on, with the second in which each begins, and all frames sent.
fn life(table: &mut NeighbourTable, until: i64) -> Life {
    let mut states = Vec::new();
    let mut frames = Vec::new();
    while let Some(next) = table.poll_timeout().filter(|next| *next <= at(until)) {
        table.poll(next);
        let second = next.total_micros() / 1_000_000;
        frames.extend(sent(table).into_iter().map(|(to, _)| (second, to)));
        let Some(entry) = table.get(VIP.into()) else { break };
        if states.last().is_none_or(|(_, state)| *state != entry.state) {
            states.push((second, entry.state));
        }
    }
    Life { states, frames }
}

#[test]
fn asks_three_times_and_gives_up() {
    let mut table = table(ClientModel::Linux);
    table.output(at(0), VIP.into(), packet(1));
    assert_eq!(sent(&mut table), [(EthernetAddress::BROADCAST, 0x0806)]);
    let Life { states, frames } = life(&mut table, 100);
    let all = EthernetAddress::BROADCAST;
    assert_eq!(states, [(1, NeighbourState::Incomplete), (3, NeighbourState::Failed)]);
    assert_eq!(frames, [(1, all), (2, all)]);
    assert_eq!(table.counters().dropped, 1);
    table.output(at(10), VIP.into(), packet(2));
    assert_eq!(table.get(VIP.into()).map(|entry| entry.state), Some(NeighbourState::Incomplete), "asks anew");
}

#[test]
fn packets_wait_for_the_answer_in_order_and_the_oldest_go_first() {
    let mut table = table(ClientModel::Linux);
    for tag in 0..120 {
        table.output(at(0), VIP.into(), packet(tag));
    }
    assert_eq!(sent(&mut table).len(), 1, "one question for all of them");
    hear(&mut table, at(0), CLIENT, reply(VIP, A));
    let tags: Vec<u8> = std::iter::from_fn(|| table.poll_frame()).map(|frame| frame[20]).collect();
    assert_eq!(tags, (19..120).collect::<Vec<_>>());
    assert_eq!(table.counters().dropped, 19);
}

#[test]
fn an_unused_neighbour_grows_stale_after_15_to_45_seconds() {
    let lifetimes: Vec<i64> = (0..200)
        .map(|seed| {
            let stream = Stream::new(seed, "table");
            let mut table = NeighbourTable::new(CLIENT, ClientModel::Linux, Sysctls::default(), &stream);
            table.set_own(&[IpCidr::new(CLIENT_IP.into(), 24)]);
            table.output(at(0), VIP.into(), packet(1));
            hear(&mut table, at(0), CLIENT, reply(VIP, A));
            sent(&mut table);
            let Life { states, frames } = life(&mut table, 1000);
            assert_eq!(frames, [], "nobody asks for what nobody uses");
            let [(second, NeighbourState::Stale)] = states[..] else { panic!("{states:?}") };
            second
        })
        .collect();
    assert!(lifetimes.iter().all(|seconds| (15..=45).contains(seconds)), "{lifetimes:?}");
    assert!(lifetimes.iter().any(|seconds| *seconds < 20) && lifetimes.iter().any(|seconds| *seconds > 40));
}

#[test]
fn a_stale_neighbour_in_use_is_probed_and_given_up() {
    let mut table = table(ClientModel::Linux);
    let question = Arp { operation: ArpOperation::Request, sha: A, spa: VIP, tha: NOBODY, tpa: CLIENT_IP };
    hear(&mut table, at(0), EthernetAddress::BROADCAST, question);
    assert_eq!(sent(&mut table), [(A, 0x0806)], "it is answered");
    assert_eq!(table.get(VIP.into()).map(|entry| entry.state), Some(NeighbourState::Stale));
    table.output(at(10), VIP.into(), packet(1));
    assert_eq!(sent(&mut table), [(A, 0x0800)], "stale is good enough to use");
    assert_eq!(table.get(VIP.into()).map(|entry| entry.state), Some(NeighbourState::Delay));
    let Life { states, frames } = life(&mut table, 100);
    assert_eq!(states, [(15, NeighbourState::Probe), (18, NeighbourState::Failed)]);
    assert_eq!(frames, [(15, A), (16, A), (17, A)]);
}

#[test]
fn a_higher_layer_saves_the_probe() {
    let mut table = table(ClientModel::Linux);
    let question = Arp { operation: ArpOperation::Request, sha: A, spa: VIP, tha: NOBODY, tpa: CLIENT_IP };
    hear(&mut table, at(0), EthernetAddress::BROADCAST, question);
    table.output(at(10), VIP.into(), packet(1));
    table.confirm(at(12), VIP.into());
    sent(&mut table);
    table.poll(at(15));
    assert_eq!(table.get(VIP.into()).map(|entry| entry.state), Some(NeighbourState::Reachable));
    assert_eq!(sent(&mut table), []);
}

#[test]
fn first_of_two_conflicting_replies_wins_within_locktime() {
    let b = EthernetAddress([2, 0, 0, 0, 0, 0xb]);
    for (later_ms, winner) in [(20, A), (500, A), (1200, b)] {
        let mut table = table(ClientModel::Linux);
        table.output(at(0), VIP.into(), packet(1));
        hear(&mut table, at(0), CLIENT, reply(VIP, A));
        hear(&mut table, Instant::from_millis(later_ms), CLIENT, reply(VIP, b));
        let entry = table.get(VIP.into()).expect("it was asked for");
        assert_eq!((entry.mac, entry.state), (Some(winner), NeighbourState::Reachable), "{later_ms} ms");
    }
}

/// reliability.md 1.2: repeated no-op replies do not extend the window; before 4.12 they did.
#[test]
fn no_op_replies_move_the_lock_window_of_old_kernels_only() {
    let b = EthernetAddress([2, 0, 0, 0, 0, 0xb]);
    for (model, winner) in [(ClientModel::Linux, b), (ClientModel::LinuxOld, A)] {
        let mut table = table(model);
        table.output(at(0), VIP.into(), packet(1));
        for tick in 0..6 {
            hear(&mut table, Instant::from_millis(tick * 400), CLIENT, reply(VIP, A));
        }
        hear(&mut table, Instant::from_millis(2100), CLIENT, reply(VIP, b));
        assert_eq!(table.get(VIP.into()).and_then(|entry| entry.mac), Some(winner), "{model:?}");
    }
}

#[test]
fn routers_hold_an_entry_for_their_time_and_forget_it() {
    for (model, lifetime) in
        [(ClientModel::RouterIgnoringGratuitousReplies, 20 * 60), (ClientModel::FourHourRouter, 4 * 3600)]
    {
        let mut table = table(model);
        table.output(at(0), VIP.into(), packet(1));
        hear(&mut table, at(0), CLIENT, reply(VIP, A));
        table.poll(at(lifetime - 1));
        assert_eq!(
            table.get(VIP.into()).map(|entry| entry.state),
            Some(NeighbourState::Reachable),
            "{model:?}"
        );
        table.poll(at(lifetime));
        assert_eq!(table.get(VIP.into()), None, "{model:?}");
    }
}

#[test]
fn a_router_looks_at_300_requests_a_second() {
    let mut table = table(ClientModel::RouterIgnoringGratuitousReplies);
    let question = Arp { operation: ArpOperation::Request, sha: A, spa: VIP, tha: NOBODY, tpa: CLIENT_IP };
    for _ in 0..1000 {
        hear(&mut table, at(10), EthernetAddress::BROADCAST, question);
    }
    assert_eq!((table.counters().answered, table.counters().policed), (300, 700));
    hear(&mut table, at(11), EthernetAddress::BROADCAST, question);
    assert_eq!(table.counters().answered, 301);
}

#[test]
fn answers_for_its_own_addresses_only() {
    let silent = Ipv4Addr::new(10, 9, 0, 101);
    let mut table = table(ClientModel::Linux);
    table.set_silent([silent.into()].into());
    for (target, answers) in [(CLIENT_IP, 1), (silent, 0), (VIP, 0)] {
        let spa = Ipv4Addr::new(10, 9, 0, 7);
        let question = Arp { operation: ArpOperation::Request, sha: A, spa, tha: NOBODY, tpa: target };
        hear(&mut table, at(0), EthernetAddress::BROADCAST, question);
        assert_eq!(sent(&mut table).len(), answers, "{target}");
        let probe = Arp { spa: Ipv4Addr::UNSPECIFIED, ..question };
        hear(&mut table, at(0), EthernetAddress::BROADCAST, probe);
        assert_eq!(sent(&mut table).len(), answers, "probe for {target}");
    }
}

#[test]
fn a_full_table_forgets_the_oldest() {
    let mut table = table(ClientModel::Linux);
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let spa = Ipv4Addr::new(10, 8, high, low);
        let question = Arp { operation: ArpOperation::Request, sha: A, spa, tha: NOBODY, tpa: CLIENT_IP };
        hear(&mut table, at(i64::from(number)), EthernetAddress::BROADCAST, question);
    }
    assert_eq!(table.entries().count(), CAPACITY);
    assert!(table.get(Ipv4Addr::new(10, 8, 7, 207).into()).is_some(), "the last one is there");
    assert!(table.get(Ipv4Addr::new(10, 8, 0, 0).into()).is_none(), "the first one is not");
    table.flush();
    assert_eq!((table.entries().count(), table.poll_timeout()), (0, None));
}

const CLIENT_IP6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100);

fn table6() -> NeighbourTable {
    let mut table = table(ClientModel::Linux);
    table.set_own(&[IpCidr::new(CLIENT_IP6.into(), 64)]);
    table
}

/// A neighbour solicitation by A for the client's address.
fn solicit(from: Ipv6Addr, to: Ipv6Addr, with_option: bool) -> Vec<u8> {
    let lladdr = with_option.then(|| A.into());
    frame::ndp(A, CLIENT, from, to, NdiscRepr::NeighborSolicit { target_addr: CLIENT_IP6, lladdr })
}

/// The advertisement at the head of the outgoing frames: hardware and IPv6 destination, flags.
fn advert(table: &mut NeighbourTable) -> Option<(EthernetAddress, Ipv6Addr, NdiscNeighborFlags)> {
    let frame = table.poll_frame()?;
    let ip = Ipv6Packet::new_checked(&frame[ETHERNET_HEADER..]).expect("a whole packet");
    assert_eq!(ip.src_addr(), CLIENT_IP6);
    let icmp = Icmpv6Packet::new_checked(ip.payload()).expect("a whole message");
    let NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } = NdiscRepr::parse(&icmp).expect("NDP")
    else {
        panic!("{icmp:?}")
    };
    assert_eq!((target_addr, lladdr), (CLIENT_IP6, Some(CLIENT.into())));
    Some((EthernetAddress::from_bytes(&frame[..6]), ip.dst_addr(), flags))
}

#[test]
fn solicitations_are_answered_as_the_kernel_does() {
    let group = frame::solicited_node(CLIENT_IP6);
    let (s, o) = (NdiscNeighborFlags::SOLICITED, NdiscNeighborFlags::OVERRIDE);
    let all = frame::multicast_mac(frame::ALL_NODES.into());
    let table = [
        (VIP6, group, true, (A, VIP6, s | o)),
        (VIP6, CLIENT_IP6, true, (A, VIP6, s)),
        (Ipv6Addr::UNSPECIFIED, group, false, (all, frame::ALL_NODES, o)),
    ];
    for (from, to, with_option, answer) in table {
        let mut table = table6();
        table.handle_ndp(at(0), &solicit(from, to, with_option)[ETHERNET_HEADER..]);
        assert_eq!(advert(&mut table), Some(answer), "asked from {from} to {to}");
    }
}

#[test]
fn a_unicast_solicitation_without_source_option_is_asked_back_first() {
    let mut table = table6();
    table.handle_ndp(at(0), &solicit(VIP6, CLIENT_IP6, false)[ETHERNET_HEADER..]);
    let group = frame::multicast_mac(frame::solicited_node(VIP6).into());
    assert_eq!(sent(&mut table), [(group, 0x86dd)], "who has the VIP?");
    let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
    let reply = NdiscRepr::NeighborAdvert { flags, target_addr: VIP6, lladdr: Some(A.into()) };
    table.handle_ndp(at(0), &frame::ndp(A, CLIENT, VIP6, CLIENT_IP6, reply)[ETHERNET_HEADER..]);
    assert_eq!(advert(&mut table), Some((A, VIP6, NdiscNeighborFlags::SOLICITED)), "the answer has waited");
}

/// RFC 4861 7.1: what has come through a router, or is damaged, is not neighbour discovery.
#[test]
fn invalid_neighbour_discovery_is_dropped() {
    /// Offsets in an IPv6 packet: hop limit, ICMPv6 code, a byte of the target.
    const DAMAGE: [(usize, u8); 3] = [(7, 254), (41, 1), (50, 0xee)];
    for (offset, value) in DAMAGE {
        let mut table = table6();
        let mut packet = solicit(VIP6, CLIENT_IP6, true).split_off(ETHERNET_HEADER);
        packet[offset] = value;
        table.handle_ndp(at(0), &packet);
        assert_eq!((table.counters().malformed, table.entries().count()), (1, 0), "byte {offset}");
        assert_eq!(sent(&mut table), []);
    }
}
