//! What nodes can announce on, from our interfaces to the elections (W13).

use std::collections::BTreeSet;

use ferrolb_api::Time;

use super::Speaker;
use crate::ownership::reach::{self, Reach};

impl Speaker {
    /// Says what this node can announce on. It counts here once it counts for all.
    pub(super) fn set_reach(&mut self, now: Time) {
        let stale = std::mem::take(&mut self.reach_is_stale);
        let Some(membership) = self.membership.as_mut().filter(|_| stale && self.interfaces_told) else {
            return;
        };
        let advertisements = self.cluster.config().advertisements.values();
        let named: BTreeSet<&str> =
            advertisements.flat_map(|one| &one.interfaces).map(String::as_str).collect();
        membership.set_reach(now, Reach::of(self.interfaces.values(), &named));
    }

    /// Others may be candidates now. Where that depends on a subnet that nobody
    /// had before, or has no more, each Service is looked at.
    pub(super) fn reaches_changed(&mut self) {
        self.owners.candidates_changed();
        self.work.election = true;
        let Some(membership) = &self.membership else { return };
        let ranges = self.cluster.config().pools.values().flat_map(|pool| &pool.ranges);
        let subnets = reach::subnets_of(membership.reaches(), ranges);
        if self.subnets != subnets {
            self.subnets = subnets;
            self.owners.clear();
            self.work.all = true;
        }
    }
}
