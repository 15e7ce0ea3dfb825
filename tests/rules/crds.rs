//! The CRDs under manifests/: that they are what the types say, and what they let through.

mod admission;
mod generated;
mod kept;
mod tables;

use fake_api::FakeApi;
use ferrolb_api::crd;
use serde_json::Value;

/// An API server with our CRDs.
fn api() -> FakeApi {
    FakeApi::builder().definitions(crd::all()).build().expect("the API server takes our CRDs")
}

/// The CRD of a kind.
fn definition(kind: &str) -> Value {
    let definition = crd::all().into_iter().find(|crd| crd.spec.names.kind == kind);
    serde_json::to_value(definition.expect("a kind we ship")).expect("a CRD is JSON")
}
