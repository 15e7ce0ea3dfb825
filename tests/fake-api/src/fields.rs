//! Field sets: which fields an object has, and which manager owns them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kinds::{Kind, Schema};

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathStep {
    /// A member of an object.
    Field(String),
    /// The item of a keyed list, by the values of its keys.
    Item(Vec<(String, String)>),
    /// A value in a set, as JSON.
    Member(String),
}

/// A field, from the root of the object.
pub(crate) type Path = Vec<PathStep>;
/// A set of fields; only leaves are listed.
pub(crate) type FieldSet = BTreeSet<Path>;

/// Who wrote a field: the manager's name, whether by apply, and through which subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) applies: bool,
    pub(crate) subresource: Option<String>,
}

/// The fields that each manager owns.
pub(crate) type FieldOwners = BTreeMap<Manager, FieldSet>;

/// How the items of a list belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    /// The list is one value.
    Atomic,
    /// Items are told apart by these keys.
    Keyed(Vec<String>),
    /// Items are values, each at most once.
    Set,
}

/// The list type at `path` (dotted, items as `[]`), or `None` where a map is
/// one value.
pub(crate) struct Shape<'a>(&'a Kind);

impl<'a> Shape<'a> {
    pub(crate) fn new(kind: &'a Kind) -> Self {
        Self(kind)
    }

    pub(crate) fn list(&self, path: &str) -> ListType {
        let keyed = |keys: &[&str]| ListType::Keyed(keys.iter().map(|key| (*key).to_owned()).collect());
        match path {
            "metadata.finalizers" => return ListType::Set,
            "metadata.ownerReferences" => return keyed(&["uid"]),
            _ => {}
        }
        match &self.0.schema {
            Schema::BuiltIn(_) => match (self.0.kind.as_str(), path) {
                ("Service", "spec.ports") => keyed(&["port", "protocol"]),
                (_, "status.conditions") => keyed(&["type"]),
                ("Pod", "spec.containers" | "spec.volumes") => keyed(&["name"]),
                ("Pod", "status.podIPs") => keyed(&["ip"]),
                ("Node", "status.addresses") => keyed(&["type"]),
                ("Node", "spec.podCIDRs") => ListType::Set,
                _ => ListType::Atomic,
            },
            Schema::Custom(schema) => {
                let schema = schema_at(schema.raw(), path);
                match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => ListType::Set,
                    Some("map") => ListType::Keyed(
                        schema["x-kubernetes-list-map-keys"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .filter_map(|key| key.as_str().map(str::to_owned))
                            .collect(),
                    ),
                    _ => ListType::Atomic,
                }
            }
        }
    }

    /// Whether the object at `path` is one value, like a selector.
    pub(crate) fn map_is_atomic(&self, path: &str) -> bool {
        match &self.0.schema {
            Schema::BuiltIn(_) => path == "spec.selector",
            Schema::Custom(schema) => schema_at(schema.raw(), path)["x-kubernetes-map-type"] == "atomic",
        }
    }
}

fn schema_at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |schema, step| {
        let (name, items) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        let below = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
        if items { &below["items"] } else { below }
    })
}

/// The key of an item in a keyed list.
pub(crate) fn item_key(item: &Value, keys: &[String]) -> Vec<(String, String)> {
    keys.iter()
        .map(|key| {
            let value = match &item[key] {
                // The one key with a default among the built-in kinds.
                Value::Null if key == "protocol" => "\"TCP\"".to_owned(),
                value => value.to_string(),
            };
            (key.clone(), value)
        })
        .collect()
}

/// Every leaf of an object but its type and what identifies it.
pub(crate) fn leaves(shape: &Shape<'_>, object: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(shape, object, "", &mut Vec::new(), &mut set);
    set.retain(|path| !is_identity(path));
    set
}

/// The leaves whose value differs between two states of an object.
pub(crate) fn changed(shape: &Shape<'_>, old: &Value, new: &Value) -> FieldSet {
    let mut set = leaves(shape, new);
    set.retain(|path| get(shape, old, path) != get(shape, new, path));
    set
}

fn is_identity(path: &Path) -> bool {
    const OF_METADATA: &[&str] = &[
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "generateName",
        "managedFields",
    ];
    match path.as_slice() {
        [PathStep::Field(field)] => field == "apiVersion" || field == "kind" || field == "metadata",
        [PathStep::Field(first), PathStep::Field(second), ..] => {
            first == "metadata" && OF_METADATA.contains(&second.as_str())
        }
        _ => false,
    }
}

fn collect(shape: &Shape<'_>, value: &Value, at: &str, path: &mut Path, set: &mut FieldSet) {
    match value {
        Value::Object(map) if !map.is_empty() && !shape.map_is_atomic(at) => {
            for (name, member) in map {
                path.push(PathStep::Field(name.clone()));
                collect(shape, member, &below(at, name), path, set);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => match shape.list(at) {
            ListType::Atomic => {
                set.insert(path.clone());
            }
            ListType::Set => {
                for item in items {
                    path.push(PathStep::Member(item.to_string()));
                    set.insert(path.clone());
                    path.pop();
                }
            }
            ListType::Keyed(keys) => {
                for item in items {
                    path.push(PathStep::Item(item_key(item, &keys)));
                    collect(shape, item, &format!("{at}[]"), path, set);
                    path.pop();
                }
            }
        },
        _ => {
            set.insert(path.clone());
        }
    }
}

/// The dotted path of a member.
pub(crate) fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// The value at a path.
pub(crate) fn get<'v>(shape: &Shape<'_>, object: &'v Value, path: &[PathStep]) -> Option<&'v Value> {
    let mut value = object;
    let mut at = String::new();
    for step in path {
        value = match step {
            PathStep::Field(name) => {
                at = below(&at, name);
                value.get(name)?
            }
            PathStep::Item(key) => {
                let ListType::Keyed(keys) = shape.list(&at) else { return None };
                at.push_str("[]");
                value.as_array()?.iter().find(|item| item_key(item, &keys) == *key)?
            }
            PathStep::Member(text) => {
                let member: Value = serde_json::from_str(text).ok()?;
                value.as_array()?.iter().find(|item| **item == member)?
            }
        };
    }
    Some(value)
}

/// Takes a leaf out of an object, and the containers that it leaves empty.
pub(crate) fn remove(shape: &Shape<'_>, object: &mut Value, path: &[PathStep]) {
    remove_below(shape, object, "", path);
}

fn remove_below(shape: &Shape<'_>, value: &mut Value, at: &str, path: &[PathStep]) {
    let Some((step, rest)) = path.split_first() else { return };
    match step {
        PathStep::Field(name) => {
            let Some(map) = value.as_object_mut() else { return };
            let Some(member) = map.get_mut(name) else { return };
            remove_below(shape, member, &below(at, name), rest);
            if rest.is_empty() || is_empty(member) {
                map.remove(name);
            }
        }
        PathStep::Item(key) => {
            let ListType::Keyed(keys) = shape.list(at) else { return };
            let Some(items) = value.as_array_mut() else { return };
            let Some(index) = items.iter().position(|item| item_key(item, &keys) == *key) else { return };
            remove_below(shape, &mut items[index], &format!("{at}[]"), rest);
            // An item without its keys is no item any more.
            if is_empty(&items[index]) || keys.iter().all(|key| items[index].get(key).is_none()) {
                items.remove(index);
            }
        }
        PathStep::Member(text) => {
            let member: Value = serde_json::from_str(text).unwrap_or_default();
            if let Some(items) = value.as_array_mut() {
                items.retain(|item| *item != member);
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A path as messages name it: `.status.conditions[type="Ready"].reason`.
pub(crate) fn display(path: &Path) -> String {
    path.iter()
        .map(|step| match step {
            PathStep::Field(name) => format!(".{name}"),
            PathStep::Item(key) => {
                let pairs: Vec<_> = key.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", pairs.join(","))
            }
            PathStep::Member(text) => format!("[={text}]"),
        })
        .collect()
}
