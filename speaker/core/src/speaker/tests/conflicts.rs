//! Claims of other stations: what is an ordinary move, and what is not (W7, X17).

use super::together::{Lan, services};
use super::*;
use ferrolb_api::node::EXCLUDE_LABEL;

const THIEF: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);

/// "I am at `target`", as a reply to `target` itself.
fn claim(target: Ipv4Addr) -> Vec<u8> {
    let packet = Packet {
        destination: MacAddr::BROADCAST,
        source: THIEF,
        operation: Operation::Reply,
        sender_mac: THIEF,
        sender_ip: target,
        target_mac: THIEF,
        target_ip: target,
    };
    packet.to_frame()
}

/// When a speaker tells of a conflict in the log, while it hears a claim at each of
/// `claims`; and the Events.
fn told(speaker: &mut Speaker, claims: &[u64], end: u64) -> (Vec<u64>, Vec<(u64, String, String)>) {
    let (mut told, mut events) = (Vec::new(), Vec::new());
    let mut claims = claims.iter().copied().peekable();
    loop {
        let timer = speaker.poll_timeout().map_or(end, |due| due.as_micros().div_ceil(1_000));
        let now = claims.peek().copied().unwrap_or(end).min(timer);
        if now >= end {
            return (told, events);
        }
        if claims.next_if_eq(&now).is_some() {
            speaker.handle(at(now), Input::Frame { interface: ETH0, bytes: &claim(vip(1)) });
        } else {
            speaker.handle(at(now), Input::Timeout);
        }
        let conflict = Notice::Conflict { address: vip(1).into(), interface: ETH0, mac: THIEF };
        let effects = drain(speaker);
        told.extend(notices(&effects).into_iter().filter(|notice| **notice == conflict).map(|_| now));
        events.extend(reports(&effects).filter_map(|report| match report {
            Report::Event { service, reason: EventReason::AddressConflict, message, .. } => {
                Some((now, service.name().to_owned(), message.clone()))
            }
            _ => None,
        }));
    }
}

/// The Nodes of a cluster of two, of which `excluded` may not announce.
fn nodes(excluded: Option<usize>) -> Input<'static> {
    let mut nodes: Vec<Node> = (0..2).map(node).collect();
    if let Some(excluded) = excluded {
        nodes[excluded].labels.insert(EXCLUDE_LABEL.to_owned(), String::new());
    }
    Input::Nodes(nodes)
}

#[test]
fn w7_x17_w48_a_move_that_one_node_hears_of_before_the_other_is_no_conflict() {
    let mut all = services(20);
    all.push(service("six", &["fd00::1".parse().expect("legal")]));
    let mut lan = Lan::new(2, &all);
    lan.run_until(at(40_000));
    for (excluded, first) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for late in [0, 1, 20, 190] {
            for excluded in [Some(excluded), None] {
                lan.handle(first, nodes(excluded));
                lan.run_for(ms(late));
                lan.handle(1 - first, nodes(excluded));
                lan.run_for(ms(3_000));
            }
        }
    }
    let moves = lan.log.iter().filter(|(.., notice)| matches!(notice, Notice::Withdrawn { .. })).count();
    assert!(moves > 200, "{moves} moves");
    let told = lan.log.iter().filter(|(.., notice)| matches!(notice, Notice::Conflict { .. }));
    assert_eq!(told.collect::<Vec<_>>(), Vec::<&(Time, usize, Notice)>::new());
    let counted = lan.speakers.iter().flatten().map(|speaker| speaker.counters().conflicts);
    assert_eq!(counted.sum::<u64>(), 0);
}

#[test]
fn w7_x17_a_claim_that_stands_is_told_within_200_ms_and_once_a_second() {
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 1, &services(1));
    assert_eq!(told(&mut speaker, &[60_000], 62_000).0, [60_200], "said once");
    let flood: Vec<u64> = (70_000..73_000).step_by(100).collect();
    assert_eq!(told(&mut speaker, &flood, 80_000).0, [70_200, 71_200, 72_200]);
    assert_eq!(speaker.counters().conflicts, 4);
}

#[test]
fn w7_x17_a_thief_who_answers_a_new_owner_is_told_of_soon() {
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 1, &services(1));
    // It answers the first request, as the last owner might; and the second.
    assert_eq!(told(&mut speaker, &[1, 221], 3_000).0, [421]);
    assert_eq!(speaker.counters().conflicts, 1);
}

#[test]
fn x17_a_conflict_is_one_event_on_each_service_that_has_the_address() {
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 1, &[service("a", &[vip(1).into()]), service("b", &[vip(1).into()])]);
    let (logged, events) = told(&mut speaker, &[60_000, 70_000, 80_000], 90_000);
    let text = "another station, 02:00:00:00:00:66 on eth0 of node \"wk01\", says that it has 172.16.16.1; find it \
                by its hardware address and give it another one";
    let expected = ["a", "b"].map(|name| (60_200, name.to_owned(), text.to_owned()));
    assert_eq!(events, expected);
    assert_eq!(logged, [60_200, 70_200, 80_200]);
}
