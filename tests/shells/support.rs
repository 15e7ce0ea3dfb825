//! What the tests of both shells against the in-memory API server share: our
//! RBAC manifests, and the namespace that Services are in.

use std::collections::BTreeSet;
use std::path::Path;

use fake_api::{Attributes, FakeApi, Grant, Rbac, RequestRecord};
use k8s_openapi::api::core::v1 as core;
use serde_json::Value;
use tests::objects::{self, NAMESPACE};

/// The service account of a component, as a user.
pub(crate) fn account(component: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{component}")
}

/// Who may do what, by `manifests/base`.
pub(crate) fn rbac() -> Rbac {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base");
    let mut objects: Vec<Value> = Vec::new();
    for name in ["controller-rbac.yaml", "speaker-rbac.yaml"] {
        let text = std::fs::read_to_string(base.join(name)).expect("the manifests lie beside the tests");
        objects.extend(serde_saphyr::from_multiple::<Value>(&text).expect("the manifests are YAML"));
    }
    Rbac::from_objects(&objects).expect("every binding has its role")
}

/// An API server that enforces our manifests.
pub(crate) fn fake() -> FakeApi {
    FakeApi::builder().rbac(rbac()).build().expect("our own CRDs are implemented")
}

/// A Service of type LoadBalancer in namespace `default`.
pub(crate) fn service(name: &str) -> core::Service {
    objects::service("default", name)
}

/// Requests that were refused by RBAC, and grants that no request needed.
pub(crate) fn rbac_mismatch(user: &str, requests: &[RequestRecord]) -> (Vec<String>, BTreeSet<String>) {
    let own = || requests.iter().filter(|request| request.user == user);
    let refused = own().filter(|request| request.status == Some(403));
    let refused = refused.map(|request| format!("{:?}", request.attributes())).collect();
    let grants = rbac().grants(user);
    // A patch that creates asks for both verbs.
    let covers = |grant: &Grant, request: &RequestRecord| {
        let asked = request.attributes();
        grant.covers(&asked)
            || request.status == Some(201) && grant.covers(&Attributes { verb: "create", ..asked })
    };
    let unused = grants.iter().filter(|grant| !own().any(|request| covers(grant, request)));
    (refused, unused.map(ToString::to_string).collect())
}
