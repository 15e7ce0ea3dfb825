//! The addresses of a Service, in its status, their pool and what it has lost, in its
//! annotations: one request for all (C70 to C72).

use std::net::IpAddr;

use ::kube::api::{ApiResource, DynamicObject};
use ::kube::{Api, Client};
use ferrolb_api::ServiceKey;
use ferrolb_api::annotations::{IP_ALLOCATED_FROM_POOL, LOST_ADDRESSES};
use ferrolb_shell::kubernetes::write_queue::Outcome;
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

use super::status_patch::StatusPatch;

/// What is to stand in a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceWrite {
    /// The version that it was decided on.
    pub(super) resource_version: String,
    /// The ingress addresses; none clears the status.
    pub(super) addresses: Vec<IpAddr>,
    /// The pool; none removes the annotation.
    pub(super) pool: Option<String>,
    /// What it has lost and shall have again; none removes the annotation.
    pub(super) lost_addresses: Option<String>,
}

/// WriteSender it, unless the Service has changed since.
pub(super) async fn write(
    client: Client,
    patch: &StatusPatch,
    service: ServiceKey,
    wanted: ServiceWrite,
) -> Outcome {
    let resource = ApiResource::erase::<core::Service>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, service.namespace(), &resource);
    let written = || {
        let ips = wanted.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        tracing::info!(event = "serviceUpdated", service = %service, ips, "updated service object");
    };
    patch.write(&api, service.name(), &body(&wanted), written).await
}

/// A merge patch with the resource version: the server answers 409 where the
/// object has another one, so nothing is written that was decided on an older
/// state (S16). A JSON Patch with a `test` would answer 422 then, and could not
/// set an annotation without knowing whether the object has any. Metadata that
/// is written through the status of a Service is kept.
fn body(wanted: &ServiceWrite) -> Value {
    let ingress: Vec<Value> = wanted.addresses.iter().map(|address| json!({ "ip": address })).collect();
    // Null removes what is there; an empty list would stay in the object.
    let ingress = if ingress.is_empty() { Value::Null } else { ingress.into() };
    json!({
        "metadata": {
            "resourceVersion": wanted.resource_version,
            "annotations": { IP_ALLOCATED_FROM_POOL: wanted.pool, LOST_ADDRESSES: wanted.lost_addresses },
        },
        "status": { "loadBalancer": { "ingress": ingress } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c70_to_c72_one_request_with_the_version() {
        let wanted = ServiceWrite {
            resource_version: "7".to_owned(),
            addresses: vec![[172, 16, 16, 101].into(), "fd00::1".parse().expect("it is an address")],
            pool: Some("default-pool".to_owned()),
            lost_addresses: None,
        };
        let expected = json!({
            "metadata": {
                "resourceVersion": "7",
                "annotations": {
                    "metallb.io/ip-allocated-from-pool": "default-pool",
                    "metallb.io/lost-addresses": null,
                },
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": "172.16.16.101" }, { "ip": "fd00::1" }] } },
        });
        assert_eq!(body(&wanted), expected);
    }

    #[test]
    fn c72_clearing_leaves_nothing_behind() {
        let wanted = ServiceWrite {
            resource_version: "7".to_owned(),
            addresses: Vec::new(),
            pool: None,
            lost_addresses: None,
        };
        let mut object = json!({
            "metadata": {
                "resourceVersion": "7",
                "annotations": {
                    "metallb.io/ip-allocated-from-pool": "default-pool",
                    "metallb.io/lost-addresses": "u/172.16.16.101",
                    "mine": "stays",
                },
            },
            "spec": { "type": "ClusterIP" },
            "status": { "loadBalancer": { "ingress": [{ "ip": "172.16.16.101", "ipMode": "VIP" }] } },
        });
        json_patch::merge(&mut object, &body(&wanted));
        let expected = json!({
            "metadata": { "resourceVersion": "7", "annotations": { "mine": "stays" } },
            "spec": { "type": "ClusterIP" },
            "status": { "loadBalancer": {} },
        });
        assert_eq!(object, expected);
    }
}
