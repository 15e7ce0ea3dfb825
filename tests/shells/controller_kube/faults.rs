//! What stands in the end when the API server, or the way to it, is in trouble.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_api::{FakeApi, Fault, FaultPlan, Match};
use ferrolb_shell::kubernetes::connectivity::{self, SPREAD};
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::setup::{
    L10, NS, OWN, Running, SETTLED, address, assert_right, cluster, ingress, seconds, status_writes,
};
use crate::support::{account, service};

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
async fn what_a_restored_etcd_does_not_know_is_settled_anew() {
    let api = cluster(1);
    let _running = Running::start(&api);
    seconds(5).await;
    let (held, backup) = (address(&api, "web-0"), api.backup());
    for index in 0..8 {
        api.create(&service(&format!("lost-{index}"))).expect("new");
    }
    seconds(5).await;
    assert_right(&api, "before the disaster");
    api.restore(&backup);
    api.create(&service("anew")).expect("new");
    seconds(60).await;
    assert_right(&api, "a minute after the return");
    assert_eq!(address(&api, "web-0"), held, "what still stands is kept");
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
async fn e7_the_secret_comes_as_soon_as_the_server_answers_again() {
    let api = cluster(0);
    api.set_gone(true);
    let client = connectivity::observed(api.client(&account("controller")), "server");
    let _running = Running::run(client.clone());
    // Until every delay is as long as it gets.
    seconds(900).await;
    api.set_gone(false);
    let services = Api::<core::Service>::all(client);
    services.list(&ListParams::default()).await.expect("the server answers one of us");
    sleep(SPREAD + Duration::from_millis(100)).await;
    assert_eq!(api.list::<core::Secret>(OWN).expect("they decode").len(), 1);
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
