//! Which verdicts on pools and advertisements have been asked to be written.

use std::collections::BTreeMap;

use metallb_api::config::{Effective, Kind, Problem, Resources, Verdict};

use crate::effect::Effect;

/// The verdicts as they were published.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// By kind and name. Files, unlike an API server, may hold a name twice:
    /// the number tells the two apart.
    published: BTreeMap<(Kind, String, usize), Published>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    generation: i64,
    outcome: Result<(), Problem>,
    effective: Option<Effective>,
    /// The generation that the object's status speaks of.
    observed: Option<i64>,
}

impl Verdicts {
    /// Effects for the verdicts that are new or have changed, and for those that
    /// somebody has wiped from the object's status.
    pub(crate) fn publish(&mut self, resources: &Resources, verdicts: Vec<Verdict>) -> Vec<Effect> {
        let observed = observed_generations(resources);
        let mut published = BTreeMap::new();
        let mut effects = Vec::new();
        for verdict in verdicts {
            let mut key = (verdict.kind, verdict.name.clone(), 0);
            while published.contains_key(&key) {
                key.2 += 1;
            }
            let now = Published {
                generation: verdict.generation,
                outcome: verdict.outcome.clone(),
                effective: verdict.effective.clone(),
                observed: observed.get(&(verdict.kind, verdict.name.clone())).copied().flatten(),
            };
            let due = self.published.get(&key).is_none_or(|before| {
                let wiped = now.observed != before.observed && now.observed != Some(now.generation);
                let judged = |published: &Published| {
                    (published.generation, published.outcome.clone(), published.effective.clone())
                };
                judged(before) != judged(&now) || wiped
            });
            published.insert(key, now);
            if due {
                effects.push(Effect::WriteVerdict(verdict));
            }
        }
        self.published = published;
        effects
    }
}

fn observed_generations(resources: &Resources) -> BTreeMap<(Kind, String), Option<i64>> {
    let pools = resources.pools.iter().map(|pool| {
        let observed = pool.status.as_ref().and_then(|status| status.observed_generation);
        ((Kind::IPAddressPool, pool.metadata.name.clone().unwrap_or_default()), observed)
    });
    let advertisements = resources.l2_advertisements.iter().map(|advertisement| {
        let observed = advertisement.status.as_ref().and_then(|status| status.observed_generation);
        ((Kind::L2Advertisement, advertisement.metadata.name.clone().unwrap_or_default()), observed)
    });
    pools.chain(advertisements).collect()
}
