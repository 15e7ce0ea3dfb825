//! Tables for B1 to B18 and W29, and properties that hold for any resources.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::address::number;
use crate::namespace::Namespace;

mod kept;

fn pool(name: &str, age: u32, spec: Value) -> Value {
    json!({
        "metadata": {
            "name": name,
            "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", age / 60, age % 60),
        },
        "spec": spec,
    })
}

fn with_addresses(name: &str, age: u32, addresses: &[&str]) -> Value {
    pool(name, age, json!({ "addresses": addresses }))
}

fn advertisement(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name, "generation": 1 }, "spec": spec })
}

fn resources(pools: &[Value], advertisements: &[Value]) -> Resources {
    let mut resources = Resources::default();
    for object in pools {
        resources.read(Kind::IPAddressPool, object);
    }
    for object in advertisements {
        resources.read(Kind::L2Advertisement, object);
    }
    resources
}

fn check_pools(pools: &[Value], last: &Config) -> Checked {
    check(&resources(pools, &[]), last)
}

/// `name: Reason` of each verdict.
fn reasons(checked: &Checked) -> Vec<String> {
    let reason =
        |verdict: &Verdict| verdict.outcome.as_ref().map_or_else(|p| p.reason, |()| reason::ACCEPTED);
    checked.verdicts.iter().map(|verdict| format!("{}: {}", verdict.name, reason(verdict))).collect()
}

fn problem<'a>(checked: &'a Checked, name: &str) -> &'a Problem {
    let verdict = checked.verdicts.iter().find(|verdict| verdict.name == name).expect("every object has one");
    verdict.outcome.as_ref().expect_err("this object is bad")
}

fn ranges(config: &Config, pool: &str) -> Vec<String> {
    config
        .pools
        .get(pool)
        .map(|pool| pool.ranges.iter().map(ToString::to_string).collect())
        .unwrap_or_default()
}

#[test]
fn b1_one_bad_object_harms_no_other() {
    let checked = check(
        &resources(
            &[
                with_addresses("good", 1, &["172.16.16.101-172.16.16.120"]),
                with_addresses("typo", 2, &["172.16.16.130-120"]),
                json!({ "metadata": { "name": "text", "generation": 7 }, "spec": { "addresses": "10.0.0.0/24" } }),
            ],
            &[advertisement("all", json!({})), advertisement("weird", json!({ "nodeSelectors": "here" }))],
        ),
        &Config::default(),
    );
    assert_eq!(
        reasons(&checked),
        [
            "good: Accepted",
            "text: Undecodable",
            "typo: InvalidAddresses",
            "all: Accepted",
            "weird: Undecodable"
        ]
    );
    assert_eq!(ranges(&checked.config, "good"), ["172.16.16.101-172.16.16.120"]);
    assert_eq!((checked.config.pools.len(), checked.config.advertisements.len()), (1, 1));
    let text = problem(&checked, "text");
    assert!(text.message.starts_with("the object cannot be read as IPAddressPool: "), "{}", text.message);
    assert_eq!(checked.verdicts[1].generation, 7);
}

#[test]
fn b2_b3_b4_b5_b6_b17_what_is_wrong_with_one_pool() {
    for (addresses, expected, fragment) in [
        (vec![], reason::NO_ADDRESSES, "list at least one"),
        (vec!["10.0.0.7"], reason::INVALID_ADDRESSES, "write 10.0.0.7/32"),
        (vec!["10.0.0.0/24", "x", "y"], reason::INVALID_ADDRESSES, "\"y\" is neither"),
        (vec!["10.0.0.9-10.0.0.1"], reason::INVALID_ADDRESSES, "did you mean 10.0.0.1-10.0.0.9"),
        (vec!["10.0.0.1-fd00::1"], reason::INVALID_ADDRESSES, "one end is IPv4"),
        (
            vec!["10.0.0.0/24", "10.0.1.0/24", "10.0.0.9-10.0.0.9"],
            reason::OVERLAPPING_ADDRESSES,
            "10.0.0.9-10.0.0.9 overlaps with already defined CIDR 10.0.0.0/24 in the same pool",
        ),
        (
            vec!["10.0.0.0/24", "10.0.0.0/24"],
            reason::OVERLAPPING_ADDRESSES,
            "overlaps with already defined CIDR",
        ),
        (vec!["10.0.0.0/24", "::ffff:10.0.0.0/120"], reason::OVERLAPPING_ADDRESSES, "overlaps with already"),
        (
            vec!["10.0.1.5/24", "10.0.0.0-10.0.1.0"],
            reason::OVERLAPPING_ADDRESSES,
            "10.0.0.0-10.0.1.0 overlaps with already defined CIDR 10.0.1.5/24, which is the whole of \
             10.0.1.0/24, in the same pool",
        ),
        (vec!["10.0.0.0/24", ""], reason::INVALID_ADDRESSES, "spec.addresses[1]: an empty entry; remove it"),
        (
            vec!["10.0.0.0/24,10.0.1.0/24,"],
            reason::INVALID_ADDRESSES,
            "spec.addresses[0]: \"10.0.0.0/24,10.0.1.0/24,\" has an empty entry, the 3rd; remove the comma",
        ),
        (vec!["10.0.0.0/24, 10.0.1.0/24"], reason::INVALID_ADDRESSES, "has a comma; write each prefix"),
    ] {
        let checked = check_pools(&[with_addresses("pool", 1, &addresses)], &Config::default());
        let problem = problem(&checked, "pool");
        assert_eq!(problem.reason, expected, "{addresses:?}");
        assert!(problem.message.contains(fragment), "{addresses:?}: {}", problem.message);
        assert!(!problem.last_valid_kept);
        assert!(checked.config.pools.is_empty(), "{addresses:?}");
    }
}

#[test]
fn what_no_neighbour_can_use_is_refused() {
    for (range, what) in [
        ("0.0.0.0/32", "0.0.0.0 is unspecified"),
        ("0.0.0.0/0", "0.0.0.0-0.255.255.255 is unspecified"),
        ("127.0.0.0/8", "127.0.0.0-127.255.255.255 is loopback"),
        ("126.0.0.0-127.0.0.1", "127.0.0.0-127.0.0.1 is loopback"),
        ("169.254.169.254/32", "169.254.169.254 is link-local"),
        ("224.0.0.0/4", "224.0.0.0-239.255.255.255 is multicast"),
        ("239.255.255.255-240.0.0.0", "239.255.255.255 is multicast"),
        ("255.255.255.255/32", "255.255.255.255 is broadcast"),
        ("::ffff:127.0.0.1/128", "127.0.0.1 is loopback"),
        ("::/128", ":: is unspecified"),
        ("::/0", ":: is unspecified"),
        ("::1/128", "::1 is loopback"),
        ("fe80::/64", "is link-local"),
        ("febf::-fec0::", "is link-local"),
        ("ff02::1-ff02::2", "ff02::1-ff02::2 is multicast"),
    ] {
        let checked = check_pools(&[with_addresses("pool", 1, &["10.0.0.0/24", range])], &Config::default());
        let problem = problem(&checked, "pool");
        assert_eq!(problem.reason, reason::INVALID_ADDRESSES, "{range}");
        let expected = format!("{what}, which no Service can have");
        assert!(problem.message.contains(&expected), "{range}: {}", problem.message);
        assert!(problem.message.starts_with("spec.addresses[1]: "), "{range}: {}", problem.message);
    }
}

#[test]
fn b3_a_prefix_with_host_bits_is_named_with_what_it_becomes() {
    let addresses = ["172.16.16.240/24", "10.0.0.0/24", "fd00::7/64", "10.0.1.9/32"];
    let checked = check_pools(&[with_addresses("pool", 1, &addresses)], &Config::default());
    assert_eq!(reasons(&checked), ["pool: Accepted"]);
    assert_eq!(
        checked.verdicts[0].note,
        "spec.addresses: 172.16.16.240/24 is the whole of 172.16.16.0/24; \
         spec.addresses: fd00::7/64 is the whole of fd00::/64"
    );
    let other = with_addresses("other", 2, &["172.16.16.1/28"]);
    let checked = check_pools(&[with_addresses("pool", 1, &addresses), other], &Config::default());
    assert_eq!(
        problem(&checked, "other").message,
        "spec.addresses: 172.16.16.1/28, which is the whole of 172.16.16.0/28, overlaps with already defined \
         CIDR 172.16.16.240/24, which is the whole of 172.16.16.0/24, of IPAddressPool pool, which takes \
         precedence; change one of the two"
    );
}

#[test]
fn b15_what_is_no_error() {
    for addresses in [
        ["10.0.0.0/24", "10.0.1.0/24"],
        ["10.0.0.0-10.0.0.4", "10.0.0.5-10.0.0.9"],
        // Of 240.0.0.0/4 all but the last is unicast to Linux; multicast begins behind fec0::/10.
        ["240.0.0.0-255.255.255.254", "fec0::/10"],
        ["1.0.0.0-126.255.255.255", "::2-fe7f:ffff::"],
    ] {
        let checked = check_pools(&[with_addresses("pool", 1, &addresses)], &Config::default());
        assert_eq!(reasons(&checked), ["pool: Accepted"], "{addresses:?}");
    }
    let ad = json!({ "ipAddressPools": ["missing"], "nodeSelectors": [{ "matchLabels": { "no": "such" } }],
                     "interfaces": ["eth0", "eth0"] });
    let checked = check(&resources(&[], &[advertisement("ad", ad)]), &Config::default());
    assert_eq!(reasons(&checked), ["ad: Accepted"]);
}

#[test]
fn b6_of_two_pools_the_older_stands() {
    let old = with_addresses("z-old", 1, &["10.0.0.0/24"]);
    let new = with_addresses("a-new", 2, &["10.0.1.0/24", "10.0.0.128/25"]);
    for pools in [[old.clone(), new.clone()], [new, old]] {
        let checked = check_pools(&pools, &Config::default());
        assert_eq!(reasons(&checked), ["a-new: OverlapsWithPool", "z-old: Accepted"]);
        let message = &problem(&checked, "a-new").message;
        assert!(
            message.contains(
                "10.0.0.128/25 overlaps with already defined CIDR 10.0.0.0/24 of IPAddressPool z-old"
            ),
            "{message}"
        );
    }
    // Of one age the name decides, and an object without a creation time is newest.
    let checked =
        check_pools(&["b", "a"].map(|name| with_addresses(name, 1, &["10.0.0.0/24"])), &Config::default());
    assert_eq!(reasons(&checked), ["a: Accepted", "b: OverlapsWithPool"]);
    let timeless = json!({ "metadata": { "name": "a" }, "spec": { "addresses": ["10.0.0.0/24"] } });
    let checked = check_pools(&[timeless, with_addresses("b", 9, &["10.0.0.0/24"])], &Config::default());
    assert_eq!(reasons(&checked), ["a: OverlapsWithPool", "b: Accepted"]);
}

#[test]
fn b7_only_one_of_a_name() {
    let twins = [with_addresses("twin", 2, &["10.0.0.0/24"]), with_addresses("twin", 1, &["10.0.1.0/24"])];
    let checked = check_pools(&twins, &Config::default());
    assert_eq!(reasons(&checked), ["twin: Accepted", "twin: DuplicateName"]);
    assert_eq!(ranges(&checked.config, "twin"), ["10.0.1.0-10.0.1.255"]);
}

#[test]
fn b8_b9_b11_b12_service_allocation() {
    let prod = json!({ "matchLabels": { "env": "prod" } });
    for (allocation, expected, fragment) in [
        (json!({ "namespaces": ["a", "a"] }), reason::DUPLICATE_ENTRY, "\"a\" is written twice"),
        (
            json!({ "namespaceSelectors": [prod, prod] }),
            reason::INVALID_SELECTOR,
            "namespaceSelectors: the same",
        ),
        (json!({ "serviceSelectors": [prod, prod] }), reason::INVALID_SELECTOR, "serviceSelectors: the same"),
        (
            json!({ "serviceSelectors": [{ "matchExpressions": [{ "key": "a", "operator": "Like" }] }] }),
            reason::INVALID_SELECTOR,
            "unknown operator \"Like\"",
        ),
    ] {
        let spec = json!({ "addresses": ["10.0.0.0/24"], "serviceAllocation": allocation });
        let checked = check_pools(&[pool("pool", 1, spec)], &Config::default());
        let problem = problem(&checked, "pool");
        assert_eq!(problem.reason, expected, "{allocation}");
        assert!(problem.message.contains(fragment), "{allocation}: {}", problem.message);
    }
}

#[test]
fn b9_b10_b12_a33_advertisements() {
    let selector = json!({ "matchLabels": { "rack": "1" } });
    for (spec, expected, fragment) in [
        (json!({ "ipAddressPools": ["a", "b", "a"] }), reason::DUPLICATE_ENTRY, "spec.ipAddressPools: \"a\""),
        (json!({ "nodeSelectors": [selector, selector] }), reason::INVALID_SELECTOR, "spec.nodeSelectors"),
        (
            json!({ "ipAddressPoolSelectors": [selector, selector] }),
            reason::INVALID_SELECTOR,
            "PoolSelectors",
        ),
        (
            json!({ "preferredNodeSelectors": [{ "weight": 0, "preference": {} }] }),
            reason::INVALID_WEIGHT,
            "weight 0 is not between 1 and 100",
        ),
        (
            json!({ "preferredNodeSelectors": [{ "weight": 101, "preference": {} }] }),
            reason::INVALID_WEIGHT,
            "weight 101",
        ),
        (
            json!({ "preferredNodeSelectors": [{ "weight": 1, "preference": { "matchLabels": { "-": "" } } }] }),
            reason::INVALID_SELECTOR,
            "\"-\" is not a valid label key",
        ),
    ] {
        let checked = check(&resources(&[], &[advertisement("ad", spec.clone())]), &Config::default());
        let problem = problem(&checked, "ad");
        assert_eq!(problem.reason, expected, "{spec}");
        assert!(problem.message.contains(fragment), "{spec}: {}", problem.message);
        assert!(checked.config.advertisements.is_empty());
    }
}

#[test]
fn b18_equal_advertisements_both_stand() {
    let twins = [advertisement("a", json!({})), advertisement("b", json!({}))];
    let checked = check(&resources(&[], &twins), &Config::default());
    assert_eq!(reasons(&checked), ["a: Accepted", "b: Accepted"]);
}

#[test]
fn a17_a18_w29_whom_a_pool_admits() {
    let service = |namespace: &str, labels: Value| {
        let object = json!({ "metadata": { "namespace": namespace, "name": "web", "labels": labels } });
        let object: k8s_openapi::api::core::v1::Service =
            serde_json::from_value(object).expect("a Service without spec");
        Service::from(&object)
    };
    let selector = |key: &str, value: &str| json!([{ "matchLabels": { key: value } }]);
    for (allocation, admitted) in [
        (json!(null), vec!["prod", "test", "other"]),
        (json!({}), vec!["prod", "test", "other"]),
        (json!({ "priority": 5 }), vec!["prod", "test", "other"]),
        (json!({ "namespaces": ["test"] }), vec!["test"]),
        (json!({ "namespaceSelectors": selector("env", "prod") }), vec!["prod"]),
        (
            json!({ "namespaces": ["test"], "namespaceSelectors": selector("env", "prod") }),
            vec!["prod", "test"],
        ),
        // W29: restricted to nothing is open to nobody.
        (json!({ "namespaceSelectors": selector("env", "none") }), vec![]),
        (json!({ "namespaces": ["gone"] }), vec![]),
        (json!({ "serviceSelectors": selector("tier", "web") }), vec!["prod", "test", "other"]),
        (json!({ "namespaces": ["test"], "serviceSelectors": selector("tier", "db") }), vec![]),
    ] {
        let spec = json!({ "addresses": ["10.0.0.0/24"], "serviceAllocation": allocation });
        let mut resources = resources(&[pool("pool", 1, spec)], &[]);
        resources.namespaces = ["prod", "test", "other"]
            .map(|name| Namespace {
                name: name.to_owned(),
                labels: BTreeMap::from([("env".to_owned(), name.to_owned())]),
            })
            .to_vec();
        let checked = check(&resources, &Config::default());
        let pool = &checked.config.pools["pool"];
        let served: Vec<_> = ["prod", "test", "other"]
            .into_iter()
            .filter(|namespace| pool.admits(&service(namespace, json!({ "tier": "web" }))))
            .collect();
        assert_eq!(served, admitted, "{allocation}");
    }
}

#[test]
fn a26_a28_which_pools_an_advertisement_takes() {
    let labelled = json!({ "metadata": { "name": "red", "labels": { "colour": "red" } },
                           "spec": { "addresses": ["10.0.0.0/24"] } });
    let pools = [labelled, with_addresses("plain", 1, &["10.0.1.0/24"])];
    let red = json!([{ "matchLabels": { "colour": "red" } }]);
    let none = json!([{ "matchLabels": { "colour": "none" } }]);
    for (spec, expected) in [
        (json!({}), vec!["plain", "red"]),
        (json!(null), vec!["plain", "red"]),
        (json!({ "ipAddressPools": ["plain"] }), vec!["plain"]),
        (json!({ "ipAddressPools": ["plain"], "ipAddressPoolSelectors": red }), vec!["plain", "red"]),
        (json!({ "ipAddressPoolSelectors": red }), vec!["red"]),
        (json!({ "ipAddressPoolSelectors": none }), vec![]),
        (json!({ "ipAddressPools": ["missing"] }), vec![]),
    ] {
        let checked = check(&resources(&pools, &[advertisement("ad", spec.clone())]), &Config::default());
        let ad = &checked.config.advertisements["ad"];
        let taken = checked.config.pools.values().filter(|pool| ad.selects_pool(pool));
        assert_eq!(taken.map(|pool| pool.name.as_str()).collect::<Vec<_>>(), expected, "{spec}");
    }
    let mut bare = Resources::default();
    bare.read(Kind::L2Advertisement, &json!({ "metadata": { "name": "bare" } }));
    assert_eq!(reasons(&check(&bare, &Config::default())), ["bare: Accepted"]);
}

#[test]
fn an_edit_gone_wrong_takes_nothing_away() {
    let before = check(
        &resources(
            &[with_addresses("pool", 1, &["10.0.0.0/24"]), with_addresses("raw", 2, &["10.0.1.0/24"])],
            &[advertisement("ad", json!({ "interfaces": ["eth0"] }))],
        ),
        &Config::default(),
    );
    let broken = resources(
        &[
            with_addresses("pool", 1, &["10.0.0.0/240"]),
            json!({ "metadata": { "name": "raw" }, "spec": { "addresses": 7 } }),
        ],
        &[advertisement("ad", json!({ "ipAddressPools": ["a", "a"] }))],
    );
    let after = check(&broken, &before.config);
    assert_eq!(after.config, before.config);
    assert_eq!(reasons(&after), ["pool: InvalidAddresses", "raw: Undecodable", "ad: DuplicateEntry"]);
    for name in ["pool", "raw", "ad"] {
        let problem = problem(&after, name);
        assert!(problem.last_valid_kept, "{name}");
        let text = "its last valid version stays in force for as long as this process runs";
        assert!(problem.to_string().ends_with(text), "{problem}");
    }
    // It goes on standing; and what is deleted goes.
    assert_eq!(check(&broken, &after.config).config, before.config);
    assert_eq!(check(&Resources::default(), &after.config).config, Config::default());
}

#[test]
fn a_valid_pool_goes_before_a_kept_one() {
    let before =
        check_pools(&[with_addresses("old", 1, &["10.0.0.0/24", "10.0.9.0/24"])], &Config::default());
    let broken = with_addresses("old", 1, &["banana"]);
    let newer = with_addresses("newer", 2, &["10.0.0.64-10.0.0.127"]);
    let after = check_pools(&[broken.clone(), newer], &before.config);
    assert_eq!(reasons(&after), ["newer: Accepted", "old: InvalidAddresses"]);
    let left = ["10.0.0.0-10.0.0.63", "10.0.0.128-10.0.0.255", "10.0.9.0-10.0.9.255"];
    assert_eq!(ranges(&after.config, "old"), left);
    let message = problem(&after, "old").to_string();
    assert!(message.contains("other pools now have some of the addresses it had"), "{message}");

    // Nothing left: nothing kept.
    let all = with_addresses("newer", 2, &["10.0.0.0/16"]);
    let after = check_pools(&[broken, all], &before.config);
    assert!(!problem(&after, "old").last_valid_kept);
    assert_eq!(after.config.pools.keys().collect::<Vec<_>>(), ["newer"]);
}

#[test]
fn h82_capacity() {
    for (addresses, avoid, v4, v6) in [
        (vec!["10.0.0.0/24"], false, 256, 0),
        (vec!["10.0.0.0/24", "10.0.1.0/25"], false, 384, 0),
        (vec!["10.0.0.0/24", "10.0.1.0/25"], true, 381, 0),
        (vec!["10.0.0.0/24", "10.0.1.0/25", "fd00::/64"], true, 381, i64::MAX),
        (vec!["10.0.0.0/31", "fd00::/127"], true, 1, 2),
        (vec!["fd00::/64", "fd01::/64"], false, 0, i64::MAX),
        (vec!["2000::/3"], true, 0, i64::MAX),
    ] {
        let spec = json!({ "addresses": addresses, "avoidBuggyIPs": avoid });
        let checked = check_pools(&[pool("pool", 1, spec)], &Config::default());
        let pool = &checked.config.pools["pool"];
        assert_eq!((pool.capacity(IpFamily::V4), pool.capacity(IpFamily::V6)), (v4, v6), "{addresses:?}");
    }
}

#[test]
fn a14_c21_pool_of_addresses() {
    let spec = json!({ "addresses": ["10.0.0.0/24", "fd00::/64"], "avoidBuggyIPs": true });
    let config =
        check_pools(&[pool("p", 1, spec), with_addresses("q", 2, &["10.0.1.0/24"])], &Config::default());
    for (addresses, expected) in [
        (vec!["10.0.0.1"], Some("p")),
        (vec!["10.0.0.1", "fd00::5"], Some("p")),
        (vec!["10.0.0.255"], None),
        (vec!["10.0.1.255"], Some("q")),
        (vec!["10.0.1.1", "fd00::5"], None),
        (vec!["192.0.2.1"], None),
    ] {
        let parsed: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("a literal")).collect();
        assert_eq!(config.config.pool_of(&parsed).map(|pool| pool.name.as_str()), expected, "{addresses:?}");
    }
}

#[test]
fn d22_preferences_count_for_own_nodes_only() {
    let node = |labels: &[(&str, &str)]| Node {
        name: "n".into(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        network_unavailable: false,
        addresses: Default::default(),
    };
    let spec = json!({
        "nodeSelectors": [{ "matchLabels": { "rack": "1" } }],
        "preferredNodeSelectors": [
            { "weight": 10, "preference": {} },
            { "weight": 100, "preference": { "matchLabels": { "ssd": "yes" } } },
        ],
    });
    let checked = check(&resources(&[], &[advertisement("ad", spec)]), &Config::default());
    let ad = &checked.config.advertisements["ad"];
    for (labels, expected) in [
        (vec![("rack", "1")], 10),
        (vec![("rack", "1"), ("ssd", "yes")], 110),
        (vec![("rack", "2"), ("ssd", "yes")], 0),
    ] {
        assert_eq!(ad.preference(&node(&labels)), expected, "{labels:?}");
    }
}

/// A pool of a few small ranges, some of them bad, close enough to collide.
fn some_pool() -> impl Strategy<Value = Value> {
    let range = prop_oneof![
        8 => (0_u8..64, 0_u8..16).prop_map(|(from, more)| format!("10.0.0.{from}-10.0.0.{}", from + more)),
        1 => (0_u8..64).prop_map(|host| format!("::ffff:10.0.0.{host}/126")),
        1 => (0_u8..64).prop_map(|host| format!("10.0.0.{host}")),
        1 => (0_u8..4).prop_map(|host| format!("fd00::{host}/127")),
    ];
    let addresses = prop::collection::vec(range, 0..4);
    (0_u8..6, 0_u32..4, addresses).prop_map(|(name, age, addresses)| {
        pool(&format!("pool-{name}"), age, json!({ "addresses": addresses }))
    })
}

fn some_pools() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(
        prop_oneof![9 => some_pool(), 1 => Just(json!({ "metadata": { "name": "pool-1" } }))],
        0..8,
    )
}

fn all_addresses(config: &Config) -> Vec<(IpFamily, u128)> {
    let ranges = config.pools.values().flat_map(|pool| &pool.ranges);
    ranges
        .flat_map(|range| (number(range.first())..=number(range.last())).map(|n| (range.family(), n)))
        .collect()
}

proptest! {
    #[test]
    fn any_resources(
        (pools, shuffled) in some_pools().prop_flat_map(|pools| (Just(pools.clone()), Just(pools).prop_shuffle())),
        earlier in some_pools(),
    ) {
        let last = check_pools(&earlier, &Config::default()).config;
        let checked = check_pools(&pools, &last);

        // Order does not matter, and judging again changes nothing.
        prop_assert_eq!(&check_pools(&shuffled, &last), &checked);
        prop_assert_eq!(&check_pools(&pools, &checked.config).config, &checked.config);

        // One verdict an object; no address in two places.
        prop_assert_eq!(checked.verdicts.len(), pools.len());
        let mut addresses = all_addresses(&checked.config);
        let total = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        prop_assert_eq!(addresses.len(), total);

        // What is valid does not depend on the past; what is bad only keeps what it had.
        let fresh = check_pools(&pools, &Config::default());
        for (verdict, alone) in checked.verdicts.iter().zip(&fresh.verdicts) {
            prop_assert_eq!(verdict.outcome.is_ok(), alone.outcome.is_ok());
        }
        for (name, pool) in &checked.config.pools {
            match fresh.config.pools.get(name) {
                Some(valid) => prop_assert_eq!(pool, valid),
                None => {
                    let had = &last.pools[name];
                    prop_assert!(pool.ranges.iter().all(|r| had.contains(r.first()) && had.contains(r.last())));
                    prop_assert!(!pool.ranges.is_empty());
                }
            }
        }
    }
}
