//! Carrying out a request on the stored objects: reads, deletes and dispatch.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{Cause, Refusal};
use crate::request::{ApiRequest, ListOptions, RequestAction, RequestTarget};
use crate::store::{Location, ObjectStore};
use crate::write::StoreWriter;

/// Finalizers that Kubernetes itself would work off are not known here: an
/// object with any waits until somebody removes them.
pub(crate) struct Executor<'s> {
    pub(crate) store: &'s mut ObjectStore,
    /// The wall clock, RFC 3339.
    pub(crate) now: String,
}

impl Executor<'_> {
    /// Carries out anything but a watch.
    ///
    /// `stale` lets a list answer with what stood that many revisions ago.
    pub(crate) fn execute(&mut self, request: &ApiRequest, stale: u64) -> Result<(u16, Value), Refusal> {
        let target = &request.target;
        let ok = |object: Arc<Value>| (200, Value::clone(&object));
        match &request.action {
            RequestAction::Get => self.get(target).map(ok),
            RequestAction::List(options) => self.list(target, options, stale).map(|list| (200, list)),
            RequestAction::Watch(_) => Err(Refusal::method_not_allowed()),
            RequestAction::Create { body, manager } => {
                self.writer().create(target, body, manager).map(|object| (201, Value::clone(&object)))
            }
            RequestAction::Update { body, manager } => self.writer().replace(target, body, manager).map(ok),
            RequestAction::Patch { patch, manager, force } => {
                // Only an apply may find nothing there, and then it creates.
                let code = if self.get(target).is_ok() { 200 } else { 201 };
                let patched = self.writer().patch(target, patch, manager.as_deref(), *force);
                patched.map(|object| (code, Value::clone(&object)))
            }
            RequestAction::Delete { options } => self.delete(target, options).map(|answer| (200, answer)),
            RequestAction::DeleteCollection { selectors } => {
                let options = ListOptions { selectors: selectors.clone(), ..ListOptions::default() };
                let list = self.list(target, &options, 0)?;
                for item in list["items"].as_array().into_iter().flatten() {
                    let text = |field: &str| item["metadata"][field].as_str().map(str::to_owned);
                    let one =
                        RequestTarget { namespace: text("namespace"), name: text("name"), ..target.clone() };
                    self.delete(&one, &Value::Null)?;
                }
                Ok((200, list))
            }
        }
    }

    fn writer(&mut self) -> StoreWriter<'_> {
        StoreWriter { store: self.store, now: self.now.clone() }
    }

    fn get(&self, target: &RequestTarget) -> Result<Arc<Value>, Refusal> {
        let key = key(target, target.name.as_deref().unwrap_or_default());
        let stored = self.store.get(&key);
        stored.map(|stored| stored.object.clone()).ok_or_else(|| not_found(target))
    }

    fn list(&self, target: &RequestTarget, options: &ListOptions, stale: u64) -> Result<Value, Refusal> {
        let current = self.store.revision();
        let (revision, after) = match &options.continue_token {
            Some(token) => self.resume(token)?,
            None => (self.list_revision(options)?.saturating_sub(stale), None),
        };
        let mut objects = self.store.list(
            &target.kind.group,
            &target.kind.plural,
            target.namespace.as_deref(),
            revision.min(current),
        );
        if let Some((namespace, name)) = after {
            objects.retain(|key, _| (&key.namespace, &key.name) > (&namespace, &name));
        }
        let mut selected = objects.iter().filter(|(_, object)| options.selectors.matches(object));
        let page: Vec<_> = selected.by_ref().take(options.limit.unwrap_or(usize::MAX)).collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        let remaining = selected.count();
        if remaining > 0
            && let Some((last, _)) = page.last()
        {
            metadata["continue"] = format!("{revision}:{}/{}", last.namespace, last.name).into();
            metadata["remainingItemCount"] = remaining.into();
        }
        let items: Vec<_> = page.into_iter().map(|(_, object)| Value::clone(object)).collect();
        Ok(json!({
            "apiVersion": target.kind.api_version(), "kind": format!("{}List", target.kind.kind),
            "metadata": metadata, "items": items,
        }))
    }

    fn list_revision(&self, options: &ListOptions) -> Result<u64, Refusal> {
        let current = self.store.revision();
        match options.resource_version {
            Some(wanted) if wanted > current => {
                let text = format!("Timeout: Too large resource version: {wanted}, current: {current}");
                Err(Refusal::new(504, "Timeout", text).retry_after(1).because(&[Cause {
                    reason: "ResourceVersionTooLarge".to_owned(),
                    message: "Too large resource version".to_owned(),
                    field: String::new(),
                }]))
            }
            Some(wanted) if options.exact && wanted < self.store.compacted() => Err(expired()),
            Some(wanted) if options.exact => Ok(wanted),
            _ => Ok(current),
        }
    }

    fn resume(&self, token: &str) -> Result<(u64, Option<(String, String)>), Refusal> {
        let parse = || {
            let (revision, key) = token.split_once(':')?;
            let (namespace, name) = key.split_once('/')?;
            Some((revision.parse::<u64>().ok()?, (namespace.to_owned(), name.to_owned())))
        };
        let (revision, after) = parse().ok_or_else(|| Refusal::bad_request("continue key is not valid"))?;
        if revision < self.store.compacted() {
            return Err(Refusal::expired("The provided continue parameter is too old"));
        }
        Ok((revision, Some(after)))
    }

    fn delete(&mut self, target: &RequestTarget, options: &Value) -> Result<Value, Refusal> {
        let name = target.name.clone().unwrap_or_default();
        let key = key(target, &name);
        let stored = self.store.get(&key).cloned().ok_or_else(|| not_found(target))?;
        for (field, wanted) in options["preconditions"].as_object().into_iter().flatten() {
            if !wanted.is_null() && stored.object["metadata"][field] != *wanted {
                let why = format!("Precondition failed: {field}");
                return Err(Refusal::conflict(&target.kind.qualified(), &name, &why));
            }
        }
        let held = stored.object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if !held {
            self.store.remove(&key);
            return Ok(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": name, "group": target.kind.group, "kind": target.kind.plural,
                    "uid": stored.object["metadata"]["uid"]},
            }));
        }
        if !stored.object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(Value::clone(&stored.object));
        }
        let mut object = Value::clone(&stored.object);
        object["metadata"]["deletionTimestamp"] = self.now.clone().into();
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        Ok(Value::clone(&self.store.put(key, object, stored.owners)))
    }
}

/// The refusal of a revision that is no longer kept.
pub(crate) fn expired() -> Refusal {
    Refusal::expired("The resourceVersion for the provided list is too old.")
}

/// Where the object `name` of a target lies.
pub(crate) fn key(target: &RequestTarget, name: &str) -> Location {
    Location {
        group: target.kind.group.clone(),
        plural: target.kind.plural.clone(),
        namespace: target.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    }
}

/// The refusal where a target does not exist.
pub(crate) fn not_found(target: &RequestTarget) -> Refusal {
    Refusal::not_found(&target.kind.qualified(), target.name.as_deref().unwrap_or_default())
}
