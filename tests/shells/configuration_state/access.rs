//! What it takes: rights, the kind, Nodes.

use fake_api::{FakeApi, Rbac, RequestRecord};
use ferrolb_api::crd::{self, ConfigurationState, L2Advertisement};
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use tests::objects::{NAMESPACE, typed};

use super::setup::{CONTROLLER, OWN, Running, SPEAKER, VALID, cluster, cluster_in, seconds, state, summary};
use crate::support::service;

#[tokio::test(start_paused = true)]
async fn m11_without_the_kind_everything_else_works() {
    let mut definitions = crd::all();
    definitions.retain(|definition| definition.spec.names.kind != "ConfigurationState");
    let api = FakeApi::builder().definitions(definitions).build().expect("our own CRDs are implemented");
    let api = cluster_in(api);
    api.create(&service("web")).expect("the cluster is new");
    let controller = Running::controller(&api, "controller-1");
    let _speaker = Running::speaker(&api, "speaker-1");
    seconds(3_600).await;
    let report = controller.readiness.report();
    assert!(report.ready && !report.text.contains("configurationstates"), "{}", report.text);
    let service: Option<core::Service> = api.get(Some("default"), "web").expect("it decodes");
    let status = service.and_then(|service| service.status).and_then(|status| status.load_balancer);
    assert!(status.is_some_and(|status| status.ingress.is_some()), "it has its address");
    let asked = api.requests().into_iter().filter(|request| request.resource == "configurationstates");
    assert!(asked.count() <= 2 * 25, "an hour: every five minutes, or a little more often");
}

/// MetalLB's own rules, as far as a `ConfigurationState` and its owner need them.
fn stock() -> Rbac {
    let role = |kind: &str, name: &str, rules: Value| json!({"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "rules": rules});
    let binding = |kind: &str, name: &str, account: &str| {
        json!({"kind": format!("{kind}Binding"), "metadata": {"name": format!("{name}-{account}"),
            "namespace": NAMESPACE}, "roleRef": {"kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": account}]})
    };
    let kinds = json!(["l2advertisements", "ipaddresspools"]);
    let read = json!(["get", "list", "watch"]);
    let all = json!(["create", "delete", "get", "list", "patch", "update", "watch"]);
    Rbac::from_objects(&[
        role("Role", "pod-lister", json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "get"]},
            {"apiGroups": ["metallb.io"], "resources": kinds, "verbs": read},
        ])),
        role("ClusterRole", "controller", json!([
            {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": read},
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
            {"apiGroups": ["metallb.io"], "resources": ["configurationstates"], "verbs": all},
            // Not MetalLB's: it never writes the status of an advertisement.
            {"apiGroups": ["metallb.io"], "resources": ["l2advertisements/status"], "verbs": ["update"]},
            {"apiGroups": ["metallb.io"], "resources": ["configurationstates/status"],
                "verbs": ["get", "patch", "update"]},
        ])),
        role("ClusterRole", "speaker", json!([
            {"apiGroups": ["metallb.io"], "verbs": ["*"], "resources": ["servicel2statuses",
                "servicel2statuses/status", "configurationstates", "configurationstates/status"]},
            {"apiGroups": [""], "resources": ["services", "endpoints", "nodes", "namespaces"], "verbs": read},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        ])),
        binding("Role", "pod-lister", "speaker"),
        binding("Role", "pod-lister", "controller"),
        binding("ClusterRole", "controller", "controller"),
        binding("ClusterRole", "speaker", "speaker"),
    ])
    .expect("the roles are there")
}

#[tokio::test(start_paused = true)]
async fn g84_g85_g87_g92_under_metallbs_own_rbac() {
    let api = FakeApi::builder().rbac(stock()).build().expect("our own CRDs are implemented");
    let api = cluster_in(api);
    let _controller = Running::controller(&api, "controller-1");
    let _speaker = Running::speaker(&api, "speaker-1");
    seconds(10).await;
    for name in [CONTROLLER, SPEAKER] {
        assert_eq!(summary(&api, name).0, VALID, "{name}");
        let owners = state(&api, name).and_then(|state| state.metadata.owner_references);
        assert_eq!(owners.map(|owners| owners.len()), Some(1), "{name}");
        api.delete::<ConfigurationState>(OWN, name).expect("it is there");
        seconds(5).await;
        assert_eq!(summary(&api, name).0, VALID, "{name} again");
    }
    let refused = |request: &RequestRecord| {
        request.status == Some(403) && ["configurationstates", "pods"].contains(&request.resource.as_str())
    };
    assert!(!api.requests().iter().any(refused), "nothing that is needed here was refused");
}

#[tokio::test(start_paused = true)]
async fn a29_an_advertisement_that_matches_no_node_says_so_in_its_condition() {
    let api = FakeApi::builder().rbac(stock()).build().expect("our own CRDs are implemented");
    for api in [cluster(), cluster_in(api)] {
        let node = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let wk01: core::Node =
            typed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "wk01"}}));
        api.create(&wk01).expect("the cluster is new");
        let selector = json!({"spec": {"nodeSelectors": [{"matchLabels": {"zone": "east"}}]}});
        api.merge::<L2Advertisement>(OWN, "all", selector).expect("it is there");
        // Also where a Node is asked for from the start on, and the rules allow no watch (G76).
        let _controller = Running::controller(&api, "controller-1");
        for (zone, expected) in
            [(None, "NoMatchingNode"), (Some("east"), "Matched"), (Some("x"), "NoMatchingNode")]
        {
            if let Some(zone) = zone {
                api.merge::<core::Node>(None, "wk01", node(zone)).expect("it is there");
            }
            seconds(60).await;
            let ad: Option<L2Advertisement> = api.get(OWN, "all").expect("it decodes");
            let conditions = ad.and_then(|ad| ad.status).map(|status| status.conditions).unwrap_or_default();
            let effective = conditions.iter().find(|condition| condition.type_ == "Effective");
            assert_eq!(effective.map(|condition| condition.reason.as_str()), Some(expected), "{zone:?}");
            assert_eq!(summary(&api, CONTROLLER).0, VALID, "that is no error (B15)");
        }
    }
}
