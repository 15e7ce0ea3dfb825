//! Several controllers while nothing happens to them: one works, and the others stand by.

use fake_api::{Fault, Match, Refusal, RequestRecord};
use ferrolb_shell::kubernetes::leader_election::lease::{PERIOD, RENEW_WITHIN};
use tokio::time::sleep;

use super::setup::{
    A, B, Replica, a_and_b, assert_one_writer, assert_right, cluster, cluster_with, is_lease, seconds,
};
use crate::support::{account, fake, rbac_mismatch, service};

#[tokio::test(start_paused = true)]
async fn x26_two_controllers_at_once_write_as_one() {
    // Under our own RBAC, by which both are the same.
    let api = cluster_with(fake(), 20);
    let replicas = [(); 2].map(|()| Replica::start(&api, &account("controller")));
    seconds(30).await;
    assert_right(&api, "two at once");
    let to_services = |write: &RequestRecord| write.resource == "services";
    let codes: Vec<_> = api.writes().into_iter().filter(to_services).map(|write| write.status).collect();
    assert_eq!(codes, [Some(200); 20], "each is written once");
    let (refused, _) = rbac_mismatch(&account("controller"), &api.requests());
    assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");

    assert_eq!(replicas.iter().filter(|replica| replica.leads()).count(), 1);
    for replica in &replicas {
        let (report, metrics) = (replica.readiness.report(), replica.metrics());
        assert!(report.ready, "{}", report.text);
        let role = if replica.leads() { "leader election ready: leading\n" } else { "ready: standby; " };
        assert!(report.text.contains(role), "{}", report.text);
        // Pools are counted once.
        assert_eq!(
            metrics.contains("addresses_in_use_total{pool=\"first\"} 20"),
            replica.leads(),
            "{metrics}"
        );
        // F6a: "not loaded" is an alert of MetalLB's.
        let loaded = metrics.lines().find(|line| line.starts_with("metallb_k8s_client_config_loaded_bool"));
        let expected = replica.leads().then_some("metallb_k8s_client_config_loaded_bool 1");
        assert_eq!(loaded, expected, "{metrics}");
    }
    let writes = api.writes().into_iter().filter(|write| !is_lease(write)).count();
    seconds(600).await;
    assert_eq!(api.writes().into_iter().filter(|write| !is_lease(write)).count(), writes);
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_asks_for_nothing_but_the_lease() {
    let api = cluster(3);
    let (_a, _b) = a_and_b(&api).await;
    let before = api.requests().len();
    seconds(600).await;
    let asked = api.requests().split_off(before);
    let of_b = asked.iter().filter(|request| request.user == B);
    assert!(of_b.clone().all(|request| is_lease(request) && request.verb == "get"));
    let count = u64::try_from(of_b.count()).expect("a few");
    assert!(count <= 600 / PERIOD.as_secs() + 1, "{count}");
}

#[tokio::test(start_paused = true)]
async fn w1_without_the_right_to_leases_nothing_is_written() {
    let api = cluster(3);
    let forbidden = || Fault::Refuse(Refusal::new(403, "Forbidden", "leases is forbidden"));
    let leases = || Match::any().resource("leases");
    api.inject(leases(), forbidden(), usize::MAX / 4);
    let replicas = [Replica::start(&api, A), Replica::start(&api, B)];
    seconds(300).await;
    assert!(api.writes().is_empty(), "{:?}", api.writes());
    assert!(api.requests().len() <= 2 * 300 / 2 + 2, "it is not asked in a loop");
    for replica in &replicas {
        let report = replica.readiness.report();
        assert!(!report.ready && report.text.contains("lack the verb get on leases"), "{}", report.text);
    }
    // Granted, it works at once; taken away again, it ends with the Lease.
    api.clear_faults();
    seconds(10).await;
    assert_right(&api, "once it is allowed");
    assert!(replicas.iter().all(|replica| replica.readiness.report().ready));
    api.inject(leases(), forbidden(), usize::MAX / 4);
    sleep(RENEW_WITHIN + PERIOD).await;
    assert!(!replicas.iter().any(Replica::leads));
    let before = api.writes().len();
    api.create(&service("late")).expect("new");
    seconds(60).await;
    let written = api.writes().split_off(before);
    assert!(written.iter().all(is_lease), "{written:?}");
    api.clear_faults();
    seconds(30).await;
    assert_right(&api, "once it is allowed again");
    assert_one_writer(&api);
}
