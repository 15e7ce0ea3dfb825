//! Whether what is in force meets anything: pools and advertisements that do
//! not find each other are valid (B15), and yet nothing is announced.

use super::super::{Advertisement, Config, Effective, Kind, PoolSelection, reason};
use crate::node::Node;

/// The most names in one message.
const MAX_NAMES: usize = 10;

/// What there is to say of the object of `kind` that is in force as `name`;
/// `nodes` are all of them, where they are known.
pub(super) fn judge(kind: Kind, name: &str, config: &Config, nodes: Option<&[Node]>) -> Option<Effective> {
    match kind {
        Kind::IPAddressPool => pool(name, config, nodes),
        Kind::L2Advertisement => advertisement(name, config, nodes),
    }
}

fn pool(name: &str, config: &Config, nodes: Option<&[Node]>) -> Option<Effective> {
    let pool = config.pools.get(name)?;
    let selecting = || config.advertisements.values().filter(|ad| ad.selects_pool(pool));
    let names: Vec<&str> = selecting().map(|ad| ad.name.as_str()).collect();
    if names.is_empty() {
        let message = "no L2Advertisement selects this pool: its addresses are assigned, but not \
                       announced by ARP or NDP";
        return Some(Effective::lacking(reason::NO_ADVERTISEMENT, message));
    }
    let by = format!("advertised by L2Advertisement {}", listed(&names));
    if selecting().all(|ad| finds_no_node(ad, nodes)) {
        let message = format!(
            "{by}, but no Node is matched by any nodeSelectors there: its addresses are assigned, but \
             not announced by ARP or NDP"
        );
        return Some(Effective::lacking(reason::NO_MATCHING_NODE, message));
    }
    Some(Effective { holds: true, reason: reason::MATCHED, message: by })
}

fn advertisement(name: &str, config: &Config, nodes: Option<&[Node]>) -> Option<Effective> {
    let ad = config.advertisements.get(name)?;
    let selected = config.pools.values().filter(|pool| ad.selects_pool(pool));
    let selected: Vec<&str> = selected.map(|pool| pool.name.as_str()).collect();
    let unknown: Vec<&str> = match &ad.pools {
        PoolSelection::All => Vec::new(),
        PoolSelection::Some { names, .. } => {
            names.iter().map(String::as_str).filter(|name| !config.pools.contains_key(*name)).collect()
        }
    };
    let missing = match (&ad.pools, unknown.is_empty()) {
        (_, false) => format!("no IPAddressPool {} is in force", listed(&unknown)),
        (PoolSelection::All, true) => "no IPAddressPool is in force".to_owned(),
        (PoolSelection::Some { .. }, true) => "its ipAddressPoolSelectors match no IPAddressPool".to_owned(),
    };
    let unusable = config.unusable_pools.values().filter(|pool| ad.selects_pool(pool));
    let unusable: Vec<&str> = unusable.map(|pool| pool.name.as_str()).collect();
    if selected.is_empty() && !unusable.is_empty() {
        let message = format!(
            "IPAddressPool {} is not in force: of it is announced what Services have had before",
            listed(&unusable)
        );
        return Some(Effective { holds: true, reason: reason::UNKNOWN_POOL, message });
    }
    if selected.is_empty() {
        let message = format!("{missing}, so nothing is announced by it");
        return Some(Effective::lacking(reason::NO_MATCHING_POOL, message));
    }
    if finds_no_node(ad, nodes) {
        let count = nodes.map_or(0, <[Node]>::len);
        let message = format!(
            "its nodeSelectors match none of the {count} Nodes by their labels, so nothing is announced by it"
        );
        return Some(Effective::lacking(reason::NO_MATCHING_NODE, message));
    }
    let announces = format!("announces IPAddressPool {}", listed(&selected));
    Some(match unknown.is_empty() {
        true => Effective { holds: true, reason: reason::MATCHED, message: announces },
        false => Effective {
            holds: true,
            reason: reason::UNKNOWN_POOL,
            message: format!("{announces}; but {missing}"),
        },
    })
}

/// Whether the advertisement asks for Nodes by label (A29) and there is none.
fn finds_no_node(ad: &Advertisement, nodes: Option<&[Node]>) -> bool {
    !ad.node_selectors.is_empty()
        && nodes.is_some_and(|nodes| !nodes.iter().any(|node| ad.selects_node(node)))
}

impl Effective {
    fn lacking(reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds: false, reason, message: message.into() }
    }
}

/// `a, b and 3 more`.
fn listed(names: &[&str]) -> String {
    match names.len().checked_sub(MAX_NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MAX_NAMES].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Resources, check};
    use crate::node::NodeName;

    fn node(name: &str, zone: &str) -> Node {
        let labels = [("zone".to_owned(), zone.to_owned())].into();
        Node { name: NodeName::from(name), labels, network_unavailable: false, addresses: Default::default() }
    }

    fn resources(nodes: Option<Vec<Node>>) -> Resources {
        let mut resources = Resources { nodes, ..Resources::default() };
        for (name, addresses) in [("a", "10.0.0.0/24"), ("b", "10.0.1.0/24")] {
            let pool = json!({"metadata": {"name": name}, "spec": {"addresses": [addresses]}});
            resources.read(Kind::IPAddressPool, &pool);
        }
        let zone = |zone: &str| json!([{"matchLabels": {"zone": zone}}]);
        for (name, spec) in [
            ("east", json!({"ipAddressPools": ["a"], "nodeSelectors": zone("east")})),
            ("west", json!({"ipAddressPools": ["a", "b"], "nodeSelectors": zone("west")})),
        ] {
            resources.read(Kind::L2Advertisement, &json!({"metadata": {"name": name}, "spec": spec}));
        }
        resources
    }

    fn reasons(nodes: Option<Vec<Node>>) -> Vec<String> {
        let checked = check(&resources(nodes), &Config::default());
        assert_eq!(checked.config.advertisements.len(), 2, "a node that is missing makes nothing wrong");
        let shown = checked.verdicts.iter().map(|verdict| {
            assert_eq!(verdict.outcome, Ok(()), "{}", verdict.name);
            let effective = verdict.effective.as_ref().expect("it is in force");
            format!("{} {} {}", verdict.name, effective.holds, effective.reason)
        });
        shown.collect()
    }

    #[test]
    fn a29_an_advertisement_that_matches_no_node_says_so() {
        let all = ["a true Matched", "b true Matched", "east true Matched", "west true Matched"];
        assert_eq!(reasons(None), all, "nobody has looked at Nodes");
        assert_eq!(reasons(Some(vec![node("n1", "east"), node("n2", "west")])), all);
        for (nodes, expected) in [
            (
                vec![node("n1", "east")],
                [
                    "a true Matched",
                    "b false NoMatchingNode",
                    "east true Matched",
                    "west false NoMatchingNode",
                ],
            ),
            (
                vec![],
                [
                    "a false NoMatchingNode",
                    "b false NoMatchingNode",
                    "east false NoMatchingNode",
                    "west false NoMatchingNode",
                ],
            ),
        ] {
            assert_eq!(reasons(Some(nodes)), expected);
        }
        let checked = check(&resources(Some(vec![node("n1", "north")])), &Config::default());
        let west = checked.verdicts.iter().find(|verdict| verdict.name == "west");
        let effective = west.and_then(|verdict| verdict.effective.as_ref()).expect("it is in force");
        assert_eq!(
            effective.message,
            "its nodeSelectors match none of the 1 Nodes by their labels, so nothing is announced by it"
        );
    }
}
