//! The shipped RBAC, both ways: whatever the programs ask for in their life is allowed, and no verb of it could go.

mod missed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use fake_api::{Attributes, Grant, Rbac};
use ferrolb_api::crd::{ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status};
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::http::{self, AdminState, HttpSettings};
use ferrolb_shell::admin::tls::TlsSettings;
use ferrolb_shell::process::shutdown;
use k8s_openapi::api::core::v1 as core;
use kube::config::AuthInfo;
use kube::{Client, Config};
use kube_apiserver::{AuditedRequest, NAMESPACE};
use prometheus::Registry;
use serde_json::{Value, json};
use tests::manifests::{manifests, objects};

use crate::setup::{
    Controller, SpeakerProcess, Stage, WORK, advertisement, eventually, pod, pool, service, slice, typed,
};

/// Whose rights they are.
const RBAC: &[&str] =
    &["base/controller-rbac.yaml", "base/speaker-rbac.yaml", "components/metrics-https/rbac.yaml"];

fn shipped() -> Vec<Value> {
    RBAC.iter().flat_map(|file| objects(&manifests().join(file))).collect()
}

fn grants(objects: &[Value], account: &str) -> BTreeSet<Grant> {
    let rbac = Rbac::from_objects(objects).expect("every binding has its role");
    rbac.grants(&format!("system:serviceaccount:{NAMESPACE}:{account}"))
}

/// Nothing, where a field of the log is empty.
fn part(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// What a request asked the authorizer for.
fn asked(request: &AuditedRequest) -> impl Iterator<Item = Attributes<'_>> {
    // A server-side apply that creates asks for both verbs.
    let created = (request.verb == "patch" && request.code == 201).then_some("create");
    std::iter::once(request.verb.as_str()).chain(created).map(|verb| Attributes {
        verb,
        group: &request.group,
        resource: &request.resource,
        subresource: part(&request.subresource),
        namespace: part(&request.namespace),
        name: part(&request.name),
    })
}

/// Every request was allowed, by one of our grants; and without any of these one would not have been: which.
fn assert_exact<'a>(account: &str, requests: &'a [AuditedRequest]) -> BTreeMap<Grant, Attributes<'a>> {
    let granted = grants(&shipped(), account);
    let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
    assert!(refused.is_empty(), "{account}: the manifests lack these: {refused:#?}");
    let mut needed = BTreeMap::new();
    // What everybody may do, such as asking for the version, is no resource.
    for request in requests.iter().filter(|request| !request.resource.is_empty()) {
        for asked in asked(request) {
            let behind: Vec<_> = granted.iter().filter(|grant| grant.covers(&asked)).collect();
            match behind[..] {
                [] => panic!("{account}: something else than our manifests allows {request:?}"),
                [only] => _ = needed.insert(only.clone(), asked),
                // Either could go.
                _ => {}
            }
        }
    }
    let unused: Vec<_> =
        granted.iter().filter(|grant| !needed.contains_key(grant)).map(ToString::to_string).collect();
    assert!(unused.is_empty(), "{account}: no request needs these: {unused:#?}");
    needed
}

/// Serves `/metrics` over HTTPS, with that client's rights, to a scraper with that token.
async fn scrape(stage: &Stage, account: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    drop(listener);
    let settings = HttpSettings {
        metrics_host: Some(address.ip()),
        metrics_port: address.port(),
        tls: Some(TlsSettings::parse("VersionTLS12", "", "").expect("the defaults are good")),
        health_host: None,
        health_port: 0,
    };
    let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
    let (_trigger, shutdown) = shutdown::channel();
    let own = stage.api.client_as(account);
    http::start(&settings, &own, &endpoints, &shutdown).await.expect("the port is free");
    let scraper = |token: String| {
        let mut config = Config::new(format!("https://{address}").parse().expect("it is an address"));
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
        Client::try_from(config).expect("the configuration is good")
    };
    let get = async |client: Client| {
        let request = ::http::Request::get("/metrics").body(Vec::new()).expect("it is a request");
        client.request_text(request).await
    };
    // The account of the test's own scraper, and one that nobody has bound to the role.
    let known = scraper(stage.api.token(WORK, "scraper"));
    // A refusal is remembered for ten seconds; the server may not know of the binding before.
    eventually("it is bound to metrics-reader", async || get(known.clone()).await.is_ok()).await;
    get(scraper(stage.api.token(WORK, "nobody"))).await.expect_err("it may not");
}

#[tokio::test]
async fn everything_is_granted_and_nothing_for_nothing() {
    let Some(stage) = Stage::take().await else { return };
    let component = manifests().join("components/metrics-https/rbac.yaml");
    stage.api.kubectl(&["apply", "-f", &component.display().to_string()]);
    for account in ["scraper", "nobody"] {
        stage.create(&typed::<core::ServiceAccount>(
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": WORK}}),
        )).await;
    }
    let account = format!("--serviceaccount={WORK}:scraper");
    let role = "--clusterrole=metallb-system:metrics-reader";
    stage.api.kubectl(&["create", "clusterrolebinding", "scraper", role, &account]);

    stage.create(&pod("controller-7d", "controller", "wk01")).await;
    stage.create(&pod("speaker-wk01", "speaker", "wk01")).await;
    let address =
        json!({"status": {"phase": "Running", "podIP": "172.16.16.11", "podIPs": [{"ip": "172.16.16.11"}]}});
    stage.merge_status::<core::Pod>(NAMESPACE, "speaker-wk01", address).await;
    stage.create_node("wk01").await;
    let controller = Controller::start_elected(stage.api).await;
    let speaker = SpeakerProcess::start(stage.api, "wk01", true).await;
    stage.create(&pool("first", &["172.16.16.101-172.16.16.120"])).await;
    stage.create(&advertisement("all")).await;
    stage.create(&service("web")).await;
    stage.create(&slice("web")).await;
    stage.address_becomes("web", "172.16.16.101").await;
    eventually("the speaker announces it", async || speaker.announces() == ["work/web 172.16.16.101"]).await;
    journey(&stage).await;
    scrape(&stage, "controller").await;
    scrape(&stage, "speaker").await;
    controller.stop().await;
    speaker.stop().await;
    for account in ["controller", "speaker"] {
        // A watch is in the log when the server has noticed its end.
        let mut requests = stage.requests(account);
        eventually("the log has come to rest", async || {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let before = std::mem::replace(&mut requests, stage.requests(account));
            before == requests
        })
        .await;
        missed::assert_missed(&stage, account, &assert_exact(account, &requests)).await;
    }
}

/// What happens in a long life: the same Event again, verdicts that change, objects that go.
async fn journey(stage: &Stage) {
    let count = async |reason: &str| {
        let events = stage.list::<core::Event>(WORK).await;
        let own = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        own.map(|event| event.count.unwrap_or(1)).max().unwrap_or(0)
    };
    eventually("both have told", async || {
        count("IPAllocated").await >= 1 && count("nodeAssigned").await >= 1
    })
    .await;
    eventually("the status object has content", async || {
        let objects = stage.list::<ServiceL2Status>(NAMESPACE).await;
        objects.iter().any(|object| object.status.as_ref().is_some_and(|status| status.node.is_some()))
    })
    .await;
    // Assigned and announced again: the Events are counted.
    stage.merge::<core::Service>(WORK, "web", json!({"spec": {"type": "ClusterIP"}})).await;
    stage.address_becomes("web", "").await;
    eventually("the status object is gone", async || {
        stage.list::<ServiceL2Status>(NAMESPACE).await.is_empty()
    })
    .await;
    stage.merge::<core::Service>(WORK, "web", json!({"spec": {"type": "LoadBalancer"}})).await;
    stage.address_becomes("web", "172.16.16.101").await;
    eventually("the same Events are counted", async || {
        count("IPAllocated").await >= 2 && count("nodeAssigned").await >= 2
    })
    .await;
    // Verdicts: by namespaces, by Nodes, and of the whole.
    let allocation =
        json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    stage.merge::<IPAddressPool>(NAMESPACE, "first", allocation).await;
    let east = json!({"spec": {"nodeSelectors": [{"matchLabels": {"zone": "east"}}]}});
    stage.merge::<L2Advertisement>(NAMESPACE, "all", east).await;
    stage.create(&pool("overlapping", &["172.16.16.110-172.16.16.130"])).await;
    eventually("both say what they think of it", async || {
        let states = stage.list::<ConfigurationState>(NAMESPACE).await;
        let bad = states.iter().filter(|state| {
            state.status.as_ref().is_some_and(|status| status.error_summary.contains("overlapping"))
        });
        bad.count() == 2
    })
    .await;
    eventually("the pool says so", async || {
        stage.condition("overlapping", "Ready").await.is_some_and(|(status, _)| status == "False")
    })
    .await;
}
