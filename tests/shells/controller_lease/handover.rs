//! From one leader to the next: by death, by a pause, and in order.

use std::time::Duration;

use fake_api::{Fault, Match, Refusal};
use ferrolb_shell::Readiness;
use ferrolb_shell::kubernetes::leader_election;
use ferrolb_shell::kubernetes::leader_election::lease::{DURATION, PERIOD, RENEW_WITHIN};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams};
use prometheus::Registry;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::brake::{Brake, Stoppable};
use super::setup::{
    A, B, LEASE, OWN, Replica, a_and_b, assert_one_writer, assert_right, assigned, candidacy, cluster,
    holder, seconds, writes_of,
};
use crate::support::service;

#[tokio::test(start_paused = true)]
async fn x26_a_leader_that_dies_between_two_writes_is_followed() {
    for written in [0, 1, 7, 19] {
        let api = cluster(20);
        let to_status = || Match::any().user(A).resource("services").subresource("status");
        api.inject(to_status(), Fault::Delay(Duration::from_millis(10)), written);
        api.inject(to_status(), Fault::Hang, 100);
        let a = Replica::start(&api, A);
        seconds(1).await;
        let b = Replica::start(&api, B);
        let done: Vec<_> = assigned(&api).into_iter().filter(|(_, held)| !held.is_empty()).collect();
        assert_eq!(done.len(), written);
        a.kill().await;
        // It may have renewed just before it died.
        sleep(DURATION).await;
        assert_eq!(writes_of(&api, B, 0), [], "the Lease has not run out");
        sleep(2 * PERIOD + Duration::from_secs(1)).await;
        assert!(b.leads());
        assert_right(&api, &format!("after {written} writes"));
        let now = assigned(&api);
        for (name, held) in done {
            assert_eq!(now[&name], held, "{name} keeps what it was given (C8)");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn x26_a_leader_that_was_stopped_writes_nothing_when_it_goes_on() {
    for pause in [16, 60, 3_600] {
        let api = cluster(3);
        let (a, b) = a_and_b(&api).await;
        // A write has been decided on and waits to be tried again.
        api.inject(Match::any().user(A).resource("services").verb("patch"), Fault::internal_error(), 1);
        api.create(&service("late-0")).expect("new");
        sleep(Duration::from_millis(50)).await;
        assert_eq!(api.pending_faults(), 0);
        a.brake.stop();
        // What it has not seen yet.
        api.create(&service("late-1")).expect("new");
        seconds(pause).await;
        api.create(&service("late-2")).expect("new");
        seconds(10).await;
        assert!(b.leads());
        assert_right(&api, "while the first is stopped");

        let (before, held) = (api.requests().len(), assigned(&api));
        a.brake.go_on();
        api.create(&service("late-3")).expect("new");
        seconds(60).await;
        assert_eq!(writes_of(&api, A, before), [], "stopped for {pause} s");
        assert!(!a.leads() && b.leads());
        assert!(a.readiness.report().text.contains("standby; b_"), "{}", a.readiness.report().text);
        assert_right(&api, "after it went on");
        assert_one_writer(&api);
        for (name, held) in held {
            assert_eq!(assigned(&api)[&name], held);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn x26_no_write_leaves_the_process_once_the_lease_has_run_out() {
    let api = cluster(1);
    let gate = Readiness::default().gate("leader election", "");
    let (mut leadership, candidate) =
        leader_election::channel(api.client(A), candidacy(A), &Registry::new(), gate);
    let brake = Brake::default();
    let task = tokio::spawn(Stoppable::new(&brake, candidate.run_while(std::future::pending())));
    let term = leadership.gained().await;
    let services: Api<core::Service> = Api::namespaced(term.client(api.client(A)), "default");
    let write = async |text: &str| {
        let patch = json!({"metadata": {"annotations": {"written": text}}});
        services.patch("web-0", &PatchParams::default(), &Patch::Merge(&patch)).await
    };
    seconds(100).await;
    write("while it is renewed").await.expect("it leads");
    // From here on nobody renews it, and nobody tells the term so.
    brake.stop();
    sleep(RENEW_WITHIN - PERIOD - Duration::from_millis(100)).await;
    write("before it has run out").await.expect("it leads still");
    sleep(PERIOD + Duration::from_millis(200)).await;
    let asked = api.requests().len();
    let refused = write("after that").await.expect_err("it may have been taken by another");
    assert!(refused.to_string().contains("not lead"), "{refused}");
    assert!(!term.may_write());
    term.over().await;
    assert_eq!(api.requests().len(), asked, "it has not left the process");
    services.get("web-0").await.expect("reading does no harm");
    // Renewed again it is another term: another may have written in between.
    brake.go_on();
    let next = leadership.gained().await;
    assert!(next.may_write() && !term.may_write());
    write("after it was renewed").await.expect_err("it was decided on before");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn x26_at_sigterm_the_other_takes_over_within_seconds() {
    let api = cluster(5);
    let (a, b) = a_and_b(&api).await;
    // What is asked for while it ends is done, by one of the two.
    api.create(&service("late-0")).expect("new");
    let begun = Instant::now();
    a.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(holder(&api), None, "it has let go of the Lease");
    let of_a = api.requests().len();
    api.create(&service("late-1")).expect("new");
    sleep(PERIOD + Duration::from_millis(500)).await;
    assert!(b.leads());
    assert_eq!(holder(&api).as_deref(), Some(B));
    assert_right(&api, "after SIGTERM");
    assert_one_writer(&api);
    assert_eq!(writes_of(&api, A, of_a), []);
    let lease: Lease = api.get(OWN, LEASE).expect("it decodes").expect("it is there");
    assert_eq!(lease.spec.and_then(|spec| spec.lease_transitions), Some(1));
}

#[tokio::test(start_paused = true)]
async fn x26_a_lease_is_not_let_go_of_while_a_write_may_still_come_true() {
    let gave_up = Refusal::new(504, "Timeout", "request did not complete within the requested timeout");
    for fault in [Fault::Hang, Fault::Refuse(gave_up)] {
        let api = cluster(5);
        let (a, b) = a_and_b(&api).await;
        api.inject(Match::any().user(A).resource("services").verb("patch"), fault, 1);
        api.create(&service("late")).expect("new");
        sleep(Duration::from_millis(100)).await;
        assert_eq!(api.pending_faults(), 0);
        let begun = Instant::now();
        a.stop().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(8), "the kubelet waits for 10 s: {took:?}");
        assert_eq!(holder(&api).as_deref(), Some(A), "it runs out by itself");
        sleep(DURATION - Duration::from_secs(6)).await;
        assert!(!b.leads());
        sleep(DURATION).await;
        assert!(b.leads());
        assert_right(&api, "after the Lease has run out");
    }
}
