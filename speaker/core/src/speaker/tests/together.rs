//! Several speakers on one segment: takeover, departure, partition, return.

use super::*;
use std::collections::VecDeque;

/// Speakers joined by a segment without delay for frames, with one millisecond
/// for gossip, and one client that asks.
pub(super) struct Lan {
    pub(super) now: Time,
    pub(super) speakers: Vec<Option<Speaker>>,
    flying: VecDeque<(Time, SocketAddr, usize, Vec<u8>)>,
    /// Nodes that neither hear nor are heard.
    cut: BTreeSet<usize>,
    pub(super) log: Vec<(Time, usize, Notice)>,
    /// Events, and changes of `ServiceL2Status` objects.
    pub(super) told: Vec<(Time, usize, Report)>,
    /// Frames seen on the wire.
    frames: Vec<(Time, usize, Packet)>,
    pub(super) messages: Vec<(Time, usize, ndp::Message)>,
    pub(super) exited: BTreeMap<usize, Time>,
}

impl Lan {
    pub(super) fn new(count: usize, services: &[Service]) -> Self {
        let mut lan = Self::without_speakers(count);
        for own in 0..count {
            lan.boot(own, 1, services);
        }
        lan
    }

    pub(super) fn without_speakers(count: usize) -> Self {
        Self {
            now: Time::ZERO,
            speakers: (0..count).map(|_| None).collect(),
            flying: VecDeque::new(),
            cut: BTreeSet::new(),
            log: Vec::new(),
            told: Vec::new(),
            frames: Vec::new(),
            messages: Vec::new(),
            exited: BTreeMap::new(),
        }
    }

    pub(super) fn boot(&mut self, own: usize, boot_id: u64, services: &[Service]) {
        let mut speaker = Speaker::new(Settings { boot_id, ..settings(own) });
        tell(&mut speaker, self.now, own, self.speakers.len(), services);
        self.speakers[own] = Some(speaker);
        self.route(own);
    }

    pub(super) fn handle(&mut self, node: usize, input: Input<'_>) {
        if let Some(speaker) = &mut self.speakers[node] {
            speaker.handle(self.now, input);
        }
        self.route(node);
    }

    /// Carries out what a node asks for.
    pub(super) fn route(&mut self, node: usize) {
        let Some(speaker) = &mut self.speakers[node] else { return };
        for effect in drain(speaker) {
            match effect {
                Effect::Report(Report::Notice(notice)) => self.log.push((self.now, node, notice)),
                Effect::Report(report) => self.told.push((self.now, node, report)),
                Effect::Exit => {
                    self.exited.insert(node, self.now);
                    self.speakers[node] = None;
                }
                Effect::SendDatagram { to, bytes } if !self.cut.contains(&node) => {
                    self.flying.push_back((self.now + ms(1), to, node, bytes));
                }
                Effect::SendFrame { bytes, .. } if !self.cut.contains(&node) => self.deliver(node, &bytes),
                Effect::SendDatagram { .. } | Effect::SendFrame { .. } => {}
                Effect::JoinGroup { .. } | Effect::LeaveGroup { .. } => {}
            }
        }
    }

    fn deliver(&mut self, from: usize, bytes: &[u8]) {
        if is_ipv6(bytes) {
            self.messages.push((self.now, from, ndp::parse(bytes).expect("our own frame")));
        } else {
            self.frames.push((self.now, from, parse(bytes).expect("our own frame")));
        }
        for other in (0..self.speakers.len()).filter(|other| *other != from) {
            if !self.cut.contains(&other) {
                self.handle(other, Input::Frame { interface: ETH0, bytes });
            }
        }
    }

    pub(super) fn run_until(&mut self, end: Time) {
        loop {
            let timers = self.speakers.iter().enumerate();
            let timer =
                timers.filter_map(|(node, speaker)| Some((speaker.as_ref()?.poll_timeout()?, node))).min();
            let packet = self.flying.front().map(|(due, ..)| *due);
            let next = timer.map(|(due, _)| due).into_iter().chain(packet).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if packet.is_some_and(|due| due <= next) {
                let Some((_, to, from, bytes)) = self.flying.pop_front() else { break };
                let to = (0..self.speakers.len()).find(|node| address(*node) == to).expect("a node");
                if !self.cut.contains(&to) {
                    self.handle(to, Input::Datagram { from: address(from), bytes: &bytes });
                }
            } else if let Some((_, node)) = timer {
                self.handle(node, Input::Timeout);
            }
        }
        self.now = end;
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// The client asks, and gives who answers.
    fn ask(&mut self, target: Ipv4Addr) -> Vec<usize> {
        let start = self.frames.len();
        for node in 0..self.speakers.len() {
            if !self.cut.contains(&node) {
                self.handle(node, Input::Frame { interface: ETH0, bytes: &request(target) });
            }
        }
        self.frames[start..].iter().map(|(_, node, _)| *node).collect()
    }

    /// How often a node has begun to announce an address.
    pub(super) fn claims(&self, node: usize) -> usize {
        let claim = |(_, of, notice): &&(Time, usize, Notice)| {
            *of == node && matches!(notice, Notice::Announced { .. })
        };
        self.log.iter().filter(claim).count()
    }

    pub(super) fn owners(&self, address: impl Into<IpAddr>) -> Vec<usize> {
        let address = address.into();
        let owns = |speaker: &Speaker| speaker.announced().any(|entry| entry.address == address);
        let speakers = self.speakers.iter().enumerate();
        speakers.filter(|(_, speaker)| speaker.as_ref().is_some_and(owns)).map(|(node, _)| node).collect()
    }
}

pub(super) fn services(count: u8) -> Vec<Service> {
    (1..=count).map(|last| service(&format!("s{last}"), &[vip(last).into()])).collect()
}

#[test]
fn w15_nobody_claims_what_another_owns_while_starting() {
    let mut lan = Lan::new(3, &services(30));
    lan.run_until(at(5_000));
    for last in 1..=30 {
        assert_eq!(lan.owners(vip(last)).len(), 1);
    }
    let withdrawn = lan.log.iter().filter(|(.., notice)| matches!(notice, Notice::Withdrawn { .. }));
    assert_eq!(withdrawn.count(), 0, "nothing was claimed and given back");
}

#[test]
fn w15_e35_a_restarted_speaker_claims_only_its_own() {
    let mut lan = Lan::new(3, &services(30));
    lan.run_until(at(5_000));
    let before: Vec<Vec<usize>> = (1..=30).map(|last| lan.owners(vip(last))).collect();
    let logged = lan.log.len();
    lan.speakers[1] = None;
    lan.run_for(ms(200));
    lan.boot(1, 2, &services(30));
    lan.run_for(ms(5_000));
    let after: Vec<Vec<usize>> = (1..=30).map(|last| lan.owners(vip(last))).collect();
    assert_eq!(before, after);
    let others = lan.log[logged..].iter().filter(|(_, node, _)| *node != 1);
    let moved = |notice: &Notice| matches!(notice, Notice::Withdrawn { .. } | Notice::Announced { .. });
    assert_eq!(others.filter(|(.., notice)| moved(notice)).count(), 0, "no move");
}

#[test]
fn e30_the_owner_dies_and_another_answers() {
    let mut lan = Lan::new(2, &services(1));
    lan.run_until(at(10_000));
    let owner = lan.owners(vip(1))[0];
    assert_eq!(lan.ask(vip(1)), [owner]);
    lan.speakers[owner] = None;
    lan.run_for(ms(1_000));
    assert_eq!(lan.ask(vip(1)), Vec::<usize>::new());
    lan.run_for(ms(1_500));
    assert_eq!(lan.ask(vip(1)), [1 - owner]);
    let directed = lan.frames.iter().filter(|(time, node, packet)| {
        *time > at(11_000)
            && *node != owner
            && packet.operation == Operation::Request
            && (packet.target_ip, packet.sender_ip) == (CLIENT, vip(1))
    });
    assert_eq!(directed.count(), 2, "directed requests, at once and after 0.2 s");
}

#[test]
fn e13_a_departure_loses_no_answer() {
    // From .11 on are the nodes' own.
    for count in [2, 3] {
        let mut lan = Lan::new(count, &services(10));
        lan.run_until(at(10_000));
        let leaver = lan.owners(vip(1))[0];
        lan.handle(leaver, Input::Shutdown);
        let begun = lan.now;
        for step in 0..150 {
            for last in 1..=10 {
                assert!(!lan.ask(vip(last)).is_empty(), "{count} nodes, step {step}, address {last}");
            }
            lan.run_for(ms(10));
        }
        let exit = lan.exited.get(&leaver).copied().expect("it ends");
        assert!(exit.since(begun) < ms(100), "it ends when the last address is taken: {:?}", exit - begun);
        for last in 1..=10 {
            assert_eq!(lan.owners(vip(last)).len(), 1);
        }
    }
}

#[test]
fn e13_a_departure_that_nobody_hears_ends_after_a_second() {
    let mut lan = Lan::new(2, &services(20));
    lan.run_until(at(10_000));
    lan.cut = [1].into();
    lan.handle(0, Input::Shutdown);
    lan.run_for(ms(999));
    let waiting = lan.speakers[0].as_ref().expect("it serves on");
    let own = (1..=20).map(vip).find(|ip| waiting.announced().any(|entry| entry.address == *ip));
    let own = own.expect("it owns some");
    assert_eq!(lan.ask(own), [0]);
    lan.run_for(ms(1));
    assert_eq!(lan.exited.get(&0), Some(&at(11_000)));
    let leaving = |notice: &Notice| {
        matches!(notice, Notice::Withdrawn { reason: WithdrawReason::Leaving, owner: Some(_), .. })
    };
    assert!(lan.log.iter().any(|(_, node, notice)| *node == 0 && leaving(notice)));
}

#[test]
fn e13_the_last_one_leaves_at_once() {
    let mut lan = Lan::new(1, &services(3));
    lan.run_until(at(4_000));
    assert_eq!(lan.owners(vip(1)), [0]);
    lan.handle(0, Input::Shutdown);
    assert_eq!(lan.exited.get(&0), Some(&at(4_000)));
}

#[test]
fn l4_after_a_partition_the_winner_announces_again() {
    let mut lan = Lan::new(2, &services(10));
    lan.run_until(at(40_000));
    let mine: Vec<u8> = (1..=10).filter(|last| lan.owners(vip(*last)) == [0]).collect();
    lan.cut = [1].into();
    lan.run_for(ms(40_000));
    for last in 1..=10 {
        assert_eq!(lan.owners(vip(last)), [0, 1], "each side has an owner");
    }
    lan.cut.clear();
    let healed = lan.now;
    let sent = lan.frames.len();
    lan.run_for(ms(2_000));
    for last in 1..=10 {
        assert_eq!(lan.owners(vip(last)).len(), 1);
        assert_eq!(lan.ask(vip(last)).len(), 1);
    }
    for last in mine {
        let again = lan.frames[sent..].iter().filter(|(_, node, packet)| {
            *node == 0 && packet.sender_ip == vip(last) && packet.destination == MacAddr::BROADCAST
        });
        let again: Vec<Time> = again.map(|(time, ..)| *time).collect();
        assert!(!again.is_empty() && again[0].since(healed) <= ms(2_000), "address {last}: {again:?}");
        assert!(again.len() <= 6, "and not for ever: {again:?}");
    }
}
