//! That a `namespace:` in a kustomization of the user's moves everything: no text in the manifests names ours where
//! kustomize does not look.

use serde_json::{Value, json};
use tests::manifests::{manifests, name_of, render, render_with};

/// The namespace that the files stand in, so that they can be applied by themselves.
const NAMESPACE: &str = "metallb-system";

/// Kinds that stand in no namespace.
const CLUSTER_SCOPED: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Everything that can be installed at once.
fn everything() -> Vec<Value> {
    let components = ["components/prometheus", "components/network-policies", "components/metrics-https"];
    let mut objects = render(&manifests().join("overlays/talos-reserved"));
    for component in components {
        let added = render_with(&manifests().join("base"), &manifests().join(component));
        objects
            .extend(added.into_iter().filter(|object| object["kind"] != json!("CustomResourceDefinition")));
    }
    objects
}

/// Where in a value a text has the namespace in it, as JSON pointers without the places in lists.
fn mentions(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains(NAMESPACE) => found.push(at.to_owned()),
        Value::Array(items) => items.iter().for_each(|item| mentions(item, at, found)),
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| mentions(value, &format!("{at}/{key}"), found));
        }
        _ => {}
    }
}

#[test]
fn each_object_stands_in_the_namespace_or_in_none() {
    for object in everything() {
        let is_cluster_scoped = object["kind"].as_str().is_some_and(|kind| CLUSTER_SCOPED.contains(&kind));
        let expected = if is_cluster_scoped { Value::Null } else { json!(NAMESPACE) };
        assert_eq!(object["metadata"]["namespace"], expected, "{}", name_of(&object));
    }
}

/// Kustomize changes metadata, subjects that it knows, and the Namespace itself. The names of cluster-wide roles are
/// `MetalLB`'s (G62), and are names in any namespace.
#[test]
fn nothing_else_spells_the_namespace() {
    for object in everything() {
        let mut found = Vec::new();
        mentions(&object, "", &mut found);
        for at in found {
            let is_reached = match object["kind"].as_str().unwrap_or_default() {
                "Namespace" => at == "/metadata/name",
                "ClusterRole" => at == "/metadata/name",
                "ClusterRoleBinding" => {
                    ["/metadata/name", "/roleRef/name", "/subjects/namespace"].contains(&at.as_str())
                }
                "RoleBinding" => ["/metadata/namespace", "/subjects/namespace"].contains(&at.as_str()),
                _ => at == "/metadata/namespace",
            };
            assert!(is_reached, "{}: {NAMESPACE} in {at}", name_of(&object));
        }
    }
}
