//! The election order of D20, computed here once more: the checkers must not
//! take the speaker's word for it.

use std::net::IpAddr;

use ferrolb_api::NodeName;
use sha2::{Digest, Sha256};

/// A candidate's key: SHA-256 of `node#address`; the smallest wins (D20).
#[must_use]
pub fn key(node: &NodeName, address: IpAddr) -> [u8; 32] {
    Sha256::digest(format!("{node}#{address}").as_bytes()).into()
}

/// The first four bytes of the key in hex: enough to show who wins and why.
#[must_use]
pub fn key_prefix(node: &NodeName, address: IpAddr) -> String {
    let [a, b, c, d, ..] = key(node, address);
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// The candidate that owns `address` if all preferences are equal.
pub fn first<'a>(
    candidates: impl IntoIterator<Item = &'a NodeName>,
    address: IpAddr,
) -> Option<&'a NodeName> {
    candidates.into_iter().min_by_key(|node| key(node, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d24_prefixes_and_winners() {
        let address: IpAddr = "192.168.1.240".parse().expect("a literal address");
        let nodes = ["node-a", "node-b", "node-c"].map(NodeName::from);
        let prefixes = nodes.each_ref().map(|node| key_prefix(node, address));
        assert_eq!(prefixes, ["0905ce28", "c5db6995", "a6530f9d"]);
        assert_eq!(first(&nodes, address), Some(&nodes[0]));
        assert_eq!(first(&[], address), None);
    }
}
