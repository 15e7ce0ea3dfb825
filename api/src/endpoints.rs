//! Our view of an EndpointSlice: which endpoints can serve, and where (D30).

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as discovery;

use crate::node::NodeName;
use crate::service::ServiceKey;

/// The label that names the Service of an EndpointSlice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Where the API server's own Service is.
pub const API_SERVER_NAMESPACE: &str = "default";
/// The name of that Service, and of the slice that the API servers write for it.
pub const API_SERVER_SLICE: &str = "kubernetes";

/// An EndpointSlice of `discovery.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: String,
    /// Its own name, unique in the namespace.
    pub name: String,
    /// The Service it belongs to, if it is labelled with one.
    pub service: Option<ServiceKey>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The addresses of its endpoints if it is of the API server's own Service; of others nobody asks.
    pub api_server: BTreeSet<IpAddr>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node it runs on; an endpoint without one counts for D6b, not for D14.
    pub node: Option<NodeName>,
    /// Whether it can serve traffic (D30).
    pub can_serve: bool,
}

/// D30: `ready` is unset or true, or `serving` is true.
#[must_use]
pub fn can_serve(ready: Option<bool>, serving: Option<bool>) -> bool {
    ready.unwrap_or(true) || serving == Some(true)
}

impl From<&discovery::EndpointSlice> for EndpointSlice {
    fn from(object: &discovery::EndpointSlice) -> Self {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let labels = object.metadata.labels.as_ref();
        let service = labels
            .and_then(|labels| labels.get(SERVICE_NAME_LABEL))
            .map(|name| ServiceKey::new(namespace.clone(), name.clone()));
        let endpoints = object
            .endpoints
            .iter()
            .map(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                Endpoint {
                    node: endpoint.node_name.clone().map(NodeName::from),
                    can_serve: can_serve(
                        conditions.and_then(|c| c.ready),
                        conditions.and_then(|c| c.serving),
                    ),
                }
            })
            .collect();
        let is_api_server = service.as_ref().is_some_and(|service| {
            service.namespace() == API_SERVER_NAMESPACE && service.name() == API_SERVER_SLICE
        });
        let api_server = if is_api_server { addresses(object) } else { BTreeSet::new() };
        let name = object.metadata.name.clone().unwrap_or_default();
        Self { namespace, name, service, endpoints, api_server }
    }
}

/// The addresses of all endpoints of `object`, ready or not.
#[must_use]
pub fn addresses(object: &discovery::EndpointSlice) -> BTreeSet<IpAddr> {
    let addresses = object.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses
        .filter_map(|address| address.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d30_endpoint_conditions() {
        let (no, yes) = (Some(false), Some(true));
        for (ready, serving, expected) in [
            (None, None, true),
            (None, no, true),
            (None, yes, true),
            (no, None, false),
            (no, no, false),
            (no, yes, true),
            (yes, None, true),
            (yes, no, true),
            (yes, yes, true),
        ] {
            assert_eq!(can_serve(ready, serving), expected, "ready {ready:?}, serving {serving:?}");
        }
    }

    #[test]
    fn d1_a_slice_and_its_service() {
        let object = serde_json::json!({
            "metadata": { "namespace": "web", "name": "nginx-x7k2p",
                          "labels": { "kubernetes.io/service-name": "nginx" } },
            "addressType": "IPv4",
            "endpoints": [
                { "addresses": ["10.244.1.5"], "nodeName": "wk01", "conditions": { "ready": true } },
                { "addresses": ["10.244.2.5"], "nodeName": "wk02", "conditions": { "ready": false } },
                { "addresses": ["10.244.2.6"], "nodeName": "wk02",
                  "conditions": { "ready": false, "serving": true, "terminating": true } },
                { "addresses": ["192.0.2.7"] },
            ],
        });
        let slice: discovery::EndpointSlice = serde_json::from_value(object).expect("an EndpointSlice");
        let seen = EndpointSlice::from(&slice);
        assert_eq!(seen.service, Some(ServiceKey::new("web", "nginx")));
        assert_eq!((seen.namespace.as_str(), seen.name.as_str()), ("web", "nginx-x7k2p"));
        let endpoint = |node: Option<&str>, can_serve| Endpoint { node: node.map(NodeName::from), can_serve };
        let expected = [
            endpoint(Some("wk01"), true),
            endpoint(Some("wk02"), false),
            endpoint(Some("wk02"), true),
            endpoint(None, true),
        ];
        assert_eq!(seen.endpoints, expected);
        assert_eq!(EndpointSlice::from(&discovery::EndpointSlice::default()).service, None);
    }
}
