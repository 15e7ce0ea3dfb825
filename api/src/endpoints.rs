//! Our view of an EndpointSlice: which endpoints can serve, and where (D30).

use k8s_openapi::api::discovery::v1 as discovery;

use crate::node::NodeName;
use crate::service::ServiceKey;

/// The label that names the Service of an EndpointSlice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

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
        Self { namespace, name: object.metadata.name.clone().unwrap_or_default(), service, endpoints }
    }
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
}
