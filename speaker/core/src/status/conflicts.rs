//! Which conflicts over addresses have been told, so that each is told once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::Time;

use crate::interface::MacAddr;
use crate::wire::AddressConflict;

/// A claim that is heard again after this much silence is another conflict.
const OVER_AFTER: Duration = Duration::from_secs(600);
/// Another claimant of the same address is told of no sooner than this after the last:
/// hardware addresses can be made up.
const NEXT_CLAIMANT: Duration = Duration::from_secs(60);

/// The conflicts that go on, one for each address.
#[derive(Debug, Default)]
pub(super) struct Conflicts(BTreeMap<IpAddr, Told>);

#[derive(Debug)]
struct Told {
    /// Of whom.
    mac: MacAddr,
    interface: String,
    at: Time,
    /// When it was last heard.
    heard: Time,
}

impl Conflicts {
    /// A claim was heard. Gives whether it is news.
    pub(super) fn note(&mut self, now: Time, conflict: &AddressConflict) -> bool {
        // What is left is bounded by the addresses that are announced within this time.
        self.0.retain(|_, told| now.since(told.heard) < OVER_AFTER);
        let news = Told { mac: conflict.mac, interface: conflict.interface.clone(), at: now, heard: now };
        let Some(told) = self.0.get_mut(&conflict.address) else {
            self.0.insert(conflict.address, news);
            return true;
        };
        told.heard = now;
        let is_same = (told.mac, &told.interface) == (news.mac, &news.interface);
        if is_same || now.since(told.at) < NEXT_CLAIMANT {
            return false;
        }
        *told = news;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x17_each_conflict_is_news_once() {
        let mut conflicts = Conflicts::default();
        for (seconds, address, mac, interface, expected) in [
            (0, 1, 1, "eth0", true),
            (1, 1, 1, "eth0", false),
            (500, 1, 1, "eth0", false),
            (501, 2, 1, "eth0", true),
            // It stood for long, and goes on.
            (1_000, 1, 1, "eth0", false),
            (1_001, 1, 2, "eth0", true),
            (1_060, 1, 3, "eth0", false),
            (1_061, 1, 2, "eth1", true),
            (1_100, 1, 2, "eth1", false),
            (1_700, 1, 2, "eth1", true),
        ] {
            let conflict = AddressConflict {
                address: [172, 16, 16, address].into(),
                interface: interface.to_owned(),
                mac: MacAddr([2, 0, 0, 0, 0, mac]),
            };
            let now = Time::ZERO + Duration::from_secs(seconds);
            assert_eq!(conflicts.note(now, &conflict), expected, "at {seconds} s");
        }
    }
}
