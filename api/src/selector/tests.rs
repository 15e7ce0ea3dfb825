//! Tables for A3, B9, B11 and B12.

use serde_json::{Value, json};

use super::*;

fn source(selector: &Value) -> LabelSelector {
    serde_json::from_value(selector.clone()).expect("a literal selector")
}

fn compiled(selector: &Value) -> Result<Selector, SelectorError> {
    Selector::try_from(&source(selector))
}

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn expression(key: &str, operator: &str, values: Value) -> Value {
    json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
}

#[test]
fn a3_matching() {
    let prod = labels(&[("env", "prod"), ("rack", "1")]);
    for (selector, expected) in [
        (json!({}), true),
        (json!({ "matchLabels": { "env": "prod" } }), true),
        (json!({ "matchLabels": { "env": "test" } }), false),
        (json!({ "matchLabels": { "env": "prod", "rack": "2" } }), false),
        (expression("env", "In", json!(["test", "prod"])), true),
        (expression("env", "NotIn", json!(["test"])), true),
        (expression("env", "NotIn", json!(["prod"])), false),
        (expression("zone", "In", json!(["a"])), false),
        (expression("zone", "NotIn", json!(["a"])), true),
        (expression("rack", "Exists", json!(null)), true),
        (expression("zone", "Exists", json!([])), false),
        (expression("zone", "DoesNotExist", json!(null)), true),
        (expression("rack", "DoesNotExist", json!(null)), false),
    ] {
        let selector_of = compiled(&selector).expect("a valid selector");
        assert_eq!(selector_of.matches(&prod), expected, "{selector}");
    }
}

#[test]
fn a3_a_list_is_an_or() {
    let list = compile(&[
        source(&json!({ "matchLabels": { "a": "1" } })),
        source(&json!({ "matchLabels": { "b": "1" } })),
    ])
    .expect("two different selectors");
    assert!(Selector::any_matches(&list, &labels(&[("b", "1")])));
    assert!(!Selector::any_matches(&list, &labels(&[("c", "1")])));
    assert!(Selector::any_matches(&[], &labels(&[])));
}

#[test]
fn b9_the_same_selector_twice() {
    let ab = expression("k", "In", json!(["a", "b"]));
    let ba = expression("k", "In", json!(["b", "a"]));
    let not_ab = expression("k", "NotIn", json!(["a", "b"]));
    for (list, duplicate) in [
        (vec![&ab, &ab], true),
        (vec![&ab, &ba], true),
        (vec![&ab, &not_ab], false),
        (vec![&json!({}), &json!({})], true),
        (vec![&json!({ "matchLabels": { "k": "a" } }), &expression("k", "In", json!(["a"]))], false),
    ] {
        let sources: Vec<_> = list.iter().map(|selector| source(selector)).collect();
        let outcome = compile(&sources).map(|_| ());
        let expected = if duplicate { Err(SelectorError::DuplicateSelector) } else { Ok(()) };
        assert_eq!(outcome, expected, "{list:?}");
    }
}

#[test]
fn b11_b12_what_does_not_compile() {
    let twice = json!({ "matchExpressions": [
        { "key": "k", "operator": "In", "values": ["b", "a"] },
        { "key": "k", "operator": "In", "values": ["a", "b"] },
    ] });
    for (selector, fragment) in [
        (twice, "the same expression is written twice"),
        (expression("k", "In", json!(["a", "a"])), "the same value is written twice"),
        (expression("k", "Like", json!(["a"])), "unknown operator \"Like\""),
        (expression("k", "", json!(null)), "unknown operator \"\""),
        (expression("k", "in", json!(["a"])), "use In, NotIn, Exists or DoesNotExist"),
        (expression("k", "In", json!([])), "In for label \"k\" needs at least one value"),
        (expression("k", "NotIn", json!(null)), "NotIn for label \"k\" needs at least one value"),
        (expression("k", "Exists", json!(["a"])), "Exists for label \"k\" takes no values"),
        (expression("k", "DoesNotExist", json!(["a"])), "takes no values"),
        (expression("", "Exists", json!(null)), "\"\" is not a valid label key"),
        (json!({ "matchExpressions": [{ "operator": "Exists" }] }), "\"\" is not a valid label key"),
        (json!({ "matchLabels": { "k": "not ok" } }), "\"not ok\" is not a valid label value"),
        (expression("k", "In", json!(["-"])), "\"-\" is not a valid label value"),
    ] {
        let error = compiled(&selector).expect_err("does not compile").to_string();
        assert!(error.contains(fragment), "{selector}: {error}");
    }
    // One key in two different expressions is fine.
    let range = json!({ "matchExpressions": [
        { "key": "k", "operator": "Exists" }, { "key": "k", "operator": "NotIn", "values": ["a"] },
    ] });
    assert!(compiled(&range).is_ok());
}

#[test]
fn b12_label_syntax() {
    let long = |len: usize| "a".repeat(len);
    for (key, valid) in [
        ("app".to_owned(), true),
        ("App_1.x-2".to_owned(), true),
        ("kubernetes.io/hostname".to_owned(), true),
        ("my-org.example/a".to_owned(), true),
        (long(63), true),
        (long(64), false),
        (format!("{}/a", [long(63), long(63), long(63), long(61)].join(".")), true),
        (format!("{}/a", [long(63), long(63), long(63), long(62)].join(".")), false),
        ("-a".to_owned(), false),
        ("a-".to_owned(), false),
        ("a b".to_owned(), false),
        ("ä".to_owned(), false),
        ("/a".to_owned(), false),
        ("a/".to_owned(), false),
        ("a/b/c".to_owned(), false),
        ("Upper.io/a".to_owned(), false),
        ("a..b/c".to_owned(), false),
        ("under_score/c".to_owned(), false),
    ] {
        assert_eq!(compiled(&expression(&key, "Exists", json!(null))).is_ok(), valid, "{key:?}");
    }
    for (value, valid) in [
        ("", true),
        ("a", true),
        ("A.b_c-9", true),
        (&*long(63), true),
        (&*long(64), false),
        (".a", false),
        ("a/b", false),
    ] {
        assert_eq!(compiled(&json!({ "matchLabels": { "k": value } })).is_ok(), valid, "{value:?}");
    }
}
