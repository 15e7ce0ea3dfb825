//! Who may do what, read from Role and ClusterRole manifests and their bindings.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// What a request wants to do, as authorization sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'a str,
    /// The API group, empty for the core group.
    pub group: &'a str,
    /// The resource in plural.
    pub resource: &'a str,
    /// The subresource, if any.
    pub subresource: Option<&'a str>,
    /// The namespace; `None` for all of them and for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
    /// The object, where the request names one.
    pub name: Option<&'a str>,
}

/// One verb on one resource that a user was granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The namespace it is good for; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// The API group, or `*`.
    pub group: String,
    /// The resource, `services/status` for a subresource, or `*`.
    pub resource: String,
    /// The verb, or `*`.
    pub verb: String,
    /// The only objects it is good for; empty for all.
    pub names: BTreeSet<String>,
}

impl Grant {
    /// Whether this grant allows a request.
    #[must_use]
    pub fn covers(&self, request: &Attributes<'_>) -> bool {
        let resource = match request.subresource {
            Some(subresource) => format!("{}/{subresource}", request.resource),
            None => request.resource.to_owned(),
        };
        let any_with_subresource =
            request.subresource.is_some_and(|subresource| self.resource == format!("*/{subresource}"));
        let names_match = self.names.is_empty() || request.name.is_some_and(|name| self.names.contains(name));
        (self.verb == "*" || self.verb == request.verb)
            && (self.group == "*" || self.group == request.group)
            && (self.resource == "*" || self.resource == resource || any_with_subresource)
            && self.namespace.as_deref().is_none_or(|own| request.namespace == Some(own))
            && names_match
    }
}

/// `update services/status in the cluster`
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let place = self.namespace.as_deref().unwrap_or("the cluster");
        write!(f, "{} {}{group} in {place}", self.verb, self.resource)
    }
}

/// The authorizer.
#[derive(Clone, Debug)]
pub struct Rbac {
    /// `None` allows everything.
    bindings: Option<Vec<Binding>>,
}

#[derive(Clone, Debug)]
struct Binding {
    subjects: Vec<Subject>,
    grants: Vec<Grant>,
    paths: Vec<PathGrant>,
}

/// One verb on one non-resource URL; either may be `*`, and a URL may end in one.
#[derive(Clone, Debug)]
struct PathGrant {
    path: String,
    verb: String,
}

impl PathGrant {
    fn covers(&self, verb: &str, path: &str) -> bool {
        let path_matches = match self.path.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => self.path == path,
        };
        path_matches && (self.verb == "*" || self.verb == verb)
    }
}

#[derive(Clone, Debug)]
struct Subject {
    kind: String,
    namespace: String,
    name: String,
}

impl Rbac {
    /// Everybody may do everything.
    #[must_use]
    pub fn permissive() -> Self {
        Self { bindings: None }
    }

    /// Reads every `Role`, `ClusterRole`, `RoleBinding` and `ClusterRoleBinding`
    /// out of `objects`; other kinds are passed over.
    ///
    /// # Errors
    /// A binding to a role that is not among them, which is a mistake in any
    /// set of manifests that shall stand on its own.
    pub fn from_objects(objects: &[Value]) -> Result<Self, String> {
        let bindings = objects
            .iter()
            .filter(|object| object["kind"] == "RoleBinding" || object["kind"] == "ClusterRoleBinding")
            .map(|object| binding(object, objects))
            .collect::<Result<_, _>>()?;
        Ok(Self { bindings: Some(bindings) })
    }

    /// Whether `user` may. Service accounts are written
    /// `system:serviceaccount:NAMESPACE:NAME`.
    #[must_use]
    pub fn allowed(&self, user: &str, request: &Attributes<'_>) -> bool {
        self.bindings.is_none() || self.grants(user).iter().any(|grant| grant.covers(request))
    }

    /// Whether `user` may do this to a non-resource URL such as `/metrics`.
    #[must_use]
    pub fn allowed_path(&self, user: &str, verb: &str, path: &str) -> bool {
        let Some(bindings) = &self.bindings else { return true };
        let own = bindings.iter().filter(|binding| binding.subjects.iter().any(|subject| subject.is(user)));
        own.flat_map(|binding| &binding.paths).any(|grant| grant.covers(verb, path))
    }

    /// Everything that `user` was granted, one verb and resource each. Empty if
    /// everything is allowed anyway.
    #[must_use]
    pub fn grants(&self, user: &str) -> BTreeSet<Grant> {
        let bindings = self.bindings.iter().flatten();
        bindings
            .filter(|binding| binding.subjects.iter().any(|subject| subject.is(user)))
            .flat_map(|binding| binding.grants.iter().cloned())
            .collect()
    }
}

impl Subject {
    fn is(&self, user: &str) -> bool {
        let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        match self.kind.as_str() {
            "ServiceAccount" => account == Some((&self.namespace, &self.name)),
            "User" => self.name == user,
            "Group" => match self.name.strip_prefix("system:serviceaccounts") {
                Some("") => account.is_some(),
                Some(rest) => account.is_some_and(|(namespace, _)| rest == format!(":{namespace}")),
                None => self.name == "system:authenticated",
            },
            _ => false,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn binding(object: &Value, objects: &[Value]) -> Result<Binding, String> {
    let cluster_wide = object["kind"] == "ClusterRoleBinding";
    let namespace = text(&object["metadata"]["namespace"]);
    let reference = &object["roleRef"];
    let role = objects.iter().find(|role| {
        role["kind"] == reference["kind"]
            && role["metadata"]["name"] == reference["name"]
            && (role["kind"] == "ClusterRole" || text(&role["metadata"]["namespace"]) == namespace)
    });
    let role = role.ok_or_else(|| {
        let (kind, name) = (text(&reference["kind"]), text(&reference["name"]));
        format!("{} refers to {kind} {name}, which is not there", text(&object["metadata"]["name"]))
    })?;
    let subjects = object["subjects"].as_array().into_iter().flatten().map(|subject| Subject {
        kind: text(&subject["kind"]),
        namespace: text(&subject["namespace"]),
        name: text(&subject["name"]),
    });
    let place = (!cluster_wide).then_some(namespace.as_str());
    let rules = || role["rules"].as_array().into_iter().flatten();
    let grants = rules().flat_map(|rule| grants(rule, place)).collect();
    // They are outside of every namespace, so only a ClusterRoleBinding gives any.
    let paths = rules().filter(|_| cluster_wide).flat_map(path_grants).collect();
    Ok(Binding { subjects: subjects.collect(), grants, paths })
}

fn grants(rule: &Value, namespace: Option<&str>) -> Vec<Grant> {
    let mut grants = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            for verb in texts(&rule["verbs"]) {
                grants.push(Grant {
                    namespace: namespace.map(str::to_owned),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb,
                    names: texts(&rule["resourceNames"]).into_iter().collect(),
                });
            }
        }
    }
    grants
}

fn path_grants(rule: &Value) -> Vec<PathGrant> {
    let verbs = texts(&rule["verbs"]);
    let with_verbs = |path: String| {
        let grant = move |verb: &String| PathGrant { path: path.clone(), verb: verb.clone() };
        verbs.iter().map(grant).collect::<Vec<_>>()
    };
    texts(&rule["nonResourceURLs"]).into_iter().flat_map(with_verbs).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Vec<Value> {
        let account = json!([{"kind": "ServiceAccount", "namespace": "lb", "name": "controller"}]);
        vec![
            json!({"kind": "ClusterRole", "metadata": {"name": "c"}, "rules": [
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["services/status"], "verbs": ["update"]},
                {"apiGroups": ["metallb.io"], "resources": ["*"], "verbs": ["get"]},
            ]}),
            json!({"kind": "Role", "metadata": {"name": "r", "namespace": "lb"}, "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"], "resourceNames": ["key"]},
            ]}),
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "c"}, "subjects": account,
                "roleRef": {"kind": "ClusterRole", "name": "c"}}),
            json!({"kind": "RoleBinding", "metadata": {"name": "r", "namespace": "lb"}, "subjects": account,
                "roleRef": {"kind": "Role", "name": "r"}}),
        ]
    }

    #[test]
    fn the_table_answers_as_kubernetes_would() {
        let rbac = Rbac::from_objects(&objects()).expect("every binding has its role");
        let controller = "system:serviceaccount:lb:controller";
        let ask = |user: &str, verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
            let (resource, subresource) =
                resource.split_once('/').map_or((resource, None), |(resource, sub)| (resource, Some(sub)));
            let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
            let (namespace, name) = (some(namespace), some(name));
            rbac.allowed(user, &Attributes { verb, group, resource, subresource, namespace, name })
        };
        for (user, verb, group, resource, namespace, name, expected) in [
            (controller, "list", "", "services", "", "", true),
            (controller, "get", "", "services", "any", "x", true),
            (controller, "update", "", "services", "any", "x", false),
            (controller, "update", "", "services/status", "any", "x", true),
            (controller, "patch", "", "services/status", "any", "x", false),
            (controller, "get", "", "services/status", "any", "x", false),
            (controller, "get", "metallb.io", "ipaddresspools", "lb", "x", true),
            (controller, "get", "apps", "deployments", "lb", "x", false),
            (controller, "get", "", "secrets", "lb", "key", true),
            (controller, "get", "", "secrets", "lb", "other", false),
            (controller, "get", "", "secrets", "other", "key", false),
            (controller, "list", "", "secrets", "lb", "", false),
            ("system:serviceaccount:lb:speaker", "list", "", "services", "", "", false),
        ] {
            assert_eq!(
                ask(user, verb, group, resource, namespace, name),
                expected,
                "{user} {verb} {resource} {namespace}/{name}"
            );
        }
        assert_eq!(rbac.grants(controller).len(), 6);
    }

    #[test]
    fn a_binding_without_its_role_is_an_error() {
        let mut objects = objects();
        objects.remove(1);
        assert!(Rbac::from_objects(&objects).expect_err("role r is gone").contains("Role r"));
    }
}
