//! Services as a cluster has them, and how many of them have an address.

use std::collections::BTreeSet;
use std::ops::Range;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bench::NODE;

/// Where they are.
const NAMESPACE: &str = "default";
/// Requests that are under way at the same time.
const CONCURRENT: usize = 16;

/// Creates the Services of these numbers, each with an EndpointSlice.
pub(crate) async fn create(client: &Client, numbers: Range<usize>, endpoints: usize) -> anyhow::Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let each = stream::iter(numbers).map(|number| {
        let (services, slices) = (services.clone(), slices.clone());
        async move {
            let parameters =
                PostParams { field_manager: Some("kubectl".to_owned()), ..PostParams::default() };
            let slice = serde_json::from_value(slice(number, endpoints))?;
            slices.create(&parameters, &slice).await?;
            services.create(&parameters, &serde_json::from_value(service(number))?).await?;
            anyhow::Ok(())
        }
    });
    each.buffer_unordered(CONCURRENT).try_collect().await
}

fn name(number: usize) -> String {
    format!("service-{number:05}")
}

/// As `kubectl apply` leaves one, with the annotation that holds it all a second time.
fn service(number: usize) -> Value {
    let name = name(number);
    let labels = json!({
        "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "footprint",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "footprint-1.2.3",
    });
    let spec = json!({
        "type": "LoadBalancer",
        // There are fewer node ports than Services.
        "allocateLoadBalancerNodePorts": false,
        "selector": {"app.kubernetes.io/name": name},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                  {"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"}],
    });
    let applied = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels}, "spec": spec,
    });
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()});
    json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}, "spec": spec})
}

/// As the EndpointSlice controller makes one.
fn slice(number: usize, endpoints: usize) -> Value {
    let service = name(number);
    let endpoint = |index: usize| {
        let [high, low] =
            u16::try_from((number * endpoints + index) % 0x1_0000).unwrap_or_default().to_be_bytes();
        json!({
            "addresses": [format!("10.244.{high}.{low}")],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": NODE,
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": format!("{service}-6f7b9c5d4-{index:05}"),
                          "uid": "2f0c7c5e-7e0d-4f3a-9a53-0d6b1f2f7f11"},
        })
    };
    json!({
        "metadata": {
            "name": format!("{service}-x7k2p"),
            "labels": {"kubernetes.io/service-name": service,
                       "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
        },
        "addressType": "IPv4",
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"},
                  {"name": "https", "port": 8443, "protocol": "TCP"}],
    })
}

/// The number of Services with an address, as a watch sees it.
pub(crate) struct AssignedCount {
    count: watch::Receiver<usize>,
}

impl AssignedCount {
    /// Starts counting, on the current runtime.
    pub(crate) fn watch(client: Client) -> Self {
        let (sender, count) = watch::channel(0);
        let api: Api<Service> = Api::namespaced(client, NAMESPACE);
        tokio::spawn(async move {
            let mut assigned = BTreeSet::new();
            let mut seen =
                watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
            while let Some(service) = seen.next().await {
                // An error is a list or watch that is tried again.
                let Ok(Service { metadata, status: Some(status), .. }) = service else { continue };
                let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
                if ingress.is_some_and(|ingress| !ingress.is_empty()) {
                    assigned.extend(metadata.name);
                    sender.send_replace(assigned.len());
                }
            }
        });
        Self { count }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until there are so many.
    pub(crate) async fn wait_for(&self, services: usize) -> anyhow::Result<()> {
        self.count.clone().wait_for(|count| *count >= services).await?;
        Ok(())
    }
}
