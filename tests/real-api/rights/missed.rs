//! The real authorizer on each verb alone: with one taken out of its role, it refuses something that was asked for.

use std::collections::{BTreeMap, BTreeSet};

use fake_api::{Attributes, Grant};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube_apiserver::NAMESPACE;
use serde_json::{Value, json};

use super::{grants, shipped};
use crate::setup::{Stage, eventually, typed};

/// Takes each grant of an account away, and gives it back: meanwhile what needs it is refused.
pub(super) async fn assert_missed(stage: &Stage, account: &str, needed: &BTreeMap<Grant, Attributes<'_>>) {
    let objects = shipped();
    let all = grants(&objects, account);
    let mut taken = BTreeSet::new();
    for (index, role) in objects.iter().enumerate() {
        for less in lessened(role) {
            let mut objects = objects.clone();
            objects[index] = less;
            let left = grants(&objects, account);
            // It may be another account's role.
            let Some(grant) = all.iter().find(|grant| !left.contains(*grant)) else { continue };
            let asked = needed[grant];
            set_rules(stage, &objects[index]).await;
            eventually(&format!("{account}: refused without {grant}"), async || {
                !allows(stage, account, asked).await
            })
            .await;
            set_rules(stage, role).await;
            eventually(&format!("{account}: allowed with {grant}"), async || {
                allows(stage, account, asked).await
            })
            .await;
            taken.insert(grant);
        }
    }
    assert_eq!(taken, needed.keys().collect(), "{account}: each was taken away once");
}

/// The same role without one verb for one resource, in every way there is. None of what is no role.
fn lessened(role: &Value) -> Vec<Value> {
    let mut roles = Vec::new();
    for (index, rule) in array(&role["rules"]).iter().enumerate() {
        for resource in array(&rule["resources"]) {
            for verb in array(&rule["verbs"]) {
                let mut other_verbs = rule.clone();
                other_verbs["verbs"] = without(&rule["verbs"], verb);
                let mut other_resources = rule.clone();
                other_resources["verbs"] = json!([verb]);
                other_resources["resources"] = without(&rule["resources"], resource);
                // A rule without verbs or resources is none.
                let rest = [other_verbs, other_resources].into_iter();
                let rest = rest.filter(|rule| rule["verbs"] != json!([]) && rule["resources"] != json!([]));
                let mut rules = array(&role["rules"]).to_vec();
                rules.splice(index..=index, rest);
                let mut less = role.clone();
                less["rules"] = Value::Array(rules);
                roles.push(less);
            }
        }
    }
    roles
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn without(values: &Value, one: &Value) -> Value {
    array(values).iter().filter(|value| *value != one).cloned().collect()
}

/// Gives the server's role of this name these rules.
async fn set_rules(stage: &Stage, role: &Value) {
    let name = role["metadata"]["name"].as_str().expect("it has a name");
    let (params, rules) = (PatchParams::default(), Patch::Merge(json!({"rules": role["rules"]})));
    let done = if role["kind"] == "Role" {
        stage.all::<Role>(NAMESPACE).patch(name, &params, &rules).await.map(drop)
    } else {
        Api::<ClusterRole>::all(stage.admin.clone()).patch(name, &params, &rules).await.map(drop)
    };
    done.expect("the manifests are applied, and nobody else changes them");
}

/// Whether the server would allow it now.
async fn allows(stage: &Stage, account: &str, asked: Attributes<'_>) -> bool {
    let review: SubjectAccessReview = typed(json!({"metadata": {}, "spec": {
        "user": format!("system:serviceaccount:{NAMESPACE}:{account}"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{NAMESPACE}"), "system:authenticated"],
        "resourceAttributes": {
            "verb": asked.verb, "group": asked.group,
            "resource": asked.resource, "subresource": asked.subresource,
            "namespace": asked.namespace, "name": asked.name,
        },
    }}));
    let reviews: Api<SubjectAccessReview> = Api::all(stage.admin.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.expect("everybody's question is good");
    answer.status.expect("the server answers").allowed
}
