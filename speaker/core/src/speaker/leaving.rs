//! Shutdown: leave the member list, serve until the successors answer, end.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::Time;

use super::Speaker;
use super::handover::Handover;
use crate::effect::{Effect, Notice, WithdrawReason};

impl Speaker {
    pub(super) fn begin_handover(&mut self, now: Time) {
        if self.handover.is_some() {
            return;
        }
        self.gratuitous.stop_all();
        let mut waiting = BTreeSet::new();
        // Without membership nobody learns that we leave, so nobody will claim.
        if let Some(membership) = &mut self.membership {
            membership.leave();
            waiting = self.contested();
        }
        self.handover = Some(Handover::new(now, waiting));
    }

    pub(super) fn repeat_leave(&mut self, now: Time) {
        let again = self.handover.as_mut().is_some_and(|handover| handover.repeat(now));
        if let Some(membership) = self.membership.as_mut().filter(|_| again) {
            membership.leave();
        }
    }

    /// Ends once the last address has been taken over, or time is up.
    pub(super) fn finish_handover(&mut self, now: Time) {
        if !self.handover.as_ref().is_some_and(|handover| handover.is_over(now)) {
            return;
        }
        self.gone = true;
        let all: Vec<_> =
            self.announcements.iter().map(|entry| (entry.service.clone(), entry.address)).collect();
        for (service, address) in all {
            let owner = self.order_of(&service).into_iter().find(|node| *node != self.settings.node);
            let reason = WithdrawReason::Leaving;
            self.notice(Notice::Withdrawn { service, address, reason, owner });
        }
        self.effects.push_back(Effect::Exit);
    }

    /// The addresses whose claim by a successor can be heard.
    fn contested(&self) -> BTreeSet<IpAddr> {
        let services = self.announcements.services().filter(|service| self.candidates_of(service).len() > 1);
        services
            .filter_map(|service| self.announcements.of(service))
            .flat_map(|announced| announced.addresses.iter().copied())
            .collect()
    }
}
