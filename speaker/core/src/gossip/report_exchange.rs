//! What each member's node can announce on: who has been told, and who has told.
//!
//! A member tells each other member directly, until that one says that it has
//! heard; so a lost datagram costs a moment, and a quiet cluster sends nothing.
//! What was heard is kept while a member is missing: it need not be told again
//! to a peer that merely lost sight of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferrolb_api::{NodeName, Time};

use super::member_report::{Edition, MemberReport};
use crate::ownership::reach::{Reach, Reaches};

/// How long to wait for the first answer; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait for an answer: of members that never give one.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long something must be gone before that is told. A link that blinks moves
/// no address.
pub(crate) const LOST_AFTER: Duration = Duration::from_millis(500);
/// How long a part of the configuration must be missing before that is told, but at a start: the
/// edit that mends it may be on its way, and meanwhile nobody else knows better.
pub(crate) const LACKED_AFTER: Duration = Duration::from_secs(3);
/// How long the last life's reach stands for a member that has restarted, and
/// may be of a version that tells none.
const OLD_LIFE: Duration = Duration::from_secs(3);
/// The most members told at once, and the time to the next ones.
const AT_ONCE: usize = 64;
const NEXT_ONES: Duration = Duration::from_millis(10);

/// The knowledge of one node.
#[derive(Debug)]
pub(crate) struct ReportExchange {
    own: NodeName,
    /// Of whom what is known, this node included.
    reaches: Reaches,
    /// Which edition that is.
    editions: BTreeMap<NodeName, Edition>,
    number: u64,
    /// What this node can do now, and when to say so, if it is less than it said.
    now_less: Option<(Time, Reach)>,
    /// Members that have not confirmed the latest: when to tell them, and how long
    /// to wait then.
    pending_acks: BTreeMap<NodeName, (Time, Duration)>,
    /// What others have confirmed of ours, and in which life of theirs.
    acked: BTreeMap<NodeName, (u64, Edition)>,
    /// Members whose reach is that of an earlier life, and when to forget it.
    outlived: BTreeMap<NodeName, Time>,
    changed: bool,
    bound: usize,
}

impl ReportExchange {
    /// Nothing known. At most `bound` nodes are remembered.
    pub(crate) fn new(own: NodeName, bound: usize) -> Self {
        Self {
            own,
            reaches: Reaches::new(),
            editions: BTreeMap::new(),
            number: 0,
            now_less: None,
            pending_acks: BTreeMap::new(),
            acked: BTreeMap::new(),
            outlived: BTreeMap::new(),
            changed: false,
            bound,
        }
    }

    /// What is known of all nodes.
    pub(crate) const fn reaches(&self) -> &Reaches {
        &self.reaches
    }

    /// Whether what is known has changed since the last look.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes what this node can do now, and gives whether all must be told. What
    /// was gained counts at once, what was lost after [`LOST_AFTER`] or [`LACKED_AFTER`].
    pub(crate) fn set_own(&mut self, now: Time, reach: Reach) -> bool {
        let told = self.reaches.get(&self.own);
        if told == Some(&reach) {
            self.now_less = None;
            return false;
        }
        if told.is_some_and(|told| !reach.covers(told)) {
            let after = if told.is_some_and(|told| !reach.lacks_no_more_than(told)) {
                LACKED_AFTER
            } else {
                LOST_AFTER
            };
            let due = self.now_less.as_ref().map_or(now + after, |(due, _)| *due);
            self.now_less = Some((due, reach));
            return false;
        }
        self.publish(reach);
        true
    }

    /// What was lost long enough ago to be told; gives whether there is any.
    pub(crate) fn lose(&mut self, now: Time) -> bool {
        let Some((_, reach)) = self.now_less.take_if(|(due, _)| *due <= now) else { return false };
        self.publish(reach);
        true
    }

    fn publish(&mut self, reach: Reach) {
        self.now_less = None;
        self.number += 1;
        self.reaches.insert(self.own.clone(), reach);
        self.changed = true;
    }

    /// Owes the latest to these members, who live in these lives, unless they have
    /// confirmed it.
    pub(crate) fn expect_acks(
        &mut self,
        now: Time,
        boot: u64,
        members: impl Iterator<Item = (NodeName, u64)>,
    ) {
        let latest = Edition { boot, number: self.number };
        if self.number == 0 {
            return;
        }
        for (member, life) in members {
            if self.acked.get(&member) != Some(&(life, latest)) {
                self.pending_acks.insert(member, (now, FIRST_WAIT));
            }
        }
    }

    /// A member came to live in `life`: what is known of an earlier one will not
    /// stand for long.
    pub(crate) fn met(&mut self, now: Time, member: &NodeName, life: u64) {
        if self.editions.get(member).is_some_and(|edition| edition.boot < life) {
            self.outlived.entry(member.clone()).or_insert(now + OLD_LIFE);
        }
    }

    /// Nothing is owed to one who is no member.
    pub(crate) fn missed(&mut self, member: &NodeName) {
        self.pending_acks.remove(member);
    }

    /// What of `self` is due to be told at `now`, to whom.
    pub(crate) fn due(&mut self, now: Time) -> Vec<NodeName> {
        let mut due: Vec<NodeName> = Vec::new();
        for (member, (at, wait)) in &mut self.pending_acks {
            if *at > now {
                continue;
            }
            if due.len() >= AT_ONCE {
                *at = now + NEXT_ONES;
                continue;
            }
            *at = now + *wait;
            *wait = (*wait * 2).min(LONGEST_WAIT);
            due.push(member.clone());
        }
        due
    }

    /// Forgets the reach of earlier lives whose time is over.
    pub(crate) fn forget(&mut self, now: Time) {
        for (member, _) in self.outlived.extract_if(.., |_, at| *at <= now) {
            self.editions.remove(&member);
            self.changed |= self.reaches.remove(&member).is_some();
        }
    }

    /// When [`Self::lose`], [`Self::due`] or [`Self::forget`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let pending_acks = self.pending_acks.values().map(|(at, _)| *at);
        pending_acks
            .chain(self.now_less.iter().map(|(at, _)| *at))
            .chain(self.outlived.values().copied())
            .min()
    }

    /// The datagram for `member`, from this node in its life `boot`.
    pub(crate) fn report(&self, member: &NodeName, boot: u64, with_reach: bool) -> MemberReport {
        let reach = self.reaches.get(&self.own).filter(|_| with_reach);
        MemberReport {
            sender: self.own.as_str().into(),
            boot,
            heard: self.editions.get(member).copied(),
            reach: reach.map(|reach| (self.number, reach.clone())),
        }
    }

    /// Takes a member's datagram, where this node lives in `boot`. Gives whether it
    /// is to be answered, and with our own reach or without.
    pub(crate) fn take(
        &mut self,
        boot: u64,
        alive: &BTreeSet<NodeName>,
        report: MemberReport,
    ) -> Option<bool> {
        let member = NodeName::from(&*report.sender);
        let latest = Edition { boot, number: self.number };
        if let Some(heard) = report.heard
            && heard == latest
        {
            self.pending_acks.remove(&member);
            self.confirm(&member, report.boot, latest);
        }
        let (number, reach) = report.reach?;
        let edition = Edition { boot: report.boot, number };
        if self.editions.get(&member).is_none_or(|known| *known < edition) && self.make_room(&member, alive) {
            self.outlived.remove(&member);
            self.editions.insert(member.clone(), edition);
            self.changed |= self.reaches.insert(member.clone(), reach.clone()) != Some(reach);
        }
        Some(self.pending_acks.contains_key(&member))
    }

    fn confirm(&mut self, member: &NodeName, life: u64, edition: Edition) {
        if self.acked.len() >= self.bound && !self.acked.contains_key(member) {
            // Each can be told again.
            self.acked.clear();
        }
        self.acked.insert(member.clone(), (life, edition));
    }

    /// Whether there is room to remember `member`; who is missing makes way.
    fn make_room(&mut self, member: &NodeName, alive: &BTreeSet<NodeName>) -> bool {
        if self.reaches.len() < self.bound || self.reaches.contains_key(member) {
            return true;
        }
        let missing =
            self.reaches.keys().find(|known| !alive.contains(*known) && **known != self.own).cloned();
        let Some(missing) = missing else { return false };
        self.reaches.remove(&missing);
        self.editions.remove(&missing);
        self.outlived.remove(&missing);
        true
    }
}
