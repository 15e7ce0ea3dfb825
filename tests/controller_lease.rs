//! Several controllers and one Lease, against the in-memory API server under
//! tokio's paused clock: one writes, and no address is ever given twice (F26).

#[path = "kube_support.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use controller::args::Settings;
use fake_api::{FakeApi, Fault, FaultPlan, Match, Refusal, RequestRecord};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams};
use metallb_api::crd::IPAddressPool;
use metallb_shell::http::Endpoints;
use metallb_shell::leadership::{self, Candidacy};
use metallb_shell::lease::{DURATION, PERIOD, RENEW_WITHIN};
use metallb_shell::{Readiness, shutdown};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use support::{NAMESPACE, account, advertisement, fake, pool, rbac_mismatch, service};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Somebody's Services live here.
const NS: Option<&str> = Some("default");
/// Our own objects live here.
const OWN: Option<&str> = Some(NAMESPACE);
/// The Lease.
const LEASE: &str = "metallb-controller";
/// The users that the replicas are told apart by.
const A: &str = "a";
const B: &str = "b";

/// Stops a process as SIGSTOP does, and continues it.
#[derive(Clone, Default)]
struct Brake(Arc<Mutex<(bool, Option<Waker>)>>);

impl Brake {
    fn stop(&self) {
        self.0.lock().expect("no test panics while it holds this").0 = true;
    }

    fn go_on(&self) {
        let mut state = self.0.lock().expect("no test panics while it holds this");
        state.0 = false;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

/// A process that does nothing while it is stopped.
struct Stoppable {
    brake: Brake,
    process: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stoppable {
    fn new(brake: &Brake, process: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { brake: brake.clone(), process: Box::pin(process) }
    }
}

impl Future for Stoppable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.brake.0.lock().expect("no test panics while it holds this");
            state.1 = Some(context.waker().clone());
            if state.0 {
                return Poll::Pending;
            }
        }
        self.process.as_mut().poll(context)
    }
}

/// One of several controllers.
struct Replica {
    readiness: Readiness,
    registry: Registry,
    trigger: shutdown::Trigger,
    brake: Brake,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(api: &FakeApi, user: &str) -> Self {
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            load_balancer_class: None,
            secret_name: Some("memberlist".to_owned()),
            deployment: None,
            pod_name: None,
        };
        let (readiness, registry) = (Readiness::default(), Registry::new());
        let endpoints = Endpoints { registry: registry.clone(), readiness: readiness.clone() };
        let (trigger, shutdown) = shutdown::channel();
        let (client, brake) = (api.client(user), Brake::default());
        let process = controller::run_elected(client, settings, candidacy(user), endpoints, shutdown);
        let task = tokio::spawn(Stoppable::new(&brake, process));
        Self { readiness, registry, trigger, brake, task }
    }

    fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text is always possible")
    }

    fn leads(&self) -> bool {
        let line = |value: u8| format!("leader_election_master_status{{name=\"{LEASE}\"}} {value}\n");
        let text = self.metrics();
        assert!(text.contains(&line(0)) || text.contains(&line(1)), "{text}");
        text.contains(&line(1))
    }

    /// SIGTERM.
    async fn stop(self) {
        self.trigger.shut_down();
        self.task.await.expect("the controller ends in order");
    }

    /// SIGKILL.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("it was killed").is_cancelled());
    }
}

fn candidacy(holder: &str) -> Candidacy {
    Candidacy { namespace: NAMESPACE.to_owned(), name: LEASE.to_owned(), holder: holder.to_owned() }
}

/// A cluster with a pool of 100 addresses and `count` Services `web-0`, `web-1`, ...
fn cluster_with(api: FakeApi, count: usize) -> FakeApi {
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    for index in 0..count {
        api.create(&service(&format!("web-{index}"))).expect(made);
    }
    api
}

/// The same where everybody may do everything, so that users can be told apart.
fn cluster(count: usize) -> FakeApi {
    cluster_with(FakeApi::builder().build().expect("our own CRDs are implemented"), count)
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn addresses(service: &core::Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.ip.clone()).collect()
}

/// Who has what.
fn assigned(api: &FakeApi) -> BTreeMap<String, Vec<String>> {
    let services = api.list::<core::Service>(NS).expect("they decode");
    let named = services.iter().map(|service| (service.metadata.name.clone().unwrap_or_default(), service));
    named.map(|(name, service)| (name, addresses(service))).collect()
}

/// Every LoadBalancer has one address and the pool counts them; and at no time
/// did two have the same.
fn assert_right(api: &FakeApi, context: &str) {
    let services = api.list::<core::Service>(NS).expect("they decode");
    let mut count = 0;
    let mut states = BTreeMap::new();
    for service in &services {
        let (name, held) = (service.metadata.name.clone().unwrap_or_default(), addresses(service));
        let kind = service.spec.as_ref().and_then(|spec| spec.type_.clone());
        let wanted = usize::from(kind.as_deref() == Some("LoadBalancer"));
        assert_eq!(held.len(), wanted, "{context}: {name} has {held:?}");
        count += held.len();
        for state in api.history::<core::Service>(NS, &name).expect("they decode").into_iter().flatten() {
            let revision = state.metadata.resource_version.as_deref().unwrap_or_default().parse::<u64>();
            states.insert(revision.expect("it is a number"), (name.clone(), addresses(&state)));
        }
    }
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (revision, (name, held)) in states {
        holders.insert(name, held);
        let all: Vec<_> = holders.values().flatten().collect();
        let different: BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), different.len(), "{context}: given twice at revision {revision}: {holders:?}");
    }
    let pool: IPAddressPool = api.get(OWN, "first").expect("it decodes").expect("it is there");
    let counted = pool.status.map(|status| status.assigned_ipv4);
    assert_eq!(counted, i64::try_from(count).ok(), "{context}");
}

fn is_lease(request: &RequestRecord) -> bool {
    request.resource == "leases"
}

/// Nobody wrote anything but who had written the Lease last. Requests are
/// recorded as they arrive, so none may have been delayed.
fn assert_one_writer(api: &FakeApi) {
    let mut holder = None;
    for write in api.writes().into_iter().filter(|write| write.committed) {
        if is_lease(&write) {
            holder = Some(write.user);
        } else {
            assert_eq!(holder.as_ref(), Some(&write.user), "{write:?}");
        }
    }
}

/// What `user` asked to be changed, beside the Lease, in the requests since.
fn writes_of(api: &FakeApi, user: &str, since: usize) -> Vec<RequestRecord> {
    let requests = api.requests().split_off(since);
    requests.into_iter().filter(|it| it.user == user && it.is_write() && !is_lease(it)).collect()
}

/// The holder's name, without the random part.
fn holder(api: &FakeApi) -> Option<String> {
    let lease: Lease = api.get(OWN, LEASE).expect("it decodes")?;
    let identity = lease.spec.and_then(|spec| spec.holder_identity)?;
    Some(identity.split_once('_').expect("a random part follows").0.to_owned())
}

/// Two controllers, of which the first leads.
async fn a_and_b(api: &FakeApi) -> (Replica, Replica) {
    let a = Replica::start(api, A);
    seconds(5).await;
    let b = Replica::start(api, B);
    seconds(5).await;
    assert!(a.leads() && !b.leads());
    (a, b)
}

#[tokio::test(start_paused = true)]
async fn f26_two_controllers_at_once_write_as_one() {
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
async fn f26_a_leader_that_dies_between_two_writes_is_followed() {
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
async fn f26_a_leader_that_was_stopped_writes_nothing_when_it_goes_on() {
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
async fn f26_no_write_leaves_the_process_once_the_lease_has_run_out() {
    let api = cluster(1);
    let gate = Readiness::default().gate("leader election", "");
    let (mut leadership, candidate) =
        leadership::channel(api.client(A), candidacy(A), &Registry::new(), gate);
    let brake = Brake::default();
    let task = tokio::spawn(Stoppable::new(&brake, candidate.run_while(std::future::pending())));
    let tenure = leadership.gained().await;
    let services: Api<core::Service> = Api::namespaced(tenure.client(api.client(A)), "default");
    let write = async |text: &str| {
        let patch = json!({"metadata": {"annotations": {"written": text}}});
        services.patch("web-0", &PatchParams::default(), &Patch::Merge(&patch)).await
    };
    seconds(100).await;
    write("while it is renewed").await.expect("it leads");
    // From here on nobody renews it, and nobody tells the tenure so.
    brake.stop();
    sleep(RENEW_WITHIN - PERIOD - Duration::from_millis(100)).await;
    write("before it has run out").await.expect("it leads still");
    sleep(PERIOD + Duration::from_millis(200)).await;
    let asked = api.requests().len();
    let refused = write("after that").await.expect_err("it may have been taken by another");
    assert!(refused.to_string().contains("not lead"), "{refused}");
    assert!(!tenure.may_write());
    tenure.over().await;
    assert_eq!(api.requests().len(), asked, "it has not left the process");
    services.get("web-0").await.expect("reading does no harm");
    // Renewed again it is another tenure: another may have written in between.
    brake.go_on();
    let next = leadership.gained().await;
    assert!(next.may_write() && !tenure.may_write());
    write("after it was renewed").await.expect_err("it was decided on before");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn f26_at_sigterm_the_other_takes_over_within_seconds() {
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
async fn f26_a_lease_is_not_let_go_of_while_a_write_may_still_come_true() {
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

#[tokio::test(start_paused = true)]
async fn f26_an_api_server_that_is_gone_for_longer_than_the_lease() {
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
async fn f26_random_faults_deaths_and_pauses_give_no_address_twice() {
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
