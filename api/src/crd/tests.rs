//! What our types read and write, and what the schemas say beyond the derive.

use serde_json::{Value, json};

use super::*;

fn crd(kind: &str) -> Value {
    let crd = all().into_iter().find(|crd| crd.spec.names.kind == kind).expect("we ship this kind");
    serde_json::to_value(crd).expect("a CRD is JSON")
}

fn schema(kind: &str) -> Value {
    crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn kinds() -> Vec<String> {
    all().into_iter().map(|crd| crd.spec.names.kind).collect()
}

/// Every object inside `value`, itself included.
fn objects(value: &Value) -> Vec<&serde_json::Map<String, Value>> {
    match value {
        Value::Object(map) => std::iter::once(map).chain(map.values().flat_map(objects)).collect(),
        Value::Array(list) => list.iter().flat_map(objects).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a1_a10_a25_names_columns_and_subresource() {
    let columns = |kind: &str| -> Vec<String> {
        let columns = crd(kind)["spec"]["versions"][0]["additionalPrinterColumns"].clone();
        let columns = columns.as_array().cloned().unwrap_or_default();
        columns
            .iter()
            .map(|column| format!("{} {} {}", column["name"], column["type"], column["jsonPath"]))
            .collect()
    };
    for (kind, plural, expected) in [
        (
            "IPAddressPool",
            "ipaddresspools",
            vec![
                r#""Auto Assign" "boolean" ".spec.autoAssign""#,
                r#""Avoid Buggy IPs" "boolean" ".spec.avoidBuggyIPs""#,
                r#""Addresses" "string" ".spec.addresses""#,
            ],
        ),
        (
            "L2Advertisement",
            "l2advertisements",
            vec![
                r#""IPAddressPools" "string" ".spec.ipAddressPools""#,
                r#""IPAddressPool Selectors" "string" ".spec.ipAddressPoolSelectors""#,
                r#""Interfaces" "string" ".spec.interfaces""#,
                r#""Node Selectors" "string" ".spec.nodeSelectors""#,
            ],
        ),
    ] {
        let crd = crd(kind);
        assert_eq!(crd["metadata"]["name"], json!(format!("{plural}.metallb.io")));
        assert_eq!(crd["spec"]["scope"], json!("Namespaced"));
        let names = &crd["spec"]["names"];
        assert_eq!((&names["shortNames"], &names["categories"]), (&Value::Null, &Value::Null), "A1");
        let version = &crd["spec"]["versions"][0];
        assert_eq!((&version["name"], &version["storage"]), (&json!("v1beta1"), &json!(true)));
        assert_eq!(version["subresources"]["status"], json!({}));
        let columns = columns(kind);
        assert_eq!(columns[..expected.len()], expected);
        assert!(
            columns[expected.len()..].iter().all(|column| column.starts_with("\"Ready\"")),
            "{columns:?}"
        );
    }
}

#[test]
fn a11_a13_a14_a26_required_fields_and_defaults() {
    let pool = schema("IPAddressPool");
    assert_eq!(pool["required"], json!(["spec"]));
    assert_eq!(pool["properties"]["spec"]["required"], json!(["addresses"]));
    let fields = &pool["properties"]["spec"]["properties"];
    assert_eq!(
        (&fields["autoAssign"]["default"], &fields["avoidBuggyIPs"]["default"]),
        (&json!(true), &json!(false))
    );

    let ad = schema("L2Advertisement");
    assert_eq!(ad["required"], Value::Null, "A26");
    assert_eq!(ad["properties"]["spec"]["required"], Value::Null);
    let preferred = &ad["properties"]["spec"]["properties"]["preferredNodeSelectors"]["items"];
    assert_eq!(preferred["required"], json!(["preference", "weight"]));

    for kind in kinds() {
        let schema = schema(&kind);
        for object in objects(&schema) {
            assert!(!object.contains_key("nullable"), "{kind}: MetalLB's schemas know no null: {object:?}");
            let default = object.get("default").filter(|default| !default.is_object());
            assert!(
                default.is_none_or(|default| default.is_boolean() || default.is_number()),
                "{kind}: {object:?}"
            );
        }
    }
}

#[test]
fn a20_counters_are_int64() {
    let status = &schema("IPAddressPool")["properties"]["status"]["properties"];
    for counter in ["assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6"] {
        assert_eq!(
            (&status[counter]["type"], &status[counter]["format"]),
            (&json!("integer"), &json!("int64"))
        );
    }
}

#[test]
fn kubectl_explain_speaks_to_users() {
    let all_text = kinds().into_iter().map(|kind| {
        let schema = schema(&kind);
        let texts = objects(&schema).into_iter().filter_map(|object| object.get("description")?.as_str());
        texts.map(str::to_owned).collect::<Vec<_>>()
    });
    let texts: Vec<_> = all_text.flatten().collect();
    assert!(texts.iter().any(|text| text == "Nodes that may announce."), "{texts:?}");
    for text in &texts {
        assert!(!text.contains("(A") && !text.contains("(C") && !text.contains("Auto-generated"), "{text}");
    }
}

#[test]
fn every_rule_has_a_message() {
    let mut rules = 0;
    for kind in kinds() {
        let schema = schema(&kind);
        for rule in objects(&schema).iter().filter(|object| object.contains_key("rule")) {
            let message = rule.get("message").and_then(Value::as_str).unwrap_or_default();
            assert!(message.len() > 10, "{rule:?}");
            rules += 1;
        }
    }
    assert!(rules >= 10, "the schemas lost their rules: {rules}");
}

#[test]
fn a26_an_advertisement_needs_no_spec() {
    for object in
        [json!({ "metadata": { "name": "all" } }), json!({ "metadata": { "name": "all" }, "spec": null })]
    {
        let ad: L2Advertisement = serde_json::from_value(object).expect("A26");
        assert_eq!(ad.spec, L2AdvertisementSpec::default());
    }
    // But what is there must be right.
    assert!(serde_json::from_value::<L2Advertisement>(json!({ "metadata": {}, "spec": 7 })).is_err());
    assert!(serde_json::from_value::<IPAddressPool>(json!({ "metadata": {} })).is_err(), "A11");
}

#[test]
fn a40_a50_a70_to_a74_no_other_kind_needs_a_spec_either() {
    fn bare<K: serde::de::DeserializeOwned>() -> bool {
        let object = json!({ "metadata": { "name": "bare" } });
        serde_json::from_value::<K>(object).is_ok()
    }
    assert!(bare::<ServiceL2Status>() && bare::<ConfigurationState>());
    assert!(bare::<bgp::peer::v1beta2::BGPPeer>() && bare::<bgp::peer::v1beta1::BGPPeer>());
    assert!(bare::<bgp::advertisement::BGPAdvertisement>() && bare::<bgp::bfd_profile::BFDProfile>());
    assert!(bare::<bgp::community::Community>() && bare::<bgp::service_bgp_status::ServiceBGPStatus>());
    for kind in kinds().iter().filter(|kind| *kind != "IPAddressPool") {
        assert_eq!(schema(kind)["required"], Value::Null, "{kind}");
    }
}

#[test]
fn an_advertisement_comes_back_as_it_went() {
    let spec = json!({
        "ipAddressPools": ["first-pool"],
        "ipAddressPoolSelectors": [{ "matchLabels": { "a": "b" } }],
        "nodeSelectors": [{ "matchExpressions": [{ "key": "k", "operator": "Exists" }] }],
        "interfaces": ["eth0"],
        "serviceSelectors": [{}],
        "preferredNodeSelectors": [{ "weight": 5, "preference": { "matchLabels": { "a": "b" } } }],
    });
    let object = json!({ "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
                         "metadata": { "name": "ad", "namespace": "metallb-system" }, "spec": spec });
    let read: L2Advertisement = serde_json::from_value(object.clone()).expect("a full advertisement");
    assert_eq!(serde_json::to_value(read).expect("JSON again"), object);
}

#[test]
fn a11_to_a20_a_pool_comes_back_as_it_went() {
    let object = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": { "name": "pool", "namespace": "metallb-system" },
        "spec": {
            "addresses": ["10.0.0.0/24"], "autoAssign": false, "avoidBuggyIPs": true,
            "serviceAllocation": {
                "priority": 50, "namespaces": ["a"],
                "namespaceSelectors": [{ "matchLabels": { "a": "b" } }],
                "serviceSelectors": [{ "matchLabels": { "a": "b" } }],
            },
        },
        "status": { "assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": i64::MAX, "availableIPv6": 0 },
    });
    let read: IPAddressPool = serde_json::from_value(object.clone()).expect("a full pool");
    assert_eq!(serde_json::to_value(read).expect("JSON again"), object);

    let short = json!({ "metadata": {}, "spec": { "addresses": [] } });
    let read: IPAddressPool = serde_json::from_value(short).expect("addresses suffice");
    assert!(read.spec.auto_assign, "A13");
    assert!(!read.spec.avoid_buggy_ips, "A14");
}
