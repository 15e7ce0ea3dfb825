//! The watch against a server that answers by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::admin::readiness::Readiness;

enum Answer {
    /// A status code and an object.
    Object(u16, Value),
    /// Events, then the end of the watch.
    Events(Vec<Value>),
    /// Bytes that are no event.
    Garbage,
    /// None, ever.
    Nothing,
    /// A connection is refused.
    Refused,
}

/// What each request's query must contain, and the answer to it.
type Script = Vec<(&'static str, Answer)>;

struct Scripted {
    watch: Watch<ConfigMap, String>,
    left: Arc<Mutex<VecDeque<(&'static str, Answer)>>>,
    /// When the requests were made.
    asked: Arc<Mutex<Vec<Instant>>>,
    readiness: Readiness,
}

fn scripted(script: Script) -> Scripted {
    let left = Arc::new(Mutex::new(VecDeque::from(script)));
    let asked = Arc::<Mutex<Vec<Instant>>>::default();
    let (answers, times) = (Arc::clone(&left), Arc::clone(&asked));
    let service = tower::service_fn(move |request: Request<Body>| {
        times.lock().expect("no test panics in here").push(Instant::now());
        let next = answers.lock().expect("no test panics in here").pop_front();
        let query = request.uri().query().unwrap_or_default().to_owned();
        async move {
            let Some((expected, answer)) = next else { return std::future::pending().await };
            assert!(query.contains(expected), "{query} has no {expected}");
            let (code, body) = match answer {
                Answer::Object(code, object) => (code, object.to_string()),
                Answer::Events(events) => (200, events.iter().map(|event| format!("{event}\n")).collect()),
                Answer::Garbage => (200, "{\"type\":\"ADDED\",\"object\":7}\n".to_owned()),
                Answer::Nothing => return std::future::pending().await,
                Answer::Refused => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
            };
            let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
            Ok(response.expect("a code and a body make a response"))
        }
    });
    let readiness = Readiness::default();
    let api = Api::all(connectivity::observed(Client::new(service, "default"), "http://test"));
    let name = |object: ConfigMap| object.metadata.name.unwrap_or_default();
    Scripted { watch: Watch::new(api, None, name, readiness.gate("watch", "")), left, asked, readiness }
}

impl Scripted {
    async fn next(&mut self) -> Change<String> {
        timeout(Duration::from_secs(120), self.watch.next()).await.expect("the script leads to a change")
    }

    async fn expect_list(&mut self, names: &[&str]) {
        let Change::List(seen) = self.next().await else { panic!("a list was expected") };
        let found: Vec<_> = seen.into_iter().map(|seen| seen.key.name).collect();
        assert_eq!(found, names);
    }

    async fn expect_applied(&mut self, name: &str) {
        let Change::Applied(seen) = self.next().await else { panic!("a change was expected") };
        assert_eq!(seen.object.as_deref(), Ok(name));
    }

    fn is_over(&self) -> bool {
        self.left.lock().expect("no test panics in here").is_empty()
    }
}

fn object(name: &str, version: u32) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default", "resourceVersion": version.to_string() } })
}

fn list(version: u32, names: &[&str]) -> Answer {
    let items: Vec<Value> = names.iter().map(|name| object(name, version)).collect();
    Answer::Object(200, json!({ "metadata": { "resourceVersion": version.to_string() }, "items": items }))
}

fn added(name: &str, version: u32) -> Value {
    json!({ "type": "ADDED", "object": object(name, version) })
}

fn status(code: u16) -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": code, "reason": "Because", "message": "no" })
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_after_the_last_event() {
    let bookmark = json!({ "type": "BOOKMARK", "object": {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "resourceVersion": "9" } } });
    let deleted = json!({ "type": "DELETED", "object": object("a", 12) });
    let mut test = scripted(vec![
        ("limit=500", list(5, &["a"])),
        ("resourceVersion=5", Answer::Events(vec![added("b", 7)])),
        ("resourceVersion=7", Answer::Events(vec![bookmark])),
        ("resourceVersion=9", Answer::Events(vec![deleted])),
        ("resourceVersion=12", Answer::Events(vec![added("c", 13)])),
    ]);
    test.expect_list(&["a"]).await;
    assert!(test.readiness.report().ready);
    test.expect_applied("b").await;
    assert!(matches!(test.next().await, Change::Deleted(key) if key.name == "a"));
    test.expect_applied("c").await;
    assert!(test.is_over());
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_missed_is_listed_again() {
    for expired in [
        Answer::Object(410, status(410)),
        Answer::Events(vec![json!({ "type": "ERROR", "object": status(410) })]),
        Answer::Garbage,
    ] {
        let mut test = scripted(vec![
            ("limit=500", list(5, &["a"])),
            ("resourceVersion=5", expired),
            ("limit=500", list(8, &["b"])),
        ]);
        test.expect_list(&["a"]).await;
        test.expect_list(&["b"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_request_is_noticed_within_a_minute() {
    let mut test = scripted(vec![
        ("limit=500", Answer::Nothing),
        ("limit=500", list(5, &["a"])),
        ("resourceVersion=5", Answer::Nothing),
        ("resourceVersion=5", Answer::Events(vec![added("b", 6)])),
    ]);
    let started = Instant::now();
    test.expect_list(&["a"]).await;
    assert!(started.elapsed() < Duration::from_secs(60));
    let started = Instant::now();
    test.expect_applied("b").await;
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn g70_without_the_verb_watch_it_polls() {
    let refused = || ("resourceVersion=5", Answer::Object(403, status(403)));
    let listed = || ("limit=500", list(5, &["a"]));
    let refusals = (0..REFUSALS + 1).flat_map(|_| [listed(), refused()]);
    let mut test = scripted(refusals.chain([("limit=500", list(7, &["a", "b"]))]).collect());
    let started = Instant::now();
    for _ in 0..REFUSALS {
        test.expect_list(&["a"]).await;
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "a server that has just started allows it soon: {took:?}");
    test.expect_list(&["a"]).await;
    test.expect_list(&["a", "b"]).await;
    assert_eq!((started.elapsed() - took).as_secs(), 2 * POLL.as_secs());
    assert!(test.readiness.report().ready, "what was listed stays in force");
}

#[tokio::test(start_paused = true)]
async fn a_missing_crd_is_named() {
    let mut test = scripted(vec![("limit=500", Answer::Object(404, status(404)))]);
    let found = timeout(Duration::from_secs(5), test.watch.next()).await;
    assert!(found.is_err(), "there is nothing to list");
    let told = test.readiness.report().text;
    assert!(told.contains("its CRD is in manifests/crds"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_backoff_and_told() {
    let failing = (0..8).map(|_| ("limit=500", Answer::Object(503, status(503))));
    let mut test = scripted(failing.chain([("limit=500", list(5, &["a"]))]).collect());
    let started = Instant::now();
    let readiness = test.readiness.clone();
    let told = tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        readiness.report().text
    });
    test.expect_list(&["a"]).await;
    let elapsed = started.elapsed().as_secs();
    assert!((30..120).contains(&elapsed), "8 failures took {elapsed} s");
    let told = told.await.expect("it only reads");
    assert!(told.contains("Because (503): no"), "{told}");
}

/// The seconds between the requests from the one with this index on.
fn pauses(test: &Scripted, from: usize) -> Vec<f64> {
    let asked = test.asked.lock().expect("no test panics in here");
    asked[from..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_is_answered_after_an_outage_asks_again_soon() {
    const REFUSED: usize = 8;
    let first = [("limit=500", list(5, &["a"]))];
    let away = (0..REFUSED).map(|_| ("resourceVersion=5", Answer::Refused));
    // It is there, and not ready.
    let busy = (0..6).map(|turn| ("resourceVersion=5", Answer::Object([429, 503][turn % 2], status(429))));
    let back = [("resourceVersion=5", Answer::Events(vec![added("b", 6)]))];
    let mut test = scripted(first.into_iter().chain(away).chain(busy).chain(back).collect());
    test.expect_list(&["a"]).await;
    test.expect_applied("b").await;
    assert!(pauses(&test, REFUSED)[0] > 5.0, "by then the delay has grown: {:?}", pauses(&test, 0));
    let pauses = pauses(&test, REFUSED + 1);
    assert_eq!(pauses.len(), 6);
    assert!(pauses[0] <= 0.8 && pauses.iter().all(|pause| *pause <= 1.6), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_began_ends_the_backoff_even_if_it_breaks_unheard() {
    let first = [("limit=500", list(5, &["a"]))];
    let away = (0..8).map(|_| ("resourceVersion=5", Answer::Refused));
    let back = [
        ("resourceVersion=5", Answer::Events(Vec::new())),
        ("resourceVersion=5", Answer::Events(vec![added("b", 6)])),
    ];
    let mut test = scripted(first.into_iter().chain(away).chain(back).collect());
    test.expect_list(&["a"]).await;
    test.expect_applied("b").await;
    let pause = *pauses(&test, 0).last().expect("there were requests");
    assert!(pause <= 0.8, "{pause}");
}

#[tokio::test(start_paused = true)]
async fn pages_are_one_list_and_a_bad_object_hides_no_other() {
    let bad = json!({ "metadata": { "name": "bad", "generation": 3 }, "data": "no map" });
    let page =
        json!({ "metadata": { "continue": "more", "resourceVersion": "5" }, "items": [object("a", 1), bad] });
    let mut test =
        scripted(vec![("limit=500", Answer::Object(200, page)), ("continue=more", list(5, &["b"]))]);
    let Change::List(seen) = test.next().await else { panic!("a list was expected") };
    let names: Vec<_> = seen.iter().map(|seen| seen.key.name.as_str()).collect();
    assert_eq!(names, ["a", "bad", "b"]);
    let problem = seen[1].object.as_ref().expect_err("its data is no map");
    assert_eq!(problem.generation, 3);
    assert!(problem.error.contains("no map"), "{}", problem.error);
}
