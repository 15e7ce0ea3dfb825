//! A station's neighbour table: who has which address, learned by ARP and NDP as the modelled client would learn it.
//!
//! What a failover does to a client *is* this table, so it is explicit, readable, and held against the real kernel by the
//! project's tests. Time and frames come from the caller; packets that wait for an answer wait here.

mod arp;
mod model;
mod ndp;
mod nud;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::frame::ETHERNET_HEADER;
use super::random::Stream;
use model::{Policer, Rules};

pub(super) use ndp::is_ndp;

pub use model::{ArpAccept, ClientModel, Sysctls};

/// Neighbours a table holds; the kernel's `gc_thresh3`.
const CAPACITY: usize = 1024;
/// Packets that wait for one address; the oldest goes first when there are more (the kernel's `unres_qlen`).
const QUEUE: usize = 101;

/// The states of neighbour unreachability detection, RFC 4861 7.3.2 and the kernel's NUD_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeighbourState {
    /// Asked for; packets wait.
    Incomplete,
    /// Confirmed not long ago.
    Reachable,
    /// In use as long as nobody says otherwise, but not confirmed.
    Stale,
    /// Used while stale; about to be probed.
    Delay,
    /// Being asked by unicast whether it is still there. Still in use.
    Probe,
    /// Nobody answered. The next packet asks anew.
    Failed,
}

impl NeighbourState {
    /// Whether packets are sent to the address on file.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        !matches!(self, Self::Incomplete | Self::Failed)
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Whose line it is.
    pub address: IpAddr,
    /// Where packets for it go; none before the first answer.
    pub mac: Option<EthernetAddress>,
    /// How sure we are.
    pub state: NeighbourState,
    /// Since when `mac` is what it is.
    pub since: Instant,
    /// When `mac` or `state` last changed. Models of old kernels also count updates that changed nothing, which is what
    /// makes their lock window move.
    pub updated: Instant,
}

/// What a table has seen and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourCounters {
    /// Frames that could not be read.
    pub malformed: u64,
    /// ARP requests a router refused to look at, being busy.
    pub policed: u64,
    /// Updates that were refused: no entry, lock window, or not believed.
    pub refused: u64,
    /// Times a known neighbour moved to another hardware address.
    pub moved: u64,
    /// Requests and solicitations answered.
    pub answered: u64,
    /// Requests, solicitations and probes sent.
    pub asked: u64,
    /// Packets dropped because nobody answered, or too many waited.
    pub dropped: u64,
}

/// The table. It answers for its station's own addresses and for no other.
#[derive(Debug)]
pub struct NeighbourTable {
    mac: EthernetAddress,
    rules: &'static Rules,
    sysctls: Sysctls,
    own: Vec<IpCidr>,
    silent: BTreeSet<IpAddr>,
    entries: BTreeMap<IpAddr, Entry>,
    timers: BTreeSet<(Instant, IpAddr)>,
    reachable: [nud::ReachableTime; 2],
    policer: Option<Policer>,
    frames: VecDeque<Vec<u8>>,
    counters: NeighbourCounters,
}

#[derive(Debug)]
struct Entry {
    shown: Neighbour,
    /// Last proof that it is there.
    confirmed: Instant,
    /// Last packet that found it not confirmed.
    used: Instant,
    probes: u8,
    timer: Option<Instant>,
    waiting: VecDeque<Vec<u8>>,
}

impl NeighbourTable {
    /// An empty table for a station with hardware address `mac`.
    #[must_use]
    pub fn new(mac: EthernetAddress, model: ClientModel, sysctls: Sysctls, stream: &Stream) -> Self {
        let rules = model.rules();
        Self {
            mac,
            rules,
            sysctls,
            own: Vec::new(),
            silent: BTreeSet::new(),
            entries: BTreeMap::new(),
            timers: BTreeSet::new(),
            reachable: [nud::ReachableTime::new(stream.clone()), nud::ReachableTime::new(stream.clone())],
            policer: rules.policer.map(Policer::new),
            frames: VecDeque::new(),
            counters: NeighbourCounters::default(),
        }
    }

    /// The addresses the station answers for, with their subnets.
    pub fn set_own(&mut self, addresses: &[IpCidr]) {
        self.own = addresses.to_vec();
    }

    /// Addresses the station has but never answers for, as with `arp_ignore=1` and the address on `lo`.
    pub fn set_silent(&mut self, addresses: BTreeSet<IpAddr>) {
        self.silent = addresses;
    }

    /// All lines, by address.
    pub fn entries(&self) -> impl Iterator<Item = &Neighbour> {
        self.entries.values().map(|entry| &entry.shown)
    }

    /// The line of one address.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&Neighbour> {
        self.entries.get(&address).map(|entry| &entry.shown)
    }

    /// What the table has seen and done.
    #[must_use]
    pub const fn counters(&self) -> NeighbourCounters {
        self.counters
    }

    /// Forgets everything, as `ip neigh flush` or a reboot does. Waiting packets are dropped.
    pub fn flush(&mut self) {
        self.counters.dropped += self.entries.values().map(|entry| entry.waiting.len() as u64).sum::<u64>();
        self.entries.clear();
        self.timers.clear();
    }

    /// Sends a packet to the neighbour `hop`, now or once it has answered. The first [`ETHERNET_HEADER`] bytes of
    /// `packet` are room for the header; an IPv4 or IPv6 packet follows.
    pub fn output(&mut self, now: Instant, hop: IpAddr, mut packet: Vec<u8>) {
        if self.entries.get(&hop).is_none_or(|entry| entry.shown.state != NeighbourState::Reachable) {
            self.use_unconfirmed(now, hop);
        }
        let Some(entry) = self.entries.get_mut(&hop) else {
            self.counters.dropped += 1;
            return;
        };
        match entry.shown.mac.filter(|_| entry.shown.state.is_valid()) {
            Some(destination) => {
                write_header(&mut packet, destination, self.mac, hop);
                self.frames.push_back(packet);
            }
            None => {
                if entry.waiting.len() >= QUEUE {
                    entry.waiting.pop_front();
                    self.counters.dropped += 1;
                }
                entry.waiting.push_back(packet);
            }
        }
    }

    /// Runs the timers that are due: probes, retries, ageing.
    pub fn poll(&mut self, now: Instant) {
        while let Some((at, address)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.expire(now, address);
        }
    }

    /// The next frame to send, oldest first.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// When to call [`NeighbourTable::poll`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| IpAddr::from(own.address()) == address)
    }

    /// Whether `address` lies in a subnet of the station.
    fn is_on_link(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.contains_addr(&address.into()))
    }

    /// Which of the station's addresses asks for `target`: one of its subnet, else the first of its family.
    fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let family = |own: &&IpCidr| IpAddr::from(own.address()).is_ipv4() == target.is_ipv4();
        let near = self.own.iter().find(|own| own.contains_addr(&target.into()));
        near.or_else(|| self.own.iter().find(family)).map(|own| own.address().into())
    }

    fn set_timer(&mut self, address: IpAddr, at: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        if let Some(old) = std::mem::replace(&mut entry.timer, at) {
            self.timers.remove(&(old, address));
        }
        if let Some(at) = at {
            self.timers.insert((at, address));
        }
    }

    /// An entry about which nothing is known yet. When the table is full the one unchanged for longest makes room.
    fn create(&mut self, now: Instant, address: IpAddr) {
        if self.entries.len() >= CAPACITY {
            let oldest = self.entries.values().min_by_key(|entry| (entry.shown.updated, entry.shown.address));
            if let Some(victim) = oldest.map(|entry| entry.shown.address) {
                self.forget(victim);
            }
        }
        let shown = Neighbour { address, mac: None, state: NeighbourState::Failed, since: now, updated: now };
        // Long enough ago to count as never.
        let never = now - Duration::from_secs(24 * 3600);
        let waiting = VecDeque::new();
        let entry = Entry { shown, confirmed: never, used: never, probes: 0, timer: None, waiting };
        self.entries.insert(address, entry);
    }

    fn forget(&mut self, address: IpAddr) {
        self.set_timer(address, None);
        if let Some(entry) = self.entries.remove(&address) {
            self.counters.dropped += entry.waiting.len() as u64;
        }
    }
}

/// Fills in the Ethernet header in front of an IP packet.
pub(super) fn write_header(
    packet: &mut [u8],
    destination: EthernetAddress,
    source: EthernetAddress,
    hop: IpAddr,
) {
    let ethertype: u16 = if hop.is_ipv4() { 0x0800 } else { 0x86dd };
    packet[0..6].copy_from_slice(destination.as_bytes());
    packet[6..12].copy_from_slice(source.as_bytes());
    packet[12..ETHERNET_HEADER].copy_from_slice(&ethertype.to_be_bytes());
}

#[cfg(test)]
mod tests;
