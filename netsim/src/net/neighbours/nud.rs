//! Neighbour unreachability detection: the state machine behind every entry, as in the kernel's `neigh_update`,
//! `neigh_event_send` and `neigh_timer_handler`.

use std::mem;
use std::net::IpAddr;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::EthernetAddress;

use super::model::Ageing;
use super::{NeighbourState, NeighbourTable};
use crate::net::random::Stream;

/// `base_reachable_time`: the mean of how long a confirmation counts.
const BASE_REACHABLE: Duration = Duration::from_secs(30);
/// How often the kernel draws a new reachable time (`neigh_periodic_work`).
const REDRAW_REACHABLE: Duration = Duration::from_secs(300);
/// `delay_first_probe_time`.
const DELAY_FIRST_PROBE: Duration = Duration::from_secs(5);
/// `retrans_time`.
const RETRANSMIT: Duration = Duration::from_secs(1);
/// `ucast_solicit`: probes of a neighbour that is known.
const UNICAST_PROBES: u8 = 3;
/// `mcast_solicit`: questions to everybody about one that is not.
const BROADCAST_PROBES: u8 = 3;

/// How much a frame may do to an entry that already has another hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Override {
    /// Replace the address.
    Yes,
    /// Leave it alone.
    No,
    /// Keep it, but doubt it if it was confirmed (NDP without the override flag).
    Weak,
}

/// The kernel draws how long a confirmation counts once for all neighbours of an interface and family.
#[derive(Debug)]
pub(super) struct ReachableTime {
    stream: Stream,
    current: Duration,
    redraw: Option<Instant>,
}

impl ReachableTime {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, current: BASE_REACHABLE, redraw: None }
    }

    fn get(&mut self, now: Instant) -> Duration {
        if self.redraw.is_none_or(|at| at <= now) {
            let base = BASE_REACHABLE.total_micros();
            self.current = Duration::from_micros(base / 2 + self.stream.below(base));
            self.redraw = Some(now + REDRAW_REACHABLE);
        }
        self.current
    }
}

impl NeighbourTable {
    /// Says that a higher layer has proof that `address` is there, as TCP does when its peer acknowledges.
    pub fn confirm(&mut self, now: Instant, address: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&address)
            && entry.shown.state.is_valid()
        {
            entry.confirmed = now;
        }
    }

    /// A frame says that `address` is at `mac` (or that it is there, without saying where). Does nothing if there is no
    /// entry. `neigh_update`.
    pub(super) fn update(
        &mut self,
        now: Instant,
        address: IpAddr,
        mac: Option<EthernetAddress>,
        wanted: NeighbourState,
        may: Override,
    ) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let (old, known) = (entry.shown.state, entry.shown.mac);
        let mut state = wanted;
        let Some(mut mac) = mac.or_else(|| known.filter(|_| old.is_valid())) else {
            self.counters.refused += 1;
            return;
        };
        if state == NeighbourState::Reachable {
            entry.confirmed = now;
        }
        if self.rules.no_op_moves_lock {
            entry.shown.updated = now;
        }
        if let Some(known) = known.filter(|_| old.is_valid()) {
            if known != mac {
                match may {
                    Override::Yes => self.counters.moved += 1,
                    Override::Weak if old == NeighbourState::Reachable => {
                        mac = known;
                        state = NeighbourState::Stale;
                    }
                    Override::Weak | Override::No => {
                        self.counters.refused += 1;
                        return;
                    }
                }
            } else if state == NeighbourState::Stale {
                state = old;
            }
        }
        self.settle(now, address, mac, state);
    }

    /// Writes what an update came to: address, state, timer; and lets waiting packets go.
    fn settle(&mut self, now: Instant, address: IpAddr, mac: EthernetAddress, wanted: NeighbourState) {
        let fixed = self.fixed_lifetime(address);
        let reachable = self.reachable_time(now, address);
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let shown = &mut entry.shown;
        let old = shown.state;
        let state = if fixed.is_some() { NeighbourState::Reachable } else { wanted };
        if state != old || shown.mac != Some(mac) {
            shown.updated = now;
        }
        if shown.mac != Some(mac) {
            shown.since = now;
            shown.mac = Some(mac);
            if state != NeighbourState::Reachable {
                entry.confirmed = now - BASE_REACHABLE * 2;
            }
        }
        shown.state = state;
        let waiting = if old.is_valid() { Default::default() } else { mem::take(&mut entry.waiting) };
        if let Some(lifetime) = fixed {
            self.set_timer(address, Some(now + lifetime));
        } else if state != old {
            let timer = (state == NeighbourState::Reachable).then_some(now + reachable);
            self.set_timer(address, timer);
        }
        for packet in waiting {
            self.output(now, address, packet);
        }
    }

    /// A packet wants to go to a neighbour that is not confirmed: ask, or get ready to. `neigh_event_send`.
    pub(super) fn use_unconfirmed(&mut self, now: Instant, address: IpAddr) {
        if !self.entries.contains_key(&address) {
            self.create(now, address);
        }
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.used = now;
        match entry.shown.state {
            NeighbourState::Failed => {
                // Unicast probes count as done: there is nobody to send them to.
                entry.probes = UNICAST_PROBES;
                entry.shown.mac = None;
                self.enter(now, address, NeighbourState::Incomplete, Some(now + RETRANSMIT));
                self.probe(address);
            }
            NeighbourState::Stale => {
                self.enter(now, address, NeighbourState::Delay, Some(now + DELAY_FIRST_PROBE));
            }
            _ => {}
        }
    }

    /// The timer of an entry has run out. `neigh_timer_handler`.
    pub(super) fn expire(&mut self, now: Instant, address: IpAddr) {
        let fixed = self.fixed_lifetime(address).is_some();
        let reachable = self.reachable_time(now, address);
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.timer = None;
        let (confirmed, used) = (entry.confirmed, entry.used);
        match entry.shown.state {
            NeighbourState::Reachable if fixed => self.forget(address),
            NeighbourState::Reachable => {
                if now < confirmed + reachable {
                    self.set_timer(address, Some(confirmed + reachable));
                } else if now <= used + DELAY_FIRST_PROBE {
                    self.enter(now, address, NeighbourState::Delay, Some(now + DELAY_FIRST_PROBE));
                } else {
                    self.enter(now, address, NeighbourState::Stale, None);
                }
            }
            NeighbourState::Delay if now <= confirmed + DELAY_FIRST_PROBE => {
                self.enter(now, address, NeighbourState::Reachable, Some(confirmed + reachable));
            }
            NeighbourState::Delay => {
                entry.probes = 0;
                self.enter(now, address, NeighbourState::Probe, Some(now + RETRANSMIT));
                self.probe(address);
            }
            NeighbourState::Probe => self.probe_again_or_give_up(now, address, UNICAST_PROBES),
            NeighbourState::Incomplete => {
                self.probe_again_or_give_up(now, address, UNICAST_PROBES + BROADCAST_PROBES);
            }
            NeighbourState::Stale | NeighbourState::Failed => {}
        }
    }

    fn probe_again_or_give_up(&mut self, now: Instant, address: IpAddr, limit: u8) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        if entry.probes < limit {
            self.set_timer(address, Some(now + RETRANSMIT));
            self.probe(address);
            return;
        }
        self.counters.dropped += entry.waiting.len() as u64;
        entry.waiting.clear();
        self.enter(now, address, NeighbourState::Failed, None);
    }

    fn enter(&mut self, now: Instant, address: IpAddr, state: NeighbourState, timer: Option<Instant>) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.shown.state = state;
            entry.shown.updated = now;
        }
        self.set_timer(address, timer);
    }

    /// Asks the neighbour itself while unicast probes are left, then everybody.
    fn probe(&mut self, address: IpAddr) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let unicast = entry.shown.mac.filter(|_| entry.probes < UNICAST_PROBES);
        entry.probes = entry.probes.saturating_add(1);
        let Some(source) = self.source_for(address) else { return };
        self.counters.asked += 1;
        match (address, source) {
            (IpAddr::V4(target), IpAddr::V4(source)) => self.ask_arp(target, source, unicast),
            (IpAddr::V6(target), IpAddr::V6(source)) => self.ask_ndp(target, source, unicast),
            _ => {}
        }
    }

    fn fixed_lifetime(&self, address: IpAddr) -> Option<Duration> {
        match self.rules.ageing {
            Ageing::Fixed(lifetime) if address.is_ipv4() => Some(lifetime),
            _ => None,
        }
    }

    fn reachable_time(&mut self, now: Instant, address: IpAddr) -> Duration {
        self.reachable[usize::from(address.is_ipv6())].get(now)
    }
}
