//! SWIM by foca: who answers, and what members say of each other.
//!
//! A defect of foca 2.0 is cured here: a timer that declares a suspect dead also strikes a
//! member that has refuted the suspicion. It is let through only while the suspicion stands.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use ferrolb_api::{NodeName, Time};
use foca::{Foca, NoCustomBroadcast, Notification, PostcardCodec, Runtime, State, Timer};

use crate::gossip::envelope::{Envelope, GossipRejection, MAX_PAYLOAD, Opened};
use crate::gossip::identity::Identity;
use crate::gossip::output::Output;
use crate::gossip::swim_message::{self, ParsedHeader};
use crate::gossip::timers::Timers;
use crate::random::Stream;

/// How often a member is probed. With the three below: the profile of SWIM, the
/// quickest that killed no healthy node at 20 % loss or in a pause of one second.
const PROBE_PERIOD: Duration = Duration::from_millis(300);
/// How long a probe may take before others are asked to probe as well.
const PROBE_RTT: Duration = Duration::from_millis(100);
/// How long a suspect has to refute.
pub(crate) const SUSPECT_TO_DOWN: Duration = Duration::from_millis(1_200);
/// How often news is gossiped.
const GOSSIP_PERIOD: Duration = Duration::from_millis(100);
/// How often each piece of news is passed on; not scaled down for small
/// clusters, where one lost datagram would lose a refutation.
const MAX_TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(15).expect("not zero");
/// How many are asked to probe a silent member.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(5).expect("not zero");
/// How many each round of gossip goes to.
const GOSSIP_FANOUT: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
/// How long a dead life of a member is remembered, so that stale gossip cannot
/// revive it.
const REMEMBER_DOWN: Duration = Duration::from_secs(3_600);
/// How late a timer may be before this node must have been asleep. News of its
/// suspects may lie unread, so they get another probe period.
const ASLEEP: Duration = Duration::from_millis(300);

/// The protocol of one node, with what it is sent in.
pub(crate) struct Swim {
    foca: Foca<Identity, PostcardCodec, Stream, NoCustomBroadcast>,
    runtime: FocaRuntime,
}

/// What foca acts upon.
struct FocaRuntime {
    now: Time,
    timers: Timers,
    envelope: Envelope,
    outputs: VecDeque<Output>,
    /// Whether the list changed since the last look, and which members came
    /// under a new identity.
    changed: bool,
    renamed: BTreeSet<NodeName>,
}

impl Swim {
    /// A node that knows itself alone.
    pub(crate) fn new(identity: Identity, probes: Stream, envelope: Envelope) -> Self {
        Self {
            foca: Foca::new(identity, config(), probes, PostcardCodec),
            runtime: FocaRuntime {
                now: Time::ZERO,
                timers: Timers::default(),
                envelope,
                outputs: VecDeque::new(),
                changed: false,
                renamed: BTreeSet::new(),
            },
        }
    }

    /// This node in its present life.
    pub(crate) fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// The others that are alive or suspect.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Identity> {
        self.foca.iter_members().map(foca::Member::id)
    }

    /// How many members are remembered, dead ones included.
    pub(crate) fn known(&self) -> usize {
        self.foca.iter_membership_state().len()
    }

    /// Opens a datagram.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> Result<Opened, GossipRejection> {
        self.runtime.envelope.open(bytes)
    }

    /// The latest life of a member that any datagram came from.
    pub(crate) fn latest_boot(&self, name: &str) -> Option<u64> {
        self.runtime.envelope.latest_boot(name)
    }

    /// Sends a payload of whatever kind.
    pub(crate) fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        let datagram = self.runtime.envelope.seal(payload);
        self.runtime.outputs.push_back(Output::Send(to, datagram));
    }

    /// T20: whoever speaks of a later life of ours than this one has known us
    /// before our clock went back. Only a life after that one is believed.
    /// Gives whether it began now.
    pub(crate) fn renew_identity(&mut self, now: Time, header: &ParsedHeader) -> bool {
        self.runtime.now = now;
        let own = self.foca.identity();
        let named = header.subjects.iter().chain([&header.destination]);
        let latest = named.filter(|id| id.name() == own.name()).map(Identity::boot).max();
        let Some(later) = latest.filter(|boot| *boot > own.boot()).and_then(|boot| own.after(boot)) else {
            return false;
        };
        self.runtime.envelope.set_boot(later.boot());
        self.foca.change_identity(later, &mut self.runtime).expect("it differs, and fits a datagram");
        true
    }

    /// Takes a message.
    pub(crate) fn handle_message(&mut self, now: Time, payload: &[u8]) {
        self.runtime.now = now;
        // An error leaves foca as it was: the message was for an earlier identity
        // of ours, or asks for a probe that is over.
        let _ = self.foca.handle_data(payload, &mut self.runtime);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.runtime.now = now;
        while let Some((due, timer)) = self.runtime.timers.pop(now) {
            if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
                let stands = self.foca.iter_members().any(|member| {
                    member.id() == member_id
                        && member.incarnation() == *incarnation
                        && member.state() == State::Suspect
                });
                if !stands {
                    continue;
                }
                if now.since(due) > ASLEEP {
                    self.runtime.timers.add(now + PROBE_PERIOD, timer);
                    continue;
                }
            }
            // An error is foca's note to us that a probe was cut short by a
            // pause; it has recovered by then.
            let _ = self.foca.handle_timer(timer, &mut self.runtime);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.runtime.timers.next()
    }

    /// The next output, oldest first.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.runtime.outputs.pop_front()
    }

    /// Adds outputs behind those that wait.
    pub(crate) fn push(&mut self, outputs: impl Iterator<Item = Output>) {
        self.runtime.outputs.extend(outputs);
    }

    /// The members that came under a new identity, if the list has changed at all
    /// since the last time.
    pub(crate) fn take_changes(&mut self) -> Option<BTreeSet<NodeName>> {
        let changed = std::mem::take(&mut self.runtime.changed);
        changed.then(|| std::mem::take(&mut self.runtime.renamed))
    }

    /// Asks `peer` to take this node on its list.
    pub(crate) fn announce(&mut self, now: Time, peer: Identity) {
        self.runtime.now = now;
        self.foca.announce(peer, &mut self.runtime).expect("an announce of checked names fits a datagram");
    }

    /// Tells every member that this node leaves.
    pub(crate) fn leave(&mut self) {
        for member in self.foca.iter_members() {
            let bytes = swim_message::leave(self.foca.identity(), member.id());
            let datagram = self.runtime.envelope.seal(&bytes);
            self.runtime.outputs.push_back(Output::Send(member.id().address(), datagram));
        }
    }
}

impl Runtime<Identity> for FocaRuntime {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.changed = true;
        if let Notification::Rename(_, after) = notification {
            self.renamed.insert(NodeName::from(&**after.name()));
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        let datagram = self.envelope.seal(data);
        self.outputs.push_back(Output::Send(to.address(), datagram));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.add(self.now + after, event);
    }
}

/// The profile of SWIM.
fn config() -> foca::Config {
    foca::Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: INDIRECT_PROBES,
        max_transmissions: MAX_TRANSMISSIONS,
        suspect_to_down_after: SUSPECT_TO_DOWN,
        remove_down_after: Some(REMEMBER_DOWN),
        max_packet_size: NonZeroUsize::new(MAX_PAYLOAD).expect("not zero"),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(foca::PeriodicParams { frequency: GOSSIP_PERIOD, num_members: GOSSIP_FANOUT }),
    }
}
