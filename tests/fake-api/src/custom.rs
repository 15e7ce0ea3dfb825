//! Custom resources: unknown fields pruned, defaults applied, the schema and
//! its CEL rules enforced.

use std::fmt;

use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use serde_json::{Map, Value};

use crate::error::Cause;

/// Keywords that are enforced here or that need no enforcing. A schema with
/// any other one is refused, so that nothing is silently let through.
const KNOWN_KEYWORDS: &[&str] = &[
    "type",
    "nullable",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "default",
    "description",
    "title",
    "example",
    "format",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
];

/// The schema of one version of a custom resource.
pub(crate) struct CustomSchema {
    schema: Value,
    compiled: CompiledSchema,
}

impl fmt::Debug for CustomSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomSchema").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl CustomSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A keyword that is not implemented, or a CEL rule that does not compile.
    pub(crate) fn new(schema: Value) -> Result<Self, String> {
        check_keywords(&schema, "")?;
        let compiled = compile_schema(&schema);
        if compiled.has_errors() {
            let errors: Vec<_> = compiled.compilation_errors().iter().map(ToString::to_string).collect();
            return Err(format!("a CEL rule does not compile: {}", errors.join("; ")));
        }
        Ok(Self { schema, compiled })
    }

    /// The raw schema, for its list types.
    pub(crate) fn raw(&self) -> &Value {
        &self.schema
    }

    /// Prunes, defaults and checks an object; `old` is what it replaces.
    pub(crate) fn admit(&self, object: &Value, old: Option<&Value>) -> Result<Value, Vec<Cause>> {
        let mut pruned = object.clone();
        prune_root(&self.schema, &mut pruned);
        let object = apply_defaults(&self.schema, &pruned);
        let mut causes = Vec::new();
        check(&self.schema, &object, "", &mut causes);
        if !causes.is_empty() {
            return Err(causes);
        }
        if let Err(errors) = Validator::new().validate_compiled(&self.compiled, &object, old) {
            return Err(errors
                .into_vec()
                .into_iter()
                .map(|error| Cause::invalid(error.field_path.clone(), error.message))
                .collect());
        }
        Ok(object)
    }
}

fn check_keywords(schema: &Value, path: &str) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else { return Ok(()) };
    for (keyword, value) in keywords {
        if !KNOWN_KEYWORDS.contains(&keyword.as_str()) {
            return Err(format!("schema keyword `{keyword}` at `{path}` is not implemented"));
        }
        match keyword.as_str() {
            "properties" => {
                for (name, property) in value.as_object().into_iter().flatten() {
                    check_keywords(property, &format!("{path}.{name}"))?;
                }
            }
            "items" | "additionalProperties" => check_keywords(value, &format!("{path}[]"))?,
            _ => {}
        }
    }
    Ok(())
}

/// `apiVersion`, `kind` and `metadata` belong to every object whether or not
/// the schema lists them.
fn prune_root(schema: &Value, object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let kept: Vec<_> =
        ["apiVersion", "kind", "metadata"].iter().filter_map(|key| map.remove_entry(*key)).collect();
    prune(schema, object);
    if let Some(map) = object.as_object_mut() {
        map.extend(kept);
    }
}

fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => prune_map(schema, map),
        Value::Array(items) => items.iter_mut().for_each(|item| prune(&schema["items"], item)),
        _ => {}
    }
}

fn prune_map(schema: &Value, map: &mut Map<String, Value>) {
    let properties = schema["properties"].as_object();
    let additional =
        schema.get("additionalProperties").filter(|additional| **additional != Value::Bool(false));
    let keep_unknown = schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true);
    map.retain(|key, value| {
        match properties.and_then(|properties| properties.get(key)) {
            // A null where none is allowed counts as absent, so that the default applies.
            Some(property) if value.is_null() && property["nullable"] != Value::Bool(true) => {
                return property.get("default").is_none();
            }
            Some(property) => prune(property, value),
            None => match additional {
                Some(additional) => prune(additional, value),
                None => return keep_unknown,
            },
        }
        true
    });
}

fn check(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() {
        if schema["nullable"] != Value::Bool(true) && schema.get("type").is_some() {
            causes.push(Cause::invalid(path, "must not be null"));
        }
        return;
    }
    if !has_type(schema, value) {
        causes.push(Cause {
            reason: "FieldValueTypeInvalid".to_owned(),
            message: format!("Invalid value: {value}: must be of type {}", schema["type"]),
            field: path.to_owned(),
        });
        return;
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        causes.push(Cause::invalid(path, format!("Unsupported value: {value}")));
    }
    check_bounds(schema, value, path, causes);
    match value {
        Value::Object(map) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(name) {
                    causes.push(Cause {
                        reason: "FieldValueRequired".to_owned(),
                        message: "Required value".to_owned(),
                        field: join(path, name),
                    });
                }
            }
            for (name, member) in map {
                let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                check(property.unwrap_or(&Value::Null), member, &join(path, name), causes);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), causes);
            }
        }
        _ => {}
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn check_bounds(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let (low, high, measured) = match value {
        Value::Number(number) => ("minimum", "maximum", number.as_f64()),
        Value::String(text) => ("minLength", "maxLength", Some(text.chars().count() as f64)),
        Value::Array(items) => ("minItems", "maxItems", Some(items.len() as f64)),
        Value::Object(map) => ("minProperties", "maxProperties", Some(map.len() as f64)),
        _ => return,
    };
    let Some(measured) = measured else { return };
    if schema[low].as_f64().is_some_and(|bound| measured < bound) {
        causes.push(Cause::invalid(path, format!("{low} is {}", schema[low])));
    }
    if schema[high].as_f64().is_some_and(|bound| measured > bound) {
        causes.push(Cause::invalid(path, format!("{high} is {}", schema[high])));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> CustomSchema {
        CustomSchema::new(json!({
            "type": "object",
            "required": ["spec"],
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["names"],
                    "properties": {
                        "names": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                        "on": {"type": "boolean", "default": true},
                        "weight": {"type": "integer", "minimum": 1, "maximum": 100, "nullable": true},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                    "x-kubernetes-validations": [{"rule": "self.names.size() < 3", "message": "too many"}],
                },
            },
        }))
        .expect("the schema is implemented")
    }

    #[test]
    fn prunes_and_defaults() {
        let admitted = schema()
            .admit(
                &json!({"metadata": {"name": "a"}, "extra": 1,
                    "spec": {"names": ["x"], "on": null, "unknown": {}, "labels": {"a": "b"}}}),
                None,
            )
            .expect("nothing is wrong with it");
        assert_eq!(
            admitted,
            json!({"metadata": {"name": "a"}, "spec": {"names": ["x"], "on": true, "labels": {"a": "b"}}})
        );
    }

    #[test]
    fn refuses_with_the_field() {
        for (spec, field, text) in [
            (json!({}), "spec.names", "Required"),
            (json!({"names": []}), "spec.names", "minItems"),
            (json!({"names": ["a", 1]}), "spec.names[1]", "type"),
            (json!({"names": ["a"], "weight": 101}), "spec.weight", "maximum"),
            (json!({"names": ["a"], "weight": "5"}), "spec.weight", "type"),
            (json!({"names": ["a"], "labels": {"x": 1}}), "spec.labels.x", "type"),
            (json!({"names": ["a", "b", "c"]}), "spec", "too many"),
        ] {
            let causes = schema().admit(&json!({"spec": spec}), None).expect_err("it is wrong");
            assert_eq!(causes[0].field, field, "{causes:?}");
            assert!(causes[0].message.contains(text), "{causes:?}");
        }
    }

    #[test]
    fn unknown_keywords_and_broken_rules_are_refused_at_once() {
        let unknown = CustomSchema::new(json!({"type": "string", "pattern": "a+"}));
        assert!(unknown.expect_err("not implemented").contains("pattern"));
        let broken = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.("}]});
        assert!(CustomSchema::new(broken).expect_err("does not compile").contains("CEL"));
    }
}
