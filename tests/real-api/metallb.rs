//! What a cluster looks like in which MetalLB v0.15.3 has been at work: its rights (G63 to G91), its CRDs where they
//! differ, and the objects that it leaves.

use ferrolb_api::crd;
use ferrolb_api::crd::ServiceL2Status;
use k8s_openapi::api::core::v1 as core;
use kube_apiserver::{ApiUser, NAMESPACE};
use serde_json::{Value, json};

use crate::setup::{Stage, WORK, advertisement, pool, typed};

/// The Services that have addresses: a first, and one that was asked for.
pub(crate) const HELD: [(&str, &str); 2] = [("old-web", "172.16.16.105"), ("old-mail", "172.16.16.119")];
/// The key of the speakers' gossip, as MetalLB makes it: 128 random bytes in base64.
const KEY: &str = "c2VjcmV0IG9mIGFuIG9sZCBjbHVzdGVy";

fn rule(groups: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [groups], "resources": resources, "verbs": verbs})
}

fn named(rule: &Value, names: &[&str]) -> Value {
    let mut rule = rule.clone();
    rule["resourceNames"] = json!(names);
    rule
}

const EVERYTHING: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list", "watch"];

fn of_controller() -> Vec<Value> {
    vec![
        rule("", &["secrets"], EVERYTHING),
        named(&rule("", &["secrets"], &["list"]), &["memberlist"]),
        named(&rule("apps", &["deployments"], &["get"]), &["controller"]),
        rule("metallb.io", &["bgppeers"], &["get", "list"]),
        rule(
            "metallb.io",
            &["bfdprofiles", "ipaddresspools", "bgpadvertisements", "l2advertisements", "communities"],
            READ,
        ),
        rule("metallb.io", &["ipaddresspools/status"], &["update"]),
    ]
}

fn pod_lister() -> Vec<Value> {
    vec![
        rule("", &["pods"], &["list", "get"]),
        rule("", &["secrets", "configmaps"], READ),
        rule(
            "metallb.io",
            &[
                "bfdprofiles",
                "bgppeers",
                "l2advertisements",
                "bgpadvertisements",
                "ipaddresspools",
                "communities",
            ],
            READ,
        ),
        rule("metallb.io", &["servicebgpstatuses", "servicebgpstatuses/status"], &["*"]),
    ]
}

fn of_controller_everywhere() -> Vec<Value> {
    vec![
        rule("", &["services", "namespaces"], READ),
        rule("", &["nodes"], &["list"]),
        rule("", &["services/status"], &["update"]),
        rule("", &["events"], &["create", "patch"]),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["list", "watch"]),
        rule("metallb.io", &["configurationstates"], EVERYTHING),
        rule("metallb.io", &["configurationstates/status"], &["get", "patch", "update"]),
    ]
}

fn of_speaker_everywhere() -> Vec<Value> {
    let reports = ["servicel2statuses", "servicel2statuses/status", "configurationstates"];
    vec![
        rule("metallb.io", &[&reports[..], &["configurationstates/status"]].concat(), &["*"]),
        rule("", &["services", "endpoints", "nodes", "namespaces"], READ),
        rule("discovery.k8s.io", &["endpointslices"], READ),
        rule("", &["events"], &["create", "patch"]),
    ]
}

/// A role and what binds it to an account.
fn bound(name: &str, account: &str, everywhere: bool, rules: &[Value]) -> [Value; 2] {
    let kind = if everywhere { "ClusterRole" } else { "Role" };
    let mut metadata = json!({"name": name, "labels": {"app": "metallb"}});
    if !everywhere {
        metadata["namespace"] = json!(NAMESPACE);
    }
    let api = "rbac.authorization.k8s.io";
    [
        json!({"apiVersion": format!("{api}/v1"), "kind": kind, "metadata": metadata, "rules": rules}),
        json!({"apiVersion": format!("{api}/v1"), "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]}),
    ]
}

/// The CRDs of ours in which we say more than MetalLB does, without what we say more (C80, A25).
fn older_crds() -> Vec<Value> {
    let mut crds = Vec::new();
    for crd in crd::all() {
        let mut crd = serde_json::to_value(crd).expect("a CRD is JSON");
        let kind = crd["spec"]["names"]["kind"].clone();
        let status = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
        if kind == "IPAddressPool" {
            let fields = status["properties"].as_object_mut().expect("it has a status");
            fields.retain(|name, _| name != "conditions" && name != "observedGeneration");
        } else if kind == "L2Advertisement" {
            *status = json!({"type": "object"});
        } else {
            continue;
        }
        if let Some(versions) = crd["spec"]["versions"].as_array_mut() {
            // They show conditions.
            versions.iter_mut().for_each(|version| version["additionalPrinterColumns"] = json!([]));
        }
        crds.push(crd);
    }
    crds
}

/// Puts MetalLB's rights in the place of ours, and its CRDs.
pub(crate) fn install(stage: &mut Stage) {
    stage.is_left_bare();
    stage.api.kubectl(&["delete", "role,rolebinding", "speaker", "-n", NAMESPACE]);
    let mut items = older_crds();
    items.extend(bound("controller", "controller", false, &of_controller()));
    items.extend(bound("pod-lister", "speaker", false, &pod_lister()));
    items.extend(bound("metallb-system:controller", "controller", true, &of_controller_everywhere()));
    items.extend(bound("metallb-system:speaker", "speaker", true, &of_speaker_everywhere()));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    stage.api.kubectl_as(&ApiUser::Admin, &["apply", "-f", "-"], &list).expect("they are good");
}

/// Takes away what our own manifests do not replace.
pub(crate) fn uninstall(stage: &Stage) {
    stage.api.kubectl(&["delete", "role,rolebinding", "pod-lister", "-n", NAMESPACE, "--ignore-not-found"]);
}

/// A Service with its address and annotation, as MetalLB's controller wrote them.
async fn held(stage: &Stage, name: &str, address: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": WORK,
            "annotations": {"metallb.io/ip-allocated-from-pool": "first", "metallb.universe.tf/address-pool": "first"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}}});
    stage.create(&typed::<core::Service>(object)).await;
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    stage.merge_status::<core::Service>(WORK, name, ingress).await;
}

/// Everything that stays in the cluster when MetalLB's processes have ended.
pub(crate) async fn leave_behind(stage: &Stage) {
    stage.create(&pool("first", &["172.16.16.101-172.16.16.120"])).await;
    stage.create(&advertisement("all")).await;
    for (name, address) in HELD {
        held(stage, name, address).await;
        let labels = json!({"metallb.io/node": "wk02", "metallb.io/service-name": name,
            "metallb.io/service-namespace": WORK});
        let object: ServiceL2Status =
            typed(json!({"apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
            "metadata": {"name": format!("l2-{name}"), "namespace": NAMESPACE, "labels": labels}}));
        stage.create(&object).await;
        let status = json!({"status": {"node": "wk02", "serviceName": name, "serviceNamespace": WORK,
            "interfaces": [{"name": "eth0"}]}});
        stage.merge_status::<ServiceL2Status>(NAMESPACE, &format!("l2-{name}"), status).await;
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "memberlist", "namespace": NAMESPACE}, "data": {"secretkey": KEY}});
    stage.create(&typed::<core::Secret>(secret)).await;
}
