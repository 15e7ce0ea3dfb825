//! Label selectors, compiled once (A3, B11, B12).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

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
    #[error("{text:?} is not a valid label {what}")]
    Malformed {
        /// What was written.
        text: String,
        /// `key` or `value`.
        what: &'static str,
    },
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

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(source: &LabelSelector) -> Result<Self, Self::Error> {
        let mut requirements = Vec::new();
        for (key, value) in source.match_labels.iter().flatten() {
            let operator = Operator::In(BTreeSet::from([value.clone()]));
            requirements.push(Requirement { key: key.clone(), operator });
        }
        for expression in source.match_expressions.iter().flatten() {
            let key = expression.key.clone();
            let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
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
            requirements.push(Requirement { key, operator });
        }
        requirements.sort();
        Ok(Self { requirements })
    }
}
