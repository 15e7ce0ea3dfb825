//! Where it works: its rights, its namespace, its log.

use std::io;

use fake_api::{FakeApi, Fault, Match, Rbac};
use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
use ferrolb_shell::process::logs::{self, LogLevel};
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use tests::log_lines::Written;
use tests::objects::{NAMESPACE, pool};

use super::setup::{NS, OWN, Running, address, assert_right, cluster, cluster_with, seconds};
use crate::support::{account, fake, rbac_mismatch, service};

#[tokio::test(start_paused = true)]
async fn the_controllers_requests_are_granted_and_each_grant_is_needed() {
    let api = cluster(2);
    let _running = Running::start_elected(&api);
    seconds(5).await;
    // The same address assigned again is the same Event, counted by a patch.
    for kind in ["ClusterIP", "LoadBalancer"] {
        api.merge::<core::Service>(NS, "web-1", json!({"spec": {"type": kind}})).expect("it is there");
        seconds(30).await;
    }
    let pin = json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    api.merge::<IPAddressPool>(OWN, "first", pin).expect("it is there");
    let east = json!({"spec": {"nodeSelectors": [{"matchLabels": {"zone": "east"}}]}});
    api.merge::<L2Advertisement>(OWN, "all", east).expect("it is there");
    seconds(30).await;
    let (refused, unused) = rbac_mismatch(&account("controller"), &api.requests());
    assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");
    assert!(unused.is_empty(), "the manifests grant these for nothing: {unused:?}");
}

#[tokio::test(start_paused = true)]
async fn g68_under_metallbs_own_rbac_the_status_is_replaced() {
    let subject = json!([{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": "controller"}]);
    let role = |kind: &str, rules: Value| json!({"kind": kind, "metadata": {"name": "stock", "namespace": NAMESPACE}, "rules": rules});
    let binding = |kind: &str| {
        json!({"kind": format!("{kind}Binding"), "metadata": {"name": "stock", "namespace": NAMESPACE},
            "subjects": subject, "roleRef": {"kind": kind, "name": "stock"}})
    };
    let cluster_rules = json!([
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    let rules = json!([
        {"apiGroups": ["metallb.io"], "resources": ["ipaddresspools", "l2advertisements"],
            "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["metallb.io"], "resources": ["ipaddresspools/status", "l2advertisements/status"],
            "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
    ]);
    let objects =
        [role("ClusterRole", cluster_rules), binding("ClusterRole"), role("Role", rules), binding("Role")];
    let rbac = Rbac::from_objects(&objects).expect("the roles are there");
    let api = FakeApi::builder().rbac(rbac).build().expect("our own CRDs are implemented");
    let api = cluster_with(api, 2);
    let _running = Running::start(&api);
    seconds(30).await;
    assert_right(&api, "by PUT");
    api.inject(Match::any().resource("services").verb("update"), Fault::Overtaken, 1);
    api.create(&service("late")).expect("new");
    seconds(30).await;
    assert_right(&api, "by PUT, overtaken");
    // What is lost is written by PUT as well, and comes back.
    api.delete::<core::Service>(NS, "web-0").expect("it is there");
    api.delete::<IPAddressPool>(OWN, "first").expect("it is there");
    seconds(2).await;
    assert!(address(&api, "web-1").is_empty());
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect("it is gone");
    seconds(30).await;
    assert_eq!(address(&api, "web-1"), "172.16.16.102");
    assert_right(&api, "by PUT, given back");
    let patches = api.writes().into_iter().filter(|write| write.verb == "patch" && write.status == Some(403));
    assert!(patches.count() <= 6, "it is asked once or twice for each kind, not each time");
}

#[tokio::test(start_paused = true)]
async fn a2_only_objects_in_the_own_namespace_count() {
    let elsewhere = |mut pool: IPAddressPool| {
        pool.metadata.namespace = Some("default".to_owned());
        pool
    };
    let api = fake();
    api.create(&elsewhere(pool("first", &["172.16.16.101-172.16.16.200"]))).expect("the cluster is new");
    api.create(&service("web-0")).expect("the cluster is new");
    let _running = Running::start(&api);
    seconds(60).await;
    assert_eq!(address(&api, "web-0"), "", "the pool is in another namespace");
    let untouched: Option<IPAddressPool> = api.get(NS, "first").expect("it decodes");
    assert_eq!(untouched.and_then(|pool| pool.status), None);

    api.create(&pool("first", &["172.16.16.150-172.16.16.200"])).expect("another namespace");
    seconds(60).await;
    assert_eq!(address(&api, "web-0"), "172.16.16.150");
    api.delete::<IPAddressPool>(NS, "first").expect("it is there");
    seconds(60).await;
    assert_eq!(address(&api, "web-0"), "172.16.16.150");
}

#[tokio::test(start_paused = true)]
async fn f42_what_people_look_for_in_the_log() {
    let written = Written::default();
    let sink = written.clone();
    let subscriber = logs::lines_to(LogLevel::Info, move || sink.clone());
    // A second one, or the first line of a kind decides for all threads, and in
    // those of other tests nobody listens.
    let _other = tracing::Dispatch::new(logs::lines_to(LogLevel::Error, io::sink));
    let _logs = tracing::subscriber::set_default(subscriber);
    let api = cluster(1);
    let running = Running::start(&api);
    seconds(5).await;
    api.create(&pool("bad", &["172.16.16.0/33"]))
        .map(drop)
        .or_else(|_| {
            // The schema refuses it: as an older server let it through.
            api.insert_unchecked(json!(pool("bad", &["172.16.16.0/33"])))
        })
        .expect("one of both works");
    api.merge::<IPAddressPool>(OWN, "first", json!({"spec": {"addresses": ["172.16.16.150-172.16.16.160"]}}))
        .expect("it is there");
    seconds(60).await;
    running.stop().await;

    let (text, lines) = (written.text(), written.lines());
    let has = |wanted: &[(&str, &str)]| {
        lines.iter().any(|line| wanted.iter().all(|(key, value)| line[*key] == *value))
    };
    let web = ("service", "default/web-0");
    for (event, ips) in [
        ("ipAllocated", "172.16.16.101"),
        ("serviceUpdated", "172.16.16.101"),
        ("clearAssignment", "172.16.16.101"),
        ("ipAllocated", "172.16.16.150"),
        ("serviceUpdated", "172.16.16.150"),
    ] {
        assert!(has(&[("event", event), web, ("ips", ips), ("level", "info")]), "{event} {ips}:\n{text}");
    }
    let unparsed = lines.iter().find(|line| {
        line["error"].as_str().is_some_and(|error| error.contains("failed to parse the configuration"))
    });
    let unparsed = unparsed.unwrap_or_else(|| panic!("nothing names the bad pool:\n{text}"));
    assert_eq!((&unparsed["level"], &unparsed["name"]), (&json!("error"), &json!("bad")));
}
