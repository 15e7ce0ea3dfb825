//! Who of the candidates owns an address: MetalLB's order, bit for bit.
//!
//! Nothing is agreed on and nothing is remembered (D23). Every node sorts the
//! same names in the same way, so all who see the same candidates name the same
//! owner.

use std::cmp::Reverse;
use std::net::IpAddr;

use ferrolb_api::NodeName;
use sha2::{Digest, Sha256};

/// A node that may announce, with the sum of the preferences for it (D22).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// The node.
    pub(crate) node: NodeName,
    /// Higher is better; 0 without preferences.
    pub(crate) score: u64,
}

/// Where a candidate stands for one address; the smallest is first. Two nodes
/// never stand equal, short of a collision of SHA-256.
pub(crate) type Rank = (Reverse<u64>, [u8; 32]);

/// D20, D22: the higher score first, then the smaller SHA-256 of `node#address`.
///
/// `address` is the first one in the Service's status, also for the second of a
/// dual-stack Service (D21), in its canonical text (RFC 5952 for IPv6).
pub(crate) fn rank(candidate: &Candidate, address: IpAddr) -> Rank {
    let key = format!("{}#{}", candidate.node, address.to_canonical());
    (Reverse(candidate.score), Sha256::digest(key).into())
}

/// All candidates, the owner first.
pub(crate) fn order(candidates: &[Candidate], address: IpAddr) -> Vec<NodeName> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_cached_key(|candidate| rank(candidate, address));
    order.into_iter().map(|candidate| candidate.node.clone()).collect()
}

#[cfg(test)]
mod tests;
