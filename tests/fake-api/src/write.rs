//! Creating and changing objects: what is kept, what is refused, what counts
//! as a change.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::apply::{apply, take_over};
use crate::error::{Cause, Refusal};
use crate::execute::{key, not_found};
use crate::fields::{FieldOwners, Manager};
use crate::kinds::{Kind, Schema};
use crate::patch::{Patch, json_patch, merge_patch};
use crate::request::RequestTarget;
use crate::service;
use crate::store::{Location, ObjectStore, Stored};

/// What the server sets and no writer changes.
const SERVER_SET: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
];

/// Writes to the store by the rules.
pub(crate) struct StoreWriter<'s> {
    pub(crate) store: &'s mut ObjectStore,
    pub(crate) now: String,
}

impl StoreWriter<'_> {
    pub(crate) fn create(
        &mut self,
        target: &RequestTarget,
        body: &Value,
        manager: &str,
    ) -> Result<Arc<Value>, Refusal> {
        let mut object = self.new_object(target, body)?;
        if !body["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
            // The real one has no reason for it either.
            return Err(Refusal::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        object = self.admit(&target.kind, object, None)?;
        let manager = Manager { name: manager.to_owned(), applies: false, subresource: None };
        let owners = take_over(&target.kind, &Value::Null, &object, &FieldOwners::new(), &manager);
        self.insert(target, object, owners)
    }

    pub(crate) fn replace(
        &mut self,
        target: &RequestTarget,
        body: &Value,
        manager: &str,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = &target.kind;
        let stored = self.stored(target)?;
        check_type(kind, body)?;
        let version = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if version.is_empty() && !kind.unconditional_update {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                "Invalid value: 0x0: must be specified for an update",
            );
            return Err(Refusal::invalid(&kind.kind, name_of(body), &[cause]));
        }
        self.change(target, &stored, body.clone(), |old, new| {
            let manager = updater(target, manager);
            take_over(kind, old, new, &stored.owners, &manager)
        })
    }

    pub(crate) fn patch(
        &mut self,
        target: &RequestTarget,
        patch: &Patch,
        manager: Option<&str>,
        force: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = &target.kind;
        let body = match patch {
            Patch::Apply(body) => return self.apply(target, body, manager, force),
            Patch::Json(patch) => json_patch(&self.stored(target)?.object, patch)?,
            Patch::Merge(patch) => merge_patch(&self.stored(target)?.object, patch),
        };
        // What a body of the wrong type is refused for, a patch is called invalid for.
        if let Schema::BuiltIn(decode) = &kind.schema
            && let Err(error) = decode(&body)
        {
            let cause = Cause::invalid("patch", format!("Invalid value: {error}"));
            return Err(Refusal::invalid("", "", &[cause]));
        }
        let stored = self.stored(target)?;
        self.change(target, &stored, body, |old, new| {
            take_over(kind, old, new, &stored.owners, &updater(target, manager.unwrap_or_default()))
        })
    }

    fn apply(
        &mut self,
        target: &RequestTarget,
        body: &Value,
        manager: Option<&str>,
        force: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = &target.kind;
        let name = manager.ok_or_else(|| {
            Refusal::new(
                422,
                "Invalid",
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value",
            )
        })?;
        check_type(kind, body)?;
        if !body["metadata"]["managedFields"].is_null() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        let manager =
            Manager { name: name.to_owned(), applies: true, subresource: target.subresource.clone() };
        let Ok(stored) = self.stored(target) else {
            if target.subresource.is_some() || !body["metadata"]["uid"].is_null() {
                return Err(not_found(target));
            }
            let fresh = self.new_object(target, body)?;
            let fresh = self.admit(kind, fresh, None)?;
            let (_, owners) = apply(kind, &fresh, &FieldOwners::new(), body, &manager, force)?;
            return self.insert(target, fresh, owners);
        };
        let (mut merged, owners) = apply(kind, &stored.object, &stored.owners, body, &manager, force)?;
        if let Some(version) = body["metadata"].get("resourceVersion") {
            merged["metadata"]["resourceVersion"] = version.clone();
        }
        self.change(target, &stored, merged, |_, _| owners.clone())
    }

    fn stored(&self, target: &RequestTarget) -> Result<Stored, Refusal> {
        let key = key(target, target.name.as_deref().unwrap_or_default());
        self.store.get(&key).cloned().ok_or_else(|| not_found(target))
    }

    fn new_object(&self, target: &RequestTarget, body: &Value) -> Result<Value, Refusal> {
        let kind = &target.kind;
        check_type(kind, body)?;
        let mut object = body.clone();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.clone().into();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let serial = self.store.revision() + 1;
        if name_of(&object).is_empty() {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
            object["metadata"]["name"] = match (&target.name, prefix.is_empty()) {
                (Some(name), _) => name.clone().into(),
                (None, false) => format!("{prefix}{}", suffix(serial)).into(),
                (None, true) => {
                    let cause =
                        Cause::invalid("metadata.name", "Required value: name or generateName is required");
                    return Err(Refusal::invalid(&kind.kind, "", &[cause]));
                }
            };
        }
        if target.name.as_deref().is_some_and(|name| name != name_of(&object)) {
            return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
        }
        let metadata = &mut object["metadata"];
        let named = metadata["namespace"].as_str().filter(|namespace| !namespace.is_empty());
        if named.is_some_and(|named| Some(named) != target.namespace.as_deref()) {
            let text =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refusal::bad_request(text));
        }
        if let Some(namespace) = &target.namespace {
            metadata["namespace"] = namespace.clone().into();
        }
        metadata["uid"] = format!("00000000-0000-4000-8000-{serial:012x}").into();
        metadata["creationTimestamp"] = self.now.clone().into();
        for field in ["resourceVersion", "deletionTimestamp", "managedFields", "selfLink", "generation"] {
            metadata.as_object_mut().map(|map| map.remove(field));
        }
        if kind.has_generation {
            metadata["generation"] = json!(1);
        }
        // A kubelet registers its Node together with its status.
        if kind.has_status && kind.kind != "Node" {
            object.as_object_mut().map(|map| map.remove("status"));
        }
        if kind.kind == "Namespace" {
            object["status"] = json!({"phase": "Active"});
        }
        Ok(object)
    }

    fn insert(
        &mut self,
        target: &RequestTarget,
        object: Value,
        owners: FieldOwners,
    ) -> Result<Arc<Value>, Refusal> {
        let name = name_of(&object).to_owned();
        if let Some(namespace) = &target.namespace {
            let holder = Location {
                group: String::new(),
                plural: "namespaces".to_owned(),
                namespace: String::new(),
                name: namespace.clone(),
            };
            if self.store.get(&holder).is_none() {
                return Err(Refusal::not_found("namespaces", namespace));
            }
        }
        let key = key(target, &name);
        if self.store.get(&key).is_some() {
            return Err(Refusal::already_exists(&target.kind.qualified(), &name));
        }
        Ok(self.store.put(key, object, owners))
    }

    /// Replaces `stored` by `new` as far as the endpoint allows, and stores it
    /// if that changes anything.
    fn change(
        &mut self,
        target: &RequestTarget,
        stored: &Stored,
        new: Value,
        owners: impl FnOnce(&Value, &Value) -> FieldOwners,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = &target.kind;
        let old = &*stored.object;
        check_preconditions(target, old, &new)?;
        let mut new = restrict(target, old, new);
        new = self.admit(kind, new, Some(old))?;
        if kind.has_generation && target.subresource.is_none() && specification(&new) != specification(old) {
            new["metadata"]["generation"] = (old["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
        }
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        let owners = owners(old, &new);
        let key = key(target, target.name.as_deref().unwrap_or_default());
        let finalizers = new["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if !new["metadata"]["deletionTimestamp"].is_null() && !finalizers {
            let last = self.store.remove(&key);
            return Ok(last.unwrap_or_else(|| Arc::new(new)));
        }
        if new == *old && owners == stored.owners {
            return Ok(stored.object.clone());
        }
        Ok(self.store.put(key, new, owners))
    }

    fn admit(&self, kind: &Kind, object: Value, old: Option<&Value>) -> Result<Value, Refusal> {
        let name = name_of(&object).to_owned();
        let decode = match &kind.schema {
            Schema::Custom(schema) => {
                return schema
                    .admit(&object, old)
                    .map_err(|causes| Refusal::invalid(&kind.kind, &name, &causes));
            }
            Schema::BuiltIn(decode) => decode,
        };
        let unreadable = |error: serde_json::Error| {
            Refusal::bad_request(format!(
                "{} in version \"{}\" cannot be handled: {error}",
                kind.kind, kind.version
            ))
        };
        let mut object = decode(&object).map_err(unreadable)?;
        let mut causes = Vec::new();
        if kind.is_service() {
            service::complete(&mut object, old, self.store.revision());
            causes = service::problems(&object, old);
        }
        if kind.kind == "Event" && object["involvedObject"]["namespace"] != object["metadata"]["namespace"] {
            causes.push(Cause::invalid("involvedObject.namespace", "does not match event.namespace"));
        }
        if !causes.is_empty() {
            return Err(Refusal::invalid(&kind.kind, &name, &causes));
        }
        decode(&object).map_err(unreadable)
    }
}

fn updater(target: &RequestTarget, name: &str) -> Manager {
    Manager { name: name.to_owned(), applies: false, subresource: target.subresource.clone() }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Five letters that differ for each of some millions of serials.
fn suffix(serial: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let base = LETTERS.len() as u64;
    let mut rest = serial.wrapping_mul(7_368_787);
    (0..5)
        .map(|_| {
            let letter = LETTERS[usize::try_from(rest % base).unwrap_or(0)];
            rest /= base;
            char::from(letter)
        })
        .collect()
}

fn check_type(kind: &Kind, body: &Value) -> Result<(), Refusal> {
    if !body.is_object() {
        return Err(Refusal::bad_request("the body is no object"));
    }
    let (api_version, name) = (kind.api_version(), &kind.kind);
    let given = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let matches = |given: String, own: &str| given.is_empty() || given == own;
    if matches(given("apiVersion"), &api_version) && matches(given("kind"), name) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "the object provided is unrecognized: {} {} is not {api_version} {name}",
        given("apiVersion"),
        given("kind")
    )))
}

fn check_preconditions(target: &RequestTarget, old: &Value, new: &Value) -> Result<(), Refusal> {
    let plural = target.kind.qualified();
    let name = name_of(old);
    let given = |field: &str| new["metadata"][field].as_str().filter(|text| !text.is_empty());
    if given("name").is_some_and(|given| given != name) {
        return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
    }
    if given("uid").is_some_and(|uid| old["metadata"]["uid"] != uid) {
        let why = "Precondition failed: UID in precondition differs from UID in object meta";
        return Err(Refusal::conflict(&plural, name, why));
    }
    if given("resourceVersion").is_some_and(|version| old["metadata"]["resourceVersion"] != version) {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Refusal::conflict(&plural, name, why));
    }
    Ok(())
}

/// `new` with everything put back that its endpoint does not write.
fn restrict(target: &RequestTarget, old: &Value, mut new: Value) -> Value {
    let kind = &target.kind;
    if target.subresource.is_some() {
        let mut written = old.clone();
        copy(&new, &mut written, "status");
        if !kind.is_custom() {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                let (from, to) = (&new["metadata"], &mut written["metadata"]);
                copy(from, to, field);
            }
        }
        return written;
    }
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    new["apiVersion"] = old["apiVersion"].clone();
    new["kind"] = old["kind"].clone();
    if kind.has_status {
        copy(old, &mut new, "status");
    }
    for field in SERVER_SET {
        copy(&old["metadata"], &mut new["metadata"], field);
    }
    if let Some(metadata) = new["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    new
}

/// Makes `to[field]` the same as `from[field]`, absence included.
fn copy(from: &Value, to: &mut Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// What `metadata.generation` counts the changes of.
fn specification(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("metadata");
        map.remove("status");
    }
    object
}
