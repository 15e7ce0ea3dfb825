//! What this node answers for: Services, their addresses, and on which interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::ServiceKey;

use super::drop_reason::DropReason;
use crate::interface::InterfaceSet;

/// One Service's address as this node announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement<'a> {
    /// The Service.
    pub service: &'a ServiceKey,
    /// The address.
    pub address: IpAddr,
    /// Where.
    pub interfaces: &'a InterfaceSet,
}

/// Whether an address is announced on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// By nobody here.
    NotAnnounced,
    /// On others only.
    OtherInterface,
    /// Yes.
    Announced,
}

impl Lookup {
    /// The reason for silence, unless the address is announced.
    pub(crate) const fn require(self) -> Result<(), DropReason> {
        match self {
            Self::NotAnnounced => Err(DropReason::NotAnnounced),
            Self::OtherInterface => Err(DropReason::OtherInterface),
            Self::Announced => Ok(()),
        }
    }
}

/// What a Service announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// In the order of the Service's status.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) interfaces: InterfaceSet,
}

/// All announcements of this node. An address stays as long as one Service
/// uses it (D77).
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    services: BTreeMap<ServiceKey, Announced>,
    addresses: BTreeMap<IpAddr, Shared>,
}

/// An address and the Services that share it.
#[derive(Debug)]
struct Shared {
    users: BTreeMap<ServiceKey, InterfaceSet>,
    /// The union over the users.
    interfaces: InterfaceSet,
}

impl Announcements {
    /// Records that `service` announces this and nothing else. Gives the
    /// addresses that are announced elsewhere than before, or anew, or no more.
    pub(crate) fn announce(&mut self, service: &ServiceKey, announced: Announced) -> BTreeSet<IpAddr> {
        if self.services.get(service) == Some(&announced) {
            return BTreeSet::new();
        }
        let mut changed = self.withdraw(service);
        for address in &announced.addresses {
            let interfaces = announced.interfaces.clone();
            let shared = self
                .addresses
                .entry(*address)
                .or_insert_with(|| Shared { users: BTreeMap::new(), interfaces: interfaces.clone() });
            shared.users.insert(service.clone(), interfaces);
            shared.merge();
            changed.insert(*address);
        }
        self.services.insert(service.clone(), announced);
        changed
    }

    /// Forgets what `service` announced. Gives its addresses: each is no longer
    /// announced, or on other interfaces, or as before by another Service.
    pub(crate) fn withdraw(&mut self, service: &ServiceKey) -> BTreeSet<IpAddr> {
        let Some(announced) = self.services.remove(service) else { return BTreeSet::new() };
        for address in &announced.addresses {
            let Some(shared) = self.addresses.get_mut(address) else { continue };
            shared.users.remove(service);
            if shared.users.is_empty() {
                self.addresses.remove(address);
            } else {
                shared.merge();
            }
        }
        announced.addresses.into_iter().collect()
    }

    /// What `service` announces, if anything.
    pub(crate) fn of(&self, service: &ServiceKey) -> Option<&Announced> {
        self.services.get(service)
    }

    /// The Services that announce anything.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.keys()
    }

    /// Where `address` is announced, if it is.
    pub(crate) fn interfaces(&self, address: IpAddr) -> Option<&InterfaceSet> {
        self.addresses.get(&address).map(|shared| &shared.interfaces)
    }

    /// Every address announced.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }

    /// Whether `address` is announced on the interface called `name`. The cost
    /// does not depend on how many are (W40), but for the depth of a tree.
    pub(crate) fn lookup(&self, address: IpAddr, name: &str) -> Lookup {
        match self.interfaces(address) {
            None => Lookup::NotAnnounced,
            Some(interfaces) if interfaces.contains(name) => Lookup::Announced,
            Some(_) => Lookup::OtherInterface,
        }
    }

    /// Every Service's every address, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Announcement<'_>> {
        self.services.iter().flat_map(|(service, announced)| {
            let interfaces = &announced.interfaces;
            announced.addresses.iter().map(move |&address| Announcement { service, address, interfaces })
        })
    }
}

impl Shared {
    fn merge(&mut self) {
        let none = InterfaceSet::Named(BTreeSet::new());
        self.interfaces = self.users.values().fold(none, InterfaceSet::union);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [172, 16, 16, last].into()
    }

    fn key(name: &str) -> ServiceKey {
        ServiceKey::new("default", name)
    }

    fn on(names: &[&str]) -> InterfaceSet {
        InterfaceSet::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn what(addresses: &[u8], interfaces: InterfaceSet) -> Announced {
        Announced { addresses: addresses.iter().copied().map(ip).collect(), interfaces }
    }

    #[test]
    fn h121_two_addresses_of_one_service() {
        let mut all = Announcements::default();
        assert_eq!(all.announce(&key("a"), what(&[1, 2], InterfaceSet::All)), BTreeSet::from([ip(1), ip(2)]));
        assert_eq!(all.lookup(ip(1), "eth0"), Lookup::Announced);
        assert_eq!(all.lookup(ip(2), "eth0"), Lookup::Announced);
        assert_eq!(all.lookup(ip(3), "eth0"), Lookup::NotAnnounced);
        assert_eq!(all.iter().count(), 2);
        all.withdraw(&key("a"));
        assert_eq!(all.addresses().count(), 0);
    }

    #[test]
    fn d77_h121_shared_address_stays_until_the_last_user_goes() {
        let mut all = Announcements::default();
        all.announce(&key("a"), what(&[1], InterfaceSet::All));
        all.announce(&key("b"), what(&[1], InterfaceSet::All));
        assert_eq!(all.iter().count(), 2);
        assert_eq!(all.addresses().count(), 1);
        all.withdraw(&key("a"));
        assert_eq!(all.lookup(ip(1), "eth0"), Lookup::Announced);
        all.withdraw(&key("b"));
        assert_eq!(all.lookup(ip(1), "eth0"), Lookup::NotAnnounced);
        assert_eq!(all.withdraw(&key("b")), BTreeSet::new(), "nothing left to withdraw");
    }

    #[test]
    fn d41_h118_interfaces_of_a_shared_address_are_those_of_all_its_services() {
        let mut all = Announcements::default();
        all.announce(&key("a"), what(&[1], on(&["eth0"])));
        assert_eq!(all.lookup(ip(1), "eth1"), Lookup::OtherInterface);
        all.announce(&key("b"), what(&[1], on(&["eth1"])));
        assert_eq!(all.lookup(ip(1), "eth0"), Lookup::Announced);
        assert_eq!(all.lookup(ip(1), "eth1"), Lookup::Announced);
        assert_eq!(all.lookup(ip(1), "eth2"), Lookup::OtherInterface);
        all.announce(&key("c"), what(&[1], InterfaceSet::All));
        assert_eq!(all.lookup(ip(1), "eth2"), Lookup::Announced);
        all.withdraw(&key("c"));
        all.withdraw(&key("a"));
        assert_eq!(all.interfaces(ip(1)), Some(&on(&["eth1"])));
    }

    #[test]
    fn w9_the_same_again_changes_nothing() {
        let mut all = Announcements::default();
        all.announce(&key("a"), what(&[1], on(&["eth0"])));
        assert_eq!(all.announce(&key("a"), what(&[1], on(&["eth0"]))), BTreeSet::new());
        assert_eq!(all.announce(&key("a"), what(&[2], on(&["eth0"]))), BTreeSet::from([ip(1), ip(2)]));
    }
}
