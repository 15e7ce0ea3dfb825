//! Counters of the pools (C80 to C84).

use std::collections::BTreeMap;

use ferrolb_api::IpFamily;

use crate::allocator::Allocator;
use crate::effect::{Effect, PoolUsage};
use crate::exhaustion;
use crate::pools::Pools;

/// The counters as they were published. What somebody makes of them in a pool's
/// status is no input (W49): whoever writes the status restores it (C83).
#[derive(Debug, Default)]
pub(crate) struct Usage {
    published: BTreeMap<String, PoolUsage>,
    /// [`Allocator::changes`] at the last look; `None` after another configuration.
    looked_at: Option<u64>,
}

impl Usage {
    /// Another configuration: [`Effect::ForgetPool`] for pools that have gone (C84).
    pub(crate) fn take_pools(&mut self, pools: &Pools) -> Vec<Effect> {
        self.looked_at = None;
        let gone: Vec<String> =
            self.published.keys().filter(|name| !pools.config.pools.contains_key(*name)).cloned().collect();
        for name in &gone {
            self.published.remove(name);
        }
        gone.into_iter().map(Effect::ForgetPool).collect()
    }

    /// The counters that have changed.
    pub(crate) fn publish(&mut self, pools: &Pools, allocator: &Allocator) -> Vec<Effect> {
        let changes = Some(allocator.changes());
        if self.looked_at == changes {
            return Vec::new();
        }
        self.looked_at = changes;
        let mut effects = Vec::new();
        for pool in pools.config.pools.keys() {
            let (total, in_use) = (pools.capacity(pool), allocator.in_use(pool));
            // What is withheld counts only while a Service keeps it, so that the sum is right.
            let kept = |family| pools.withheld_in_use(pool, family, allocator);
            let usage = PoolUsage {
                pool: pool.clone(),
                total_ipv4: total.of_family(IpFamily::V4).saturating_add(kept(IpFamily::V4)),
                total_ipv6: total.of_family(IpFamily::V6).saturating_add(kept(IpFamily::V6)),
                assigned_ipv4: in_use.ipv4,
                assigned_ipv6: in_use.ipv6,
                exhausted: exhaustion::exhaustion(pool, pools, allocator),
            };
            if self.published.get(pool) != Some(&usage) {
                self.published.insert(pool.clone(), usage.clone());
                effects.push(Effect::WritePoolUsage(usage));
            }
        }
        effects
    }
}

impl PoolUsage {
    /// IPv4 addresses still free (C80).
    #[must_use]
    pub const fn available_ipv4(&self) -> i64 {
        self.total_ipv4.saturating_sub(self.assigned_ipv4)
    }

    /// IPv6 addresses still free (C80).
    #[must_use]
    pub const fn available_ipv6(&self) -> i64 {
        self.total_ipv6.saturating_sub(self.assigned_ipv6)
    }
}
