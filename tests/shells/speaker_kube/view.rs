//! What a core knows from its inputs, and what it should know.

use std::collections::BTreeMap;

use fake_api::FakeApi;
use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
use ferrolb_api::{EndpointSlice, Node, Service, ServiceKey};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use speaker_core::{Input, Peer};
use tests::objects::NAMESPACE;

/// What a core knows from its inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Every pool that can be read: its name and ranges.
    pub(crate) pools: BTreeMap<String, Vec<String>>,
    pub(crate) advertisements: Vec<String>,
    pub(crate) undecodable: Vec<String>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) services: BTreeMap<ServiceKey, Service>,
    pub(crate) slices: BTreeMap<(String, String), EndpointSlice>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) peers: Vec<Peer>,
}

impl View {
    pub(crate) fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Resources(resources) => {
                let name = |name: &Option<String>| name.clone().unwrap_or_default();
                self.pools = (resources.pools.iter())
                    .map(|pool| (name(&pool.metadata.name), pool.spec.addresses.clone()))
                    .collect();
                self.advertisements =
                    resources.l2_advertisements.iter().map(|ad| name(&ad.metadata.name)).collect();
                self.undecodable = resources.undecodable.iter().map(|bad| bad.name.clone()).collect();
                self.namespaces =
                    resources.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
            }
            Input::Services(all) => {
                self.services = all.into_iter().map(|service| (service.key.clone(), service)).collect();
            }
            Input::Service(service) => {
                self.services.insert(service.key.clone(), *service);
            }
            Input::ServiceGone(key) => {
                self.services.remove(&key);
            }
            Input::EndpointSlices(all) => {
                let key = |slice: &EndpointSlice| (slice.namespace.clone(), slice.name.clone());
                self.slices = all.into_iter().map(|slice| (key(&slice), slice)).collect();
            }
            Input::EndpointSlice(slice) => {
                self.slices.insert((slice.namespace.clone(), slice.name.clone()), slice);
            }
            Input::EndpointSliceGone { namespace, name } => {
                self.slices.remove(&(namespace, name));
            }
            Input::Nodes(nodes) => self.nodes = nodes,
            Input::Peers(peers) => self.peers = peers,
            // tests/shells/speaker_l2_status.rs looks at these.
            Input::L2Statuses(_) | Input::L2Status(_) | Input::L2StatusGone(_) => {}
            other => panic!("kube.rs has no business with {other:?}"),
        }
    }

    /// What the server holds; pools that do not decode are given.
    pub(crate) fn truth(api: &FakeApi, undecodable: &[&str]) -> Self {
        let services = api.list::<core::Service>(None).expect("they decode");
        let services = services.iter().map(Service::from).map(|service| (service.key.clone(), service));
        let slices = api.list::<discovery::EndpointSlice>(None).expect("they decode");
        let slices = slices.iter().map(EndpointSlice::from);
        let nodes = api.list::<core::Node>(None).expect("they decode");
        let pools = if undecodable.is_empty() {
            api.list::<IPAddressPool>(Some(NAMESPACE)).expect("they decode")
        } else {
            Vec::new()
        };
        let advertisements = api.list::<L2Advertisement>(Some(NAMESPACE)).expect("they decode");
        let mut peers: Vec<_> = api
            .list::<core::Pod>(Some(NAMESPACE))
            .expect("they decode")
            .iter()
            .filter(|pod| pod.metadata.labels.as_ref().is_some_and(|labels| labels["component"] == "speaker"))
            .filter_map(|pod| {
                let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
                Some(Peer { node: pod.spec.as_ref()?.node_name.clone()?.into(), address, is_running: true })
            })
            .collect();
        peers.sort();
        let name = |name: Option<String>| name.unwrap_or_default();
        Self {
            pools: pools.into_iter().map(|pool| (name(pool.metadata.name), pool.spec.addresses)).collect(),
            advertisements: advertisements.into_iter().map(|ad| name(ad.metadata.name)).collect(),
            undecodable: undecodable.iter().map(|name| (*name).to_owned()).collect(),
            namespaces: Vec::new(),
            services: services.collect(),
            slices: slices.map(|slice| ((slice.namespace.clone(), slice.name.clone()), slice)).collect(),
            nodes: nodes.iter().map(Node::from).collect(),
            peers,
        }
    }
}
