//! Watches and faults: kube-runtime's watcher and reflector driven against the
//! fake as they would be against a real API server.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_api::{FakeApi, Fault, FaultPlan, Match, Rbac};
use futures::{StreamExt as _, TryStreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

const USER: &str = "system:serviceaccount:lb:watcher";

fn fake() -> FakeApi {
    FakeApi::builder().build().expect("our own CRDs are implemented")
}

fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default", "labels": {"v": value}},
        "data": {"v": value}}))
    .expect("the test's own object decodes")
}

fn set(api: &FakeApi, name: &str, value: &str) {
    let patch = json!({"metadata": {"labels": {"v": value}}, "data": {"v": value}});
    api.merge::<ConfigMap>(Some("default"), name, patch).expect("it is there");
}

fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

/// What a raw watch says, one word for each event, until it ends or a minute is over.
async fn told(client: &Client, params: WatchParams, from: &str) -> Vec<String> {
    let stream = maps(client.clone()).watch(&params, from).await.expect("watches begin with 200");
    pin_mut!(stream);
    let mut words = Vec::new();
    let minute = sleep(Duration::from_secs(65));
    pin_mut!(minute);
    loop {
        let event = tokio::select! {
            event = stream.try_next() => event,
            () = &mut minute => return words,
        };
        words.push(match event {
            Ok(None) => return words,
            Ok(Some(WatchEvent::Added(map))) => format!("+{}", map.name_any()),
            Ok(Some(WatchEvent::Modified(map))) => format!("~{}", map.name_any()),
            Ok(Some(WatchEvent::Deleted(map))) => {
                format!("-{}@{}", map.name_any(), map.resource_version().unwrap_or_default())
            }
            Ok(Some(WatchEvent::Bookmark(mark))) => {
                let end = mark.metadata.annotations.contains_key("k8s.io/initial-events-end");
                format!("{}@{}", if end { "end" } else { "mark" }, mark.metadata.resource_version)
            }
            Ok(Some(WatchEvent::Error(status))) => format!("error {}", status.code),
            Err(_) => "broken".to_owned(),
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_came_after_its_revision() {
    let api = fake();
    let client = api.client(USER);
    api.create(&map("a", "1")).expect("new");
    let from = api.revision().to_string();
    api.create(&map("b", "1")).expect("new");
    set(&api, "a", "2");
    set(&api, "b", "2");
    api.delete::<ConfigMap>(Some("default"), "b").expect("it is there");
    let deleted = api.revision();
    let params = WatchParams::default().timeout(5).disable_bookmarks();
    assert_eq!(told(&client, params.clone(), &from).await, ["+b", "~a", "~b", &format!("-b@{deleted}")]);
    // What leaves the selection is deleted, what enters it is added.
    let selected = params.clone().labels("v=2");
    assert_eq!(told(&client, selected, &from).await, ["+a", "+b", &format!("-b@{deleted}")]);
    let selected = params.clone().labels("v=1");
    let (a, b) = (deleted - 2, deleted - 1);
    assert_eq!(told(&client, selected, &from).await, ["+b", &format!("-a@{a}"), &format!("-b@{b}")]);
    let one = params.clone().fields("metadata.name=a");
    assert_eq!(told(&client, one, &from).await, ["~a"]);
    // Without a revision everything that stands comes first.
    assert_eq!(told(&client, params, "0").await, ["+a"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_and_marks_where_it_is() {
    let api = fake();
    let client = api.client(USER);
    api.create(&map("a", "1")).expect("new");
    let params = WatchParams::default().labels("v=1");
    // What is not selected moves the bookmark.
    let write = async |name: &str| {
        sleep(Duration::from_secs(1)).await;
        api.create(&map(name, "2")).expect("new");
    };
    let (begin, begun) = (api.revision().to_string(), Instant::now());
    let (words, ()) = futures::join!(told(&client, params.clone().timeout(30), &begin), write("b"));
    assert_eq!(words, [format!("mark@{}", api.revision())], "one bookmark at the end");
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    let (words, ()) = futures::join!(told(&client, params.clone().timeout(290), &begin), write("c"));
    assert_eq!(words, [format!("mark@{}", api.revision())], "one each minute");
    let now = api.revision();
    let initial = params.clone().initial_events().timeout(5);
    assert_eq!(told(&client, initial, "0").await, ["+a", &format!("end@{now}")]);
    let words = told(&client, params.timeout(290), &begin).await;
    assert_eq!(words, [""; 0], "there is nothing newer than when it was opened");
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_takes_the_revisions_back() {
    let api = fake();
    let client = api.client(USER);
    api.create(&map("a", "1")).expect("new");
    let backup = api.backup();
    let then = api.revision();
    set(&api, "a", "2");
    api.create(&map("b", "2")).expect("new");
    let from = api.revision().to_string();
    let restart = async {
        sleep(Duration::from_secs(1)).await;
        api.restore(&backup);
    };
    let (words, ()) = futures::join!(told(&client, WatchParams::default(), &from), restart);
    assert_eq!(words, ["broken"]);
    assert_eq!(api.revision(), then);
    assert_eq!(truth(&api), BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    // What a watch from the future is told on a real server as well (`semantics/table.rs`).
    set(&api, "a", "3");
    assert_eq!(told(&client, WatchParams::default().timeout(50), &from).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_compacted_revision_is_answered_in_the_stream() {
    let api = fake();
    let client = api.client(USER);
    for name in ["a", "b", "c"] {
        api.create(&map(name, "1")).expect("new");
    }
    let page = maps(client.clone()).list(&ListParams::default().limit(1)).await.expect("a list");
    let token = page.metadata.continue_.expect("there is more");
    let from = page.metadata.resource_version.expect("lists have one");
    api.compact();
    assert_eq!(told(&client, WatchParams::default(), &from).await, ["error 410"]);
    let next = maps(client).list(&ListParams::default().limit(1).continue_token(&token)).await;
    assert!(
        matches!(next, Err(kube::Error::Api(status)) if status.code == 410 && status.reason == "Expired")
    );
}

/// A reflector over ConfigMaps, and how often it listed.
fn reflect(api: &FakeApi, config: watcher::Config) -> reflector::Store<ConfigMap> {
    let (store, writer) = reflector::store();
    let stream = watcher(maps(api.client(USER)), config).default_backoff().reflect(writer);
    tokio::spawn(stream.for_each(|_| std::future::ready(())));
    store
}

fn values(store: &reflector::Store<ConfigMap>) -> BTreeMap<String, String> {
    let value =
        |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("v").cloned()).unwrap_or_default();
    store.state().iter().map(|map| (map.name_any(), value(map))).collect()
}

fn truth(api: &FakeApi) -> BTreeMap<String, String> {
    let maps = api.list::<ConfigMap>(Some("default")).expect("they decode");
    maps.iter().map(|map| (map.name_any(), map.labels()["v"].clone())).collect()
}

fn lists(api: &FakeApi) -> usize {
    api.requests().iter().filter(|request| request.verb == "list").count()
}

#[tokio::test(start_paused = true)]
async fn kubes_reflector_follows_and_lists_again_after_410() {
    let api = fake();
    api.create(&map("a", "1")).expect("new");
    let store = reflect(&api, watcher::Config::default().page_size(2));
    store.wait_until_ready().await.expect("the reflector runs");
    for name in ["b", "c", "d"] {
        api.create(&map(name, "1")).expect("new");
    }
    set(&api, "a", "2");
    api.delete::<ConfigMap>(Some("default"), "c").expect("it is there");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(values(&store), truth(&api));
    assert_eq!(lists(&api), 1);
    // The watch breaks, and while it is away its revision is compacted.
    api.set_gone(true);
    sleep(Duration::from_secs(1)).await;
    set(&api, "b", "3");
    api.delete::<ConfigMap>(Some("default"), "d").expect("it is there");
    api.compact();
    api.set_gone(false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(values(&store), truth(&api));
    assert!(lists(&api) > 1, "it had to list again");
    assert_eq!(api.open_watches(&Match::any().resource("configmaps")), 1);
}

#[tokio::test(start_paused = true)]
async fn kubes_streaming_lists_work_too() {
    let api = fake();
    api.create(&map("a", "1")).expect("new");
    let store = reflect(&api, watcher::Config::default().streaming_lists());
    store.wait_until_ready().await.expect("the reflector runs");
    api.create(&map("b", "1")).expect("new");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(values(&store), truth(&api));
    assert_eq!(lists(&api), 0);
}

#[tokio::test(start_paused = true)]
async fn cut_hung_and_slow_watches() {
    let api = fake();
    let watches = Match::any().resource("configmaps").verb("watch");
    api.create(&map("a", "1")).expect("new");
    let store = reflect(&api, watcher::Config::default().timeout(50));
    store.wait_until_ready().await.expect("the reflector runs");
    sleep(Duration::from_secs(1)).await;
    api.cut_watches(&watches);
    set(&api, "a", "2");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(values(&store), truth(&api), "a cut watch is opened again");
    api.hang_watches(&watches);
    set(&api, "a", "3");
    sleep(Duration::from_secs(30)).await;
    assert_ne!(values(&store), truth(&api), "a hung one says nothing");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(values(&store), truth(&api), "until its client gives it up");
    // The next one is late by two seconds, and then only speaks every ten.
    let slow = Fault::SlowWatch { delay: Duration::from_secs(2), burst: Duration::from_secs(10) };
    api.inject(watches.clone(), slow, 1);
    api.cut_watches(&watches);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(api.pending_faults(), 0);
    set(&api, "a", "4");
    sleep(Duration::from_secs(1)).await;
    assert_ne!(values(&store), truth(&api));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(values(&store), truth(&api));
}

#[tokio::test(start_paused = true)]
async fn injected_faults_strike_once_each() {
    let api = fake();
    let maps = maps(api.client(USER));
    let create = |name: &'static str| {
        let maps = maps.clone();
        async move { maps.create(&PostParams::default(), &map(name, "1")).await }
    };
    api.inject(Match::any().verb("create"), Fault::too_many_requests(7), 1);
    match create("a").await {
        Err(kube::Error::Api(status)) => {
            assert_eq!(
                (status.code, status.details.map(|details| details.retry_after_seconds)),
                (429, Some(7))
            );
        }
        other => panic!("expected 429, got {other:?}"),
    }
    create("a").await.expect("it struck once");
    api.inject(Match::any().name("a"), Fault::LostReply, 1);
    let patch = Patch::Merge(json!({"data": {"v": "2"}}));
    let lost = maps.patch("a", &PatchParams::default(), &patch).await;
    assert!(matches!(lost, Err(kube::Error::Service(_))), "{lost:?}");
    let stored = api.get::<ConfigMap>(Some("default"), "a").expect("it decodes").expect("it is there");
    assert_eq!(stored.data.expect("it has data")["v"], "2", "done all the same");
    let last = api.writes().pop().expect("there were writes");
    assert_eq!((last.status, last.committed), (None, true));
    api.inject(Match::any(), Fault::Disconnect, 1);
    assert!(create("b").await.is_err());
    assert!(api.get::<ConfigMap>(Some("default"), "b").expect("no fault for the test").is_none());
    api.inject(Match::any().verb("list"), Fault::StaleList(1), 1);
    let stale = maps.list(&ListParams::default()).await.expect("a list");
    assert_eq!(stale.items[0].data.as_ref().expect("it has data")["v"], "1");
    api.inject(Match::any(), Fault::Hang, 1);
    assert!(timeout(Duration::from_secs(900), create("c")).await.is_err(), "no answer");
    api.inject(Match::any(), Fault::Delay(Duration::from_secs(9)), 1);
    let begun = Instant::now();
    create("c").await.expect("late, but done");
    assert_eq!(begun.elapsed(), Duration::from_secs(9));
    api.set_gone(true);
    assert!(matches!(create("d").await, Err(kube::Error::Service(_))));
    api.clear_faults();
    create("d").await.expect("it is back");
}

#[tokio::test(start_paused = true)]
async fn refusals_follow_the_rbac_manifests() {
    let objects = [
        json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [
            {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]},
            {"apiGroups": [""], "resources": ["services/status"], "verbs": ["update"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]},
        ]}),
        json!({"kind": "ClusterRoleBinding", "metadata": {"name": "r"},
            "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "lb", "name": "watcher"}]}),
    ];
    let rbac = Rbac::from_objects(&objects).expect("the role is there");
    let api = FakeApi::builder().rbac(rbac).build().expect("our own CRDs are implemented");
    let created: Service = api
        .create(
            &serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "default"},
                "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}))
            .expect("the test's own object decodes"),
        )
        .expect("a test may do everything");
    let services: Api<Service> = Api::namespaced(api.client(USER), "default");
    let forbidden = |result: kube::Result<Service>| {
        assert!(matches!(&result, Err(kube::Error::Api(status)) if status.code == 403), "{result:?}");
    };
    services.list(&ListParams::default()).await.expect("granted");
    services.replace_status("s", &PostParams::default(), &created).await.expect("granted");
    forbidden(services.get("s").await);
    forbidden(services.replace("s", &PostParams::default(), &created).await);
    let patch = Patch::Merge(json!({"status": {}}));
    forbidden(services.patch_status("s", &PatchParams::default(), &patch).await);
    // A format that is not served is forbidden first.
    let patch = Patch::Strategic(json!({"status": {}}));
    forbidden(services.patch_status("s", &PatchParams::default(), &patch).await);
    // An apply that would create needs both verbs.
    let apply =
        maps(api.client(USER)).patch("a", &PatchParams::apply("m"), &Patch::Apply(map("a", "1"))).await;
    assert!(matches!(apply, Err(kube::Error::Api(status)) if status.code == 403));
    let admin = maps(api.client(FakeApi::ADMIN));
    admin.create(&PostParams::default(), &map("a", "1")).await.expect("the administrator may");
}

#[tokio::test(start_paused = true)]
async fn a_seed_gives_the_same_faults_and_they_end() {
    let run = async |seed| {
        let api = fake();
        let maps = maps(api.client(USER));
        api.run_plan(FaultPlan::new(seed, Duration::from_secs(300)));
        let mut seen = String::new();
        for index in 0..100 {
            let name = format!("m{index}");
            let result =
                timeout(Duration::from_secs(10), maps.create(&PostParams::default(), &map(&name, "1"))).await;
            seen.push(match result {
                Ok(Ok(_)) => '.',
                Ok(Err(kube::Error::Api(_))) => 'r',
                Ok(Err(_)) => 'd',
                Err(_) => 'h',
            });
            sleep(Duration::from_secs(3)).await;
        }
        sleep(Duration::from_secs(100)).await;
        maps.list(&ListParams::default()).await.expect("the plan is over");
        seen
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    assert!(['.', 'r', 'd'].iter().all(|kind| first.contains(*kind)), "{first}");
}

#[tokio::test(start_paused = true)]
async fn kubes_reflector_agrees_in_the_end_whatever_happened() {
    for seed in 0..20 {
        let api = fake();
        api.run_plan(FaultPlan { hang: 0.0, ..FaultPlan::new(seed, Duration::from_secs(600)) });
        let store = reflect(&api, watcher::Config::default().timeout(50));
        for index in 0..60_u64 {
            let name = format!("m{}", index % 7);
            match (index * 31 + seed) % 4 {
                0 if api.delete::<ConfigMap>(Some("default"), &name).is_ok() => {}
                _ if api.create(&map(&name, "0")).is_ok() => {}
                _ => set(&api, &name, &index.to_string()),
            }
            sleep(Duration::from_secs(10)).await;
        }
        sleep(Duration::from_secs(200)).await;
        assert_eq!(values(&store), truth(&api), "seed {seed}");
    }
}
