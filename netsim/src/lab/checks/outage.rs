//! The measure of a failover: how long a client went without an answer.

use std::time::Duration;

use ferrolb_api::Time;

use crate::lab::stations::client::Ask;

/// The longest stretch without an answer, and what was lost in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// From the last answer before to the first after; zero if every question
    /// was answered.
    pub duration: Duration,
    /// The last answer before.
    pub last_before: Option<Time>,
    /// The first answer after.
    pub first_after: Option<Time>,
    /// Questions without an answer in time, in this stretch and all others.
    pub lost: u32,
    /// Questions that were asked.
    pub asked: u32,
}

/// An answer that takes longer than this comes too late to count; a question
/// younger than this may still be answered.
pub const IN_FLIGHT: Duration = Duration::from_millis(250);

/// Measures the questions sent from `from` on; `now` is the end of the run.
/// A stretch that has not ended by then lasts until then.
#[must_use]
pub fn measure(asks: &[Ask], from: Time, now: Time) -> Outage {
    let mut outage = Outage::default();
    let mut last_answer: Option<Time> = None;
    let mut is_missing = false;
    for ask in asks {
        let counts = ask.sent >= from;
        if counts {
            outage.asked += 1;
        }
        let Some(answered) = ask.answered.filter(|answered| *answered - ask.sent <= IN_FLIGHT) else {
            if counts && now - ask.sent > IN_FLIGHT {
                outage.lost += 1;
                is_missing = true;
            }
            continue;
        };
        if is_missing {
            outage.consider(last_answer, Some(answered), from, now);
        }
        is_missing = false;
        last_answer = Some(last_answer.map_or(answered, |last| last.max(answered)));
    }
    if is_missing {
        outage.consider(last_answer, None, from, now);
    }
    outage
}

impl Outage {
    fn consider(&mut self, before: Option<Time>, after: Option<Time>, from: Time, now: Time) {
        let duration = after.unwrap_or(now) - before.unwrap_or(from);
        if duration > self.duration {
            *self = Self { duration, last_before: before, first_after: after, ..self.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn asks(answers: &[(u64, Option<u64>)]) -> Vec<Ask> {
        let ask = |(sent, answered): &(u64, Option<u64>)| Ask {
            sent: at(*sent),
            answered: answered.map(at),
            by: 0,
        };
        answers.iter().map(ask).collect()
    }

    #[test]
    fn the_longest_gap_counts_and_every_loss() {
        let asks = asks(&[
            (0, Some(1)),
            (10, None),
            (20, Some(21)),
            (30, None),
            (40, None),
            (50, Some(51)),
            (60, Some(61)),
        ]);
        let outage = measure(&asks, at(0), at(2000));
        assert_eq!(outage.duration, Duration::from_millis(30));
        assert_eq!((outage.last_before, outage.first_after), (Some(at(21)), Some(at(51))));
        assert_eq!((outage.lost, outage.asked), (3, 7));
        assert_eq!(measure(&asks, at(50), at(2000)).lost, 0, "what was before does not count");
    }

    #[test]
    fn an_outage_that_never_ends_lasts_until_the_end() {
        let asks = asks(&[(0, Some(1)), (10, None), (20, None)]);
        let outage = measure(&asks, at(0), at(5001));
        assert_eq!(outage.duration, Duration::from_secs(5));
        assert_eq!(outage.first_after, None);
    }

    #[test]
    fn an_answer_that_comes_too_late_is_lost() {
        let asks = asks(&[(0, Some(1)), (10, Some(3000)), (400, Some(401))]);
        let outage = measure(&asks, at(0), at(5000));
        assert_eq!((outage.duration, outage.lost), (Duration::from_millis(400), 1));
    }

    #[test]
    fn no_loss_is_no_outage() {
        let asks = asks(&[(0, Some(1)), (10, Some(11)), (20, None)]);
        let outage = measure(&asks, at(0), at(21));
        assert_eq!((outage.duration, outage.lost), (Duration::ZERO, 0), "the last is still under way");
    }
}
