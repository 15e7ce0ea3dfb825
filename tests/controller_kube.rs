//! The controller as it runs, event loop and core included, against the
//! in-memory API server under tokio's paused clock: what stands in the end,
//! and how many writes it took.

#[path = "kube_support.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use controller::args::Settings;
use fake_api::{FakeApi, Fault, FaultPlan, Match, Rbac, RequestRecord};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use metallb_api::annotations::IP_ALLOCATED_FROM_POOL;
use metallb_api::crd::{IPAddressPool, L2Advertisement};
use metallb_shell::http::Endpoints;
use metallb_shell::{Readiness, shutdown};
use prometheus::Registry;
use serde_json::json;
use support::{NAMESPACE, account, advertisement, fake, pool, rbac_mismatch, service, typed};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Long enough for any retry to have come round.
const SETTLED: Duration = Duration::from_secs(180);
/// L10: a watch that hangs is noticed and replaced within this time.
const L10: Duration = Duration::from_secs(60);
/// Somebody's Services live here.
const NS: Option<&str> = Some("default");
/// Our own objects live here.
const OWN: Option<&str> = Some(NAMESPACE);

/// A running controller.
struct Running {
    readiness: Readiness,
    trigger: shutdown::Trigger,
    task: JoinHandle<()>,
}

impl Running {
    fn start(api: &FakeApi) -> Self {
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            load_balancer_class: None,
            secret_name: Some("memberlist".to_owned()),
            deployment: Some("controller".to_owned()),
        };
        let readiness = Readiness::default();
        let endpoints = Endpoints { registry: Registry::new(), readiness: readiness.clone() };
        let (trigger, shutdown) = shutdown::channel();
        let client = api.client(&account("controller"));
        let task = tokio::spawn(controller::run_with(client, settings, endpoints, shutdown));
        Self { readiness, trigger, task }
    }

    async fn stop(self) {
        self.trigger.shut_down();
        self.task.await.expect("the controller ends in order");
    }
}

/// A cluster with a pool of 100 addresses and `count` Services `web-0`, `web-1`, ...
fn cluster_with(api: FakeApi, count: usize) -> FakeApi {
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    let deployment: Deployment = typed(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "controller", "namespace": NAMESPACE},
        "spec": {"selector": {}, "template": {}}}));
    api.create(&deployment).expect(made);
    for index in 0..count {
        api.create(&service(&format!("web-{index}"))).expect(made);
    }
    api
}

fn cluster(count: usize) -> FakeApi {
    cluster_with(fake(), count)
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn ingress(service: &core::Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    entries.iter().map(|entry| entry.ip.clone().unwrap_or_default()).collect()
}

fn pool_annotation(service: &core::Service) -> Option<&str> {
    let annotations = service.metadata.annotations.as_ref()?;
    annotations.get(IP_ALLOCATED_FROM_POOL).map(String::as_str)
}

fn get(api: &FakeApi, name: &str) -> core::Service {
    api.get(NS, name).expect("it decodes").expect("it is there")
}

fn address(api: &FakeApi, name: &str) -> String {
    ingress(&get(api, name)).join(",")
}

fn get_pool(api: &FakeApi, name: &str) -> IPAddressPool {
    api.get(OWN, name).expect("it decodes").expect("it is there")
}

/// Status and reason of `Ready`, and the generation that it speaks of.
fn ready(api: &FakeApi, pool: &str) -> Option<(String, String, Option<i64>)> {
    let status = get_pool(api, pool).status?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Ready")?.clone();
    assert_eq!(condition.observed_generation, status.observed_generation);
    Some((condition.status, condition.reason, condition.observed_generation))
}

/// The writes to the status of Services.
fn status_writes(api: &FakeApi) -> Vec<RequestRecord> {
    let is_status = |write: &RequestRecord| {
        write.resource == "services" && write.subresource.as_deref() == Some("status")
    };
    api.writes().into_iter().filter(is_status).collect()
}

/// Every Service of type LoadBalancer has one address, nobody else's, out of
/// the pool that it is annotated with; others have none; and the pools know.
fn assert_right(api: &FakeApi, context: &str) {
    let services = api.list::<core::Service>(None).expect("they decode");
    let mut taken = BTreeSet::new();
    for service in &services {
        let spec = service.spec.as_ref().expect("Services have one");
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let found = ingress(service);
        if spec.type_.as_deref() != Some("LoadBalancer") {
            assert!(
                found.is_empty() && pool_annotation(service).is_none(),
                "{context}: {name} has {found:?}"
            );
            continue;
        }
        assert_eq!(found.len(), 1, "{context}: {name} has {found:?}");
        assert_eq!(pool_annotation(service), Some("first"), "{context}: {name}");
        assert!(found[0].starts_with("172.16.16.1"), "{context}: {name} has {found:?}");
        assert!(taken.insert(found[0].clone()), "{context}: {} is assigned twice", found[0]);
    }
    let pool = get_pool(api, "first");
    let status = pool.status.expect("the controller wrote one");
    let assigned = i64::try_from(taken.len()).expect("a few");
    assert_eq!((status.assigned_ipv4, status.available_ipv4), (assigned, 100 - assigned), "{context}");
    assert_eq!(status.observed_generation, pool.metadata.generation, "{context}");
    assert_eq!(ready(api, "first").map(|ready| ready.0).as_deref(), Some("True"), "{context}");
}

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
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let api = cluster(1);
    let begun = Instant::now();
    api.inject(Match::any().resource("services").verb("patch"), Fault::too_many_requests(7), 2);
    let _running = Running::start(&api);
    seconds(60).await;
    assert_right(&api, "after two refusals");
    let times: Vec<_> = status_writes(&api).iter().map(|write| write.at).collect();
    assert_eq!(times.len(), 3, "{times:?}");
    for pair in times.windows(2) {
        let waited = pair[1].saturating_sub(pair[0]);
        assert!(waited >= Duration::from_secs(7) && waited < Duration::from_secs(20), "{waited:?}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(14));
}

#[tokio::test(start_paused = true)]
async fn lost_replies_have_no_second_effect() {
    let api = cluster(1);
    for resource in ["services", "ipaddresspools", "l2advertisements", "events", "secrets"] {
        for verb in ["create", "patch"] {
            api.inject(Match::any().resource(resource).verb(verb), Fault::LostReply, 1);
        }
    }
    let _running = Running::start(&api);
    seconds(120).await;
    assert_right(&api, "after lost replies");
    let states = api.history::<core::Service>(NS, "web-0").expect("they decode");
    assert_eq!(states.len(), 2, "created, and assigned once");
    let secrets = api.list::<core::Secret>(OWN).expect("they decode");
    assert_eq!(secrets.len(), 1);
    let events = api.list::<core::Event>(NS).expect("they decode");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].count.unwrap_or(1), 1);
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
async fn l10_a_hung_watch_is_noticed_within_a_minute() {
    let api = cluster(0);
    let _running = Running::start(&api);
    for turn in 0..3 {
        // At any phase of a watch's life.
        seconds(17 * turn + 3).await;
        api.hang_watches(&Match::any());
        let name = format!("late-{turn}");
        api.create(&service(&name)).expect("new");
        sleep(L10).await;
        assert_right(&api, &name);
    }
}

#[tokio::test(start_paused = true)]
async fn cut_expired_and_slow_watches_lose_nothing() {
    let api = cluster(1);
    let _running = Running::start(&api);
    seconds(5).await;
    let watches = || Match::any().verb("watch");
    for turn in 0..8 {
        api.inject(watches(), Fault::ExpiredWatch, turn % 3);
        let slow = Fault::SlowWatch { delay: Duration::from_secs(2), burst: Duration::from_secs(5) };
        api.inject(watches(), slow, 2);
        api.cut_watches(&Match::any());
        let name = format!("late-{turn}");
        api.create(&service(&name)).expect("new");
        if turn % 2 == 1 {
            let plain = json!({"spec": {"type": "ClusterIP"}});
            api.merge::<core::Service>(NS, &format!("late-{}", turn - 1), plain).expect("it is there");
        }
        seconds(100).await;
        assert_right(&api, &name);
    }
    // For real: what was missed is no longer kept.
    api.set_gone(true);
    api.delete::<core::Service>(NS, "web-0").expect("it is there");
    api.create(&service("web-1")).expect("new");
    api.compact();
    api.set_gone(false);
    seconds(60).await;
    assert_right(&api, "after a compaction");
}

#[tokio::test(start_paused = true)]
async fn a_stale_list_takes_no_address_away() {
    let api = cluster(3);
    let _running = Running::start(&api);
    seconds(5).await;
    let held: BTreeMap<_, _> =
        (0..3).map(|index| format!("web-{index}")).map(|name| (name.clone(), address(&api, &name))).collect();
    // The list shows the Services as they were before they had addresses.
    api.inject(Match::any().verb("list").resource("services"), Fault::StaleList(12), 1);
    api.inject(Match::any().verb("watch").resource("services"), Fault::ExpiredWatch, 1);
    api.cut_watches(&Match::any().resource("services"));
    seconds(60).await;
    assert_eq!(api.pending_faults(), 0);
    for (name, held) in &held {
        let states = api.history::<core::Service>(NS, name).expect("they decode");
        let addresses: Vec<_> = states.iter().flatten().map(|state| ingress(state).join(",")).collect();
        assert_eq!(addresses, ["", held.as_str()], "{name} had its address written once and kept it");
    }
    assert_right(&api, "after a stale list");
}

#[tokio::test(start_paused = true)]
async fn an_absent_api_server_is_waited_for() {
    let api = cluster(2);
    api.set_gone(true);
    let running = Running::start(&api);
    seconds(900).await;
    assert!(!running.readiness.report().ready);
    api.set_gone(false);
    seconds(70).await;
    assert_right(&api, "after it came");
    let held = [address(&api, "web-0"), address(&api, "web-1")];
    // Away for an hour, in which a Service comes and another goes.
    api.set_gone(true);
    api.create(&service("late")).expect("new");
    api.delete::<core::Service>(NS, "web-1").expect("it is there");
    seconds(3_600).await;
    api.set_gone(false);
    seconds(70).await;
    assert_right(&api, "after it came back");
    assert_eq!(address(&api, "web-0"), held[0], "what is held is kept");
    assert!(running.readiness.report().ready, "{}", running.readiness.report().text);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_holds_nothing_up() {
    let api = cluster(3);
    for resource in ["services", "ipaddresspools", "secrets", "events"] {
        api.inject(Match::any().resource(resource), Fault::Hang, 1);
        api.inject(Match::any().resource(resource).verb("watch"), Fault::Hang, 1);
    }
    api.inject(Match::any().resource("services").subresource("status"), Fault::Hang, 2);
    let running = Running::start(&api);
    sleep(SETTLED).await;
    assert_right(&api, "after hung requests");
    assert!(running.readiness.report().ready, "{}", running.readiness.report().text);
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
async fn every_request_is_granted_and_every_grant_is_needed() {
    let api = cluster(2);
    let _running = Running::start(&api);
    seconds(5).await;
    // The same address assigned again is the same Event, counted by a patch.
    for kind in ["ClusterIP", "LoadBalancer"] {
        api.merge::<core::Service>(NS, "web-1", json!({"spec": {"type": kind}})).expect("it is there");
        seconds(30).await;
    }
    let pin = json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    api.merge::<IPAddressPool>(OWN, "first", pin).expect("it is there");
    seconds(30).await;
    let (refused, unused) = rbac_mismatch(&account("controller"), &api.requests());
    assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");
    assert!(unused.is_empty(), "the manifests grant these for nothing: {unused:?}");
}

#[tokio::test(start_paused = true)]
async fn g68_under_metallbs_own_rbac_the_status_is_replaced() {
    let subject = json!([{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": "controller"}]);
    let role = |kind: &str, rules: serde_json::Value| json!({"kind": kind, "metadata": {"name": "stock", "namespace": NAMESPACE}, "rules": rules});
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
    let patches = api.writes().into_iter().filter(|write| write.verb == "patch" && write.status == Some(403));
    assert!(patches.count() <= 6, "it is asked once or twice for each kind, not each time");
}

/// One step of what people do with their Services.
fn disturb(api: &FakeApi, step: u64, seed: u64) {
    let name = format!("web-{}", (step * 7 + seed) % 9);
    let there = api.get::<core::Service>(NS, &name).expect("it decodes").is_some();
    let done = match (step * 5 + seed / 3) % 6 {
        0 if there => api.delete::<core::Service>(NS, &name),
        1 if there => api.merge::<core::Service>(NS, &name, json!({"spec": {"type": "ClusterIP"}})).map(drop),
        2 if there => {
            let edit = json!({"status": {"loadBalancer": {"ingress": [{"ip": "172.16.16.150"}]}}});
            // Only a load balancer has a status to edit.
            let _ = api.merge_status::<core::Service>(NS, &name, edit);
            Ok(())
        }
        _ if there => {
            let labels = json!({"metadata": {"labels": {"step": step.to_string()}},
                "spec": {"type": "LoadBalancer"}});
            api.merge::<core::Service>(NS, &name, labels).map(drop)
        }
        _ => api.create(&service(&name)).map(drop),
    };
    done.expect("nobody else deletes Services");
}

#[tokio::test(start_paused = true)]
async fn random_faults_leave_right_and_unique_statuses() {
    for seed in 0..30 {
        let api = cluster(4);
        api.run_plan(FaultPlan::new(seed, Duration::from_secs(900)));
        let mut running = Running::start(&api);
        for step in 1..60 {
            disturb(&api, step, seed);
            if step % 25 == 0 {
                running.stop().await;
                running = Running::start(&api);
            }
            seconds(15).await;
        }
        sleep(SETTLED).await;
        assert_right(&api, &format!("seed {seed}"));
        assert!(running.readiness.report().ready, "seed {seed}: {}", running.readiness.report().text);
        let writes = api.writes().len();
        seconds(600).await;
        assert_eq!(api.writes().len(), writes, "seed {seed}: it has come to rest");
        running.stop().await;
    }
}
