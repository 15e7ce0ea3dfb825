//! A run as one self-contained HTML page.

use crate::lab::scenario::Scenario;
use crate::lab::timeline::Timeline;
use crate::lab::world::Outcome;

/// The page.
#[must_use]
pub fn page(scenario: &Scenario, timeline: &Timeline, outcome: &Outcome) -> String {
    format!("{} {} {}", scenario.name, timeline.to_text(), outcome.seed)
}
