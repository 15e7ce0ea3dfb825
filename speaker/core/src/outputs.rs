//! What the rooms of the core give: effects in their order, and counts.

use std::collections::VecDeque;

use ferrolb_api::Service;

use crate::counters::Counters;
use crate::effect::{Effect, EventReason, Notice, Report};

/// Effects that were not taken yet, and all that was counted.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// Oldest first.
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) counters: Counters,
}

impl Outputs {
    /// Adds something to do.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Adds something to be told.
    pub(crate) fn report(&mut self, report: Report) {
        self.push(Effect::Report(report));
    }

    /// Adds something for the log and the timeline.
    pub(crate) fn notice(&mut self, notice: Notice) {
        self.report(Report::Notice(notice));
    }

    /// Adds an Event on a Service.
    pub(crate) fn event(&mut self, service: &Service, reason: EventReason, message: String) {
        let (service, uid) = (service.key.clone(), service.uid.clone());
        self.report(Report::Event { service, uid, reason, message });
    }
}
