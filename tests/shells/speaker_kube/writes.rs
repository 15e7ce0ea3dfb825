//! What it writes and asks for: Events, and nothing that it has no right to.

use std::time::Duration;

use fake_api::{FakeApi, Fault, Match};
use ferrolb_api::ServiceKey;
use ferrolb_api::crd::{IPAddressPool, ServiceL2Status};
use ferrolb_api::l2_status::{L2StatusContent, Subject};
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use speaker_core::{L2StatusChange, Report, UnheardPeers};
use tests::objects::NAMESPACE;

use super::setup::{SETTLED, Shell, cluster};
use crate::support::{account, rbac_mismatch};

#[tokio::test(start_paused = true)]
async fn the_speakers_requests_are_granted_and_each_grant_is_needed() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let pin = json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    api.merge::<IPAddressPool>(Some(NAMESPACE), "first", pin).expect("it is there");
    for _ in 0..2 {
        shell.event("uid", "announcing from node \"wk01\"");
        shell.run(Duration::from_secs(30)).await;
    }
    let subject = Subject { node: "wk01".into(), service: ServiceKey::new("default", "web") };
    let content = L2StatusContent { subject: subject.clone(), interfaces: Vec::new(), announced: None };
    let write = |api: &FakeApi| {
        let object: Option<ServiceL2Status> = api.get(Some(NAMESPACE), "l2-web").expect("it decodes");
        let resource_version = object.and_then(|object| object.metadata.resource_version);
        let resource_version = resource_version.expect("it was created");
        L2StatusChange::Write { content: content.clone(), since: None, resource_version }
    };
    let create = |_: &FakeApi| L2StatusChange::Create(subject.clone());
    let delete = |_: &FakeApi| L2StatusChange::Delete { uid: None };
    for change in [&create as &dyn Fn(&FakeApi) -> L2StatusChange, &write, &delete] {
        let report = Report::L2Status { name: "l2-web".to_owned(), change: change(&api) };
        shell.reports.try_send(report).expect("the channel has room");
        shell.run(Duration::from_secs(30)).await;
    }
    let (refused, unused) = rbac_mismatch(&account("speaker"), &api.requests());
    assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");
    assert!(unused.is_empty(), "the manifests grant these for nothing: {unused:?}");
}

#[tokio::test(start_paused = true)]
async fn f30_events_are_written_once_and_counted() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    let creates = Match::any().verb("create").resource("events");
    api.inject(creates.clone(), Fault::LostReply, 1);
    api.inject(creates.clone(), Fault::too_many_requests(5), 1);
    api.inject(creates, Fault::unavailable(), 2);
    for _ in 0..3 {
        shell.event("uid", "announcing from node \"wk01\" with protocol \"layer2\"");
        shell.run(Duration::from_secs(60)).await;
    }
    shell.event("uid", "something else");
    shell.run(SETTLED).await;
    let events = api.list::<core::Event>(Some("default")).expect("they decode");
    assert_eq!(events.len(), 2, "{events:?}");
    let counted = events.iter().find(|event| event.count == Some(3)).expect("three became one");
    assert_eq!(counted.reason.as_deref(), Some("nodeAssigned"));
    assert_eq!(counted.type_.as_deref(), Some("Normal"));
    let object = &counted.involved_object;
    assert_eq!((object.kind.as_deref(), object.name.as_deref()), (Some("Service"), Some("web")));
    assert_eq!(object.uid.as_deref(), Some("uid"));
    let source = counted.source.clone().unwrap_or_default();
    assert_eq!(
        (source.component.as_deref(), source.host.as_deref()),
        (Some("metallb-speaker"), Some("wk01"))
    );
    // A server without an answer holds nothing up.
    api.inject(Match::any().verb("create"), Fault::Hang, 1);
    shell.event("uid", "after a hang");
    shell.run(SETTLED).await;
    assert_eq!(api.list::<core::Event>(Some("default")).expect("they decode").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_event_is_written_at_the_end() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    shell.trigger.shut_down();
    shell.event("uid", "leaving");
    drop(shell.reports);
    shell.task.await.expect("kube.rs ends in order");
    assert_eq!(api.list::<core::Event>(Some("default")).expect("they decode").len(), 1);
    assert_eq!(api.open_watches(&Match::any()), 0);
}

#[tokio::test(start_paused = true)]
async fn speakers_that_nobody_hears_are_an_event_on_the_own_pod() {
    let api = cluster();
    let pod: core::Pod = api.get(Some(NAMESPACE), "speaker-wk01").expect("it decodes").expect("it is there");
    api.create(&tests::objects::typed::<core::Pod>(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "speaker-7d", "namespace": NAMESPACE}, "spec": pod.spec})))
        .expect("it is new");
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let silent = ["wk02".into()].into();
    let unheard = UnheardPeers { port: 7946, silent, is_alone: true, ..UnheardPeers::default() };
    // An API server that is gone for a while delays the Event and nothing else.
    api.inject(Match::any().verb("create").resource("events"), Fault::unavailable(), 2);
    for report in [unheard, UnheardPeers::default()] {
        shell.reports.try_send(Report::Unheard(report)).expect("the channel has room");
        shell.run(SETTLED).await;
    }
    let own: core::Pod = api.get(Some(NAMESPACE), "speaker-7d").expect("it decodes").expect("it is there");
    let events = api.list::<core::Event>(Some(NAMESPACE)).expect("they decode");
    let found: Vec<_> = events
        .iter()
        .map(|event| {
            assert_eq!(event.involved_object.kind.as_deref(), Some("Pod"));
            assert_eq!(event.involved_object.uid, own.metadata.uid);
            let [reason, kind, text] = [&event.reason, &event.type_, &event.message];
            [reason, kind, text].map(|text| text.clone().unwrap_or_default())
        })
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    let [warning, normal] = ["Warning", "Normal"].map(|kind| found.iter().find(|event| event[1] == kind));
    let (warning, normal) = (warning.expect("one of each"), normal.expect("one of each"));
    assert_eq!((warning[0].as_str(), normal[0].as_str()), ("speakersNotHeard", "speakersHeard"));
    assert!(warning[2].contains("(wk02)") && warning[2].contains("not UDP 7946"), "{}", warning[2]);
}
