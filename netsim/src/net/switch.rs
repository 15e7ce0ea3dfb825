//! A learning Ethernet switch, driven by events in virtual time.
//!
//! A station hands its frame to [`Switch::send`] and finds frames for it in [`Switch::poll`]. Between the two lie the
//! station's wire, the forwarding database, and the wire of every port the frame leaves by.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::EthernetAddress;

use super::pcap::{Capture, Direction};
use super::port::PortId;
use super::wire::{Cable, Delivery, OneWay, WireSettings};

/// Shorter frames have no source address and are dropped.
const ETHERNET_HEADER: usize = 14;

/// Entries a forwarding database holds, as in a small access switch; beyond it unknown addresses are flooded.
const FDB_CAPACITY: usize = 8192;

/// IEEE 802.1D's default: how long an address is remembered after its last frame.
pub const DEFAULT_AGEING: Duration = Duration::from_secs(300);

/// The VLAN of a port that was never put into another one.
pub const DEFAULT_VLAN: u16 = 1;

/// How long a port of classic spanning tree listens and learns after link-up before it forwards (IEEE 802.1D: twice 15 s).
pub const SPANNING_TREE_DELAY: Duration = Duration::from_secs(30);

/// One line of the forwarding database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The station's address.
    pub mac: EthernetAddress,
    /// Where it was seen last.
    pub port: PortId,
    /// When it was seen last.
    pub seen: Instant,
}

/// What the switch has done so far, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Sent to the one port where the destination was known to be.
    pub forwarded: u64,
    /// Sent to all other ports: broadcast, multicast or unknown destination.
    pub flooded: u64,
    /// Not sent anywhere: the destination is behind the port the frame came from, or the port does not forward yet.
    pub filtered: u64,
    /// Too short, or with a source address that no station may have.
    pub malformed: u64,
    /// Stations that appeared at another port than before.
    pub moved: u64,
}

/// The switch, its ports and the frames under way on its wires.
#[derive(Debug)]
pub struct Switch {
    seed: u64,
    ports: Vec<Port>,
    fdb: BTreeMap<[u8; 6], FdbEntry>,
    ageing: Duration,
    forwarding_delay: Duration,
    under_way: BinaryHeap<Reverse<Transit>>,
    sequence: u64,
    counters: SwitchCounters,
    capture: Option<Capture>,
}

#[derive(Debug)]
struct Port {
    name: String,
    wire: Cable,
    up: bool,
    /// Counts link losses: a frame sent before the last one is gone.
    link: u64,
    forwards_from: Instant,
    vlan: u16,
}

/// A frame under way. Ordered by time, then by the order in which frames were sent.
#[derive(Debug)]
struct Transit {
    at: Instant,
    sequence: u64,
    port: PortId,
    link: u64,
    direction: Direction,
    frame: Vec<u8>,
}

impl Transit {
    const fn key(&self) -> (Instant, u64) {
        (self.at, self.sequence)
    }
}

impl PartialEq for Transit {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Transit {}

impl PartialOrd for Transit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Transit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Switch {
    /// A switch without ports. All its wires draw from streams of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ports: Vec::new(),
            fdb: BTreeMap::new(),
            ageing: DEFAULT_AGEING,
            forwarding_delay: Duration::ZERO,
            under_way: BinaryHeap::new(),
            sequence: 0,
            counters: SwitchCounters::default(),
            capture: None,
        }
    }

    /// How long an address is remembered; [`DEFAULT_AGEING`] if never set.
    pub fn set_ageing(&mut self, ageing: Duration) {
        self.ageing = ageing;
    }

    /// How long a port drops frames after link-up, without learning from them; zero if never set. See
    /// [`SPANNING_TREE_DELAY`]. Holds for the next link-up.
    pub fn set_forwarding_delay(&mut self, delay: Duration) {
        self.forwarding_delay = delay;
    }

    /// Adds a port, up and forwarding, with a wire. `name` shows in captures and names the wire's random streams, so it
    /// should be unique.
    pub fn add_port(&mut self, name: &str, settings: WireSettings) -> PortId {
        let id = PortId(self.ports.len());
        let wire = Cable::new(self.seed, name, settings);
        self.ports.push(Port {
            name: name.to_owned(),
            wire,
            up: true,
            link: 0,
            forwards_from: Instant::from_micros_const(i64::MIN),
            vlan: DEFAULT_VLAN,
        });
        if let Some(capture) = &mut self.capture {
            capture.add_port(name);
        }
        id
    }

    /// Makes the port an access port of a VLAN (IEEE 802.1Q): its station hears those of the same one only. Frames carry
    /// no tag. Set it before frames flow: addresses are learned for all VLANs together.
    pub fn set_vlan(&mut self, port: PortId, vlan: u16) {
        self.ports[port.0].vlan = vlan;
    }

    /// All ports, in order.
    pub fn ports(&self) -> impl ExactSizeIterator<Item = PortId> + use<> {
        (0..self.ports.len()).map(PortId)
    }

    /// The name given to [`Switch::add_port`].
    ///
    /// # Panics
    /// Here and below: if the port belongs to another switch.
    #[must_use]
    pub fn port_name(&self, port: PortId) -> &str {
        &self.ports[port.0].name
    }

    /// The wire of a port, to read its counters.
    #[must_use]
    pub fn wire(&self, port: PortId) -> &Cable {
        &self.ports[port.0].wire
    }

    /// The wire of a port, to change what it does to frames.
    pub fn wire_mut(&mut self, port: PortId) -> &mut Cable {
        &mut self.ports[port.0].wire
    }

    /// Whether the port has a link.
    #[must_use]
    pub fn port_is_up(&self, port: PortId) -> bool {
        self.ports[port.0].up
    }

    /// Takes the link of a port away or gives it back. Frames under way on its wire are lost, and what was learned at the
    /// port is forgotten.
    pub fn set_port_up(&mut self, now: Instant, port: PortId, up: bool) {
        let forwarding_delay = self.forwarding_delay;
        let changed = &mut self.ports[port.0];
        if changed.up == up {
            return;
        }
        changed.up = up;
        if up {
            changed.forwards_from = now + forwarding_delay;
        } else {
            changed.link += 1;
            self.fdb.retain(|_, entry| entry.port != port);
        }
    }

    /// A station puts a frame on its wire.
    pub fn send(&mut self, now: Instant, port: PortId, frame: Vec<u8>) {
        if let Some(capture) = &mut self.capture {
            capture.record(now, port, Direction::ToSwitch, &frame);
        }
        self.put(now, port, Direction::ToSwitch, frame);
    }

    /// The next frame that has arrived at a station by `now`, with the station's port. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<(PortId, Vec<u8>)> {
        while self.under_way.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Reverse(transit) = self.under_way.pop()?;
            let port = &mut self.ports[transit.port.0];
            let lane = one_way(&mut port.wire, transit.direction);
            if transit.link != port.link {
                lane.count_cut_under_way();
                continue;
            }
            lane.count_delivered();
            match transit.direction {
                Direction::ToSwitch => self.switch(transit.at, transit.port, transit.frame),
                Direction::ToStation => {
                    if let Some(capture) = &mut self.capture {
                        capture.record(transit.at, transit.port, Direction::ToStation, &transit.frame);
                    }
                    return Some((transit.port, transit.frame));
                }
            }
        }
        None
    }

    /// When to call [`Switch::poll`] next; `None` while no frame is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(next)| next.at)
    }

    /// The forwarding database as of `now`, by address.
    pub fn fdb(&self, now: Instant) -> impl Iterator<Item = &FdbEntry> {
        self.fdb.values().filter(move |entry| now - entry.seen < self.ageing)
    }

    /// Forgets every address, as a topology change does.
    pub fn flush_fdb(&mut self) {
        self.fdb.clear();
    }

    /// What the switch has done so far.
    #[must_use]
    pub const fn counters(&self) -> SwitchCounters {
        self.counters
    }

    /// Starts to record what the stations of the given ports send and hear; all ports if the list is empty. Replaces an
    /// earlier capture.
    pub fn start_capture(&mut self, ports: &[PortId]) {
        let names = self.ports.iter().map(|port| port.name.as_str());
        self.capture = Some(Capture::new(names, ports));
    }

    /// What has been recorded so far, if anything was asked for.
    #[must_use]
    pub const fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    /// Stops recording and hands the record over.
    pub const fn take_capture(&mut self) -> Option<Capture> {
        self.capture.take()
    }

    /// Learns from a frame that has come in by `port` and sends it on.
    fn switch(&mut self, now: Instant, port: PortId, frame: Vec<u8>) {
        let Some((destination, source)) = addresses(&frame) else {
            self.counters.malformed += 1;
            return;
        };
        if self.ports[port.0].forwards_from > now {
            self.counters.filtered += 1;
            return;
        }
        self.learn(now, port, source);
        let known = self
            .fdb
            .get(&destination.0)
            .filter(|entry| now - entry.seen < self.ageing)
            .map(|entry| entry.port);
        match known.filter(|_| destination.is_unicast()) {
            Some(out) if out == port || !self.connects(now, port, out) => self.counters.filtered += 1,
            Some(out) => {
                self.counters.forwarded += 1;
                self.put(now, out, Direction::ToStation, frame);
            }
            None => self.flood(now, port, frame),
        }
    }

    fn learn(&mut self, now: Instant, port: PortId, mac: EthernetAddress) {
        let entry = FdbEntry { mac, port, seen: now };
        if let Some(known) = self.fdb.get_mut(&mac.0) {
            if known.port != port && now - known.seen < self.ageing {
                self.counters.moved += 1;
            }
            *known = entry;
            return;
        }
        if self.fdb.len() >= FDB_CAPACITY {
            let ageing = self.ageing;
            self.fdb.retain(|_, entry| now - entry.seen < ageing);
        }
        if self.fdb.len() < FDB_CAPACITY {
            self.fdb.insert(mac.0, entry);
        }
    }

    fn flood(&mut self, now: Instant, from: PortId, frame: Vec<u8>) {
        self.counters.flooded += 1;
        let mut last = None;
        for out in self.ports() {
            if out == from || !self.connects(now, from, out) {
                continue;
            }
            if let Some(previous) = last.replace(out) {
                self.put(now, previous, Direction::ToStation, frame.clone());
            }
        }
        if let Some(last) = last {
            self.put(now, last, Direction::ToStation, frame);
        }
    }

    /// Whether what comes in by `from` may leave by `out`.
    fn connects(&self, now: Instant, from: PortId, out: PortId) -> bool {
        let vlan = self.ports[from.0].vlan;
        let out = &self.ports[out.0];
        out.up && out.forwards_from <= now && out.vlan == vlan
    }

    /// Puts a frame on one direction of a wire.
    fn put(&mut self, now: Instant, port: PortId, direction: Direction, mut frame: Vec<u8>) {
        let target = &mut self.ports[port.0];
        let (link, down) = (target.link, !target.up);
        match one_way(&mut target.wire, direction).carry(now, down, &mut frame) {
            Delivery::Lost => {}
            Delivery::Once(at) => self.launch(at, port, link, direction, frame),
            Delivery::Twice(at) => {
                self.launch(at, port, link, direction, frame.clone());
                self.launch(at, port, link, direction, frame);
            }
        }
    }

    fn launch(&mut self, at: Instant, port: PortId, link: u64, direction: Direction, frame: Vec<u8>) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.under_way.push(Reverse(Transit { at, sequence, port, link, direction, frame }));
    }
}

const fn one_way(wire: &mut Cable, direction: Direction) -> &mut OneWay {
    match direction {
        Direction::ToSwitch => &mut wire.to_switch,
        Direction::ToStation => &mut wire.to_station,
    }
}

/// Destination and source of a frame, unless no station can have sent it.
fn addresses(frame: &[u8]) -> Option<(EthernetAddress, EthernetAddress)> {
    if frame.len() < ETHERNET_HEADER {
        return None;
    }
    let destination = EthernetAddress::from_bytes(&frame[0..6]);
    let source = EthernetAddress::from_bytes(&frame[6..12]);
    (source.is_unicast() && source.0 != [0; 6]).then_some((destination, source))
}

#[cfg(test)]
mod tests;
