//! A speaker whose interfaces cannot announce: it says why, and announces when they can.

use super::alone::{single, web};
use super::*;

/// The texts of Events `announceFailed`.
fn failures(effects: &[Effect]) -> Vec<String> {
    let failed = |report: &Report| match report {
        Report::Event { reason: EventReason::AnnounceFailed, message, .. } => Some(message.clone()),
        _ => None,
    };
    reports(effects).filter_map(failed).collect()
}

fn assigned(effects: &[Effect]) -> usize {
    let assigned =
        |report: &&Report| matches!(report, Report::Event { reason: EventReason::NodeAssigned, .. });
    reports(effects).filter(assigned).count()
}

#[test]
fn d45_w18_an_interface_that_cannot_announce_is_a_failure_until_it_can() {
    let good = || interface(0);
    let bridge = Interface {
        id: InterfaceId(9),
        name: "br0".to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 9, 9])),
        ..good()
    };
    for (bad, why) in [
        (Interface { master: Some(InterfaceId(9)), ..good() }, "eth0 is a port of br0: name br0"),
        (Interface { mac: None, ..good() }, "eth0 is not Ethernet"),
        (Interface { no_arp: true, ..good() }, "eth0 does no ARP"),
        (Interface { can_broadcast: false, ..good() }, "eth0 is point to point"),
        (Interface { is_up: false, has_carrier: false, ..good() }, "eth0 is down"),
        (Interface { has_carrier: false, ..good() }, "eth0 has no carrier"),
        (Interface { name: "eth9".to_owned(), ..good() }, "the node has no interface eth0"),
    ] {
        let mut speaker = single(&[web()]);
        configure(&mut speaker, at(5), config(&["eth0"]));
        drain(&mut speaker);
        speaker.handle(at(10), Input::Interfaces(vec![bad.clone(), bridge.clone()]));
        let effects = drain(&mut speaker);
        let told = failures(&effects);
        assert!(told.len() == 1 && told[0].contains(why), "{why}: {told:?}");
        let reason = WithdrawReason::InterfaceMissing;
        let withdrawn =
            Notice::Withdrawn { service: key("web"), address: vip(101).into(), reason, owner: Some(name(0)) };
        assert!(notices(&effects).contains(&&withdrawn), "{why}: {effects:?}");
        assert_eq!(announced(&speaker), [], "{why}: neither metric nor status");
        assert_eq!(speaker.is_ready(), Ok(()), "{why}: br0 can serve others");
        speaker.handle(at(11), Input::Service(Box::new(web())));
        assert_eq!(failures(&drain(&mut speaker)), Vec::<String>::new(), "{why}: said once");
        speaker.handle(at(20), Input::Interfaces(vec![good(), bridge.clone()]));
        assert_eq!(assigned(&drain(&mut speaker)), 1, "{why}: it is able again");
        assert_eq!(ask(&mut speaker, at(21), vip(101)), Some(mac(0)));
    }
}

#[test]
fn d45_w18_another_reason_is_another_event_and_without_names_every_interface_counts() {
    let mut speaker = single(&[web()]);
    drain(&mut speaker);
    let down = Interface { is_up: false, has_carrier: false, ..interface(0) };
    speaker.handle(at(10), Input::Interfaces(vec![down]));
    let told = failures(&drain(&mut speaker));
    assert!(told.len() == 1 && told[0].ends_with("eth0 is down: ip link set eth0 up"), "{told:?}");
    assert_eq!(announced(&speaker), []);
    speaker.handle(at(20), Input::Interfaces(vec![Interface { has_carrier: false, ..interface(0) }]));
    let told = failures(&drain(&mut speaker));
    assert!(told.len() == 1 && told[0].contains("eth0 has no carrier"), "{told:?}");
}

#[test]
fn d46_w18_of_two_families_the_one_that_can_is_announced() {
    let v6: IpAddr = "fd00::1".parse().expect("legal");
    let mut speaker = single(&[service("web", &[vip(101).into(), v6])]);
    drain(&mut speaker);
    speaker.handle(at(10), Input::Interfaces(vec![Interface { ipv6_is_off: true, ..interface(0) }]));
    let told = failures(&drain(&mut speaker));
    assert!(told.len() == 1 && told[0].contains("\"layer2\": fd00::1: IPv6 is off on eth0"), "{told:?}");
    assert_eq!(announced(&speaker), [("web", vip(101).into())]);
    assert_eq!(ask(&mut speaker, at(11), vip(101)), Some(mac(0)));
    speaker.handle(at(20), Input::Interfaces(vec![interface(0)]));
    assert_eq!(announced(&speaker), [("web", vip(101).into()), ("web", v6)]);
}

#[test]
fn d44_w18_missing_interface_is_a_failure_and_no_announcement() {
    let mut speaker = single(&[web()]);
    drain(&mut speaker);
    configure(&mut speaker, at(10), config(&["eth7"]));
    assert_eq!(failures(&drain(&mut speaker)).len(), 1);
    assert_eq!(announced(&speaker), []);
    assert_eq!(ask(&mut speaker, at(11), vip(101)), None, "the older announcement ends");
    speaker.handle(at(12), Input::Service(Box::new(web())));
    assert_eq!(failures(&drain(&mut speaker)).len(), 0, "said once");
    let eth7 = Interface { name: "eth7".to_owned(), ..interface(0) };
    speaker.handle(at(13), Input::Interfaces(vec![eth7]));
    assert_eq!(announced(&speaker), [("web", vip(101).into())]);
    assert_eq!(ask(&mut speaker, at(14), vip(101)), Some(mac(0)));
}
