//! The one API server that these tests take in turns, and both programs on it.

mod processes;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use ferrolb_api::annotations::IP_ALLOCATED_FROM_POOL;
use ferrolb_api::crd::{ConfigurationState, IPAddressPool, L2Advertisement, ServiceL2Status};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use kube_apiserver::{ApiServer, ApiUser, AuditedRequest, NAMESPACE};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::objects;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

pub(crate) use processes::{Controller, SpeakerProcess};
pub(crate) use tests::objects::{advertisement, pool, typed};

/// Somebody's Services live here.
pub(crate) const WORK: &str = "work";
/// What has not come true after this time will not.
const PATIENCE: Duration = Duration::from_secs(90);
/// A controller of the shared server serves every Service there is, so one test has the server at a time.
static TURN: Mutex<bool> = Mutex::const_new(false);

/// The shared server with the shipped manifests and nothing else in it, for one test.
pub(crate) struct Stage {
    pub(crate) api: &'static ApiServer,
    pub(crate) admin: Client,
    /// How many requests of each account are other tests'.
    before: [(ApiUser, usize); 2],
    /// Whether the manifests are there.
    turn: MutexGuard<'static, bool>,
}

impl Stage {
    /// Waits for its turn. `None` without binaries.
    pub(crate) async fn take() -> Option<Self> {
        let mut turn = TURN.lock().await;
        let api = ApiServer::shared()?;
        if !*turn {
            api.apply_overlay("manifests/base");
            let work =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WORK}}).to_string();
            api.kubectl_as(&ApiUser::Admin, &["apply", "-f", "-"], &work).expect("it may be there already");
            *turn = true;
        }
        let admin = api.admin();
        clear(&admin).await;
        let before = ["controller", "speaker"].map(|account| {
            let account = ApiUser::account(account);
            let count = api.requests(&account).len();
            (account, count)
        });
        Some(Self { api, admin, before, turn })
    }

    /// The manifests are applied again for the next test.
    pub(crate) fn is_left_bare(&mut self) {
        *self.turn = false;
    }

    /// What an account has asked for in this test. A watch counts when it has ended.
    pub(crate) fn requests(&self, account: &str) -> Vec<AuditedRequest> {
        let account = ApiUser::account(account);
        let before = self.before.iter().find(|(who, _)| *who == account).map_or(0, |(_, count)| *count);
        self.api.requests(&account).split_off(before)
    }

    /// The same, of the writes alone.
    pub(crate) fn writes(&self, account: &str) -> Vec<AuditedRequest> {
        let is_write = |request: &AuditedRequest| !matches!(request.verb.as_str(), "get" | "list" | "watch");
        self.requests(account).into_iter().filter(is_write).collect()
    }

    pub(crate) fn all<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// Creates one of ours or one of somebody's.
    pub(crate) async fn create<K>(&self, object: &K) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
    {
        let namespace = object.meta().namespace.clone().unwrap_or_else(|| WORK.to_owned());
        let made = self.all::<K>(&namespace).create(&PostParams::default(), object).await;
        made.expect("the test's own object is good")
    }

    /// What an edit by `kubectl` does.
    pub(crate) async fn merge<K>(&self, namespace: &str, name: &str, change: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
    {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        let patched = self.all::<K>(namespace).patch(name, &params, &Patch::Merge(change)).await;
        patched.expect("the test's own change is good")
    }

    /// What a component of the cluster writes.
    pub(crate) async fn merge_status<K>(&self, namespace: &str, name: &str, change: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
    {
        let params = PatchParams { field_manager: Some("other".to_owned()), ..PatchParams::default() };
        let patched = self.all::<K>(namespace).patch_status(name, &params, &Patch::Merge(change)).await;
        patched.expect("the test's own change is good")
    }

    pub(crate) async fn create_node(&self, name: &str) {
        let node: core::Node = typed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}));
        let nodes: Api<core::Node> = Api::all(self.admin.clone());
        nodes.create(&PostParams::default(), &node).await.expect("there is none of this name");
    }

    pub(crate) async fn get<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
    {
        self.all(namespace).get_opt(name).await.expect("the server answers")
    }

    pub(crate) async fn list<K>(&self, namespace: &str) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
    {
        self.all(namespace).list(&ListParams::default()).await.expect("the server answers").items
    }

    pub(crate) async fn delete<K>(&self, namespace: &str, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
    {
        self.all::<K>(namespace).delete(name, &at_once()).await.expect("it is there");
    }

    /// The addresses of a Service, comma separated; empty without any or without Service.
    pub(crate) async fn address(&self, name: &str) -> String {
        self.get::<core::Service>(WORK, name).await.map(|service| addresses(&service)).unwrap_or_default()
    }

    /// Waits until a Service has exactly these addresses, and the annotation that goes with them.
    pub(crate) async fn address_becomes(&self, name: &str, expected: &str) {
        let what = format!("{name} has {expected:?}");
        eventually(&what, async || {
            let Some(service) = self.get::<core::Service>(WORK, name).await else {
                return expected.is_empty();
            };
            let annotations = service.metadata.annotations.clone().unwrap_or_default();
            addresses(&service) == expected
                && annotations.contains_key(IP_ALLOCATED_FROM_POOL) != expected.is_empty()
        })
        .await;
    }

    /// Status and reason of a condition of a pool, at the newest generation.
    pub(crate) async fn condition(&self, pool: &str, kind: &str) -> Option<(String, String)> {
        let pool: IPAddressPool = self.get(NAMESPACE, pool).await?;
        let status = pool.status.filter(|status| status.observed_generation == pool.metadata.generation)?;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == kind)?;
        Some((condition.status, condition.reason))
    }
}

/// What every kind of these tests can do.
pub(crate) trait Object: Clone + Debug + Serialize + DeserializeOwned + 'static {}

impl<K: Clone + Debug + Serialize + DeserializeOwned + 'static> Object for K {}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(30)).await;
    }
}

pub(crate) fn service(name: &str) -> core::Service {
    objects::service(WORK, name)
}

/// One ready endpoint of a Service, as the cluster's own controller makes it.
pub(crate) fn slice(service: &str) -> discovery::EndpointSlice {
    typed(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-1"), "namespace": WORK,
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "wk01", "conditions": {"ready": true}}]}))
}

/// A Pod of ours that runs on a node.
pub(crate) fn pod(name: &str, component: &str, node: &str) -> core::Pod {
    typed(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE,
            "labels": {"app": "metallb", "component": component}},
        "spec": {"nodeName": node, "serviceAccountName": component,
            "containers": [{"name": component, "image": "ferrolb"}]}}))
}

/// The addresses that a Service shows, comma separated.
pub(crate) fn addresses(service: &core::Service) -> String {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.ip.as_deref()).collect::<Vec<_>>().join(",")
}

/// Deletion without grace: there is no kubelet that would end anything.
pub(crate) fn at_once() -> DeleteParams {
    DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }
}

/// Takes away what the test before has left.
async fn clear(client: &Client) {
    async fn kind<K>(api: Api<K>)
    where
        K: Resource<DynamicType = ()> + Object,
    {
        // It is refused where a test has taken the kind itself away.
        let _ = api.delete_collection(&at_once(), &ListParams::default()).await;
    }
    let own = || client.clone();
    kind::<core::Service>(Api::namespaced(own(), WORK)).await;
    kind::<discovery::EndpointSlice>(Api::namespaced(own(), WORK)).await;
    kind::<core::Event>(Api::namespaced(own(), WORK)).await;
    kind::<IPAddressPool>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<L2Advertisement>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<ServiceL2Status>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<ConfigurationState>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<core::Pod>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<core::Secret>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<Lease>(Api::namespaced(own(), NAMESPACE)).await;
    kind::<core::Node>(Api::all(own())).await;
}
