//! Tests of hosts: they resolve, ask, answer and follow a moved address.

use super::*;
use crate::net::ethernet_host::EthernetHost;
use crate::net::faults::Faults;
use crate::net::frame::Arp;
use crate::net::neighbours::NeighbourState;
use crate::net::port::PortId;
use crate::net::stack::{Pong, TcpState};
use crate::net::switch::Switch;
use smoltcp::time::Duration;
use smoltcp::wire::ArpOperation;
use std::net::SocketAddr;

const VIP: [u8; 4] = [172, 16, 16, 101];
const VIP6: &str = "fd09::100";
const STEP: Duration = Duration::from_millis(1);

/// Stations on a switch, in virtual time.
struct Lan {
    switch: Switch,
    stations: Vec<(PortId, Box<dyn Station>)>,
    now: Instant,
}

impl Lan {
    fn new() -> Self {
        Self { switch: Switch::new(1), stations: Vec::new(), now: Instant::ZERO }
    }

    fn plug(&mut self, name: &str, station: impl Station) -> usize {
        let port = self.switch.add_port(name, Faults::default());
        self.stations.push((port, Box::new(station)));
        self.stations.len() - 1
    }

    fn host(&mut self, station: usize) -> &mut Host {
        let any: &mut dyn std::any::Any = self.stations[station].1.as_mut();
        any.downcast_mut().expect("a Host was plugged in there")
    }

    fn stack(&mut self, station: usize) -> &mut Stack {
        self.stations[station].1.stack()
    }

    fn send(&mut self, station: usize, frame: Vec<u8>) {
        self.switch.send(self.now, self.stations[station].0, frame);
    }

    /// Moves everything that happens until `now + time`, and the clock with it.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for (port, station) in &mut self.stations {
                station.poll(self.now);
                while let Some(frame) = station.poll_frame() {
                    self.switch.send(self.now, *port, frame);
                }
            }
            let timers = self.stations.iter().filter_map(|(_, station)| station.poll_timeout());
            let Some(next) = timers.chain(self.switch.poll_timeout()).min().filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while let Some((port, frame)) = self.switch.poll(self.now) {
                for (_, station) in self.stations.iter_mut().filter(|(own, _)| *own == port) {
                    station.handle_frame(self.now, &frame);
                }
            }
        }
        self.now = end;
    }
}

fn mac(last: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, last])
}

fn ip(last: u8) -> IpAddr {
    [172, 16, 16, last].into()
}

fn ip6(last: u8) -> IpAddr {
    format!("fd09::{last}").parse().expect("an address")
}

/// A host with a v4 and a v6 address that end in `last`.
fn host(last: u8, model: ClientModel) -> Host {
    let mut settings =
        HostSettings::new(&format!("host {last}"), mac(last), IpCidr::new(ip(last).into(), 24), 5);
    settings.addresses.push(IpCidr::new(ip6(last).into(), 64));
    settings.model = model;
    Host::new(settings)
}

/// A node that takes traffic for both VIPs and answers UDP on port 53 with its own last octet.
struct Server {
    station: usize,
    socket: crate::net::stack::UdpHandle,
    last: u8,
}

impl Server {
    fn plug(lan: &mut Lan, last: u8) -> Self {
        let mut node = host(last, ClientModel::Linux);
        node.set_loopback([VIP.into(), VIP6.parse().expect("an address")].into());
        let socket = node.stack().udp_bind(53);
        Self { station: lan.plug(&format!("node {last}"), node), socket, last }
    }

    fn serve(&self, lan: &mut Lan) {
        while let Some(question) = lan.stack(self.station).udp_receive(self.socket) {
            let stack = lan.stack(self.station);
            stack.udp_send(self.socket, Some(question.to), question.from, &[self.last]).expect("room");
        }
    }

    /// What the speaker on this node would say about the IPv4 VIP.
    fn announce(&self, lan: &mut Lan, operation: ArpOperation) {
        let tha = if operation == ArpOperation::Reply { mac(self.last) } else { EthernetAddress([0; 6]) };
        let arp = Arp { operation, sha: mac(self.last), spa: VIP.into(), tha, tpa: VIP.into() };
        lan.send(self.station, frame::arp(mac(self.last), EthernetAddress::BROADCAST, arp));
    }
}

/// Asks the VIP every 10 ms for `time` and lists who answered; `owner` answers ARP for it.
fn probe(
    lan: &mut Lan,
    client: usize,
    socket: crate::net::stack::UdpHandle,
    servers: &[Server],
    owner: usize,
    time: Duration,
) -> Vec<u8> {
    let end = lan.now + time;
    let mut answers = Vec::new();
    while lan.now < end {
        lan.stack(client).udp_send(socket, None, SocketAddr::new(VIP.into(), 53), b"?").expect("room");
        lan.run(STEP);
        respond(lan, &servers[owner]);
        lan.run(STEP);
        for server in servers {
            server.serve(lan);
        }
        lan.run(STEP * 8);
        while let Some(answer) = lan.stack(client).udp_receive(socket) {
            assert_eq!(answer.from, SocketAddr::new(VIP.into(), 53), "answers come from the VIP");
            answers.push(answer.payload[0]);
        }
    }
    answers
}

/// The speaker's part: an ARP answer for the VIP, to everybody who has asked so far.
fn respond(lan: &mut Lan, owner: &Server) {
    let Some(capture) = lan.switch.take_capture() else { panic!("the capture was started") };
    lan.switch.start_capture(&[lan.stations[owner.station].0]);
    for asked in
        capture.frames().iter().filter(|asked| asked.direction == crate::net::pcap::Direction::ToStation)
    {
        let asks =
            asked.frame[12..14] == [8, 6] && asked.frame[20..22] == [0, 1] && asked.frame[38..42] == VIP;
        if !asks || asked.frame[28..32] == VIP {
            continue;
        }
        let asker = EthernetAddress::from_bytes(&asked.frame[6..12]);
        let spa: [u8; 4] = asked.frame[28..32].try_into().expect("four bytes");
        let arp = Arp {
            operation: ArpOperation::Reply,
            sha: mac(owner.last),
            spa: VIP.into(),
            tha: asker,
            tpa: spa.into(),
        };
        lan.send(owner.station, frame::arp(mac(owner.last), asker, arp));
    }
}

/// The owner dies and the other node announces; which frames make which client follow at once.
#[test]
fn failover_by_gratuitous_arp_after_each_client_model() {
    use ArpOperation::{Reply, Request};
    let table = [
        (ClientModel::Linux, Request, true),
        (ClientModel::Linux, Reply, true),
        (ClientModel::LinuxOld, Request, true),
        (ClientModel::LinuxOld, Reply, true),
        (ClientModel::RouterIgnoringGratuitousReplies, Request, true),
        (ClientModel::RouterIgnoringGratuitousReplies, Reply, false),
        (ClientModel::FourHourRouter, Request, true),
        (ClientModel::FourHourRouter, Reply, true),
        (ClientModel::MacOs, Request, true),
        (ClientModel::MacOs, Reply, true),
    ];
    for (model, form, follows) in table {
        let mut lan = Lan::new();
        let client = lan.plug("client", host(50, model));
        let servers = [Server::plug(&mut lan, 11), Server::plug(&mut lan, 12)];
        lan.switch.start_capture(&[lan.stations[servers[0].station].0]);
        let socket = lan.stack(client).udp_bind(0);
        let before = probe(&mut lan, client, socket, &servers, 0, Duration::from_secs(3));
        assert!(before.iter().all(|who| *who == 11), "{model:?}: only the owner answers");
        assert!(before.len() > 290, "{model:?}: {} answers", before.len());

        let port = lan.stations[servers[0].station].0;
        lan.switch.set_port_up(lan.now, port, false);
        servers[1].announce(&mut lan, form);
        lan.run(STEP);
        lan.switch.start_capture(&[lan.stations[servers[1].station].0]);
        let after = probe(&mut lan, client, socket, &servers, 1, Duration::from_secs(1));
        let expected = if follows { 100 } else { 0 };
        assert_eq!(after.len(), expected, "{model:?} after a gratuitous {form:?}");
        let entry = lan.host(client).neighbours().get(VIP.into()).copied().expect("it has talked to it");
        assert_eq!(entry.mac, Some(mac(if follows { 12 } else { 11 })), "{model:?} after {form:?}");
    }
}

/// The same in IPv6: an unsolicited advertisement with the override flag moves every model at once.
#[test]
fn failover_by_neighbour_advertisement() {
    use smoltcp::wire::{NdiscNeighborFlags, NdiscRepr};
    let vip6: Ipv6Address = VIP6.parse().expect("an address");
    let advert =
        |last, flags| NdiscRepr::NeighborAdvert { flags, target_addr: vip6, lladdr: Some(mac(last).into()) };
    for model in ClientModel::ALL {
        let mut lan = Lan::new();
        let client = lan.plug("client", host(50, model));
        let servers = [Server::plug(&mut lan, 11), Server::plug(&mut lan, 12)];
        let socket = lan.stack(client).udp_bind(0);
        let ask = |lan: &mut Lan, resolve: bool| {
            lan.stack(client).udp_send(socket, None, SocketAddr::new(vip6.into(), 53), b"?").expect("room");
            lan.run(STEP);
            if resolve {
                let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
                let IpAddr::V6(asker) = ip6(50) else { panic!("not an IPv6 address") };
                lan.send(servers[0].station, frame::ndp(mac(11), mac(50), vip6, asker, advert(11, flags)));
                lan.run(STEP);
            }
            for server in &servers {
                server.serve(lan);
            }
            lan.run(STEP);
            lan.stack(client).udp_receive(socket).map(|answer| answer.payload[0])
        };
        assert_eq!(ask(&mut lan, true), Some(11), "{model:?}");
        let all = frame::multicast_mac(frame::ALL_NODES.into());
        let bytes =
            frame::ndp(mac(12), all, vip6, frame::ALL_NODES, advert(12, NdiscNeighborFlags::OVERRIDE));
        lan.send(servers[1].station, bytes);
        lan.run(STEP);
        assert_eq!(ask(&mut lan, false), Some(12), "{model:?}");
    }
}

#[test]
fn linux_helps_itself_when_the_announcement_is_lost() {
    let mut lan = Lan::new();
    let client = lan.plug("client", host(50, ClientModel::Linux));
    let servers = [Server::plug(&mut lan, 11), Server::plug(&mut lan, 12)];
    lan.switch.start_capture(&[lan.stations[servers[0].station].0]);
    let socket = lan.stack(client).udp_bind(0);
    probe(&mut lan, client, socket, &servers, 0, Duration::from_millis(100));
    let port = lan.stations[servers[0].station].0;
    lan.switch.set_port_up(lan.now, port, false);
    lan.switch.start_capture(&[lan.stations[servers[1].station].0]);
    // reliability.md 1.4: rest of REACHABLE (15 to 45 s), 5 s of DELAY, 3 s of unicast probes.
    let mut silent = 0;
    while probe(&mut lan, client, socket, &servers, 1, Duration::from_secs(1)).is_empty() {
        silent += 1;
        assert!(silent < 60, "never recovered");
    }
    assert!((22..=54).contains(&silent), "{silent} s");
}

#[test]
fn smoltcp_alone_ignores_gratuitous_arp() {
    let mut lan = Lan::new();
    let addresses = [IpCidr::new(ip(50).into(), 24)];
    let client = lan.plug("client", EthernetHost::new("client", mac(50), &addresses, &[], 5));
    let servers = [Server::plug(&mut lan, 11), Server::plug(&mut lan, 12)];
    lan.switch.start_capture(&[lan.stations[servers[0].station].0]);
    let socket = lan.stack(client).udp_bind(0);
    let before = probe(&mut lan, client, socket, &servers, 0, Duration::from_secs(3));
    assert!(before.len() > 290 && before.iter().all(|who| *who == 11));
    servers[1].announce(&mut lan, ArpOperation::Request);
    let after = probe(&mut lan, client, socket, &servers, 1, Duration::from_secs(1));
    assert!(after.len() == 100 && after.iter().all(|who| *who == 11), "still with the old node");
}

#[test]
fn udp_tcp_and_ping_between_hosts_of_both_families() {
    for (client_ip, server_ip) in [(ip(1), ip(2)), (ip6(1), ip6(2))] {
        let mut lan = Lan::new();
        let client = lan.plug("client", host(1, ClientModel::Linux));
        let server = lan.plug("server", host(2, ClientModel::Linux));

        let here = lan.stack(client).udp_bind(4000);
        let there = lan.stack(server).udp_bind(53);
        lan.stack(client).udp_send(here, None, SocketAddr::new(server_ip, 53), b"question").expect("room");
        lan.run(Duration::from_millis(10));
        let question = lan.stack(server).udp_receive(there).expect("it arrived");
        assert_eq!((question.from, question.to), (SocketAddr::new(client_ip, 4000), server_ip));
        assert_eq!(question.payload, b"question");

        lan.stack(client).ping(server_ip, 7).expect("room");
        lan.run(Duration::from_millis(10));
        assert_eq!(lan.stack(client).next_pong(), Some(Pong { from: server_ip, sequence: 7 }));
        assert_eq!(lan.stack(client).next_pong(), None);

        let listener = lan.stack(server).tcp_listen(80);
        let connection = lan.stack(client).tcp_connect(SocketAddr::new(server_ip, 80));
        lan.run(Duration::from_millis(10));
        assert_eq!(lan.stack(client).tcp_state(connection), TcpState::Established);
        let accepted = lan.stack(server).tcp_accept(listener).expect("a connection");
        assert_eq!(lan.stack(server).tcp_accept(listener), None);
        let request = vec![b'x'; 40_000];
        let mut sent = 0;
        let mut received = Vec::new();
        while received.len() < request.len() {
            sent += lan.stack(client).tcp_send(connection, &request[sent..]);
            lan.run(Duration::from_millis(20));
            received.extend(lan.stack(server).tcp_receive(accepted));
            assert!(lan.now < Instant::from_secs(10), "{} of {} bytes", received.len(), request.len());
        }
        lan.stack(client).tcp_close(connection);
        lan.run(Duration::from_millis(200));
        assert_eq!(lan.stack(server).tcp_state(accepted), TcpState::CloseWait);
        lan.stack(server).tcp_close(accepted);
        lan.run(Duration::from_millis(200));
        assert_eq!(lan.stack(server).tcp_state(accepted), TcpState::Closed);

        let refused = lan.stack(client).tcp_connect(SocketAddr::new(server_ip, 81));
        lan.run(Duration::from_millis(10));
        assert_eq!(lan.stack(client).tcp_state(refused), TcpState::Closed, "nobody listens there");
    }
}

#[test]
fn sends_through_the_gateway_and_drops_without_one() {
    let far: IpAddr = [10, 1, 1, 1].into();
    let mut lan = Lan::new();
    let mut settings = HostSettings::new("client", mac(1), IpCidr::new(ip(1).into(), 24), 5);
    settings.gateways = vec![ip(2)];
    let client = lan.plug("client", Host::new(settings));
    let mut router = host(2, ClientModel::Linux);
    router.set_loopback([far].into());
    lan.plug("router", router);
    lan.stack(client).ping(far, 1).expect("room");
    lan.run(Duration::from_millis(10));
    assert_eq!(lan.stack(client).next_pong(), Some(Pong { from: far, sequence: 1 }));
    assert!(lan.host(client).neighbours().get(far).is_none(), "only the gateway is asked for");

    let lonely = lan.plug("lonely", host(3, ClientModel::Linux));
    lan.stack(lonely).ping(far, 1).expect("room");
    lan.run(Duration::from_millis(10));
    assert_eq!(lan.host(lonely).unroutable(), 1);
}

#[test]
fn never_answers_for_a_loopback_address() {
    let mut lan = Lan::new();
    let client = lan.plug("client", host(50, ClientModel::Linux));
    Server::plug(&mut lan, 11);
    lan.stack(client).ping(VIP.into(), 1).expect("room");
    lan.stack(client).ping(VIP6.parse().expect("an address"), 2).expect("room");
    lan.run(Duration::from_secs(5));
    for vip in [IpAddr::from(VIP), VIP6.parse().expect("an address")] {
        let entry = lan.host(client).neighbours().get(vip).copied().expect("it was asked for");
        assert_eq!((entry.state, entry.mac), (NeighbourState::Failed, None), "{vip}");
    }
    assert_eq!(lan.host(client).neighbours().counters().dropped, 2);
}

#[test]
fn talks_to_itself_without_a_wire() {
    let mut lan = Lan::new();
    let mut node = host(11, ClientModel::Linux);
    node.set_loopback([VIP.into()].into());
    let node = lan.plug("node", node);
    lan.stack(node).ping(VIP.into(), 3).expect("room");
    lan.run(Duration::from_millis(1));
    assert_eq!(lan.stack(node).next_pong(), Some(Pong { from: VIP.into(), sequence: 3 }));
    assert_eq!(lan.switch.counters().flooded, 0);
}

#[test]
fn garbage_is_ignored() {
    let mut node = host(11, ClientModel::Linux);
    let mut stream = Stream::new(9, "garbage");
    for round in 0..20_000_u64 {
        let length = usize::try_from(stream.below(120)).expect("small");
        let mut bytes: Vec<u8> = (0..length).map(|_| stream.bits().to_be_bytes()[0]).collect();
        if length > 60 {
            bytes[..6].copy_from_slice(mac(11).as_bytes());
            let kinds = [[8, 0], [8, 6], [0x86, 0xdd]];
            bytes[12..14].copy_from_slice(&kinds[usize::try_from(round % 3).expect("small")]);
            match round % 3 {
                0 => bytes[14] = 0x45,
                1 => bytes[14..20].copy_from_slice(&[0, 1, 8, 0, 6, 4]),
                _ => (bytes[14], bytes[20], bytes[21], bytes[54]) = (0x60, 58, 255, 135 + (bytes[54] & 1)),
            }
        }
        node.handle_frame(Instant::from_millis(i64::try_from(round).expect("small")), &bytes);
        node.poll(Instant::from_millis(i64::try_from(round).expect("small")));
        while node.poll_frame().is_some() {}
    }
    assert!(node.neighbours().counters().malformed > 1000);
}
