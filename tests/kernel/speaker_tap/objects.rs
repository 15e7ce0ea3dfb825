//! The cluster as Kubernetes would tell it: the objects of the address plan, as JSON lines and as inputs.

use std::net::Ipv4Addr;

use ferrolb_api::config::{Kind, Resources};
use ferrolb_api::{EndpointSlice, Node, NodeName, Service};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use speaker_core::{Input, Peer};

/// The Service's address.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 101);

/// The Service's port.
pub(crate) const PORT: u16 = 8080;

/// One list for each kind, with every node of `nodes` (name and address) in it. The first line has no Service: a speaker
/// must know the cluster before it may claim anything.
pub(crate) fn cluster(nodes: &[(&str, Ipv4Addr)]) -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "default", "uid": "1", "resourceVersion": "1"});
    let custom = json!({"kind": "List", "items": [
        {"kind": "IPAddressPool", "metadata": {"name": "default"},
         "spec": {"addresses": ["172.16.16.101-172.16.16.102"]}},
        {"kind": "L2Advertisement", "metadata": {"name": "default"}, "spec": {}},
    ]});
    let of_nodes = |item: &dyn Fn(&str, Ipv4Addr) -> Value| -> Vec<Value> {
        nodes.iter().map(|(name, address)| item(name, *address)).collect()
    };
    let members = of_nodes(&|name, _| json!({"metadata": {"name": name}}));
    let pods = of_nodes(&|name, address| {
        json!({"metadata": meta(&format!("speaker-{name}")), "spec": {"nodeName": name, "containers": []},
               "status": {"podIP": address}})
    });
    let endpoints = of_nodes(
        &|name, _| json!({"addresses": ["10.244.0.1"], "nodeName": name, "conditions": {"ready": true}}),
    );
    let slice = json!({
        "metadata": {"name": "nginx-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "nginx"}},
        "addressType": "IPv4", "endpoints": endpoints,
    });
    let service = json!({
        "metadata": meta("nginx"),
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{"port": PORT, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": VIP}]}},
    });
    vec![
        custom,
        json!({"kind": "NodeList", "items": members}),
        json!({"kind": "PodList", "items": pods}),
        json!({"kind": "EndpointSliceList", "items": [slice]}),
        json!({"kind": "ServiceList", "items": [service]}),
    ]
}

/// What a line of [`cluster`] says to a speaker.
///
/// # Errors
/// If it is none.
pub(crate) fn read(line: &str) -> anyhow::Result<Input<'static>> {
    fn all<T: DeserializeOwned>(items: Vec<Value>) -> Result<Vec<T>, serde_json::Error> {
        items.into_iter().map(serde_json::from_value).collect()
    }
    let mut list: Value = serde_json::from_str(line)?;
    let items: Vec<Value> = serde_json::from_value(list["items"].take())?;
    Ok(match list["kind"].as_str().unwrap_or_default() {
        "List" => {
            let mut resources = Resources::default();
            for item in &items {
                let kind = item["kind"].as_str().and_then(Kind::parse);
                resources.read(kind.ok_or_else(|| anyhow::anyhow!("unknown kind in {item}"))?, item);
            }
            Input::Resources(resources)
        }
        "NodeList" => Input::Nodes(all::<core::Node>(items)?.iter().map(Node::from).collect()),
        "ServiceList" => Input::Services(all::<core::Service>(items)?.iter().map(Service::from).collect()),
        "EndpointSliceList" => Input::EndpointSlices(
            all::<discovery::EndpointSlice>(items)?.iter().map(EndpointSlice::from).collect(),
        ),
        "PodList" => Input::Peers(all::<core::Pod>(items)?.iter().filter_map(peer).collect()),
        other => anyhow::bail!("unknown kind {other:?}"),
    })
}

fn peer(pod: &core::Pod) -> Option<Peer> {
    let node = NodeName::from(pod.spec.as_ref()?.node_name.clone()?);
    let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(Peer { node, address, is_running: true })
}
