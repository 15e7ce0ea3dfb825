//! TokenReview and SubjectAccessReview: questions that are answered and never stored.

use serde_json::{Value, json};

use crate::error::Refusal;
use crate::kinds::Kind;
use crate::rbac::{Attributes, Rbac};
use crate::server::ADMIN;

/// The tokens that the server knows, each with its user.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<(String, String)>);

impl Tokens {
    pub(crate) fn issue(&mut self, token: &str, user: &str) {
        self.revoke(token);
        self.0.push((token.to_owned(), user.to_owned()));
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.0.retain(|(known, _)| known != token);
    }

    fn user(&self, token: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == token).map(|(_, user)| user.as_str())
    }
}

/// Whether objects of this kind are questions.
pub(crate) fn is_review(kind: &Kind) -> bool {
    matches!(
        (kind.group.as_str(), kind.plural.as_str()),
        ("authentication.k8s.io", "tokenreviews") | ("authorization.k8s.io", "subjectaccessreviews")
    )
}

/// The question with its answer in `status`.
///
/// # Errors
/// A question that asks for nothing.
pub(crate) fn answer(
    tokens: &Tokens,
    rbac: &Rbac,
    kind: &Kind,
    question: &Value,
) -> Result<(u16, Value), Refusal> {
    let status = match kind.plural.as_str() {
        "tokenreviews" => authenticate(tokens, &question["spec"])?,
        _ => authorize(rbac, &question["spec"])?,
    };
    let mut answered = question.clone();
    answered["status"] = status;
    Ok((201, answered))
}

fn authenticate(tokens: &Tokens, spec: &Value) -> Result<Value, Refusal> {
    let token = spec["token"].as_str().filter(|token| !token.is_empty());
    let token =
        token.ok_or_else(|| Refusal::bad_request("token is required for TokenReview in authentication"))?;
    let Some(user) = tokens.user(token) else {
        return Ok(json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}));
    };
    let mut groups = vec!["system:authenticated".to_owned()];
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    if let Some((namespace, _)) = account {
        groups.extend(["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]);
    }
    Ok(json!({"authenticated": true, "user": {"username": user, "uid": format!("uid-of-{user}"),
        "groups": groups}}))
}

fn authorize(rbac: &Rbac, spec: &Value) -> Result<Value, Refusal> {
    let user = spec["user"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = &spec["nonResourceAttributes"];
    let resource = &spec["resourceAttributes"];
    if path.is_object() == resource.is_object() {
        let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(Refusal::bad_request(text));
    }
    let allowed = if path.is_object() {
        rbac.allowed_path(user, &text(&path["verb"]), &text(&path["path"]))
    } else {
        let some = |field: &str| resource[field].as_str().filter(|text| !text.is_empty());
        rbac.allowed(
            user,
            &Attributes {
                verb: some("verb").unwrap_or_default(),
                group: some("group").unwrap_or_default(),
                resource: some("resource").unwrap_or_default(),
                subresource: some("subresource"),
                namespace: some("namespace"),
                name: some("name"),
            },
        )
    };
    Ok(json!({"allowed": allowed || user == ADMIN}))
}
