//! When which unsolicited frames tell the neighbours where an address is.
//!
//! Each announced address has a job on each interface that can carry it: six
//! waves in IPv4, three in IPv6, then a slow refresh. A job that runs is left
//! alone, whatever is evaluated again (W9). The frames:
//!
//! - gratuitous request, a broadcast for the address itself (RFC 5227): every wave.
//! - directed request, for a recent asker and unicast to it: waves 0 and 1. It must
//!   take the sender in before it answers, also where it ignores the gratuitous forms,
//!   and where it had no entry; once lost, it would ask again only after a second.
//! - gratuitous reply, a broadcast to ourselves: waves 1 and 3, for stacks that look
//!   at replies only.
//! - unsolicited advertisement, to all nodes: every wave of an IPv6 address.
//! - directed solicitation, of a recent asker and unicast to it: as a directed request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ferrolb_api::Time;
use rand::RngExt;

use crate::interface::{InterfaceId, MacAddr};
use crate::random::Stream;
use crate::wire::arp::{Operation, Packet};
use crate::wire::askers::{Asker, Askers};
use crate::wire::ndp::Message;
use crate::wire::pacing::Bucket;

/// When the waves of gratuitous requests go out, in milliseconds after the first.
const ARP_WAVES: &[u64] = &[0, 200, 1_100, 3_000, 9_000, 27_000];
/// The same of unsolicited advertisements: not more than three, not less than a second apart
/// (RFC 4861 7.2.6).
const NDP_WAVES: &[u64] = &[0, 1_000, 2_000];
/// The last wave with directed frames beside it.
const LAST_DIRECTED: u8 = 1;
/// Waves with a gratuitous reply beside the request.
const REPLY_FORM: [u8; 2] = [1, 3];
/// How many waves a reminder has: of an address that was ours all along.
const REMINDER_WAVES: u8 = 3;
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
/// The shortest time from the start of an announcement to its next reminder.
const REMIND_EVERY: Duration = Duration::from_secs(1);
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

/// All jobs of a node.
#[derive(Debug)]
pub(crate) struct Gratuitous {
    jobs: BTreeMap<(IpAddr, InterfaceId), Job>,
    lanes: BTreeMap<InterfaceId, Lane>,
    random: Stream,
    delays: u64,
}

/// One address on one interface.
#[derive(Debug)]
struct Job {
    /// What goes out next.
    next: Step,
    /// How many waves there are before it is only refreshed.
    waves: u8,
    started: Time,
    defended: Option<Time>,
    /// What it has in the lane's queues, to take it out again.
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
struct Lane {
    mac: MacAddr,
    /// By time, urgency and address.
    prompt: BTreeSet<(Time, Urgency, IpAddr, Form)>,
    refresh: BTreeSet<(Time, IpAddr)>,
    bucket: Bucket,
    refresh_bucket: Bucket,
    /// Whether the frame now at the head has been counted as put off.
    delayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    AskedLately,
    Normal,
    /// To askers: after everybody has been told by broadcast.
    Directed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// Request or advertisement as the next step of its job.
    ToAll,
    /// The same out of turn, against this claimant.
    Defence(MacAddr),
    /// Request or solicitation of a recent asker.
    Directed(IpAddr),
    /// Gratuitous reply.
    Reply,
}

impl Gratuitous {
    /// Nothing to announce yet.
    pub(crate) fn new(random: Stream) -> Self {
        Self { jobs: BTreeMap::new(), lanes: BTreeMap::new(), random, delays: 0 }
    }

    /// How often a frame had to wait for an interface's budget.
    pub(crate) const fn delays(&self) -> u64 {
        self.delays
    }

    /// Takes the interfaces that can announce now, with their addresses. What
    /// waits on others is dropped; an interface whose MAC changed starts anew.
    pub(crate) fn set_interfaces(&mut self, usable: &BTreeMap<InterfaceId, MacAddr>) {
        self.lanes.retain(|id, lane| usable.get(id) == Some(&lane.mac));
        self.jobs.retain(|(_, id), _| self.lanes.contains_key(id));
        for (id, mac) in usable {
            self.lanes.entry(*id).or_insert_with(|| Lane::new(*mac));
        }
    }

    /// Says where `address` is to be announced: jobs for new places start, those
    /// for others stop, those that run go on undisturbed.
    pub(crate) fn set_targets(
        &mut self,
        now: Time,
        address: IpAddr,
        targets: &BTreeSet<InterfaceId>,
        askers: &Askers,
    ) {
        let running: Vec<InterfaceId> = self.interfaces_of(address).collect();
        for id in running.into_iter().filter(|id| !targets.contains(id)) {
            self.stop(address, id);
        }
        for id in targets {
            if self.lanes.contains_key(id) && !self.jobs.contains_key(&(address, *id)) {
                self.start(now, address, *id, waves(address).len() as u8, askers);
            }
        }
    }

    /// Announces an address again that was ours all along, but that others may
    /// have announced meanwhile. At most once a second for each address.
    pub(crate) fn remind(&mut self, now: Time, address: IpAddr, askers: &Askers) {
        let running: Vec<InterfaceId> = self.interfaces_of(address).collect();
        for id in running {
            let Some(job) = self.jobs.get(&(address, id)) else { continue };
            let defended = job.defended;
            if now.since(job.started) < REMIND_EVERY || job.next == Step::Wave(0) {
                continue;
            }
            let waves = match job.next {
                // A takeover that is under way loses none of its waves.
                Step::Wave(_) => job.waves,
                Step::Refresh => REMINDER_WAVES,
            };
            self.stop(address, id);
            self.start(now, address, id, waves, askers);
            if let Some(job) = self.jobs.get_mut(&(address, id)) {
                job.defended = defended;
            }
        }
    }

    /// Answers the claim of `claimant` to `address` by one frame to all, unless the
    /// address is given up before it is due: at most once a second for each address
    /// on each interface (X17).
    pub(crate) fn defend(&mut self, now: Time, address: IpAddr, interface: InterfaceId, claimant: MacAddr) {
        let (Some(job), Some(lane)) =
            (self.jobs.get_mut(&(address, interface)), self.lanes.get_mut(&interface))
        else {
            return;
        };
        let is_new = now.since(job.started) < DEFEND_AFTER;
        if is_new || job.defended.is_some_and(|last| now.since(last) < DEFEND_EVERY) {
            return;
        }
        job.defended = Some(now);
        job.queue(lane, address, (now + DEFEND_AFTER, Urgency::AskedLately, Form::Defence(claimant)));
    }

    /// Drops everything: this node is on its way out.
    pub(crate) fn stop_all(&mut self) {
        self.jobs.clear();
        for lane in self.lanes.values_mut() {
            lane.prompt.clear();
            lane.refresh.clear();
        }
    }

    /// When [`Self::poll`] has something to give.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.lanes.values().filter_map(Lane::due).min()
    }

    /// The next frame that may go out by `now`.
    pub(crate) fn poll(&mut self, now: Time, askers: &Askers) -> Option<Outgoing> {
        let ids: Vec<InterfaceId> = self.lanes.keys().copied().collect();
        ids.into_iter().find_map(|id| self.poll_lane(now, id, askers))
    }

    fn poll_lane(&mut self, now: Time, id: InterfaceId, askers: &Askers) -> Option<Outgoing> {
        loop {
            let lane = self.lanes.get_mut(&id)?;
            let mac = lane.mac;
            let prompt = lane.prompt.first().copied().filter(|(due, ..)| *due <= now);
            let refresh = lane.refresh.first().copied().filter(|(due, _)| *due <= now);
            let (address, form) = match (prompt, refresh) {
                (Some((_, _, address, form)), _) => (address, form),
                (None, Some((_, address))) if lane.refresh_bucket.ready_at(now) <= now => {
                    (address, Form::ToAll)
                }
                _ => return None,
            };
            // An asker forgotten meanwhile costs no frame.
            let asker = match form {
                Form::Directed(ip) => askers.get(now, address, ip),
                Form::ToAll | Form::Defence(_) | Form::Reply => None,
            };
            let forgotten = matches!(form, Form::Directed(_)) && asker.is_none();
            if forgotten {
                self.take_out(id, prompt);
                continue;
            }
            if !lane.bucket.take(now) {
                self.delays += u64::from(!std::mem::replace(&mut lane.delayed, true));
                return None;
            }
            lane.delayed = false;
            if prompt.is_none() {
                lane.refresh_bucket.take(now);
                lane.refresh.pop_first();
            }
            self.take_out(id, prompt);
            let begins = if form == Form::ToAll { self.advance(now, address, id, askers) } else { None };
            let bytes = match address {
                IpAddr::V4(address) => arp_frame(address, mac, form, asker),
                IpAddr::V6(address) => ndp_frame(address, mac, asker),
            };
            let against = if let Form::Defence(claimant) = form { Some(claimant) } else { None };
            return Some(Outgoing { interface: id, address, mac, bytes, begins, against });
        }
    }

    /// Takes the head of a lane's prompt queue out.
    fn take_out(&mut self, id: InterfaceId, head: Option<(Time, Urgency, IpAddr, Form)>) {
        let Some((due, urgency, address, form)) = head else { return };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.prompt.pop_first();
        }
        if let Some(job) = self.jobs.get_mut(&(address, id)) {
            job.prompt.remove(&(due, urgency, form));
        }
    }

    /// Moves a job on, now that its frame to all goes out. The gaps count from here, so
    /// that a wave put off does not run into the next.
    fn advance(
        &mut self,
        now: Time,
        address: IpAddr,
        id: InterfaceId,
        askers: &Askers,
    ) -> Option<Option<u8>> {
        let job = self.jobs.get_mut(&(address, id))?;
        let lane = self.lanes.get_mut(&id)?;
        let sent = match job.next {
            Step::Wave(wave) => Some(wave),
            Step::Refresh => None,
        };
        match sent.map(|wave| wave + 1).filter(|wave| *wave < job.waves) {
            Some(wave) => {
                let at = usize::from(wave);
                let waves = waves(address);
                let gap = Duration::from_millis(waves[at] - waves[at - 1]);
                let due = now
                    + match address {
                        IpAddr::V4(_) => spread(&mut self.random, gap, JITTER),
                        IpAddr::V6(_) => longer(&mut self.random, gap, JITTER),
                    };
                job.next = Step::Wave(wave);
                job.queue(lane, address, (due, Urgency::Normal, Form::ToAll));
                if address.is_ipv4() && REPLY_FORM.contains(&wave) {
                    job.queue(lane, address, (due, Urgency::Normal, Form::Reply));
                }
                if wave <= LAST_DIRECTED {
                    job.tell_askers(lane, address, due, askers.recent(now, address, id));
                }
            }
            None => {
                let due = now + spread(&mut self.random, REFRESH, REFRESH_JITTER);
                job.next = Step::Refresh;
                job.refresh = Some(due);
                lane.refresh.insert((due, address));
            }
        }
        Some(sent)
    }

    fn start(&mut self, now: Time, address: IpAddr, id: InterfaceId, waves: u8, askers: &Askers) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let lately = askers.last_heard(address).is_some_and(|heard| now.since(heard) <= LATELY);
        let urgency = if lately { Urgency::AskedLately } else { Urgency::Normal };
        let mut job = Job {
            next: Step::Wave(0),
            waves,
            started: now,
            defended: None,
            prompt: BTreeSet::new(),
            refresh: None,
        };
        job.queue(lane, address, (now, urgency, Form::ToAll));
        job.tell_askers(lane, address, now, askers.recent(now, address, id));
        self.jobs.insert((address, id), job);
    }

    fn stop(&mut self, address: IpAddr, id: InterfaceId) {
        let Some(job) = self.jobs.remove(&(address, id)) else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        for (due, urgency, form) in job.prompt {
            lane.prompt.remove(&(due, urgency, address, form));
        }
        if let Some(due) = job.refresh {
            lane.refresh.remove(&(due, address));
        }
    }

    fn interfaces_of(&self, address: IpAddr) -> impl Iterator<Item = InterfaceId> {
        let all = (address, InterfaceId(0))..=(address, InterfaceId(u32::MAX));
        self.jobs.range(all).map(|((_, id), _)| *id)
    }
}

impl Job {
    fn queue(&mut self, lane: &mut Lane, address: IpAddr, entry: (Time, Urgency, Form)) {
        let (due, urgency, form) = entry;
        lane.prompt.insert((due, urgency, address, form));
        self.prompt.insert(entry);
    }

    fn tell_askers(
        &mut self,
        lane: &mut Lane,
        address: IpAddr,
        due: Time,
        askers: impl Iterator<Item = Asker>,
    ) {
        for asker in askers {
            self.queue(lane, address, (due, Urgency::Directed, Form::Directed(asker.ip)));
        }
    }
}

impl Lane {
    fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            prompt: BTreeSet::new(),
            refresh: BTreeSet::new(),
            bucket: Bucket::new(RATE, BURST),
            refresh_bucket: Bucket::new(REFRESH_RATE, REFRESH_RATE),
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

fn arp_frame(address: Ipv4Addr, mac: MacAddr, form: Form, asker: Option<Asker>) -> Vec<u8> {
    let packet = match (form, asker) {
        (Form::Reply, _) => reply(address, mac),
        (_, Some(Asker { ip: IpAddr::V4(ip), mac: to, .. })) => directed(address, mac, ip, to),
        _ => request(address, mac),
    };
    packet.to_frame()
}

fn ndp_frame(address: Ipv6Addr, mac: MacAddr, asker: Option<Asker>) -> Vec<u8> {
    let message = match asker {
        Some(Asker { ip: IpAddr::V6(ip), mac: to, .. }) => Message::directed(address, mac, ip, to),
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

/// Directed request: "who has `asker`? tell `address`".
fn directed(address: Ipv4Addr, mac: MacAddr, asker: Ipv4Addr, asker_mac: MacAddr) -> Packet {
    Packet { destination: asker_mac, target_ip: asker, ..request(address, mac) }
}

/// Gratuitous reply: "`address` is at `mac`", with the target's address like the sender's,
/// which Linux takes also within a second of the last change.
fn reply(address: Ipv4Addr, mac: MacAddr) -> Packet {
    Packet { operation: Operation::Reply, target_mac: mac, ..request(address, mac) }
}

#[cfg(test)]
mod tests;
