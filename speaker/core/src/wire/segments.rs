//! Which of a node's own interfaces are on one segment, as they hear each other: of
//! those only one is to answer for an address.
//!
//! A neighbour that got two answers would switch between two hardware addresses. Two
//! subnets that are alike prove nothing, for they may be two segments; so only frames
//! count. Two interfaces are on one segment once each has heard the other, which they do
//! when both announce. What is heard later renews it, as the refreshes of every
//! announcement are; a pair that has not been heard for long, or of which one was
//! unplugged, is two segments again. At worst both answer.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_api::Time;

use crate::interface::{InterfaceId, MacAddr};

/// How long a pair counts after the last frame: more than two refreshes at their
/// slowest (360 s), of which one may be lost.
const VALID: Duration = Duration::from_secs(900);
/// A pair is not renewed more often than this: a flood of frames costs no more than a
/// look.
const RENEW: Duration = Duration::from_secs(1);

/// Who has heard whom.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// The interfaces whose address is of no other.
    by_mac: BTreeMap<MacAddr, InterfaceId>,
    /// By listener and speaker.
    heard: BTreeMap<(InterfaceId, InterfaceId), Time>,
}

/// What a frame of our own tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Nothing,
    /// The listener hears the other one; whether that one hears it is not known yet.
    OneWay,
    /// They are on one segment.
    Pair,
}

impl Segments {
    /// Takes the interfaces that can announce now. What was heard on others is
    /// forgotten: they may come back on another segment.
    pub(super) fn set_interfaces(&mut self, usable: &BTreeMap<InterfaceId, MacAddr>) {
        let mut by_mac = BTreeMap::<MacAddr, Vec<InterfaceId>>::new();
        for (id, mac) in usable {
            by_mac.entry(*mac).or_default().push(*id);
        }
        // A VLAN has the address of what it is on: which of both spoke cannot be told.
        self.by_mac =
            by_mac.into_iter().filter(|(_, ids)| ids.len() == 1).map(|(mac, ids)| (mac, ids[0])).collect();
        let is_known = |wanted: &InterfaceId| self.by_mac.values().any(|id| id == wanted);
        self.heard.retain(|(listener, speaker), _| is_known(listener) && is_known(speaker));
    }

    /// Whether an interface has heard another one lately.
    pub(super) fn has_heard(&self, listener: InterfaceId) -> bool {
        self.heard.keys().any(|(heard_by, _)| *heard_by == listener)
    }

    /// A frame from `source` came in on `listener`.
    pub(super) fn hear(&mut self, now: Time, listener: InterfaceId, source: MacAddr) -> Heard {
        let Some(speaker) = self.by_mac.get(&source).copied().filter(|speaker| *speaker != listener) else {
            return Heard::Nothing;
        };
        if !self.by_mac.values().any(|id| *id == listener) {
            return Heard::Nothing;
        }
        let pair = (listener, speaker);
        if self.heard.get(&pair).is_some_and(|last| now.since(*last) < RENEW) {
            return Heard::Nothing;
        }
        let was_pair = self.is_one_segment(now, listener, speaker);
        let was_heard = self.is_heard(now, pair);
        self.heard.insert(pair, now);
        if was_pair {
            // The one that is silent is heard no more.
            self.heard.insert((speaker, listener), now);
            return Heard::Nothing;
        }
        match (self.is_one_segment(now, listener, speaker), was_heard) {
            (true, _) => Heard::Pair,
            (false, false) => Heard::OneWay,
            (false, true) => Heard::Nothing,
        }
    }

    /// Whether two interfaces are known to be on one segment.
    pub(super) fn is_one_segment(&self, now: Time, one: InterfaceId, other: InterfaceId) -> bool {
        self.is_heard(now, (one, other)) && self.is_heard(now, (other, one))
    }

    /// Forgets pairs that were not heard for long. Gives whether there are any.
    pub(super) fn forget_old(&mut self, now: Time) -> bool {
        let before = self.heard.len();
        self.heard.retain(|_, last| now < *last + VALID);
        self.heard.len() < before
    }

    /// When [`Self::forget_old`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.heard.values().map(|last| *last + VALID).min()
    }

    fn is_heard(&self, now: Time, pair: (InterfaceId, InterfaceId)) -> bool {
        self.heard.get(&pair).is_some_and(|last| now < *last + VALID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InterfaceId = InterfaceId(2);
    const B: InterfaceId = InterfaceId(3);

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn two() -> Segments {
        let mut segments = Segments::default();
        segments.set_interfaces(&[(A, mac(1)), (B, mac(2))].into());
        segments
    }

    #[test]
    fn w51_both_must_hear_the_other_and_either_renews_it() {
        let mut segments = two();
        assert_eq!(segments.hear(at(0), A, mac(2)), Heard::OneWay);
        assert_eq!(segments.hear(at(5), A, mac(2)), Heard::Nothing);
        assert!(!segments.is_one_segment(at(5), A, B), "B may be deaf");
        assert_eq!(segments.hear(at(6), B, mac(1)), Heard::Pair);
        assert!(segments.is_one_segment(at(6), B, A));
        assert_eq!(segments.hear(at(600), B, mac(1)), Heard::Nothing);
        assert!(!segments.forget_old(at(1_499)) && segments.is_one_segment(at(1_499), A, B));
        assert_eq!(segments.poll_timeout(), Some(at(1_500)));
        assert!(segments.forget_old(at(1_500)) && !segments.has_heard(B));
        assert!(!segments.is_one_segment(at(1_500), A, B), "nothing was heard for long");
    }

    #[test]
    fn w51_what_is_unplugged_or_shares_its_address_is_no_pair() {
        let paired = || {
            let mut segments = two();
            segments.hear(at(0), A, mac(2));
            segments.hear(at(0), B, mac(1));
            assert!(segments.is_one_segment(at(0), A, B));
            segments
        };
        for interfaces in [
            &[(A, mac(1))][..],
            &[(A, mac(1)), (B, mac(1))],
            &[(A, mac(1)), (B, mac(2)), (InterfaceId(4), mac(2))],
        ] {
            let mut segments = paired();
            segments.set_interfaces(&interfaces.iter().copied().collect());
            assert!(!segments.is_one_segment(at(0), A, B), "{interfaces:?}");
            assert_eq!(segments.hear(at(1), A, mac(2)), Heard::Nothing, "{interfaces:?}");
        }
        let mut segments = paired();
        assert_eq!(segments.hear(at(9), A, mac(1)), Heard::Nothing, "its own, by a looped cable");
        assert_eq!(segments.hear(at(9), A, mac(9)), Heard::Nothing, "a stranger");
    }
}
