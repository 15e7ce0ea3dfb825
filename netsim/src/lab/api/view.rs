//! What one client of the API server has been told, in the words of the cores.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_api::config::Resources;
use ferrolb_api::{EndpointSlice, L2Status, Namespace, Node, NodeName, Service};
use speaker_core::Peer;

use crate::lab::api::objects::{Key, Kind, Object};

/// A client's copy of the cluster's objects.
#[derive(Clone, Debug, Default)]
pub struct WatchCache {
    objects: BTreeMap<Key, Object>,
    listed: BTreeSet<Kind>,
}

impl WatchCache {
    /// Takes a new list of all objects of `kind`.
    pub fn replace(&mut self, kind: Kind, objects: impl IntoIterator<Item = (Key, Object)>) {
        self.objects.retain(|key, _| key.kind != kind);
        self.objects.extend(objects);
        self.listed.insert(kind);
    }

    /// Takes one object; gives the version known before.
    pub fn put(&mut self, key: Key, object: Object) -> Option<Object> {
        self.objects.insert(key, object)
    }

    /// Forgets an object. Returns whether it was known.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.objects.remove(key).is_some()
    }

    /// Whether all of `kinds` have been listed at least once.
    #[must_use]
    pub fn has_listed(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.listed.contains(kind))
    }

    /// The known objects of a kind.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |(key, _)| key.kind == kind).map(|(_, object)| object)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// The known Services.
    #[must_use]
    pub fn services(&self) -> Vec<Service> {
        let objects = self.objects(Kind::Service);
        objects.filter_map(service).collect()
    }

    /// The known EndpointSlices.
    #[must_use]
    pub fn endpoint_slices(&self) -> Vec<EndpointSlice> {
        let objects = self.objects(Kind::EndpointSlice);
        objects.filter_map(endpoint_slice).collect()
    }

    /// The known `ServiceL2Status` objects.
    #[must_use]
    pub fn l2_statuses(&self) -> Vec<L2Status> {
        let objects = self.objects(Kind::ServiceL2Status);
        objects.filter_map(l2_status).collect()
    }

    /// The known Nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        let objects = self.objects(Kind::Node);
        objects
            .filter_map(|object| match object {
                Object::Node(node) => Some(Node::from(node.as_ref())),
                _ => None,
            })
            .collect()
    }

    /// The speakers' Pods that have an address.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let objects = self.objects(Kind::Pod);
        objects
            .filter_map(|object| match object {
                Object::Pod(pod) => {
                    let node = NodeName::from(pod.spec.as_ref()?.node_name.clone()?);
                    let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
                    Some(Peer { node, address, is_running: true })
                }
                _ => None,
            })
            .collect()
    }

    /// The known custom resources and Namespaces.
    #[must_use]
    pub fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for object in self.objects.values() {
            match object {
                Object::Pool(pool) => resources.pools.push(pool.as_ref().clone()),
                Object::Advertisement(ad) => resources.l2_advertisements.push(ad.as_ref().clone()),
                Object::Namespace(namespace) => {
                    resources.namespaces.push(Namespace::from(namespace.as_ref()));
                }
                _ => {}
            }
        }
        resources
    }
}

/// A Service as the cores see it; `None` if the object is of another kind.
#[must_use]
pub fn service(object: &Object) -> Option<Service> {
    match object {
        Object::Service(service) => Some(Service::from(service.as_ref())),
        _ => None,
    }
}

/// A `ServiceL2Status` as the cores see it; `None` if the object is of another kind.
#[must_use]
pub fn l2_status(object: &Object) -> Option<L2Status> {
    match object {
        Object::L2Status(object) => Some(L2Status::from(object.as_ref())),
        _ => None,
    }
}

/// An EndpointSlice as the cores see it; `None` if the object is of another kind.
#[must_use]
pub fn endpoint_slice(object: &Object) -> Option<EndpointSlice> {
    match object {
        Object::EndpointSlice(slice) => Some(EndpointSlice::from(slice.as_ref())),
        _ => None,
    }
}
