//! Which reservations and exclusions are accepted, and what they mean.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Config, Kind, Resources, Verdict, check, reason};
use super::*;
use crate::address::{from_number, number};
use crate::ip_family::IpFamily;

fn judge(pools: &[(&str, Value)], last: &Config) -> (Config, Vec<Verdict>) {
    let mut resources = Resources::default();
    for (name, spec) in pools {
        resources.read(Kind::IPAddressPool, &json!({ "metadata": { "name": name }, "spec": spec }));
    }
    let checked = check(&resources, last);
    (checked.config, checked.verdicts)
}

fn reserved(addresses: &[&str]) -> Value {
    json!({ "addresses": addresses, "name": "web" })
}

#[test]
fn what_is_wrong_is_said_of_that_pool_only() {
    let outside = reason::RESERVATION_OUTSIDE_POOL;
    for (reservations, exclusions, expected, fragment) in [
        (json!([reserved(&["10.0.1.7"])]), json!([]), outside, "spec.reservations[0]: 10.0.1.7 lies outside"),
        (
            json!([reserved(&["10.0.0.7"]), reserved(&["10.0.0.250-10.0.1.3"])]),
            json!([]),
            outside,
            "spec.reservations[1]: 10.0.1.0-10.0.1.3 lies outside of spec.addresses",
        ),
        (json!([reserved(&["fd00::1"])]), json!([]), outside, "fd00::1 lies outside"),
        (json!([reserved(&["10.0.0.255"])]), json!([]), outside, "10.0.0.255 ends in .0 or .255"),
        (
            json!([reserved(&["10.0.0.8/30"]), reserved(&["10.0.0.11"])]),
            json!([]),
            reason::OVERLAPPING_ADDRESSES,
            "spec.reservations[0]: 10.0.0.8-10.0.0.11 overlaps with spec.reservations[1]: 10.0.0.11",
        ),
        (
            json!([reserved(&["10.0.0.9"])]),
            json!([{ "addresses": ["10.0.0.1", "10.0.0.0/24"] }]),
            reason::OVERLAPPING_ADDRESSES,
            "spec.excludedAddresses[0]: 10.0.0.0-10.0.0.255 overlaps with spec.excludedAddresses[0]: 10.0.0.1",
        ),
        (
            json!([reserved(&["10.0.0.9"])]),
            json!([{ "addresses": ["10.0.0.9-10.0.0.20"] }]),
            reason::OVERLAPPING_ADDRESSES,
            "overlaps with",
        ),
        (
            json!([reserved(&["router"])]),
            json!([]),
            reason::INVALID_ADDRESSES,
            "spec.reservations[0].addresses",
        ),
        (json!([reserved(&[])]), json!([]), reason::NO_ADDRESSES, "spec.reservations[0].addresses is empty"),
        (
            json!([]),
            json!([{ "addresses": ["10.0.0.9-10.0.0.1"] }]),
            reason::INVALID_ADDRESSES,
            "spec.excludedAddresses[0].addresses",
        ),
        (
            json!([{ "addresses": ["10.0.0.1"], "serviceSelector": {}, "namespace": "" }]),
            json!([]),
            reason::RESERVATION_FOR_NOBODY,
            "give a namespace, a name or a serviceSelector",
        ),
        (
            json!([{ "addresses": ["10.0.0.1"], "serviceSelector": { "matchLabels": { "-": "x" } } }]),
            json!([]),
            reason::INVALID_SELECTOR,
            "spec.reservations[0].serviceSelector",
        ),
    ] {
        let bad = json!({ "addresses": ["10.0.0.0/24"], "avoidBuggyIPs": true,
                          "reservations": reservations, "excludedAddresses": exclusions });
        let good = json!({ "addresses": ["10.1.0.0/24"], "reservations": [reserved(&["10.1.0.1"])] });
        let (config, verdicts) = judge(&[("bad", bad), ("good", good)], &Config::default());
        assert_eq!(config.pools.keys().collect::<Vec<_>>(), ["good"], "{fragment}");
        let problem = verdicts[0].outcome.as_ref().expect_err("this pool is bad");
        assert_eq!((verdicts[0].name.as_str(), problem.reason), ("bad", expected), "{problem}");
        assert!(problem.message.contains(fragment), "{}", problem.message);
        assert_eq!(verdicts[1].outcome, Ok(()));
    }
}

#[test]
fn what_is_no_error() {
    // Across two ranges; an exclusion that lies outside, for later.
    let spec = json!({
        "addresses": ["10.0.0.0/25", "10.0.0.128/25", "fd00::/64"],
        "reservations": [reserved(&["10.0.0.100-10.0.0.200", "fd00::1", "::ffff:10.0.0.7"])],
        "excludedAddresses": [{ "addresses": ["172.16.16.100", "10.0.0.255"] }, { "addresses": ["fd00::8000:0:0:0/65"] }],
    });
    let (config, verdicts) = judge(&[("a", spec)], &Config::default());
    assert_eq!(verdicts[0].outcome, Ok(()));
    let pool = &config.pools["a"];
    let shown = |ranges: Vec<AddressRange>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shown(pool.assignable()),
        ["10.0.0.0-10.0.0.127", "10.0.0.128-10.0.0.254", "fd00::-fd00::7fff:ffff:ffff:ffff"]
    );
    assert_eq!(
        shown(pool.unreserved()),
        [
            "10.0.0.0-10.0.0.6",
            "10.0.0.8-10.0.0.99",
            "10.0.0.201-10.0.0.254",
            "fd00::-fd00::",
            "fd00::2-fd00::7fff:ffff:ffff:ffff",
        ]
    );
    assert_eq!((pool.capacity(IpFamily::V4), pool.unreserved_capacity(IpFamily::V4)), (255, 153));
    assert_eq!(config.pool_of(&["10.0.0.255".parse().expect("an address")]), None);
}

#[test]
fn a_bad_edit_leaves_the_last_valid_reservations_in_force() {
    let good =
        json!({ "addresses": ["10.0.0.0/24"], "reservations": [reserved(&["10.0.0.7", "10.0.0.200"])] });
    let (last, _) = judge(&[("a", good)], &Config::default());
    let bad = json!({ "addresses": ["10.0.0.0/24"], "reservations": [reserved(&["10.0.0.7", "10.9.9.9"])] });
    let (config, verdicts) = judge(&[("a", bad.clone())], &last);
    assert!(verdicts[0].outcome.as_ref().is_err_and(|problem| problem.last_valid_kept));
    assert_eq!(config, last);
    // What another pool has taken is not reserved by it any more.
    let (config, _) = judge(&[("a", bad), ("b", json!({ "addresses": ["10.0.0.128/25"] }))], &last);
    let kept: Vec<String> =
        config.pools["a"].reservations[0].ranges.iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["10.0.0.7-10.0.0.7"]);
}

#[test]
fn everything_given_must_match() {
    let selector = || {
        let labels = serde_json::from_value(json!({ "matchLabels": { "app": "web" } })).expect("a selector");
        Some(Selector::try_from(&labels).expect("it compiles"))
    };
    let service = |namespace: &str, name: &str, app: &str| {
        let object =
            json!({ "metadata": { "namespace": namespace, "name": name, "labels": { "app": app } } });
        Service::from(
            &serde_json::from_value::<k8s_openapi::api::core::v1::Service>(object).expect("a Service"),
        )
    };
    let entry =
        |namespace: Option<&str>, name: Option<&str>, service_selector: Option<Selector>| Reservation {
            ranges: Vec::new(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            service_selector,
            reason: String::new(),
        };
    for (entry, holder, matching) in [
        (entry(Some("a"), Some("s"), None), "Service a/s", [true, false, false, true]),
        (entry(Some("a"), None, None), "Services in namespace a", [true, true, false, true]),
        (entry(None, Some("s"), None), "Services named s", [true, false, true, true]),
        (entry(None, None, selector()), "Services with app=web", [true, true, true, false]),
        (
            entry(Some("a"), None, selector()),
            "Services in namespace a with app=web",
            [true, true, false, false],
        ),
    ] {
        assert_eq!(entry.holder(), holder);
        let services = [
            service("a", "s", "web"),
            service("a", "t", "web"),
            service("b", "s", "web"),
            service("a", "s", "db"),
        ];
        assert_eq!(services.map(|service| entry.matches(&service)), matching, "{holder}");
    }
}

#[test]
fn pools_and_advertisements_that_do_not_meet() {
    let mut resources = Resources::default();
    for (name, label) in [("a", "red"), ("b", "blue")] {
        let third = if name == "a" { 0 } else { 1 };
        resources.read(
            Kind::IPAddressPool,
            &json!({ "metadata": { "name": name, "labels": { "colour": label } },
                     "spec": { "addresses": [format!("10.0.{third}.0/24")] } }),
        );
    }
    for (name, spec) in [
        ("both", json!({ "ipAddressPools": ["a", "gone"] })),
        ("green", json!({ "ipAddressPoolSelectors": [{ "matchLabels": { "colour": "green" } }] })),
        ("lost", json!({ "ipAddressPools": ["gone", "never"] })),
        ("red", json!({ "ipAddressPoolSelectors": [{ "matchLabels": { "colour": "red" } }] })),
    ] {
        resources.read(Kind::L2Advertisement, &json!({ "metadata": { "name": name }, "spec": spec }));
    }
    let mut shown: Vec<String> = Vec::new();
    for verdict in check(&resources, &Config::default()).verdicts {
        assert_eq!(verdict.outcome, Ok(()), "B15: that is no error");
        let effective = verdict.effective.expect("it is in force");
        shown.push(format!(
            "{}: {} {}: {}",
            verdict.name, effective.holds, effective.reason, effective.message
        ));
    }
    assert_eq!(
        shown,
        [
            "a: true Matched: advertised by L2Advertisement both, red",
            "b: false NoAdvertisement: no L2Advertisement selects this pool: its addresses are assigned, but not \
             announced by ARP or NDP",
            "both: true UnknownPool: announces IPAddressPool a; but no IPAddressPool gone is in force",
            "green: false NoMatchingPool: its ipAddressPoolSelectors match no IPAddressPool, so nothing is \
             announced by it",
            "lost: false NoMatchingPool: no IPAddressPool gone, never is in force, so nothing is announced by it",
            "red: true Matched: announces IPAddressPool a",
        ]
    );
}

proptest! {
    /// By intervals as by looking at each address.
    #[test]
    fn without_is_set_difference(
        ranges in prop::collection::vec((0..64_u128, 0..8_u128), 0..5),
        others in prop::collection::vec((0..64_u128, 0..8_u128), 0..5),
    ) {
        let read = |list: &[(u128, u128)]| -> Vec<AddressRange> {
            let at = |number| from_number(IpFamily::V4, number);
            let mut disjoint: Vec<AddressRange> = Vec::new();
            for (first, size) in list {
                let range = AddressRange::new(at(*first), at(first + size)).expect("it goes upwards");
                if disjoint.iter().all(|other| !other.overlaps(&range)) {
                    disjoint.push(range);
                }
            }
            disjoint
        };
        let (ranges, others) = (read(&ranges), read(&others));
        let each = |ranges: &[AddressRange]| -> Vec<u128> {
            ranges.iter().flat_map(|range| number(range.first())..=number(range.last())).collect()
        };
        let taken = each(&others);
        let expected: Vec<u128> = each(&ranges).into_iter().filter(|n| !taken.contains(n)).collect();
        prop_assert_eq!(each(&without(&ranges, others.iter())), expected);
    }
}
