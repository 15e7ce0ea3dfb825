//! Who asked lately for an address: the neighbours to tell first when it moves.
//!
//! Requests are broadcast, and every speaker joins the groups that
//! solicitations are sent to, so that it hears also those for addresses that
//! another node owns. That is what makes the list useful after a takeover.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::Time;

use crate::interface::{InterfaceId, MacAddr};

/// The most requesters remembered for one address; the longest silent goes.
pub(crate) const MAX_PER_ADDRESS: usize = 64;
/// The most requesters remembered in all.
pub(crate) const MAX_IN_ALL: usize = 8_192;
/// A requester that has been silent for longer has asked someone else or has gone.
const MAX_AGE: Duration = Duration::from_secs(600);
/// An entry no older than this is not written again: asking often costs nothing.
const FRESH: Duration = Duration::from_secs(1);

/// A neighbour that asked for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) ip: IpAddr,
    pub(crate) mac: MacAddr,
    pub(crate) interface: InterfaceId,
}

/// Recent requesters by address, the longest silent forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Requesters {
    entries: BTreeMap<(IpAddr, IpAddr), Entry>,
    /// By address and age.
    by_age: BTreeMap<IpAddr, BTreeMap<u64, IpAddr>>,
    /// By age over all addresses: (address, requester).
    oldest: BTreeMap<u64, (IpAddr, IpAddr)>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    mac: MacAddr,
    interface: InterfaceId,
    heard: Time,
    sequence: u64,
}

impl Requesters {
    /// Notes that `requester` asked for `address`.
    pub(crate) fn heard(&mut self, now: Time, address: IpAddr, requester: Requester) {
        let key = (address, requester.ip);
        if let Some(entry) = self.entries.get(&key)
            && (entry.mac, entry.interface) == (requester.mac, requester.interface)
            && now.since(entry.heard) < FRESH
        {
            return;
        }
        self.remove(key);
        if self.by_age.get(&address).is_some_and(|of_address| of_address.len() >= MAX_PER_ADDRESS)
            && let Some(ip) = self.by_age.get(&address).and_then(|of| of.values().next()).copied()
        {
            self.remove((address, ip));
        }
        if self.entries.len() >= MAX_IN_ALL
            && let Some(key) = self.oldest.values().next().copied()
        {
            self.remove(key);
        }
        self.sequence += 1;
        let sequence = self.sequence;
        self.entries
            .insert(key, Entry { mac: requester.mac, interface: requester.interface, heard: now, sequence });
        self.by_age.entry(address).or_default().insert(sequence, requester.ip);
        self.oldest.insert(sequence, key);
    }

    /// The requesters of `address` on `interface` within the last ten minutes, the
    /// latest first.
    pub(crate) fn recent(
        &self,
        now: Time,
        address: IpAddr,
        interface: InterfaceId,
    ) -> impl Iterator<Item = Requester> {
        let of_address = self.by_age.get(&address).into_iter().flat_map(|of| of.values().rev());
        of_address.filter_map(move |ip| self.get(now, address, *ip).filter(|a| a.interface == interface))
    }

    /// One requester of `address`, if it asked within the last ten minutes.
    pub(crate) fn get(&self, now: Time, address: IpAddr, ip: IpAddr) -> Option<Requester> {
        let entry = self.entries.get(&(address, ip))?;
        let recent = now.since(entry.heard) <= MAX_AGE;
        recent.then_some(Requester { ip, mac: entry.mac, interface: entry.interface })
    }

    /// When anybody last asked for `address`.
    pub(crate) fn last_heard(&self, address: IpAddr) -> Option<Time> {
        let ip = self.by_age.get(&address)?.values().next_back()?;
        self.entries.get(&(address, *ip)).map(|entry| entry.heard)
    }

    /// Forgets everybody who asked for `address`: no Service has it any more.
    pub(crate) fn forget(&mut self, address: IpAddr) {
        for (sequence, ip) in self.by_age.remove(&address).unwrap_or_default() {
            self.oldest.remove(&sequence);
            self.entries.remove(&(address, ip));
        }
    }

    fn remove(&mut self, key: (IpAddr, IpAddr)) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.oldest.remove(&entry.sequence);
        if let Some(of_address) = self.by_age.get_mut(&key.0) {
            of_address.remove(&entry.sequence);
            if of_address.is_empty() {
                self.by_age.remove(&key.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: InterfaceId = InterfaceId(2);

    fn vip(last: u8) -> IpAddr {
        [172, 16, 16, last].into()
    }

    fn requester(number: u32) -> Requester {
        let [_, b, c, d] = number.to_be_bytes();
        Requester { ip: [10, b, c, d].into(), mac: MacAddr([2, 0, 0, b, c, d]), interface: ETH0 }
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn latest_first_and_64_for_an_address() {
        let mut requesters = Requesters::default();
        for number in 0..100 {
            requesters.heard(at(u64::from(number)), vip(1), requester(number));
        }
        let recent: Vec<Requester> = requesters.recent(at(100), vip(1), ETH0).collect();
        assert_eq!(recent.len(), MAX_PER_ADDRESS);
        assert_eq!(recent.first(), Some(&requester(99)));
        assert_eq!(recent.last(), Some(&requester(36)));
        assert_eq!(requesters.recent(at(100), vip(1), InterfaceId(9)).count(), 0);
        assert_eq!(requesters.recent(at(100), vip(2), ETH0).count(), 0);
    }

    #[test]
    fn in_all_8192_the_longest_silent_goes() {
        let mut requesters = Requesters::default();
        for last in 0..200 {
            for number in 0..50 {
                requesters.heard(at(u64::from(last)), vip(last), requester(number));
            }
        }
        assert_eq!(requesters.entries.len(), MAX_IN_ALL);
        assert_eq!(requesters.oldest.len(), MAX_IN_ALL);
        assert_eq!(requesters.by_age.values().map(BTreeMap::len).sum::<usize>(), MAX_IN_ALL);
        assert_eq!(requesters.recent(at(200), vip(0), ETH0).count(), 0);
        assert_eq!(requesters.recent(at(200), vip(199), ETH0).count(), 50);
    }

    #[test]
    fn ten_minutes_and_a_changed_mac() {
        let mut requesters = Requesters::default();
        requesters.heard(at(0), vip(1), requester(1));
        assert_eq!(requesters.recent(at(600), vip(1), ETH0).count(), 1);
        assert_eq!(requesters.recent(at(601), vip(1), ETH0).count(), 0);
        let moved = Requester { mac: MacAddr([2, 9, 9, 9, 9, 9]), ..requester(1) };
        requesters.heard(at(601), vip(1), moved);
        assert_eq!(requesters.recent(at(601), vip(1), ETH0).collect::<Vec<_>>(), [moved]);
        assert_eq!(requesters.last_heard(vip(1)), Some(at(601)));
        requesters.forget(vip(1));
        assert_eq!((requesters.entries.len(), requesters.oldest.len(), requesters.by_age.len()), (0, 0, 0));
    }

    #[test]
    fn an_requester_heard_again_becomes_the_latest() {
        let mut requesters = Requesters::default();
        requesters.heard(at(0), vip(1), requester(1));
        requesters.heard(at(1), vip(1), requester(2));
        requesters.heard(at(5), vip(1), requester(1));
        assert_eq!(requesters.recent(at(5), vip(1), ETH0).collect::<Vec<_>>(), [requester(1), requester(2)]);
    }
}
