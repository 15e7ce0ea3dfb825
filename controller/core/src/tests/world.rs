//! A store of Services and a controller that reads and writes it, without time.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::annotations::Annotations;
use ferrolb_api::config::{Resources, Verdict};
use ferrolb_api::crd::{
    ExclusionSpec, IPAddressPool, IPAddressPoolSpec, ReservationSpec, ServiceAllocationSpec,
};
use ferrolb_api::service::{FamilyPolicy, Ingress, Port, TrafficPolicy};
use ferrolb_api::{Namespace, Service, ServiceKey, Time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{Controller, Effect, EventReason, Input, Notice, PoolUsage, Settings};

/// A controller, what it is told, and what became of its effects.
pub(super) struct World {
    pub(super) controller: Controller,
    pub(super) resources: Resources,
    pub(super) store: BTreeMap<ServiceKey, Service>,
    /// Writes that are on their way, if they are held back.
    pub(super) on_their_way: VecDeque<Effect>,
    pub(super) hold_writes: bool,
    pub(super) writes: usize,
    pub(super) events: Vec<(ServiceKey, EventReason, String)>,
    pub(super) notices: Vec<Notice>,
    pub(super) usage: BTreeMap<String, PoolUsage>,
    pub(super) usage_writes: usize,
    pub(super) verdicts: Vec<Verdict>,
    /// The addresses of the latest write asked for, landed or not.
    asked_for: BTreeMap<ServiceKey, Vec<IpAddr>>,
    revision: u64,
    now: Time,
}

impl World {
    /// A controller that has seen `pools` and an empty list of Services.
    pub(super) fn new(pools: Vec<IPAddressPool>) -> Self {
        let mut world = Self::unstarted(Settings::default());
        world.tell_pools(pools);
        world.tell_all();
        world
    }

    /// A controller that has seen nothing.
    pub(super) fn unstarted(settings: Settings) -> Self {
        Self {
            controller: Controller::new(settings),
            resources: Resources::default(),
            store: BTreeMap::new(),
            on_their_way: VecDeque::new(),
            hold_writes: false,
            writes: 0,
            events: Vec::new(),
            notices: Vec::new(),
            usage: BTreeMap::new(),
            usage_writes: 0,
            verdicts: Vec::new(),
            asked_for: BTreeMap::new(),
            revision: 100,
            now: Time::ZERO,
        }
    }

    /// Starts another controller on the same store.
    pub(super) fn restart(&mut self, settings: Settings) {
        self.controller = Controller::new(settings);
        self.on_their_way.clear();
        self.asked_for.clear();
        self.usage.clear();
        self.forget_what_was_said();
        self.writes = 0;
        self.tell_resources();
        self.tell_all();
    }

    pub(super) fn forget_what_was_said(&mut self) {
        self.events.clear();
        self.notices.clear();
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.controller.handle(self.now, input);
        self.run();
    }

    /// Lets time pass until the controller asks for it; gives how long it took.
    pub(super) fn wait_for_timeout(&mut self) -> Duration {
        let at = self.controller.poll_timeout().expect("something is left to be done");
        let waited = at.since(self.now);
        self.now = at;
        self.handle(Input::Timeout);
        waited
    }

    /// Lets time pass until nothing is put off any more.
    pub(super) fn let_time_pass(&mut self) {
        while self.controller.poll_timeout().is_some() {
            self.wait_for_timeout();
        }
    }

    pub(super) fn tell_pools(&mut self, pools: Vec<IPAddressPool>) {
        self.resources.pools = pools;
        self.tell_resources();
    }

    pub(super) fn tell_resources(&mut self) {
        self.handle(Input::Resources(self.resources.clone()));
    }

    pub(super) fn tell_all(&mut self) {
        self.handle(Input::Services(self.store.values().cloned().collect()));
    }

    /// Stores a Service without telling the controller.
    pub(super) fn put(&mut self, mut service: Service) -> Service {
        self.revision += 1;
        service.resource_version = self.revision.to_string();
        self.store.insert(service.key.clone(), service.clone());
        service
    }

    /// Creates or replaces a Service.
    pub(super) fn apply(&mut self, service: Service) {
        let service = self.put(service);
        self.handle(Input::Service(Box::new(service)));
    }

    pub(super) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let mut service = self.service(name).clone();
        change(&mut service);
        self.apply(service);
    }

    pub(super) fn delete(&mut self, name: &str) {
        let key = key(name);
        self.store.remove(&key);
        self.handle(Input::ServiceGone(key));
    }

    /// Lets one write that was held back reach the store; its view follows.
    pub(super) fn land(&mut self) {
        if let Some(effect) = self.on_their_way.pop_front()
            && let Some(view) = self.write(&effect)
        {
            self.handle(Input::Service(Box::new(view)));
        }
    }

    pub(super) fn service(&self, name: &str) -> &Service {
        self.store.get(&key(name)).expect("the test made this Service")
    }

    /// The addresses in the stored status, joined by commas.
    pub(super) fn vips(&self, name: &str) -> String {
        self.service(name).ingress_ips().map(|ip| ip.to_string()).collect::<Vec<_>>().join(",")
    }

    /// The stored annotation C72.
    pub(super) fn origin(&self, name: &str) -> Option<&str> {
        self.service(name).annotations.allocated_from_pool.as_deref()
    }

    /// The texts of all Kubernetes Events on a Service since the last call.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let key = key(name);
        let (asked, others) = std::mem::take(&mut self.events).into_iter().partition(|(on, ..)| *on == key);
        self.events = others;
        let asked: Vec<(ServiceKey, EventReason, String)> = asked;
        asked.into_iter().map(|(_, reason, text)| format!("{}: {text}", reason.as_str())).collect()
    }

    /// The reasons of all Kubernetes Events on a Service since the last call.
    pub(super) fn reasons(&mut self, name: &str) -> Vec<&'static str> {
        let key = key(name);
        let (asked, others) = std::mem::take(&mut self.events).into_iter().partition(|(on, ..)| *on == key);
        self.events = others;
        let asked: Vec<(ServiceKey, EventReason, String)> = asked;
        asked.into_iter().map(|(_, reason, _)| reason.as_str()).collect()
    }

    fn run(&mut self) {
        let mut views = VecDeque::new();
        loop {
            while let Some(effect) = self.controller.poll_effect() {
                views.extend(self.carry_out(effect));
            }
            let Some(view) = views.pop_front() else { return };
            self.controller.handle(self.now, Input::Service(Box::new(view)));
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Service> {
        self.check_in_pool(&effect);
        self.check_unique(&effect);
        if let Effect::WriteService { service, addresses, .. } = &effect {
            self.asked_for.insert(service.clone(), addresses.clone());
        }
        match effect {
            Effect::WriteService { .. } if self.hold_writes => self.on_their_way.push_back(effect),
            Effect::WriteService { .. } => return self.write(&effect),
            Effect::WriteVerdict(verdict) => self.verdicts.push(verdict),
            Effect::WritePoolUsage(usage) => {
                self.usage_writes += 1;
                self.usage.insert(usage.pool.clone(), usage);
            }
            Effect::ForgetPool(pool) => {
                self.usage.remove(&pool).expect("only a pool with counters is forgotten");
            }
            Effect::Event { service, reason, message, .. } => self.events.push((service, reason, message)),
            Effect::Notice(notice) => self.notices.push(notice),
            Effect::Configuration(_) => {}
        }
        None
    }

    /// The API server's part: a write succeeds on the version it was made for.
    fn write(&mut self, effect: &Effect) -> Option<Service> {
        let Effect::WriteService { service, uid, resource_version, addresses, pool, lost_addresses } = effect
        else {
            return None;
        };
        let mut stored = self.store.get(service)?.clone();
        if stored.resource_version != *resource_version || stored.uid != *uid {
            return None;
        }
        stored.ingress = addresses.iter().map(|address| Ingress::Ip(*address)).collect();
        stored.annotations.allocated_from_pool.clone_from(pool);
        stored.annotations.lost_addresses.clone_from(lost_addresses);
        self.writes += 1;
        Some(self.put(stored))
    }

    /// S2 for every address that a write adds, in the configuration it comes from.
    fn check_in_pool(&self, effect: &Effect) {
        let Effect::WriteService { service, addresses, pool: Some(pool), .. } = effect else { return };
        let Some(service) = self.store.get(service) else { return };
        for address in added(service, addresses) {
            let owner = self
                .controller
                .config()
                .pool_of(&[address])
                .expect("S2: only a pool's addresses are written");
            assert!(
                owner.name == *pool && owner.admits(service),
                "S2: {address} of {} for {}",
                owner.name,
                service.key
            );
            assert_eq!(owner.unavailable(address, service), None, "S2: set aside");
            assert_eq!(owner.refused(address), None, "S2: somebody else's");
        }
    }

    /// S1 for every address that is granted, against all that is stored or on its
    /// way. (An edit of one that shares can break it later, for a moment.)
    fn check_unique(&self, effect: &Effect) {
        let Effect::WriteService { service, addresses, .. } = effect else { return };
        let Some(service) = self.store.get(service) else { return };
        let known = self.asked_for.get(&service.key).cloned().unwrap_or_default();
        for address in added(service, addresses).into_iter().filter(|address| !known.contains(address)) {
            let stored =
                self.store.values().filter(|other| other.ingress_ips().any(|shown| shown == address));
            let coming = self.on_their_way.iter().filter_map(|effect| match effect {
                Effect::WriteService { service, resource_version, addresses, .. } => {
                    let other = self.store.get(service)?;
                    (other.resource_version == *resource_version && addresses.contains(&address))
                        .then_some(other)
                }
                _ => None,
            });
            for other in stored.chain(coming).filter(|other| other.key != service.key) {
                assert!(may_share(service, other), "S1: {address} for {} and {}", service.key, other.key);
            }
        }
    }
}

fn added(service: &Service, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let shown: Vec<IpAddr> = service.ingress_ips().collect();
    addresses.iter().copied().filter(|address| !shown.contains(address)).collect()
}

/// S1, written down once more.
pub(super) fn may_share(a: &Service, b: &Service) -> bool {
    let key = |service: &Service| service.annotations.allow_shared_ip.clone().filter(|key| !key.is_empty());
    let same_backends = match (a.traffic_policy, b.traffic_policy) {
        (TrafficPolicy::Cluster, TrafficPolicy::Cluster) => true,
        (TrafficPolicy::Local, TrafficPolicy::Local) => a.selector == b.selector,
        (TrafficPolicy::Local, TrafficPolicy::Cluster) | (TrafficPolicy::Cluster, TrafficPolicy::Local) => {
            false
        }
    };
    key(a).is_some()
        && key(a) == key(b)
        && same_backends
        && !a.ports.iter().any(|port| b.ports.contains(port))
}

/// `name` in namespace `default`, or `namespace/name`.
pub(super) fn key(name: &str) -> ServiceKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    ServiceKey::new(namespace, name)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("a test writes valid addresses")
}

/// A single-stack IPv4 LoadBalancer Service on TCP/80.
pub(super) fn lb(name: &str) -> Service {
    Service {
        key: key(name),
        uid: format!("uid-of-{name}"),
        resource_version: String::new(),
        is_load_balancer: true,
        load_balancer_class: None,
        labels: BTreeMap::new(),
        annotations: Annotations::default(),
        cluster_ips: vec![Ok(ip("10.96.0.1"))],
        load_balancer_ip: None,
        primary_family: None,
        family_policy: FamilyPolicy::SingleStack,
        traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::new(),
        ports: vec![port("TCP", 80)],
        ingress: Vec::new(),
        status_writer: None,
    }
}

/// The same with something changed.
pub(super) fn lb_with(name: &str, change: impl FnOnce(&mut Service)) -> Service {
    let mut service = lb(name);
    change(&mut service);
    service
}

/// A dual-stack Service.
pub(super) fn dual(name: &str, policy: FamilyPolicy) -> Service {
    lb_with(name, |service| {
        service.cluster_ips = vec![Ok(ip("10.96.0.1")), Ok(ip("fd96::1"))];
        service.family_policy = policy;
    })
}

/// A single-stack IPv6 Service.
pub(super) fn lb6(name: &str) -> Service {
    lb_with(name, |service| service.cluster_ips = vec![Ok(ip("fd96::1"))])
}

/// Writes what an earlier controller would have left in a status.
pub(super) fn carrying(mut service: Service, addresses: &[&str], pool: &str) -> Service {
    service.ingress = addresses.iter().map(|address| Ingress::Ip(ip(address))).collect();
    service.annotations.allocated_from_pool = Some(pool.to_owned());
    service
}

pub(super) fn port(protocol: &str, port: u16) -> Port {
    Port { protocol: protocol.to_owned(), port }
}

pub(super) fn pool(name: &str, addresses: &[&str]) -> IPAddressPool {
    let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
    let mut pool =
        IPAddressPool::new(name, IPAddressPoolSpec { addresses, auto_assign: true, ..Default::default() });
    pool.metadata.generation = Some(1);
    pool
}

/// The same with its spec changed.
pub(super) fn pool_with(
    name: &str,
    addresses: &[&str],
    change: impl FnOnce(&mut IPAddressPoolSpec),
) -> IPAddressPool {
    let mut pool = pool(name, addresses);
    change(&mut pool.spec);
    pool
}

/// An entry of `spec.reservations`.
pub(super) fn reservation(addresses: &[&str], change: impl FnOnce(&mut ReservationSpec)) -> ReservationSpec {
    let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
    let mut entry = ReservationSpec { addresses, ..Default::default() };
    change(&mut entry);
    entry
}

/// An entry of `spec.excludedAddresses`.
pub(super) fn exclusion(addresses: &[&str], reason: &str) -> ExclusionSpec {
    let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
    ExclusionSpec { addresses, reason: Some(reason.to_owned()) }
}

/// A pool pinned as `change` says.
pub(super) fn pinned(
    name: &str,
    addresses: &[&str],
    change: impl FnOnce(&mut ServiceAllocationSpec),
) -> IPAddressPool {
    pool_with(name, addresses, |spec| change(spec.service_allocation.get_or_insert_default()))
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(pairs)), match_expressions: None }
}

pub(super) fn namespace(name: &str, pairs: &[(&str, &str)]) -> Namespace {
    Namespace { name: name.to_owned(), labels: labels(pairs) }
}
