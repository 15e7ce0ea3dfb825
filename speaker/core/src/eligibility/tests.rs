//! Tests of who may announce (D4 to D15, D41).

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use metallb_api::annotations::{ALLOW_SHARED_IP, Annotations, DEPRECATED_PREFIX};
use metallb_api::config::{Pool, PoolSelection, Preference, SetAside};
use metallb_api::node::EXCLUDE_LABEL;
use metallb_api::selector::Selector;
use metallb_api::service::FamilyPolicy;
use metallb_api::{AddressRange, ServiceKey};

type Labels = BTreeMap<String, String>;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selecting(pairs: &[(&str, &str)]) -> Selector {
    let source = LabelSelector { match_labels: Some(labels(pairs)), match_expressions: None };
    Selector::try_from(&source).expect("a legal selector")
}

fn service(ips: &[&str]) -> Service {
    let entry = |ip: &&str| match ip.parse() {
        Ok(address) => Ingress::Ip(address),
        Err(_) if ip.is_empty() => Ingress::Hostname(String::new()),
        Err(_) => Ingress::Unparsable((*ip).to_owned()),
    };
    Service {
        key: ServiceKey::new("default", "web"),
        uid: "uid".to_owned(),
        resource_version: "1".to_owned(),
        is_load_balancer: true,
        load_balancer_class: None,
        labels: labels(&[("app", "web")]),
        annotations: Annotations::default(),
        cluster_ips: Vec::new(),
        load_balancer_ip: None,
        primary_family: None,
        family_policy: FamilyPolicy::SingleStack,
        traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::new(),
        ports: Vec::new(),
        ingress: ips.iter().map(entry).collect(),
    }
}

fn pool(name: &str, range: &str) -> Pool {
    Pool {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        ranges: range.split(',').map(|range| range.parse::<AddressRange>().expect("a legal range")).collect(),
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
        set_aside: SetAside::default(),
    }
}

fn advertisement(name: &str) -> Advertisement {
    Advertisement {
        name: name.to_owned(),
        pools: PoolSelection::All,
        node_selectors: Vec::new(),
        interfaces: Vec::new(),
        service_selectors: Vec::new(),
        preferred_nodes: Vec::new(),
    }
}

fn on_interfaces(name: &str, interfaces: &[&str]) -> Advertisement {
    let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    Advertisement { interfaces, ..advertisement(name) }
}

fn config(advertisements: Vec<Advertisement>) -> Config {
    let pools = [pool("main", "172.16.16.0/24,fd00::/64"), pool("other", "10.0.0.0/24")];
    Config {
        pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
        advertisements: advertisements.into_iter().map(|ad| (ad.name.clone(), ad)).collect(),
    }
}

fn node(name: &str) -> Node {
    Node { name: name.into(), labels: labels(&[("name", name)]), network_unavailable: false }
}

fn nodes(list: Vec<Node>) -> BTreeMap<NodeName, Node> {
    list.into_iter().map(|node| (node.name.clone(), node)).collect()
}

fn serving(nodes: &[&str]) -> Endpoints {
    Endpoints { any: true, nodes: nodes.iter().map(|node| NodeName::from(*node)).collect() }
}

fn reason(service: &Service, config: &Config) -> Result<(), WithdrawReason> {
    check(service, None, &serving(&["wk01"]), config, Some(&node("wk01"))).map(|_| ())
}

#[test]
fn d4_d6_reasons_in_their_order() {
    let all = config(vec![advertisement("all")]);
    let good = || service(&["172.16.16.101"]);
    let no_type = Service { is_load_balancer: false, ..good() };
    let table = [
        ("good", good(), Ok(())),
        ("both families", service(&["172.16.16.101", "fd00::1"]), Ok(())),
        ("D4 type", no_type, Err(WithdrawReason::NotLoadBalancer)),
        ("D6 none", service(&[]), Err(WithdrawReason::NoIpAllocated)),
        ("D6 garbage", service(&["172.16.16.101", "garbage"]), Err(WithdrawReason::InvalidIp)),
        ("D6 hostname", service(&[""]), Err(WithdrawReason::InvalidIp)),
        ("D6 no pool", service(&["172.16.17.1"]), Err(WithdrawReason::IpNotAllowed)),
        ("D6 two pools", service(&["172.16.16.1", "10.0.0.1"]), Err(WithdrawReason::IpNotAllowed)),
        ("D6 one outside", service(&["172.16.16.1", "fd01::1"]), Err(WithdrawReason::IpNotAllowed)),
    ];
    for (what, service, expected) in table {
        assert_eq!(reason(&service, &all), expected, "{what}");
    }
    let nowhere = check(&good(), None, &Endpoints::default(), &all, Some(&node("wk01")));
    assert_eq!(nowhere, Err(WithdrawReason::NotOwner), "D6b");
    let unnamed = Endpoints { any: true, nodes: BTreeSet::new() };
    assert!(check(&good(), None, &unnamed, &all, Some(&node("wk01"))).is_ok(), "D30 without nodeName");
}

#[test]
fn c2_load_balancer_class() {
    let all = config(vec![advertisement("all")]);
    for (flag, class, handled) in [
        (None, None, true),
        (None, Some("x"), false),
        (Some("x"), None, false),
        (Some("x"), Some("x"), true),
        (Some("x"), Some("y"), false),
    ] {
        let service =
            Service { load_balancer_class: class.map(str::to_owned), ..service(&["172.16.16.101"]) };
        let found = check(&service, flag, &serving(&["wk01"]), &all, Some(&node("wk01")));
        assert_eq!(found.is_ok(), handled, "{flag:?} {class:?}");
    }
}

#[test]
fn d7_h116_service_selectors_and_shared_addresses() {
    let plain = || advertisement("plain");
    let choosing = |name: &str, app: &str| Advertisement {
        service_selectors: vec![selecting(&[("app", app)])],
        ..advertisement(name)
    };
    let either = Advertisement {
        service_selectors: vec![selecting(&[("app", "db")]), selecting(&[("app", "web")])],
        ..advertisement("either")
    };
    let denied = Err(WithdrawReason::SharedIpWithServiceSelector);
    let unmatched = Err(WithdrawReason::NoMatchingAdvertisement);
    let old_key = format!("{DEPRECATED_PREFIX}allow-shared-ip");
    let (old, new) = (old_key.as_str(), ALLOW_SHARED_IP);
    for (what, advertisements, annotation, expected) in [
        ("no selector", vec![plain()], None, Ok(())),
        ("match", vec![choosing("a", "web")], None, Ok(())),
        ("no match", vec![choosing("a", "db")], None, unmatched),
        ("either", vec![either.clone()], None, Ok(())),
        ("shared, no selector", vec![plain()], Some(new), Ok(())),
        ("shared, match", vec![choosing("a", "web")], Some(new), denied),
        ("shared by the old key", vec![choosing("a", "web")], Some(old), denied),
        ("shared, mixed", vec![plain(), choosing("a", "web")], Some(new), denied),
        ("shared, the selector is another's", vec![plain(), choosing("a", "db")], Some(new), Ok(())),
    ] {
        let set = annotation.map(|key| (key.to_owned(), String::new()));
        let annotations = Annotations::from(&BTreeMap::from_iter(set));
        let service = Service { annotations, ..service(&["172.16.16.101"]) };
        assert_eq!(reason(&service, &config(advertisements)), expected, "{what}");
    }
}

#[test]
fn d8_h117_an_advertisement_must_cover_this_node() {
    let elsewhere =
        Advertisement { node_selectors: vec![selecting(&[("name", "wk02")])], ..advertisement("elsewhere") };
    let other_pool = Advertisement {
        pools: PoolSelection::Some { names: ["other".to_owned()].into(), selectors: Vec::new() },
        ..advertisement("other-pool")
    };
    let unmatched = Err(WithdrawReason::NoMatchingAdvertisement);
    let web = service(&["172.16.16.101"]);
    assert_eq!(reason(&web, &config(vec![])), unmatched);
    assert_eq!(reason(&web, &config(vec![elsewhere.clone()])), unmatched);
    assert_eq!(reason(&web, &config(vec![other_pool])), unmatched);
    assert_eq!(reason(&web, &config(vec![elsewhere, advertisement("here")])), Ok(()));
    let all = config(vec![advertisement("all")]);
    let unknown = check(&web, None, &serving(&[]), &all, None).map(|_| ());
    assert_eq!(unknown, unmatched, "a node that Kubernetes does not know announces nothing");
}

#[test]
fn d41_h118_interfaces() {
    let here = |name: &str, interfaces: &[&str]| on_interfaces(name, interfaces);
    let elsewhere = |interfaces: &[&str]| Advertisement {
        node_selectors: vec![selecting(&[("name", "wk02")])],
        ..on_interfaces("elsewhere", interfaces)
    };
    let named = |names: &[&str]| InterfaceSet::Named(names.iter().map(|name| (*name).to_owned()).collect());
    for (advertisements, expected) in [
        (vec![here("a", &[])], InterfaceSet::All),
        (vec![here("a", &["eth0"])], named(&["eth0"])),
        (vec![here("a", &["eth0"]), here("b", &["eth1", "eth0"])], named(&["eth0", "eth1"])),
        (vec![here("a", &["eth0"]), here("b", &[])], InterfaceSet::All),
        (vec![here("a", &["eth0"]), elsewhere(&["eth1"])], named(&["eth0"])),
        (vec![here("a", &["eth0"]), elsewhere(&[])], named(&["eth0"])),
    ] {
        let config = config(advertisements);
        let web = service(&["172.16.16.101"]);
        let found = check(&web, None, &serving(&["wk01"]), &config, Some(&node("wk01")));
        assert_eq!(found.map(|eligible| eligible.interfaces), Ok(expected));
    }
}

fn names(candidates: &[Candidate]) -> Vec<(&str, u64)> {
    candidates.iter().map(|candidate| (candidate.node.as_str(), candidate.score)).collect()
}

#[test]
fn d10_to_d13_h110_h114_candidates() {
    let wk02_unavailable = Node { network_unavailable: true, ..node("wk02") };
    let mut wk02_excluded = node("wk02");
    wk02_excluded.labels.insert(EXCLUDE_LABEL.to_owned(), String::new());
    let on = |name: &str| Advertisement {
        node_selectors: vec![selecting(&[("name", name)])],
        ..advertisement(name)
    };
    let both: BTreeSet<NodeName> = ["wk01".into(), "wk02".into()].into();
    let ghost: BTreeSet<NodeName> = ["wk01".into(), "ghost".into()].into();
    let anywhere = || vec![advertisement("all")];
    let wk02 = || node("wk02");
    let table = [
        ("H110 no membership", anywhere(), wk02(), None, false, vec!["wk01", "wk02"]),
        ("D10 both alive", anywhere(), wk02(), Some(&both), false, vec!["wk01", "wk02"]),
        ("D10 a member without Node", anywhere(), wk02(), Some(&ghost), false, vec!["wk01"]),
        ("D11", anywhere(), wk02_unavailable, Some(&both), false, vec!["wk01"]),
        ("D12", anywhere(), wk02_excluded.clone(), Some(&both), false, vec!["wk01"]),
        ("D12 ignored", anywhere(), wk02_excluded, Some(&both), true, vec!["wk01", "wk02"]),
        ("D13 one", vec![on("wk02")], wk02(), Some(&both), false, vec!["wk02"]),
        ("D13 split", vec![on("wk01"), on("wk02")], wk02(), Some(&both), false, vec!["wk01", "wk02"]),
        ("D13 none", vec![on("wk03")], wk02(), Some(&both), false, vec![]),
    ];
    for (what, advertisements, second, alive, ignore_exclude_label, expected) in table {
        let config = config(advertisements);
        let nodes = nodes(vec![node("wk01"), second]);
        let electorate = Electorate { nodes: &nodes, alive, ignore_exclude_label };
        let matching: Matching = (0..config.advertisements.len()).collect();
        let found = candidates(electorate, &matching, &config);
        let found: Vec<&str> = names(&found).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn d13_only_advertisements_that_match_the_service_count() {
    let other =
        Advertisement { service_selectors: vec![selecting(&[("app", "db")])], ..advertisement("a-other") };
    let own = Advertisement { node_selectors: vec![selecting(&[("name", "wk01")])], ..advertisement("b") };
    let config = config(vec![other, own]);
    let web = service(&["172.16.16.101"]);
    let found = check(&web, None, &serving(&[]), &config, Some(&node("wk01"))).expect("it matches b");
    assert_eq!(found.matching, [1]);
    let nodes = nodes(vec![node("wk01"), node("wk02")]);
    let electorate = Electorate { nodes: &nodes, alive: None, ignore_exclude_label: false };
    assert_eq!(names(&candidates(electorate, &found.matching, &config)), [("wk01", 0)]);
}

#[test]
fn d14_local_keeps_the_nodes_with_endpoints() {
    let all = config(vec![advertisement("all")]);
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service(&["172.16.16.101"]) };
    let own = node("wk01");
    let found = check(&local, None, &serving(&["wk02"]), &all, Some(&own)).expect("somebody can serve");
    assert_eq!(found.only_on, Some(["wk02".into()].into()));
    let cluster = service(&["172.16.16.101"]);
    let found = check(&cluster, None, &serving(&["wk02"]), &all, Some(&own)).expect("somebody can serve");
    assert_eq!(found.only_on, None);
}

#[test]
fn d22_h120_scores() {
    let preferring = |name: &str, preferences: &[(u32, &str)]| Advertisement {
        preferred_nodes: preferences
            .iter()
            .map(|(weight, node)| Preference { weight: *weight, nodes: selecting(&[("name", node)]) })
            .collect(),
        ..advertisement(name)
    };
    let only = |node: &str, advertisement: Advertisement| Advertisement {
        node_selectors: vec![selecting(&[("name", node)])],
        ..advertisement
    };
    for (what, advertisements, expected) in [
        ("none", vec![advertisement("a")], [("wk01", 0), ("wk02", 0)]),
        ("one", vec![preferring("a", &[(100, "wk02")])], [("wk01", 0), ("wk02", 100)]),
        ("both items", vec![preferring("a", &[(10, "wk02"), (5, "wk02")])], [("wk01", 0), ("wk02", 15)]),
        (
            "over advertisements",
            vec![preferring("a", &[(10, "wk02")]), preferring("b", &[(7, "wk01"), (3, "wk02")])],
            [("wk01", 7), ("wk02", 13)],
        ),
        (
            "not for nodes of another advertisement",
            vec![advertisement("a"), only("wk01", preferring("b", &[(50, "wk02")]))],
            [("wk01", 0), ("wk02", 0)],
        ),
    ] {
        let config = config(advertisements);
        let nodes = nodes(vec![node("wk01"), node("wk02")]);
        let electorate = Electorate { nodes: &nodes, alive: None, ignore_exclude_label: false };
        let matching: Matching = (0..config.advertisements.len()).collect();
        assert_eq!(names(&candidates(electorate, &matching, &config)), expected, "{what}");
    }
}
