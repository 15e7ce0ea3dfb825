//! The semantics that controllers depend on, one row each. Every row takes any
//! client and a namespace of its own: the real API server is held to the same
//! table (`tests/real-api/semantics.rs`).

// Both binaries that include this file find it so.
#[path = "watches.rs"]
mod watches;

use std::collections::BTreeMap;

use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Row = fn(Client, &'static str) -> BoxFuture<'static, ()>;

const TABLE: &[(&str, Row)] = &[
    ("revisions", |client, ns| revisions(client, ns).boxed()),
    ("creation", |client, ns| creation(client, ns).boxed()),
    ("lists", |client, ns| lists(client, ns).boxed()),
    ("updates", |client, ns| updates(client, ns).boxed()),
    ("generation", |client, ns| generation(client, ns).boxed()),
    ("status-built-in", |client, ns| status_of_built_in(client, ns).boxed()),
    ("status-custom", |client, ns| status_of_custom(client, ns).boxed()),
    ("json-patch", |client, ns| json_patches(client, ns).boxed()),
    ("merge-patch", |client, ns| merge_patches(client, ns).boxed()),
    ("strategic-merge", |client, ns| strategic_merge(client, ns).boxed()),
    ("deletion", |client, ns| deletion(client, ns).boxed()),
    ("apply", |client, ns| server_side_apply(client, ns).boxed()),
    ("apply-lists", |client, ns| apply_lists(client, ns).boxed()),
    ("custom-resources", |client, ns| custom_resources(client, ns).boxed()),
    ("services", |client, ns| services(client, ns).boxed()),
    ("service-types", |client, ns| service_types(client, ns).boxed()),
    ("events", |client, ns| events(client, ns).boxed()),
    ("watches", |client, ns| watches::row(client, ns).boxed()),
];

/// Runs every row, in namespaces that it makes.
pub(crate) async fn keep_to_the_table(client: impl Fn() -> Client) {
    let mut broken = Vec::new();
    for (name, row) in TABLE {
        let client = client();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &typed(namespace)).await.expect("each name is used once");
        // A row that fails keeps nobody from the next.
        if tokio::spawn(row(client, name)).await.is_err() {
            broken.push(*name);
        }
    }
    assert_eq!(broken, [""; 0], "these rows do not hold; each has said why");
}

fn typed<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the test's own object decodes")
}

fn config_map(name: &str, data: Value) -> ConfigMap {
    typed(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

fn pool(name: &str, addresses: Value) -> IPAddressPool {
    typed(json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": name},
        "spec": {"addresses": addresses}}))
}

fn service(name: &str, spec: Value) -> Service {
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80}]);
    spec["selector"] = json!({"app": name});
    typed(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
}

#[track_caller]
fn refused<T>(result: kube::Result<T>, code: u16, reason: &str) -> String {
    match result {
        Err(kube::Error::Api(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (code, reason), "{}", status.message);
            status.message
        }
        Err(other) => panic!("expected {code} {reason}, got {other}"),
        Ok(_) => panic!("expected {code} {reason}, but it was done"),
    }
}

fn version(object: &impl kube::ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).expect("versions are numbers here")
}

async fn revisions(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    let first = maps.create(&PostParams::default(), &config_map("a", json!({"k": "1"}))).await.expect("new");
    let other = maps.create(&PostParams::default(), &config_map("b", json!({}))).await.expect("new");
    assert!(version(&other) > version(&first));
    let list = maps.list(&ListParams::default()).await.expect("a list");
    assert!(list.metadata.resource_version.is_some_and(|version| !version.is_empty()));
    // A write that changes nothing is no write.
    let same = maps.replace("a", &PostParams::default(), &first).await.expect("at its version");
    assert_eq!(version(&same), version(&first));
    let patch = Patch::Merge(json!({"data": {"k": "1"}}));
    let same = maps.patch("a", &PatchParams::default(), &patch).await.expect("an empty change");
    assert_eq!(version(&same), version(&first));
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let newer = maps.patch("a", &PatchParams::default(), &patch).await.expect("a change");
    assert!(version(&newer) > version(&other));
}

async fn creation(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    let params = PostParams::default();
    let created = maps.create(&params, &config_map("a", json!({}))).await.expect("new");
    assert!(created.uid().is_some_and(|uid| !uid.is_empty()));
    assert!(created.creation_timestamp().is_some());
    refused(maps.create(&params, &config_map("a", json!({}))).await, 409, "AlreadyExists");
    let mut generated = config_map("", json!({}));
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("pre-".to_owned());
    let one = maps.create(&params, &generated).await.expect("a name is made");
    let two = maps.create(&params, &generated).await.expect("another name is made");
    assert!(
        one.name_any().starts_with("pre-") && one.name_any().len() > 4 && one.name_any() != two.name_any()
    );
    let mut versioned = config_map("c", json!({}));
    versioned.metadata.resource_version = Some("1".to_owned());
    refused(maps.create(&params, &versioned).await, 500, "");
    let elsewhere: Api<ConfigMap> = Api::namespaced(client, "no-such-namespace");
    refused(elsewhere.create(&params, &config_map("a", json!({}))).await, 404, "NotFound");
    refused(maps.get("nothing").await, 404, "NotFound");
}

async fn lists(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    for index in 0..7 {
        let mut map = config_map(&format!("m{index}"), json!({}));
        map.metadata.labels = Some(BTreeMap::from([("odd".to_owned(), (index % 2 == 1).to_string())]));
        maps.create(&PostParams::default(), &map).await.expect("new");
    }
    let names = |list: kube::core::ObjectList<ConfigMap>| {
        let names: Vec<_> = list.items.iter().map(kube::ResourceExt::name_any).collect();
        names.into_iter().filter(|name| name.starts_with('m')).collect::<Vec<_>>().join(" ")
    };
    let list = |params: ListParams| {
        let maps = maps.clone();
        async move { maps.list(&params).await.expect("a list") }
    };
    assert_eq!(names(list(ListParams::default().labels("odd=true")).await), "m1 m3 m5");
    assert_eq!(names(list(ListParams::default().labels("odd notin (true)")).await), "m0 m2 m4 m6");
    assert_eq!(names(list(ListParams::default().fields("metadata.name=m3")).await), "m3");
    refused(maps.list(&ListParams::default().fields("data.x=1")).await, 400, "BadRequest");
    // Pages stand for one moment, whatever is written between them.
    let odd = ListParams::default().labels("odd");
    let first = list(odd.clone().limit(3)).await;
    let token = first.metadata.continue_.clone().expect("there is more");
    let moment = first.metadata.resource_version.clone();
    assert_eq!(names(first), "m0 m1 m2");
    maps.delete("m4", &DeleteParams::default()).await.expect("it is there");
    let second = list(odd.clone().limit(10).continue_token(&token)).await;
    assert_eq!(second.metadata.resource_version, moment);
    assert!(second.metadata.continue_.is_none_or(|token| token.is_empty()));
    let second = list(odd.limit(10).continue_token(&token)).await;
    assert_eq!(names(second), "m3 m4 m5 m6");
}

async fn updates(client: Client, ns: &str) {
    let params = PostParams::default();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    let old = maps.create(&params, &config_map("a", json!({"k": "1"}))).await.expect("new");
    let new = maps.replace("a", &params, &config_map("a", json!({"k": "2"}))).await.expect("unconditional");
    assert_eq!(new.uid(), old.uid());
    refused(maps.replace("a", &params, &old).await, 409, "Conflict");
    let stale =
        Patch::Merge(json!({"metadata": {"resourceVersion": old.resource_version()}, "data": {"k": "3"}}));
    refused(maps.patch("a", &PatchParams::default(), &stale).await, 409, "Conflict");
    let mut other = new.clone();
    other.metadata.uid = Some("another".to_owned());
    refused(maps.replace("a", &params, &other).await, 409, "Conflict");
    refused(maps.replace("b", &params, &config_map("b", json!({}))).await, 404, "NotFound");
    // Custom resources and Leases are updated at a version only.
    let pools: Api<IPAddressPool> = Api::namespaced(client.clone(), ns);
    pools.create(&params, &pool("p", json!(["10.0.0.0/24"]))).await.expect("new");
    refused(pools.replace("p", &params, &pool("p", json!(["10.0.1.0/24"]))).await, 422, "Invalid");
    let leases: Api<Lease> = Api::namespaced(client, ns);
    let lease: Lease = typed(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}));
    leases.create(&params, &lease).await.expect("new");
    refused(leases.replace("l", &params, &lease).await, 422, "Invalid");
}

async fn generation(client: Client, ns: &str) {
    let pools: Api<IPAddressPool> = Api::namespaced(client.clone(), ns);
    let patch = |value: Value| {
        let pools = pools.clone();
        async move {
            let patched = pools.patch("p", &PatchParams::default(), &Patch::Merge(value)).await;
            patched.expect("a sound change").metadata.generation
        }
    };
    pools.create(&PostParams::default(), &pool("p", json!(["10.0.0.0/24"]))).await.expect("new");
    assert_eq!(patch(json!({"metadata": {"labels": {"a": "b"}}})).await, Some(1));
    assert_eq!(patch(json!({"spec": {"autoAssign": false}})).await, Some(2));
    let status = Patch::Merge(json!({"status": {"assignedIPv4": 3}}));
    let written = pools.patch_status("p", &PatchParams::default(), &status).await.expect("a status");
    assert_eq!(written.metadata.generation, Some(2));
    // A Service has none.
    let services: Api<Service> = Api::namespaced(client, ns);
    let created = services.create(&PostParams::default(), &service("s", json!({}))).await.expect("new");
    assert_eq!(created.metadata.generation, None);
}

async fn status_of_built_in(client: Client, ns: &str) {
    let services: Api<Service> = Api::namespaced(client, ns);
    let mut object = service("s", json!({"type": "LoadBalancer"}));
    object.status = typed(json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}));
    let created = services.create(&PostParams::default(), &object).await.expect("new");
    assert_eq!(ingress(&created), Vec::<String>::new(), "a status cannot be created");
    let mut wanted = created.clone();
    wanted.status = typed(json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}));
    wanted.metadata.annotations = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    let same = services.replace("s", &PostParams::default(), &wanted).await.expect("at its version");
    assert_eq!(ingress(&same), Vec::<String>::new(), "the main endpoint writes no status");
    assert_eq!(same.annotations().len(), 1);
    // The status endpoint writes status and metadata, and no spec.
    wanted = same;
    wanted.status = typed(json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}));
    wanted.annotations_mut().insert("c".to_owned(), "d".to_owned());
    wanted.spec.get_or_insert_default().session_affinity = Some("ClientIP".to_owned());
    let written =
        services.replace_status("s", &PostParams::default(), &wanted).await.expect("at its version");
    assert_eq!(ingress(&written), ["10.0.0.1 VIP"], "ipMode is filled in");
    assert_eq!(written.annotations().len(), 2);
    assert_eq!(written.spec.and_then(|spec| spec.session_affinity).as_deref(), Some("None"));
    refused(services.replace_status("s", &PostParams::default(), &wanted).await, 409, "Conflict");
    let bad = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0"}]}}}));
    refused(services.patch_status("s", &PatchParams::default(), &bad).await, 422, "Invalid");
}

async fn status_of_custom(client: Client, ns: &str) {
    let pools: Api<IPAddressPool> = Api::namespaced(client, ns);
    pools.create(&PostParams::default(), &pool("p", json!(["10.0.0.0/24"]))).await.expect("new");
    let patch = Patch::Merge(json!({
        "metadata": {"annotations": {"a": "b"}}, "spec": {"autoAssign": false}, "status": {"assignedIPv4": 3},
    }));
    let main = pools.patch("p", &PatchParams::default(), &patch).await.expect("a change");
    assert!(main.status.is_none() && !main.spec.auto_assign && main.annotations().len() == 1);
    let patch = Patch::Merge(json!({
        "metadata": {"annotations": {"c": "d"}}, "spec": {"autoAssign": true}, "status": {"assignedIPv4": 3},
    }));
    let status = pools.patch_status("p", &PatchParams::default(), &patch).await.expect("a change");
    assert_eq!(status.status.map(|status| status.assigned_ipv4), Some(3));
    assert!(!status.spec.auto_assign, "no spec through the status endpoint");
    assert_eq!(status.metadata.annotations.map(|all| all.len()), Some(1), "nor metadata");
}

async fn json_patches(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    maps.create(&PostParams::default(), &config_map("a", json!({"k": "1"}))).await.expect("new");
    let patch = |value: Value| {
        let maps = maps.clone();
        async move {
            let patch = Patch::<ConfigMap>::Json(typed(value));
            maps.patch("a", &PatchParams::default(), &patch).await
        }
    };
    let finalizers = patch(json!([
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/f"]},
    ]));
    assert_eq!(finalizers.await.expect("absent is null").finalizers(), ["example.com/f"]);
    let failed = patch(json!([
        {"op": "replace", "path": "/data/k", "value": "2"},
        {"op": "test", "path": "/data/k", "value": "1"},
    ]));
    refused(failed.await, 422, "Invalid");
    refused(patch(json!([{"op": "remove", "path": "/data/x"}])).await, 422, "Invalid");
    let after = maps.get("a").await.expect("it is there");
    assert_eq!(after.data, Some(BTreeMap::from([("k".to_owned(), "1".to_owned())])), "all or nothing");
    patch(json!([{"op": "remove", "path": "/metadata/finalizers/0"}])).await.expect("it is there");
}

async fn merge_patches(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    let params = PatchParams::default();
    maps.create(&PostParams::default(), &config_map("a", json!({"k": "1", "l": "2"}))).await.expect("new");
    let patch = Patch::Merge(json!({"data": {"k": null, "m": "3"}}));
    let merged = maps.patch("a", &params, &patch).await.expect("a change");
    let expected = BTreeMap::from([("l", "2"), ("m", "3")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(merged.data, Some(expected));
    refused(maps.patch("b", &params, &patch).await, 404, "NotFound");
    let wrong = Patch::Merge(json!({"data": {"k": 1}}));
    refused(maps.patch("a", &params, &wrong).await, 422, "Invalid");
}

/// Real servers refuse it for custom resources; this one refuses it for all.
async fn strategic_merge(client: Client, ns: &str) {
    let pools: Api<IPAddressPool> = Api::namespaced(client, ns);
    pools.create(&PostParams::default(), &pool("p", json!(["10.0.0.0/24"]))).await.expect("new");
    let patch = Patch::Strategic(json!({"spec": {"autoAssign": false}}));
    refused(pools.patch("p", &PatchParams::default(), &patch).await, 415, "UnsupportedMediaType");
}

async fn deletion(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    let mut map = config_map("a", json!({}));
    map.metadata.finalizers = Some(vec!["example.com/f".to_owned()]);
    let created = maps.create(&PostParams::default(), &map).await.expect("new");
    let other = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let with_other = DeleteParams { preconditions: Some(other), ..DeleteParams::default() };
    refused(maps.delete("a", &with_other).await, 409, "Conflict");
    assert!(maps.delete("a", &DeleteParams::default()).await.expect("it is there").is_left(), "only marked");
    let marked = maps.get("a").await.expect("its finalizer holds it");
    assert!(marked.metadata.deletion_timestamp.is_some() && version(&marked) > version(&created));
    assert!(maps.delete("a", &DeleteParams::default()).await.expect("it is there").is_left());
    assert_eq!(version(&maps.get("a").await.expect("still there")), version(&marked), "marked once");
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("a", &PatchParams::default(), &patch).await.expect("the last finalizer goes");
    refused(maps.get("a").await, 404, "NotFound");
    refused(maps.delete("a", &DeleteParams::default()).await, 404, "NotFound");
}

async fn server_side_apply(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    let apply = |manager: &'static str, force: bool, data: Value| {
        let maps = maps.clone();
        let params = PatchParams { force, ..PatchParams::apply(manager) };
        async move { maps.patch("a", &params, &Patch::Apply(config_map("a", data))).await }
    };
    let text = |map: ConfigMap| {
        map.data.unwrap_or_default().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text(apply("one", false, json!({"k": "1", "l": "1"})).await.expect("created")), "k=1 l=1");
    let before = version(&maps.get("a").await.expect("it was created"));
    apply("one", false, json!({"k": "1", "l": "1"})).await.expect("the same again");
    assert_eq!(version(&maps.get("a").await.expect("it is there")), before);
    let message = refused(apply("two", false, json!({"k": "2"})).await, 409, "Conflict");
    assert!(message.contains("conflict"), "{message}");
    apply("two", false, json!({"k": "1"})).await.expect("the same value is shared");
    assert_eq!(text(apply("two", true, json!({"k": "2"})).await.expect("forced")), "k=2 l=1");
    // What is applied no more is gone, unless somebody else owns it too.
    assert_eq!(text(apply("one", false, json!({})).await.expect("lets go of l")), "k=2");
    // What an update wrote is the updater's.
    let patch = Patch::Merge(json!({"data": {"u": "1"}}));
    maps.patch("a", &PatchParams::default(), &patch).await.expect("a change");
    refused(apply("two", false, json!({"k": "2", "u": "2"})).await, 409, "Conflict");
    // The status endpoint creates nothing, and an apply needs a manager.
    let pools: Api<IPAddressPool> = Api::namespaced(client, ns);
    let status = Patch::Apply(json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "status": {"assignedIPv4": 1}}));
    refused(pools.patch_status("p", &PatchParams::apply("one"), &status).await, 404, "NotFound");
}

async fn apply_lists(client: Client, ns: &str) {
    let services: Api<Service> = Api::namespaced(client, ns);
    services
        .create(&PostParams::default(), &service("s", json!({"type": "LoadBalancer"})))
        .await
        .expect("new");
    let apply = |manager: &'static str, status: Value| {
        let services = services.clone();
        let body = json!({"apiVersion": "v1", "kind": "Service", "status": status});
        async move { services.patch_status("s", &PatchParams::apply(manager), &Patch::Apply(body)).await }
    };
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let lists =
        |first: &str, second: &str| json!({"loadBalancer": {"ingress": [{"ip": first}, {"ip": second}]}});
    apply("lb", lists("10.0.0.1", "10.0.0.2")).await.expect("the first owner");
    refused(apply("other", lists("10.0.0.1", "10.0.0.3")).await, 409, "Conflict");
    let after =
        apply("lb", json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.3"}]}})).await.expect("its own");
    assert_eq!(ingress(&after), ["10.0.0.3 VIP"], "the list is one value");
    apply("a", json!({"conditions": [condition("A", "True")]})).await.expect("a condition of its own");
    let both = apply("b", json!({"conditions": [condition("B", "True")]})).await.expect("another one");
    let conditions = |service: Service| {
        let conditions = service.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().map(|condition| condition.type_.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(conditions(both), "A B");
    refused(apply("b", json!({"conditions": [condition("A", "False")]})).await, 409, "Conflict");
    assert_eq!(conditions(apply("a", json!({})).await.expect("lets go of A")), "B");
    // An apply by a manager takes nothing away that another wrote by update.
    let update = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.4"}]}}}));
    services.patch_status("s", &PatchParams::default(), &update).await.expect("an update");
    assert_eq!(ingress(&apply("lb", json!({})).await.expect("owns nothing now")), ["10.0.0.4 VIP"]);
}

async fn custom_resources(client: Client, ns: &str) {
    let pools: Api<IPAddressPool> = Api::namespaced(client.clone(), ns);
    let created =
        pools.create(&PostParams::default(), &pool("p", json!(["10.0.0.0/24"]))).await.expect("new");
    assert!(created.spec.auto_assign, "defaults are applied");
    let raw: Api<kube::core::DynamicObject> =
        Api::namespaced_with(client.clone(), ns, &kube::core::ApiResource::erase::<L2Advertisement>(&()));
    let object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": {"name": "a"},
        "spec": {"interfaces": ["eth0"], "unknown": 1}});
    let created =
        raw.create(&PostParams::default(), &typed(object)).await.expect("unknown fields are no error");
    assert!(created.data["spec"].get("unknown").is_none(), "but they are not kept");
    let wrong = Patch::Merge(json!({"spec": {"interfaces": "eth0"}}));
    refused(raw.patch("a", &PatchParams::default(), &wrong).await, 422, "Invalid");
    let wrong = Patch::Merge(json!({"spec": {"addresses": null}}));
    refused(pools.patch("p", &PatchParams::default(), &wrong).await, 422, "Invalid");
}

async fn services(client: Client, ns: &str) {
    let services: Api<Service> = Api::namespaced(client, ns);
    let create = |name: &'static str, spec: Value| {
        let services = services.clone();
        async move { services.create(&PostParams::default(), &service(name, spec)).await }
    };
    let plain = create("plain", json!({})).await.expect("new").spec.unwrap_or_default();
    assert_eq!(plain.type_.as_deref(), Some("ClusterIP"));
    assert_eq!(plain.cluster_ips.as_ref().map(Vec::len), Some(1));
    assert_eq!(plain.ip_family_policy.as_deref(), Some("SingleStack"));
    assert_eq!(plain.external_traffic_policy, None);
    let port = plain.ports.unwrap_or_default().remove(0);
    assert_eq!((port.protocol.as_deref(), port.node_port), (Some("TCP"), None));
    let lb = create("lb", json!({"type": "LoadBalancer"})).await.expect("new").spec.unwrap_or_default();
    assert_eq!(lb.external_traffic_policy.as_deref(), Some("Cluster"));
    assert_eq!(lb.allocate_load_balancer_node_ports, Some(true));
    assert!(lb.ports.unwrap_or_default().iter().all(|port| port.node_port.is_some()));
    let dual = create("dual", json!({"type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack"})).await;
    let dual = dual.expect("new").spec.unwrap_or_default();
    let families = dual.ip_families.unwrap_or_default();
    assert_eq!(families.len(), dual.cluster_ips.unwrap_or_default().len());
    let headless = create("headless", json!({"clusterIP": "None"})).await.expect("new").spec;
    assert_eq!(headless.and_then(|spec| spec.cluster_ips), Some(vec!["None".to_owned()]));
    let without_ports: Service = typed(json!({"metadata": {"name": "x"}, "spec": {}}));
    refused(services.create(&PostParams::default(), &without_ports).await, 422, "Invalid");
}

async fn service_types(client: Client, ns: &str) {
    let services: Api<Service> = Api::namespaced(client, ns);
    let object = service("s", json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}));
    services.create(&PostParams::default(), &object).await.expect("new");
    let patch = |value: Value| {
        let services = services.clone();
        async move { services.patch("s", &PatchParams::default(), &Patch::Merge(value)).await }
    };
    let status = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}}));
    services.patch_status("s", &PatchParams::default(), &status).await.expect("it is a load balancer");
    refused(patch(json!({"spec": {"loadBalancerClass": "example.com/other"}})).await, 422, "Invalid");
    refused(patch(json!({"spec": {"clusterIP": "10.96.77.77"}})).await, 422, "Invalid");
    let plain = patch(json!({"spec": {"type": "ClusterIP"}})).await.expect("types may change");
    assert_eq!(ingress(&plain), Vec::<String>::new(), "its status went with the type");
    let spec = plain.spec.unwrap_or_default();
    assert_eq!((spec.load_balancer_class, spec.external_traffic_policy), (None, None));
    assert!(spec.ports.unwrap_or_default().iter().all(|port| port.node_port.is_none()));
    refused(services.patch_status("s", &PatchParams::default(), &status).await, 422, "Invalid");
}

async fn events(client: Client, ns: &str) {
    let events: Api<Event> = Api::namespaced(client, ns);
    let event = |namespace: &str| {
        typed::<Event>(json!({"metadata": {"generateName": "s.", "namespace": ns}, "reason": "IPAllocated",
            "type": "Normal", "count": 1,
            "involvedObject": {"kind": "Service", "name": "s", "namespace": namespace}}))
    };
    let created = events.create(&PostParams::default(), &event(ns)).await.expect("new");
    let patch = Patch::Merge(json!({"count": 2}));
    let counted = events.patch(&created.name_any(), &PatchParams::default(), &patch).await.expect("a count");
    assert_eq!(counted.count, Some(2));
    let selected =
        events.list(&ListParams::default().fields("involvedObject.name=s,reason=IPAllocated")).await;
    assert_eq!(selected.expect("a list").items.len(), 1);
    refused(events.create(&PostParams::default(), &event("elsewhere")).await, 422, "Invalid");
}

/// Address and ipMode of each entry.
fn ingress(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            format!("{} {}", text(&entry.ip), text(&entry.ip_mode))
        })
        .collect()
}
