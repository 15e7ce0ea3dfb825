//! The parts of our CRDs' schemas that a derive cannot express: limits, rules
//! and what API machinery needs to know of lists.
//!
//! A limit (`maxItems`, `maxLength`) is there because the API server refuses a
//! CRD whose rules could cost too much, and it reckons with the longest input.
//! All are far above what MetalLB's users have. The rules need Kubernetes 1.31,
//! the first whose CEL knows `isIP` and `isCIDR`.

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The longest entry of `addresses`: two IPv6 addresses, a dash and spaces.
const MAX_ADDRESS_LEN: u32 = 128;
/// The most entries in `addresses`.
const MAX_ADDRESSES: u32 = 1024;
/// The most names in one list, and their length: namespaces are DNS labels,
/// pools DNS subdomains. A check for duplicates is quadratic in their product.
const MAX_NAMESPACES: (u32, u32) = (512, 63);
const MAX_POOLS: (u32, u32) = (256, 253);
/// The longest name of an object: a DNS subdomain.
const MAX_NAME_LEN: u32 = 253;
/// The most selectors in one list.
const MAX_SELECTORS: u32 = 128;
/// The most expressions in one selector, and the most values in one expression.
const MAX_EXPRESSIONS: u32 = 64;

/// An entry of `addresses` in the form `start-end`; the API server's `isIP`
/// knows no IPv4-mapped address, so those are left for us to judge (B16).
const IS_RANGE: &str = "self.contains('-')";
const IS_MAPPED: &str = "self.lowerAscii().contains('::ffff:')";
const START: &str = "self.substring(0, self.indexOf('-')).trim()";
const END: &str = "self.substring(self.indexOf('-') + 1).trim()";

/// `spec.addresses` (A12, B2 to B5, B17).
pub(super) fn addresses(_: &mut SchemaGenerator) -> Schema {
    address_list(MAX_ADDRESSES, false)
}

/// A list of prefixes and ranges, and of single addresses if `single` says so.
pub(super) fn address_list(max_items: u32, single: bool) -> Schema {
    let (or_address, message) = match single {
        true => (
            " || isIP(self)",
            "must be an address like 192.168.1.7, a CIDR prefix like 192.168.1.0/24 or a range like \
             192.168.1.10-192.168.1.20",
        ),
        false => (
            "",
            "must be a CIDR prefix like 192.168.1.0/24 or a range like \
             192.168.1.10-192.168.1.20; for one address add /32 (IPv4) or /128 (IPv6)",
        ),
    };
    let is_prefix = format!("{IS_RANGE} || {IS_MAPPED} || isCIDR(self){or_address}");
    let is_range = format!("!{IS_RANGE} || {IS_MAPPED} || (isIP({START}) && isIP({END}))");
    let one_family = format!(
        "!{IS_RANGE} || {IS_MAPPED} || !isIP({START}) || !isIP({END}) || \
         ip({START}).family() == ip({END}).family()"
    );
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": max_items,
        "items": {
            "type": "string",
            "maxLength": MAX_ADDRESS_LEN,
            "x-kubernetes-validations": [
                { "rule": is_prefix, "message": message },
                { "rule": is_range, "message": "both ends of a range must be IP addresses written in full" },
                { "rule": one_family, "message": "both ends of a range must be IPv4, or both IPv6" },
            ],
        },
    })
}

/// `spec.serviceAllocation.namespaces` (A17, B8).
pub(super) fn namespaces(_: &mut SchemaGenerator) -> Schema {
    distinct_names(MAX_NAMESPACES)
}

/// `spec.ipAddressPools` (A27, B10).
pub(super) fn pools(_: &mut SchemaGenerator) -> Schema {
    distinct_names(MAX_POOLS)
}

fn distinct_names((max_items, max_length): (u32, u32)) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": max_items,
        "items": { "type": "string", "maxLength": max_length },
        "x-kubernetes-validations": [{
            // Beyond 128 the check would cost too much at run time; then only we look (config::check).
            "rule": "self.size() > 128 || self.all(name, self.exists_one(other, other == name))",
            "message": "the same name is written twice",
        }],
    })
}

/// A list of label selectors (A3).
pub(super) fn selectors(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": MAX_SELECTORS, "items": label_selector() })
}

/// One label selector (A3, B12).
pub(super) fn selector(_: &mut SchemaGenerator) -> Schema {
    label_selector()
}

/// `preferredNodeSelectors[].weight` (A33).
pub(super) fn weight(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 100 })
}

/// A name in a status that says whose it is: once set it cannot be another (A44).
pub(super) fn immutable_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": MAX_NAME_LEN,
        "x-kubernetes-validations": [{ "rule": "self == oldSelf", "message": "cannot be changed once it is set" }],
    })
}

fn label_selector() -> Schema {
    json_schema!({
        "type": "object",
        "description": "A label selector: all of matchLabels and matchExpressions must hold. \
                        An empty selector matches everything.",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that must be there with exactly these values.",
                "additionalProperties": { "type": "string" },
            },
            "matchExpressions": {
                "type": "array",
                "maxItems": MAX_EXPRESSIONS,
                "x-kubernetes-list-type": "atomic",
                "items": label_requirement(),
            },
        },
    })
}

fn label_requirement() -> Value {
    json!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": { "type": "string", "description": "The label." },
            "operator": {
                "type": "string",
                "description": "How the label relates to the values.",
                "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
            },
            "values": {
                "type": "array",
                "description": "At least one for In and NotIn, none for Exists and DoesNotExist.",
                "maxItems": MAX_EXPRESSIONS,
                "x-kubernetes-list-type": "atomic",
                "items": { "type": "string" },
            },
        },
        "x-kubernetes-validations": [
            {
                "rule": "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
                "message": "In and NotIn need at least one value",
            },
            {
                "rule": "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0",
                "message": "Exists and DoesNotExist take no values",
            },
        ],
    })
}

/// A list of conditions, merged by type under server-side apply.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let condition = generator.subschema_for::<ConditionSchema>();
    json_schema!({
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// The schema of `meta/v1` `Condition` with the limits that Kubernetes gives it.
struct ConditionSchema;

impl JsonSchema for ConditionSchema {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        })
    }
}

/// Makes a derived CRD accept what MetalLB's accepts: an optional field may be
/// left out, but not be `null`; only plain values have a default; and `spec` is
/// required only where it is in MetalLB.
pub(super) fn finish(mut crd: CustomResourceDefinition, spec_required: bool) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        schema.required = spec_required.then(|| vec!["spec".to_owned()]);
        plain(schema);
    }
    crd
}

fn plain(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.description = schema.description.take().map(|text| without_rule_ids(&text));
    schema.default = schema.default.take().filter(|default| default.0.is_boolean() || default.0.is_number());
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        plain(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        plain(item);
    }
}

/// `kubectl explain` shows our doc comments to people who know no rule ids:
/// "(A12)" and "(A20, C80)" go.
fn without_rule_ids(text: &str) -> String {
    let is_id = |word: &str| {
        let digits = word.strip_prefix(|first: char| first.is_ascii_uppercase());
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (") {
        kept.push_str(before);
        match after.split_once(')') {
            Some((ids, tail)) if ids.split(", ").all(is_id) => rest = tail,
            _ => {
                kept.push_str(" (");
                rest = after;
            }
        }
    }
    kept + rest
}
