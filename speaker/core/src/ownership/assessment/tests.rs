//! What a node may announce, and who its candidates are (D4 to D15, D41).

use std::collections::BTreeMap;

use super::*;
use crate::fixtures::{self, advertisement, on_interfaces, pool};
use crate::interface::{Interface, InterfaceId, MacAddr};
use crate::ownership::election::Candidate;
use crate::ownership::reach::{Reach, Reaches};
use ferrolb_api::AddressRange;
use ferrolb_api::annotations::{ALLOW_SHARED_IP, Annotations, DEPRECATED_PREFIX};
use ferrolb_api::config::{PoolSelection, Preference};
use ferrolb_api::node::EXCLUDE_LABEL;
use ferrolb_api::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

mod lacks;

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
    let ingress = ips.iter().map(entry).collect();
    Service { labels: labels(&[("app", "web")]), ..fixtures::service("web", ingress) }
}

fn config(advertisements: Vec<Advertisement>) -> Config {
    let pools = [pool("main", &["172.16.16.0/24", "fd00::/64"]), pool("other", &["10.0.0.0/24"])];
    fixtures::config(pools, advertisements)
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        labels: labels(&[("name", name)]),
        network_unavailable: false,
        addresses: Default::default(),
    }
}

fn nodes(list: Vec<Node>) -> BTreeMap<NodeName, Node> {
    list.into_iter().map(|node| (node.name.clone(), node)).collect()
}

fn serving(nodes: &[&str]) -> Endpoints {
    Endpoints { any: true, nodes: nodes.iter().map(|node| NodeName::from(*node)).collect() }
}

fn reason(service: &Service, config: &Config) -> Result<(), WithdrawReason> {
    judge(service, None, &serving(&["wk01"]), config, Some(&node("wk01"))).map(|_| ())
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
        ("D6 hostname and garbage", service(&["", "garbage"]), Err(WithdrawReason::InvalidIp)),
        ("C14 hostname behind", service(&["172.16.16.101", ""]), Ok(())),
        ("C14 hostname before", service(&["", "172.16.16.101"]), Ok(())),
        ("D6 all three", service(&["172.16.16.101", "", "garbage"]), Err(WithdrawReason::InvalidIp)),
        ("D6 no pool", service(&["172.16.17.1"]), Err(WithdrawReason::IpNotAllowed)),
        ("D6 two pools", service(&["172.16.16.1", "10.0.0.1"]), Err(WithdrawReason::IpNotAllowed)),
        ("D6 one outside", service(&["172.16.16.1", "fd01::1"]), Err(WithdrawReason::IpNotAllowed)),
    ];
    for (what, service, expected) in table {
        assert_eq!(reason(&service, &all), expected, "{what}");
    }
    let nowhere = judge(&good(), None, &Endpoints::default(), &all, Some(&node("wk01")));
    assert_eq!(nowhere, Err(WithdrawReason::NotOwner), "D6b");
    let unnamed = Endpoints { any: true, nodes: BTreeSet::new() };
    assert!(judge(&good(), None, &unnamed, &all, Some(&node("wk01"))).is_ok(), "D30 without nodeName");
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
        let found = judge(&service, flag, &serving(&["wk01"]), &all, Some(&node("wk01")));
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
    let unknown = judge(&web, None, &serving(&[]), &all, None).map(|_| ());
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
        let found = judge(&web, None, &serving(&["wk01"]), &config, Some(&node("wk01")));
        assert_eq!(found.map(|eligible| eligible.interfaces), Ok(Some(expected)));
    }
}

/// Checks where no subnet is known.
fn judge(
    service: &Service,
    class: Option<&str>,
    endpoints: &Endpoints,
    config: &Config,
    own: Option<&Node>,
) -> Result<Eligible, WithdrawReason> {
    let subnets = &BTreeSet::new();
    let context = Context { load_balancer_class: class, config, subnets, occupied: &Occupied::default() };
    let found = assess(context, service, endpoints).on_node(own);
    let is_here = |eligible: &Eligible| eligible.interfaces.is_some();
    found.and_then(|one| if is_here(&one) { Ok(one) } else { Err(WithdrawReason::NoMatchingAdvertisement) })
}

static UNKNOWN: Reaches = Reaches::new();

fn everybody<'a>(nodes: &'a BTreeMap<NodeName, Node>, reaches: &'a Reaches) -> ElectionContext<'a> {
    ElectionContext { nodes, alive: None, reaches, ignore_exclude_label: false }
}

fn every(config: &Config) -> CandidateKey {
    CandidateKey {
        advertisements: (0..config.advertisements.len()).collect(),
        locations: Vec::new(),
        pool: None,
    }
}

fn elected(election: ElectionContext<'_>, key: &CandidateKey, config: &Config) -> Vec<Candidate> {
    candidates::select(&candidates::find(election, key, config), None)
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
        let election = ElectionContext { nodes: &nodes, alive, reaches: &UNKNOWN, ignore_exclude_label };
        let key = every(&config);
        let found = elected(election, &key, &config);
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
    let found = judge(&web, None, &serving(&[]), &config, Some(&node("wk01"))).expect("it matches b");
    assert_eq!(found.key.advertisements, [1]);
    let nodes = nodes(vec![node("wk01"), node("wk02")]);
    let election = everybody(&nodes, &UNKNOWN);
    assert_eq!(names(&elected(election, &found.key, &config)), [("wk01", 0)]);
}

#[test]
fn d14_local_keeps_the_nodes_with_endpoints() {
    let all = config(vec![advertisement("all")]);
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service(&["172.16.16.101"]) };
    let own = node("wk01");
    let found = judge(&local, None, &serving(&["wk02"]), &all, Some(&own)).expect("somebody can serve");
    assert_eq!(found.only_on, Some(["wk02".into()].into()));
    let cluster = service(&["172.16.16.101"]);
    let found = judge(&cluster, None, &serving(&["wk02"]), &all, Some(&own)).expect("somebody can serve");
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
        let election = everybody(&nodes, &UNKNOWN);
        let key = every(&config);
        assert_eq!(names(&elected(election, &key, &config)), expected, "{what}");
    }
}

/// What is known of a node: interfaces with their subnets. `!` before a name is
/// an interface that cannot broadcast.
fn reach(links: &[(&str, &[&str])]) -> Reach {
    let interface = |(name, subnets): &(&str, &[&str])| Interface {
        id: InterfaceId(1),
        name: name.trim_start_matches('!').to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        addresses: subnets.iter().map(|subnet| address_in(subnet)).collect(),
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: !name.starts_with('!'),
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    };
    let interfaces: Vec<Interface> = links.iter().map(interface).collect();
    Reach::of(&interfaces, &["eth0", "eth1"].into())
}

fn address_in(text: &str) -> (IpAddr, u8) {
    let (address, prefix) = text.split_once('/').expect("with its prefix length");
    (address.parse().expect("an address"), prefix.parse().expect("a length"))
}

/// Who is a candidate of three nodes, of which this is known, under advertisements
/// that name these interfaces.
fn reached(
    known: &[Option<Reach>],
    named: &[&str],
    addresses: &[&str],
    local: Option<&[&str]>,
) -> Vec<String> {
    let nodes = nodes(vec![node("wk01"), node("wk02"), node("wk03")]);
    let reaches: Reaches =
        nodes.keys().zip(known).filter_map(|(name, reach)| Some((name.clone(), reach.clone()?))).collect();
    let interfaces = named.iter().map(|name| (*name).to_owned()).collect();
    let config = config(vec![Advertisement { interfaces, ..advertisement("l2") }]);
    let ranges: Vec<AddressRange> =
        ["172.16.0.0/16", "fd00::/16"].iter().map(|range| range.parse().expect("a range")).collect();
    let subnets = crate::ownership::reach::subnets_of(&reaches, ranges.iter());
    let locations =
        addresses.iter().map(|text| AddressLocation::of(text.parse().expect("an address"), &subnets));
    let key = CandidateKey { advertisements: vec![0], locations: locations.collect(), pool: None };
    let only_on = local.map(|nodes| nodes.iter().map(|name| NodeName::from(*name)).collect());
    let found =
        candidates::select(&candidates::find(everybody(&nodes, &reaches), &key, &config), only_on.as_ref());
    found.iter().map(|one| one.node.to_string()).collect()
}

const ALL: [&str; 3] = ["wk01", "wk02", "wk03"];
const VIP: &[&str] = &["172.16.16.101"];
const LAN: &[&str] = &["172.16.16.11/24"];
const OTHER_LAN: &[&str] = &["10.1.0.11/24"];

#[test]
fn w13_who_has_no_usable_interface_is_no_candidate() {
    let eth0 = || Some(reach(&[("eth0", LAN)]));
    let nothing = || Some(Reach::default());
    let bare = |name: &str| Some(reach(&[(name, &[])]));
    let cut = |links| Some(Reach { cut: true, ..reach(links) });
    for (what, known, named, expected) in [
        ("nothing is known", [None, None, None], &[][..], &ALL[..]),
        ("all are alike", [eth0(), eth0(), eth0()], &[], &ALL),
        ("a: lacks the named one", [eth0(), bare("eth1"), eth0()], &["eth0"], &["wk01", "wk03"]),
        ("a: has one of two named", [eth0(), bare("eth1"), None], &["eth0", "eth1"], &ALL),
        ("a: unknown stays", [eth0(), None, nothing()], &["eth0"], &["wk01", "wk02"]),
        ("a: only ignorance is left", [nothing(), None, nothing()], &["eth0"], &["wk02"]),
        ("a: told in part", [eth0(), cut(&[]), cut(&[("eth1", &[])])], &["eth0"], &["wk01", "wk03"]),
        ("a: nobody has it", [bare("eth1"), nothing(), nothing()], &["eth0"], &ALL),
        ("b: no interface at all", [eth0(), nothing(), eth0()], &[], &["wk01", "wk03"]),
        ("b: no Ethernet for ARP", [eth0(), bare("!eth0"), None], &[], &["wk01", "wk03"]),
        ("b: nobody has any", [nothing(), nothing(), nothing()], &[], &ALL),
    ] {
        // Where nobody is on the segment, nothing but a and b is asked.
        let elsewhere = &["172.16.99.1"];
        assert_eq!(reached(&known, named, elsewhere, None), expected, "{what}");
    }
}

#[test]
fn w13_who_is_not_on_the_segment_makes_way_for_who_is() {
    let eth0 = |subnets| Some(reach(&[("eth0", subnets)]));
    let both = || Some(reach(&[("eth0", OTHER_LAN), ("eth1", LAN)]));
    let cut = || Some(Reach { cut: true, ..reach(&[("eth0", OTHER_LAN)]) });
    let dual: &[&str] = &["172.16.16.101", "fd00:16::1"];
    let v6_only: &[&str] = &["fd00:16::11/64"];
    let both_families: &[&str] = &["172.16.16.11/24", "fd00:16::11/64"];
    for (what, known, named, addresses, expected) in [
        ("two of three", [eth0(LAN), eth0(OTHER_LAN), eth0(LAN)], &[][..], VIP, &["wk01", "wk03"][..]),
        ("nobody: routed addresses", [eth0(OTHER_LAN), eth0(OTHER_LAN), eth0(&[])], &[], VIP, &ALL),
        ("unknown stays", [eth0(LAN), None, eth0(OTHER_LAN)], &[], VIP, &["wk01", "wk02"]),
        ("told in part stays", [eth0(LAN), cut(), eth0(OTHER_LAN)], &[], VIP, &["wk01", "wk02"]),
        ("nobody is known to be", [None, cut(), eth0(OTHER_LAN)], &[], VIP, &ALL),
        ("not the named one is", [both(), eth0(OTHER_LAN), eth0(LAN)], &["eth0"], VIP, &["wk03"]),
        ("the named one is", [both(), eth0(LAN), eth0(LAN)], &["eth1"], VIP, &["wk01"]),
        (
            "one of the named is",
            [both(), eth0(OTHER_LAN), eth0(LAN)],
            &["eth0", "eth1"],
            VIP,
            &["wk01", "wk03"],
        ),
        ("a wider subnet is", [eth0(&["172.16.0.1/16"]), eth0(LAN), eth0(&[])], &[], VIP, &["wk01", "wk02"]),
        (
            "a single address is none",
            [eth0(&["172.16.16.101/32"]), eth0(LAN), eth0(&[])],
            &[],
            VIP,
            &["wk02"],
        ),
        ("the other family", [eth0(v6_only), eth0(LAN), eth0(LAN)], &[], VIP, &["wk02", "wk03"]),
        ("both addresses", [eth0(LAN), eth0(both_families), eth0(v6_only)], &[], dual, &["wk02"]),
        ("the first address goes first", [eth0(LAN), eth0(OTHER_LAN), eth0(v6_only)], &[], dual, &["wk01"]),
    ] {
        assert_eq!(reached(&known, named, addresses, None), expected, "{what}");
    }
}

#[test]
fn w13_d14_only_who_could_be_a_candidate_otherwise_counts() {
    let (on, off) = (|| Some(reach(&[("eth0", LAN)])), || Some(reach(&[("eth0", OTHER_LAN)])));
    for (known, local, expected) in [
        ([on(), off(), off()], &["wk02", "wk03"][..], &["wk02", "wk03"][..]),
        ([on(), off(), off()], &["wk01", "wk03"], &["wk01"]),
        ([on(), Some(Reach::default()), off()], &["wk02"], &["wk02"]),
        ([on(), Some(Reach::default()), off()], &["wk02", "wk03"], &["wk03"]),
    ] {
        assert_eq!(reached(&known, &[], VIP, Some(local)), expected, "{local:?}");
    }
}
