//! [main] Nodes that an advertisement prefers: scores first, the hash among equals.

use std::net::IpAddr;

use netsim::lab::api::objects::Kind;
use netsim::lab::run::action::{Action, Target};

use super::lab::{Lab, hash_winner, ip, node_names, other_than};
use super::objects::{Service, advertisement, pool};

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const VIP: &str = "172.16.16.101";

/// A preference for the nodes with a label.
fn prefer(weight: u8, label: &str) -> String {
    format!("{{weight: {weight}, preference: {{matchLabels: {{{label}}}}}}}")
}

/// An advertisement with these preferences, and what else its spec holds.
fn preferring(name: &str, preferences: &[String], more: &str) -> String {
    advertisement(name, &format!("preferredNodeSelectors: [{}], {more}", preferences.join(", ")))
}

/// Three nodes and one Service under these advertisements; gives the hash winner and some other node, too.
fn lab(advertisements: &[String]) -> (Lab, IpAddr, String, String) {
    let mut lab = Lab::new(3);
    lab.apply(&[pool("one", &[&format!("{VIP}/32")], "")]);
    lab.apply(advertisements);
    let address = lab.serve(&Service::new("nginx").labels("app: web"))[0];
    assert_eq!(address, ip(VIP));
    let winner = hash_winner(&node_names(3), address);
    let other = other_than(&node_names(3), &winner);
    (lab, address, winner, other)
}

#[test]
fn h26_a_preferred_node_wins_over_the_hash() {
    let (mut lab, address, winner, other) = lab(&[preferring("one", &[prefer(10, "fast: 'yes'")], "")]);
    assert_eq!(lab.is_served(address), winner);
    lab.label(Kind::Node, &other, "fast", Some("yes"));
    assert_eq!(lab.is_served(address), other);
    lab.label(Kind::Node, &other, "fast", None);
    assert_eq!(lab.is_served(address), winner);
}

#[test]
fn h27_a_preference_for_nobody_or_everybody_changes_nothing() {
    for preference in [
        prefer(100, "no: such-label"),
        "{weight: 100, preference: {}}".to_owned(),
        "{weight: 50, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: Exists}]}}"
            .to_owned(),
    ] {
        let (mut lab, address, winner, _) = lab(&[preferring("one", std::slice::from_ref(&preference), "")]);
        assert_eq!(lab.is_served(address), winner, "{preference}");
    }
}

#[test]
fn h28_without_its_preferred_node_an_address_falls_back_and_is_reclaimed() {
    type Deed = fn(&mut Lab, &str);
    let lose: [(&str, Deed, Deed); 2] = [
        (
            "excluded by its label",
            |lab, node| lab.label(Kind::Node, node, EXCLUDED, Some("")),
            |lab, node| lab.label(Kind::Node, node, EXCLUDED, None),
        ),
        (
            "its speaker stops",
            |lab, node| lab.act(Action::on("stop", Target::from(node))),
            |lab, node| {
                lab.act(Action::on("start", Target::from(node)));
                lab.settle();
            },
        ),
    ];
    for (what, take, give) in lose {
        let (mut lab, address, winner, other) = lab(&[]);
        let preference = prefer(10, &format!("kubernetes.io/hostname: {other}"));
        lab.apply(&[preferring("one", &[preference], "")]);
        assert_eq!(lab.is_served(address), other, "{what}");
        take(&mut lab, &other);
        assert_eq!(lab.is_served(address), winner, "{what}");
        give(&mut lab, &other);
        assert_eq!(lab.is_served(address), other, "{what}");
    }
}

#[test]
fn h29_preferences_are_edited_while_the_address_is_announced() {
    let (mut lab, address, winner, _) = lab(&[advertisement("one", "")]);
    assert_eq!(lab.is_served(address), winner);
    for node in node_names(3) {
        let preference = prefer(1, &format!("kubernetes.io/hostname: {node}"));
        lab.apply(&[preferring("one", &[preference], "")]);
        assert_eq!(lab.is_served(address), node);
    }
    lab.apply(&[advertisement("one", "")]);
    assert_eq!(lab.is_served(address), winner);
}

#[test]
fn h30_node_selectors_stay_a_hard_filter() {
    let (mut lab, address, winner, other) = lab(&[]);
    // The preferred node is none that the advertisement allows.
    let only = format!("nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: {winner}}}}}]");
    let preference = prefer(100, &format!("kubernetes.io/hostname: {other}"));
    lab.apply(&[preferring("one", &[preference], &only)]);
    assert_eq!(lab.is_served(address), winner);
    lab.label(Kind::Node, &winner, EXCLUDED, Some(""));
    lab.is_silent(address);
}

#[test]
fn h31_disjoint_selectors_and_preferences() {
    for node in node_names(3) {
        let others: Vec<String> = node_names(3).into_iter().filter(|name| *name != node).collect();
        let only = format!("nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: {node}}}}}]");
        let preferences: Vec<String> =
            others.iter().map(|other| prefer(100, &format!("kubernetes.io/hostname: {other}"))).collect();
        let (mut lab, address, ..) = lab(&[preferring("one", &preferences, &only)]);
        assert_eq!(lab.is_served(address), node, "the eligible node announces, preferred or not");
    }
}

#[test]
fn h32_weights_add_up_over_advertisements() {
    let (mut lab, address, winner, other) = lab(&[]);
    let third =
        node_names(3).into_iter().find(|name| *name != winner && *name != other).expect("three nodes");
    // `other` has 30 + 30, `third` has 50.
    lab.apply(&[
        preferring(
            "one",
            &[prefer(30, "ssd: 'yes'"), prefer(50, &format!("kubernetes.io/hostname: {third}"))],
            "",
        ),
        preferring("two", &[prefer(30, "rack: a")], ""),
    ]);
    assert_eq!(lab.is_served(address), third);
    lab.label(Kind::Node, &other, "ssd", Some("yes"));
    assert_eq!(lab.is_served(address), third, "30 is less than 50");
    lab.label(Kind::Node, &other, "rack", Some("a"));
    assert_eq!(lab.is_served(address), other, "60 is more than 50");
    lab.label(Kind::Node, &other, "rack", None);
    assert_eq!(lab.is_served(address), third);
}

#[test]
fn h33_preferences_reach_no_further_than_their_service_selectors() {
    let mut lab = Lab::new(3);
    lab.apply(&[pool("one", &["172.16.16.101-172.16.16.110"], ""), advertisement("all", "")]);
    let web = lab.serve(&Service::new("web").labels("app: web"))[0];
    let plain = lab.serve(&Service::new("plain"))[0];
    let owners = [web, plain].map(|address| hash_winner(&node_names(3), address));
    assert_eq!([lab.is_served(web), lab.is_served(plain)], owners);
    let preferred =
        node_names(3).into_iter().find(|name| !owners.contains(name)).expect("three nodes, two owners");
    let selector = "serviceSelectors: [{matchLabels: {app: web}}]";
    let preference = prefer(10, &format!("kubernetes.io/hostname: {preferred}"));
    lab.apply(&[preferring("web-here", &[preference], selector)]);
    assert_eq!(lab.is_served(web), preferred);
    assert_eq!(lab.is_served(plain), owners[1]);
}
