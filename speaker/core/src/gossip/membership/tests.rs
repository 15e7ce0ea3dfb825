//! Clusters of member lists in virtual time, over a network that loses datagrams.

use super::*;
use crate::gossip::swim::SUSPECT_TO_DOWN;
use crate::ownership::reach::Link;
use crate::random::Stream;
use rand::RngExt;
use sha2::{Digest, Sha256};

/// One network, all nodes of it, and what each has said of the others.
struct Net {
    now: Time,
    nodes: Vec<Option<Membership>>,
    flying: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    random: Stream,
    loss: f64,
    /// Pairs that hear each other only within their side.
    sides: Option<BTreeSet<usize>>,
    sequence: u64,
    log: Vec<(Time, usize, Output)>,
    /// A hash of every byte sent.
    sent: Sha256,
}

fn name(node: usize) -> NodeName {
    format!("n{node}").into()
}

fn address(node: usize) -> SocketAddr {
    ([172, 16, 16, u8::try_from(node + 11).expect("few nodes")], 7946).into()
}

fn settings(node: usize, boot_id: u64, seed: u64) -> Settings {
    Settings {
        node: name(node),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: Some(address(node)),
        gossip_secret: Some(b"secret".to_vec()),
        boot_id,
        seed: stream(&[0; 32], "seed", &seed.to_be_bytes()).random(),
    }
}

/// What the node can announce on: one interface, called after the node.
fn reach_of(node: usize) -> Reach {
    let links = [(format!("eth{node}"), Link::default())].into();
    Reach { any: (true, true), cut: false, links, lacks: None }
}

impl Net {
    /// A cluster whose nodes all know each other's Pods, and nothing else.
    fn new(size: usize, loss: f64, seed: u64) -> Self {
        let mut net = Self {
            now: Time::ZERO,
            nodes: (0..size).map(|_| None).collect(),
            flying: BTreeMap::new(),
            random: stream(&[1; 32], "net", &seed.to_be_bytes()),
            loss,
            sides: None,
            sequence: 0,
            log: Vec::new(),
            sent: Sha256::new(),
        };
        for node in 0..size {
            net.boot(node, 1, seed);
        }
        net
    }

    fn boot(&mut self, node: usize, boot_id: u64, seed: u64) {
        let mut member = Membership::new(&settings(node, boot_id, seed), address(node));
        let peers: Vec<Peer> = (0..self.nodes.len())
            .map(|peer| Peer { node: name(peer), address: address(peer).ip(), is_running: true })
            .collect();
        member.set_reach(self.now, reach_of(node));
        member.set_peers(self.now, &peers);
        self.nodes[node] = Some(member);
        self.drain(node);
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timer = self.nodes.iter().enumerate().filter_map(|(node, member)| {
                member.as_ref().and_then(Membership::poll_timeout).map(|due| (due, node))
            });
            let timer = timer.min();
            let packet = self.flying.keys().next().copied();
            let next = timer.map(|(due, _)| due).into_iter().chain(packet.map(|(due, _)| due)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            let node = match packet.filter(|(due, _)| *due <= next) {
                Some(key) => {
                    let (to, bytes) = self.flying.remove(&key).expect("it was just seen");
                    if let Some(member) = &mut self.nodes[to] {
                        // All are genuine, but some of a life that is over.
                        let refused = member.handle_datagram(self.now, &bytes).err();
                        assert!(matches!(refused, None | Some(GossipRejection::OldBoot)), "{refused:?}");
                    }
                    to
                }
                None => {
                    let (_, node) = timer.expect("one of the two is next");
                    let member = self.nodes[node].as_mut().expect("it has a timer");
                    member.handle_timeout(self.now);
                    node
                }
            };
            self.drain(node);
        }
        self.now = end;
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].as_mut().and_then(Membership::poll_output) {
            let Output::Send(to, bytes) = output else {
                self.log.push((self.now, node, output));
                continue;
            };
            let to = (0..self.nodes.len()).find(|peer| address(*peer) == to).expect("a known address");
            let cut = self.sides.as_ref().is_some_and(|side| side.contains(&node) != side.contains(&to));
            let lost = self.random.random_bool(self.loss);
            let delay = Duration::from_micros(self.random.random_range(100..1_000));
            self.sent.update(&bytes);
            if !cut && !lost {
                self.sequence += 1;
                self.flying.insert((self.now + delay, self.sequence), (to, bytes));
            }
        }
    }

    /// Whether every living node sees exactly the living nodes.
    fn agrees(&self) -> bool {
        let living: BTreeSet<NodeName> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).map(name).collect();
        self.nodes.iter().flatten().all(|member| *member.alive() == living)
    }

    fn downs(&self) -> usize {
        self.log.iter().filter(|(_, _, output)| matches!(output, Output::Down(_))).count()
    }

    /// Runs until all agree and gives how long that took.
    fn until_agreed(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        while !self.agrees() {
            assert!(self.now.since(start) < limit, "no agreement within {limit:?}");
            self.run_for(Duration::from_millis(1));
        }
        self.now.since(start)
    }
}

mod reports;
mod unheard;

const SIZES: [usize; 3] = [2, 3, 10];
const LOSSES: [f64; 3] = [0.0, 0.05, 0.2];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn e10_all_meet_through_their_pods() {
    for size in SIZES {
        for loss in LOSSES {
            for seed in 0..3 {
                let mut net = Net::new(size, loss, seed);
                let took = net.until_agreed(ms(8_000));
                assert!(loss > 0.0 || took < ms(250), "{size} nodes took {took:?}");
                net.run_for(ms(4_000));
                assert!(net.nodes.iter().flatten().all(Membership::is_joined), "{size} nodes, loss {loss}");
            }
        }
    }
}

#[test]
fn e30_a_dead_node_is_noticed_in_time_and_no_other() {
    for size in SIZES {
        for loss in LOSSES {
            let mut took = Vec::new();
            for seed in 0..if size == 10 { 4 } else { 12 } {
                let mut net = Net::new(size, loss, seed);
                net.run_for(ms(10_000 + seed * 37));
                assert!(net.agrees());
                assert_eq!(net.downs(), 0, "{size} nodes, loss {loss}, seed {seed}: false death");
                net.nodes[0] = None;
                took.push(net.until_agreed(ms(5_000)));
                assert_eq!(
                    net.downs(),
                    size - 1,
                    "{size} nodes, loss {loss}, seed {seed}: only the dead one"
                );
            }
            took.sort();
            let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
            assert!(took[0] >= SUSPECT_TO_DOWN, "{size} nodes, loss {loss}: {took:?}");
            assert!(median <= ms(2_000) || size == 10, "{size} nodes, loss {loss}: median {median:?}");
            assert!(worst <= ms(3_500), "{size} nodes, loss {loss}: worst {worst:?}");
        }
    }
}

#[test]
fn no_false_death_at_20_percent_loss_in_twenty_node_minutes() {
    for size in [2, 3, 5] {
        let mut net = Net::new(size, 0.2, 99);
        net.run_for(ms(120_000));
        assert_eq!((net.downs(), net.agrees()), (0, true), "{size} nodes");
    }
}

#[test]
fn l4_two_sides_that_gave_each_other_up_meet_again() {
    for (size, side) in [(2, vec![0]), (3, vec![0]), (10, vec![0, 1, 2, 3])] {
        for seed in 0..2 {
            let mut net = Net::new(size, 0.01, seed);
            net.run_for(ms(10_000));
            net.sides = Some(side.iter().copied().collect());
            net.run_for(ms(20_000));
            let other = net.nodes[size - 1].as_ref().expect("alive");
            assert_eq!(other.alive().len(), size - side.len(), "each side is alone");
            net.sides = None;
            let took = net.until_agreed(ms(5_000));
            assert!(took <= ms(2_500), "{size} nodes, seed {seed}: {took:?}");
            let downs = net.downs();
            net.run_for(ms(30_000));
            assert_eq!((net.downs(), net.agrees()), (downs, true), "and they stay together");
        }
    }
}

#[test]
fn a_restarted_speaker_wins_over_what_it_was() {
    for size in [2, 3, 10] {
        let mut net = Net::new(size, 0.01, 7);
        net.run_for(ms(5_000));
        let before = net.log.len();
        net.boot(1, 2, 7);
        let took = net.until_agreed(ms(3_000));
        assert!(took <= ms(1_200), "{size} nodes: {took:?}");
        net.run_for(ms(10_000));
        let others = net.log[before..].iter().filter(|(_, node, _)| *node != 1);
        let others: Vec<&Output> = others.map(|(_, _, output)| output).collect();
        assert!(others.iter().all(|output| **output == Output::Restarted(name(1))), "{others:?}");
        assert_eq!(others.len(), size - 1, "each of the others hears of it once");
    }
}

#[test]
fn t20_a_clock_that_went_back_is_outbid() {
    for size in [2, 3] {
        let mut net = Net::new(size, 0.0, 3);
        net.nodes[1] = None;
        net.boot(1, 1_000_000, 3);
        net.run_for(ms(5_000));
        assert!(net.agrees());
        // The same node again, its clock at the epoch: its datagrams are refused as
        // those of an old life until it hears of its later one.
        let boot = |net: &Net| net.nodes[1].as_ref().expect("alive").swim.identity().boot();
        net.boot(1, 5, 4);
        net.run_for(ms(3_000));
        assert!(net.agrees(), "{:?}", net.nodes);
        assert_eq!(boot(&net), 1_000_001);
    }
}

#[test]
fn e14_a_leave_reaches_everybody_in_one_packet_time() {
    for size in SIZES {
        let mut net = Net::new(size, 0.0, 11);
        net.run_for(ms(5_000));
        net.nodes[0].as_mut().expect("alive").leave();
        net.drain(0);
        net.run_for(ms(2));
        let others = net.nodes.iter().flatten().skip(1);
        assert!(others.into_iter().all(|member| !member.alive().contains(&name(0))), "{size} nodes");
        net.run_for(ms(10_000));
        let left = net.nodes[0].as_ref().expect("still there, but silent");
        assert_eq!(left.poll_timeout(), None);
        assert_eq!(net.downs(), size - 1, "nobody takes it in again");
    }
}

#[test]
fn a_pause_of_one_second_kills_nobody() {
    for seed in 0..20 {
        let mut net = Net::new(3, 0.0, seed);
        net.run_for(ms(5_000 + seed * 13));
        // What arrives meanwhile waits; then it is read before any timer runs.
        let mut asleep = net.nodes[2].take();
        let start = net.now;
        let mut waiting = Vec::new();
        while net.now.since(start) < ms(1_000) {
            waiting.extend(net.flying.extract_if(.., |_, (to, _)| *to == 2).map(|(_, (_, bytes))| bytes));
            net.run_for(Duration::from_micros(100));
        }
        if let Some(member) = &mut asleep {
            for bytes in &waiting {
                member.handle_datagram(net.now, bytes).expect("genuine");
            }
        }
        net.nodes[2] = asleep;
        net.drain(2);
        net.run_for(ms(10_000));
        assert_eq!((net.downs(), net.agrees()), (0, true), "seed {seed}");
    }
}

#[test]
fn w15_joined_means_the_whole_list() {
    let peers = |nodes: &[usize]| -> Vec<Peer> {
        nodes
            .iter()
            .map(|node| Peer { node: name(*node), address: address(*node).ip(), is_running: true })
            .collect()
    };
    for (known, expected) in [(&[][..], false), (&[1][..], false), (&[0][..], true), (&[0, 1][..], false)] {
        let mut member = Membership::new(&settings(0, 1, 1), address(0));
        assert!(!member.is_joined(), "before the first list");
        member.set_peers(Time::ZERO, &peers(known));
        assert_eq!(member.is_joined(), expected, "{known:?}");
    }
}

#[test]
fn t5_t6_nothing_is_believed_that_is_not_from_its_sender() {
    let mut net = Net::new(2, 0.0, 1);
    net.run_for(ms(3_000));
    let mut peer = Membership::new(&settings(1, 9, 5), address(1));
    peer.set_peers(net.now, &[Peer { node: name(0), address: address(0).ip(), is_running: true }]);
    let Some(Output::Send(_, datagram)) = peer.poll_output() else { panic!("it announces") };
    // An insider that seals in its own name a message of another.
    let opened = net.nodes[0].as_mut().expect("alive").swim.open(&datagram);
    let message = opened.expect("the key is right").payload;
    let insider = stream(&[1; 32], "insider", b"");
    let mut insider = Envelope::new("n7".into(), 1, Some(b"secret"), insider);
    let member = net.nodes[0].as_mut().expect("alive");
    let before = member.alive().clone();
    for (bytes, reason) in [
        (insider.seal(&message), GossipRejection::WrongSender),
        (insider.seal(b"no message"), GossipRejection::Malformed),
        (datagram, GossipRejection::Replayed),
        (vec![], GossipRejection::Truncated),
    ] {
        assert_eq!(member.handle_datagram(net.now, &bytes), Err(reason));
    }
    assert_eq!(*member.alive(), before);
}

#[test]
fn same_seed_same_datagrams() {
    let run = |seed| {
        let mut net = Net::new(5, 0.05, seed);
        net.run_for(ms(5_000));
        (net.sent.finalize(), net.log)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn random_datagrams_never_panic() {
    let mut random = stream(&[2; 32], "noise", b"");
    let plain = Settings { gossip_secret: None, ..settings(0, 1, 1) };
    let mut members = [Membership::new(&settings(0, 1, 1), address(0)), Membership::new(&plain, address(0))];
    for round in 0..20_000 {
        let length = random.random_range(0..200);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        if let Some(version) = bytes.first_mut() {
            *version %= 3;
        }
        for member in &mut members {
            let _ = member.handle_datagram(Time::from_micros(round), &bytes);
            member.handle_timeout(Time::from_micros(round));
            while member.poll_output().is_some() {}
        }
    }
}
