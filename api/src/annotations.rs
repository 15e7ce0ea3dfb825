//! Annotation keys of a Service, current and deprecated (C72, C73).

use std::collections::BTreeMap;

/// The pool an address is asked from (C34).
pub const ADDRESS_POOL: &str = "metallb.io/address-pool";
/// The addresses asked for, comma-separated (C31).
pub const LOAD_BALANCER_IPS: &str = "metallb.io/loadBalancerIPs";
/// The sharing key (C51).
pub const ALLOW_SHARED_IP: &str = "metallb.io/allow-shared-ip";
/// The pool the addresses were taken from; written by the controller (C72).
pub const IP_ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";
/// Prefix of the old names, honoured where the new key is absent (C73).
pub const DEPRECATED_PREFIX: &str = "metallb.universe.tf/";

/// What the annotations of a Service say to us. An empty value counts as set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// [`ADDRESS_POOL`].
    pub address_pool: Option<String>,
    /// [`LOAD_BALANCER_IPS`], as written.
    pub load_balancer_ips: Option<String>,
    /// [`ALLOW_SHARED_IP`].
    pub allow_shared_ip: Option<String>,
    /// [`IP_ALLOCATED_FROM_POOL`].
    pub allocated_from_pool: Option<String>,
    /// The same under its deprecated key, as an older MetalLB has written it.
    pub deprecated_allocated_from_pool: Option<String>,
    /// The full keys with the deprecated prefix that users write, in order.
    pub deprecated: Vec<String>,
}

impl Annotations {
    /// The pool that the addresses were taken from, by whichever key says it.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.allocated_from_pool.as_deref().or(self.deprecated_allocated_from_pool.as_deref())
    }
}

impl From<&BTreeMap<String, String>> for Annotations {
    fn from(annotations: &BTreeMap<String, String>) -> Self {
        let old = |key: &str| key.rsplit('/').next().map(|name| format!("{DEPRECATED_PREFIX}{name}"));
        let read = |key: &str| annotations.get(key).or_else(|| annotations.get(&old(key)?)).cloned();
        let old_origin = old(IP_ALLOCATED_FROM_POOL);
        Self {
            address_pool: read(ADDRESS_POOL),
            load_balancer_ips: read(LOAD_BALANCER_IPS),
            allow_shared_ip: read(ALLOW_SHARED_IP),
            allocated_from_pool: annotations.get(IP_ALLOCATED_FROM_POOL).cloned(),
            deprecated_allocated_from_pool: old_origin.as_ref().and_then(|key| annotations.get(key)).cloned(),
            deprecated: annotations
                .keys()
                .filter(|key| key.starts_with(DEPRECATED_PREFIX) && Some(*key) != old_origin.as_ref())
                .cloned()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c72_what_an_old_metallb_has_written_is_read_and_blamed_on_nobody() {
        for (pairs, origin) in [
            (vec![], None),
            (vec![("metallb.universe.tf/ip-allocated-from-pool", "old")], Some("old")),
            (vec![("metallb.io/ip-allocated-from-pool", "new")], Some("new")),
            (
                vec![
                    ("metallb.universe.tf/ip-allocated-from-pool", "old"),
                    ("metallb.io/ip-allocated-from-pool", "new"),
                ],
                Some("new"),
            ),
        ] {
            let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            let read = Annotations::from(&pairs.collect::<BTreeMap<_, _>>());
            assert_eq!((read.origin(), read.deprecated.len()), (origin, 0));
        }
    }

    #[test]
    fn c73_new_key_wins_even_when_empty() {
        let both = BTreeMap::from([
            (ADDRESS_POOL.to_owned(), String::new()),
            ("metallb.universe.tf/address-pool".to_owned(), "old".to_owned()),
            ("metallb.universe.tf/allow-shared-ip".to_owned(), "key".to_owned()),
        ]);
        let read = Annotations::from(&both);
        assert_eq!(read.address_pool.as_deref(), Some(""));
        assert_eq!(read.allow_shared_ip.as_deref(), Some("key"));
        assert_eq!(read.deprecated.len(), 2);
    }
}
