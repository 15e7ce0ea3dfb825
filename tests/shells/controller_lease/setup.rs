//! A cluster in memory with several controllers, and what has to be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use controller::args::Settings;
use fake_api::{FakeApi, RequestRecord};
use ferrolb_api::crd::IPAddressPool;
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::http::AdminState;
use ferrolb_shell::kubernetes::leader_election::LeaderElectionConfig;
use ferrolb_shell::process::shutdown;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use prometheus::{Registry, TextEncoder};
use tests::objects::{NAMESPACE, advertisement, pool};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::brake::{Brake, Stoppable};
use crate::support::service;

/// Somebody's Services live here.
pub(crate) const NS: Option<&str> = Some("default");
/// Our own objects live here.
pub(crate) const OWN: Option<&str> = Some(NAMESPACE);
/// The Lease.
pub(crate) const LEASE: &str = "metallb-controller";
/// The users that the replicas are told apart by.
pub(crate) const A: &str = "a";
pub(crate) const B: &str = "b";

/// One of several controllers.
pub(crate) struct Replica {
    pub(crate) readiness: Readiness,
    registry: Registry,
    trigger: shutdown::Trigger,
    pub(crate) brake: Brake,
    task: JoinHandle<()>,
}

impl Replica {
    pub(crate) fn start(api: &FakeApi, user: &str) -> Self {
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            load_balancer_class: None,
            secret_name: Some("memberlist".to_owned()),
            deployment: None,
            pod_name: None,
            api_server: None,
        };
        let (readiness, registry) = (Readiness::default(), Registry::new());
        let endpoints = AdminState { registry: registry.clone(), readiness: readiness.clone() };
        let (trigger, shutdown) = shutdown::channel();
        let (client, brake) = (api.client(user), Brake::default());
        let process = controller::run_elected(client, settings, candidacy(user), endpoints, shutdown);
        let task = tokio::spawn(Stoppable::new(&brake, process));
        Self { readiness, registry, trigger, brake, task }
    }

    pub(crate) fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text is always possible")
    }

    pub(crate) fn leads(&self) -> bool {
        let line = |value: u8| format!("leader_election_master_status{{name=\"{LEASE}\"}} {value}\n");
        let text = self.metrics();
        assert!(text.contains(&line(0)) || text.contains(&line(1)), "{text}");
        text.contains(&line(1))
    }

    /// SIGTERM.
    pub(crate) async fn stop(self) {
        self.trigger.shut_down();
        self.task.await.expect("the controller ends in order");
    }

    /// SIGKILL.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("it was killed").is_cancelled());
    }
}

pub(crate) fn candidacy(holder: &str) -> LeaderElectionConfig {
    LeaderElectionConfig {
        namespace: NAMESPACE.to_owned(),
        name: LEASE.to_owned(),
        holder: holder.to_owned(),
    }
}

/// A cluster with a pool of 100 addresses and `count` Services `web-0`, `web-1`, ...
pub(crate) fn cluster_with(api: FakeApi, count: usize) -> FakeApi {
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    for index in 0..count {
        api.create(&service(&format!("web-{index}"))).expect(made);
    }
    api
}

/// The same where everybody may do everything, so that users can be told apart.
pub(crate) fn cluster(count: usize) -> FakeApi {
    cluster_with(FakeApi::builder().build().expect("our own CRDs are implemented"), count)
}

pub(crate) async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn addresses(service: &core::Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.ip.clone()).collect()
}

/// Who has what.
pub(crate) fn assigned(api: &FakeApi) -> BTreeMap<String, Vec<String>> {
    let services = api.list::<core::Service>(NS).expect("they decode");
    let named = services.iter().map(|service| (service.metadata.name.clone().unwrap_or_default(), service));
    named.map(|(name, service)| (name, addresses(service))).collect()
}

/// Every LoadBalancer has one address and the pool counts them; and at no time
/// did two have the same.
pub(crate) fn assert_right(api: &FakeApi, context: &str) {
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

pub(crate) fn is_lease(request: &RequestRecord) -> bool {
    request.resource == "leases"
}

/// Nobody wrote anything but who had written the Lease last. Requests are
/// recorded as they arrive, so none may have been delayed.
pub(crate) fn assert_one_writer(api: &FakeApi) {
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
pub(crate) fn writes_of(api: &FakeApi, user: &str, since: usize) -> Vec<RequestRecord> {
    let requests = api.requests().split_off(since);
    requests.into_iter().filter(|it| it.user == user && it.is_write() && !is_lease(it)).collect()
}

/// The holder's name, without the random part.
pub(crate) fn holder(api: &FakeApi) -> Option<String> {
    let lease: Lease = api.get(OWN, LEASE).expect("it decodes")?;
    let identity = lease.spec.and_then(|spec| spec.holder_identity)?;
    Some(identity.split_once('_').expect("a random part follows").0.to_owned())
}

/// Two controllers, of which the first leads.
pub(crate) async fn a_and_b(api: &FakeApi) -> (Replica, Replica) {
    let a = Replica::start(api, A);
    seconds(5).await;
    let b = Replica::start(api, B);
    seconds(5).await;
    assert!(a.leads() && !b.leads());
    (a, b)
}
