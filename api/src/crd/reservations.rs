//! `IPAddressPool.spec.reservations` and `excludedAddresses`: addresses that
//! are not for everybody. MetalLB has neither; a pool without them is as there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::schema;

/// The most entries in each of the two lists.
const MAX_ENTRIES: u32 = 128;
/// The most items of `addresses` in one entry.
const MAX_ADDRESSES: u32 = 16;
/// The longest reason, in characters. It is repeated in Events, whose text is
/// at most 1024 long.
const MAX_REASON_LEN: u32 = 256;
/// The longest namespace and Service name, both DNS labels.
const MAX_NAME_LEN: u32 = 63;

/// A reservation for every Service would be for nobody in particular.
const FOR_SOMEBODY: &str = "has(self.namespace) || has(self.name) || (has(self.serviceSelector) && \
    ((has(self.serviceSelector.matchLabels) && self.serviceSelector.matchLabels.size() > 0) || \
    (has(self.serviceSelector.matchExpressions) && self.serviceSelector.matchExpressions.size() > 0)))";

/// Addresses held for the Services that match.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReservationSpec {
    /// Addresses, CIDR prefixes and `start-end` ranges, all within the pool.
    #[schemars(schema_with = "addresses")]
    pub addresses: Vec<String>,
    /// The namespace of the Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "name")]
    pub namespace: Option<String>,
    /// The name of the Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "name")]
    pub name: Option<String>,
    /// Labels of the Services, where names are not known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub service_selector: Option<LabelSelector>,
    /// Why; shown to whoever asks for one of the addresses in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "reason")]
    pub reason: Option<String>,
}

/// Addresses that are never handed out.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExclusionSpec {
    /// Addresses, CIDR prefixes and `start-end` ranges.
    #[schemars(schema_with = "addresses")]
    pub addresses: Vec<String>,
    /// Why; shown to whoever asks for one of the addresses in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "reason")]
    pub reason: Option<String>,
}

/// `spec.reservations`.
pub(super) fn reservations(generator: &mut SchemaGenerator) -> Schema {
    let mut item = ReservationSpec::json_schema(generator);
    item.insert(
        "x-kubernetes-validations".to_owned(),
        serde_json::json!([{
            "rule": FOR_SOMEBODY,
            "message": "say for which Services: give a namespace, a name or a serviceSelector with content",
        }]),
    );
    json_schema!({ "type": "array", "maxItems": MAX_ENTRIES, "items": item })
}

/// `spec.excludedAddresses`.
pub(super) fn exclusions(generator: &mut SchemaGenerator) -> Schema {
    let item = ExclusionSpec::json_schema(generator);
    json_schema!({ "type": "array", "maxItems": MAX_ENTRIES, "items": item })
}

fn addresses(_: &mut SchemaGenerator) -> Schema {
    schema::address_list(MAX_ADDRESSES, true)
}

fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME_LEN })
}

fn reason(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": MAX_REASON_LEN })
}
