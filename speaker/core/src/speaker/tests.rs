//! Whole speakers: one alone, and several on one segment in virtual time.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::effect::Report;
use crate::fixtures;
use crate::interface::MacAddr;
use crate::wire::arp::{Operation, Packet, parse};
use crate::wire::frame::is_ipv6;
use crate::wire::ndp;
use ferrolb_api::config::Config;
use ferrolb_api::endpoints::Endpoint;
use ferrolb_api::service::{Ingress, TrafficPolicy};
use ferrolb_api::{EndpointSlice, Node, Service};

mod alone;
mod conflicts;
mod ipv6;
mod obstacles;
mod occupied;
mod one_segment;
mod reporting;
mod segments;
mod starting;
mod together;

const ETH0: InterfaceId = InterfaceId(2);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 17, 9);

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1_000)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn vip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 16, last)
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn mac(node: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, u8::try_from(node).expect("few nodes")])
}

fn name(node: usize) -> NodeName {
    format!("wk0{}", node + 1).into()
}

fn address(node: usize) -> SocketAddr {
    ([172, 16, 16, u8::try_from(node + 11).expect("few nodes")], 7946).into()
}

fn settings(node: usize) -> Settings {
    Settings {
        node: name(node),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: Some(address(node)),
        gossip_secret: Some(b"secret".to_vec()),
        boot_id: 1,
        seed: [u8::try_from(node).expect("few nodes"); 32],
    }
}

fn without_membership(node: usize) -> Settings {
    Settings { gossip_address: None, ..settings(node) }
}

fn interface(node: usize) -> Interface {
    Interface {
        id: ETH0,
        name: "eth0".to_owned(),
        mac: Some(mac(node)),
        addresses: vec![(address(node).ip(), 24)],
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    }
}

fn service(name: &str, ips: &[IpAddr]) -> Service {
    fixtures::service(name, ips.iter().copied().map(Ingress::Ip).collect())
}

fn slice(service: &str, endpoints: &[(usize, bool)]) -> EndpointSlice {
    let endpoints = endpoints
        .iter()
        .map(|(node, can_serve)| Endpoint { node: Some(name(*node)), can_serve: *can_serve })
        .collect();
    EndpointSlice {
        api_server: Default::default(),
        namespace: "default".to_owned(),
        name: format!("{service}-1"),
        service: Some(key(service)),
        endpoints,
    }
}

fn node(number: usize) -> Node {
    Node {
        name: name(number),
        labels: BTreeMap::new(),
        network_unavailable: false,
        addresses: Default::default(),
    }
}

fn peers(count: usize) -> Vec<Peer> {
    (0..count).map(|node| Peer { node: name(node), address: address(node).ip(), is_running: true }).collect()
}

fn config(interfaces: &[&str]) -> Config {
    let pool = fixtures::pool("main", &["172.16.16.0/24", "10.0.0.0/8", "fd00::/64"]);
    fixtures::config([pool], [fixtures::on_interfaces("l2", interfaces)])
}

/// Puts a configuration in force as checked custom resources would.
fn configure(speaker: &mut Speaker, now: Time, config: Config) {
    speaker.ownership.set_config(config, members(speaker.membership.as_ref()));
    speaker.set_reach(now);
    speaker.step(now);
}

/// Tells a speaker of `count` nodes, these Services, one endpoint of each on
/// every node, and its peers.
fn tell(speaker: &mut Speaker, now: Time, own: usize, count: usize, services: &[Service]) {
    speaker.handle(now, Input::Interfaces(vec![interface(own)]));
    tell_cluster(speaker, now, count, services);
    speaker.handle(now, Input::Peers(peers(count)));
}

/// The same without its interface and its peers.
fn tell_cluster(speaker: &mut Speaker, now: Time, count: usize, services: &[Service]) {
    speaker.handle(now, Input::Nodes((0..count).map(node).collect()));
    let everywhere: Vec<(usize, bool)> = (0..count).map(|node| (node, true)).collect();
    let slices = services.iter().map(|service| slice(service.key.name(), &everywhere)).collect();
    speaker.handle(now, Input::EndpointSlices(slices));
    speaker.handle(now, Input::Services(services.to_vec()));
    configure(speaker, now, config(&[]));
}

fn drain(speaker: &mut Speaker) -> Vec<Effect> {
    std::iter::from_fn(|| speaker.poll_effect()).collect()
}

fn reports(effects: &[Effect]) -> impl Iterator<Item = &Report> {
    effects.iter().filter_map(|effect| if let Effect::Report(report) = effect { Some(report) } else { None })
}

fn notices(effects: &[Effect]) -> Vec<&Notice> {
    fn notice(report: &Report) -> Option<&Notice> {
        if let Report::Notice(notice) = report { Some(notice) } else { None }
    }
    reports(effects).filter_map(notice).collect()
}

fn frames(effects: &[Effect]) -> Vec<Packet> {
    let frame = |effect: &Effect| match effect {
        Effect::SendFrame { bytes, .. } if !is_ipv6(bytes) => Some(parse(bytes).expect("our own frame")),
        _ => None,
    };
    effects.iter().filter_map(frame).collect()
}

fn messages(effects: &[Effect]) -> Vec<ndp::Message> {
    let message = |effect: &Effect| match effect {
        Effect::SendFrame { bytes, .. } if is_ipv6(bytes) => Some(ndp::parse(bytes).expect("our own frame")),
        _ => None,
    };
    effects.iter().filter_map(message).collect()
}

fn request(target: Ipv4Addr) -> Vec<u8> {
    let packet = Packet {
        destination: MacAddr::BROADCAST,
        source: CLIENT_MAC,
        operation: Operation::Request,
        sender_mac: CLIENT_MAC,
        sender_ip: CLIENT,
        target_mac: MacAddr([0; 6]),
        target_ip: target,
    };
    packet.to_frame()
}

/// Asks for an address and gives the MAC in the answer, if there is one.
fn ask(speaker: &mut Speaker, now: Time, target: Ipv4Addr) -> Option<MacAddr> {
    drain(speaker);
    speaker.handle(now, Input::Frame { interface: ETH0, bytes: &request(target) });
    frames(&drain(speaker)).first().map(|reply| reply.sender_mac)
}

fn announced(speaker: &Speaker) -> Vec<(&str, IpAddr)> {
    speaker.announced().map(|entry| (entry.service.name(), entry.address)).collect()
}
