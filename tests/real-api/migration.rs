//! From MetalLB and back, as docs/migrate-from-metallb.md says: every address stays where it is.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_api::crd::{IPAddressPool, ServiceL2Status};
use ferrolb_shell::process::logs::{self, LogLevel};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube_apiserver::{ApiUser, AuditedRequest, NAMESPACE};
use serde_json::{Value, json};
use tests::log_lines::Written;
use tokio::time::sleep;

use crate::metallb::{self, HELD};
use crate::setup::{Controller, SpeakerProcess, Stage, WORK, addresses, eventually, pod, service, slice};

/// Long enough for what is refused to be tried again, several times.
const A_WHILE: Duration = Duration::from_secs(10);
/// The delays between refused requests double from five seconds on: a minute has room for this many.
const REFUSALS: usize = 6;

/// Annotations, spec and status of each Service that came with an address.
async fn held(stage: &Stage) -> Vec<Value> {
    let mut held = Vec::new();
    for (name, address) in HELD {
        let service: core::Service = stage.get(WORK, name).await.expect("nobody deletes it");
        assert_eq!(addresses(&service), address);
        held.push(json!([service.metadata.annotations, service.spec, service.status]));
    }
    held
}

fn key(secret: Option<core::Secret>) -> Option<Vec<u8>> {
    Some(secret?.data?.remove("secretkey")?.0)
}

/// The speakers' Pods and Nodes, and endpoints for every Service.
async fn inhabit(stage: &Stage) {
    stage.create_node("wk01").await;
    for (name, component) in [("controller-7d", "controller"), ("speaker-wk01", "speaker")] {
        stage.create(&pod(name, component, "wk01")).await;
    }
    let ip = "172.16.16.11";
    let running = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
    stage.merge_status::<core::Pod>(NAMESPACE, "speaker-wk01", running).await;
    for (name, _) in HELD {
        stage.create(&slice(name)).await;
    }
}

/// The requests that were refused, counted.
fn refused(requests: &[AuditedRequest]) -> BTreeMap<String, usize> {
    let mut refused = BTreeMap::new();
    for request in requests.iter().filter(|request| request.code == 403) {
        let what = format!("{} {}/{}", request.verb, request.resource, request.subresource);
        *refused.entry(what).or_default() += 1;
    }
    refused
}

async fn in_order(stage: &Stage) -> (Controller, SpeakerProcess) {
    let controller = Controller::start(stage.api).await;
    let speaker = SpeakerProcess::start(stage.api, "wk01", true).await;
    eventually("the addresses are announced", async || speaker.announces().len() >= HELD.len()).await;
    eventually("only one object says who announces each", async || {
        let objects = stage.list::<ServiceL2Status>(NAMESPACE).await;
        let nodes: Vec<_> =
            objects.iter().filter_map(|object| object.status.as_ref()?.node.clone()).collect();
        nodes.iter().filter(|node| *node == "wk01").count() == HELD.len()
    })
    .await;
    (controller, speaker)
}

#[tokio::test]
async fn every_address_stays_both_ways() {
    let Some(mut stage) = Stage::take().await else { return };
    metallb::install(&mut stage);
    metallb::leave_behind(&stage).await;
    inhabit(&stage).await;
    let before = held(&stage).await;
    let secret = key(stage.get(NAMESPACE, "memberlist").await);
    assert!(secret.is_some());

    // Step 4: our manifests over what MetalLB's have left.
    stage.api.kubectl(&["apply", "-k", "manifests/base"]);
    let (controller, speaker) = in_order(&stage).await;
    stage.create(&service("new")).await;
    stage.address_becomes("new", "172.16.16.101").await;
    eventually("the pool is in force", async || {
        stage.condition("first", "Ready").await.is_some_and(|(status, _)| status == "True")
    })
    .await;
    controller.stop().await;
    speaker.stop().await;
    assert_eq!(held(&stage).await, before);
    assert_eq!(key(stage.get(NAMESPACE, "memberlist").await), secret);
    let requests = [stage.requests("controller"), stage.requests("speaker")].concat();
    let touched = |request: &&AuditedRequest| request.resource == "services" && request.verb != "watch";
    let named: Vec<_> =
        requests.iter().filter(touched).filter(|request| request.name.starts_with("old-")).collect();
    assert!(named.is_empty(), "what stands is not written: {named:#?}");

    // The way back.
    stage.api.kubectl(&["delete", "servicel2statuses,configurationstates", "--all", "-n", NAMESPACE]);
    let gone = ["poddisruptionbudget/controller", "role/speaker", "rolebinding/speaker"];
    stage.api.kubectl(&[&["delete", "-n", NAMESPACE], &gone[..]].concat());
    stage.api.kubectl(&["create", "role", "speaker", "--verb=get", "--resource=pods", "-n", NAMESPACE]);
    stage.api.kubectl(&[
        "create",
        "rolebinding",
        "speaker",
        "--role=speaker",
        "--serviceaccount=metallb-system:speaker",
        "-n",
        NAMESPACE,
    ]);
    metallb::install(&mut stage);
    let pool: IPAddressPool = stage.get(NAMESPACE, "first").await.expect("it stays");
    assert_eq!(pool.spec.addresses, ["172.16.16.101-172.16.16.120"]);
    // Whoever reads status and annotation, as MetalLB does, finds what it had written itself.
    assert_eq!(held(&stage).await, before);
    let new: core::Service = stage.get(WORK, "new").await.expect("it stays");
    let annotations = new.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(
        (addresses(&new).as_str(), annotations["metallb.io/ip-allocated-from-pool"].as_str()),
        ("172.16.16.101", "first")
    );
    metallb::uninstall(&stage);
}

/// The writes of both programs that the server has accepted.
fn accepted(stage: &Stage) -> Vec<AuditedRequest> {
    let writes = ["controller", "speaker"].map(|account| stage.writes(account)).into_iter().flatten();
    writes.filter(|request| request.code < 400).collect()
}

/// Only the images were swapped: rights and CRDs are MetalLB's.
#[tokio::test]
async fn g63_to_g92_under_metallbs_own_rights_and_kinds() {
    let Some(mut stage) = Stage::take().await else { return };
    let written = Written::default();
    let sink = written.clone();
    let subscriber = logs::lines_to(LogLevel::Info, move || sink.clone());
    let _logs = tracing::subscriber::set_default(subscriber);
    metallb::install(&mut stage);
    metallb::leave_behind(&stage).await;
    inhabit(&stage).await;
    let before = held(&stage).await;
    // The server has taken the older kinds in.
    eventually("what MetalLB's kinds lack is not stored", async || {
        let status = json!({"status": {"observedGeneration": 1}});
        let pool: IPAddressPool = stage.merge_status(NAMESPACE, "first", status).await;
        pool.status.is_none_or(|status| status.observed_generation.is_none())
    })
    .await;

    let (controller, speaker) = in_order(&stage).await;
    stage.create(&service("new")).await;
    stage.create(&slice("new")).await;
    stage.address_becomes("new", "172.16.16.101").await;
    eventually("the new one is announced as well", async || speaker.announces().len() == 3).await;
    eventually("the pool is counted", async || {
        let pool: IPAddressPool = stage.get(NAMESPACE, "first").await.expect("it is there");
        pool.status.is_some_and(|status| status.assigned_ipv4 == 3)
    })
    .await;
    sleep(A_WHILE).await;
    let writes = accepted(&stage);
    sleep(A_WHILE).await;
    let again = accepted(&stage);
    assert_eq!(again.len(), writes.len(), "it has come to rest: {again:#?}");
    assert_eq!(held(&stage).await, before);
    controller.stop().await;
    speaker.stop().await;
    for account in ["controller", "speaker"] {
        let refused = refused(&stage.requests(account));
        assert!(
            refused.values().all(|count| *count <= REFUSALS),
            "{account} asks again and again: {refused:#?}"
        );
    }
    // Said once, each with what is missing.
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for line in written.lines() {
        let text = line.to_string();
        if text.contains("RBAC") || text.contains("forbidden") {
            *said.entry(format!("{} {} {}", line["op"], line["resource"], line["msg"])).or_default() += 1;
        }
    }
    assert!(!said.is_empty(), "nothing is said");
    assert!(said.values().all(|count| *count == 1), "{said:#?}");
    metallb::uninstall(&stage);
}

/// MetalLB's controller serves the conversion of peers, and keeps its certificate in the CRD.
#[tokio::test]
async fn g61_a_takeover_of_the_peers_kind_leaves_no_webhook() {
    let Some(mut stage) = Stage::take().await else { return };
    stage.is_left_bare();
    let crd = "bgppeers.metallb.io";
    let authority = std::fs::read(stage.api.folder().join("ca.crt")).expect("the harness made it");
    let authority = json!(ByteString(authority));
    let webhook = json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1beta1", "v1beta2"],
        "clientConfig": {"service": {"namespace": NAMESPACE, "name": "metallb-webhook-service", "path": "/convert"},
            "caBundle": authority}}}}});
    let patch = webhook.to_string();
    let install = || {
        stage.api.kubectl(&["patch", "crd", crd, "--type=merge", "--field-manager=metallb", "-p", &patch]);
        assert!(conversion(&stage).contains("metallb-webhook-service"));
    };
    let server_side = ["apply", "--server-side", "--force-conflicts", "-k", "manifests/crds"];

    // The step of the migration guide, and then what Flux and Argo CD do.
    install();
    let guide = r#"{"spec":{"conversion":{"strategy":"None","webhook":null}}}"#;
    stage.api.kubectl(&["patch", "crd", crd, "--type=merge", "-p", guide]);
    stage.api.kubectl(&server_side);
    assert_eq!(conversion(&stage), r#"{"strategy":"None"}"#);

    // Without the step it is refused, and nothing is half done.
    install();
    let refused = stage.api.kubectl_as(&ApiUser::Admin, &server_side, "").expect_err("it is MetalLB's field");
    assert!(refused.contains("should not be set when strategy is not set to Webhook"), "{refused}");
    assert!(conversion(&stage).contains("metallb-webhook-service"));
    stage.api.kubectl(&["patch", "crd", crd, "--type=merge", "-p", guide]);
    stage.api.kubectl(&server_side);
    assert_eq!(conversion(&stage), r#"{"strategy":"None"}"#);
}

fn conversion(stage: &Stage) -> String {
    stage.api.kubectl(&["get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.spec.conversion}"])
}
