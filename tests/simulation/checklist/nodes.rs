//! Which node announces: conditions, labels, selectors and endpoints move an address, and give it back.

use netsim::lab::api::objects::Kind;

use super::lab::{Lab, node_names};
use super::objects::{Families, Service, advertisement, pool};

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Takes something away from the owner, looks where the address goes, gives it back, and looks again.
fn moves_and_returns(families: Families, take: impl Fn(&mut Lab, &str), give: impl Fn(&mut Lab, &str)) {
    let mut lab = Lab::standard();
    let address = lab.serve(&Service::new("nginx").families(families))[0];
    let owner = lab.is_served(address);
    take(&mut lab, &owner);
    let other = lab.is_served(address);
    assert_ne!(other, owner, "{address} has moved");
    give(&mut lab, &owner);
    assert_eq!(lab.is_served(address), owner, "{address} is back");
}

#[test]
fn h5_network_unavailable_moves_the_address() {
    for families in Families::SINGLE {
        moves_and_returns(
            families,
            |lab, owner| lab.set_network_unavailable(owner, true),
            |lab, owner| lab.set_network_unavailable(owner, false),
        );
    }
}

#[test]
fn h6_the_exclude_label_moves_the_address() {
    for families in Families::SINGLE {
        moves_and_returns(
            families,
            |lab, owner| lab.label(Kind::Node, owner, EXCLUDED, Some("")),
            |lab, owner| lab.label(Kind::Node, owner, EXCLUDED, None),
        );
    }
}

#[test]
fn h34_a_tainted_node_loses_the_address_and_gets_it_back() {
    for families in Families::SINGLE {
        moves_and_returns(
            families,
            |lab, owner| lab.taint(owner, true),
            |lab, owner| lab.taint(owner, false),
        );
    }
}

/// An advertisement for the node of this name.
fn only(name: &str, node: &str) -> String {
    advertisement(name, &format!("nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: {node}}}}}]"))
}

#[test]
fn h13_each_node_in_turn() {
    let mut lab = Lab::new(3);
    lab.apply(&[pool("one", &["172.16.16.101/32"], ""), only("chosen", "wk01")]);
    let address = lab.serve(&Service::new("nginx"))[0];
    for node in ["wk01", "wk02", "wk03", "wk01"] {
        lab.apply(&[only("chosen", node)]);
        assert_eq!(lab.is_served(address), node);
    }
}

#[test]
fn h14_a_local_endpoint_beats_an_advertisement_for_another_node() {
    for (endpoint, named) in [("wk01", "wk02"), ("wk02", "wk03"), ("wk03", "wk01")] {
        let mut lab = Lab::standard();
        lab.apply(&[only("one", named)]);
        let service = Service::new("local").spec("externalTrafficPolicy: Local");
        let address = lab.serve_from(&service, "local", &[endpoint])[0];
        assert_eq!(lab.is_served(address), endpoint, "one advertisement is for {named}");
    }
}

#[test]
fn h15_a_selector_that_matches_no_node_until_one_is_labelled() {
    let mut lab = Lab::new(3);
    let selector = "nodeSelectors: [{matchLabels: {announce: 'yes'}}]";
    lab.apply(&[pool("one", &["172.16.16.101/32"], ""), advertisement("labelled", selector)]);
    let address = lab.serve(&Service::new("nginx"))[0];
    lab.is_silent(address);
    for node in node_names(3) {
        lab.label(Kind::Node, &node, "announce", Some("yes"));
        assert_eq!(lab.is_served(address), node);
        lab.label(Kind::Node, &node, "announce", None);
        lab.is_silent(address);
    }
}
