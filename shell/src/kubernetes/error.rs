//! What an answer of the API server means for the one who asked.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use kube::core::Status;

/// What went wrong, as far as it decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 409: the object has changed since it was read. A newer view is coming.
    Conflict,
    /// 409: an object of that name exists already.
    AlreadyExists,
    /// 404: the object, or its kind, is not there.
    NotFound,
    /// 410: the resource version is too old to watch from; list again.
    Expired,
    /// 403: our RBAC rules do not allow it.
    Forbidden,
    /// Another 4xx: the request is wrong, and the same one stays wrong.
    Refused,
    /// 429, 5xx or no answer: try again, after `after` if the server says so.
    Transient {
        /// The server's wish (`Retry-After`).
        after: Option<Duration>,
    },
}

/// Classifies an error of the client.
#[must_use]
pub fn classify(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => classify_status(status),
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Failure::Refused,
        _ => Failure::Transient { after: None },
    }
}

/// Classifies a status that came inside an answer, for example in a watch.
#[must_use]
pub fn classify_status(status: &Status) -> Failure {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    let after = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
    match status.code {
        409 if status.reason == "AlreadyExists" => Failure::AlreadyExists,
        409 => Failure::Conflict,
        404 => Failure::NotFound,
        410 => Failure::Expired,
        403 => Failure::Forbidden,
        // 401 while a token is being renewed, 408 and 425 are over soon.
        401 | 408 | 425 | 429 => Failure::Transient { after },
        400..=499 => Failure::Refused,
        _ => Failure::Transient { after },
    }
}

/// Whether the server asks for patience (429): it is overloaded, or makes the storage of a new CRD.
#[must_use]
pub fn is_busy(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 429)
}

/// The error in one line: the server's own words, or the chain of causes.
#[must_use]
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => describe_status(status),
        _ => {
            let mut text = match error {
                // Its own text only says that it comes from below.
                kube::Error::Service(inner) => inner.to_string(),
                _ => error.to_string(),
            };
            let mut cause = error.source();
            while let Some(inner) = cause {
                // Many errors repeat their cause in their own text.
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    let _ = write!(text, ": {inner_text}");
                }
                cause = inner.source();
            }
            text
        }
    }
}

/// A status in one line.
#[must_use]
pub fn describe_status(status: &Status) -> String {
    let reason = if status.reason.is_empty() { "error" } else { &status.reason };
    format!("{reason} ({}): {}", status.code, status.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, retry_after_seconds: u32) -> kube::Error {
        let mut status = Status::failure("message", reason);
        status.code = code;
        let details = serde_json::json!({ "retryAfterSeconds": retry_after_seconds });
        status.details = serde_json::from_value(details).expect("every field has a default");
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn answers_and_what_they_mean() {
        let transient = |seconds| Failure::Transient { after: Some(Duration::from_secs(seconds)) };
        for (code, reason, seconds, expected) in [
            (409, "Conflict", 0, Failure::Conflict),
            (409, "AlreadyExists", 0, Failure::AlreadyExists),
            (404, "NotFound", 0, Failure::NotFound),
            (410, "Expired", 0, Failure::Expired),
            (403, "Forbidden", 0, Failure::Forbidden),
            (400, "BadRequest", 0, Failure::Refused),
            (422, "Invalid", 0, Failure::Refused),
            (401, "Unauthorized", 0, Failure::Transient { after: None }),
            (429, "TooManyRequests", 7, transient(7)),
            (503, "ServiceUnavailable", 2, transient(2)),
            (500, "InternalError", 0, Failure::Transient { after: None }),
            (0, "", 0, Failure::Transient { after: None }),
        ] {
            assert_eq!(classify(&api(code, reason, seconds)), expected, "{code} {reason}");
        }
        let lost = kube::Error::Service("connection reset".into());
        assert_eq!(classify(&lost), Failure::Transient { after: None });
    }

    #[test]
    fn errors_are_told_in_one_line() {
        assert_eq!(describe(&api(403, "Forbidden", 0)), "Forbidden (403): message");
        assert_eq!(describe(&kube::Error::Service("connection reset".into())), "connection reset");
    }
}
