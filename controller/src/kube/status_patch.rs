//! How a status is written: by PATCH, or by PUT where the RBAC rules are
//! MetalLB's own, which allow no more (G68, G77, G92).

use std::sync::atomic::{AtomicBool, Ordering};

use ::kube::Api;
use ::kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use ferrolb_shell::kubernetes::error::{self, Failure};
use ferrolb_shell::kubernetes::write_queue::Outcome;
use serde_json::Value;

use super::{Errors, FIELD_MANAGER};

/// WriteSender statuses of one kind, and remembers what is allowed.
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

    /// WriteSender the JSON merge patch `patch` (RFC 7396) to the status of `name`.
    /// Where it has a `metadata.resourceVersion`, it is left to what is decided
    /// on the object's newer version if there is one by then; otherwise it is
    /// tried again. `written` is called if it stands.
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
                Err(error) if error::classify(&error) == Failure::Forbidden => {}
                Err(error) => return self.outcome(name, patch, &error),
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
            Err(error) => self.outcome(name, patch, &error),
        }
    }

    fn outcome(&self, name: &str, patch: &Value, error: &::kube::Error) -> Outcome {
        let resource = self.resource;
        let text = error::describe(error);
        match error::classify(error) {
            // Somebody has changed something else between our GET and our PUT.
            Failure::Conflict if patch["metadata"]["resourceVersion"].is_null() => {
                tracing::debug!(op = "write", resource, name, error = text, "trying again");
                return Outcome::AGAIN;
            }
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
        match error::classify(error) {
            Failure::Forbidden | Failure::Refused => Outcome::RetrySlowly,
            _ => Outcome::retry(error),
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

#[cfg(test)]
mod tests {
    use ::kube::core::Status;
    use prometheus::IntCounter;
    use serde_json::json;

    use super::*;

    #[test]
    fn c83_a_conflict_is_final_only_where_a_newer_version_decides_anew() {
        let errors = IntCounter::new("errors", "of this test").expect("the name is valid");
        let status_patch = StatusPatch::new("ipaddresspools", errors);
        let mut status = Status::failure("the object has been modified", "Conflict");
        status.code = 409;
        let conflict = ::kube::Error::Api(status.boxed());
        let versioned = json!({ "metadata": { "resourceVersion": "7" }, "status": {} });
        assert!(matches!(status_patch.outcome("first-pool", &versioned, &conflict), Outcome::Done));
        let bare = json!({ "status": {} });
        assert!(matches!(status_patch.outcome("first-pool", &bare, &conflict), Outcome::Retry { .. }));
    }
}
