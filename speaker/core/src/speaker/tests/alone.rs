//! One speaker: from inputs to announcements, answers and events.

use super::*;
use crate::interface::{self, InterfaceSet};

/// A speaker on the only node, told of these Services.
pub(super) fn single(services: &[Service]) -> Speaker {
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 1, services);
    speaker
}

pub(super) fn web() -> Service {
    service("web", &[vip(101).into()])
}

fn election_winner(ip: Ipv4Addr) -> NodeName {
    let candidate = |node| crate::ownership::election::Candidate { node: name(node), score: 0 };
    crate::ownership::election::order(&[candidate(0), candidate(1)], ip.into()).remove(0)
}

#[test]
fn d9a_d53_f30_a_service_is_announced_and_answered() {
    let mut speaker = single(&[web()]);
    let effects = drain(&mut speaker);
    assert_eq!(announced(&speaker), [("web", vip(101).into())]);
    let expected =
        Notice::Announced { service: key("web"), address: vip(101).into(), candidates: vec![name(0)] };
    assert!(notices(&effects).contains(&&expected), "{effects:?}");
    let event = Report::Event {
        service: key("web"),
        uid: "uid-web".to_owned(),
        reason: EventReason::NodeAssigned,
        message: "announcing from node \"wk01\" with protocol \"layer2\"".to_owned(),
    };
    let event = Effect::Report(event);
    assert_eq!(effects.iter().filter(|effect| **effect == event).count(), 1);
    let sent = frames(&effects);
    assert_eq!(
        (sent[0].sender_ip, sent[0].target_ip),
        (vip(101), vip(101)),
        "a gratuitous request goes out at once"
    );
    assert_eq!(ask(&mut speaker, at(5), vip(101)), Some(mac(0)));
    assert_eq!(ask(&mut speaker, at(5), vip(100)), None);
    let counters = &speaker.counters().addresses[&vip(101).into()];
    assert_eq!((counters.requests_received, counters.responses_sent, counters.gratuitous_sent), (1, 1, 1));
    assert_eq!(speaker.counters().drops[&DropReason::NotAnnounced], 1);
    assert_eq!(speaker.is_ready(), Ok(()));
}

#[test]
fn d5_services_before_the_configuration_wait_for_it() {
    let mut speaker = Speaker::new(without_membership(0));
    speaker.handle(at(0), Input::Interfaces(vec![interface(0)]));
    speaker.handle(at(0), Input::Nodes(vec![node(0)]));
    speaker.handle(at(0), Input::EndpointSlices(vec![slice("web", &[(0, true)])]));
    speaker.handle(at(0), Input::Services(vec![web()]));
    speaker.handle(at(10), Input::Service(Box::new(web())));
    speaker.handle(at(60_000), Input::Timeout);
    // Without membership there is nobody to wait for; of the Service nothing is said.
    let network = interface::network(&name(0), &[interface(0)]);
    let said =
        [Report::Network(network), Report::Notice(Notice::Joined { members: vec![], missing: vec![] })];
    assert_eq!(drain(&mut speaker), said.map(Effect::Report));
    assert_eq!(announced(&speaker), []);
    assert_eq!(ask(&mut speaker, at(60_000), vip(101)), None);
    assert!(speaker.is_ready().is_err());

    configure(&mut speaker, at(60_000), config(&[]));
    assert_eq!(announced(&speaker), [("web", vip(101).into())]);
    assert_eq!(ask(&mut speaker, at(60_001), vip(101)), Some(mac(0)));
}

#[test]
fn w9_what_is_told_again_says_nothing_new() {
    let mut speaker = single(&[web()]);
    drain(&mut speaker);
    for _ in 0..5 {
        speaker.handle(at(10), Input::Service(Box::new(web())));
        speaker.handle(at(10), Input::EndpointSlice(slice("web", &[(0, true), (0, false)])));
        speaker.handle(at(10), Input::Interfaces(vec![interface(0)]));
        configure(&mut speaker, at(10), config(&[]));
    }
    assert_eq!(drain(&mut speaker), []);
}

/// Loses the address by `change`; it must say why, and be silent afterwards.
fn withdrawn(what: &str, change: impl FnOnce(&mut Speaker), reason: WithdrawReason) {
    let mut speaker = single(&[web()]);
    drain(&mut speaker);
    change(&mut speaker);
    let (service, address) = (key("web"), vip(101).into());
    let expected = Notice::Withdrawn { service, address, reason, owner: None };
    let expected = Effect::Report(Report::Notice(expected));
    assert_eq!(drain(&mut speaker), [expected], "{what}");
    assert_eq!(announced(&speaker), []);
    assert_eq!(ask(&mut speaker, at(20), vip(101)), None, "{what}");
    assert_eq!(speaker.wire.poll_timeout(), None, "D76: {what}");
}

#[test]
fn d4_to_d9_withdrawals() {
    let changed = |change: fn(&mut Service)| {
        let mut service = web();
        change(&mut service);
        Input::Service(Box::new(service))
    };
    let garbage = |web: &mut Service| web.ingress = vec![Ingress::Unparsable("x".to_owned())];
    let outside = |web: &mut Service| web.ingress = vec![Ingress::Ip([192, 0, 2, 1].into())];
    let nobody_serves = || Input::EndpointSlice(slice("web", &[(0, false)]));
    for (what, input, reason) in [
        ("gone", Input::ServiceGone(key("web")), WithdrawReason::ServiceDeleted),
        ("not listed", Input::Services(vec![]), WithdrawReason::ServiceDeleted),
        ("type", changed(|web| web.is_load_balancer = false), WithdrawReason::NotLoadBalancer),
        ("status empty", changed(|web| web.ingress.clear()), WithdrawReason::NoIpAllocated),
        ("status garbage", changed(garbage), WithdrawReason::InvalidIp),
        ("no pool", changed(outside), WithdrawReason::IpNotAllowed),
        ("nobody serves", nobody_serves(), WithdrawReason::NotOwner),
        ("no endpoints", Input::EndpointSlices(vec![]), WithdrawReason::NotOwner),
        ("no nodes", Input::Nodes(vec![]), WithdrawReason::NoMatchingAdvertisement),
    ] {
        withdrawn(what, |speaker| speaker.handle(at(10), input), reason);
    }
    let no_advertisements = Config { advertisements: BTreeMap::new(), ..config(&[]) };
    for (what, config, reason) in [
        ("no configuration", Config::default(), WithdrawReason::IpNotAllowed),
        ("no advertisements", no_advertisements, WithdrawReason::NoMatchingAdvertisement),
    ] {
        withdrawn(what, |speaker| configure(speaker, at(10), config), reason);
    }
}

#[test]
fn d6a_another_address_withdraws_all_and_announces_anew() {
    let v6: IpAddr = "fd00::1".parse().expect("legal");
    let mut speaker = single(&[service("web", &[vip(101).into(), v6])]);
    drain(&mut speaker);
    speaker.handle(at(10), Input::Service(Box::new(service("web", &[vip(102).into(), v6]))));
    let effects = drain(&mut speaker);
    let reasons: Vec<WithdrawReason> = notices(&effects)
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Withdrawn { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [WithdrawReason::LoadBalancerIpChanged; 2]);
    let sent = frames(&effects);
    assert_eq!(sent.iter().map(|packet| packet.sender_ip).collect::<Vec<_>>(), [vip(102)]);
    assert_eq!(ask(&mut speaker, at(20), vip(101)), None);
    assert_eq!(ask(&mut speaker, at(20), vip(102)), Some(mac(0)));
}

#[test]
fn d41_d45_d56_other_interfaces_are_not_answered() {
    let mut speaker = single(&[web()]);
    configure(&mut speaker, at(10), config(&["eth0"]));
    let eth1 = Interface {
        id: InterfaceId(3),
        name: "eth1".to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 9, 9])),
        ..interface(0)
    };
    let port = Interface {
        id: InterfaceId(4),
        name: "eth2".to_owned(),
        master: Some(InterfaceId(1)),
        ..eth1.clone()
    };
    speaker.handle(at(11), Input::Interfaces(vec![interface(0), eth1, port]));
    let announcement = speaker.announced().next().expect("one");
    assert_eq!(*announcement.interfaces, InterfaceSet::Named(["eth0".to_owned()].into()));
    drain(&mut speaker);
    for (id, reason) in [
        (3, DropReason::OtherInterface),
        (4, DropReason::UnusableInterface),
        (5, DropReason::UnknownInterface),
    ] {
        speaker.handle(at(12), Input::Frame { interface: InterfaceId(id), bytes: &request(vip(101)) });
        assert_eq!(speaker.counters().drops.get(&reason), Some(&1));
    }
    assert_eq!(drain(&mut speaker), []);
}

#[test]
fn d77_h121_shared_address() {
    let mut speaker =
        single(&[service("a", &[vip(101).into()]), service("b", &[vip(101).into(), vip(102).into()])]);
    drain(&mut speaker);
    speaker.handle(at(10), Input::ServiceGone(key("a")));
    assert_eq!(frames(&drain(&mut speaker)), [], "nothing changes on the wire");
    assert_eq!(ask(&mut speaker, at(11), vip(101)), Some(mac(0)));
    speaker.handle(at(12), Input::ServiceGone(key("b")));
    assert_eq!(ask(&mut speaker, at(13), vip(101)), None);
    assert_eq!(ask(&mut speaker, at(13), vip(102)), None);
}

#[test]
fn w15_h110_nothing_is_claimed_before_the_others_are_known() {
    // Membership off: at once. Alone by Kubernetes' word: at once.
    assert_eq!(announced(&single(&[web()])).len(), 1);
    let mut alone = Speaker::new(settings(0));
    tell(&mut alone, at(0), 0, 1, &[web()]);
    assert_eq!(announced(&alone).len(), 1);
    // A peer that never answers: after the grace.
    let mut waiting = Speaker::new(settings(0));
    tell(&mut waiting, at(0), 0, 2, &[web()]);
    assert_eq!(announced(&waiting), []);
    assert_eq!(waiting.is_ready(), Err(NotReady::Membership));
    while let Some(due) = waiting.poll_timeout().filter(|due| *due <= at(2_999)) {
        waiting.handle(due, Input::Timeout);
    }
    assert_eq!(announced(&waiting), []);
    waiting.handle(at(3_000), Input::Timeout);
    assert_eq!(announced(&waiting).len(), 1);
    let joined = Notice::Joined { members: vec![name(0)], missing: vec![name(1)] };
    assert!(notices(&drain(&mut waiting)).contains(&&joined));
    assert_eq!(waiting.is_ready(), Ok(()));
}

#[test]
fn w43_not_ready_says_what_is_missing() {
    let mut speaker = Speaker::new(without_membership(0));
    let mut told = vec![speaker.is_ready()];
    configure(&mut speaker, at(0), config(&[]));
    told.push(speaker.is_ready());
    for input in [
        Input::Services(vec![web()]),
        Input::EndpointSlices(vec![slice("web", &[(0, true)])]),
        Input::Nodes(vec![node(1)]),
        Input::Nodes(vec![node(0)]),
        Input::Interfaces(vec![Interface { has_carrier: false, ..interface(0) }]),
        Input::Interfaces(vec![interface(0)]),
        Input::Shutdown,
    ] {
        speaker.handle(at(0), input);
        told.push(speaker.is_ready());
    }
    let expected = [
        Err(NotReady::Configuration),
        Err(NotReady::Cluster),
        Err(NotReady::Cluster),
        Err(NotReady::Cluster),
        Err(NotReady::OwnNode),
        Err(NotReady::Interfaces),
        Err(NotReady::Interfaces),
        Ok(()),
        Err(NotReady::Leaving),
    ];
    assert_eq!(told, expected);
}

/// Runs a speaker's timers up to, and not including, `end`.
fn run_until(speaker: &mut Speaker, end: Time) {
    while let Some(due) = speaker.poll_timeout().filter(|due| *due < end) {
        speaker.handle(due, Input::Timeout);
    }
    drain(speaker);
}

#[test]
fn w7_x17_a_conflict_is_told_and_answered_within_bounds() {
    let mut speaker = single(&[web()]);
    run_until(&mut speaker, at(60_000));
    let thief = MacAddr([2, 0, 0, 0, 0, 0x66]);
    let claim = Packet {
        destination: MacAddr::BROADCAST,
        source: thief,
        operation: Operation::Reply,
        sender_mac: thief,
        sender_ip: vip(101),
        target_mac: thief,
        target_ip: vip(101),
    };
    let own = Packet { source: mac(0), sender_mac: mac(0), ..claim };
    let elsewhere = Packet { sender_ip: vip(102), ..claim };
    for packet in [own, elsewhere, claim, claim, claim] {
        speaker.handle(at(60_000), Input::Frame { interface: ETH0, bytes: &packet.to_frame() });
    }
    speaker.handle(at(60_199), Input::Timeout);
    assert_eq!(drain(&mut speaker), [], "it may be the new owner, whose news are on the way");
    assert_eq!(speaker.counters().conflicts, 0);
    speaker.handle(at(60_200), Input::Timeout);
    let effects = drain(&mut speaker);
    let conflict = Notice::Conflict { address: vip(101).into(), interface: ETH0, mac: thief };
    assert_eq!(notices(&effects), [&conflict]);
    assert_eq!(frames(&effects).len(), 1, "one gratuitous request");
    assert_eq!(speaker.counters().conflicts, 1);
    assert_eq!(speaker.counters().drops[&DropReason::OwnFrame], 1);
}

#[test]
fn askers_of_addresses_of_others_are_known_at_takeover() {
    let mut speaker = Speaker::new(without_membership(0));
    // An address that wk02 owns while it is a Node.
    let theirs = (1..=255).map(vip).find(|ip| election_winner(*ip) == name(1));
    let theirs = theirs.expect("wk02 owns some of 255 addresses");
    tell(&mut speaker, at(0), 0, 2, &[service("web", &[theirs.into()])]);
    assert_eq!(announced(&speaker), []);
    assert_eq!(ask(&mut speaker, at(1), theirs), None);
    speaker.handle(at(2), Input::Nodes(vec![node(0)]));
    let sent = frames(&drain(&mut speaker));
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].destination, MacAddr::BROADCAST);
    assert_eq!((sent[1].destination, sent[1].target_ip, sent[1].sender_ip), (CLIENT_MAC, CLIENT, theirs));
}

#[test]
fn own_pause_announces_again() {
    let mut speaker = single(&[web()]);
    run_until(&mut speaker, at(60_000));
    let due = speaker.poll_timeout().expect("a refresh");
    speaker.handle(due + ms(5_000), Input::Timeout);
    let effects = drain(&mut speaker);
    assert!(notices(&effects).contains(&&Notice::Paused(ms(5_000))), "{effects:?}");
    assert_eq!(frames(&effects).len(), 1);
    assert_eq!(speaker.counters().pauses, 1);
}

#[test]
fn v6_addresses_are_elected_but_not_sent() {
    let v6: IpAddr = "fd00::10".parse().expect("legal");
    let mut speaker = single(&[service("web", &[v6])]);
    assert_eq!(announced(&speaker), [("web", v6)]);
    assert_eq!(frames(&drain(&mut speaker)), []);
    speaker.handle(at(10), Input::Shutdown);
    assert_eq!(drain(&mut speaker).last(), Some(&Effect::Exit));
    speaker.handle(at(11), Input::Service(Box::new(web())));
    assert_eq!(drain(&mut speaker), [], "nothing comes after Exit");
    assert_eq!(speaker.poll_timeout(), None);
}

/// Endpoints over two nodes under `externalTrafficPolicy: Local`: who announces.
#[test]
fn d14_h113_local_needs_an_endpoint_on_the_node() {
    let nobody: &[usize] = &[];
    let either: &[usize] = if election_winner(vip(101)) == name(0) { &[0] } else { &[1] };
    for (endpoints, owner) in [
        (&[][..], nobody),
        (&[(0, true)], &[0]),
        (&[(1, true)], &[1]),
        (&[(0, false)], nobody),
        (&[(1, false)], nobody),
        (&[(0, true), (1, true)], either),
        (&[(0, true), (1, false)], &[0]),
        (&[(0, false), (1, true)], &[1]),
        (&[(0, false), (1, false)], nobody),
        (&[(0, true), (0, false), (1, false)], &[0]),
        (&[(0, true), (0, false), (1, true)], either),
        (&[(0, false), (0, false), (1, true)], &[1]),
        (&[(0, true), (0, true), (1, true)], either),
    ] {
        let mut owners = Vec::new();
        for own in 0..2 {
            let mut speaker = Speaker::new(without_membership(own));
            tell(&mut speaker, at(0), own, 2, &[Service { traffic_policy: TrafficPolicy::Local, ..web() }]);
            speaker.handle(at(0), Input::EndpointSlices(vec![slice("web", endpoints)]));
            if !announced(&speaker).is_empty() {
                owners.push(own);
            }
        }
        assert_eq!(owners, owner, "{endpoints:?}");
    }
}

#[test]
fn h115_each_of_255_addresses_has_one_owner() {
    let both = |last: u8| {
        let ip = [IpAddr::from([10, 0, 0, last])];
        [service(&format!("a{last}"), &ip), service(&format!("b{last}"), &ip)]
    };
    let services: Vec<Service> = (1..=255).flat_map(both).collect();
    let mut owned = BTreeMap::<IpAddr, BTreeSet<usize>>::new();
    for own in 0..2 {
        let mut speaker = Speaker::new(without_membership(own));
        tell(&mut speaker, at(0), own, 2, &services);
        let mut users = BTreeMap::<IpAddr, usize>::new();
        for entry in speaker.announced() {
            owned.entry(entry.address).or_default().insert(own);
            *users.entry(entry.address).or_default() += 1;
        }
        assert!(users.values().all(|users| *users == 2), "Services with one address have one owner");
        assert!(users.len() > 80, "each node owns its share");
    }
    assert_eq!(owned.len(), 255);
    assert!(owned.values().all(|owners| owners.len() == 1));
}

#[test]
fn w2_ten_thousand_services_and_a_node_less() {
    let ip = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
    let many: Vec<Service> =
        (0..10_000).map(|number| service(&format!("s{number}"), &[ip(number)])).collect();
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 10, &many);
    let before = speaker.announced().count();
    assert!((600..1_400).contains(&before), "about a tenth: {before}");
    speaker.handle(at(1), Input::Nodes((0..9).map(node).collect()));
    let after: BTreeSet<IpAddr> = speaker.announced().map(|entry| entry.address).collect();
    assert!(after.len() > before, "it takes its share of the other's");
    let candidates: Vec<_> =
        (0..9).map(|node| crate::ownership::election::Candidate { node: name(node), score: 0 }).collect();
    for number in (0..10_000).step_by(97) {
        let first = crate::ownership::election::order(&candidates, ip(number)).remove(0);
        assert_eq!(after.contains(&ip(number)), first == name(0));
    }
}

#[test]
fn t1_random_frames_and_datagrams_never_panic() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(77);
    let mut speaker = Speaker::new(settings(0));
    tell(&mut speaker, at(0), 0, 2, &[web()]);
    for round in 0..30_000_u64 {
        let now = at(3_000) + Duration::from_micros(round);
        let mut bytes = request(vip(101));
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(0..=bytes.len()));
        speaker.handle(now, Input::Frame { interface: ETH0, bytes: &bytes });
        speaker.handle(now, Input::Datagram { from: address(1), bytes: &bytes });
        drain(&mut speaker);
    }
    let counters = speaker.counters();
    let answered: u64 = counters.addresses.values().map(|address| address.responses_sent).sum();
    assert_eq!(counters.drops.values().sum::<u64>() + answered, 30_000, "each frame is accounted for");
}
