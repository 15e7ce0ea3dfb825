//! A dual-stack Service moves from node to node under a Linux client that uses it over IPv6 and IPv4 at once: two speakers
//! as shipped, on a simulated switch, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ferrolb_api::{NodeName, Time};
use netsim::lab::clock;
use netsim::lab::stations::nic_filter;
use netsim::net::host::{Host, HostSettings};
use netsim::net::neighbours::{NeighbourState, Sysctls};
use netsim::net::port::PortId;
use netsim::net::stack::UdpHandle;
use netsim::net::station::Station;
use netsim::net::switch::Switch;
use netsim::net::wire::WireSettings;
use smoltcp::wire::{EthernetAddress, IpCidr};
use speaker_core::{Effect, Input, MacAddr, Settings, Speaker};
use tests::inputs;

const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 101);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x101);
const ECHO: u16 = 7;
const GOSSIP: u16 = 7946;
/// How often the client asks on each family.
const PACE: Duration = Duration::from_millis(10);
/// Answers within one simulated moment: kernel and speaker may take turns so often.
const ROUNDS: usize = 1_000;

/// A node: kernel, kube-proxy's part, an echo service that names it, and the speaker.
struct Node {
    name: &'static str,
    port: PortId,
    host: Host,
    echo: UdpHandle,
    gossip: UdpHandle,
    speaker: Option<Speaker>,
    groups: BTreeSet<Ipv6Addr>,
}

struct Lan {
    now: Time,
    switch: Switch,
    nodes: Vec<Node>,
    client: Host,
    client_port: PortId,
    socket: UdpHandle,
    next_question: Time,
    asked: BTreeMap<IpAddr, usize>,
    /// Who answered, by address, in order.
    answers: BTreeMap<IpAddr, Vec<(Time, String)>>,
}

fn addresses(last: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(172, 16, 16, last), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()))
}

fn host(name: &str, last: u8, sysctls: Sysctls) -> Host {
    let (ipv4, ipv6) = addresses(last);
    let mac = EthernetAddress([2, 0, 0, 0, 0, last]);
    let mut settings = HostSettings::new(name, mac, IpCidr::new(ipv4.into(), 24), 1);
    settings.addresses.push(IpCidr::new(ipv6.into(), 64));
    settings.sysctls = sysctls;
    Host::new(settings)
}

impl Node {
    fn boot(switch: &mut Switch, name: &'static str, last: u8) -> Self {
        let mut host = host(name, last, Sysctls::default());
        host.set_loopback([VIP.into(), VIP6.into()].into());
        let (ipv4, ipv6) = addresses(last);
        let mut speaker = Speaker::new(Settings {
            node: NodeName::from(name),
            load_balancer_class: None,
            ignore_exclude_label: false,
            gossip_address: Some((ipv4, GOSSIP).into()),
            gossip_secret: Some(b"a secret".to_vec()),
            boot_id: 1,
            seed: [last; 32],
        });
        let nic = inputs::nic(MacAddr(host.mac().0), &[(ipv4.into(), 24), (ipv6.into(), 64)]);
        let peers = [("wk01", addresses(11).0.into()), ("wk02", addresses(12).0.into())];
        let told = inputs::cluster(&peers, &[VIP.into(), VIP6.into()]);
        for input in std::iter::once(nic).chain(told) {
            speaker.handle(Time::ZERO, input);
        }
        Self {
            name,
            port: switch.add_port(name, WireSettings::default()),
            echo: host.stack().udp_bind(ECHO),
            gossip: host.stack().udp_bind(GOSSIP),
            host,
            speaker: Some(speaker),
            groups: BTreeSet::new(),
        }
    }

    fn announces(&self) -> bool {
        self.speaker.as_ref().is_some_and(|speaker| speaker.announced().count() == 2)
    }

    fn handle_frame(&mut self, now: Time, frame: &[u8]) {
        if let Some(speaker) = &mut self.speaker
            && nic_filter::passes(frame, self.host.mac(), Some(&self.groups))
        {
            speaker.handle(now, Input::Frame { interface: inputs::NIC, bytes: frame });
        }
        self.host.handle_frame(clock::instant(now), frame);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let speaker = self.speaker.as_ref().and_then(Speaker::poll_timeout);
        speaker.into_iter().chain(self.host.poll_timeout().map(clock::time)).min()
    }

    /// Lets kernel, echo and speaker run until all is quiet; what leaves the NIC goes to the switch.
    fn pump(&mut self, now: Time, switch: &mut Switch) {
        if let Some(speaker) =
            self.speaker.as_mut().filter(|s| s.poll_timeout().is_some_and(|due| due <= now))
        {
            speaker.handle(now, Input::Timeout);
        }
        for _ in 0..ROUNDS {
            let mut quiet = true;
            while let Some(effect) = self.speaker.as_mut().and_then(Speaker::poll_effect) {
                quiet = false;
                match effect {
                    Effect::SendFrame { bytes, .. } => switch.send(clock::instant(now), self.port, bytes),
                    Effect::SendDatagram { to, bytes } => {
                        self.host.stack().udp_send(self.gossip, None, to, &bytes).expect("room for gossip");
                    }
                    Effect::JoinGroup { group, .. } => _ = self.groups.insert(group),
                    Effect::LeaveGroup { group, .. } => _ = self.groups.remove(&group),
                    Effect::Exit => self.speaker = None,
                    Effect::Report(_) => {}
                }
            }
            self.host.poll(clock::instant(now));
            while let Some(datagram) = self.host.stack().udp_receive(self.gossip) {
                quiet = false;
                if let Some(speaker) = &mut self.speaker {
                    let (from, bytes) = (datagram.from, &datagram.payload[..]);
                    speaker.handle(now, Input::Datagram { from, bytes });
                }
            }
            while let Some(asked) = self.host.stack().udp_receive(self.echo) {
                quiet = false;
                let answer = self.name.as_bytes();
                self.host.stack().udp_send(self.echo, Some(asked.to), asked.from, answer).expect("room");
            }
            while let Some(frame) = self.host.poll_frame() {
                quiet = false;
                switch.send(clock::instant(now), self.port, frame);
            }
            if quiet {
                return;
            }
        }
        panic!("{} does not come to rest at {now}", self.name);
    }
}

impl Lan {
    fn new(sysctls: Sysctls) -> Self {
        let mut switch = Switch::new(1);
        let nodes = vec![Node::boot(&mut switch, "wk01", 11), Node::boot(&mut switch, "wk02", 12)];
        let mut client = host("client", 50, sysctls);
        let socket = client.stack().udp_bind(9);
        let client_port = switch.add_port("client", WireSettings::default());
        let mut lan = Self {
            now: Time::ZERO,
            switch,
            nodes,
            client,
            client_port,
            socket,
            next_question: Time::from_micros(5_000_000),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
        };
        lan.run_for(Duration::from_secs(10));
        lan
    }

    fn owner(&self) -> usize {
        let owners: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].announces()).collect();
        assert_eq!(owners.len(), 1, "owners of both addresses: {owners:?}");
        owners[0]
    }

    /// Goes from one thing that is due to the next.
    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle();
            let timers = self.nodes.iter().filter_map(Node::poll_timeout);
            let stations = self.client.poll_timeout().into_iter().chain(self.switch.poll_timeout());
            let next = timers.chain(stations.map(clock::time)).chain([self.next_question]).min();
            self.now = next.map_or(end, |next| next.max(self.now).min(end));
            if next.is_none_or(|next| next > end) {
                return;
            }
        }
    }

    fn settle(&mut self) {
        let instant = clock::instant(self.now);
        if self.now >= self.next_question {
            self.next_question = self.now + PACE;
            for address in [IpAddr::V4(VIP), IpAddr::V6(VIP6)] {
                *self.asked.entry(address).or_default() += 1;
                let to = SocketAddr::from((address, ECHO));
                self.client.stack().udp_send(self.socket, None, to, b"who?").expect("room for a question");
            }
        }
        while let Some((port, frame)) = self.switch.poll(instant) {
            match self.nodes.iter_mut().find(|node| node.port == port) {
                Some(node) => node.handle_frame(self.now, &frame),
                None => self.client.handle_frame(instant, &frame),
            }
        }
        for node in &mut self.nodes {
            node.pump(self.now, &mut self.switch);
        }
        self.client.poll(instant);
        while let Some(answer) = self.client.stack().udp_receive(self.socket) {
            let name = String::from_utf8(answer.payload).expect("a node's name");
            self.answers.entry(answer.from.ip()).or_default().push((self.now, name));
        }
        while let Some(frame) = self.client.poll_frame() {
            self.switch.send(instant, self.client_port, frame);
        }
    }

    /// What the client's kernel has on file.
    fn neighbour(&self, address: IpAddr) -> (Option<EthernetAddress>, NeighbourState) {
        let entry = self.client.neighbours().get(address).expect("it uses the address");
        (entry.mac, entry.state)
    }

    /// Who answered since the run began, two in a row differ; and the longest silence.
    fn served(&self, address: IpAddr) -> (Vec<&str>, Duration) {
        let answers = self.answers.get(&address).map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<&str> = answers.iter().map(|(_, name)| name.as_str()).collect();
        names.dedup();
        let gaps = answers.windows(2).map(|pair| pair[1].0 - pair[0].0);
        (names, gaps.max().unwrap_or(Duration::MAX))
    }
}

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

#[test]
fn d66_w39_a_neighbour_in_use_stays_reachable_for_ten_minutes() {
    let mut lan = Lan::new(Sysctls::default());
    let (owner, start) = (lan.owner(), lan.now);
    for _ in 0..600 {
        lan.run_for(Duration::from_secs(1));
        for address in FAMILIES {
            let (mac, state) = lan.neighbour(address);
            assert_eq!(mac, Some(lan.nodes[owner].host.mac()), "{address}");
            assert!(state != NeighbourState::Failed, "{address} at {}", lan.now);
        }
    }
    for address in FAMILIES {
        let (names, silence) = lan.served(address);
        assert_eq!(names, [lan.nodes[owner].name]);
        assert!(silence <= 2 * PACE, "{address}: nothing for {silence:?}");
        assert!(lan.asked[&address] as u128 >= (lan.now - start).as_millis() / PACE.as_millis());
    }
    let speaker = lan.nodes[owner].speaker.as_ref().expect("it runs");
    let probed = speaker.counters().addresses[&IpAddr::V6(VIP6)].responses_sent;
    assert!(probed >= 10, "the client asked again and again whether it is still there: {probed}");
}

/// The owner loses its cable: both families come back together, as soon as the death is known.
#[test]
fn l1_dual_stack_takeover() {
    // A client that takes no unsolicited advertisement needs the directed solicitation.
    for sysctls in [Sysctls::default(), Sysctls { drop_unsolicited_na: true, ..Sysctls::default() }] {
        let mut lan = Lan::new(sysctls);
        let owner = lan.owner();
        let (old, new) = (lan.nodes[owner].name, lan.nodes[1 - owner].name);
        lan.switch.set_port_up(clock::instant(lan.now), lan.nodes[owner].port, false);
        lan.nodes[owner].speaker = None;
        lan.run_for(Duration::from_secs(6));
        for address in FAMILIES {
            let (names, silence) = lan.served(address);
            assert_eq!(names, [old, new], "{address}");
            assert!(silence < Duration::from_secs(4), "{address}: nothing for {silence:?}");
            assert_eq!(lan.neighbour(address).0, Some(lan.nodes[1 - owner].host.mac()));
        }
    }
}

/// SIGTERM: no question on either family stays without an answer.
#[test]
fn e13_dual_stack_departure_loses_nothing() {
    let mut lan = Lan::new(Sysctls::default());
    let owner = lan.owner();
    let now = lan.now;
    lan.nodes[owner].speaker.as_mut().expect("it runs").handle(now, Input::Shutdown);
    lan.run_for(Duration::from_secs(3));
    assert!(lan.nodes[owner].speaker.is_none(), "it has ended");
    for address in FAMILIES {
        let (names, silence) = lan.served(address);
        assert_eq!(names, [lan.nodes[owner].name, lan.nodes[1 - owner].name], "{address}");
        assert!(silence <= 2 * PACE, "{address}: nothing for {silence:?}");
    }
}
