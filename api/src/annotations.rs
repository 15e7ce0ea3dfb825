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
/// What a Service has lost because no pool held it any more ([`crate::LostAddresses`]); written by the controller.
pub const LOST_ADDRESSES: &str = "metallb.io/lost-addresses";
/// Prefix of all names.
pub const PREFIX: &str = "metallb.io/";
/// Prefix of the old names, honoured where the new key is absent (C73).
pub const DEPRECATED_PREFIX: &str = "metallb.universe.tf/";

/// The names of the annotations that users write, without their prefix.
const REQUESTS: [&str; 3] = ["address-pool", "loadBalancerIPs", "allow-shared-ip"];
/// The names of those that the controller writes.
const WRITTEN: [&str; 2] = ["ip-allocated-from-pool", "lost-addresses"];

/// The key that was most likely meant by `key`, which is none of ours.
#[must_use]
pub fn nearest(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or(key).to_lowercase();
    let nearest = REQUESTS.into_iter().min_by_key(|known| distance(&name, &known.to_lowercase()));
    format!("{PREFIX}{}", nearest.unwrap_or_default())
}

/// How many letters must be put in, taken out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (at, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[b.len()]
}

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
    /// [`LOST_ADDRESSES`], as written; of this Service only if it has its UID.
    pub lost_addresses: Option<String>,
    /// The full keys with the deprecated prefix that users write, in order.
    pub deprecated: Vec<String>,
    /// Keys with either prefix that nobody reads, in order.
    pub unknown: Vec<String>,
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
        let keys = |wanted: &dyn Fn(&str) -> bool| {
            annotations.keys().filter(|key| wanted(key.as_str())).cloned().collect::<Vec<_>>()
        };
        Self {
            address_pool: read(ADDRESS_POOL),
            load_balancer_ips: read(LOAD_BALANCER_IPS),
            allow_shared_ip: read(ALLOW_SHARED_IP),
            allocated_from_pool: annotations.get(IP_ALLOCATED_FROM_POOL).cloned(),
            deprecated_allocated_from_pool: old(IP_ALLOCATED_FROM_POOL)
                .and_then(|key| annotations.get(&key))
                .cloned(),
            lost_addresses: annotations.get(LOST_ADDRESSES).cloned(),
            deprecated: keys(&|key| {
                key.strip_prefix(DEPRECATED_PREFIX).is_some_and(|name| REQUESTS.contains(&name))
            }),
            unknown: keys(&|key| {
                let name = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(DEPRECATED_PREFIX));
                name.is_some_and(|name| !REQUESTS.contains(&name) && !WRITTEN.contains(&name))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_reads_is_known_by_its_nearest() {
        for (written, meant) in [
            ("metallb.io/allow-shared-ips", Some("metallb.io/allow-shared-ip")),
            ("metallb.universe.tf/loadbalancerips", Some("metallb.io/loadBalancerIPs")),
            ("metallb.io/loadBalancerIP", Some("metallb.io/loadBalancerIPs")),
            ("metallb.universe.tf/adress-pool", Some("metallb.io/address-pool")),
            ("metallb.io/", Some("metallb.io/address-pool")),
            ("metallb.universe.tf/address-pool", None),
            ("metallb.io/ip-allocated-from-pool", None),
            ("metallb.io/lost-addresses", None),
            ("metallb.universe.tf/ip-allocated-from-pool", None),
            ("example.org/allow-shared-ips", None),
        ] {
            let read = Annotations::from(&BTreeMap::from([(written.to_owned(), "value".to_owned())]));
            let nearest: Vec<String> = read.unknown.iter().map(|key| nearest(key)).collect();
            assert_eq!(nearest.first().map(String::as_str), meant, "{written}");
            assert!(meant.is_none() || read.deprecated.is_empty(), "{written}");
        }
    }

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
