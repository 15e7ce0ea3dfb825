//! Which version of a rejected object stays in force, and what is served where none does.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

/// What the controller writes into the status of an accepted object.
fn stored(object: &Value, generation: i64, spec: Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["generation"] = json!(generation + 1);
    object["status"] = json!({ "lastKnownGood": { "generation": generation, "spec": spec } });
    object
}

#[test]
fn what_stands_in_the_status_stays_in_force_after_a_restart() {
    let addresses = json!({ "addresses": ["10.0.0.0/24", "fd00::/120"] });
    let reversed = json!({ "addresses": ["10.0.0.9-10.0.0.1"] });
    let pinned = json!({
        "addresses": ["10.0.0.0/24"],
        "serviceAllocation": { "namespaceSelectors": [{ "matchLabels": { "team": "web" } }] },
    });
    let last = ["10.0.0.0-10.0.0.255", "fd00::-fd00::ff"];
    let nothing: &[&str] = &[];
    for (what, object, expected) in [
        ("a reversed range", stored(&pool("p", 1, reversed.clone()), 1, addresses.clone()), &last[..]),
        ("nothing stored", pool("p", 1, reversed.clone()), nothing),
        ("stored, but bad as well", stored(&pool("p", 1, reversed.clone()), 1, reversed.clone()), nothing),
        (
            "stored, but no spec",
            stored(&pool("p", 1, reversed.clone()), 1, json!({ "addresses": 7 })),
            nothing,
        ),
        (
            "stored, but it overlaps itself",
            stored(
                &pool("p", 1, reversed.clone()),
                1,
                json!({ "addresses": ["10.0.0.0/24", "10.0.0.0/25"] }),
            ),
            nothing,
        ),
        ("pinned by labels of Namespaces", stored(&pool("p", 1, reversed), 1, pinned), &last[..1]),
    ] {
        let mut resources = resources(&[object], &[]);
        let team = [("team".to_owned(), "web".to_owned())].into();
        resources.namespaces.push(Namespace { name: "shop".to_owned(), labels: team });
        let restarted = check(&resources, &Config::default());
        assert_eq!(ranges(&restarted.config, "p"), expected, "{what}");
        let (text, kept) = (problem(&restarted, "p").to_string(), !expected.is_empty());
        let promise = "until this is fixed its last valid version stays in force";
        assert_eq!(
            (problem(&restarted, "p").last_valid_kept, text.ends_with(promise)),
            (kept, kept),
            "{text}"
        );
        assert_eq!(restarted.config.unusable_pools.contains_key("p"), !kept, "{what}");
        let served = restarted.config.pools.get("p").and_then(|pool| pool.allocation.as_ref());
        let served = served.and_then(|allocation| allocation.namespaces.as_ref());
        assert!(served.is_none_or(|names| names.contains("shop")), "{what}");
        // Judged again by what it has in force, it comes to the same.
        assert_eq!(check(&resources, &restarted.config), restarted, "{what}");
    }
    let twice = json!({ "ipAddressPools": ["a", "a"] });
    let ad = stored(&advertisement("ad", twice.clone()), 1, json!({ "interfaces": ["eth0"] }));
    let restarted = check(&resources(&[], &[ad, advertisement("never", twice)]), &Config::default());
    assert_eq!(restarted.config.advertisements["ad"].interfaces, ["eth0"]);
    assert_eq!(restarted.config.unusable_advertisements, ["never".to_owned()].into());
    assert!(!problem(&restarted, "never").last_valid_kept);
}

#[test]
fn of_what_is_remembered_and_what_is_stored_the_newer_stays() {
    let version = |generation: i64, addresses: &str| {
        let mut object = pool("p", 1, json!({ "addresses": [addresses] }));
        (object["metadata"]["generation"], object["metadata"]["uid"]) = (json!(generation), json!("one"));
        object
    };
    let good =
        |generation, addresses| check_pools(&[version(generation, addresses)], &Config::default()).config;
    let bad = |object: &Value| {
        let mut object = object.clone();
        object["spec"] = json!({ "addresses": ["banana"] });
        object
    };
    let stored = |generation, addresses: &str| {
        stored(&bad(&version(9, "banana")), generation, json!({ "addresses": [addresses] }))
    };
    for (remembered, object, expected) in [
        (good(2, "10.0.2.0/24"), stored(1, "10.0.1.0/24"), "10.0.2.0-10.0.2.255"),
        (good(2, "10.0.2.0/24"), stored(3, "10.0.3.0/24"), "10.0.3.0-10.0.3.255"),
        (good(2, "10.0.2.0/24"), stored(2, "10.0.3.0/24"), "10.0.3.0-10.0.3.255"),
        (good(2, "10.0.2.0/24"), stored(3, "banana"), "10.0.2.0-10.0.2.255"),
    ] {
        let checked = check_pools(&[object], &remembered);
        assert_eq!(ranges(&checked.config, "p"), [expected]);
        let kept = checked.verdicts[0].last_known_good.as_ref().expect("something stays");
        assert_eq!(kept, &checked.config.versions[&(Kind::IPAddressPool, "p".to_owned())].source);
    }
    // Deleted while it was bad and made again: another object, of which nothing was promised.
    let mut again = bad(&version(1, "banana"));
    again["metadata"]["uid"] = json!("two");
    let checked = check_pools(&[again], &good(2, "10.0.2.0/24"));
    assert!(checked.config.pools.is_empty() && !problem(&checked, "p").last_valid_kept);
}

#[test]
fn a_service_of_a_pool_without_a_valid_version_is_still_served() {
    let mut bad = with_addresses("bad", 1, &["banana"]);
    bad["metadata"]["labels"] = json!({ "zone": "east" });
    let good = with_addresses("good", 2, &["10.0.1.0/24"]);
    let config = check_pools(&[bad, good], &Config::default()).config;
    for (key, origin, address, expected) in [
        ("metallb.io/ip-allocated-from-pool", "bad", "10.0.0.1", Some("bad")),
        ("metallb.universe.tf/ip-allocated-from-pool", "bad", "fd00::1", Some("bad")),
        ("metallb.io/ip-allocated-from-pool", "bad", "10.0.1.1", Some("good")),
        ("metallb.io/ip-allocated-from-pool", "good", "10.0.0.1", None),
        ("metallb.io/ip-allocated-from-pool", "gone", "10.0.0.1", None),
    ] {
        let annotations = BTreeMap::from([(key.to_owned(), origin.to_owned())]);
        let metadata = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let service = Service::from(&core::Service { metadata, ..core::Service::default() });
        let addresses = [address.parse().expect("an address")];
        let pool = config.pool_serving(&service, &addresses);
        assert_eq!(pool.map(|pool| pool.name.as_str()), expected, "{key}: {origin}, {address}");
    }
    assert_eq!(config.unusable_pools["bad"].labels["zone"], "east", "advertisements select it by them");
}
