//! [16] Advertisements that choose their Services.

use netsim::lab::api::objects::Kind;

use super::lab::{Lab, node_names};
use super::objects::{Service, advertisement, labelled_pool, pool};

const WEB: &str = "{matchLabels: {app: web}}";

fn on_node(node: &str) -> String {
    format!("nodeSelectors: [{{matchLabels: {{kubernetes.io/hostname: {node}}}}}]")
}

#[test]
fn h22_service_and_pool_must_both_match() {
    let mut lab = Lab::new(2);
    let spec = format!("serviceSelectors: [{WEB}], ipAddressPoolSelectors: [{{matchLabels: {{zone: dmz}}}}]");
    lab.apply(&[
        labelled_pool("one", "zone: inside", &["172.16.16.101/32"]),
        advertisement("web-in-the-dmz", &spec),
    ]);
    let address = lab.serve(&Service::new("nginx").labels("app: other"))[0];
    lab.is_silent(address);
    for (app, zone) in
        [("web", "inside"), ("web", "dmz"), ("other", "dmz"), ("web", "dmz"), ("web", "inside")]
    {
        lab.label(Kind::Service, "nginx", "app", Some(app));
        lab.label(Kind::IPAddressPool, "one", "zone", Some(zone));
        assert_eq!(lab.addresses("nginx"), [address]);
        if (app, zone) == ("web", "dmz") {
            lab.is_served(address);
        } else {
            lab.is_silent(address);
        }
    }
}

#[test]
fn h23_two_advertisements_on_different_nodes_and_one_announces() {
    let mut lab = Lab::new(3);
    let on = |node| format!("serviceSelectors: [{WEB}], {}", on_node(node));
    lab.apply(&[
        pool("one", &["172.16.16.101/32"], ""),
        advertisement("first", &on("wk01")),
        advertisement("second", &on("wk02")),
    ]);
    let address = lab.serve(&Service::new("nginx").labels("app: web"))[0];
    let owner = lab.is_served(address);
    assert!(["wk01", "wk02"].contains(&&*owner), "{owner}");
    // And the other one does when that advertisement is gone.
    let (gone, other) = if owner == "wk01" { ("first", "wk02") } else { ("second", "wk01") };
    lab.delete(Kind::L2Advertisement, gone);
    assert_eq!(lab.is_served(address), other);
}

#[test]
fn h24_one_matches_the_service_and_the_other_the_node() {
    let mut lab = Lab::new(3);
    let nowhere = format!("serviceSelectors: [{WEB}], {}", on_node("nobody"));
    let others = format!("serviceSelectors: [{{matchLabels: {{app: other}}}}], {}", on_node("wk01"));
    lab.apply(&[
        pool("one", &["172.16.16.101/32"], ""),
        advertisement("no-node", &nowhere),
        advertisement("no-service", &others),
    ]);
    let address = lab.serve(&Service::new("nginx").labels("app: web"))[0];
    lab.is_silent(address);
    lab.label(Kind::Service, "nginx", "app", Some("other"));
    assert_eq!(lab.is_served(address), "wk01");
}

#[test]
fn h25_several_service_selectors_are_alternatives() {
    let mut lab = Lab::new(3);
    let spec = format!(
        "serviceSelectors: [{WEB}, {{matchExpressions: [{{key: tier, operator: In, values: [db]}}]}}]"
    );
    lab.apply(&[pool("one", &["172.16.16.101-172.16.16.110"], ""), advertisement("either", &spec)]);
    for (name, labels, is_announced) in [
        ("web", "app: web", true),
        ("db", "tier: db", true),
        ("both", "app: web, tier: db", true),
        ("neither", "app: other, tier: cache", false),
        ("plain", "", false),
    ] {
        let address = lab.serve(&Service::new(name).labels(labels))[0];
        if is_announced {
            assert!(node_names(3).contains(&lab.is_served(address)), "{name}");
        } else {
            lab.is_silent(address);
        }
    }
}
