//! What becomes of the status that a Service shall have: the states of its write.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_api::{LostAddresses, Service, Time};

use crate::allocator::Assignment;
use crate::write_conflict::WriteConflict;

/// The addresses in a status, and what the annotations beside it say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusSnapshot {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) pool: Option<String>,
    pub(crate) lost: LostAddresses,
}

impl StatusSnapshot {
    /// What this version of a Service shows.
    pub(crate) fn of(object: &Service) -> Self {
        Self {
            addresses: object.ingress_ips().collect(),
            pool: object.annotations.allocated_from_pool.clone(),
            lost: object.lost_addresses(),
        }
    }

    /// What shall be shown of a Service that holds `held` and has `lost` something.
    pub(crate) fn wanted(held: Option<&Assignment>, lost: &LostAddresses) -> Self {
        Self {
            addresses: held.map(|held| held.addresses.clone()).unwrap_or_default(),
            pool: held.map(|held| held.pool.clone()),
            lost: lost.clone(),
        }
    }
}

/// A write that may still reach the store. It is conditional on the version it
/// was asked for over (S16).
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingWrite {
    resource_version: String,
    wanted: StatusSnapshot,
    /// All addresses that any of the writes over this version carried.
    sent: BTreeSet<IpAddr>,
}

/// Where a write stands. [`StatusWrite::observe`] and [`StatusWrite::decide`] are all that moves it.
///
/// | from | on | to | action |
/// |---|---|---|---|
/// | `Idle`, `Deferred` | a newer version | the same | |
/// | `Pending` | the version it was asked for over, again | `Pending` | |
/// | `Pending` | a newer version | `Idle` | |
/// | `Idle`, `Deferred` | the status shows what is wanted | the same | nothing |
/// | `Idle` | it does not | `Pending` | write |
/// | `Idle`, `Deferred` | somebody else reverted what is wanted, for the first time | `Pending` | restore |
/// | `Idle`, `Deferred` | the same, once more | `Deferred`, longer each time | nothing |
/// | `Deferred` | it is too early for what is wanted | `Deferred` | nothing |
/// | `Deferred` | the time has come, or something else is wanted | `Pending` | write |
/// | `Pending` | the same is wanted, and shown or no version has come since | `Pending` | nothing |
/// | `Pending` | the same is wanted, and a version does not show it | `Pending` | write |
/// | `Pending` | something else is wanted | `Pending`, either may come true | write |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum WriteState {
    /// Nothing is under way.
    #[default]
    Idle,
    /// A write was asked for, and no later version has shown what became of it.
    Pending(PendingWrite),
    /// Somebody else keeps reverting `wanted`: it is not written before `until`.
    Deferred {
        /// What is reverted. Anything else is written at once.
        wanted: StatusSnapshot,
        /// When it may be written again.
        until: Time,
    },
}

/// What is to be done about a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteAction {
    /// Nothing, at least for now.
    Nothing,
    /// Write what is wanted.
    Write,
    /// The same, and say that somebody else has reverted it.
    Restore,
}

/// What a decision has to know of the version it is made on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// Its resourceVersion.
    pub(crate) resource_version: &'a str,
    /// Whether it has just come in: then what is wanted is written again as long
    /// as it does not show it (level-triggered), otherwise only once.
    pub(crate) is_new: bool,
    /// Whether it shows what is wanted.
    pub(crate) shows_wanted: bool,
    /// Whether the version before it showed what is wanted, and it was not us who
    /// changed that.
    pub(crate) is_reverted: bool,
}

/// The write of one Service's status.
#[derive(Debug, Default)]
pub(crate) struct StatusWrite {
    state: WriteState,
    conflict: WriteConflict,
}

impl StatusWrite {
    /// A version has come in that is older than none before it. If it is not the
    /// one that a write was asked for over, then the write has either come true,
    /// and this version shows it, or it never will.
    pub(crate) fn observe(&mut self, resource_version: &str) {
        if let WriteState::Pending(write) = &self.state
            && write.resource_version != resource_version
        {
            self.state = WriteState::Idle;
        }
    }

    /// Says what must be done so that the status becomes `wanted`.
    pub(crate) fn decide(&mut self, wanted: &StatusSnapshot, seen: Seen<'_>, now: Time) -> WriteAction {
        let action = match &self.state {
            WriteState::Pending(write) => {
                if write.wanted == *wanted && (seen.shows_wanted || !seen.is_new) {
                    return WriteAction::Nothing;
                }
                WriteAction::Write
            }
            _ if seen.shows_wanted => return WriteAction::Nothing,
            _ if seen.is_reverted => {
                let delay = self.conflict.reverted(now);
                if !delay.is_zero() {
                    self.state = WriteState::Deferred { wanted: wanted.clone(), until: now + delay };
                    return WriteAction::Nothing;
                }
                WriteAction::Restore
            }
            WriteState::Deferred { wanted: deferred, until } if deferred == wanted && now < *until => {
                return WriteAction::Nothing;
            }
            WriteState::Idle | WriteState::Deferred { .. } => WriteAction::Write,
        };
        let mut sent = self.sent().clone();
        sent.extend(&wanted.addresses);
        let resource_version = seen.resource_version.to_owned();
        self.state = WriteState::Pending(PendingWrite { resource_version, wanted: wanted.clone(), sent });
        action
    }

    /// Whether a write was asked for that no later version has answered.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, WriteState::Pending(_))
    }

    /// The addresses that writes still under way may bring into the store.
    pub(crate) fn sent(&self) -> &BTreeSet<IpAddr> {
        const NONE: &BTreeSet<IpAddr> = &BTreeSet::new();
        match &self.state {
            WriteState::Pending(write) => &write.sent,
            WriteState::Idle | WriteState::Deferred { .. } => NONE,
        }
    }

    /// Until when nothing is written, because somebody else reverts it.
    pub(crate) fn deferred_until(&self, now: Time) -> Option<Time> {
        match self.state {
            WriteState::Deferred { until, .. } if now < until => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn wanted(address: &str) -> StatusSnapshot {
        StatusSnapshot {
            addresses: vec![address.parse().expect("the test writes an address")],
            pool: Some("pool".to_owned()),
            lost: LostAddresses::default(),
        }
    }

    fn pending(resource_version: &str, address: &str, sent: &[&str]) -> WriteState {
        WriteState::Pending(PendingWrite {
            resource_version: resource_version.to_owned(),
            wanted: wanted(address),
            sent: sent.iter().map(|text| text.parse().expect("the test writes addresses")).collect(),
        })
    }

    fn deferred(address: &str, until: u64) -> WriteState {
        WriteState::Deferred { wanted: wanted(address), until: at(until) }
    }

    /// A write in `state`, after `reverted` conflicts at the time 100.
    fn in_state(state: &WriteState, reverted: usize) -> StatusWrite {
        let mut conflict = WriteConflict::default();
        for _ in 0..reverted {
            conflict.reverted(at(100));
        }
        StatusWrite { state: state.clone(), conflict }
    }

    const NEW: Seen<'_> =
        Seen { resource_version: "7", is_new: true, shows_wanted: false, is_reverted: false };
    const SAME: Seen<'_> = Seen { is_new: false, ..NEW };
    const SHOWN: Seen<'_> = Seen { shows_wanted: true, ..NEW };
    const REVERTED: Seen<'_> = Seen { is_reverted: true, ..NEW };

    const A: &str = "10.0.0.1";
    const B: &str = "10.0.0.2";

    #[test]
    fn s16_a_newer_version_answers_a_write_over_another_one() {
        let over = |version: &str| pending(version, A, &[A]);
        for (before, after) in [
            (WriteState::Idle, WriteState::Idle),
            (over("7"), over("7")),
            (over("6"), WriteState::Idle),
            (deferred(A, 9), deferred(A, 9)),
        ] {
            let mut write = in_state(&before, 0);
            write.observe("7");
            assert_eq!(write.state, after, "{before:?}");
        }
    }

    #[test]
    fn every_decision_leads_from_one_state_to_one_other() {
        use WriteAction::{Nothing, Restore, Write};
        let idle = || WriteState::Idle;
        let written = || pending("7", A, &[A]);
        // The state before, how often it was reverted, what is seen; what is done, the state after.
        for (before, reverted, seen, action, after) in [
            (idle(), 0, SHOWN, Nothing, idle()),
            (idle(), 0, NEW, Write, written()),
            (idle(), 0, SAME, Write, written()),
            (idle(), 0, REVERTED, Restore, written()),
            (idle(), 1, REVERTED, Nothing, deferred(A, 101)),
            (idle(), 3, REVERTED, Nothing, deferred(A, 104)),
            // The write of the same, over the version that is seen or one before.
            (written(), 0, SHOWN, Nothing, written()),
            (written(), 0, SAME, Nothing, written()),
            (written(), 0, NEW, Write, written()),
            (pending("6", A, &[A]), 0, NEW, Write, written()),
            (written(), 1, REVERTED, Write, written()),
            // The write of something else: both may come true.
            (pending("7", B, &[B]), 0, SAME, Write, pending("7", A, &[A, B])),
            (pending("7", B, &[B]), 0, SHOWN, Write, pending("7", A, &[A, B])),
            (pending("7", B, &[B]), 0, NEW, Write, pending("7", A, &[A, B])),
            // Somebody else reverts it.
            (deferred(A, 101), 2, SHOWN, Nothing, deferred(A, 101)),
            (deferred(A, 101), 2, NEW, Nothing, deferred(A, 101)),
            (deferred(A, 101), 2, SAME, Nothing, deferred(A, 101)),
            (deferred(A, 101), 2, REVERTED, Nothing, deferred(A, 102)),
            (deferred(A, 100), 2, SAME, Write, written()),
            // Something else is wanted by now.
            (deferred(B, 101), 2, SAME, Write, written()),
            (deferred(B, 101), 2, REVERTED, Nothing, deferred(A, 102)),
        ] {
            let mut write = in_state(&before, reverted);
            let done = write.decide(&wanted(A), seen, at(100));
            assert_eq!((done, &write.state), (action, &after), "{before:?} {reverted} {seen:?}");
        }
    }

    #[test]
    fn what_is_asked_of_a_state() {
        for (state, is_pending, sent, until) in [
            (WriteState::Idle, false, 0, None),
            (pending("7", A, &[A, B]), true, 2, None),
            (deferred(A, 101), false, 0, Some(at(101))),
            (deferred(A, 100), false, 0, None),
        ] {
            let write = in_state(&state, 0);
            assert_eq!((write.is_pending(), write.sent().len()), (is_pending, sent), "{state:?}");
            assert_eq!(write.deferred_until(at(100)), until, "{state:?}");
        }
    }
}
