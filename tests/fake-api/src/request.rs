//! A request, parsed: its verb, what it is about, and what it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use http::request::Parts;
use serde_json::Value;

use crate::error::Refusal;
use crate::kinds::{Kind, Kinds};
use crate::patch::Patch;
use crate::selectors::Selectors;

/// What a request is about.
#[derive(Clone, Debug)]
pub(crate) struct RequestTarget {
    pub(crate) kind: Arc<Kind>,
    /// `None` for a cluster-scoped kind and for all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) enum RequestAction {
    Get,
    List(ListOptions),
    Watch(WatchOptions),
    Create { body: Value, manager: String },
    Update { body: Value, manager: String },
    Patch { patch: Patch, manager: Option<String>, force: bool },
    Delete { options: Value },
    DeleteCollection { selectors: Selectors },
}

/// Of a LIST.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) selectors: Selectors,
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: Option<String>,
    pub(crate) resource_version: Option<u64>,
    pub(crate) exact: bool,
}

/// Of a WATCH.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchOptions {
    pub(crate) selectors: Selectors,
    pub(crate) resource_version: Option<u64>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: bool,
}

/// A request that can be authorized and carried out.
#[derive(Clone, Debug)]
pub(crate) struct ApiRequest {
    pub(crate) target: RequestTarget,
    pub(crate) action: RequestAction,
    /// Whether only metadata is wanted in the answer.
    pub(crate) metadata_only: bool,
}

impl ApiRequest {
    /// The name that authorization looks at: the path's, or for a list or watch
    /// the one that its field selector asks for.
    pub(crate) fn authorized_name(&self) -> Option<&str> {
        let selected = match &self.action {
            RequestAction::List(options) => options.selectors.name(),
            RequestAction::Watch(options) => options.selectors.name(),
            RequestAction::DeleteCollection { selectors } => selectors.name(),
            _ => None,
        };
        self.target.name.as_deref().or(selected)
    }

    /// What a request is about and its verb, known before its body is read.
    ///
    /// # Errors
    /// 404 for a path that is not served, 405 for a method that it does not take.
    pub(crate) fn envelope(kinds: &Kinds, parts: &Parts) -> Result<(RequestTarget, &'static str), Refusal> {
        let target = target(kinds, parts.uri.path())?;
        let verb = match (parts.method.as_str(), target.name.is_some()) {
            ("GET", false) if flag(&query(parts.uri.query().unwrap_or_default()), "watch") => "watch",
            ("GET", false) => "list",
            ("GET", true) => "get",
            ("POST", false) => "create",
            ("PUT", true) => "update",
            ("PATCH", true) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ => return Err(Refusal::method_not_allowed()),
        };
        Ok((target, verb))
    }

    /// Parses a request.
    ///
    /// # Errors
    /// 404 for a path that is not served, 405 for a method that it does not
    /// take, 400 for an unreadable query or body, 415 for an unknown format.
    pub(crate) fn parse(kinds: &Kinds, parts: &Parts, body: &[u8]) -> Result<Self, Refusal> {
        let target = target(kinds, parts.uri.path())?;
        let query = query(parts.uri.query().unwrap_or_default());
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if query.contains_key("dryRun") {
            return Err(Refusal::bad_request("this in-memory API server has no dry run"));
        }
        let action =
            action(&target, &parts.method, &query, header("content-type"), header("user-agent"), body)?;
        let metadata_only = header("accept").contains("as=PartialObjectMetadata");
        Ok(Self { target, action, metadata_only })
    }
}

fn target(kinds: &Kinds, path: &str) -> Result<RequestTarget, Refusal> {
    let unknown = || Refusal::no_such_path(path);
    let steps: Vec<String> = path.split('/').filter(|step| !step.is_empty()).map(percent_decode).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let (group, version, rest) = match steps.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(unknown()),
    };
    // `namespaces/NAME/status` is about a Namespace, `namespaces/NAME/pods` about what is in it.
    let (namespace, rest) = match rest {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some((*name).to_owned()), None),
        [plural, name, subresource] => (*plural, Some((*name).to_owned()), Some((*subresource).to_owned())),
        _ => return Err(unknown()),
    };
    let kind = kinds.by_path(group, version, plural).ok_or_else(unknown)?;
    let misplaced = namespace.is_some() != kind.namespaced && (namespace.is_some() || name.is_some());
    let unknown_subresource =
        subresource.as_deref().is_some_and(|subresource| subresource != "status" || !kind.has_status);
    if misplaced || unknown_subresource {
        return Err(unknown());
    }
    Ok(RequestTarget { kind, namespace, name, subresource })
}

fn action(
    target: &RequestTarget,
    method: &Method,
    query: &BTreeMap<String, String>,
    content_type: &str,
    user_agent: &str,
    body: &[u8],
) -> Result<RequestAction, Refusal> {
    // Without a name given, the first part of the user agent names the manager.
    let given = query.get("fieldManager").filter(|name| !name.is_empty()).cloned();
    let manager = || {
        let agent = user_agent.split('/').next().filter(|agent| !agent.is_empty());
        given.clone().unwrap_or_else(|| agent.unwrap_or("unknown").to_owned())
    };
    match (method.as_str(), target.name.is_some()) {
        ("GET", false) if flag(query, "watch") => watch_options(target, query).map(RequestAction::Watch),
        ("GET", false) => list_options(target, query).map(RequestAction::List),
        ("GET", true) => Ok(RequestAction::Get),
        ("POST", false) => Ok(RequestAction::Create { body: json(body)?, manager: manager() }),
        ("PUT", true) => Ok(RequestAction::Update { body: json(body)?, manager: manager() }),
        ("PATCH", true) => {
            let patch = Patch::parse(&target.kind, content_type, body)?;
            let apply = matches!(patch, Patch::Apply(_));
            let manager = if apply { given } else { Some(manager()) };
            Ok(RequestAction::Patch { patch, manager, force: flag(query, "force") })
        }
        ("DELETE", true) if target.subresource.is_none() => {
            let options = if body.is_empty() { Value::Null } else { json(body)? };
            Ok(RequestAction::Delete { options })
        }
        ("DELETE", false) => Ok(RequestAction::DeleteCollection { selectors: selectors(target, query)? }),
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn selectors(target: &RequestTarget, query: &BTreeMap<String, String>) -> Result<Selectors, Refusal> {
    let text = |key: &str| query.get(key).map_or("", String::as_str);
    Selectors::parse(text("labelSelector"), text("fieldSelector"), target.kind.selectable)
}

fn list_options(target: &RequestTarget, query: &BTreeMap<String, String>) -> Result<ListOptions, Refusal> {
    let limit: Option<usize> = number(query, "limit")?;
    Ok(ListOptions {
        selectors: selectors(target, query)?,
        limit: limit.filter(|limit| *limit > 0),
        continue_token: query.get("continue").filter(|token| !token.is_empty()).cloned(),
        resource_version: number(query, "resourceVersion")?,
        exact: query.get("resourceVersionMatch").is_some_and(|value| value == "Exact"),
    })
}

fn watch_options(target: &RequestTarget, query: &BTreeMap<String, String>) -> Result<WatchOptions, Refusal> {
    let options = WatchOptions {
        selectors: selectors(target, query)?,
        resource_version: number(query, "resourceVersion")?,
        timeout_seconds: number(query, "timeoutSeconds")?,
        bookmarks: flag(query, "allowWatchBookmarks"),
        send_initial_events: flag(query, "sendInitialEvents"),
    };
    let not_older = query.get("resourceVersionMatch").is_some_and(|value| value == "NotOlderThan");
    if options.send_initial_events && !not_older {
        let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(Refusal::new(422, "Invalid", text));
    }
    Ok(options)
}

fn flag(query: &BTreeMap<String, String>, key: &str) -> bool {
    query.get(key).is_some_and(|value| value == "true" || value == "1")
}

fn number<N: std::str::FromStr>(query: &BTreeMap<String, String>, key: &str) -> Result<Option<N>, Refusal> {
    match query.get(key).filter(|text| !text.is_empty()) {
        Some(text) => {
            text.parse().map(Some).map_err(|_| Refusal::bad_request(format!("invalid {key}: {text:?}")))
        }
        None => Ok(None),
    }
}

fn json(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("error decoding body: {error}")))
}

fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(&key.replace('+', " ")), percent_decode(&value.replace('+', " ")))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let hex = (byte == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        if let Some(value) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(value);
            index += 3;
        } else {
            decoded.push(byte);
            index += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_target() {
        let kinds = Kinds::new(&[]).expect("the built-in kinds need no schema");
        for (path, expected) in [
            ("/api/v1/services", Some("services - - -")),
            ("/api/v1/namespaces/a/services/b", Some("services a b -")),
            ("/api/v1/namespaces/a/services/b/status", Some("services a b status")),
            ("/api/v1/namespaces", Some("namespaces - - -")),
            ("/api/v1/namespaces/a", Some("namespaces - a -")),
            ("/api/v1/namespaces/a/status", Some("namespaces - a status")),
            ("/api/v1/nodes/n%31", Some("nodes - n1 -")),
            ("/apis/discovery.k8s.io/v1/endpointslices", Some("endpointslices - - -")),
            ("/api/v1/services/b", None),
            ("/api/v1/namespaces/a/nodes/b", None),
            ("/api/v1/namespaces/a/secrets/b/status", None),
            ("/api/v1/namespaces/a/pods/b/exec", None),
            ("/apis/metallb.io/v1beta1/ipaddresspools", None),
            ("/", None),
        ] {
            let found = target(&kinds, path).ok().map(|target| {
                let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
                format!(
                    "{} {} {} {}",
                    target.kind.plural,
                    text(target.namespace),
                    text(target.name),
                    text(target.subresource)
                )
            });
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = query("&labelSelector=app+in+%28a%2Cb%29&watch=true&limit=");
        assert_eq!(query["labelSelector"], "app in (a,b)");
        assert!(flag(&query, "watch"));
        assert_eq!(number::<u32>(&query, "limit").expect("empty means absent"), None);
        assert_eq!(percent_decode("100%"), "100%");
    }
}
