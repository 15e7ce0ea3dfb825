//! Watches that hang, are cut, expire and find no server: the core learns everything all the same.

use std::time::Duration;

use fake_api::{FakeApi, Fault, FaultPlan, Match, RequestRecord};
use ferrolb_api::crd::ServiceL2Status;
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use tests::objects::{NAMESPACE, typed};

use super::setup::{L10, SETTLED, Shell, change_everything, cluster};
use super::view::View;
use crate::support::service;

/// All is listed again this long after the return of a server whose etcd was restored.
const RESTORED: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn l10_a_hung_watch_is_noticed_within_a_minute() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    for turn in 1..4 {
        // At any phase of a watch's life.
        shell.run(Duration::from_secs(17 * turn)).await;
        api.hang_watches(&Match::any());
        change_everything(&api, turn);
        shell.run(L10).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "turn {turn}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    for turn in 1..20 {
        api.cut_watches(&Match::any());
        change_everything(&api, turn);
        // A watch that is told nothing for longer than this lists again.
        let status = json!({"apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
            "metadata": {"name": format!("l2-{turn}"), "namespace": NAMESPACE}});
        api.create(&typed::<ServiceL2Status>(status)).expect("each turn is new");
        shell.run(Duration::from_secs(3)).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "turn {turn}");
    }
    // tests/shells/configuration_state/ looks at the one kind that has a watch of its own.
    let is_ours = |request: &&RequestRecord| request.resource != "configurationstates";
    let requests = api.requests();
    let lists = requests.iter().filter(is_ours).filter(|request| request.verb == "list");
    let lists: Vec<_> = lists.map(|request| request.resource.as_str()).collect();
    assert_eq!(lists.len(), 7, "one for each kind, nothing had to be listed again: {lists:?}");
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_even_if_the_list_is_stale() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    change_everything(&api, 1);
    api.inject(Match::any().verb("list"), Fault::StaleList(5), 6);
    api.inject(Match::any().verb("watch"), Fault::ExpiredWatch, 12);
    api.cut_watches(&Match::any());
    api.delete::<core::Service>(Some("default"), "web").expect("it is there");
    shell.run(SETTLED).await;
    assert_eq!(api.pending_faults(), 0);
    assert_eq!(shell.view, View::truth(&api, &[]));
    // For real: what was missed is no longer kept.
    api.set_gone(true);
    shell.run(Duration::from_secs(1)).await;
    change_everything_but_the_service(&api);
    api.compact();
    api.set_gone(false);
    shell.run(SETTLED).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
}

fn change_everything_but_the_service(api: &FakeApi) {
    api.create(&service("web")).expect("it was deleted");
    change_everything(api, 2);
}

#[tokio::test(start_paused = true)]
async fn an_absent_api_server_takes_nothing_away() {
    let api = cluster();
    api.set_gone(true);
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(600)).await;
    assert_eq!(shell.taken, 0, "nothing is known yet");
    assert!(!shell.readiness.report().ready);
    api.set_gone(false);
    shell.run(Duration::from_secs(31)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    // And for an hour later on: the core keeps what it knows.
    let taken = shell.taken;
    api.set_gone(true);
    shell.run(Duration::from_secs(3_600)).await;
    assert_eq!(shell.taken, taken, "an outage is no input");
    assert!(shell.readiness.report().ready, "what is known stays in force");
    change_everything(&api, 1);
    api.set_gone(false);
    shell.run(Duration::from_secs(31)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
}

#[tokio::test(start_paused = true)]
async fn a_restored_etcd_is_listed_again_within_a_minute() {
    // How long the server is away, in seconds, and how many changes are made before it is back: fewer than were lost,
    // so that the old versions are still to come, or more, so that they have passed.
    for (outage, changes) in [(0, 1), (5, 1), (40, 1), (600, 1), (5, 20)] {
        let case = format!("away for {outage} s, {changes} changes");
        let api = cluster();
        let mut shell = Shell::start(&api);
        shell.run(Duration::from_secs(75)).await;
        let backup = api.backup();
        for turn in 1..9 {
            change_everything(&api, turn);
        }
        shell.run(Duration::from_secs(1)).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "{case}");
        api.set_gone(outage > 0);
        shell.run(Duration::from_secs(outage)).await;
        api.restore(&backup);
        for turn in 0..changes {
            change_everything(&api, 20 + turn);
        }
        api.set_gone(false);
        shell.run(RESTORED).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "{case}");
        // And each watch is one that tells.
        change_everything(&api, 50);
        shell.run(Duration::from_secs(1)).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn random_faults_leave_no_trace() {
    for seed in 0..20 {
        let api = cluster();
        api.run_plan(FaultPlan::new(seed, Duration::from_secs(900)));
        let mut shell = Shell::start(&api);
        for turn in 1..60 {
            change_everything(&api, turn);
            shell.run(Duration::from_secs(15)).await;
        }
        shell.run(SETTLED).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "seed {seed}");
        assert!(shell.readiness.report().ready, "seed {seed}: {}", shell.readiness.report().text);
        assert_eq!(api.open_watches(&Match::any()), 8, "seed {seed}: one for each kind");
    }
}
