//! The patch formats but server-side apply: JSON Patch and JSON Merge Patch.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::error::Refusal;
use crate::kinds::Kind;

/// A patch as it was sent.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7396.
    Merge(Value),
    /// Server-side apply.
    Apply(Value),
}

impl Patch {
    /// Reads a body by its content type.
    ///
    /// # Errors
    /// 415 for a format that is not served, 400 for a body that is not of its format.
    pub(crate) fn parse(kind: &Kind, content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let unreadable =
            |error: serde_json::Error| Refusal::bad_request(format!("error decoding patch: {error}"));
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => serde_json::from_slice(body).map(Self::Json).map_err(unreadable),
            "application/merge-patch+json" => {
                serde_json::from_slice(body).map(Self::Merge).map_err(unreadable)
            }
            // JSON is YAML, and what kube sends is JSON.
            "application/apply-patch+yaml" => {
                serde_json::from_slice(body).map(Self::Apply).map_err(unreadable)
            }
            "application/strategic-merge-patch+json" if kind.is_custom() => Err(Refusal::unsupported_media(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            "application/strategic-merge-patch+json" => Err(Refusal::unsupported_media(
                "this in-memory API server has no strategic merge patch: use a merge patch or an apply",
            )),
            other => Err(Refusal::unsupported_media(format!("unknown patch format {other:?}"))),
        }
    }
}

/// The document after a JSON Patch (RFC 6902).
///
/// # Errors
/// 422 for a failed `test` and for a path that does not exist.
pub(crate) fn json_patch(document: &Value, patch: &json_patch::Patch) -> Result<Value, Refusal> {
    let refuse = |error: json_patch::PatchError| {
        Refusal::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {error}"),
        )
    };
    let mut document = document.clone();
    for operation in &patch.0 {
        if passes_as_absent(&document, operation) {
            continue;
        }
        json_patch::patch(&mut document, std::slice::from_ref(operation)).map_err(refuse)?;
    }
    Ok(document)
}

/// API servers let a `test` against null pass where the member is absent, as
/// long as the object that it would be in exists.
fn passes_as_absent(document: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let path = test.path.to_string();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    test.value.is_null()
        && document.pointer(&path).is_none()
        && document.pointer(parent).is_some_and(Value::is_object)
}

/// The document after a JSON Merge Patch (RFC 7396).
pub(crate) fn merge_patch(document: &Value, patch: &Value) -> Value {
    let mut document = document.clone();
    json_patch::merge(&mut document, patch);
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_test_against_null_passes_only_where_its_parent_exists() {
        let document = json!({"metadata": {"name": "a"}});
        for (patch, expected) in [
            (json!([{"op": "test", "path": "/metadata/finalizers", "value": null}]), true),
            (json!([{"op": "test", "path": "/metadata/annotations/x", "value": null}]), false),
            (json!([{"op": "test", "path": "/metadata/name", "value": null}]), false),
            (json!([{"op": "test", "path": "/metadata/name", "value": "a"}]), true),
            (json!([{"op": "test", "path": "/metadata/name", "value": "b"}]), false),
            (json!([{"op": "remove", "path": "/metadata/labels"}]), false),
            (json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]), false),
            (json!([{"op": "add", "path": "/metadata/labels", "value": {}}]), true),
        ] {
            let parsed = serde_json::from_value(patch.clone()).expect("the patch is well formed");
            let result = json_patch(&document, &parsed);
            assert_eq!(result.is_ok(), expected, "{patch}");
            assert!(result.is_ok() || result.is_err_and(|refusal| refusal.code == 422), "{patch}");
        }
    }
}
