//! From the start of a speaker to its end: joining, serving, leaving, left; and
//! the pauses in between.

use std::collections::BTreeSet;
use std::time::Duration;

use ferrolb_api::{NodeName, Time};

use crate::graceful_shutdown::GracefulShutdown;
use crate::ownership::cluster::Synced;

/// How long a speaker that can know of its peers waits for those that never answer
/// before it claims what it owns among those it sees (W15).
const JOIN_GRACE: Duration = Duration::from_secs(3);
/// How late a timer may be before neighbours may have been told of another
/// owner. Below it no peer can have declared this node dead.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a speaker stands between its start and its end.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    phase: Phase,
    /// What may have been announced by others since the last look.
    doubt: Doubt,
}

#[derive(Debug)]
enum Phase {
    /// It knows nobody yet and would win every election (W15).
    Joining {
        /// When the API server first named the peers.
        peers_since: Option<Time>,
        /// When all that it takes to claim something had been listed.
        cluster_since: Option<Time>,
    },
    /// It announces what it owns.
    Serving,
    /// It was told to end, and goes on answering until others do.
    Leaving(GracefulShutdown),
    /// It is over.
    Left,
}

/// Whose addresses others may have announced: all after a pause, else those that
/// a member which came up could own.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    paused: bool,
    returned: BTreeSet<NodeName>,
}

impl Lifecycle {
    /// The start.
    pub(crate) const fn new() -> Self {
        let phase = Phase::Joining { peers_since: None, cluster_since: None };
        Self { phase, doubt: Doubt { paused: false, returned: BTreeSet::new() } }
    }

    /// Whether its elections count: the others are known, or were waited for.
    pub(crate) const fn has_joined(&self) -> bool {
        !matches!(self.phase, Phase::Joining { .. })
    }

    /// Whether it announces what it owns.
    pub(crate) const fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// Whether it was told to end. From then on no news changes what it answers for.
    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_) | Phase::Left)
    }

    /// Whether it has ended.
    pub(crate) const fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// The shutdown under way.
    pub(crate) const fn shutdown_mut(&mut self) -> Option<&mut GracefulShutdown> {
        if let Phase::Leaving(shutdown) = &mut self.phase { Some(shutdown) } else { None }
    }

    /// The API server has named the peers.
    pub(crate) fn peers_named(&mut self, now: Time) {
        if let Phase::Joining { peers_since, .. } = &mut self.phase {
            peers_since.get_or_insert(now);
        }
    }

    /// Joins, once the member list `is_whole` or time is up. Gives whether it
    /// joined just now.
    pub(crate) fn check_joined(&mut self, now: Time, synced: Synced, is_whole: bool) -> bool {
        let Phase::Joining { cluster_since, .. } = &mut self.phase else { return false };
        if synced.cluster() {
            cluster_since.get_or_insert(now);
        }
        if !is_whole && self.grace_ends().is_none_or(|end| now < end) {
            return false;
        }
        self.phase = Phase::Serving;
        self.doubt.returned.clear();
        true
    }

    /// Begins to leave.
    pub(crate) fn leave(&mut self, shutdown: GracefulShutdown) {
        self.phase = Phase::Leaving(shutdown);
    }

    /// Ends, if the shutdown has nothing left to wait for. Gives whether it did.
    pub(crate) fn check_left(&mut self, now: Time) -> bool {
        let is_over = matches!(&self.phase, Phase::Leaving(shutdown) if shutdown.is_over(now));
        if is_over {
            self.phase = Phase::Left;
        }
        is_over
    }

    /// When something here is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Joining { .. } => self.grace_ends(),
            Phase::Leaving(shutdown) => Some(shutdown.poll_timeout()),
            Phase::Serving | Phase::Left => None,
        }
    }

    /// Whether a timer that was `due` comes so late that this node must have stood
    /// still; by how much, if that is news.
    pub(crate) fn detect_pause(&mut self, now: Time, due: Option<Time>) -> Option<Duration> {
        let late = due.map_or(Duration::ZERO, |due| now.since(due));
        if late <= PAUSE || self.doubt.paused {
            return None;
        }
        self.doubt.paused = true;
        Some(late)
    }

    /// A member came up.
    pub(crate) fn returned(&mut self, member: NodeName) {
        self.doubt.returned.insert(member);
    }

    /// What is in doubt since the last time, if anything.
    pub(crate) fn take_doubt(&mut self) -> Option<Doubt> {
        let doubt = std::mem::take(&mut self.doubt);
        (doubt.paused || !doubt.returned.is_empty()).then_some(doubt)
    }

    /// E10: peers that nobody can have named yet are no peers that do not answer.
    /// Where Pods cannot be listed it is enough that the rest has been.
    fn grace_ends(&self) -> Option<Time> {
        let Phase::Joining { peers_since, cluster_since } = self.phase else { return None };
        peers_since.or(cluster_since).map(|since| since + JOIN_GRACE)
    }
}

impl Doubt {
    /// Whether an address may have been announced by one of `candidates`.
    pub(crate) fn concerns<'a>(&self, candidates: impl IntoIterator<Item = &'a NodeName>) -> bool {
        self.paused || candidates.into_iter().any(|candidate| self.returned.contains(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Synced = Synced { services: true, endpoint_slices: true, nodes: true, resources: true };

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn w15_e10_the_grace_runs_from_the_names_of_the_peers_or_from_the_lists() {
        let mut unnamed = Lifecycle::new();
        assert!(!unnamed.check_joined(at(10_000), Synced { nodes: false, ..ALL }, false));
        assert_eq!(unnamed.poll_timeout(), None, "nothing was listed, nobody is waited for");
        assert!(!unnamed.check_joined(at(20_000), ALL, false));
        assert_eq!(unnamed.poll_timeout(), Some(at(23_000)));
        unnamed.peers_named(at(21_000));
        assert_eq!(unnamed.poll_timeout(), Some(at(24_000)));
        assert!(!unnamed.check_joined(at(23_999), ALL, false));
        assert!(unnamed.check_joined(at(24_000), ALL, false));
        assert!(!unnamed.check_joined(at(24_001), ALL, false), "it has joined already");
        assert!(Lifecycle::new().check_joined(at(0), Synced::default(), true), "the list is whole");
    }

    #[test]
    fn a_pause_is_told_once_until_it_was_looked_at() {
        let mut lifecycle = Lifecycle::new();
        assert_eq!(lifecycle.detect_pause(at(1_000), Some(at(0))), None, "late, but nobody has noticed");
        assert_eq!(lifecycle.detect_pause(at(1_001), Some(at(0))), Some(Duration::from_millis(1_001)));
        assert_eq!(lifecycle.detect_pause(at(1_001), Some(at(0))), None);
        assert!(lifecycle.take_doubt().is_some_and(|doubt| doubt.concerns([])));
        assert!(lifecycle.take_doubt().is_none());
    }

    #[test]
    fn what_a_member_could_own_is_in_doubt_when_it_comes_up_but_not_before_joining() {
        let (one, two) = (NodeName::from("n1"), NodeName::from("n2"));
        let mut lifecycle = Lifecycle::new();
        lifecycle.returned(one.clone());
        assert!(lifecycle.check_joined(at(0), ALL, true));
        assert!(lifecycle.take_doubt().is_none());
        lifecycle.returned(one.clone());
        let doubt = lifecycle.take_doubt().expect("n1 came up");
        assert!(doubt.concerns([&two, &one]));
        assert!(!doubt.concerns([&two]));
    }

    #[test]
    fn it_leaves_once() {
        let mut lifecycle = Lifecycle::new();
        lifecycle.leave(GracefulShutdown::new(at(0), [[10, 0, 0, 1].into()].into()));
        assert!(lifecycle.is_leaving() && !lifecycle.check_left(at(999)));
        lifecycle.shutdown_mut().expect("under way").claimed([10, 0, 0, 1].into());
        assert!(lifecycle.check_left(at(999)) && lifecycle.has_left());
        assert!(!lifecycle.check_left(at(999)) && lifecycle.poll_timeout().is_none());
    }
}
