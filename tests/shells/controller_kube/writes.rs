//! What is written when all goes well: addresses, Events, conditions, repairs.

use std::collections::BTreeSet;

use fake_api::{Fault, Match};
use ferrolb_api::annotations::IP_ALLOCATED_FROM_POOL;
use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use tests::objects::{NAMESPACE, pool};

use super::setup::{
    NS, OWN, Running, address, assert_right, cluster, get, get_pool, ready, seconds, status_writes,
};
use crate::support::service;

#[tokio::test(start_paused = true)]
async fn c70_c72_one_write_and_then_silence() {
    let api = cluster(1);
    let marked = json!({"metadata": {"annotations": {"mine": "1"}, "labels": {"mine": "2"}}});
    let before = api.merge::<core::Service>(NS, "web-0", marked).expect("it is there");
    let running = Running::start(&api);
    seconds(5).await;
    assert_eq!(address(&api, "web-0"), "172.16.16.101", "C33");
    assert_right(&api, "after a start");
    let after = get(&api, "web-0");
    assert_eq!(after.spec, before.spec, "C70: no spec is written");
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.metadata.annotations.map(|all| all.len()), Some(2), "mine and C72's");
    assert_eq!(status_writes(&api).len(), 1, "status and annotation are one write");
    let advertised: Option<L2Advertisement> = api.get(OWN, "all").expect("it decodes");
    let status = advertised.and_then(|advertisement| advertisement.status).expect("a verdict was written");
    assert_eq!(status.observed_generation, Some(1));
    assert!(running.readiness.report().ready, "{}", running.readiness.report().text);
    let writes = api.writes();
    assert!(writes.iter().all(|write| write.committed), "no write was for nothing: {writes:#?}");
    // Without input nothing is written, and nothing but watches is asked for.
    let requests = api.requests().len();
    seconds(600).await;
    assert_eq!(api.writes().len(), writes.len());
    assert!(api.requests()[requests..].iter().all(|request| request.verb == "watch"));
}

#[tokio::test(start_paused = true)]
async fn a_restart_adopts_and_writes_nothing() {
    let api = cluster(5);
    let running = Running::start(&api);
    seconds(5).await;
    running.stop().await;
    let held: Vec<_> = (0..5).map(|index| address(&api, &format!("web-{index}"))).collect();
    // Without the others, first fit would give other addresses now.
    api.delete::<core::Service>(NS, "web-0").expect("it is there");
    let writes = api.writes().len();
    let running = Running::start(&api);
    seconds(60).await;
    let now: Vec<_> = (1..5).map(|index| address(&api, &format!("web-{index}"))).collect();
    assert_eq!(now, held[1..], "C8");
    let written = api.writes().split_off(writes).into_iter().filter(|write| write.committed);
    let written: Vec<_> = written.map(|write| write.resource).collect();
    assert_eq!(written, ["ipaddresspools"], "only the counters have changed");
    api.create(&service("late")).expect("new");
    seconds(5).await;
    assert_eq!(address(&api, "late"), held[0]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_changes_meanwhile_is_written_on_its_newer_state() {
    let api = cluster(1);
    api.inject(Match::any().resource("services").verb("patch"), Fault::Overtaken, 3);
    let _running = Running::start(&api);
    seconds(10).await;
    assert_eq!(api.pending_faults(), 0);
    assert_right(&api, "after three conflicts");
    let codes: Vec<_> = status_writes(&api).iter().map(|write| write.status).collect();
    assert_eq!(codes, [Some(409), Some(409), Some(409), Some(200)]);
    assert_eq!(address(&api, "web-0"), "172.16.16.101");
}

#[tokio::test(start_paused = true)]
async fn f21_f25_events_are_written_in_the_core_group() {
    let api = cluster(1);
    let _running = Running::start(&api);
    let unknown = json!({"metadata": {"annotations": {"metallb.io/address-pool": "nowhere"}}});
    let lost: core::Service = service("lost");
    api.create(&lost).expect("new");
    api.merge::<core::Service>(NS, "lost", unknown).expect("it is there");
    seconds(10).await;
    let events = api.list::<core::Event>(NS).expect("they decode");
    let found: BTreeSet<_> = events
        .iter()
        .map(|event| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let object = &event.involved_object;
            format!("{} {} {}", text(&object.name), text(&event.type_), text(&event.reason))
        })
        .collect();
    for expected in ["web-0 Normal IPAllocated", "lost Warning AllocationFailed"] {
        assert!(found.contains(expected), "{expected} is not in {found:?}");
    }
    let uid = get(&api, "web-0").metadata.uid;
    assert!(events.iter().any(|event| event.involved_object.uid == uid));
    assert!(address(&api, "lost").is_empty());
}

#[tokio::test(start_paused = true)]
async fn foreign_edits_are_repaired() {
    let api = cluster(2);
    let _running = Running::start(&api);
    seconds(5).await;
    let lb = |ingress: serde_json::Value| json!({"status": {"loadBalancer": {"ingress": ingress}}});
    for (edit, what) in [
        (lb(json!([{"ip": "192.0.2.1"}])), "another address"),
        (lb(json!(null)), "no address"),
        (lb(json!([{"ip": "172.16.16.102"}])), "the other Service's address"),
        (lb(json!([{"hostname": "example.com"}])), "a name"),
    ] {
        api.merge_status::<core::Service>(NS, "web-0", edit).expect("it is there");
        seconds(5).await;
        assert_right(&api, what);
        assert_eq!(address(&api, "web-1"), "172.16.16.102", "{what}: the other one is left alone");
    }
    for value in [json!(null), json!("elsewhere")] {
        let edit = json!({"metadata": {"annotations": {(IP_ALLOCATED_FROM_POOL): value}}});
        api.merge::<core::Service>(NS, "web-1", edit).expect("it is there");
        seconds(5).await;
        assert_right(&api, "an edited annotation");
    }
    let edit = json!({"status": {"assignedIPv4": 77, "conditions": []}});
    api.merge_status::<IPAddressPool>(OWN, "first", edit).expect("it is there");
    seconds(5).await;
    assert_right(&api, "an edited pool");
}

#[tokio::test(start_paused = true)]
async fn a_type_change_and_a_deletion_release_the_address() {
    let api = cluster(2);
    let _running = Running::start(&api);
    seconds(5).await;
    api.merge::<core::Service>(NS, "web-0", json!({"spec": {"type": "ClusterIP"}})).expect("it is there");
    seconds(5).await;
    assert_right(&api, "C11");
    api.delete::<core::Service>(NS, "web-1").expect("it is there");
    seconds(5).await;
    assert_right(&api, "C69");
    api.create(&service("next")).expect("new");
    seconds(5).await;
    assert_eq!(address(&api, "next"), "172.16.16.101", "it is free again");
    assert_right(&api, "C69");
}

#[tokio::test(start_paused = true)]
async fn a_bad_pool_is_named_and_spoils_nothing() {
    let api = cluster(1);
    // What an older schema let through, and what does not even decode.
    for (name, addresses) in
        [("reversed", json!(["172.16.17.9-172.16.17.1"])), ("shapeless", json!("172.16.18.0/24"))]
    {
        let object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": NAMESPACE, "generation": 3, "uid": name,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"addresses": addresses}});
        api.insert_unchecked(object).expect("the kind is served");
    }
    let running = Running::start(&api);
    seconds(30).await;
    assert_right(&api, "beside bad pools");
    assert!(running.readiness.report().ready, "{}", running.readiness.report().text);
    let asked = |name: &str| {
        let writes = api.writes();
        writes.iter().filter(|write| write.name.as_deref() == Some(name)).count()
    };
    assert!(asked("reversed") > 0 && asked("shapeless") > 0, "both are told what is wrong with them");
    // An overlap is refused with a reason, at its generation; mended, it is in force.
    api.create(&pool("overlapping", &["172.16.16.150-172.16.16.250"])).expect("alone it is sound");
    seconds(5).await;
    let (status, reason, generation) = ready(&api, "overlapping").expect("a condition was written");
    assert_eq!((status.as_str(), generation), ("False", Some(1)), "{reason}");
    let mended = json!({"spec": {"addresses": ["172.16.19.0/24"]}});
    api.merge::<IPAddressPool>(OWN, "overlapping", mended).expect("it is there");
    seconds(5).await;
    let (status, _, generation) = ready(&api, "overlapping").expect("a condition was written");
    assert_eq!((status.as_str(), generation), ("True", Some(2)));
    assert_right(&api, "after all that");
    let refusals = api.requests().len();
    seconds(600).await;
    let wrong: Vec<_> =
        api.requests()[refusals..].iter().filter(|request| request.is_write()).cloned().collect();
    assert!(wrong.len() <= 8, "a refused write is not repeated in a loop: {wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn w4_the_version_in_force_stands_in_the_object_and_is_written_once() {
    let api = cluster(1);
    let running = Running::start(&api);
    seconds(5).await;
    let kept = || {
        let status = get_pool(&api, "first").status.expect("the controller wrote one");
        status.last_known_good.expect("the version in force stands there")
    };
    let written = || {
        let writes = api.writes().into_iter();
        writes.filter(|write| write.committed && write.resource == "ipaddresspools").count()
    };
    assert_eq!(
        (kept().generation, kept().spec["addresses"][0].as_str()),
        (1, Some("172.16.16.101-172.16.16.200"))
    );
    for (edit, generation, priority) in [
        (json!({"spec": {"serviceAllocation": {"priority": 7}}}), 2, json!(7)),
        (json!({"spec": {"serviceAllocation": null}}), 3, json!(null)),
        (json!({"spec": {"addresses": ["172.16.16.200-172.16.16.101"]}}), 3, json!(null)),
        (json!({"spec": {"serviceAllocation": {"priority": 8}}}), 3, json!(null)),
    ] {
        let before = written();
        api.merge::<IPAddressPool>(OWN, "first", edit.clone()).expect("the schema allows it");
        seconds(60).await;
        assert_eq!(
            (kept().generation, &kept().spec["serviceAllocation"]["priority"]),
            (generation, &priority),
            "{edit}"
        );
        assert_eq!(written(), before + 1, "{edit}");
    }
    // The next controller finds it, and has nothing to write.
    let (before, held) = (written(), address(&api, "web-0"));
    running.stop().await;
    let _running = Running::start(&api);
    seconds(60).await;
    assert_eq!((written(), address(&api, "web-0")), (before, held));
    api.create(&service("late")).expect("new");
    seconds(5).await;
    assert_eq!(address(&api, "late"), "172.16.16.102", "the version in force still gives addresses");
    let text = get_pool(&api, "first").status.expect("it has one").conditions[0].message.clone();
    assert!(text.ends_with("until this is fixed its last valid version stays in force"), "{text}");
}
