//! Specs that are let through, and specs that are refused with the words that say why: by any API server that has our
//! CRDs, the in-memory one here and the real one in `tests/real-api/schema.rs`.

use serde_json::{Value, json};

/// MetalLB's own namespace.
pub(crate) const NAMESPACE: &str = "metallb-system";

/// A spec, and a part of what is said of it.
pub(crate) type Refused = (Value, &'static str);

/// One selector with one expression.
fn selector(operator: &str, values: &Value) -> Value {
    json!([{ "matchExpressions": [{ "key": "rack", "operator": operator, "values": values }] }])
}

/// A12, B3, B4, B16: pools that MetalLB accepts.
pub(crate) fn good_pools() -> Vec<Value> {
    let entries = [
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
    ];
    let pinned = json!({
        "addresses": ["10.0.0.0/24", "fd00::/64"], "autoAssign": false, "avoidBuggyIPs": true,
        "serviceAllocation": {
            "priority": 50, "namespaces": ["web", "db"],
            "namespaceSelectors": selector("In", &json!(["1", "2"])),
            "serviceSelectors": [{ "matchLabels": { "tier": "web" } }, {}],
        },
    });
    let many: Vec<String> = (0..200).map(|index| format!("namespace-{index}")).collect();
    let many = json!({ "addresses": ["10.0.0.0/24"], "serviceAllocation": { "namespaces": many } });
    let plain = entries.map(|entry| json!({ "addresses": [entry] }));
    plain.into_iter().chain([pinned, many]).collect()
}

/// B2, B3, B4, B8, B12, B17
pub(crate) fn bad_pools() -> Vec<Refused> {
    let pinned = |allocation: Value| json!({ "addresses": ["10.0.0.0/24"], "serviceAllocation": allocation });
    let addresses = |entry: &str| json!({ "addresses": [entry] });
    vec![
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
    ]
}

fn reserved(entry: &Value) -> Value {
    json!({ "addresses": ["10.0.0.0/24"], "reservations": [entry] })
}

fn excluded(entry: &Value) -> Value {
    json!({ "addresses": ["10.0.0.0/24"], "excludedAddresses": [entry] })
}

/// Pools with the fields that MetalLB does not have.
pub(crate) fn reserved_pools() -> Vec<Value> {
    let labels = json!({ "matchLabels": { "app": "web" } });
    let expression = json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] });
    vec![
        reserved(&json!({ "addresses": ["10.0.0.7"], "namespace": "web", "name": "web", "reason": "DNS" })),
        reserved(&json!({ "addresses": ["10.0.0.8/31", "10.0.0.1-10.0.0.2", "fd00::7"], "name": "web" })),
        reserved(&json!({ "addresses": ["::ffff:10.0.0.7"], "serviceSelector": labels })),
        reserved(&json!({ "addresses": ["10.0.0.7"], "serviceSelector": expression })),
        excluded(&json!({ "addresses": ["10.0.0.7", "fd00::/65"] })),
        json!({ "addresses": ["10.0.0.0/24"], "reservations": [], "excludedAddresses": [] }),
    ]
}

/// Those with such fields that are wrong.
pub(crate) fn badly_reserved_pools() -> Vec<Refused> {
    let unreadable = json!({ "matchExpressions": [{ "key": "app", "operator": "In" }] });
    let address = |text: &str| json!({ "addresses": [text], "name": "web" });
    let many: Vec<String> = (0..17).map(|host| format!("10.0.0.{host}")).collect();
    vec![
        (reserved(&json!({ "addresses": ["10.0.0.7"] })), "say for which Services"),
        (reserved(&json!({ "addresses": ["10.0.0.7"], "serviceSelector": {} })), "say for which Services"),
        (reserved(&json!({ "addresses": ["10.0.0.7"], "namespace": "" })), "namespace"),
        (
            reserved(&json!({ "addresses": ["10.0.0.7"], "serviceSelector": unreadable })),
            "at least one value",
        ),
        (reserved(&json!({ "addresses": [], "name": "web" })), "reservations[0].addresses"),
        (reserved(&json!({ "addresses": many, "name": "web" })), "reservations[0].addresses"),
        (reserved(&address("10.0.0.7-9")), "both ends of a range must be IP addresses written in full"),
        (reserved(&address("10.0.0.7-fd00::")), "must be IPv4, or both IPv6"),
        (reserved(&address("router")), "must be an address like 192.168.1.7"),
        (excluded(&json!({ "addresses": ["10.0.0.300"] })), "must be an address like 192.168.1.7"),
        (excluded(&json!({ "addresses": [] })), "excludedAddresses[0].addresses"),
        (excluded(&json!({ "addresses": ["10.0.0.7"], "reason": "x".repeat(257) })), "reason"),
    ]
}

fn preferred(weight: i32) -> Value {
    json!({ "preferredNodeSelectors": [{ "weight": weight, "preference": {} }] })
}

/// A26, A33
pub(crate) fn good_advertisements() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "ipAddressPools": ["a", "b"], "interfaces": ["eth0", "eth0"], "nodeSelectors": [{}] }),
        preferred(1),
        preferred(100),
    ]
}

/// A33, B10, B12
pub(crate) fn bad_advertisements() -> Vec<Refused> {
    vec![
        (json!({ "ipAddressPools": ["a", "a"] }), "the same name is written twice"),
        (json!({ "nodeSelectors": selector("NotIn", &json!(null)) }), "need at least one value"),
        (preferred(0), "preferredNodeSelectors[0].weight"),
        (preferred(101), "preferredNodeSelectors[0].weight"),
    ]
}

/// An object of a kind, named `sample`.
pub(crate) fn object(version: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": { "name": "sample", "namespace": NAMESPACE }, "spec": spec,
    })
}

/// The same with a status and an empty spec.
pub(crate) fn with_status(kind: &str, status: &Value) -> Value {
    let mut object = object("v1beta1", kind, &json!({}));
    object["status"] = status.clone();
    object
}

fn peer(field: &str, value: &Value) -> Value {
    let mut spec = json!({ "myASN": 64512 });
    spec[field] = value.clone();
    object("v1beta2", "BGPPeer", &spec)
}

fn profile(field: &str, value: i64) -> Value {
    object("v1beta1", "BFDProfile", &json!({ field: value }))
}

fn aggregated(length: i64) -> Value {
    json!({ "serviceSelectors": [{ "matchLabels": {} }], "aggregationLength": length })
}

/// A54, A70 to A73, B14: objects that are kept and not read, with a value out of bounds.
pub(crate) fn bad_kept() -> Vec<Refused> {
    vec![
        (object("v1beta2", "BGPPeer", &json!({})), "spec.myASN"),
        (peer("myASN", &json!(-1)), "spec.myASN"),
        (peer("peerASN", &json!(4_294_967_296_i64)), "spec.peerASN"),
        (peer("localASN", &json!(0)), "spec.localASN"),
        (peer("dynamicASN", &json!("both")), "spec.dynamicASN"),
        (peer("peerPort", &json!(0)), "spec.peerPort"),
        (peer("peerPort", &json!(16385)), "spec.peerPort"),
        (peer("connectTime", &json!("0s")), "must be from 1s to 65535s"),
        (peer("connectTime", &json!("18h12m16s")), "must be from 1s to 65535s"),
        (peer("connectTime", &json!("1500ms")), "must be a whole number of seconds"),
        (object("v1beta1", "BGPPeer", &json!({ "myASN": 1, "peerAddress": "10.0.0.1" })), "spec.peerASN"),
        (object("v1beta1", "BGPPeer", &json!({ "myASN": 1, "peerASN": 2 })), "spec.peerAddress"),
        (object("v1beta1", "BGPAdvertisement", &json!({ "aggregationLength": 0 })), "spec.aggregationLength"),
        (object("v1beta1", "BGPAdvertisement", &aggregated(24)), "leave aggregationLength at 32"),
        (profile("receiveInterval", 9), "spec.receiveInterval"),
        (profile("transmitInterval", 60001), "spec.transmitInterval"),
        (profile("echoInterval", 9), "spec.echoInterval"),
        (profile("detectMultiplier", 1), "spec.detectMultiplier"),
        (profile("detectMultiplier", 256), "spec.detectMultiplier"),
        (profile("minimumTtl", 0), "spec.minimumTtl"),
        (profile("minimumTtl", 255), "spec.minimumTtl"),
        (with_status("ConfigurationState", &json!({ "result": "Fine" })), "status.result"),
    ]
}

/// Objects of these kinds at their bounds.
pub(crate) fn good_kept() -> Vec<Value> {
    vec![
        peer("connectTime", &json!("1s")),
        peer("connectTime", &json!("18h12m15s")),
        peer("peerPort", &json!(16384)),
        object("v1beta1", "BGPAdvertisement", &aggregated(32)),
        profile("detectMultiplier", 2),
        profile("minimumTtl", 1),
    ]
}
