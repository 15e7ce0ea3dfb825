//! Addresses that somebody else has: which are withheld from whom, and what a pool then says.

use super::*;

fn network(nets: &[&str], gateways: &[&str]) -> NodeNetwork {
    let net = |text: &&str| ("eth0".to_owned(), text.parse().expect("a literal"));
    let gateway = |text: &&str| text.parse().expect("a literal");
    NodeNetwork {
        node: "wk01".into(),
        addresses: nets.iter().map(net).collect(),
        gateways: gateways.iter().map(gateway).collect(),
    }
}

#[test]
fn what_a_subnet_sets_apart() {
    for (net, expected) in [
        ("10.0.0.7/24", vec!["10.0.0.0", "10.0.0.7", "10.0.0.255"]),
        ("10.0.0.7/22", vec!["10.0.0.0", "10.0.0.7", "10.0.3.255"]),
        ("10.0.0.6/31", vec!["10.0.0.6"]),
        ("10.0.0.7/32", vec!["10.0.0.7"]),
        ("fd00::7/64", vec!["fd00::", "fd00::7"]),
        ("fd00::7/127", vec!["fd00::7"]),
        ("fd00::7/128", vec!["fd00::7"]),
    ] {
        let mut occupied = Occupied::default();
        occupied.insert_network(&network(&[net], &[]));
        let found: Vec<String> = occupied.occupants.keys().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{net}");
    }
}

#[test]
fn of_several_the_one_that_says_most_is_named() {
    let mut resources =
        Resources { api_server: ["10.0.0.1".parse().expect("a literal")].into(), ..Resources::default() };
    resources.node_networks =
        vec![network(&["10.0.0.1/24", "10.0.0.2/24", "10.0.0.8/29"], &["10.0.0.1", "10.0.0.8"])];
    let occupied = Occupied::of(&resources);
    let text = |address: &str| {
        occupied.occupant(address.parse().expect("a literal")).map(ToString::to_string).unwrap_or_default()
    };
    assert_eq!(text("10.0.0.1"), "the API server's");
    assert_eq!(text("10.0.0.2"), "on eth0 of Node wk01");
    assert_eq!(text("10.0.0.8"), "on eth0 of Node wk01");
    assert_eq!(text("10.0.0.3"), "");
}
