//! Label selectors, compiled once (A3, B11, B12).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A compiled `LabelSelector`: all its requirements must hold. The empty
/// selector matches everything (A3).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// Why a selector cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// B12: an operator that Kubernetes does not know.
    #[error("unknown operator {operator:?} for label {key:?}; use In, NotIn, Exists or DoesNotExist")]
    UnknownOperator {
        /// The label key.
        key: String,
        /// What was written.
        operator: String,
    },
    /// B12: `In` or `NotIn` without values.
    #[error("{operator} for label {key:?} needs at least one value")]
    MissingValues {
        /// The label key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// B12: `Exists` or `DoesNotExist` with values.
    #[error("{operator} for label {key:?} takes no values")]
    UnexpectedValues {
        /// The label key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// B12: a key or value that cannot be a label.
    #[error("{text:?} is not a valid label {what}: {rule}")]
    Malformed {
        /// What was written.
        text: String,
        /// `key` or `value`.
        what: &'static str,
        /// What Kubernetes asks of it.
        rule: &'static str,
    },
    /// B9: the same selector twice in one list.
    #[error("the same selector is written twice")]
    DuplicateSelector,
    /// B11: the same expression or value twice.
    #[error("label {key:?}: the same {what} is written twice")]
    Duplicate {
        /// The label key.
        key: String,
        /// `expression` or `value`.
        what: &'static str,
    },
}

impl Selector {
    /// Whether `labels` satisfy every requirement. As in Kubernetes, `NotIn`
    /// also holds where the label is missing.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// A3: a list is an OR of its items, an empty list no restriction.
    #[must_use]
    pub fn any_matches(selectors: &[Self], labels: &BTreeMap<String, String>) -> bool {
        selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
    }
}

/// As `kubectl` writes it: `app=web,tier in (a, b),!canary`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            let joined = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(", ");
            match operator {
                Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", joined(values))?,
                Operator::In(values) => write!(f, "{key} in ({})", joined(values))?,
                Operator::NotIn(values) => write!(f, "{key} notin ({})", joined(values))?,
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// Compiles a list of selectors, in which none may come twice (B9). As in
/// MetalLB they are compared as written, but for the order of values.
///
/// # Errors
/// The first selector that does not compile or that has come before.
pub fn compile(list: &[LabelSelector]) -> Result<Vec<Selector>, SelectorError> {
    let mut seen = BTreeSet::new();
    let mut compiled = Vec::with_capacity(list.len());
    for source in list {
        compiled.push(Selector::try_from(source)?);
        if !seen.insert(as_written(source)) {
            return Err(SelectorError::DuplicateSelector);
        }
    }
    Ok(compiled)
}

type Written<'a> = (Vec<(&'a String, &'a String)>, Vec<(&'a str, &'a str, Vec<&'a String>)>);

/// The selector in a form that compares: values sorted, all else in order.
fn as_written(source: &LabelSelector) -> Written<'_> {
    let labels = source.match_labels.iter().flatten().collect();
    let expressions = source.match_expressions.iter().flatten().map(expression_as_written).collect();
    (labels, expressions)
}

fn expression_as_written(expression: &LabelSelectorRequirement) -> (&str, &str, Vec<&String>) {
    let mut values: Vec<_> = expression.values.iter().flatten().collect();
    values.sort();
    (&expression.key, &expression.operator, values)
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(source: &LabelSelector) -> Result<Self, Self::Error> {
        let mut requirements = Vec::new();
        for (key, value) in source.match_labels.iter().flatten() {
            check_key(key)?;
            check_value(value)?;
            let operator = Operator::In(BTreeSet::from([value.clone()]));
            requirements.push(Requirement { key: key.clone(), operator });
        }
        let mut seen = BTreeSet::new();
        for expression in source.match_expressions.iter().flatten() {
            requirements.push(Requirement::try_from(expression)?);
            if !seen.insert(expression_as_written(expression)) {
                return Err(SelectorError::Duplicate { key: expression.key.clone(), what: "expression" });
            }
        }
        requirements.sort();
        Ok(Self { requirements })
    }
}

impl TryFrom<&LabelSelectorRequirement> for Requirement {
    type Error = SelectorError;

    fn try_from(expression: &LabelSelectorRequirement) -> Result<Self, Self::Error> {
        check_key(&expression.key)?;
        let key = expression.key.clone();
        let mut values = BTreeSet::new();
        for value in expression.values.iter().flatten() {
            check_value(value)?;
            if !values.insert(value.clone()) {
                return Err(SelectorError::Duplicate { key, what: "value" });
            }
        }
        let operator = match (expression.operator.as_str(), values.is_empty()) {
            ("In", false) => Operator::In(values),
            ("NotIn", false) => Operator::NotIn(values),
            ("Exists", true) => Operator::Exists,
            ("DoesNotExist", true) => Operator::DoesNotExist,
            (operator @ ("In" | "NotIn"), true) => {
                return Err(SelectorError::MissingValues { key, operator: operator.to_owned() });
            }
            (operator @ ("Exists" | "DoesNotExist"), false) => {
                return Err(SelectorError::UnexpectedValues { key, operator: operator.to_owned() });
            }
            (operator, _) => {
                return Err(SelectorError::UnknownOperator { key, operator: operator.to_owned() });
            }
        };
        Ok(Self { key, operator })
    }
}

/// The longest name or value of a label, in bytes.
const MAX_LABEL_LEN: usize = 63;
/// The longest prefix of a label key, in bytes (RFC 1123 subdomain).
const MAX_PREFIX_LEN: usize = 253;

fn check_key(key: &str) -> Result<(), SelectorError> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if is_label_text(name) && prefix.is_none_or(is_subdomain) {
        return Ok(());
    }
    let rule = "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends, \
                and before it, if wanted, a DNS name and '/'";
    Err(SelectorError::Malformed { text: key.to_owned(), what: "key", rule })
}

fn check_value(value: &str) -> Result<(), SelectorError> {
    if value.is_empty() || is_label_text(value) {
        return Ok(());
    }
    let rule = "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends";
    Err(SelectorError::Malformed { text: value.to_owned(), what: "value", rule })
}

fn is_label_text(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= MAX_LABEL_LEN
        && text.bytes().all(inner)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

fn is_subdomain(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_PREFIX_LEN
        && text.split('.').all(|label| {
            label.starts_with(alphanumeric)
                && label.ends_with(alphanumeric)
                && label.chars().all(|c| alphanumeric(c) || c == '-')
        })
}

#[cfg(test)]
mod tests;
