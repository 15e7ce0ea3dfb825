//! What the real API server takes and refuses, with no controller running, and what `kubectl` then shows.

use ferrolb_api::crd::IPAddressPool;
use kube_apiserver::{ApiUser, NAMESPACE};
use serde_json::{Value, json};
use tests::manifests::{manifests, objects as objects_of};

use crate::objects::{self, Refused};
use crate::setup::{Controller, Stage, eventually, typed};

/// Applies them at once, as `object-0`, `object-1`, ..., and gives what `kubectl` says of each that is refused.
fn apply(stage: &Stage, objects: impl IntoIterator<Item = Value>) -> Vec<Option<String>> {
    let mut items: Vec<Value> = objects.into_iter().collect();
    for (index, object) in items.iter_mut().enumerate() {
        object["metadata"] = json!({"name": format!("object-{index}"), "namespace": NAMESPACE});
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let said = stage.api.kubectl_as(&ApiUser::Admin, &["apply", "-f", "-"], &list);
    let text = said.unwrap_or_else(|refusals| refusals);
    // `The IPAddressPool "object-3" is invalid: ...`, over one line or several.
    let about = |index: usize| {
        let name = format!("\"object-{index}\" is invalid");
        let rest = &text[text.find(&name)?..];
        Some(rest.split("\nThe ").next().unwrap_or(rest).to_owned())
    };
    (0..items.len()).map(about).collect()
}

fn of_kind(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": kind, "spec": spec})
}

fn assert_refused(said: &[Option<String>], table: &[Refused]) {
    for (said, (spec, fragment)) in said.iter().zip(table) {
        let said = said.as_ref().unwrap_or_else(|| panic!("{spec} was taken"));
        assert!(said.contains(fragment), "{spec}: {said}");
    }
}

#[tokio::test]
async fn b2_to_b14_a_bad_object_is_refused_with_words_that_help() {
    let Some(stage) = Stage::take().await else { return };
    let pools: Vec<Refused> = [objects::bad_pools(), objects::badly_reserved_pools()].concat();
    let advertisements = objects::bad_advertisements();
    // A status is not created with its object, and so not judged then.
    let kept: Vec<Refused> =
        objects::bad_kept().into_iter().filter(|(object, _)| object["status"].is_null()).collect();
    let said = apply(&stage, pools.iter().map(|(spec, _)| of_kind("IPAddressPool", spec)));
    assert_refused(&said, &pools);
    let said = apply(&stage, advertisements.iter().map(|(spec, _)| of_kind("L2Advertisement", spec)));
    assert_refused(&said, &advertisements);
    assert_refused(&apply(&stage, kept.iter().map(|(object, _)| object.clone())), &kept);
    assert!(stage.list::<IPAddressPool>(NAMESPACE).await.is_empty(), "nothing of it is stored");

    // The good ones beside them are taken, in one apply with a bad one.
    let good = [objects::good_pools(), objects::reserved_pools()].concat();
    let mut all: Vec<Value> = good.iter().map(|spec| of_kind("IPAddressPool", spec)).collect();
    all.extend(objects::good_advertisements().iter().map(|spec| of_kind("L2Advertisement", spec)));
    all.extend(objects::good_kept());
    all.push(of_kind("IPAddressPool", &json!({"addresses": ["banana"]})));
    let said = apply(&stage, all.clone());
    let refused: Vec<_> = said.iter().enumerate().filter(|(_, said)| said.is_some()).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, all.len() - 1);
    assert_eq!(stage.list::<IPAddressPool>(NAMESPACE).await.len(), good.len());
    for kinds in ["bgppeers,bgpadvertisements", "bfdprofiles,communities"] {
        stage.api.kubectl(&["delete", kinds, "--all", "-n", NAMESPACE]);
    }
}

/// What no rule of a schema can compute, or what takes two objects, is a condition.
#[tokio::test]
async fn b5_b6_b9_b11_what_a_schema_cannot_see_is_a_condition() {
    let Some(stage) = Stage::take().await else { return };
    let twice = json!([{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]);
    let values = json!([{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "b"]}]}]);
    let selecting = |key: &str, selectors: &Value| json!({"addresses": [format!("10.1.{}.0/24", key.len())], "serviceAllocation": {key: selectors}});
    let rows = [
        ("b5", json!({"addresses": ["10.2.0.9-10.2.0.1"]}), "10.2.0.9-10.2.0.1"),
        (
            "b6-alone",
            json!({"addresses": ["10.3.0.0/24", "10.3.0.7/32"]}),
            "overlaps with already defined CIDR",
        ),
        ("b6-both", json!({"addresses": ["10.0.0.128/25"]}), "overlaps with already defined CIDR"),
        ("b9", selecting("serviceSelectors", &twice), "twice"),
        ("b11", selecting("namespaceSelectors", &values), "twice"),
    ];
    let pool = |name: &str, spec: &Value| -> IPAddressPool {
        typed(json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}))
    };
    stage.create(&pool("a-good", &json!({"addresses": ["10.0.0.0/24"]}))).await;
    for (name, spec, _) in &rows {
        stage.create(&pool(name, spec)).await;
    }
    let controller = Controller::start(stage.api).await;
    let ready = async |name: &str| stage.condition(name, "Ready").await.map(|(status, _)| status);
    eventually("every pool is judged", async || {
        let mut judged = ready("a-good").await.as_deref() == Some("True");
        for (name, ..) in &rows {
            judged &= ready(name).await.as_deref() == Some("False");
        }
        judged
    })
    .await;
    for (name, _, fragment) in rows {
        let described = stage.api.kubectl(&["describe", "ipaddresspool", name, "-n", NAMESPACE]);
        assert!(described.contains(fragment), "{name} does not say {fragment:?}:\n{described}");
    }
    controller.stop().await;
}

/// What the examples are applied with.
const EXAMPLES: &[&str] =
    &["nginx.yaml", "traefik.yaml", "envoy-gateway.yaml", "flux/ferrolb.yaml", "argocd"];
/// Where their objects live.
const THEIR_NAMESPACES: &[&str] = &["argocd", "flux-system", "traefik", "envoy-gateway-system"];

/// A CRD that takes any object of a kind of somebody else's.
fn open_crd(group: &str, version: &str, kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let scope = if kind == "GatewayClass" { "Cluster" } else { "Namespaced" };
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": anything}}]},
    })
}

/// Where the kinds of Flux, Argo CD, Prometheus and Gateway API are there, every example and overlay is valid to the
/// letter.
#[tokio::test]
async fn the_examples_are_taken_where_their_kinds_are() {
    let Some(stage) = Stage::take().await else { return };
    let foreign = [
        ("source.toolkit.fluxcd.io", "v1", "GitRepository"),
        ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
        ("argoproj.io", "v1alpha1", "Application"),
        ("monitoring.coreos.com", "v1", "ServiceMonitor"),
        ("monitoring.coreos.com", "v1", "PrometheusRule"),
        ("gateway.networking.k8s.io", "v1", "Gateway"),
        ("gateway.networking.k8s.io", "v1", "GatewayClass"),
        ("gateway.envoyproxy.io", "v1alpha1", "EnvoyProxy"),
    ];
    let mut items: Vec<Value> =
        foreign.iter().map(|(group, version, kind)| open_crd(group, version, kind)).collect();
    items.extend(
        THEIR_NAMESPACES
            .iter()
            .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})),
    );
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    stage.api.kubectl_as(&ApiUser::Admin, &["apply", "-f", "-"], &list).expect("they are good");
    let names: Vec<String> =
        foreign.iter().map(|(group, _, kind)| format!("{}s.{group}", kind.to_lowercase())).collect();
    let wait = ["wait", "crd", "--for=condition=Established", "--timeout=60s"];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.api.kubectl(&[&wait[..], &names].concat());
    let dry_run = ["apply", "--dry-run=server", "--validate=strict"];
    for example in EXAMPLES {
        let path = manifests().join("examples").join(example);
        assert!(path.is_dir() || !objects_of(&path).is_empty(), "{example} has nothing in it");
        stage.api.kubectl(&[&dry_run[..], &["-f", &path.display().to_string()]].concat());
    }
    stage.api.kubectl(&[&dry_run[..], &["-k", "manifests/overlays/prometheus"]].concat());
    stage.api.kubectl(&[&["delete", "crd"], &names[..]].concat());
}
