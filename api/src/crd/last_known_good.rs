//! `status.lastKnownGood`: the version of an object that was accepted last, in the object itself. So
//! every process finds it after any restart, and comes to the same configuration.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version that is in force, or stays in force while a later one is rejected.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct LastKnownGood {
    /// The `metadata.generation` that this was the spec of.
    pub generation: i64,
    /// The spec as it was accepted.
    #[schemars(schema_with = "any_object")]
    pub spec: Value,
}

/// Whatever was accepted once must be writable for ever, so the API server checks nothing here.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
