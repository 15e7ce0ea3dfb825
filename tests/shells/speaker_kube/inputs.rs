//! What the core is told, and what it is spared.

use std::time::Duration;

use fake_api::Match;
use ferrolb_api::crd::IPAddressPool;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde_json::json;
use tests::objects::{NAMESPACE, advertisement, pool};

use super::setup::{Shell, change_everything, cluster};
use super::view::View;
use crate::support::fake;

#[tokio::test(start_paused = true)]
async fn the_core_learns_what_stands_and_what_changes() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    assert!(!shell.readiness.report().ready);
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    assert!(shell.readiness.report().ready, "{}", shell.readiness.report().text);
    change_everything(&api, 1);
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    api.delete::<core::Service>(Some("default"), "web").expect("it is there");
    api.delete::<discovery::EndpointSlice>(Some("default"), "web-1").expect("it is there");
    api.delete::<core::Node>(None, "wk02").expect("it is there");
    api.delete::<core::Pod>(Some(NAMESPACE), "speaker-wk02").expect("it is there");
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    assert_eq!((shell.view.services.len(), shell.view.nodes.len(), shell.view.peers.len()), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn quiet_objects_make_no_inputs() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let taken = shell.taken;
    // Heartbeats of Nodes, readiness of Pods and statuses of pools are not looked at.
    let beat = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "lastHeartbeatTime": "2026-01-01T00:05:00Z"}]}});
    api.merge_status::<core::Node>(None, "wk01", beat).expect("it is there");
    let counters = json!({"status": {"assignedIPv4": 1}});
    api.merge_status::<IPAddressPool>(Some(NAMESPACE), "first", counters).expect("it is there");
    shell.run(Duration::from_secs(3_600)).await;
    assert_eq!(shell.taken, taken);
    assert!(api.writes().iter().all(|write| write.resource == "configurationstates"));
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_watched_once_a_pool_is_pinned_by_their_labels() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let namespaces = Match::any().resource("namespaces");
    assert_eq!(api.open_watches(&namespaces), 0);
    let pin = json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    api.merge::<IPAddressPool>(Some(NAMESPACE), "first", pin).expect("it is there");
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(api.open_watches(&namespaces), 1);
    assert!(shell.view.namespaces.contains(&"default".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_hides_no_other() {
    let api = cluster();
    let bad = json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": "bad", "namespace": NAMESPACE, "generation": 1, "uid": "u"},
        "spec": {"addresses": "172.16.16.0/24"}});
    api.insert_unchecked(bad.clone()).expect("the kind is served");
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view.undecodable, ["bad"]);
    assert_eq!(shell.view.pools.keys().collect::<Vec<_>>(), ["first"]);
    // It is mended, and another one goes bad while it is watched.
    api.delete::<IPAddressPool>(Some(NAMESPACE), "bad").expect("it is there");
    let mut worse = bad;
    worse["metadata"]["name"] = "worse".into();
    api.insert_unchecked(worse).expect("the kind is served");
    api.create(&pool("second", &["172.16.17.0/24"])).expect("new");
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view.undecodable, ["worse"]);
    assert_eq!(shell.view.pools.keys().collect::<Vec<_>>(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a2_only_objects_in_the_own_namespace_count() {
    let api = fake();
    let mut elsewhere = (pool("first", &["172.16.16.1-172.16.16.9"]), advertisement("all"));
    elsewhere.0.metadata.namespace = Some("default".to_owned());
    elsewhere.1.metadata.namespace = Some("default".to_owned());
    api.create(&elsewhere.0).expect("the cluster is new");
    api.create(&elsewhere.1).expect("the cluster is new");
    api.create(&pool("own", &["172.16.16.101-172.16.16.200"])).expect("the cluster is new");
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(60)).await;
    assert_eq!(shell.view.pools.keys().collect::<Vec<_>>(), ["own"]);
    assert_eq!(shell.view.advertisements, [""; 0]);
    api.create(&advertisement("mine")).expect("another name");
    shell.run(Duration::from_secs(60)).await;
    assert_eq!(shell.view.advertisements, ["mine"]);
}
