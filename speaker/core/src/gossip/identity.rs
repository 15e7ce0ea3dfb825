//! What a member is called on the wire, and which of two lives of it counts.

use std::net::SocketAddr;
use std::sync::Arc;

use ferrolb_api::NodeName;
use serde::{Deserialize, Serialize};

use crate::gossip::envelope::MAX_BOOT;

/// A member in one of its lives. Two with the same name are the same member;
/// the later life wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub(crate) struct Identity {
    name: Arc<str>,
    boot: u64,
    renewals: u32,
    address: SocketAddr,
}

/// As it travels, not believed yet.
#[derive(Serialize, Deserialize)]
struct Wire {
    name: String,
    boot: u64,
    renewals: u32,
    address: SocketAddr,
}

/// Why something is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("a member's name has 1 to 253 letters, digits, '-', '.' or '_'")]
    Name,
    #[error("the boot id is in no clock's range")]
    Boot,
    #[error("nobody can be reached at the address")]
    Address,
}

impl Identity {
    /// The first identity of `name` in its life `boot`, reached at `address`.
    pub(crate) fn new(name: Arc<str>, boot: u64, address: SocketAddr) -> Result<Self, IdentityError> {
        if !is_node_name(&name) {
            return Err(IdentityError::Name);
        }
        if boot > MAX_BOOT {
            return Err(IdentityError::Boot);
        }
        let ip = address.ip();
        if ip.is_unspecified() || ip.is_multicast() || address.port() == 0 {
            return Err(IdentityError::Address);
        }
        Ok(Self { name, boot, renewals: 0, address })
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Which life of its speaker this is.
    pub(crate) const fn boot(&self) -> u64 {
        self.boot
    }

    /// Where it is reached.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same member in a life after `boot`, or `None` if there is no later.
    pub(crate) fn after(&self, boot: u64) -> Option<Self> {
        (boot < MAX_BOOT).then(|| Self { boot: boot + 1, renewals: 0, ..self.clone() })
    }
}

/// Whether a node can be called `name`: 1 to 253 letters, digits, '-', '.' or '_'.
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.len() <= NodeName::MAX_LEN && name.bytes().all(legal)
}

impl foca::Identity for Identity {
    type Addr = Arc<str>;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewals: self.renewals.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.boot, self.renewals, self.address) > (adversary.boot, adversary.renewals, adversary.address)
    }
}

impl TryFrom<Wire> for Identity {
    type Error = IdentityError;

    fn try_from(wire: Wire) -> Result<Self, IdentityError> {
        let identity = Self::new(wire.name.into(), wire.boot, wire.address)?;
        Ok(Self { renewals: wire.renewals, ..identity })
    }
}

impl From<Identity> for Wire {
    fn from(identity: Identity) -> Self {
        let Identity { name, boot, renewals, address } = identity;
        Self { name: (*name).to_owned(), boot, renewals, address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foca::Identity as _;

    fn address() -> SocketAddr {
        ([172, 16, 16, 11], 7946).into()
    }

    #[test]
    fn bounds() {
        let long = "n".repeat(NodeName::MAX_LEN + 1);
        for (name, boot, at, expected) in [
            ("wk01", 1, address(), Ok(())),
            ("WK01.example_1", MAX_BOOT, address(), Ok(())),
            (&long[1..], 1, address(), Ok(())),
            (&long, 1, address(), Err(IdentityError::Name)),
            ("", 1, address(), Err(IdentityError::Name)),
            ("wk01\n", 1, address(), Err(IdentityError::Name)),
            ("wk01#", 1, address(), Err(IdentityError::Name)),
            ("wk01", MAX_BOOT + 1, address(), Err(IdentityError::Boot)),
            ("wk01", 1, ([0, 0, 0, 0], 7946).into(), Err(IdentityError::Address)),
            ("wk01", 1, ([224, 0, 0, 1], 7946).into(), Err(IdentityError::Address)),
            ("wk01", 1, ([172, 16, 16, 11], 0).into(), Err(IdentityError::Address)),
        ] {
            assert_eq!(Identity::new(name.into(), boot, at).map(|_| ()), expected, "{name:?} {boot} {at}");
        }
    }

    #[test]
    fn later_life_wins() {
        let first = Identity::new("wk01".into(), 5, address()).expect("legal");
        let renewed = first.renew().expect("far from the limit");
        let restarted = first.after(5).expect("far from the limit");
        for (later, earlier) in [(&renewed, &first), (&restarted, &first), (&restarted, &renewed)] {
            assert!(later.win_addr_conflict(earlier));
            assert!(!earlier.win_addr_conflict(later));
        }
        assert_eq!(first.addr(), restarted.addr());
        assert_eq!(Identity { boot: MAX_BOOT, ..first }.after(MAX_BOOT), None);
    }
}
