//! What may happen to the API server, to the Lease and to everything at once.

use std::time::Duration;

use fake_api::{FakeApi, FaultPlan};
use ferrolb_shell::kubernetes::leader_election::lease::{DURATION, PERIOD};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::setup::{
    A, B, LEASE, NS, OWN, Replica, a_and_b, assert_one_writer, assert_right, assigned, cluster, seconds,
};
use crate::support::service;

#[tokio::test(start_paused = true)]
async fn x26_an_api_server_that_is_gone_for_longer_than_the_lease() {
    for (replicas, away) in [(1, 12), (1, 60), (2, 12), (2, 60), (2, 3_600)] {
        let context = format!("{replicas} replicas, away for {away} s");
        let api = cluster(3);
        let all: Vec<_> = [A, B].iter().take(replicas).map(|user| Replica::start(&api, user)).collect();
        seconds(10).await;
        assert_right(&api, &context);
        let held = assigned(&api);
        api.set_gone(true);
        api.create(&service("late")).expect("new");
        seconds(away).await;
        assert!(!all.iter().any(Replica::leads), "{context}: nobody can know");
        assert!(all.iter().all(|replica| replica.readiness.report().ready), "{context}: nothing ails them");
        api.set_gone(false);
        seconds(DURATION.as_secs() + 60).await;
        assert_eq!(all.iter().filter(|replica| replica.leads()).count(), 1, "{context}");
        assert_right(&api, &context);
        assert_one_writer(&api);
        for (name, held) in held {
            assert_eq!(assigned(&api)[&name], held, "{context}");
        }
        let report = all[0].readiness.report();
        assert!(report.ready, "{context}: {}", report.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_or_taken_by_hand() {
    let api = cluster(3);
    let (a, b) = a_and_b(&api).await;
    api.delete::<Lease>(OWN, LEASE).expect("it is there");
    seconds(30).await;
    assert!(a.leads() && !b.leads(), "its holder makes it again, and others give it the time to");
    let stranger = json!({"spec": {"holderIdentity": "stranger_1", "leaseDurationSeconds": 15}});
    api.merge::<Lease>(OWN, LEASE, stranger).expect("it is there");
    sleep(PERIOD + Duration::from_millis(100)).await;
    assert!(!a.leads(), "somebody else has it");
    seconds(60).await;
    assert!(a.leads() != b.leads(), "who does not renew it loses it");
    api.create(&service("late")).expect("new");
    seconds(10).await;
    assert_right(&api, "after all that");
}

/// One step of what people do with their Services.
fn disturb(api: &FakeApi, step: u64, seed: u64) {
    let name = format!("web-{}", (step * 7 + seed) % 9);
    let there = api.get::<core::Service>(NS, &name).expect("it decodes").is_some();
    let kind = |kind: &str| -> Value { json!({"spec": {"type": kind}}) };
    match (step * 5 + seed / 3) % 4 {
        0 if there => api.merge::<core::Service>(NS, &name, kind("ClusterIP")).map(drop),
        _ if there => api.merge::<core::Service>(NS, &name, kind("LoadBalancer")).map(drop),
        _ => api.create(&service(&name)).map(drop),
    }
    .expect("nobody else changes them meanwhile");
}

/// What happens to one of the replicas.
async fn befall(api: &FakeApi, replicas: &mut [Option<Replica>; 2], step: u64, seed: u64) {
    let index = usize::from((step + seed).is_multiple_of(2));
    let user = [A, B][index];
    match (replicas[index].take(), (step * 3 + seed) % 7) {
        (Some(replica), 0) => {
            replica.brake.go_on();
            replica.stop().await;
        }
        (Some(replica), 1) => replica.kill().await,
        (Some(replica), 2) => {
            replica.brake.stop();
            replicas[index] = Some(replica);
        }
        (Some(replica), 3 | 4) => {
            replica.brake.go_on();
            replicas[index] = Some(replica);
        }
        (there, _) => replicas[index] = there.or_else(|| Some(Replica::start(api, user))),
    }
}

#[tokio::test(start_paused = true)]
async fn x26_random_faults_deaths_and_pauses_give_no_address_twice() {
    for seed in 0..12 {
        let api = cluster(4);
        // The first list after the Lease was got is never an older one (S5 of the
        // API server's promises), so this one must not happen here.
        api.run_plan(FaultPlan { stale_list: 0.0, ..FaultPlan::new(seed, Duration::from_secs(900)) });
        let mut replicas = [Some(Replica::start(&api, A)), Some(Replica::start(&api, B))];
        for step in 1..60 {
            disturb(&api, step, seed);
            if step % 3 == 0 {
                befall(&api, &mut replicas, step, seed).await;
            }
            seconds(15).await;
        }
        for (replica, user) in replicas.iter_mut().zip([A, B]) {
            match replica {
                Some(replica) => replica.brake.go_on(),
                None => *replica = Some(Replica::start(&api, user)),
            }
        }
        seconds(240).await;
        assert_right(&api, &format!("seed {seed}"));
        let leaders = replicas.iter().flatten().filter(|replica| replica.leads()).count();
        assert_eq!(leaders, 1, "seed {seed}");
    }
}
