//! Addresses that somebody else has: answered by no speaker, whatever asks for it.

use super::alone::single;
use super::*;
use ferrolb_api::node::EXCLUDE_LABEL;

const GATEWAY: u8 = 1;
const API_SERVER: u8 = 100;

/// Interfaces of node 0: a Talos control plane's shared address beside its own, and its gateway.
fn interfaces() -> Vec<Interface> {
    let addresses = vec![(address(0).ip(), 24), (vip(110).into(), 32)];
    vec![Interface { addresses, gateways: vec![vip(GATEWAY).into()], ..interface(0) }]
}

fn api_server() -> EndpointSlice {
    let service = Some(ServiceKey::new("default", "kubernetes"));
    let api_server = [vip(API_SERVER).into()].into();
    EndpointSlice { name: "kubernetes".to_owned(), service, api_server, ..slice("kubernetes", &[]) }
}

fn networks(effects: &[Effect]) -> usize {
    reports(effects).filter(|report| matches!(report, Report::Network(_))).count()
}

#[test]
fn what_others_have_is_not_answered_and_the_service_says_why() {
    let node_address = [172, 16, 16, 12].into();
    for (address, whose) in [
        (vip(110), "is on eth0 of Node wk01"),
        (vip(GATEWAY), "is the default gateway of Node wk01"),
        (vip(API_SERVER), "is the API server's"),
        (node_address, "is Node wk02's"),
    ] {
        let mut speaker = single(&[service("web", &[address.into()])]);
        drain(&mut speaker);
        assert_eq!(announced(&speaker), [("web", address.into())], "nobody knows better yet");
        let mut nodes = vec![node(0), node(1)];
        nodes[1].addresses = [node_address.into()].into();
        // It takes part in no election, so that nothing else decides.
        nodes[1].labels.insert(EXCLUDE_LABEL.to_owned(), String::new());
        speaker.handle(at(10), Input::Nodes(nodes));
        speaker.handle(at(10), Input::EndpointSlice(api_server()));
        speaker.handle(at(10), Input::Interfaces(interfaces()));
        assert_eq!(announced(&speaker), [], "{address} {whose}");
        assert_eq!(ask(&mut speaker, at(11), address), None, "{address} {whose}");
        let state = speaker.ownership.state(&key("web"), members(speaker.membership.as_ref()));
        assert!(format!("{state:?}").contains(&format!("{address} {whose}")), "{state:?}");
        // The pool's switch is for people on a single node.
        let mut pool = fixtures::pool("main", &["172.16.16.0/24"]);
        pool.allow_occupied = true;
        configure(&mut speaker, at(20), fixtures::config([pool], [fixtures::advertisement("l2")]));
        assert_eq!(announced(&speaker), [("web", address.into())], "{address} is allowed");
    }
}

#[test]
fn network_and_broadcast_addresses_are_answered_where_they_are_assigned() {
    let mut speaker = single(&[service("web", &[vip(0).into()]), service("all", &[vip(255).into()])]);
    speaker.handle(at(10), Input::Interfaces(interfaces()));
    assert_eq!(announced(&speaker).len(), 2);
}

#[test]
fn an_address_that_becomes_free_is_announced() {
    let mut speaker = single(&[service("web", &[vip(110).into()])]);
    speaker.handle(at(10), Input::Interfaces(interfaces()));
    assert_eq!(announced(&speaker), []);
    speaker.handle(at(20), Input::Interfaces(vec![interface(0)]));
    assert_eq!(announced(&speaker), [("web", vip(110).into())]);
}

#[test]
fn addresses_of_services_that_the_proxy_keeps_on_a_dummy_are_nobody_elses() {
    let mut speaker = single(&[service("web", &[vip(101).into()])]);
    let addresses = vec![(vip(101).into(), 32)];
    let dummy = Interface {
        id: InterfaceId(9),
        name: "kube-ipvs0".to_owned(),
        addresses,
        no_arp: true,
        ..interface(0)
    };
    drain(&mut speaker);
    speaker.handle(at(10), Input::Interfaces(vec![interface(0), dummy]));
    assert_eq!(announced(&speaker), [("web", vip(101).into())]);
    assert_eq!(networks(&drain(&mut speaker)), 0, "nor is that worth telling");
    speaker.handle(at(20), Input::Interfaces(interfaces()));
    assert_eq!(networks(&drain(&mut speaker)), 1);
    speaker.handle(at(21), Input::Interfaces(interfaces()));
    assert_eq!(networks(&drain(&mut speaker)), 0, "what repeats itself is not told again");
}
