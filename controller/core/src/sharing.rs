//! When two Services may have one address (C50 to C55).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ferrolb_api::address::{from_number, number};
use ferrolb_api::annotations::ALLOW_SHARED_IP;
use ferrolb_api::service::{Port, TrafficPolicy};
use ferrolb_api::{AddressRange, IpFamily, Service, ServiceKey};
use rangemap::RangeInclusiveSet;

/// What a Service brings into an address that it may share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharingSpec {
    /// With whom it shares; `None` shares with nobody.
    pub(crate) group: Option<SharingGroup>,
    /// Its ports (C55).
    pub(crate) ports: BTreeSet<Port>,
}

/// Services with the same group may share addresses, ports permitting (C50).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharingGroup {
    /// The sharing key, never empty; it spans namespaces (C51).
    key: String,
    /// The backend key: where traffic must arrive (C52).
    backend: Backend,
}

/// Where the traffic of a Service must arrive (C52). In MetalLB a `Local` Service without
/// a selector has the key of `Cluster`; but the nodes of its endpoints, which somebody
/// writes by hand, need not be those of the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    /// Anywhere.
    Cluster,
    /// At the Pods of this selector, sorted by key.
    Local(String),
}

impl SharingGroup {
    /// The first of the groups that have its key.
    pub(crate) fn first_of_key(&self) -> Self {
        Self { key: self.key.clone(), backend: Backend::Cluster }
    }

    /// Whether the two differ in their backends at most.
    pub(crate) fn has_key_of(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl SharingSpec {
    /// What `service` brings.
    pub(crate) fn of(service: &Service) -> Self {
        let key = service.annotations.allow_shared_ip.clone().filter(|key| !key.is_empty());
        let group = key.map(|key| SharingGroup { key, backend: backend_key(service) });
        Self { group, ports: service.ports.iter().cloned().collect() }
    }
}

fn backend_key(service: &Service) -> Backend {
    match service.traffic_policy {
        TrafficPolicy::Cluster => Backend::Cluster,
        TrafficPolicy::Local => {
            let parts: Vec<String> =
                service.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Backend::Local(parts.join(","))
        }
    }
}

/// Why an address cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SharingConflict {
    /// C50: another Service has it, and the two do not share.
    #[error("{address} is used by {other}, and the two do not share it: {why}")]
    Occupied {
        /// The address.
        address: IpAddr,
        /// Who has it.
        other: ServiceKey,
        /// What is between them.
        why: Box<SharingMismatch>,
    },
    /// C50: the two would share, but for a port.
    #[error("{address} is shared by {other}, which uses port {}", Shown(.port))]
    Port {
        /// The address.
        address: IpAddr,
        /// Who has the port.
        other: ServiceKey,
        /// The port.
        port: Port,
    },
    /// Another Service that shares it has been edited, and whether it may stay is not decided.
    #[error("{address} is shared by {other}, which has just been edited: trying again in a moment")]
    Unsettled {
        /// The address.
        address: IpAddr,
        /// Who has been edited.
        other: ServiceKey,
    },
    /// The status of another Service still carries it.
    #[error("{address} is still in the status of {other}")]
    PendingRelease {
        /// The address.
        address: IpAddr,
        /// Who is about to lose it.
        other: ServiceKey,
    },
}

impl SharingConflict {
    /// Whether an edit of the other Service may end it, as when both were edited by one `kubectl apply`.
    pub(crate) fn may_settle(&self) -> bool {
        match self {
            Self::Occupied { why, .. } => {
                matches!(**why, SharingMismatch::Keys { .. } | SharingMismatch::Backends { .. })
            }
            Self::Port { .. } => true,
            Self::Unsettled { .. } | Self::PendingRelease { .. } => false,
        }
    }
}

/// Why two Services do not share an address, whatever their ports are (C50 to C52).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SharingMismatch {
    /// C51
    #[error("it has no annotation {ALLOW_SHARED_IP}")]
    NoKey,
    /// C51
    #[error("the other has no annotation {ALLOW_SHARED_IP}")]
    OtherHasNoKey,
    /// C51
    #[error("{ALLOW_SHARED_IP} is {own:?} here and {other:?} there")]
    Keys {
        /// The key of the Service that wants the address.
        own: String,
        /// That of the one that has it.
        other: String,
    },
    /// C52
    #[error(
        "{ALLOW_SHARED_IP} is the same, but externalTrafficPolicy is {} here and {} there; \
         it must be Cluster for both, or Local for both with one selector, so that one node can serve both",
        .own, .other
    )]
    Backends {
        /// The backend key of the Service that wants the address.
        own: Backend,
        /// That of the one that has it.
        other: Backend,
    },
}

impl SharingMismatch {
    /// What keeps Services of `own` and `other` apart; `None` if nothing does.
    fn between(own: Option<&SharingGroup>, other: Option<&SharingGroup>) -> Option<Self> {
        match (own, other) {
            (None, _) => Some(Self::NoKey),
            (_, None) => Some(Self::OtherHasNoKey),
            (Some(own), Some(other)) if own.key != other.key => {
                Some(Self::Keys { own: own.key.clone(), other: other.key.clone() })
            }
            (Some(own), Some(other)) if own.backend != other.backend => {
                Some(Self::Backends { own: own.backend.clone(), other: other.backend.clone() })
            }
            _ => None,
        }
    }

    /// Whether MetalLB sees none: to it a `Local` Service without a selector is as one of
    /// `Cluster`.
    fn is_none_to_metallb(&self) -> bool {
        let is_empty = |backend: &Backend| match backend {
            Backend::Cluster => true,
            Backend::Local(selector) => selector.is_empty(),
        };
        matches!(self, Self::Backends { own, other } if is_empty(own) && is_empty(other))
    }
}

/// In words.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("Cluster"),
            Self::Local(selector) if selector.is_empty() => f.write_str("Local without a selector"),
            Self::Local(selector) => write!(f, "Local with the selector {selector}"),
        }
    }
}

struct Shown<'a>(&'a Port);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.protocol, self.0.port)
    }
}

/// The Services that use one address: one, or several of one group.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    /// The pool the address is counted in.
    pub(crate) pool: String,
    group: Option<SharingGroup>,
    services: BTreeSet<ServiceKey>,
    ports: BTreeMap<Port, ServiceKey>,
}

impl Users {
    /// An address that nobody uses yet, about to be used as `sharing` says.
    pub(crate) fn new(pool: String, sharing: &SharingSpec) -> Self {
        Self { pool, group: sharing.group.clone(), services: BTreeSet::new(), ports: BTreeMap::new() }
    }

    /// The group of all its users.
    pub(crate) fn group(&self) -> Option<&SharingGroup> {
        self.group.as_ref()
    }

    /// Who uses it.
    pub(crate) fn services(&self) -> &BTreeSet<ServiceKey> {
        &self.services
    }

    /// Whether nobody uses it.
    pub(crate) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// What keeps `service` from using it as `sharing` says. Its only user may change
    /// anything (C53); one of several is judged like a newcomer (C54), but for what
    /// MetalLB lets it share: that one which `has_it` keeps.
    pub(crate) fn conflict(
        &self,
        address: IpAddr,
        service: &ServiceKey,
        sharing: &SharingSpec,
        has_it: bool,
    ) -> Option<SharingConflict> {
        let other = self.services.iter().find(|user| *user != service)?;
        let mismatch = SharingMismatch::between(sharing.group.as_ref(), self.group.as_ref());
        if let Some(why) = mismatch.filter(|why| !(has_it && why.is_none_to_metallb())) {
            return Some(SharingConflict::Occupied { address, other: other.clone(), why: why.into() });
        }
        sharing.ports.iter().find_map(|port| {
            let other = self.ports.get(port).filter(|user| *user != service)?;
            Some(SharingConflict::Port { address, other: other.clone(), port: port.clone() })
        })
    }

    /// Adds a user, for whom [`Users::conflict`] found nothing.
    pub(crate) fn add(&mut self, service: &ServiceKey, sharing: &SharingSpec) {
        self.services.insert(service.clone());
        self.ports.extend(sharing.ports.iter().map(|port| (port.clone(), service.clone())));
    }

    /// Removes a user that shared it as `sharing` says.
    pub(crate) fn remove(&mut self, service: &ServiceKey, sharing: &SharingSpec) {
        self.services.remove(service);
        for port in &sharing.ports {
            self.ports.remove(port);
        }
    }
}

/// `default/a`, or `default/a and 2 more`.
impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut services = self.services.iter();
        let Some(first) = services.next() else { return Ok(()) };
        write!(f, "{first}")?;
        match services.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The addresses of one group, so that one to share is found without looking
/// at each.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharingIndex {
    addresses: BTreeSet<IpAddr>,
    /// Where each port is in use. Neighbouring addresses merge, so that a
    /// search leaps over them.
    ports: BTreeMap<(IpFamily, Port), RangeInclusiveSet<u128>>,
}

impl SharingIndex {
    /// Whether it holds nothing and can go.
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The lowest address in `range`.
    pub(crate) fn first_in(&self, range: &AddressRange) -> Option<IpAddr> {
        self.addresses.range(range.first()..=range.last()).next().copied()
    }

    /// A Service of the group uses `address` with `ports`.
    pub(crate) fn add(&mut self, address: IpAddr, ports: &BTreeSet<Port>) {
        let at = number(address);
        self.addresses.insert(address);
        for port in ports {
            self.ports.entry((IpFamily::of(address), port.clone())).or_default().insert(at..=at);
        }
    }

    /// A Service of the group no longer uses `address` with `ports`; `last`
    /// says that no other one does.
    pub(crate) fn remove(&mut self, address: IpAddr, ports: &BTreeSet<Port>, last: bool) {
        let at = number(address);
        for port in ports {
            let slot = (IpFamily::of(address), port.clone());
            if let Some(used) = self.ports.get_mut(&slot) {
                used.remove(at..=at);
                if used.is_empty() {
                    self.ports.remove(&slot);
                }
            }
        }
        if last {
            self.addresses.remove(&address);
        }
    }

    /// The lowest address in `range` whose users leave `ports` free, among those
    /// that `usable` admits.
    pub(crate) fn lowest(
        &self,
        range: AddressRange,
        ports: &BTreeSet<Port>,
        usable: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let family = range.family();
        let used: Vec<_> = ports.iter().filter_map(|port| self.ports.get(&(family, port.clone()))).collect();
        let mut from = range.first();
        while from <= range.last() {
            let address = *self.addresses.range(from..=range.last()).next()?;
            let at = number(address);
            let taken_until = used.iter().filter_map(|set| set.get(&at)).map(|taken| *taken.end()).max();
            let end = match taken_until {
                None if usable(address) => return Some(address),
                None => at,
                Some(end) => end,
            };
            from = from_number(family, end.checked_add(1).filter(|next| *next <= number(range.last()))?);
        }
        None
    }
}
