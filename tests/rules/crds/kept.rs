//! The kinds of MetalLB's that are kept: every object is stored as it is.

use fake_api::FakeApi;
use ferrolb_api::config;
use ferrolb_api::crd;
use ferrolb_api::crd::bgp::advertisement::BGPAdvertisement;
use ferrolb_api::crd::bgp::bfd_profile::BFDProfile;
use ferrolb_api::crd::bgp::community::Community;
use ferrolb_api::crd::bgp::peer::v1beta2::BGPPeer;
use ferrolb_api::crd::bgp::service_bgp_status::ServiceBGPStatus;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::tables::{self, NAMESPACE, object, with_status};
use super::{api, definition};

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
    for (object, fragment) in tables::bad_kept() {
        let refusal = apply(&installed(), &object).await.expect_err(fragment);
        assert!(refusal.contains(fragment), "{object}: {refusal}");
    }
    for object in tables::good_kept() {
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

#[test]
fn a70_a74_the_configuration_takes_no_notice_of_bgp() {
    for sample in samples() {
        assert_eq!(config::Kind::parse(sample["kind"].as_str().unwrap_or_default()), None, "{sample}");
    }
}
