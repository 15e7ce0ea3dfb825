//! Which addresses are taken by which pool, so that no two overlap (B6).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::{Pool, Problem, reason};
use crate::address::AddressRange;

/// Disjoint ranges by their first address; IPv4 sorts before IPv6, so that
/// the families do not mix.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    ranges: BTreeMap<IpAddr, Claim>,
}

#[derive(Clone, Debug)]
struct Claim {
    range: AddressRange,
    /// The range as it is written.
    text: String,
    pool: String,
}

impl Claims {
    /// Takes all ranges of `pool` or none; `texts` are the same as written.
    pub(super) fn admit(&mut self, pool: &Pool, texts: &[String]) -> Result<(), Problem> {
        let mut own = Self::default();
        for (range, text) in pool.ranges.iter().zip(texts) {
            if let Some(other) = own.overlapping(range) {
                let message = format!(
                    "spec.addresses: {text} overlaps with already defined CIDR {} in the same pool; \
                     write each address once",
                    other.text,
                );
                return Err(Problem::new(reason::OVERLAPPING_ADDRESSES, message));
            }
            if let Some(other) = self.overlapping(range) {
                let message = format!(
                    "spec.addresses: {text} overlaps with already defined CIDR {} of IPAddressPool {}, \
                     which takes precedence; change one of the two",
                    other.text, other.pool,
                );
                return Err(Problem::new(reason::OVERLAPS_WITH_POOL, message));
            }
            own.insert(*range, text.clone(), pool.name.clone());
        }
        self.ranges.append(&mut own.ranges);
        Ok(())
    }

    /// Takes the ranges of `pool`, which are known to be free.
    pub(super) fn add(&mut self, pool: &Pool) {
        for range in &pool.ranges {
            self.insert(*range, range.to_string(), pool.name.clone());
        }
    }

    /// The parts of `range` that nobody has taken, in ascending order.
    pub(super) fn left_of(&self, range: &AddressRange) -> Vec<AddressRange> {
        let before = self.ranges.range(..range.first()).next_back();
        let inside = self.ranges.range(range.first()..=range.last());
        let mut parts = vec![*range];
        // Claims come in ascending order, so only the last part can meet the next one.
        for (_, claim) in before.into_iter().chain(inside) {
            let Some(tail) = parts.pop() else { break };
            parts.extend(tail.without(&claim.range));
        }
        parts
    }

    fn overlapping(&self, range: &AddressRange) -> Option<&Claim> {
        // Claims are disjoint: the last one that starts before our end also ends last.
        let (_, claim) = self.ranges.range(..=range.last()).next_back()?;
        claim.range.overlaps(range).then_some(claim)
    }

    fn insert(&mut self, range: AddressRange, text: String, pool: String) {
        self.ranges.insert(range.first(), Claim { range, text, pool });
    }
}
