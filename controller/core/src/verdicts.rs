//! Which verdicts on pools and advertisements have been asked to be written.

use std::collections::BTreeMap;

use ferrolb_api::config::{Kind, Verdict};

use crate::effect::Effect;

/// The verdicts as they were published. What becomes of them in an object's
/// status is no input (W49): whoever writes the status restores it.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// By kind and name. Files, unlike an API server, may hold a name twice:
    /// the number tells the two apart.
    published: BTreeMap<(Kind, String, usize), Verdict>,
}

impl Verdicts {
    /// Effects for the verdicts that are new or have changed.
    pub(crate) fn publish(&mut self, verdicts: Vec<Verdict>) -> Vec<Effect> {
        let mut published = BTreeMap::new();
        let mut effects = Vec::new();
        for verdict in verdicts {
            let mut key = (verdict.kind, verdict.name.clone(), 0);
            while published.contains_key(&key) {
                key.2 += 1;
            }
            if self.published.get(&key) != Some(&verdict) {
                effects.push(Effect::WriteVerdict(verdict.clone()));
            }
            published.insert(key, verdict);
        }
        self.published = published;
        effects
    }
}
