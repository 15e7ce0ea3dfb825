//! A cluster in memory with a controller, and what has to be true of it.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_api::{FakeApi, RequestRecord};
use ferrolb_api::annotations::IP_ALLOCATED_FROM_POOL;
use ferrolb_api::crd::IPAddressPool;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use tests::objects::{NAMESPACE, advertisement, pool, typed};
use tokio::time::sleep;

pub(crate) use crate::controller_process::Controller as Running;
use crate::support::{account, fake, service};

/// Long enough for any retry to have come round.
pub(crate) const SETTLED: Duration = Duration::from_secs(180);
/// L10: a watch that hangs is noticed and replaced within this time.
pub(crate) const L10: Duration = Duration::from_secs(60);
/// Somebody's Services live here.
pub(crate) const NS: Option<&str> = Some("default");
/// Our own objects live here.
pub(crate) const OWN: Option<&str> = Some(NAMESPACE);

impl Running {
    pub(crate) fn start(api: &FakeApi) -> Self {
        Self::run(api.client(&account("controller")))
    }

    /// As the manifests start it.
    pub(crate) fn start_elected(api: &FakeApi) -> Self {
        Self::run_elected(api.client(&account("controller")))
    }
}

/// A cluster with a pool of 100 addresses and `count` Services `web-0`, `web-1`, ...
pub(crate) fn cluster_with(api: FakeApi, count: usize) -> FakeApi {
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    let deployment: Deployment = typed(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "controller", "namespace": NAMESPACE},
        "spec": {"selector": {}, "template": {}}}));
    api.create(&deployment).expect(made);
    for index in 0..count {
        api.create(&service(&format!("web-{index}"))).expect(made);
    }
    api
}

pub(crate) fn cluster(count: usize) -> FakeApi {
    cluster_with(fake(), count)
}

pub(crate) async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn ingress(service: &core::Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    entries.iter().map(|entry| entry.ip.clone().unwrap_or_default()).collect()
}

pub(crate) fn pool_annotation(service: &core::Service) -> Option<&str> {
    let annotations = service.metadata.annotations.as_ref()?;
    annotations.get(IP_ALLOCATED_FROM_POOL).map(String::as_str)
}

pub(crate) fn get(api: &FakeApi, name: &str) -> core::Service {
    api.get(NS, name).expect("it decodes").expect("it is there")
}

pub(crate) fn address(api: &FakeApi, name: &str) -> String {
    ingress(&get(api, name)).join(",")
}

pub(crate) fn get_pool(api: &FakeApi, name: &str) -> IPAddressPool {
    api.get(OWN, name).expect("it decodes").expect("it is there")
}

/// Status and reason of `Ready`, and the generation that it speaks of.
pub(crate) fn ready(api: &FakeApi, pool: &str) -> Option<(String, String, Option<i64>)> {
    let status = get_pool(api, pool).status?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Ready")?.clone();
    assert_eq!(condition.observed_generation, status.observed_generation);
    Some((condition.status, condition.reason, condition.observed_generation))
}

/// The writes to the status of Services.
pub(crate) fn status_writes(api: &FakeApi) -> Vec<RequestRecord> {
    let is_status = |write: &RequestRecord| {
        write.resource == "services" && write.subresource.as_deref() == Some("status")
    };
    api.writes().into_iter().filter(is_status).collect()
}

/// Every Service of type LoadBalancer has one address, nobody else's, out of
/// the pool that it is annotated with; others have none; and the pools know.
pub(crate) fn assert_right(api: &FakeApi, context: &str) {
    let services = api.list::<core::Service>(None).expect("they decode");
    let mut taken = BTreeSet::new();
    for service in &services {
        let spec = service.spec.as_ref().expect("Services have one");
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let found = ingress(service);
        if spec.type_.as_deref() != Some("LoadBalancer") {
            assert!(
                found.is_empty() && pool_annotation(service).is_none(),
                "{context}: {name} has {found:?}"
            );
            continue;
        }
        assert_eq!(found.len(), 1, "{context}: {name} has {found:?}");
        assert_eq!(pool_annotation(service), Some("first"), "{context}: {name}");
        assert!(found[0].starts_with("172.16.16.1"), "{context}: {name} has {found:?}");
        assert!(taken.insert(found[0].clone()), "{context}: {} is assigned twice", found[0]);
    }
    let pool = get_pool(api, "first");
    let status = pool.status.expect("the controller wrote one");
    let assigned = i64::try_from(taken.len()).expect("a few");
    assert_eq!((status.assigned_ipv4, status.available_ipv4), (assigned, 100 - assigned), "{context}");
    assert_eq!(status.observed_generation, pool.metadata.generation, "{context}");
    assert_eq!(ready(api, "first").map(|ready| ready.0).as_deref(), Some("True"), "{context}");
}
