//! How a status is written: by PATCH, or by PUT where the RBAC rules are
//! MetalLB's own, which allow no more (G68, G77, G92).

use std::sync::atomic::{AtomicBool, Ordering};

use ::kube::Api;
use ::kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use metallb_shell::failure::{self, Failure};
use metallb_shell::queue::Outcome;
use serde_json::Value;

use super::{Errors, FIELD_MANAGER};

/// Writes statuses of one kind, and remembers what is allowed.
#[derive(Debug)]
pub(super) struct StatusPatch {
    resource: &'static str,
    errors: Errors,
    /// PATCH was refused and PUT was not.
    puts: AtomicBool,
    /// It was said that neither is allowed.
    told: AtomicBool,
}

impl StatusPatch {
    /// For `resource`, counting failures in `errors`.
    pub(super) fn new(resource: &'static str, errors: Errors) -> Self {
        Self { resource, errors, puts: AtomicBool::new(false), told: AtomicBool::new(false) }
    }

    /// Writes the JSON merge patch `patch` (RFC 7396) to the status of `name`.
    /// Where it has a `metadata.resourceVersion`, both ways fail with a
    /// conflict if the object has another one by then. `written` is called if it
    /// stands.
    pub(super) async fn write(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        patch: &Value,
        written: impl FnOnce(),
    ) -> Outcome {
        if !self.puts.load(Ordering::Relaxed) {
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            match api.patch_status(name, &params, &Patch::Merge(patch)).await {
                Ok(_) => {
                    written();
                    return Outcome::Done;
                }
                Err(error) if failure::classify(&error) == Failure::Forbidden => {}
                Err(error) => return self.outcome(name, &error),
            }
        }
        match put(api, name, patch).await {
            Ok(()) => {
                if !self.puts.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        op = "write",
                        resource = self.resource,
                        "the RBAC rules lack the verb patch on the status; it is read and replaced instead"
                    );
                }
                written();
                Outcome::Done
            }
            Err(error) => self.outcome(name, &error),
        }
    }

    fn outcome(&self, name: &str, error: &::kube::Error) -> Outcome {
        let resource = self.resource;
        let text = failure::describe(error);
        match failure::classify(error) {
            // A newer view of the object is on its way, or the object is gone.
            Failure::Conflict | Failure::NotFound => {
                tracing::debug!(op = "write", resource, name, error = text, "a write was overtaken");
                return Outcome::Done;
            }
            Failure::Forbidden => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        op = "write",
                        resource,
                        name,
                        error = text,
                        "the RBAC rules lack the verb patch, or get and update, on the status"
                    );
                }
            }
            Failure::Refused => {
                tracing::error!(
                    op = "write",
                    resource,
                    name,
                    error = text,
                    "a write is refused; trying again slowly"
                );
            }
            Failure::Transient { .. } | Failure::AlreadyExists | Failure::Expired => {
                tracing::warn!(op = "write", resource, name, error = text, "a write failed; trying again");
            }
        }
        self.errors.inc();
        match failure::classify(error) {
            Failure::Forbidden | Failure::Refused => Outcome::RetrySlowly,
            Failure::Transient { after } => Outcome::Retry { after, of_server: after.is_some() },
            _ => Outcome::Retry { after: None, of_server: false },
        }
    }
}

/// Reads the object, applies the patch and replaces the status.
async fn put(api: &Api<DynamicObject>, name: &str, patch: &Value) -> ::kube::Result<()> {
    let object = api.get(name).await?;
    let mut whole = serde_json::to_value(&object).map_err(::kube::Error::SerdeError)?;
    json_patch::merge(&mut whole, patch);
    let object: DynamicObject = serde_json::from_value(whole).map_err(::kube::Error::SerdeError)?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    api.replace_status(name, &params, &object).await?;
    Ok(())
}
