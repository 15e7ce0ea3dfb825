//! Which multicast groups are listened to where: solicitations for an address
//! are sent to a group of its own (RFC 4291 2.7.1), not to all.
//!
//! An announced address needs its group (D61). The groups of addresses that
//! other nodes own are joined too, as far as there is room: who asks for them is
//! told first if this node takes over, and a switch that snoops has its port in
//! the group already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use crate::effect::Effect;
use crate::interface::InterfaceId;
use crate::interface::InterfaceSet;
use crate::wire::ndp::solicited_node;

/// The most addresses listened to that other nodes own. Each costs a report to
/// the routers every two minutes, and a place in the NIC's filter.
pub(crate) const MAX_OVERHEARD: usize = 256;

/// All memberships of a node.
#[derive(Debug, Default)]
pub(crate) struct MulticastGroups {
    /// Those that can announce IPv6, by name.
    interfaces: BTreeMap<InterfaceId, String>,
    announced: BTreeMap<Ipv6Addr, InterfaceSet>,
    overheard: BTreeMap<Ipv6Addr, InterfaceSet>,
    /// Those that there is no room for.
    waiting: BTreeMap<Ipv6Addr, InterfaceSet>,
    /// With the addresses that need each; none is empty.
    joined: BTreeMap<(InterfaceId, Ipv6Addr), BTreeSet<Ipv6Addr>>,
    changes: VecDeque<Effect>,
}

impl MulticastGroups {
    /// Takes the interfaces that can announce IPv6 now. One that is new joins
    /// everything that was there before it (W11).
    pub(crate) fn set_interfaces(&mut self, interfaces: BTreeMap<InterfaceId, String>) {
        if self.interfaces == interfaces {
            return;
        }
        let known: BTreeSet<InterfaceId> = self.interfaces.keys().copied().collect();
        self.interfaces = interfaces;
        let addresses: BTreeSet<Ipv6Addr> =
            self.announced.keys().chain(self.overheard.keys()).copied().collect();
        for address in addresses {
            for id in &known {
                self.refresh(address, *id);
            }
            self.refresh_all(address);
        }
    }

    /// This node announces `address` on these interfaces; `None`: no longer.
    pub(crate) fn set_announced(&mut self, address: Ipv6Addr, on: Option<&InterfaceSet>) {
        match on {
            Some(on) => self.announced.insert(address, on.clone()),
            None => self.announced.remove(&address),
        };
        self.refresh_all(address);
    }

    /// A Service has `address`, whoever announces it; this node would do it on
    /// these interfaces.
    pub(crate) fn overhear(&mut self, address: Ipv6Addr, on: &InterfaceSet) {
        let has_room = self.overheard.len() < MAX_OVERHEARD || self.overheard.contains_key(&address);
        let place = if has_room { &mut self.overheard } else { &mut self.waiting };
        place.insert(address, on.clone());
        self.refresh_all(address);
    }

    /// No Service has `address` any more.
    pub(crate) fn forget(&mut self, address: Ipv6Addr) {
        self.waiting.remove(&address);
        if self.overheard.remove(&address).is_none() {
            return;
        }
        self.refresh_all(address);
        if let Some((next, on)) = self.waiting.pop_first() {
            self.overhear(next, &on);
        }
    }

    /// The next thing to do, oldest first.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.changes.pop_front()
    }

    fn refresh_all(&mut self, address: Ipv6Addr) {
        let ids: Vec<InterfaceId> = self.interfaces.keys().copied().collect();
        for id in ids {
            self.refresh(address, id);
        }
    }

    /// Makes what is joined on one interface for `address` what it should be.
    fn refresh(&mut self, address: Ipv6Addr, interface: InterfaceId) {
        let group = solicited_node(address);
        let key = (interface, group);
        let wanted = self.interfaces.get(&interface).is_some_and(|name| {
            let sets = [self.announced.get(&address), self.overheard.get(&address)];
            sets.into_iter().flatten().any(|on| on.contains(name))
        });
        let users = self.joined.entry(key).or_default();
        let was_joined = !users.is_empty();
        if wanted {
            users.insert(address);
        } else {
            users.remove(&address);
        }
        let is_joined = !users.is_empty();
        if !is_joined {
            self.joined.remove(&key);
        }
        match (was_joined, is_joined) {
            (false, true) => self.changes.push_back(Effect::JoinGroup { interface, group }),
            (true, false) => self.changes.push_back(Effect::LeaveGroup { interface, group }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: InterfaceId = InterfaceId(2);
    const ETH1: InterfaceId = InterfaceId(3);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    fn interfaces(names: &[(InterfaceId, &str)]) -> BTreeMap<InterfaceId, String> {
        names.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
    }

    fn on_eth0() -> MulticastGroups {
        let mut groups = MulticastGroups::default();
        groups.set_interfaces(interfaces(&[(ETH0, "eth0")]));
        groups
    }

    fn join(interface: InterfaceId, group: &str) -> Effect {
        Effect::JoinGroup { interface, group: ip(group) }
    }

    fn leave(interface: InterfaceId, group: &str) -> Effect {
        Effect::LeaveGroup { interface, group: ip(group) }
    }

    fn changes(groups: &mut MulticastGroups) -> Vec<Effect> {
        std::iter::from_fn(|| groups.poll()).collect()
    }

    #[test]
    fn d61_a_group_is_left_with_the_last_address_in_it() {
        let mut groups = on_eth0();
        groups.set_announced(ip("fd00::1:0:1"), Some(&InterfaceSet::All));
        assert_eq!(changes(&mut groups), [join(ETH0, "ff02::1:ff00:1")]);
        groups.set_announced(ip("fd00::2:0:1"), Some(&InterfaceSet::All));
        groups.overhear(ip("fd00::1:0:1"), &InterfaceSet::All);
        assert_eq!(changes(&mut groups), []);
        groups.set_announced(ip("fd00::2:0:1"), None);
        groups.set_announced(ip("fd00::1:0:1"), None);
        assert_eq!(changes(&mut groups), [], "it is still listened to");
        groups.forget(ip("fd00::1:0:1"));
        assert_eq!(changes(&mut groups), [leave(ETH0, "ff02::1:ff00:1")]);
        assert!(groups.joined.is_empty());
    }

    #[test]
    fn w11_interfaces_that_come_later_join_and_those_that_go_are_left() {
        let mut groups = on_eth0();
        groups.set_announced(ip("fd00::1"), Some(&InterfaceSet::All));
        groups.overhear(ip("fd00::2"), &InterfaceSet::Named(["eth1".to_owned()].into()));
        assert_eq!(changes(&mut groups), [join(ETH0, "ff02::1:ff00:1")]);
        groups.set_interfaces(interfaces(&[(ETH0, "eth0"), (ETH1, "eth1")]));
        assert_eq!(changes(&mut groups), [join(ETH1, "ff02::1:ff00:1"), join(ETH1, "ff02::1:ff00:2")]);
        groups.set_interfaces(interfaces(&[(ETH0, "eth0"), (ETH1, "eth9")]));
        assert_eq!(changes(&mut groups), [leave(ETH1, "ff02::1:ff00:2")], "renamed");
        groups.set_interfaces(interfaces(&[(ETH1, "eth1")]));
        let expected = [leave(ETH0, "ff02::1:ff00:1"), join(ETH1, "ff02::1:ff00:2")];
        assert_eq!(changes(&mut groups), expected);
        groups.set_interfaces(BTreeMap::new());
        assert_eq!(changes(&mut groups), [leave(ETH1, "ff02::1:ff00:1"), leave(ETH1, "ff02::1:ff00:2")]);
    }

    #[test]
    fn others_addresses_are_listened_to_as_long_as_there_is_room() {
        let mut groups = on_eth0();
        let number = |n: usize| Ipv6Addr::from(0xfd00_u128 << 112 | n as u128);
        for n in 0..=MAX_OVERHEARD {
            groups.overhear(number(n), &InterfaceSet::All);
        }
        assert_eq!(changes(&mut groups).len(), MAX_OVERHEARD);
        groups.set_announced(number(MAX_OVERHEARD), Some(&InterfaceSet::All));
        assert_eq!(changes(&mut groups).len(), 1, "one's own always has room");
        groups.set_announced(number(MAX_OVERHEARD), None);
        groups.forget(number(7));
        let group = |n| solicited_node(number(n));
        let expected = [
            Effect::LeaveGroup { interface: ETH0, group: group(MAX_OVERHEARD) },
            Effect::LeaveGroup { interface: ETH0, group: group(7) },
            Effect::JoinGroup { interface: ETH0, group: group(MAX_OVERHEARD) },
        ];
        assert_eq!(changes(&mut groups), expected);
    }
}
