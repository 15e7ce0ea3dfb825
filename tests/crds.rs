//! The CRDs under manifests/: that they are what the types say, and what they let through.

use std::fs;
use std::path::PathBuf;

use fake_api::FakeApi;
use metallb_api::crd::{self, IPAddressPool, L2Advertisement};
use serde_json::{Value, json};

/// How to bring the file up to date.
const UPDATE: &str = "UPDATE_MANIFESTS=1 cargo test -p tests --test crds";

/// This test is the only writer of the file.
#[test]
fn the_committed_crds_are_generated_from_the_types() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/crds.yaml");
    let expected = generated();
    if std::env::var_os("UPDATE_MANIFESTS").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).expect("manifests/base is writable");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == expected, "manifests/base/crds.yaml is not what the types say; run `{UPDATE}`");
}

fn generated() -> String {
    let mut text = format!("# Generated from api/src/crd by `{UPDATE}`; do not edit.\n");
    for crd in crd::all() {
        // By way of JSON, so that keys are sorted.
        let value = serde_json::to_value(crd).expect("a CRD is JSON");
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&sorted(value)).expect("JSON is YAML"));
    }
    text
}

/// The same with keys in order, whatever serde_json's features are, and without
/// the fractions that the API's number type gives to limits.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => Value::Number(number),
        },
        other => other,
    }
}

fn api() -> FakeApi {
    FakeApi::builder().definitions(crd::all()).build().expect("the API server takes our CRDs")
}

/// What the API server answers to a pool with this spec.
fn apply_pool(spec: &Value) -> Result<(), String> {
    let object = json!({ "metadata": { "name": "pool", "namespace": "metallb-system" }, "spec": spec });
    let pool: IPAddressPool = serde_json::from_value(object).expect("it decodes");
    api().create(&pool).map(|_| ()).map_err(|refusal| refusal.to_string())
}

fn apply_advertisement(spec: &Value) -> Result<(), String> {
    let object = json!({ "metadata": { "name": "ad", "namespace": "metallb-system" }, "spec": spec });
    let advertisement: L2Advertisement = serde_json::from_value(object).expect("it decodes");
    api().create(&advertisement).map(|_| ()).map_err(|refusal| refusal.to_string())
}

/// One selector with one expression.
fn selector(operator: &str, values: &Value) -> Value {
    json!([{ "matchExpressions": [{ "key": "rack", "operator": operator, "values": values }] }])
}

#[test]
fn a12_b3_b4_b16_what_metallb_accepts_is_accepted() {
    for entry in [
        "10.0.0.0/24",
        "192.168.1.5/24",
        "10.0.0.1-10.0.0.9",
        " 10.0.0.1 - 10.0.0.9 ",
        "fd00::/64",
        "fd00::1-fd00::f",
        "::/0",
        "::ffff:10.0.0.1-::ffff:10.0.0.9",
        "::FFFF:10.0.0.0/120",
        "10.0.0.1-::ffff:10.0.0.9",
    ] {
        assert_eq!(apply_pool(&json!({ "addresses": [entry] })), Ok(()), "{entry:?}");
    }
    let pinned = json!({
        "addresses": ["10.0.0.0/24", "fd00::/64"], "autoAssign": false, "avoidBuggyIPs": true,
        "serviceAllocation": {
            "priority": 50, "namespaces": ["web", "db"],
            "namespaceSelectors": selector("In", &json!(["1", "2"])),
            "serviceSelectors": [{ "matchLabels": { "tier": "web" } }, {}],
        },
    });
    assert_eq!(apply_pool(&pinned), Ok(()));
    let many: Vec<String> = (0..200).map(|index| format!("namespace-{index}")).collect();
    assert_eq!(
        apply_pool(&json!({ "addresses": ["10.0.0.0/24"], "serviceAllocation": { "namespaces": many } })),
        Ok(())
    );
}

#[test]
fn b2_b3_b4_b8_b12_b17_what_is_refused_says_why() {
    let pinned = |allocation: Value| json!({ "addresses": ["10.0.0.0/24"], "serviceAllocation": allocation });
    let addresses = |entry: &str| json!({ "addresses": [entry] });
    for (spec, fragment) in [
        (json!({ "addresses": [] }), "spec.addresses"),
        (addresses("10.0.0.7"), "for one address add /32"),
        (addresses("banana"), "must be a CIDR prefix like 192.168.1.0/24"),
        (addresses("10.0.0.0/33"), "must be a CIDR prefix"),
        (addresses("10.0.0.10-20"), "both ends of a range must be IP addresses written in full"),
        (addresses("-"), "both ends of a range"),
        (addresses("10.0.0.1-fd00::1"), "must be IPv4, or both IPv6"),
        (pinned(json!({ "namespaces": ["a", "a"] })), "the same name is written twice"),
        (pinned(json!({ "serviceSelectors": selector("In", &json!([])) })), "need at least one value"),
        (pinned(json!({ "serviceSelectors": selector("Exists", &json!(["a"])) })), "take no values"),
        (
            pinned(json!({ "namespaceSelectors": selector("Like", &json!(["a"])) })),
            "Unsupported value: \"Like\"",
        ),
    ] {
        let refusal = apply_pool(&spec).expect_err("this spec is bad");
        assert!(refusal.contains(fragment), "{spec}: {refusal}");
    }
}

#[test]
fn a26_a33_b10_b12_advertisements() {
    let preferred =
        |weight: i32| json!({ "preferredNodeSelectors": [{ "weight": weight, "preference": {} }] });
    for spec in [
        json!({}),
        json!({ "ipAddressPools": ["a", "b"], "interfaces": ["eth0", "eth0"], "nodeSelectors": [{}] }),
        preferred(1),
        preferred(100),
    ] {
        assert_eq!(apply_advertisement(&spec), Ok(()), "{spec}");
    }
    for (spec, fragment) in [
        (json!({ "ipAddressPools": ["a", "a"] }), "the same name is written twice"),
        (json!({ "nodeSelectors": selector("NotIn", &json!(null)) }), "need at least one value"),
        (preferred(0), "preferredNodeSelectors[0].weight"),
        (preferred(101), "preferredNodeSelectors[0].weight"),
    ] {
        let refusal = apply_advertisement(&spec).expect_err("this spec is bad");
        assert!(refusal.contains(fragment), "{spec}: {refusal}");
    }
}

#[test]
fn a26_an_advertisement_without_spec_is_admitted_and_read_back() {
    let api = api();
    let bare = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
        "metadata": { "name": "all", "namespace": "metallb-system" },
    });
    api.insert_unchecked(bare.clone()).expect("its kind is known");
    let read: Option<L2Advertisement> = api.get(Some("metallb-system"), "all").expect("it decodes");
    assert_eq!(read.map(|ad| ad.spec), Some(crd::L2AdvertisementSpec::default()));

    // The schema itself asks for no spec either.
    let definition = crd::all().into_iter().find(|crd| crd.spec.names.kind == "L2Advertisement");
    let schema = serde_json::to_value(definition).expect("a CRD is JSON");
    assert_eq!(schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["required"], Value::Null);
}
