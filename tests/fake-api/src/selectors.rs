//! Label and field selectors, as text in a query.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::Refusal;

/// What a list or watch is narrowed down to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selectors {
    labels: Vec<Requirement>,
    /// Path, whether it shall be equal, and the value.
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Absent(String),
}

impl Selectors {
    /// Parses both texts. `selectable` are the fields this kind can be selected
    /// by, beside its name and namespace.
    pub(crate) fn parse(labels: &str, fields: &str, selectable: &[&str]) -> Result<Self, Refusal> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(fields, selectable)? })
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &String| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        self.labels.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => !label(key).is_some_and(|value| values.contains(value)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        }) && self.fields.iter().all(|(path, equal, value)| (field_text(object, path) == *value) == *equal)
    }

    /// The name that `metadata.name=NAME` asks for: authorization looks at it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|(path, equal, _)| *equal && path == "metadata.name")
            .map(|(_, _, value)| value.as_str())
    }
}

fn field_text(object: &Value, path: &str) -> String {
    let value = path.split('.').fold(object, |value, key| &value[key]);
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse_fields(text: &str, selectable: &[&str]) -> Result<Vec<(String, bool, String)>, Refusal> {
    text.split(',')
        .filter(|term| !term.is_empty())
        .map(|term| {
            let (path, equal, value) = if let Some((path, value)) = term.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (path, true, value)
            } else {
                return Err(Refusal::bad_request(format!("invalid field selector: {term}")));
            };
            if !["metadata.name", "metadata.namespace"].contains(&path) && !selectable.contains(&path) {
                return Err(Refusal::bad_request(format!("field label not supported: {path}")));
            }
            Ok((path.to_owned(), equal, value.to_owned()))
        })
        .collect()
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, Refusal> {
    split_outside_parentheses(text)
        .into_iter()
        .map(|term| requirement(&term))
        .collect::<Option<_>>()
        .ok_or_else(|| Refusal::bad_request(format!("unable to parse label selector: {text}")))
}

fn split_outside_parentheses(text: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut terms = vec![String::new()];
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            terms.push(String::new());
        } else if let Some(term) = terms.last_mut() {
            term.push(character);
        }
    }
    terms.iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty()).collect()
}

fn requirement(term: &str) -> Option<Requirement> {
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    let key = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && !text.contains([' ', '(', ')', '='])).then(|| text.to_owned())
    };
    if let Some((left, right)) = term.split_once('(') {
        let values = right.strip_suffix(')')?.split(',').map(|value| value.trim().to_owned()).collect();
        let (left, operator) = left.trim().rsplit_once(' ')?;
        return match operator {
            "in" => Some(Requirement::In(key(left)?, values)),
            "notin" => Some(Requirement::NotIn(key(left)?, values)),
            _ => None,
        };
    }
    if let Some((left, right)) = term.split_once("!=") {
        return Some(Requirement::NotIn(key(left)?, one(right)));
    }
    if let Some((left, right)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(Requirement::In(key(left)?, one(right)));
    }
    if let Some(absent) = term.strip_prefix('!') {
        return Some(Requirement::Absent(key(absent)?));
    }
    Some(Requirement::Exists(key(term)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_select_as_documented() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "front"}}});
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app!=db", true),
            ("missing!=x", true),
            ("app in (web, db)", true),
            ("app notin (web,db)", false),
            ("missing notin (x)", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("app in (web),tier in (back,front),!missing", true),
        ] {
            let selectors = Selectors::parse(text, "", &[]).expect("the selector is well formed");
            assert_eq!(selectors.matches(&object), expected, "{text}");
        }
        for bad in ["app in web)", "a b c", "=x", "app like (x)"] {
            assert_eq!(Selectors::parse(bad, "", &[]).expect_err("malformed").code, 400, "{bad}");
        }
    }

    #[test]
    fn fields_select_only_what_the_kind_offers() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1", "hostNetwork": true}});
        for (text, expected) in [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("spec.nodeName==n1,metadata.name=a", true),
            ("spec.hostNetwork=true", true),
            ("status.phase=", true),
        ] {
            let offered = ["spec.nodeName", "spec.hostNetwork", "status.phase"];
            let selectors = Selectors::parse("", text, &offered).expect("all of these are offered");
            assert_eq!(selectors.matches(&pod), expected, "{text}");
        }
        assert_eq!(Selectors::parse("", "spec.image=x", &[]).expect_err("not offered").code, 400);
        assert_eq!(Selectors::parse("", "metadata.name", &[]).expect_err("no operator").code, 400);
    }
}
