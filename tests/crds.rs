//! The CRDs under manifests/: that they are what the types say, and what they let through.

use std::fs;
use std::path::PathBuf;

use fake_api::FakeApi;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use metallb_api::config;
use metallb_api::crd::bgp::advertisement::BGPAdvertisement;
use metallb_api::crd::bgp::bfd_profile::BFDProfile;
use metallb_api::crd::bgp::community::Community;
use metallb_api::crd::bgp::peer::v1beta2::BGPPeer;
use metallb_api::crd::bgp::service_bgp_status::ServiceBGPStatus;
use metallb_api::crd::{self, IPAddressPool, L2Advertisement};
use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// Fields that MetalLB does not have: a pool without them is as there.
#[test]
fn reservations_and_exclusions() {
    let reserved = |entry: Value| json!({ "addresses": ["10.0.0.0/24"], "reservations": [entry] });
    let excluded = |entry: Value| json!({ "addresses": ["10.0.0.0/24"], "excludedAddresses": [entry] });
    let labels = json!({ "matchLabels": { "app": "web" } });
    let expression = json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] });
    for spec in [
        reserved(json!({ "addresses": ["10.0.0.7"], "namespace": "web", "name": "web", "reason": "DNS" })),
        reserved(json!({ "addresses": ["10.0.0.8/31", "10.0.0.1-10.0.0.2", "fd00::7"], "name": "web" })),
        reserved(json!({ "addresses": ["::ffff:10.0.0.7"], "serviceSelector": labels })),
        reserved(json!({ "addresses": ["10.0.0.7"], "serviceSelector": expression })),
        excluded(json!({ "addresses": ["10.0.0.7", "fd00::/65"] })),
        json!({ "addresses": ["10.0.0.0/24"], "reservations": [], "excludedAddresses": [] }),
    ] {
        assert_eq!(apply_pool(&spec), Ok(()), "{spec}");
    }
    let unreadable = json!({ "matchExpressions": [{ "key": "app", "operator": "In" }] });
    let address = |text: &str| json!({ "addresses": [text], "name": "web" });
    let many: Vec<String> = (0..17).map(|host| format!("10.0.0.{host}")).collect();
    for (spec, fragment) in [
        (reserved(json!({ "addresses": ["10.0.0.7"] })), "say for which Services"),
        (reserved(json!({ "addresses": ["10.0.0.7"], "serviceSelector": {} })), "say for which Services"),
        (reserved(json!({ "addresses": ["10.0.0.7"], "namespace": "" })), "namespace"),
        (reserved(json!({ "addresses": ["10.0.0.7"], "serviceSelector": unreadable })), "at least one value"),
        (reserved(json!({ "addresses": [], "name": "web" })), "reservations[0].addresses"),
        (reserved(json!({ "addresses": many, "name": "web" })), "reservations[0].addresses"),
        (reserved(address("10.0.0.7-9")), "both ends of a range must be IP addresses written in full"),
        (reserved(address("10.0.0.7-fd00::")), "must be IPv4, or both IPv6"),
        (reserved(address("router")), "must be an address like 192.168.1.7"),
        (excluded(json!({ "addresses": ["10.0.0.300"] })), "must be an address like 192.168.1.7"),
        (excluded(json!({ "addresses": [] })), "excludedAddresses[0].addresses"),
        (excluded(json!({ "addresses": ["10.0.0.7"], "reason": "x".repeat(257) })), "reason"),
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

/// MetalLB's own namespace.
const NAMESPACE: &str = "metallb-system";

/// The access to the kind of an object, for what comes as it stands in a manifest.
fn objects_like(api: &FakeApi, object: &Value) -> Api<DynamicObject> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let gvk = GroupVersionKind::gvk("metallb.io", api_version.trim_start_matches("metallb.io/"), &kind);
    let definition = crd::all().into_iter().find(|crd| crd.spec.names.kind == kind).expect("a kind we ship");
    let resource = ApiResource::from_gvk_with_plural(&gvk, &definition.spec.names.plural);
    Api::namespaced_with(api.client(FakeApi::ADMIN), NAMESPACE, &resource)
}

/// A server with MetalLB's namespace.
fn installed() -> FakeApi {
    let api = api();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let namespace: Namespace = serde_json::from_value(namespace).expect("a Namespace");
    api.create(&namespace).expect("there is none yet");
    api
}

/// Applies an object as it stands, and its status as the process behind it would.
async fn apply(api: &FakeApi, object: &Value) -> Result<Value, String> {
    let objects = objects_like(api, object);
    let typed: DynamicObject = serde_json::from_value(object.clone()).expect("it has a kind and a name");
    let mut written = objects.create(&PostParams::default(), &typed).await;
    if !object["status"].is_null() && written.is_ok() {
        written = write_status(api, object).await;
    }
    written.map(|object| serde_json::to_value(object).expect("JSON again")).map_err(|error| error.to_string())
}

async fn write_status(api: &FakeApi, object: &Value) -> Result<DynamicObject, kube::Error> {
    let patch = Patch::Merge(json!({ "status": object["status"] }));
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    objects_like(api, object).patch_status(name, &PatchParams::default(), &patch).await
}

fn object(version: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": { "name": "sample", "namespace": NAMESPACE }, "spec": spec,
    })
}

fn with_status(kind: &str, status: &Value) -> Value {
    let mut object = object("v1beta1", kind, &json!({}));
    object["status"] = status.clone();
    object
}

/// One whole object of each kind beside the two that we read, as MetalLB has it.
fn samples() -> Vec<Value> {
    let selector = json!([{ "matchLabels": { "rack": "a" },
                            "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }]);
    let peer = json!({
        "myASN": 4_294_967_295_u32, "peerASN": 64512, "localASN": 1, "peerAddress": "10.0.0.1",
        "sourceAddress": "10.0.0.2", "peerPort": 1179, "holdTime": "90s", "keepaliveTime": "30s",
        "connectTime": "1m0s", "routerID": "10.10.10.10", "nodeSelectors": selector,
        "passwordSecret": { "name": "bgp", "namespace": NAMESPACE }, "bfdProfile": "fast",
        "enableGracefulRestart": true, "ebgpMultiHop": true, "vrf": "red", "disableMP": true,
        "dualStackAddressFamily": false,
    });
    let unnumbered = json!({
        "myASN": 64512, "dynamicASN": "external", "interface": "eth0", "peerPort": 179, "disableMP": false,
        "dualStackAddressFamily": true, "password": "secret",
    });
    let advertisement = json!({
        "aggregationLength": 24, "aggregationLengthV6": 64, "localPref": 100, "peers": ["sample"],
        "communities": ["64512:100", "no-export"], "ipAddressPools": ["first"],
        "ipAddressPoolSelectors": selector, "nodeSelectors": selector,
    });
    let profile = json!({
        "receiveInterval": 10, "transmitInterval": 60000, "echoInterval": 50, "detectMultiplier": 255,
        "minimumTtl": 254, "echoMode": true, "passiveMode": false,
    });
    let community = json!({ "communities": [{ "name": "a", "value": "64512:100" }, { "name": "b" }] });
    let condition = json!({ "type": "poolReconcilerValid", "status": "False", "reason": "ConfigurationError",
                            "message": "overlap", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let state = json!({ "result": "Invalid", "errorSummary": "overlap", "conditions": [condition] });
    let mut configuration = with_status("ConfigurationState", &state);
    configuration.as_object_mut().expect("it is one").remove("spec");
    vec![
        object("v1beta2", "BGPPeer", &peer),
        object("v1beta2", "BGPPeer", &unnumbered),
        object("v1beta1", "BGPAdvertisement", &advertisement),
        object("v1beta1", "BFDProfile", &profile),
        object("v1beta1", "Community", &community),
        with_status(
            "ServiceBGPStatus",
            &json!({ "node": "a", "serviceName": "web", "serviceNamespace": "default", "peers": ["p", "q"] }),
        ),
        with_status(
            "ServiceL2Status",
            &json!({ "node": "a", "serviceName": "web", "serviceNamespace": "default",
                     "interfaces": [{ "name": "eth0" }] }),
        ),
        configuration,
    ]
}

/// A field beside the others of `value` and of every object in it, but for
/// those that are whole values of Kubernetes' own.
fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, below) in map.iter_mut() {
                if !key.ends_with("Selectors") {
                    with_unknown_fields(below);
                }
            }
            map.insert("fromLater".to_owned(), json!({ "deep": [1, { "er": true }] }));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        _ => {}
    }
}

#[tokio::test]
async fn a40_a50_a70_a74_objects_of_metallb_are_stored_as_they_are() {
    for sample in samples() {
        let stored = apply(&installed(), &sample).await.unwrap_or_else(|error| panic!("{sample}: {error}"));
        assert_eq!((&stored["spec"], &stored["status"]), (&sample["spec"], &sample["status"]));
    }
}

#[tokio::test]
async fn a70_a74_no_field_is_ever_pruned_from_a_bgp_object() {
    let bgp = |object: &Value| {
        !["ServiceL2Status", "ConfigurationState"].contains(&object["kind"].as_str().unwrap_or_default())
    };
    for mut sample in samples().into_iter().filter(bgp) {
        with_unknown_fields(&mut sample["spec"]);
        sample["status"] = if sample["status"].is_null() { json!({}) } else { sample["status"].take() };
        with_unknown_fields(&mut sample["status"]);
        let api = installed();
        let stored = apply(&api, &sample).await.unwrap_or_else(|error| panic!("{sample}: {error}"));
        assert_eq!((&stored["spec"], &stored["status"]), (&sample["spec"], &sample["status"]));

        // The same by way of our types: who reads and writes with them loses nothing either.
        assert_eq!(round_trip(&sample), sample);
    }
}

fn round_trip(object: &Value) -> Value {
    fn through<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
        let typed: K = serde_json::from_value(object.clone()).expect("it decodes");
        serde_json::to_value(typed).expect("JSON again")
    }
    match object["kind"].as_str().unwrap_or_default() {
        "BGPPeer" => through::<BGPPeer>(object),
        "BGPAdvertisement" => through::<BGPAdvertisement>(object),
        "BFDProfile" => through::<BFDProfile>(object),
        "Community" => through::<Community>(object),
        "ServiceBGPStatus" => through::<ServiceBGPStatus>(object),
        other => panic!("{other} is no BGP kind"),
    }
}

#[tokio::test]
async fn a50_a70_a71_what_is_left_out_is_filled_in() {
    for (version, kind, spec, stored) in [
        (
            "v1beta2",
            "BGPPeer",
            json!({ "myASN": 64512 }),
            json!({ "myASN": 64512, "peerPort": 179, "disableMP": false, "dualStackAddressFamily": false }),
        ),
        (
            "v1beta1",
            "BGPAdvertisement",
            json!({ "serviceSelectors": [{}] }),
            json!({ "serviceSelectors": [{}], "aggregationLength": 32, "aggregationLengthV6": 128 }),
        ),
        ("v1beta1", "BFDProfile", json!({}), json!({})),
        // A50: it has no spec.
        ("v1beta1", "ConfigurationState", json!({ "a": 1 }), Value::Null),
        // A40: its spec is empty.
        ("v1beta1", "ServiceL2Status", json!({ "a": 1 }), json!({})),
    ] {
        let written = apply(&installed(), &object(version, kind, &spec)).await.expect(kind);
        assert_eq!(written["spec"], stored, "{kind}");
    }
}

#[tokio::test]
async fn a54_a70_to_a73_bounds() {
    let peer = |field: &str, value: Value| {
        let mut spec = json!({ "myASN": 64512 });
        spec[field] = value;
        object("v1beta2", "BGPPeer", &spec)
    };
    let profile = |field: &str, value: i64| object("v1beta1", "BFDProfile", &json!({ field: value }));
    let aggregated =
        |length: i64| json!({ "serviceSelectors": [{ "matchLabels": {} }], "aggregationLength": length });
    for (object, fragment) in [
        (object("v1beta2", "BGPPeer", &json!({})), "spec.myASN"),
        (peer("myASN", json!(-1)), "spec.myASN"),
        (peer("peerASN", json!(4_294_967_296_i64)), "spec.peerASN"),
        (peer("localASN", json!(0)), "spec.localASN"),
        (peer("dynamicASN", json!("both")), "spec.dynamicASN"),
        (peer("peerPort", json!(0)), "spec.peerPort"),
        (peer("peerPort", json!(16385)), "spec.peerPort"),
        (peer("connectTime", json!("0s")), "must be from 1s to 65535s"),
        (peer("connectTime", json!("18h12m16s")), "must be from 1s to 65535s"),
        (peer("connectTime", json!("1500ms")), "must be a whole number of seconds"),
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
    ] {
        let refusal = apply(&installed(), &object).await.expect_err(fragment);
        assert!(refusal.contains(fragment), "{object}: {refusal}");
    }
    for object in [
        peer("connectTime", json!("1s")),
        peer("connectTime", json!("18h12m15s")),
        peer("peerPort", json!(16384)),
        object("v1beta1", "BGPAdvertisement", &aggregated(32)),
        profile("detectMultiplier", 2),
        profile("minimumTtl", 1),
    ] {
        apply(&installed(), &object).await.unwrap_or_else(|error| panic!("{object}: {error}"));
    }
}

#[tokio::test]
async fn a44_a74_a_status_stays_with_its_node_and_service() {
    for kind in ["ServiceL2Status", "ServiceBGPStatus"] {
        let full = json!({ "node": "a", "serviceName": "web", "serviceNamespace": "default" });
        let api = installed();
        apply(&api, &with_status(kind, &full)).await.expect(kind);
        for field in ["node", "serviceName", "serviceNamespace"] {
            let refusal = write_status(&api, &with_status(kind, &json!({ field: "other" }))).await;
            let refusal = refusal.expect_err(field).to_string();
            assert!(refusal.contains("cannot be changed once it is set"), "{kind} {field}: {refusal}");
        }
        for (field, value) in [("interfaces", json!([{ "name": "eth1" }])), ("peers", json!(["p"]))] {
            let rest = json!({ "node": "a", field: value });
            write_status(&api, &with_status(kind, &rest)).await.expect("nothing fixed changes");
        }
    }
}

#[tokio::test]
async fn a70_graceful_restart_cannot_be_switched() {
    let with = |switch: bool| {
        object("v1beta2", "BGPPeer", &json!({ "myASN": 1, "enableGracefulRestart": switch, "vrf": "red" }))
    };
    let api = installed();
    apply(&api, &with(true)).await.expect("a new peer");
    let objects = objects_like(&api, &with(true));
    let patch = |spec: Value| Patch::Merge(json!({ "spec": spec }));
    let switched = patch(json!({ "enableGracefulRestart": false }));
    let refusal = objects.patch("sample", &PatchParams::default(), &switched).await.expect_err("A70");
    assert!(refusal.to_string().contains("cannot be changed"), "{refusal}");
    objects.patch("sample", &PatchParams::default(), &patch(json!({ "vrf": "blue" }))).await.expect("A70");
}

/// Without a webhook the API server changes nothing but the `apiVersion`: that
/// is right only as long as every old field is a new field.
#[tokio::test]
async fn a70_both_versions_of_a_peer_are_one_object() {
    let crd = definition("BGPPeer");
    assert_eq!(crd["spec"]["conversion"], json!({ "strategy": "None" }), "MetalLB's webhook is gone");
    let versions = crd["spec"]["versions"].as_array().expect("versions");
    let facts: Vec<_> = versions
        .iter()
        .map(|version| {
            let flag = |name: &str| version[name].as_bool().unwrap_or_default();
            (
                version["name"].as_str().unwrap_or_default(),
                flag("served"),
                flag("storage"),
                flag("deprecated"),
            )
        })
        .collect();
    assert_eq!(facts, [("v1beta2", true, true, false), ("v1beta1", true, false, true)]);
    let [new, old] = [0, 1].map(|index| {
        let schema = &versions[index]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"]["properties"].as_object().expect("it has fields")
    });
    assert_eq!(old.len(), 12);
    for (field, schema) in old {
        let same = |key: &str| assert_eq!(new[field][key], schema[key], "{field} {key}");
        ["type", "format", "items"].into_iter().for_each(same);
    }

    let spec = json!({ "myASN": 64512, "peerASN": 64513, "peerAddress": "10.0.0.1", "holdTime": "90s" });
    let api = installed();
    apply(&api, &object("v1beta1", "BGPPeer", &spec)).await.expect("an old manifest");
    let new = objects_like(&api, &object("v1beta2", "BGPPeer", &spec));
    let read = new.get("sample").await.expect("the same object");
    for (field, value) in spec.as_object().expect("it is one") {
        assert_eq!(read.data["spec"][field], *value, "{field}");
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

fn definition(kind: &str) -> Value {
    let definition = crd::all().into_iter().find(|crd| crd.spec.names.kind == kind);
    serde_json::to_value(definition.expect("a kind we ship")).expect("a CRD is JSON")
}

#[test]
fn a70_a74_the_configuration_takes_no_notice_of_bgp() {
    for sample in samples() {
        assert_eq!(config::Kind::parse(sample["kind"].as_str().unwrap_or_default()), None, "{sample}");
    }
}
