//! IPv6: from a Service to groups, announcements and answers.

use super::*;
use crate::wire::ndp::{ALL_NODES, Kind, Message, solicited_node};

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
const FOREIGN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);

fn vip6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

fn dual(name: &str, last: u8) -> Service {
    service(name, &[vip(last).into(), vip6(last.into()).into()])
}

fn single(services: &[Service]) -> Speaker {
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 1, services);
    speaker
}

fn solicitation(target: Ipv6Addr) -> Message {
    let [.., c, d] = solicited_node(target).segments();
    let ([c1, c2], [d1, d2]) = (c.to_be_bytes(), d.to_be_bytes());
    Message {
        destination: MacAddr([0x33, 0x33, c1, c2, d1, d2]),
        source: CLIENT_MAC,
        from: CLIENT6,
        to: solicited_node(target),
        kind: Kind::Solicitation,
        target,
        link_layer: Some(CLIENT_MAC),
    }
}

fn hear(speaker: &mut Speaker, now: Time, message: Message) -> Vec<Effect> {
    drain(speaker);
    speaker.handle(now, Input::Frame { interface: ETH0, bytes: &message.to_frame() });
    drain(speaker)
}

fn ask6(speaker: &mut Speaker, now: Time, target: Ipv6Addr) -> Option<MacAddr> {
    messages(&hear(speaker, now, solicitation(target))).first().and_then(|reply| reply.link_layer)
}

/// Lets its timers run, and gives the messages it sends with their times.
fn run(speaker: &mut Speaker, end: Time) -> Vec<(u64, Message)> {
    let mut sent = Vec::new();
    while let Some(due) = speaker.poll_timeout().filter(|due| *due <= end) {
        speaker.handle(due, Input::Timeout);
        let effects = drain(speaker);
        sent.extend(messages(&effects).into_iter().map(|message| (due.as_micros() / 1_000, message)));
    }
    sent
}

fn join(id: u32, last: u16) -> Effect {
    Effect::JoinGroup { interface: InterfaceId(id), group: solicited_node(vip6(last)) }
}

fn leave(id: u32, last: u16) -> Effect {
    Effect::LeaveGroup { interface: InterfaceId(id), group: solicited_node(vip6(last)) }
}

fn memberships(effects: &[Effect]) -> Vec<Effect> {
    let of_groups = |effect: &&Effect| matches!(effect, Effect::JoinGroup { .. } | Effect::LeaveGroup { .. });
    effects.iter().filter(of_groups).cloned().collect()
}

#[test]
fn d61_w39_f8_a_dual_stack_service_is_announced_and_answered() {
    let mut speaker = single(&[dual("web", 101)]);
    let effects = drain(&mut speaker);
    assert_eq!(announced(&speaker), [("web", vip(101).into()), ("web", vip6(101).into())]);
    assert_eq!(memberships(&effects), [join(2, 101)]);
    let joined = effects.iter().position(|effect| *effect == join(2, 101)).expect("just seen");
    let first = effects.iter().position(|effect| matches!(effect, Effect::SendFrame { .. }));
    assert!(first.is_some_and(|first| joined < first), "it listens before it speaks");
    assert_eq!(
        messages(&effects),
        [Message::unsolicited(vip6(101), mac(0))],
        "an advertisement goes out at once"
    );
    assert_eq!(frames(&effects).len(), 1, "and a gratuitous request");
    assert_eq!(ask6(&mut speaker, at(5), vip6(101)), Some(mac(0)));
    assert_eq!(ask6(&mut speaker, at(5), vip6(102)), None);
    assert_eq!(ask(&mut speaker, at(5), vip(101)), Some(mac(0)));
    let counters = &speaker.counters().addresses[&vip6(101).into()];
    assert_eq!((counters.requests_received, counters.responses_sent, counters.gratuitous_sent), (1, 1, 1));
}

#[test]
fn d64_d73_three_advertisements_a_second_apart_then_the_slow_refresh() {
    let mut speaker = single(&[service("web", &[vip6(1).into()])]);
    let first = messages(&drain(&mut speaker));
    assert_eq!(first, [Message::unsolicited(vip6(1), mac(0))]);
    let sent = run(&mut speaker, at(1_000_000));
    assert!(sent.iter().all(|(_, message)| *message == first[0]), "S=0 O=1 R=0 from the address itself");
    let times: Vec<u64> = sent.into_iter().map(|(time, _)| time).collect();
    assert!((1_000..=1_100).contains(&times[0]) && times[1] - times[0] >= 1_000, "{times:?}");
    assert!((2_000..=2_200).contains(&times[1]), "{times:?}");
    assert!(times[2..].windows(2).all(|pair| (240_000..=360_000).contains(&(pair[1] - pair[0]))));
    assert!((4..=6).contains(&times.len()), "{times:?}");
}

#[test]
fn w39_duplicate_detection_is_refused_within_bounds() {
    let mut speaker = single(&[service("web", &[vip6(1).into()])]);
    let probe = Message { from: Ipv6Addr::UNSPECIFIED, link_layer: None, ..solicitation(vip6(1)) };
    let answer = messages(&hear(&mut speaker, at(5), probe));
    assert_eq!(answer, [Message::unsolicited(vip6(1), mac(0))], "to all nodes, S=0 O=1");
    assert_eq!(speaker.counters().conflicts, 0, "a question is no claim");
    let answered = (0..1_000).filter(|_| !hear(&mut speaker, at(6), probe).is_empty()).count();
    assert!((49..=50).contains(&answered), "T3: {answered} answers to all at once");
    assert_eq!(ask6(&mut speaker, at(7), vip6(1)), Some(mac(0)), "others are served beside it");
    assert_eq!(speaker.counters().drops[&DropReason::RateLimited], 1_000 - answered as u64);
}

#[test]
fn x17_a_foreign_advertisement_is_a_conflict_and_is_answered_once_a_second() {
    let mut speaker = single(&[service("web", &[vip6(1).into()])]);
    run(&mut speaker, at(9_000));
    let claim = Message::unsolicited(vip6(1), FOREIGN);
    assert_eq!(hear(&mut speaker, at(10_000), claim), []);
    speaker.handle(at(10_200), Input::Timeout);
    let said = drain(&mut speaker);
    let conflict = Notice::Conflict { address: vip6(1).into(), interface: ETH0, mac: FOREIGN };
    assert_eq!(notices(&said), [&conflict]);
    assert_eq!(messages(&said), [Message::unsolicited(vip6(1), mac(0))]);
    assert_eq!(hear(&mut speaker, at(10_500), claim), []);
    assert_eq!(run(&mut speaker, at(11_000)), []);
    assert_eq!(speaker.counters().conflicts, 1);
    let looped = Message::unsolicited(vip6(1), mac(0));
    assert_eq!(hear(&mut speaker, at(12_000), looped), [], "RFC 7527: our own, brought back by a loop");
    assert_eq!(speaker.counters().conflicts, 1);
    assert_eq!(speaker.counters().drops[&DropReason::OwnFrame], 1);
}

#[test]
fn w11_a_late_interface_joins_and_speaks() {
    let mut speaker = single(&[service("web", &[vip6(1).into()])]);
    drain(&mut speaker);
    let late = Interface {
        id: InterfaceId(7),
        name: "eth1".to_owned(),
        mac: Some(mac(7)),
        addresses: vec![],
        ..interface(0)
    };
    speaker.handle(at(10), Input::Interfaces(vec![interface(0), late.clone()]));
    let effects = drain(&mut speaker);
    assert_eq!(memberships(&effects), [join(7, 1)]);
    assert_eq!(messages(&effects), [Message::unsolicited(vip6(1), mac(7))]);
    let unplugged = Interface { has_carrier: false, ..late };
    speaker.handle(at(20), Input::Interfaces(vec![interface(0), unplugged]));
    assert_eq!(memberships(&drain(&mut speaker)), [], "a carrier comes back");
    speaker.handle(at(30), Input::Interfaces(vec![interface(0)]));
    assert_eq!(memberships(&drain(&mut speaker)), [leave(7, 1)]);
    speaker.handle(at(40), Input::ServiceGone(key("web")));
    assert_eq!(memberships(&drain(&mut speaker)), [leave(2, 1)]);
    assert_eq!(ask6(&mut speaker, at(50), vip6(1)), None);
}

#[test]
fn d46_which_interfaces_can() {
    let good = interface(0);
    let table = [
        ("as it is", good.clone(), true, true),
        ("without link-local address, or any", Interface { addresses: vec![], ..good.clone() }, true, true),
        ("without broadcast", Interface { can_broadcast: false, ..good.clone() }, false, true),
        ("without ARP", Interface { no_arp: true, ..good.clone() }, false, false),
        ("down", Interface { is_up: false, ..good.clone() }, false, false),
        ("in a bridge", Interface { master: Some(InterfaceId(1)), ..good.clone() }, false, false),
        ("without MAC", Interface { mac: None, ..good }, false, false),
    ];
    for (what, interface, ipv4, ipv6) in table {
        let mut speaker = single(&[dual("web", 101)]);
        speaker.handle(at(10), Input::Interfaces(vec![]));
        drain(&mut speaker);
        speaker.handle(at(20), Input::Interfaces(vec![interface]));
        let effects = drain(&mut speaker);
        assert_eq!(!frames(&effects).is_empty(), ipv4, "{what}: gratuitous request");
        assert_eq!(!messages(&effects).is_empty(), ipv6, "{what}: unsolicited advertisement");
        assert_eq!(memberships(&effects) == [join(2, 101)], ipv6, "{what}: group");
        assert_eq!(ask(&mut speaker, at(30), vip(101)).is_some(), ipv4, "{what}: ARP");
        assert_eq!(ask6(&mut speaker, at(30), vip6(101)).is_some(), ipv6, "{what}: NDP");
    }
}

#[test]
fn d41_only_on_the_interfaces_that_are_named() {
    let eth1 = Interface { id: InterfaceId(3), name: "eth1".to_owned(), mac: Some(mac(1)), ..interface(0) };
    let mut speaker = single(&[service("web", &[vip6(1).into()])]);
    speaker.handle(at(5), Input::Interfaces(vec![interface(0), eth1]));
    drain(&mut speaker);
    configure(&mut speaker, at(10), config(&["eth1"]));
    assert_eq!(memberships(&drain(&mut speaker)), [leave(2, 1)]);
    assert_eq!(ask6(&mut speaker, at(20), vip6(1)), None);
    assert_eq!(speaker.counters().drops[&DropReason::OtherInterface], 1);
}

/// Two speakers on one segment: the one that was not the owner has heard who
/// asks, and tells it first.
#[test]
fn takeover_and_departure_of_an_ipv6_address() {
    let services: Vec<Service> = (1..=4).map(|last| dual(&format!("s{last}"), last)).collect();
    let mut lan = together::Lan::new(2, &services);
    lan.run_until(at(10_000));
    let owner = lan.owners(vip6(1))[0];
    let question = solicitation(vip6(1)).to_frame();
    for node in 0..2 {
        lan.handle(node, Input::Frame { interface: ETH0, bytes: &question });
    }
    let answers: Vec<usize> =
        lan.messages.iter().filter(|(.., said)| said.to == CLIENT6).map(|(_, node, _)| *node).collect();
    assert_eq!(answers, [owner]);
    lan.speakers[owner] = None;
    lan.run_for(ms(6_000));
    let of_address =
        |said: &&(Time, usize, Message)| said.0 > at(10_000) && said.1 != owner && said.2.from == vip6(1);
    let said: Vec<Message> = lan.messages.iter().filter(of_address).map(|(.., said)| *said).collect();
    let to_all = Message::unsolicited(vip6(1), mac(1 - owner));
    let directed = Message::directed(vip6(1), mac(1 - owner), CLIENT6, CLIENT_MAC);
    assert_eq!(said, [to_all, directed, to_all, directed, to_all], "to all and directed twice, then to all");
    assert!(
        lan.messages
            .iter()
            .all(|(.., said)| said.kind == Kind::Solicitation || said.to == ALL_NODES || said.to == CLIENT6)
    );
}

/// E13 for IPv6: silence only once the successor has spoken.
#[test]
fn e13_a_departure_ends_when_every_ipv6_address_is_taken() {
    let services: Vec<Service> =
        (1..=10).map(|last| service(&format!("s{last}"), &[vip6(last).into()])).collect();
    let mut lan = together::Lan::new(2, &services);
    lan.run_until(at(10_000));
    let mine: Vec<u16> = (1..=10).filter(|last| lan.owners(vip6(*last)) == [0]).collect();
    assert!(!mine.is_empty(), "the seed gives it some");
    let begun = lan.now;
    lan.handle(0, Input::Shutdown);
    let first = solicitation(vip6(mine[0])).to_frame();
    let before = lan.messages.len();
    lan.handle(0, Input::Frame { interface: ETH0, bytes: &first });
    assert_eq!(lan.messages.len(), before + 1, "it serves until then");
    lan.run_for(ms(300));
    let exit = lan.exited.get(&0).copied().expect("it ends");
    assert!(exit.since(begun) < ms(100), "without waiting out its patience: {:?}", exit - begun);
    for last in mine {
        assert_eq!(lan.owners(vip6(last)), [1]);
    }
}
