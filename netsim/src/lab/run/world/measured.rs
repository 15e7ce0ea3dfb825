//! What is measured: the first address of the first Service, who owned it, and since when something is wrong.

use std::net::Ipv4Addr;

use ferrolb_api::{ServiceKey, Time};

/// The measured address and its history.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// The Service whose first address is asked for, and the address.
    pub(super) service: Option<ServiceKey>,
    pub(super) address: Option<Ipv4Addr>,
    /// Whom an earlier step called owner.
    pub(super) former_owner: Option<usize>,
    /// When the first step of the scenario was done.
    pub(super) first_fault: Option<Time>,
    /// Who owned the address, and since when: only changes.
    pub(super) owners: Vec<(Time, usize)>,
}

impl Measured {
    /// A node announces the address.
    pub(super) fn announced(&mut self, now: Time, node: usize) {
        if self.owners.last().is_none_or(|(_, last)| *last != node) {
            self.owners.push((now, node));
        }
    }

    /// Who owned the address at `at`.
    pub(super) fn owner_at(&self, at: Time) -> Option<usize> {
        self.owners.iter().rev().find(|(since, _)| *since <= at).map(|(_, node)| *node)
    }

    /// How often the address changed its owner.
    pub(super) fn moves(&self) -> u32 {
        u32::try_from(self.owners.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }
}
