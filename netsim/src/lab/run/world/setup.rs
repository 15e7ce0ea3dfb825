//! What the cluster holds at the start, and what the script begins with.

use std::time::Duration;

use ferrolb_api::{ServiceKey, Time};
use serde_json::json;

use super::{Event, World};
use crate::lab::address_plan;
use crate::lab::api::manifests::{Manifest, ManifestError, Manifests};
use crate::lab::api::objects::{Kind, Object};
use crate::lab::api::view;
use crate::lab::run::catalogue;
use crate::lab::run::timeline::Tone;
use crate::lab::stations::node::Node;

/// Nodes boot within this time of each other, so that their timers have no
/// common phase.
const BOOT_SPREAD: Duration = Duration::from_millis(300);
/// The controller starts within this time.
const CONTROLLER_SPREAD: Duration = Duration::from_millis(100);

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The scenario is not valid.
    #[error("{0}")]
    Scenario(String),
    /// The manifests cannot be used.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The manifests hold no pool: no Service would ever get an address.
    #[error("the manifests hold no IPAddressPool in the namespace {}", address_plan::NAMESPACE)]
    NoPool,
}

/// The objects of a run: the configuration first, the Services later.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    config: Vec<Object>,
    services: Vec<Object>,
    /// Whether the Service is ours, because the manifests hold none.
    is_default_service: bool,
}

impl Workload {
    /// Sorts the manifests, and adds what a cluster of `nodes` nodes has anyway.
    ///
    /// # Errors
    /// If there is no pool.
    pub fn new(manifests: &Manifests, nodes: u8) -> Result<Self, SetupError> {
        let is_ours = |pool: &Object| pool.key().namespace == address_plan::NAMESPACE;
        if !manifests.of_kind(Kind::IPAddressPool).any(is_ours) {
            return Err(SetupError::NoPool);
        }
        let mut workload = Self::default();
        let balanced =
            |object: &Object| view::service(object).is_some_and(|service| service.is_load_balancer);
        let has_service = manifests.of_kind(Kind::Service).any(balanced);
        let built_in = if has_service { Manifests::default() } else { catalogue::default_service()? };
        workload.is_default_service = !has_service;
        for index in 0..nodes {
            workload.config.extend(node_objects(index));
        }
        for Manifest { object, .. } in manifests.objects.iter().chain(&built_in.objects) {
            if matches!(object, Object::Service(_) | Object::EndpointSlice(_)) {
                workload.services.push(object.clone());
            } else {
                workload.config.push(object.clone());
            }
        }
        Ok(workload)
    }

    /// What a cluster of `nodes` nodes has anyway.
    #[must_use]
    pub fn bare(nodes: u8) -> Self {
        Self { config: (0..nodes).flat_map(node_objects).collect(), ..Self::default() }
    }

    /// The Service that clients ask: the first that wants to be balanced.
    #[must_use]
    pub fn first_service(&self) -> Option<ServiceKey> {
        let services = self.services.iter().filter_map(view::service);
        services.into_iter().find(|service| service.is_load_balancer).map(|service| service.key)
    }
}

/// A Node and the Pod of its speaker.
fn node_objects(index: u8) -> [Object; 2] {
    let (name, address) = (address_plan::node_name(index), address_plan::node_address(index).to_string());
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    });
    let node = Object::from_json(Kind::Node, node).expect("this literal is a whole Node");
    [node, speaker_pod(index)]
}

/// The Pod of a node's speaker.
pub(super) fn speaker_pod(index: u8) -> Object {
    let (name, address) = (address_plan::node_name(index), address_plan::node_address(index).to_string());
    let pod = json!({
        "metadata": {
            "name": format!("speaker-{name}"),
            "namespace": address_plan::NAMESPACE,
            "labels": {"app": "metallb", "component": "speaker"},
        },
        "spec": {"nodeName": name, "containers": [], "hostNetwork": true},
        "status": {"podIP": address},
    });
    Object::from_json(Kind::Pod, pod).expect("this literal is a whole Pod")
}

/// An EndpointSlice with one ready endpoint on each of these nodes.
pub(super) fn endpoints(service: &ServiceKey, nodes: impl Iterator<Item = String>) -> Object {
    let endpoint = |(index, node): (usize, String)| {
        json!({
            "addresses": [format!("10.244.{index}.10")],
            "nodeName": node,
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    let value = json!({
        "metadata": {
            "name": format!("{}-slice", service.name()),
            "namespace": service.namespace(),
            "labels": {"kubernetes.io/service-name": service.name()},
        },
        "addressType": "IPv4",
        "endpoints": nodes.enumerate().map(endpoint).collect::<Vec<_>>(),
    });
    Object::from_json(Kind::EndpointSlice, value).expect("this literal is a whole EndpointSlice")
}

impl World {
    /// Applies the configuration and writes the script.
    pub(super) fn prepare(&mut self) {
        for node in &self.stations.nodes {
            self.checkers.add_node(node.name(), node.nics().iter().map(|(_, address)| *address));
        }
        for object in std::mem::take(&mut self.workload.config) {
            self.describe_config(&object);
            self.api.apply(self.now, object);
        }
        for namespace in ["default", address_plan::NAMESPACE] {
            let value = json!({"metadata": {"name": namespace}});
            let object = Object::from_json(Kind::Namespace, value).expect("this literal is a Namespace");
            if self.api.store().get(&object.key()).is_none() {
                self.api.apply(self.now, object);
            }
        }
        let mut boot = self.seed.stream("boot");
        let controller = boot.between(Duration::ZERO, CONTROLLER_SPREAD);
        self.schedule(controller, Event::StartController);
        for index in 0..self.stations.nodes.len() {
            let at = boot.between(Duration::ZERO, BOOT_SPREAD);
            self.schedule(at, Event::Boot(index));
        }
        let nodes: Vec<_> = self.stations.nodes.iter().map(Node::address).collect();
        for client in &mut self.stations.clients {
            client.greet(Time::ZERO + BOOT_SPREAD, nodes.iter().copied());
        }
        self.schedule(self.scenario.services_at, Event::ApplyServices);
        let mut phases = self.seed.stream("scenario");
        let mut last = self.scenario.services_at;
        for step in self.scenario.steps.clone() {
            let at = step.at + phases.between(Duration::ZERO, step.spread);
            last = last.max(at);
            self.schedule(at, Event::Step(step.action));
        }
        self.end = Time::ZERO + last + self.scenario.settle;
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        let sequence = u32::try_from(self.script.len()).unwrap_or(u32::MAX);
        self.script.insert((Time::ZERO + at, sequence), event);
    }

    fn describe_config(&mut self, object: &Object) {
        let name = object.metadata().name.clone().unwrap_or_default();
        let what = match object {
            Object::Pool(pool) => format!("IPAddressPool {name}: {}", pool.spec.addresses.join(", ")),
            Object::Advertisement(ad) => {
                let pools = &ad.spec.ip_address_pools;
                let pools = if pools.is_empty() { "all pools".to_owned() } else { pools.join(", ") };
                format!("L2Advertisement {name}: announces {pools}")
            }
            _ => return,
        };
        self.log("api", Tone::Plain, what);
    }

    /// Applies the Services, each with endpoints on every node.
    pub(super) fn apply_services(&mut self) {
        for object in std::mem::take(&mut self.workload.services) {
            self.apply(object);
        }
    }

    /// `kubectl apply` of one object; a Service gets endpoints with it.
    pub(super) fn apply(&mut self, object: Object) {
        let nodes = self.scenario.nodes;
        if let Some(service) = view::service(&object) {
            let ports: Vec<String> =
                service.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
            if service.is_load_balancer {
                let origin = if self.workload.is_default_service { " (built in)" } else { "" };
                let what =
                    format!("Service {} created: LoadBalancer, {}{origin}", service.key, ports.join(" "));
                self.log("api", Tone::Plain, what);
            }
            let slice = endpoints(&service.key, (0..nodes).map(address_plan::node_name));
            if self.api.store().get(&slice.key()).is_none() {
                self.api.apply(self.now, slice);
            }
        } else {
            self.describe_config(&object);
        }
        if matches!(object, Object::Pool(_) | Object::Advertisement(_) | Object::Namespace(_)) {
            self.checkers.config_changed();
        }
        self.api.apply(self.now, object);
        self.checkers.cause(self.now);
        self.store_changed();
    }
}
