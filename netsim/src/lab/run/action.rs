//! What a step of a scenario does: a word of the table in `world/actions.rs`, and its arguments.

use std::fmt;
use std::time::Duration;

use crate::lab::api::manifests::Manifest;
use crate::lab::api::objects::Key;

/// An action and its arguments.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its word in scenario files.
    pub word: &'static str,
    /// Its arguments; those that its row of the table does not take mean nothing.
    pub args: Args,
}

/// The arguments of an action.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// To which node it is done.
    pub node: Option<Target>,
    /// Which way a cable is cut.
    pub way: Cut,
    /// A share of frames, in 1/10,000.
    pub loss: u32,
    /// The beginning of the names of API clients; empty for all.
    pub client: String,
    /// How many revisions.
    pub revisions: u64,
    /// How much later.
    pub by: Duration,
    /// How many.
    pub count: u32,
    /// What is applied.
    pub manifests: Vec<Manifest>,
    /// What is deleted.
    pub object: Option<Key>,
}

/// A node, named or by its role at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever owns the first Service's first address when the step comes.
    Owner,
    /// The first running node that does not.
    Other,
    /// The node with this name.
    Node(String),
    /// Whichever node an earlier step that said [`Target::Owner`] meant.
    FormerOwner,
}

/// Which way a cable is cut, seen from the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// It hears, but is not heard.
    Outgoing,
    /// It is heard, but does not hear.
    Incoming,
    /// Neither.
    #[default]
    Both,
}

impl Action {
    /// An action without arguments.
    #[must_use]
    pub fn new(word: &'static str) -> Self {
        Self { word, args: Args::default() }
    }

    /// An action that is done to a node.
    #[must_use]
    pub fn on(word: &'static str, node: Target) -> Self {
        Self { word, args: Args { node: Some(node), ..Args::default() } }
    }

    /// `kubectl apply -f`.
    #[must_use]
    pub fn apply(manifests: Vec<Manifest>) -> Self {
        Self { word: "apply", args: Args { manifests, ..Args::default() } }
    }

    /// `kubectl delete`.
    #[must_use]
    pub fn delete(object: Key) -> Self {
        Self { word: "delete", args: Args { object: Some(object), ..Args::default() } }
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        match name {
            "owner" => Self::Owner,
            "other" => Self::Other,
            "former-owner" => Self::FormerOwner,
            name => Self::Node(name.to_owned()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Other => "other",
            Self::FormerOwner => "former-owner",
            Self::Node(name) => name,
        })
    }
}
