//! Tests of the announcement schedule and its pacing.

use super::*;
use crate::random::stream;
use crate::wire::arp::parse;
use crate::wire::requesters::Requester;

const ETH0: InterfaceId = InterfaceId(2);
const ETH1: InterfaceId = InterfaceId(3);
const MAC0: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
const MAC1: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x12]);
const THIEF: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);

fn vip(number: u32) -> IpAddr {
    Ipv4Addr::from(0xac10_0000 + number).into()
}

fn at(millis: u64) -> Time {
    Time::from_micros(1_000_000_000 + millis * 1_000)
}

fn requester(last: u8, interface: InterfaceId) -> Requester {
    Requester { ip: [10, 0, 0, last].into(), mac: MacAddr([2, 0, 0, 0, 1, last]), interface }
}

/// Jobs on eth0, and on eth1 if there are two.
struct Rig {
    tasks: Gratuitous,
    requesters: Requesters,
    now: Time,
}

impl Rig {
    fn new(interfaces: &[(InterfaceId, MacAddr)]) -> Self {
        let mut tasks = Gratuitous::new(stream(&[9; 32], "jitter", b""));
        tasks.set_interfaces(&interfaces.iter().copied().collect());
        Self { tasks, requesters: Requesters::default(), now: at(0) }
    }

    fn announce(&mut self, address: IpAddr, on: &[InterfaceId]) {
        self.tasks.set_targets(self.now, address, &on.iter().copied().collect(), &self.requesters);
    }

    /// Everything that goes out until `end`, as (milliseconds, frame).
    fn run_until(&mut self, end: Time) -> Vec<(u64, Outgoing)> {
        let mut sent = Vec::new();
        loop {
            while let Some(outgoing) = self.tasks.poll(self.now, &self.requesters) {
                sent.push(((self.now - at(0)).as_millis() as u64, outgoing));
            }
            match self.tasks.poll_timeout() {
                Some(due) if due <= end => {
                    assert!(due > self.now, "poll_timeout must not stand still at {}", self.now);
                    self.now = due;
                }
                _ => {
                    self.now = end;
                    return sent;
                }
            }
        }
    }
}

/// Which form it is, checked field by field.
fn form(outgoing: &Outgoing) -> &'static str {
    let packet = parse(&outgoing.bytes).expect("our own frame");
    assert_eq!(outgoing.bytes.len(), 60);
    assert_eq!((packet.source, packet.sender_mac), (outgoing.mac, outgoing.mac));
    assert_eq!(IpAddr::V4(packet.sender_ip), outgoing.address);
    let broadcast = packet.destination == MacAddr::BROADCAST;
    let gratuitous = packet.target_ip == packet.sender_ip;
    match (packet.operation, broadcast, gratuitous) {
        (Operation::Request, true, true) => {
            assert_eq!(packet.target_mac, MacAddr([0; 6]));
            "gratuitous request"
        }
        (Operation::Request, false, false) => "directed request",
        (Operation::Reply, true, true) => {
            assert_eq!(packet.target_mac, packet.sender_mac);
            "gratuitous reply"
        }
        _ => panic!("no form of ours: {packet:?}"),
    }
}

#[test]
fn schedule_of_a_takeover() {
    for seed in 0..50 {
        let mut rig = Rig::new(&[(ETH0, MAC0)]);
        rig.tasks.random = stream(&[seed; 32], "jitter", b"");
        rig.announce(vip(1), &[ETH0]);
        let sent = rig.run_until(at(60_000));
        let forms: Vec<&str> = sent.iter().map(|(_, outgoing)| form(outgoing)).collect();
        assert_eq!(
            forms,
            [
                "gratuitous request",
                "gratuitous request",
                "gratuitous reply",
                "gratuitous request",
                "gratuitous request",
                "gratuitous reply",
                "gratuitous request",
                "gratuitous request"
            ]
        );
        let waves: Vec<(u64, u8)> = sent
            .iter()
            .filter_map(|(time, outgoing)| outgoing.begins.map(|wave| (*time, wave.expect("no refresh yet"))))
            .collect();
        for ((time, wave), (number, nominal)) in waves.iter().zip(ARP_WAVES.iter().enumerate()) {
            assert_eq!(usize::from(*wave), number);
            let off = time.abs_diff(*nominal);
            assert!(off <= nominal * JITTER / 100 + 1, "wave {wave} at {time} ms, seed {seed}");
        }
        assert_eq!(waves.len(), 6);
        assert_eq!(sent[1].0, sent[2].0, "the reply goes out beside the request");
    }
}

#[test]
fn w8_refresh_every_300_seconds_for_ever() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    rig.announce(vip(1), &[ETH0]);
    rig.run_until(at(40_000));
    let sent = rig.run_until(at(24 * 3_600_000));
    let times: Vec<u64> = sent.iter().map(|(time, _)| *time).collect();
    assert!((240..=360).contains(&times.len()), "{} in a day", times.len());
    for pair in times.windows(2) {
        assert!((240_000..=360_001).contains(&(pair[1] - pair[0])), "{pair:?}");
    }
    assert!(
        sent.iter()
            .all(|(_, outgoing)| form(outgoing) == "gratuitous request" && outgoing.begins == Some(None))
    );
}

#[test]
fn w9_a_confirmed_announcement_is_not_announced_again() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    rig.announce(vip(1), &[ETH0]);
    let mut frames = rig.run_until(at(500)).len();
    for millis in 0..300 {
        rig.announce(vip(1), &[ETH0]);
        frames += rig.run_until(at(500 + millis * 100)).len();
    }
    assert_eq!(frames, 8);
}

#[test]
fn directed_requests_go_to_recent_requesters_on_their_interface_after_the_gratuitous_one() {
    let mut rig = Rig::new(&[(ETH0, MAC0), (ETH1, MAC1)]);
    rig.requesters.heard(at(0), vip(1), requester(1, ETH0));
    rig.requesters.heard(at(0), vip(1), requester(2, ETH1));
    rig.requesters.heard(at(0), vip(1), requester(3, ETH0));
    rig.requesters.heard(at(0), vip(2), requester(4, ETH0));
    rig.announce(vip(1), &[ETH0, ETH1]);
    let sent: Vec<Outgoing> = rig.run_until(at(10)).into_iter().map(|(_, outgoing)| outgoing).collect();
    let targets = |id: InterfaceId| -> Vec<(&str, MacAddr)> {
        let of = sent.iter().filter(|outgoing| outgoing.interface == id);
        of.map(|outgoing| (form(outgoing), parse(&outgoing.bytes).expect("ours").destination)).collect()
    };
    let all = MacAddr::BROADCAST;
    assert_eq!(
        targets(ETH0),
        [
            ("gratuitous request", all),
            ("directed request", requester(1, ETH0).mac),
            ("directed request", requester(3, ETH0).mac)
        ]
    );
    assert_eq!(targets(ETH1), [("gratuitous request", all), ("directed request", requester(2, ETH1).mac)]);
    let target = parse(&sent[1].bytes).expect("ours").target_ip;
    assert_eq!(
        target,
        requester(1, ETH0).ip,
        "the requester is asked for its own address, so that it must listen"
    );
    let again = rig.run_until(at(60_000));
    let again: Vec<u64> = again
        .iter()
        .filter(|(_, sent)| form(sent) == "directed request")
        .map(|(millis, _)| *millis)
        .collect();
    assert_eq!(again.len(), 3, "each once more, and no more: {again:?}");
    assert!(again.iter().all(|millis| (180..=220).contains(millis)), "with the wave after 0.2 s: {again:?}");
}

#[test]
fn pacing_200_at_once_then_1000_a_second_requesters_first() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    rig.requesters.heard(at(0), vip(777), requester(1, ETH0));
    for number in 0..1_000 {
        rig.announce(vip(number), &[ETH0]);
    }
    let sent = rig.run_until(at(5_000));
    let first: Vec<&(u64, Outgoing)> = sent.iter().take_while(|(time, _)| *time == 0).collect();
    assert_eq!(first.len(), 200);
    assert_eq!(first[0].1.address, vip(777), "somebody uses that one");
    let mut by_second = BTreeMap::<u64, u64>::new();
    for (time, _) in &sent {
        *by_second.entry(time / 1_000).or_default() += 1;
    }
    assert!(
        by_second[&0] <= 1_200 && by_second.values().skip(1).all(|frames| *frames <= 1_001),
        "{by_second:?}"
    );
    let announced: BTreeSet<IpAddr> =
        sent.iter().filter(|(time, _)| *time <= 1_400).map(|(_, outgoing)| outgoing.address).collect();
    assert_eq!(announced.len(), 1_000, "each once before the waves of the first delay the last");
    assert!(rig.tasks.delays() > 0);
}

#[test]
fn refreshes_are_at_most_10_a_second() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    for number in 0..5_000 {
        rig.announce(vip(number), &[ETH0]);
    }
    rig.run_until(at(100_000));
    let sent = rig.run_until(at(1_000_000));
    let refreshes: Vec<u64> =
        sent.iter().filter(|(_, out)| out.begins == Some(None)).map(|(time, _)| *time).collect();
    assert!(refreshes.len() > 5_000);
    for eleven in refreshes.windows(21) {
        assert!(eleven[20] - eleven[0] >= 999, "20 frames after a burst of 10 take a second: {eleven:?}");
    }
}

#[test]
fn w12_a_changed_mac_and_a_returned_interface_announce_again() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    rig.announce(vip(1), &[ETH0]);
    rig.run_until(at(60_000));
    rig.tasks.set_interfaces(&[(ETH0, MAC1)].into());
    rig.announce(vip(1), &[ETH0]);
    let sent = rig.run_until(at(60_100));
    assert_eq!(sent.iter().map(|(_, outgoing)| outgoing.mac).collect::<Vec<_>>(), [MAC1]);
    rig.tasks.set_interfaces(&BTreeMap::new());
    rig.announce(vip(1), &[]);
    assert_eq!(rig.tasks.poll_timeout(), None, "an interface without carrier carries nothing");
    rig.tasks.set_interfaces(&[(ETH0, MAC1)].into());
    rig.announce(vip(1), &[ETH0]);
    assert_eq!(rig.run_until(at(120_000)).len(), 8);
}

#[test]
fn d76_nothing_is_left_after_withdrawal() {
    let mut rig = Rig::new(&[(ETH0, MAC0), (ETH1, MAC1)]);
    rig.requesters.heard(at(0), vip(1), requester(1, ETH0));
    for passed in [0, 100, 190, 250, 5_000, 40_000] {
        rig.announce(vip(1), &[ETH0, ETH1]);
        rig.tasks.defend(rig.now, vip(1), ETH0, THIEF);
        rig.run_until(rig.now + Duration::from_millis(passed));
        rig.announce(vip(1), &[ETH1]);
        rig.run_until(rig.now + Duration::from_millis(1));
        assert!(
            rig.run_until(rig.now + Duration::from_secs(30)).iter().all(|(_, out)| out.interface == ETH1)
        );
        rig.announce(vip(1), &[]);
        assert_eq!(rig.tasks.poll_timeout(), None, "after {passed} ms");
        let queues = rig.tasks.queues.values();
        assert!(queues.into_iter().all(|queue| queue.prompt.is_empty() && queue.refresh.is_empty()));
    }
}

#[test]
fn x17_a_defence_is_one_request_each_second() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    rig.tasks.defend(at(0), vip(1), ETH0, THIEF);
    assert_eq!(rig.tasks.poll_timeout(), None, "nothing to defend");
    rig.announce(vip(1), &[ETH0]);
    rig.run_until(at(60_000));
    let mut sent = Vec::new();
    for _ in 0..1_000 {
        rig.tasks.defend(rig.now, vip(1), ETH0, THIEF);
        let next = rig.now + Duration::from_millis(10);
        sent.extend(rig.run_until(next));
    }
    assert_eq!(sent.len(), 10, "ten seconds of a forged flood buy ten frames");
    let is_defence = |out: &Outgoing| {
        form(out) == "gratuitous request" && out.against == Some(THIEF) && out.begins.is_none()
    };
    assert!(sent.iter().all(|(_, outgoing)| is_defence(outgoing)));
}

#[test]
fn l4_a_reminder_is_short_and_at_most_one_a_second() {
    let mut rig = Rig::new(&[(ETH0, MAC0)]);
    rig.announce(vip(1), &[ETH0]);
    rig.tasks.reannounce(at(0), vip(1), &rig.requesters);
    rig.run_until(at(60_000));
    rig.requesters.heard(rig.now, vip(1), requester(1, ETH0));
    let (now, address) = (rig.now, vip(1));
    rig.tasks.reannounce(now, address, &rig.requesters);
    rig.tasks.reannounce(now, address, &rig.requesters);
    let sent = rig.run_until(at(70_000));
    let forms: Vec<&str> = sent.iter().map(|(_, outgoing)| form(outgoing)).collect();
    assert_eq!(
        forms,
        [
            "gratuitous request",
            "directed request",
            "gratuitous request",
            "gratuitous reply",
            "directed request",
            "gratuitous request"
        ]
    );
    rig.tasks.reannounce(rig.now, vip(2), &rig.requesters);
    assert_eq!(rig.run_until(at(80_000)), [], "an address that is not announced");
}
