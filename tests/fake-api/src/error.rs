//! Refusals: the `Status` objects that an API server answers with.

use std::fmt;

use serde_json::{Map, Value, json};

/// Why a request was refused. On the wire it is a `Status` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP code.
    pub code: u16,
    /// The machine-readable reason, `Conflict` for example.
    pub reason: String,
    /// The text for people.
    pub message: String,
    /// Seconds to wait before the next try; sent as `Retry-After` too.
    pub retry_after: Option<u32>,
    details: Map<String, Value>,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) field: String,
}

impl Cause {
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: "FieldValueInvalid".to_owned(), message: message.into(), field: field.into() }
    }
}

impl Refusal {
    /// A refusal with nothing but code, reason and text.
    #[must_use]
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            retry_after: None,
            details: Map::new(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{plural} \"{name}\" not found")).about(plural, name)
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(404, "NotFound", format!("the server could not find the requested resource: {path}"))
    }

    pub(crate) fn already_exists(plural: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{plural} \"{name}\" already exists")).about(plural, name)
    }

    pub(crate) fn conflict(plural: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {plural} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(plural, name)
    }

    pub(crate) fn invalid(kind: &str, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<_> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {}", texts.join(", ")))
            .about(kind, name)
            .because(causes)
    }

    pub(crate) fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn unsupported_media(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(crate) fn because(mut self, causes: &[Cause]) -> Self {
        let causes: Vec<_> = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        self.details.insert("causes".to_owned(), Value::Array(causes));
        self
    }

    /// With a time to wait, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self.details.insert("retryAfterSeconds".to_owned(), seconds.into());
        self
    }

    fn about(mut self, kind: &str, name: &str) -> Self {
        self.details.insert("kind".to_owned(), kind.into());
        self.details.insert("name".to_owned(), name.into());
        self
    }

    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_empty() {
            status["details"] = Value::Object(self.details.clone());
        }
        status
    }
}
