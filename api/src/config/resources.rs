//! The custom resources as they were read, before anything is judged.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Kind, NodeNetwork};
use crate::crd::{IPAddressPool, L2Advertisement};
use crate::namespace::Namespace;
use crate::node::Node;

/// The custom resources of our namespace and what they refer to, as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// All `IPAddressPool`s.
    pub pools: Vec<IPAddressPool>,
    /// All `L2Advertisement`s.
    pub l2_advertisements: Vec<L2Advertisement>,
    /// All Namespaces, for pool pinning by label (A18).
    pub namespaces: Vec<Namespace>,
    /// All Nodes, if this process looks at them to tell whether an advertisement
    /// finds one; nothing is in force or not by that. Only labels matter.
    pub nodes: Option<Vec<Node>>,
    /// Where the API server is reached, as far as this process looks.
    pub api_server: BTreeSet<IpAddr>,
    /// What the nodes' speakers see of their networks, as far as this process looks.
    pub node_networks: Vec<NodeNetwork>,
    /// Objects of these kinds that cannot be read as such; each has a verdict.
    pub undecodable: Vec<Undecodable>,
}

/// An object that is not what its kind says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Its kind.
    pub kind: Kind,
    /// Its name; empty if not even that can be read.
    pub name: String,
    /// Its `metadata.generation`; 0 if it has none.
    pub generation: i64,
    /// What is wrong with it.
    pub error: String,
}

impl Resources {
    /// Adds an object of `kind` as the API server or a manifest has it. One
    /// that does not decode is noted and named, and harms no other.
    ///
    /// A shell watches untyped objects and reads them here: in a typed watch
    /// one bad object would hide all good ones.
    pub fn read(&mut self, kind: Kind, object: &Value) {
        let outcome = match kind {
            Kind::IPAddressPool => decode(object).map(|pool| self.pools.push(pool)),
            Kind::L2Advertisement => decode(object).map(|ad| self.l2_advertisements.push(ad)),
        };
        if let Err(error) = outcome {
            let metadata = &object["metadata"];
            self.undecodable.push(Undecodable {
                kind,
                name: metadata["name"].as_str().unwrap_or_default().to_owned(),
                generation: metadata["generation"].as_i64().unwrap_or_default(),
                error: error.to_string(),
            });
        }
    }
}

/// Items of a list lack `apiVersion` and `kind`; neither is asked for.
fn decode<T: DeserializeOwned>(object: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(object)
}
