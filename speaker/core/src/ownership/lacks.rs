//! What a speaker lacks of the configuration: objects that exist, but of which it knows no valid
//! version. It says so in its gossip, so that nobody stands back for it where it cannot announce.

use std::collections::BTreeSet;

use ferrolb_api::config::{Config, Kind};

/// The most objects that are told; it counts as having the rest. With the longest name and the
/// longest reach they fit into a datagram.
pub(crate) const MAX_LACKS: usize = 11;

/// An object, as FNV-1a of its kind and name (32 bits): one that is taken for another costs what
/// is lost without any of this, that others stand back.
pub(crate) type Lack = u32;

/// The object of `kind` with this name.
pub(crate) fn lack(kind: Kind, name: &str) -> Lack {
    let bytes = kind.as_str().bytes().chain([b'/']).chain(name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What `config` lacks.
pub(crate) fn of(config: &Config) -> BTreeSet<Lack> {
    let pools = config.unusable_pools.keys().map(|name| lack(Kind::IPAddressPool, name));
    let advertisements = config.unusable_advertisements.iter().map(|name| lack(Kind::L2Advertisement, name));
    advertisements.chain(pools).take(MAX_LACKS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_told_alike_by_every_version_and_bounded() {
        assert_eq!(lack(Kind::IPAddressPool, "main"), 0xf982_5a66);
        assert_ne!(lack(Kind::IPAddressPool, "main"), lack(Kind::L2Advertisement, "main"));
        let unusable_advertisements = (0..100).map(|number| format!("l2-{number}")).collect();
        assert_eq!(of(&Config { unusable_advertisements, ..Config::default() }).len(), MAX_LACKS);
        assert_eq!(of(&Config::default()), BTreeSet::new());
    }
}
