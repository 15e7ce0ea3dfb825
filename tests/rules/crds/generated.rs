//! That the committed CRDs are what the types say, and MetalLB's by name and column.

use std::fs;
use std::path::PathBuf;

use ferrolb_api::crd;
use serde_json::{Value, json};

use super::definition;

/// How to bring the file up to date.
const UPDATE: &str = "UPDATE_MANIFESTS=1 cargo test -p tests --test rules crds";

/// This test is the only writer of the file.
#[test]
fn the_committed_crds_are_generated_from_the_types() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds/crds.yaml");
    let expected = generated();
    if std::env::var_os("UPDATE_MANIFESTS").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).expect("manifests/crds is writable");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == expected, "manifests/crds/crds.yaml is not what the types say; run `{UPDATE}`");
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

/// The columns of MetalLB's, in order: name, type, path.
const COLUMNS: &[(&str, &[&str])] = &[
    (
        "IPAddressPool",
        &[
            "Auto Assign, boolean, .spec.autoAssign",
            "Avoid Buggy IPs, boolean, .spec.avoidBuggyIPs",
            "Addresses, string, .spec.addresses",
        ],
    ),
    (
        "L2Advertisement",
        &[
            "IPAddressPools, string, .spec.ipAddressPools",
            "IPAddressPool Selectors, string, .spec.ipAddressPoolSelectors",
            "Interfaces, string, .spec.interfaces",
            "Node Selectors, string, .spec.nodeSelectors, 10",
        ],
    ),
    (
        "ServiceL2Status",
        &[
            "Allocated Node, string, .status.node",
            "Service Name, string, .status.serviceName",
            "Service Namespace, string, .status.serviceNamespace",
        ],
    ),
    (
        "ConfigurationState",
        &[
            "Result, string, .status.result",
            "ErrorSummary, string, .status.errorSummary",
            "Age, date, .metadata.creationTimestamp",
        ],
    ),
    (
        "BGPPeer",
        &[
            "Address, string, .spec.peerAddress",
            "ASN, string, .spec.peerASN",
            "BFD Profile, string, .spec.bfdProfile",
            "Multi Hops, string, .spec.ebgpMultiHop",
        ],
    ),
    (
        "BGPAdvertisement",
        &[
            "IPAddressPools, string, .spec.ipAddressPools",
            "IPAddressPool Selectors, string, .spec.ipAddressPoolSelectors",
            "Peers, string, .spec.peers",
            "Node Selectors, string, .spec.nodeSelectors, 10",
        ],
    ),
    (
        "BFDProfile",
        &[
            "Passive Mode, boolean, .spec.passiveMode",
            "Transmit Interval, integer, .spec.transmitInterval",
            "Receive Interval, integer, .spec.receiveInterval",
            "Multiplier, integer, .spec.detectMultiplier",
        ],
    ),
    ("Community", &[]),
    (
        "ServiceBGPStatus",
        &[
            "Node, string, .status.node",
            "Service Name, string, .status.serviceName",
            "Service Namespace, string, .status.serviceNamespace",
        ],
    ),
];

#[test]
fn a10_a25_a40_a50_a70_to_a74_columns() {
    let shown = |column: &Value| {
        let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        let priority = column["priority"].as_i64().map(|priority| format!(", {priority}"));
        format!("{}, {}, {}{}", text("name"), text("type"), text("jsonPath"), priority.unwrap_or_default())
    };
    assert_eq!(COLUMNS.len(), crd::all().len());
    for (kind, expected) in COLUMNS {
        for version in definition(kind)["spec"]["versions"].as_array().expect("it has versions") {
            let columns = version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
            let shown: Vec<_> = columns.iter().map(shown).collect();
            let (theirs, ours) = shown.split_at(expected.len().min(shown.len()));
            assert_eq!(theirs, *expected, "{kind}");
            assert!(ours.iter().all(|column| column.starts_with("Ready, ")), "{kind}: {ours:?}");
        }
    }
}

#[test]
fn a1_every_kind_of_metallb_is_there() {
    let kinds: Vec<_> =
        crd::all().into_iter().map(|crd| (crd.spec.names.kind, crd.spec.names.plural)).collect();
    let expected = [
        ("IPAddressPool", "ipaddresspools"),
        ("L2Advertisement", "l2advertisements"),
        ("ServiceL2Status", "servicel2statuses"),
        ("ConfigurationState", "configurationstates"),
        ("BGPPeer", "bgppeers"),
        ("BGPAdvertisement", "bgpadvertisements"),
        ("BFDProfile", "bfdprofiles"),
        ("Community", "communities"),
        ("ServiceBGPStatus", "servicebgpstatuses"),
    ];
    assert_eq!(kinds, expected.map(|(kind, plural)| (kind.to_owned(), plural.to_owned())));
    for (kind, plural) in expected {
        let crd = definition(kind);
        assert_eq!(crd["metadata"]["name"], json!(format!("{plural}.metallb.io")));
        let names = &crd["spec"]["names"];
        assert_eq!((&names["shortNames"], &names["categories"]), (&Value::Null, &Value::Null), "{kind}");
        assert_eq!(crd["spec"]["scope"], json!("Namespaced"), "{kind}");
        for version in crd["spec"]["versions"].as_array().expect("it has versions") {
            assert_eq!(version["subresources"]["status"], json!({}), "{kind}");
            assert_eq!(version["served"], json!(true), "{kind}");
        }
    }
}
