//! What Kubernetes has told: Services, endpoints, Nodes and our custom resources.

use std::collections::{BTreeMap, BTreeSet};

use std::net::IpAddr;

use ferrolb_api::config::Config;
use ferrolb_api::{EndpointSlice, Node, NodeName, Service, ServiceKey, endpoints};

use crate::ownership::assessment::Endpoints;

/// The cluster as far as it has been listed. Whatever was not listed yet is empty.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    services: BTreeMap<ServiceKey, Service>,
    /// By namespace and name.
    slices: BTreeMap<(String, String), EndpointSlice>,
    /// The slices of each Service.
    slices_of: BTreeMap<ServiceKey, BTreeSet<(String, String)>>,
    nodes: BTreeMap<NodeName, Node>,
    config: Config,
    synced: Synced,
}

/// The Service of the API server itself.
pub(crate) fn api_server_service() -> ServiceKey {
    ServiceKey::new(endpoints::API_SERVER_NAMESPACE, endpoints::API_SERVER_SLICE)
}

/// What has been listed at least once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) services: bool,
    pub(crate) endpoint_slices: bool,
    pub(crate) nodes: bool,
    pub(crate) resources: bool,
}

impl Synced {
    /// Whether all is there that says what can be announced, and where.
    pub(crate) const fn cluster(self) -> bool {
        self.services && self.endpoint_slices && self.nodes
    }

    /// The same, and how it is to be announced.
    pub(crate) const fn all(self) -> bool {
        self.cluster() && self.resources
    }
}

impl Cluster {
    /// What has been listed so far.
    pub(crate) const fn synced(&self) -> Synced {
        self.synced
    }

    /// The configuration in force; empty before the first (D5).
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// All Nodes.
    pub(crate) const fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.nodes
    }

    /// The endpoints of the API server.
    pub(crate) fn api_server(&self) -> impl Iterator<Item = &IpAddr> {
        let slices = self.slices_of.get(&api_server_service()).into_iter().flatten();
        slices.filter_map(|key| self.slices.get(key)).flat_map(|slice| &slice.api_server)
    }

    /// All Services.
    pub(crate) const fn services(&self) -> &BTreeMap<ServiceKey, Service> {
        &self.services
    }

    /// Puts a configuration in force. Gives whether it is another one.
    pub(crate) fn set_config(&mut self, config: Config) -> bool {
        let changed = !self.synced.resources || self.config != config;
        self.synced.resources = true;
        self.config = config;
        changed
    }

    /// Takes all Nodes. Gives whether anything is different.
    pub(crate) fn set_nodes(&mut self, nodes: Vec<Node>) -> bool {
        self.synced.nodes = true;
        let nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        let changed = self.nodes != nodes;
        self.nodes = nodes;
        changed
    }

    /// Takes all Services. Gives those that came, went or changed.
    pub(crate) fn set_services(&mut self, services: Vec<Service>) -> BTreeSet<ServiceKey> {
        self.synced.services = true;
        let services = services.into_iter().map(|service| (service.key.clone(), service)).collect();
        let before = std::mem::replace(&mut self.services, services);
        let gone = before.keys().filter(|key| !self.services.contains_key(*key));
        let new = self.services.iter().filter(|(key, service)| before.get(*key) != Some(*service));
        gone.chain(new.map(|(key, _)| key)).cloned().collect()
    }

    /// Takes one Service.
    pub(crate) fn set_service(&mut self, service: Service) {
        self.services.insert(service.key.clone(), service);
    }

    /// Forgets one Service.
    pub(crate) fn remove_service(&mut self, key: &ServiceKey) {
        self.services.remove(key);
    }

    /// Takes all EndpointSlices. Gives the Services whose slices came, went or
    /// changed.
    pub(crate) fn set_endpoint_slices(&mut self, slices: Vec<EndpointSlice>) -> BTreeSet<ServiceKey> {
        self.synced.endpoint_slices = true;
        let kept: BTreeSet<(String, String)> = slices.iter().map(slice_key).collect();
        let gone: Vec<_> = self.slices.keys().filter(|key| !kept.contains(*key)).cloned().collect();
        let mut affected = BTreeSet::new();
        for (namespace, name) in gone {
            affected.extend(self.remove_endpoint_slice(namespace, name));
        }
        for slice in slices {
            affected.extend(self.set_endpoint_slice(slice));
        }
        affected
    }

    /// Takes one EndpointSlice. Gives the Services that it belongs or belonged to.
    pub(crate) fn set_endpoint_slice(&mut self, slice: EndpointSlice) -> BTreeSet<ServiceKey> {
        let key = slice_key(&slice);
        if self.slices.get(&key) == Some(&slice) {
            return BTreeSet::new();
        }
        let mut affected = self.remove_endpoint_slice(key.0.clone(), key.1.clone());
        if let Some(service) = &slice.service {
            self.slices_of.entry(service.clone()).or_default().insert(key.clone());
            affected.insert(service.clone());
        }
        self.slices.insert(key, slice);
        affected
    }

    /// Forgets one EndpointSlice. Gives the Service that it belonged to.
    pub(crate) fn remove_endpoint_slice(&mut self, namespace: String, name: String) -> BTreeSet<ServiceKey> {
        let key = (namespace, name);
        let service = self.slices.remove(&key).and_then(|slice| slice.service);
        if let Some(service) = &service
            && let Some(slices) = self.slices_of.get_mut(service)
        {
            slices.remove(&key);
            if slices.is_empty() {
                self.slices_of.remove(service);
            }
        }
        service.into_iter().collect()
    }

    /// Where the Service's endpoints are that can serve, over all its slices.
    pub(crate) fn endpoints(&self, service: &ServiceKey) -> Endpoints {
        let slices = self.slices_of.get(service).into_iter().flatten();
        let slices = slices.filter_map(|key| self.slices.get(key));
        let mut endpoints = Endpoints::default();
        for endpoint in slices.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.can_serve) {
            endpoints.any = true;
            endpoints.nodes.extend(endpoint.node.clone());
        }
        endpoints
    }
}

fn slice_key(slice: &EndpointSlice) -> (String, String) {
    (slice.namespace.clone(), slice.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrolb_api::endpoints::Endpoint;

    fn slice(name: &str, service: Option<&str>, endpoints: &[(Option<&str>, bool)]) -> EndpointSlice {
        let endpoint = |(node, can_serve): &(Option<&str>, bool)| Endpoint {
            node: node.map(NodeName::from),
            can_serve: *can_serve,
        };
        EndpointSlice {
            api_server: Default::default(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            service: service.map(|service| ServiceKey::new("default", service)),
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }

    #[test]
    fn h111_endpoints_over_slices() {
        let web = ServiceKey::new("default", "web");
        for (slices, any, nodes) in [
            (vec![], false, vec![]),
            (vec![slice("a", Some("web"), &[])], false, vec![]),
            (vec![slice("a", Some("web"), &[(Some("wk01"), true)])], true, vec!["wk01"]),
            (vec![slice("a", Some("web"), &[(Some("wk01"), false)])], false, vec![]),
            (vec![slice("a", Some("web"), &[(None, true)])], true, vec![]),
            (
                vec![slice("a", Some("web"), &[(Some("wk01"), true), (Some("wk01"), false)])],
                true,
                vec!["wk01"],
            ),
            (
                vec![
                    slice("a", Some("web"), &[(Some("wk01"), true)]),
                    slice("b", Some("web"), &[(Some("wk02"), true)]),
                    slice("c", Some("other"), &[(Some("wk03"), true)]),
                    slice("d", None, &[(Some("wk04"), true)]),
                ],
                true,
                vec!["wk01", "wk02"],
            ),
        ] {
            let mut cluster = Cluster::default();
            cluster.set_endpoint_slices(slices.clone());
            let nodes = nodes.into_iter().map(NodeName::from).collect();
            assert_eq!(cluster.endpoints(&web), Endpoints { any, nodes }, "{slices:?}");
        }
    }

    #[test]
    fn a_slice_that_changes_its_service_affects_both() {
        let mut cluster = Cluster::default();
        let key = |name: &str| ServiceKey::new("default", name);
        assert_eq!(cluster.set_endpoint_slice(slice("a", Some("one"), &[(None, true)])), [key("one")].into());
        assert_eq!(cluster.set_endpoint_slice(slice("a", Some("one"), &[(None, true)])), [].into());
        let both = cluster.set_endpoint_slice(slice("a", Some("two"), &[(None, true)]));
        assert_eq!(both, [key("one"), key("two")].into());
        assert!(!cluster.endpoints(&key("one")).any);
        assert!(cluster.endpoints(&key("two")).any);
        assert_eq!(cluster.set_endpoint_slices(vec![]), [key("two")].into());
        assert!(cluster.slices_of.is_empty());
    }
}
