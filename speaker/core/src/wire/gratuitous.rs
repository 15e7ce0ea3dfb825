//! When which unsolicited frames tell the neighbours where an address is.
//!
//! Each announced address has a task on each interface that can carry it: six
//! waves in IPv4, three in IPv6, then a slow refresh. A task that runs is left
//! alone, whatever is evaluated again (W9). The frames:
//!
//! - gratuitous request, a broadcast for the address itself (RFC 5227): every wave.
//! - directed request, for a recent requester and unicast to it: waves 0 and 1. It must
//!   take the sender in before it answers, also where it ignores the gratuitous forms,
//!   and where it had no entry; once lost, it would ask again only after a second.
//! - gratuitous reply, a broadcast to ourselves: waves 1 and 3, for stacks that look
//!   at replies only.
//! - unsolicited advertisement, to all nodes: every wave of an IPv6 address.
//! - directed solicitation, of a recent requester and unicast to it: as a directed request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ferrolb_api::Time;
use rand::RngExt;

use crate::interface::{InterfaceId, MacAddr};
use crate::random::Stream;
use crate::wire::arp::{Operation, Packet};
use crate::wire::ndp::Message;
use crate::wire::requesters::{Requester, Requesters};
use crate::wire::token_bucket::TokenBucket;

/// When the waves of gratuitous requests go out, in milliseconds after the first.
const ARP_WAVES: &[u64] = &[0, 200, 1_100, 3_000, 9_000, 27_000];
/// The same of unsolicited advertisements: not more than three, not less than a second apart
/// (RFC 4861 7.2.6).
const NDP_WAVES: &[u64] = &[0, 1_000, 2_000];
/// The last wave with directed frames beside it.
const LAST_DIRECTED: u8 = 1;
/// Waves with a gratuitous reply beside the request.
const REPLY_FORM: [u8; 2] = [1, 3];
/// How many waves a reannouncement has: of an address that was ours all along.
const REANNOUNCEMENT_WAVES: u8 = 3;
/// How far each gap between waves is off at random, in percent; in IPv6 it is
/// only ever longer.
const JITTER: u64 = 10;
/// How often an address is announced when all is quiet, for neighbours that
/// missed every wave.
const REFRESH: Duration = Duration::from_secs(300);
/// How far each refresh is off at random, in percent.
const REFRESH_JITTER: u64 = 20;
/// Frames a second on one interface, and how many at once. A small switch hands
/// no more than this to its CPU.
const RATE: u64 = 1_000;
const BURST: u64 = 200;
/// The same for refreshes, which have all the time in the world.
const REFRESH_RATE: u64 = 10;
/// The shortest time between two defences of one address on one interface.
const DEFEND_EVERY: Duration = Duration::from_secs(1);
/// The shortest time from the start of an announcement to its next reannouncement.
const REANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// How long the news that moves an address may take to reach both its owners. The
/// old one defends nothing before it must have heard that the address has moved,
/// nor the new one against what the old one may have said until then.
const DEFEND_AFTER: Duration = Duration::from_millis(200);
/// An address asked for this recently is announced before the others.
const LATELY: Duration = Duration::from_secs(60);

/// A frame to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) interface: InterfaceId,
    pub(crate) address: IpAddr,
    pub(crate) mac: MacAddr,
    pub(crate) bytes: Vec<u8>,
    /// Set on the frame that begins a wave: which; `Some(None)` is a refresh.
    pub(crate) begins: Option<Option<u8>>,
    /// Set on a defence: who claims the address.
    pub(crate) against: Option<MacAddr>,
}

/// All tasks of a node.
#[derive(Debug)]
pub(crate) struct Gratuitous {
    tasks: BTreeMap<(IpAddr, InterfaceId), AnnouncementTask>,
    queues: BTreeMap<InterfaceId, InterfaceQueue>,
    random: Stream,
    delays: u64,
}

/// One address on one interface.
#[derive(Debug)]
struct AnnouncementTask {
    /// What goes out next.
    next: Step,
    /// How many waves there are before it is only refreshed.
    waves: u8,
    started: Time,
    defended: Option<Time>,
    /// What it has in the queue's queues, to take it out again.
    prompt: BTreeSet<(Time, Urgency, Form)>,
    refresh: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wave(u8),
    Refresh,
}

/// What waits to be sent on one interface.
#[derive(Debug)]
struct InterfaceQueue {
    mac: MacAddr,
    /// By time, urgency and address.
    prompt: BTreeSet<(Time, Urgency, IpAddr, Form)>,
    refresh: BTreeSet<(Time, IpAddr)>,
    bucket: TokenBucket,
    refresh_bucket: TokenBucket,
    /// Whether the frame now at the head has been counted as put off.
    delayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    AskedLately,
    Normal,
    /// To requesters: after everybody has been told by broadcast.
    Directed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// Request or advertisement as the next step of its task.
    ToAll,
    /// The same out of turn, against this claimant.
    Defence(MacAddr),
    /// Request or solicitation of a recent requester.
    Directed(IpAddr),
    /// Gratuitous reply.
    Reply,
}

impl Gratuitous {
    /// Nothing to announce yet.
    pub(crate) fn new(random: Stream) -> Self {
        Self { tasks: BTreeMap::new(), queues: BTreeMap::new(), random, delays: 0 }
    }

    /// How often a frame had to wait for an interface's budget.
    pub(crate) const fn delays(&self) -> u64 {
        self.delays
    }

    /// Takes the interfaces that can announce now, with their addresses. What
    /// waits on others is dropped; an interface whose MAC changed starts anew.
    pub(crate) fn set_interfaces(&mut self, usable: &BTreeMap<InterfaceId, MacAddr>) {
        self.queues.retain(|id, queue| usable.get(id) == Some(&queue.mac));
        self.tasks.retain(|(_, id), _| self.queues.contains_key(id));
        for (id, mac) in usable {
            self.queues.entry(*id).or_insert_with(|| InterfaceQueue::new(*mac));
        }
    }

    /// Says where `address` is to be announced: tasks for new places start, those
    /// for others stop, those that run go on undisturbed.
    pub(crate) fn set_targets(
        &mut self,
        now: Time,
        address: IpAddr,
        targets: &BTreeSet<InterfaceId>,
        requesters: &Requesters,
    ) {
        let running: Vec<InterfaceId> = self.interfaces_of(address).collect();
        for id in running.into_iter().filter(|id| !targets.contains(id)) {
            self.stop(address, id);
        }
        for id in targets {
            if self.queues.contains_key(id) && !self.tasks.contains_key(&(address, *id)) {
                self.start(now, address, *id, waves(address).len() as u8, requesters);
            }
        }
    }

    /// Announces an address again that was ours all along, but that others may
    /// have announced meanwhile. At most once a second for each address.
    pub(crate) fn reannounce(&mut self, now: Time, address: IpAddr, requesters: &Requesters) {
        let running: Vec<InterfaceId> = self.interfaces_of(address).collect();
        for id in running {
            let Some(task) = self.tasks.get(&(address, id)) else { continue };
            let defended = task.defended;
            if now.since(task.started) < REANNOUNCE_EVERY || task.next == Step::Wave(0) {
                continue;
            }
            let waves = match task.next {
                // A takeover that is under way loses none of its waves.
                Step::Wave(_) => task.waves,
                Step::Refresh => REANNOUNCEMENT_WAVES,
            };
            self.stop(address, id);
            self.start(now, address, id, waves, requesters);
            if let Some(task) = self.tasks.get_mut(&(address, id)) {
                task.defended = defended;
            }
        }
    }

    /// Answers the claim of `claimant` to `address` by one frame to all, unless the
    /// address is given up before it is due: at most once a second for each address
    /// on each interface (X17).
    pub(crate) fn defend(&mut self, now: Time, address: IpAddr, interface: InterfaceId, claimant: MacAddr) {
        let (Some(task), Some(queue)) =
            (self.tasks.get_mut(&(address, interface)), self.queues.get_mut(&interface))
        else {
            return;
        };
        let is_new = now.since(task.started) < DEFEND_AFTER;
        if is_new || task.defended.is_some_and(|last| now.since(last) < DEFEND_EVERY) {
            return;
        }
        task.defended = Some(now);
        task.queue(queue, address, (now + DEFEND_AFTER, Urgency::AskedLately, Form::Defence(claimant)));
    }

    /// Drops everything: this node is on its way out.
    pub(crate) fn stop_all(&mut self) {
        self.tasks.clear();
        for queue in self.queues.values_mut() {
            queue.prompt.clear();
            queue.refresh.clear();
        }
    }

    /// When [`Self::poll`] has something to give.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.queues.values().filter_map(InterfaceQueue::due).min()
    }

    /// The next frame that may go out by `now`.
    pub(crate) fn poll(&mut self, now: Time, requesters: &Requesters) -> Option<Outgoing> {
        let ids: Vec<InterfaceId> = self.queues.keys().copied().collect();
        ids.into_iter().find_map(|id| self.poll_queue(now, id, requesters))
    }

    fn poll_queue(&mut self, now: Time, id: InterfaceId, requesters: &Requesters) -> Option<Outgoing> {
        loop {
            let queue = self.queues.get_mut(&id)?;
            let mac = queue.mac;
            let prompt = queue.prompt.first().copied().filter(|(due, ..)| *due <= now);
            let refresh = queue.refresh.first().copied().filter(|(due, _)| *due <= now);
            let (address, form) = match (prompt, refresh) {
                (Some((_, _, address, form)), _) => (address, form),
                (None, Some((_, address))) if queue.refresh_bucket.ready_at(now) <= now => {
                    (address, Form::ToAll)
                }
                _ => return None,
            };
            // A requester forgotten meanwhile costs no frame.
            let requester = match form {
                Form::Directed(ip) => requesters.get(now, address, ip),
                Form::ToAll | Form::Defence(_) | Form::Reply => None,
            };
            let forgotten = matches!(form, Form::Directed(_)) && requester.is_none();
            if forgotten {
                self.take_out(id, prompt);
                continue;
            }
            if !queue.bucket.take(now) {
                self.delays += u64::from(!std::mem::replace(&mut queue.delayed, true));
                return None;
            }
            queue.delayed = false;
            if prompt.is_none() {
                queue.refresh_bucket.take(now);
                queue.refresh.pop_first();
            }
            self.take_out(id, prompt);
            let begins = if form == Form::ToAll { self.advance(now, address, id, requesters) } else { None };
            let bytes = match address {
                IpAddr::V4(address) => arp_frame(address, mac, form, requester),
                IpAddr::V6(address) => ndp_frame(address, mac, requester),
            };
            let against = if let Form::Defence(claimant) = form { Some(claimant) } else { None };
            return Some(Outgoing { interface: id, address, mac, bytes, begins, against });
        }
    }

    /// Takes the head of a queue's prompt queue out.
    fn take_out(&mut self, id: InterfaceId, head: Option<(Time, Urgency, IpAddr, Form)>) {
        let Some((due, urgency, address, form)) = head else { return };
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.prompt.pop_first();
        }
        if let Some(task) = self.tasks.get_mut(&(address, id)) {
            task.prompt.remove(&(due, urgency, form));
        }
    }

    /// Moves a task on, now that its frame to all goes out. The gaps count from here, so
    /// that a wave put off does not run into the next.
    fn advance(
        &mut self,
        now: Time,
        address: IpAddr,
        id: InterfaceId,
        requesters: &Requesters,
    ) -> Option<Option<u8>> {
        let task = self.tasks.get_mut(&(address, id))?;
        let queue = self.queues.get_mut(&id)?;
        let sent = match task.next {
            Step::Wave(wave) => Some(wave),
            Step::Refresh => None,
        };
        match sent.map(|wave| wave + 1).filter(|wave| *wave < task.waves) {
            Some(wave) => {
                let at = usize::from(wave);
                let waves = waves(address);
                let gap = Duration::from_millis(waves[at] - waves[at - 1]);
                let due = now
                    + match address {
                        IpAddr::V4(_) => spread(&mut self.random, gap, JITTER),
                        IpAddr::V6(_) => longer(&mut self.random, gap, JITTER),
                    };
                task.next = Step::Wave(wave);
                task.queue(queue, address, (due, Urgency::Normal, Form::ToAll));
                if address.is_ipv4() && REPLY_FORM.contains(&wave) {
                    task.queue(queue, address, (due, Urgency::Normal, Form::Reply));
                }
                if wave <= LAST_DIRECTED {
                    task.queue_directed(queue, address, due, requesters.recent(now, address, id));
                }
            }
            None => {
                let due = now + spread(&mut self.random, REFRESH, REFRESH_JITTER);
                task.next = Step::Refresh;
                task.refresh = Some(due);
                queue.refresh.insert((due, address));
            }
        }
        Some(sent)
    }

    fn start(&mut self, now: Time, address: IpAddr, id: InterfaceId, waves: u8, requesters: &Requesters) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let lately = requesters.last_heard(address).is_some_and(|heard| now.since(heard) <= LATELY);
        let urgency = if lately { Urgency::AskedLately } else { Urgency::Normal };
        let mut task = AnnouncementTask {
            next: Step::Wave(0),
            waves,
            started: now,
            defended: None,
            prompt: BTreeSet::new(),
            refresh: None,
        };
        task.queue(queue, address, (now, urgency, Form::ToAll));
        task.queue_directed(queue, address, now, requesters.recent(now, address, id));
        self.tasks.insert((address, id), task);
    }

    fn stop(&mut self, address: IpAddr, id: InterfaceId) {
        let Some(task) = self.tasks.remove(&(address, id)) else { return };
        let Some(queue) = self.queues.get_mut(&id) else { return };
        for (due, urgency, form) in task.prompt {
            queue.prompt.remove(&(due, urgency, address, form));
        }
        if let Some(due) = task.refresh {
            queue.refresh.remove(&(due, address));
        }
    }

    fn interfaces_of(&self, address: IpAddr) -> impl Iterator<Item = InterfaceId> {
        let all = (address, InterfaceId(0))..=(address, InterfaceId(u32::MAX));
        self.tasks.range(all).map(|((_, id), _)| *id)
    }
}

impl AnnouncementTask {
    fn queue(&mut self, queue: &mut InterfaceQueue, address: IpAddr, entry: (Time, Urgency, Form)) {
        let (due, urgency, form) = entry;
        queue.prompt.insert((due, urgency, address, form));
        self.prompt.insert(entry);
    }

    fn queue_directed(
        &mut self,
        queue: &mut InterfaceQueue,
        address: IpAddr,
        due: Time,
        requesters: impl Iterator<Item = Requester>,
    ) {
        for requester in requesters {
            self.queue(queue, address, (due, Urgency::Directed, Form::Directed(requester.ip)));
        }
    }
}

impl InterfaceQueue {
    fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            prompt: BTreeSet::new(),
            refresh: BTreeSet::new(),
            bucket: TokenBucket::new(RATE, BURST),
            refresh_bucket: TokenBucket::new(REFRESH_RATE, REFRESH_RATE),
            delayed: false,
        }
    }

    /// When the first frame may go out, as far as the budget is known.
    fn due(&self) -> Option<Time> {
        let prompt = self.prompt.first().map(|(due, ..)| self.bucket.ready_at(*due));
        let refresh = self
            .refresh
            .first()
            .map(|(due, _)| self.bucket.ready_at(*due).max(self.refresh_bucket.ready_at(*due)));
        prompt.into_iter().chain(refresh).min()
    }
}

/// `gap`, off by up to `percent`.
fn spread(random: &mut Stream, gap: Duration, percent: u64) -> Duration {
    let micros = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX / 100);
    let off = micros * percent / 100;
    Duration::from_micros(random.random_range(micros - off..=micros + off))
}

/// `gap`, longer by up to `percent`.
fn longer(random: &mut Stream, gap: Duration, percent: u64) -> Duration {
    let micros = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX / 200);
    Duration::from_micros(random.random_range(micros..=micros + micros * percent / 100))
}

/// When the waves of an address go out.
const fn waves(address: IpAddr) -> &'static [u64] {
    match address {
        IpAddr::V4(_) => ARP_WAVES,
        IpAddr::V6(_) => NDP_WAVES,
    }
}

fn arp_frame(address: Ipv4Addr, mac: MacAddr, form: Form, requester: Option<Requester>) -> Vec<u8> {
    let packet = match (form, requester) {
        (Form::Reply, _) => reply(address, mac),
        (_, Some(Requester { ip: IpAddr::V4(ip), mac: to, .. })) => directed(address, mac, ip, to),
        _ => request(address, mac),
    };
    packet.to_frame()
}

fn ndp_frame(address: Ipv6Addr, mac: MacAddr, requester: Option<Requester>) -> Vec<u8> {
    let message = match requester {
        Some(Requester { ip: IpAddr::V6(ip), mac: to, .. }) => Message::directed(address, mac, ip, to),
        _ => Message::unsolicited(address, mac),
    };
    message.to_frame()
}

/// Gratuitous request: "who has `address`? tell `address`".
fn request(address: Ipv4Addr, mac: MacAddr) -> Packet {
    Packet {
        destination: MacAddr::BROADCAST,
        source: mac,
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: address,
        target_mac: MacAddr([0; 6]),
        target_ip: address,
    }
}

/// Directed request: "who has `requester`? tell `address`".
fn directed(address: Ipv4Addr, mac: MacAddr, requester: Ipv4Addr, requester_mac: MacAddr) -> Packet {
    Packet { destination: requester_mac, target_ip: requester, ..request(address, mac) }
}

/// Gratuitous reply: "`address` is at `mac`", with the target's address like the sender's,
/// which Linux takes also within a second of the last change.
fn reply(address: Ipv4Addr, mac: MacAddr) -> Packet {
    Packet { operation: Operation::Reply, target_mac: mac, ..request(address, mac) }
}

#[cfg(test)]
mod tests;
