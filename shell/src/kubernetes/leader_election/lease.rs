//! Who leads, by a Lease of coordination.k8s.io: a state machine that is told
//! the time and what the API server says, and says what to ask it for.
//!
//! The rules are client-go's, so that its users know them. Who holds the Lease
//! renews it every [`PERIOD`], and leads until [`RENEW_WITHIN`] after the last
//! renewal that was confirmed, counted from when it was sent. Who does not hold
//! it looks at it as often, and takes it when it has been let go of, or has not
//! changed for [`DURATION`] of its own clock. The dates in a Lease are for
//! people: clocks of two machines are never compared. Every write names the
//! version that it replaces, so of two who take it one is refused.
//!
//! kube-lease-manager 0.13 compares the dates in the Lease with its own clock,
//! give or take a tolerance that somebody has to choose.

use std::time::Duration;

use ferrolb_api::Time;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// How long a Lease that does not change is respected (client-go's number).
pub const DURATION: Duration = Duration::from_secs(15);
/// How long the holder leads without a renewal. What is left to [`DURATION`] is
/// for requests that are under way when it ends (client-go's number).
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often it is renewed or looked at (client-go's number).
pub const PERIOD: Duration = Duration::from_secs(2);
/// The longest `leaseDurationSeconds` of others that is respected: a slip of the
/// pen must not leave a cluster without a leader for ever.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing until then.
    Wait(Time),
    /// Read the Lease, then [`Election::read`].
    Read,
    /// Create it, then [`Election::wrote`].
    Create(LeaseSpec),
    /// Replace it if it still has this version, then [`Election::wrote`].
    Replace(String, LeaseSpec),
    /// Nothing any more: it has been let go of.
    Done,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The Lease is not what it was taken for: another version, gone, or there.
    Overtaken,
    /// Refused, or not answered in time; a write may have come true.
    Unknown,
}

/// Who leads, as far as is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderState {
    /// The Lease has not been read yet.
    Unknown,
    /// Another one; `None` if nobody is known to.
    Standby(Option<String>),
    /// This process.
    Leading {
        /// Counts the times that it began to lead. Another may have led between two.
        term: u64,
        /// It must not write any more from then on, unless it has renewed before.
        until: Time,
    },
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    seen: Option<Seen>,
    /// Set while the Lease is held.
    until: Option<Time>,
    term: u64,
    next: Next,
    /// A write is without an answer: what was seen may be outdated.
    unsure: bool,
    overtaken: u32,
    resigning: bool,
}

/// The Lease as it was seen last.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    /// None if it is not there, or not there any more.
    version: Option<String>,
    /// Since when `spec` has been the same, on the own clock.
    since: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Rest(Time),
    Read,
    Write,
}

impl Election {
    /// A candidate who has read nothing yet. `identity` is what stands in the
    /// Lease; no other process may ever have the same.
    #[must_use]
    pub fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            until: None,
            term: 0,
            next: Next::Read,
            unsure: false,
            overtaken: 0,
            resigning: false,
        }
    }

    /// What to do at `now`. `date` goes into the Lease and decides nothing.
    pub fn poll(&mut self, now: Time, date: Timestamp) -> Action {
        self.expire(now);
        if self.resigning && !self.unsure && !self.holds_a_version() {
            return Action::Done;
        }
        match self.next {
            Next::Rest(at) if now < at => return Action::Wait(self.until.map_or(at, |until| at.min(until))),
            Next::Rest(_) if self.until.is_some() && !self.unsure => self.next = Next::Write,
            Next::Rest(_) => self.next = Next::Read,
            Next::Read | Next::Write => {}
        }
        if self.next == Next::Read {
            return Action::Read;
        }
        self.unsure = true;
        let spec = self.claim(date);
        match self.seen.as_ref().and_then(|seen| seen.version.clone()) {
            Some(version) => Action::Replace(version, spec),
            None => Action::Create(spec),
        }
    }

    /// The Lease was read; `None` if there is none.
    pub fn read(&mut self, now: Time, lease: Option<Lease>) {
        self.unsure = false;
        self.observe(now, lease);
        if !self.is_mine() {
            self.until = None;
        }
        self.expire(now);
        let takes = self.resigning || self.may_take(now);
        self.next = if takes { Next::Write } else { Next::Rest(now + PERIOD) };
    }

    /// The Lease was written by the request that was sent at `sent`, and this is it.
    pub fn wrote(&mut self, sent: Time, now: Time, lease: Lease) {
        self.unsure = false;
        self.overtaken = 0;
        self.observe(now, Some(lease));
        self.expire(now);
        self.next = Next::Rest(sent + PERIOD);
        if self.resigning || !self.is_mine() {
            self.until = None;
            return;
        }
        if self.until.is_none() {
            self.term += 1;
        }
        // Others count from when they see it, which is later than this.
        self.until = Some(sent + RENEW_WITHIN);
        self.expire(now);
    }

    /// A request has failed.
    pub fn failed(&mut self, now: Time, failed: Failed) {
        self.expire(now);
        self.overtaken = if failed == Failed::Overtaken { self.overtaken + 1 } else { 0 };
        self.unsure |= failed == Failed::Overtaken;
        // Once at once; twice in a row is a race, or a server that is confused.
        let period = if self.resigning { PERIOD / 8 } else { PERIOD };
        self.next = if self.overtaken == 1 { Next::Read } else { Next::Rest(now + period) };
    }

    /// From now on the aim is to let go of the Lease. Nothing may be written by
    /// this process any more.
    pub fn resign(&mut self) {
        self.resigning = true;
        self.until = None;
        self.overtaken = 0;
        self.next = if self.unsure { Next::Read } else { Next::Write };
    }

    /// Who leads at `now`.
    #[must_use]
    pub fn leader_state(&self, now: Time) -> LeaderState {
        match (self.until.filter(|until| now < *until), &self.seen) {
            (Some(until), _) => LeaderState::Leading { term: self.term, until },
            (None, None) => LeaderState::Unknown,
            (None, Some(seen)) => {
                let other = holder(&seen.spec).filter(|holder| *holder != self.identity);
                LeaderState::Standby(other.map(str::to_owned))
            }
        }
    }

    fn expire(&mut self, now: Time) {
        self.until = self.until.filter(|until| now < *until);
    }

    fn observe(&mut self, now: Time, lease: Option<Lease>) {
        let Some(lease) = lease else {
            // Whoever held it may not know yet that it is gone.
            match &mut self.seen {
                Some(seen) => seen.version = None,
                None => self.seen = Some(Seen { spec: LeaseSpec::default(), version: None, since: now }),
            }
            return;
        };
        let (spec, version) = (lease.spec.unwrap_or_default(), lease.metadata.resource_version);
        match &mut self.seen {
            Some(seen) if seen.spec == spec => seen.version = version,
            _ => self.seen = Some(Seen { spec, version, since: now }),
        }
    }

    fn is_mine(&self) -> bool {
        self.seen.as_ref().and_then(|seen| holder(&seen.spec)) == Some(&*self.identity)
    }

    fn holds_a_version(&self) -> bool {
        self.is_mine() && self.seen.as_ref().is_some_and(|seen| seen.version.is_some())
    }

    fn may_take(&self, now: Time) -> bool {
        self.is_mine()
            || self.seen.as_ref().is_some_and(|seen| {
                holder(&seen.spec).is_none()
                    || now >= seen.since + respected(seen.spec.lease_duration_seconds)
            })
    }

    /// The Lease as it is to be: held, or let go of.
    fn claim(&self, date: Timestamp) -> LeaseSpec {
        let old = self.seen.as_ref().map(|seen| seen.spec.clone()).unwrap_or_default();
        let date = Some(MicroTime(date));
        if self.resigning {
            return LeaseSpec { holder_identity: None, renew_time: date, ..old };
        }
        let is_mine = self.is_mine();
        let is_first = old.acquire_time.is_none() && old.lease_transitions.is_none();
        let transitions = old.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if is_mine { old.acquire_time } else { date.clone() },
            renew_time: date,
            lease_transitions: Some(transitions.saturating_add(i32::from(!is_mine && !is_first))),
            ..old
        }
    }
}

fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// How long a Lease is respected that names this duration. Never less than
/// [`DURATION`]: its holder may be one of us, whatever somebody has edited.
fn respected(seconds: Option<i32>) -> Duration {
    let named = seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
    Duration::from_secs(named).clamp(DURATION, LONGEST)
}

#[cfg(test)]
mod tests;
