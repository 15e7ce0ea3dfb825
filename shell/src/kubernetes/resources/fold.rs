//! Changes in, whole [`Resources`] out, without any I/O.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::config::{Kind, NodeNetwork, Resources, Undecodable};
use ferrolb_api::crd::{
    IPAddressPool, IPAddressPoolStatus, L2Advertisement, L2AdvertisementStatus, LastKnownGood,
};
use ferrolb_api::{Namespace, Node};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::Statuses;
use crate::kubernetes::watch::{Change, Table};

/// One change of one of the watches.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// Of the pools.
    Pool(Change<IPAddressPool>),
    /// Of the advertisements.
    Advertisement(Change<L2Advertisement>),
    /// Of the Namespaces.
    Namespace(Change<Namespace>),
    /// Of the Nodes.
    Node(Change<Node>),
    /// Of the API server's slice.
    ApiServer(Change<BTreeSet<IpAddr>>),
    /// Of what speakers say of their nodes' networks.
    Network(Change<Option<NodeNetwork>>),
}

/// All objects as they now stand.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pools: Table<IPAddressPool>,
    advertisements: Table<L2Advertisement>,
    namespaces: Table<Namespace>,
    nodes: Table<Node>,
    api_server: Table<BTreeSet<IpAddr>>,
    /// The address by which we reach it ourselves.
    own_api_server: Option<IpAddr>,
    networks: Table<Option<NodeNetwork>>,
    sent: Option<Resources>,
}

/// A pool without what nobody looks at.
pub(super) fn slim_pool(mut pool: IPAddressPool) -> IPAddressPool {
    pool.metadata = slim_metadata(pool.metadata);
    pool
}

/// An advertisement without what nobody looks at.
pub(super) fn slim_advertisement(mut advertisement: L2Advertisement) -> L2Advertisement {
    advertisement.metadata = slim_metadata(advertisement.metadata);
    advertisement
}

/// Nothing of a Node but its labels and addresses.
pub(super) fn slim_node(node: &core::Node) -> Node {
    Node { network_unavailable: false, ..Node::from(node) }
}

fn slim_metadata(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        labels: metadata.labels,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        ..ObjectMeta::default()
    }
}

impl Fold {
    /// Nothing is known but the address by which we reach the API server ourselves.
    pub(super) fn new(own_api_server: Option<IpAddr>) -> Self {
        Self { own_api_server, ..Self::default() }
    }

    /// Takes one change in.
    pub(super) fn apply(&mut self, item: Item) {
        match item {
            Item::Pool(change) => self.pools.apply(change),
            Item::Advertisement(change) => self.advertisements.apply(change),
            Item::Namespace(change) => self.namespaces.apply(change),
            Item::Node(change) => self.nodes.apply(change),
            Item::ApiServer(change) => self.api_server.apply(change),
            Item::Network(change) => self.networks.apply(change),
        };
    }

    /// Whether a pool is pinned by labels of Namespaces (A18).
    pub(super) fn needs_namespaces(&self) -> bool {
        self.pools.objects().any(|pool| {
            let pinned = pool.spec.service_allocation.as_ref();
            let kept = last_known_good(pool.status.as_ref());
            let kept = kept.map(|kept| &kept.spec["serviceAllocation"]["namespaceSelectors"]);
            pinned.is_some_and(|pinned| !pinned.namespace_selectors.is_empty())
                || kept.is_some_and(|kept| !kept.is_null())
        })
    }

    /// Whether all is known that belongs to somebody else. Nothing waits for it for long: what is
    /// given out meanwhile is kept and warned of, and answered by nobody.
    pub(super) fn knows_surroundings(&self) -> bool {
        self.nodes.is_listed() && self.api_server.is_listed() && self.networks.is_listed()
    }

    /// Everything, if it is known whole and differs from what this gave last.
    pub(super) fn changed(&mut self) -> Option<Resources> {
        let is_whole = self.pools.is_listed()
            && self.advertisements.is_listed()
            && (self.namespaces.is_listed() || !self.needs_namespaces());
        if !is_whole {
            return None;
        }
        let resources = self.resources();
        if self.sent.as_ref() == Some(&resources) {
            return None;
        }
        self.sent = Some(resources.clone());
        Some(resources)
    }

    fn resources(&self) -> Resources {
        let undecodable: Vec<Undecodable> = undecodable(Kind::IPAddressPool, &self.pools)
            .chain(undecodable(Kind::L2Advertisement, &self.advertisements))
            .collect();
        // The core keeps the last valid version of these by itself.
        let is_readable = |kind, name: Option<&str>| {
            !undecodable.iter().any(|bad| bad.kind == kind && Some(bad.name.as_str()) == name)
        };
        let pools = self.pools.objects();
        let pools = pools.filter(|pool| is_readable(Kind::IPAddressPool, pool.metadata.name.as_deref()));
        let ads = self.advertisements.objects();
        let ads = ads.filter(|ad| is_readable(Kind::L2Advertisement, ad.metadata.name.as_deref()));
        let pools = pools.cloned().map(without_counters).collect();
        let l2_advertisements = ads.cloned().map(without_conditions).collect();
        let namespaces = self.namespaces.objects().cloned().collect();
        let nodes = self.nodes.is_listed().then(|| self.nodes.objects().cloned().collect());
        let api_server = self.api_server.objects().flatten().copied().chain(self.own_api_server).collect();
        let node_networks = self.networks.objects().flatten().cloned().collect();
        Resources { pools, l2_advertisements, namespaces, nodes, api_server, node_networks, undecodable }
    }

    /// Every status, once pools and advertisements are listed.
    pub(super) fn statuses(&self) -> Option<Statuses> {
        if !self.pools.is_listed() || !self.advertisements.is_listed() {
            return None;
        }
        let json = |status: serde_json::Result<Value>| status.unwrap_or_default();
        let pools = self.pools.objects().map(|pool| {
            let name = pool.metadata.name.clone().unwrap_or_default();
            ((Kind::IPAddressPool, name), json(serde_json::to_value(&pool.status)))
        });
        let advertisements = self.advertisements.objects().map(|advertisement| {
            let name = advertisement.metadata.name.clone().unwrap_or_default();
            ((Kind::L2Advertisement, name), json(serde_json::to_value(&advertisement.status)))
        });
        let mut statuses: Statuses = pools.chain(advertisements).collect();
        let undecodable = undecodable(Kind::IPAddressPool, &self.pools)
            .chain(undecodable(Kind::L2Advertisement, &self.advertisements));
        for bad in undecodable {
            statuses.entry((bad.kind, bad.name)).or_insert(Value::Null);
        }
        Some(statuses)
    }
}

fn last_known_good(status: Option<&IPAddressPoolStatus>) -> Option<&LastKnownGood> {
    status?.last_known_good.as_ref()
}

/// A pool with nothing in its status but the version that can stay in force.
fn without_counters(mut pool: IPAddressPool) -> IPAddressPool {
    let kept = pool.status.and_then(|status| status.last_known_good);
    pool.status = kept
        .map(|kept| IPAddressPoolStatus { last_known_good: Some(kept), ..IPAddressPoolStatus::default() });
    pool
}

/// The same of an advertisement.
fn without_conditions(mut ad: L2Advertisement) -> L2Advertisement {
    let kept = ad.status.and_then(|status| status.last_known_good);
    ad.status = kept.map(|kept| L2AdvertisementStatus {
        last_known_good: Some(kept),
        ..L2AdvertisementStatus::default()
    });
    ad
}

fn undecodable<V: Clone + PartialEq>(kind: Kind, table: &Table<V>) -> impl Iterator<Item = Undecodable> {
    table.undecodable().map(move |(key, problem)| Undecodable {
        kind,
        name: key.name.clone(),
        generation: problem.generation,
        error: problem.error.clone(),
    })
}

#[cfg(test)]
mod tests {
    use ferrolb_api::crd::{IPAddressPoolSpec, L2AdvertisementSpec, ServiceAllocationSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    use super::*;
    use crate::kubernetes::watch::{self, ObjectKey, Seen};

    fn pool(generation: i64, assigned: i64) -> IPAddressPool {
        let mut pool = IPAddressPool::new("pool", IPAddressPoolSpec::default());
        pool.metadata.generation = Some(generation);
        pool.status = Some(IPAddressPoolStatus { assigned_ipv4: assigned, ..IPAddressPoolStatus::default() });
        pool
    }

    fn seen<V>(name: &str, object: Result<V, &str>) -> Seen<V> {
        let key = ObjectKey { namespace: "metallb-system".to_owned(), name: name.to_owned() };
        let object = object.map_err(|error| watch::Undecodable { generation: 3, error: error.to_owned() });
        Seen { key, object }
    }

    fn listed(pools: Vec<Seen<IPAddressPool>>) -> Fold {
        let mut fold = Fold::default();
        fold.apply(Item::Pool(Change::List(pools)));
        assert!(fold.changed().is_none(), "the advertisements are not known yet");
        let advertisement = L2Advertisement::new("l2", L2AdvertisementSpec::default());
        fold.apply(Item::Advertisement(Change::List(vec![seen("l2", Ok(advertisement))])));
        fold
    }

    #[test]
    fn w37_only_what_is_looked_at_is_kept() {
        let ballast = "x".repeat(100_000);
        let metadata = serde_json::json!({
            "name": "one", "namespace": "metallb-system", "labels": { "zone": "east" }, "generation": 3,
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": ballast },
            "managedFields": [{ "manager": ballast, "operation": "Apply", "fieldsV1": { "f:spec": {} } }],
        });
        let spec = serde_json::json!({ "addresses": ["172.16.16.101-172.16.16.200"] });
        let object = serde_json::json!({ "metadata": metadata, "spec": spec });
        let pool = slim_pool(serde_json::from_value(object).expect("it is a pool"));
        assert_eq!((pool.spec.addresses.len(), pool.metadata.generation), (1, Some(3)));
        let object = serde_json::json!({ "metadata": metadata, "spec": {} });
        let advertisement =
            slim_advertisement(serde_json::from_value(object).expect("it is an advertisement"));
        assert_eq!(advertisement.metadata.name.as_deref(), Some("one"));
        let images = serde_json::json!([{ "names": [ballast], "sizeBytes": 1 }]);
        let object = serde_json::json!({ "metadata": metadata, "status": { "images": images } });
        let node = slim_node(&serde_json::from_value(object).expect("it is a Node"));
        assert_eq!(node.labels["zone"], "east");
        for kept in [format!("{pool:?}"), format!("{advertisement:?}"), format!("{node:?}")] {
            assert!(kept.len() < 5_000 && !kept.contains(&ballast), "{} bytes are kept", kept.len());
        }
    }

    #[test]
    fn w49_a_change_of_status_alone_is_no_input() {
        let mut fold = listed(vec![seen("pool", Ok(pool(1, 0)))]);
        assert_eq!(fold.changed().expect("everything is listed").pools.len(), 1);
        fold.apply(Item::Pool(Change::Applied(seen("pool", Ok(pool(1, 5))))));
        assert!(fold.changed().is_none());
        let status =
            &fold.statuses().expect("everything is listed")[&(Kind::IPAddressPool, "pool".to_owned())];
        assert_eq!(status["assignedIPv4"], 5);
        let mut kept = pool(1, 5);
        let spec = serde_json::json!({ "serviceAllocation": { "namespaceSelectors": [{}] } });
        let version = LastKnownGood { generation: 1, spec };
        kept.status.get_or_insert_default().last_known_good = Some(version.clone());
        fold.apply(Item::Pool(Change::Applied(seen("pool", Ok(kept)))));
        assert!(fold.needs_namespaces() && fold.changed().is_none(), "its Namespaces come first");
        fold.apply(Item::Namespace(Change::List(Vec::new())));
        let pools = fold.changed().expect("a version that can stay in force").pools;
        let expected =
            IPAddressPoolStatus { last_known_good: Some(version), ..IPAddressPoolStatus::default() };
        assert_eq!(pools[0].status, Some(expected), "and nothing else of the status");
        fold.apply(Item::Pool(Change::Applied(seen("pool", Ok(pool(2, 5))))));
        assert!(fold.changed().is_some(), "the spec is another one");
        fold.apply(Item::Pool(Change::List(vec![seen("pool", Ok(pool(2, 6)))])));
        assert!(fold.changed().is_none(), "a list that says the same");
        fold.apply(Item::Pool(Change::List(Vec::new())));
        assert!(fold.changed().expect("the pool is gone").pools.is_empty());
    }

    #[test]
    fn a18_namespaces_are_waited_for_only_if_a_pool_needs_them() {
        let mut pinned = pool(1, 0);
        let selectors = vec![LabelSelector::default()];
        pinned.spec.service_allocation = Some(ServiceAllocationSpec {
            namespace_selectors: selectors,
            ..ServiceAllocationSpec::default()
        });
        let mut fold = listed(vec![seen("pool", Ok(pinned))]);
        assert!(fold.needs_namespaces() && fold.changed().is_none());
        let namespace = Namespace { name: "default".to_owned(), labels: [].into() };
        fold.apply(Item::Namespace(Change::List(vec![seen("default", Ok(namespace))])));
        assert_eq!(fold.changed().expect("all is known").namespaces.len(), 1);
    }

    #[test]
    fn a29_b28_of_nodes_only_labels_matter() {
        let node = |zone: &str, heartbeat: &str| {
            let node = serde_json::json!({
                "metadata": { "name": "n1", "labels": { "zone": zone }, "resourceVersion": heartbeat },
                "status": { "conditions": [{ "type": "NetworkUnavailable", "status": heartbeat }] },
            });
            slim_node(&serde_json::from_value(node).expect("it is a Node"))
        };
        let mut fold = listed(vec![seen("pool", Ok(pool(1, 0)))]);
        let resources = fold.changed().expect("it waits for no Node");
        assert!(resources.nodes.is_none());
        fold.apply(Item::Node(Change::List(vec![seen("n1", Ok(node("east", "False")))])));
        let nodes = fold.changed().and_then(|resources| resources.nodes).expect("they are known");
        assert_eq!(nodes[0].labels["zone"], "east");
        fold.apply(Item::Node(Change::Applied(seen("n1", Ok(node("east", "True"))))));
        assert!(fold.changed().is_none(), "a heartbeat");
        fold.apply(Item::Node(Change::Applied(seen("n1", Ok(node("west", "True"))))));
        assert!(fold.changed().is_some(), "a label");
    }

    #[test]
    fn what_belongs_to_others_is_told_as_it_becomes_known() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("a literal");
        let mut fold = Fold::new(Some(ip("10.0.0.100")));
        fold.apply(Item::Pool(Change::List(vec![seen("pool", Ok(pool(1, 0)))])));
        fold.apply(Item::Advertisement(Change::List(Vec::new())));
        let resources = fold.changed().expect("it waits for nothing");
        assert_eq!(resources.api_server, [ip("10.0.0.100")].into());
        assert!(!fold.knows_surroundings());
        let addresses = serde_json::json!([{ "type": "InternalIP", "address": "10.0.0.2" },
            { "type": "ExternalIP", "address": "192.0.2.7" }, { "type": "Hostname", "address": "n1" }]);
        let node = serde_json::json!({ "metadata": { "name": "n1" }, "status": { "addresses": addresses } });
        let node = slim_node(&serde_json::from_value(node).expect("it is a Node"));
        fold.apply(Item::Node(Change::List(vec![seen("n1", Ok(node))])));
        let nodes = fold.changed().and_then(|resources| resources.nodes).expect("they are known");
        assert_eq!(nodes[0].addresses, [ip("10.0.0.2"), ip("192.0.2.7")].into());
        fold.apply(Item::ApiServer(Change::List(vec![seen("kubernetes", Ok([ip("10.0.0.11")].into()))])));
        let resources = fold.changed().expect("the API server's endpoints are known");
        assert_eq!(resources.api_server, [ip("10.0.0.11"), ip("10.0.0.100")].into());
        let network =
            NodeNetwork { node: "n1".into(), addresses: [].into(), gateways: [ip("10.0.0.1")].into() };
        let objects = vec![seen("controller", Ok(None)), seen("speaker-n1", Ok(Some(network.clone())))];
        fold.apply(Item::Network(Change::List(objects)));
        assert_eq!(fold.changed().expect("a speaker has said it").node_networks, [network]);
        assert!(fold.knows_surroundings());
    }

    #[test]
    fn an_object_that_cannot_be_read_is_named_and_the_rest_stands() {
        let mut fold =
            listed(vec![seen("bad", Err("addresses: expected a list")), seen("pool", Ok(pool(1, 0)))]);
        let resources = fold.changed().expect("everything is listed");
        assert_eq!(resources.pools.len(), 1);
        let [bad] = resources.undecodable.as_slice() else { panic!("one is bad: {resources:?}") };
        assert_eq!((bad.kind, bad.name.as_str(), bad.generation), (Kind::IPAddressPool, "bad", 3));
        let statuses = fold.statuses().expect("everything is listed");
        assert_eq!(statuses[&(Kind::IPAddressPool, "bad".to_owned())], Value::Null);
        fold.apply(Item::Pool(Change::Applied(seen("pool", Err("worse")))));
        let resources = fold.changed().expect("another one went bad");
        assert_eq!((resources.pools.len(), resources.undecodable.len()), (0, 2));
        fold.apply(Item::Pool(Change::Applied(seen("pool", Ok(pool(1, 0))))));
        assert_eq!(fold.changed().expect("it is good again").pools.len(), 1);
    }
}
