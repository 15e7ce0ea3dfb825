//! A node of the cluster: a Linux-like host, kube-proxy's part, the services
//! behind it, and the very speaker that ships.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use metallb_api::service::TrafficPolicy;
use metallb_api::{NodeName, ServiceKey, Time};
use smoltcp::wire::{EthernetAddress, IpCidr};
use speaker_core::{
    Effect, EventReason, Input, Interface, InterfaceId, MacAddr, Notice, Peer, Settings, Speaker,
};

use super::backends::Backends;
use super::clock;
use super::cluster::{Cluster, WatchId};
use super::nic;
use super::objects::Kind;
use super::plan;
use super::random::Seed;
use super::view::{self, View};
use super::watch::Update;
use crate::net::host::{Host, HostSettings};
use crate::net::stack::UdpHandle;
use crate::net::station::Station;

/// What a speaker watches.
pub const SPEAKER_KINDS: &[Kind] = &Kind::ALL;
/// What kube-proxy watches.
const PROXY_KINDS: &[Kind] = &[Kind::EndpointSlice, Kind::Service];
/// What [`Input::Resources`] is made of.
const RESOURCES: &[Kind] = &[Kind::Namespace, Kind::IPAddressPool, Kind::L2Advertisement];
/// The one interface of a node.
pub const INTERFACE: InterfaceId = InterfaceId(2);
/// Frames that a frozen machine's network queue keeps: the oldest ones.
const FROZEN_QUEUE: usize = 256;
/// Milliseconds since the Unix epoch at which every simulation begins.
const EPOCH_MILLIS: u64 = 1_767_225_600_000;
/// The shell's rule: a datagram to a peer heard within this time confirms the
/// peer's neighbour entry (`MSG_CONFIRM`).
const PROOF: Duration = Duration::from_secs(1);
/// Rounds that kernel and speaker may answer each other within one instant.
const MAX_ROUNDS: u32 = 1000;

/// Something that a speaker did, for timeline and checkers.
#[derive(Clone, Debug)]
pub enum Deed {
    /// It said something.
    Notice(Notice),
    /// It made a Kubernetes Event.
    Event {
        /// On which Service.
        service: ServiceKey,
        /// Its reason.
        reason: EventReason,
        /// Its text.
        message: String,
    },
    /// It sent a frame.
    Frame(Vec<u8>),
    /// It has left and ended.
    Exit,
}

/// A node, with or without power.
#[derive(Debug)]
pub struct Node {
    name: NodeName,
    address: Ipv4Addr,
    seed: Seed,
    secret: Vec<u8>,
    /// What its Kubernetes clients may watch.
    speaker_kinds: &'static [Kind],
    proxy_kinds: &'static [Kind],
    machine: Option<Machine>,
    is_frozen: bool,
    has_carrier: bool,
    /// What came while the machine stood still.
    frames_waiting: VecDeque<Vec<u8>>,
    updates_waiting: VecDeque<(WatchId, Update)>,
    starts: u64,
    outgoing: VecDeque<Vec<u8>>,
    deeds: Vec<Deed>,
    /// Frames pass through here on their way from the speaker to the wire; a
    /// test bends it to see the checkers bite.
    bend: Option<fn(Vec<u8>) -> Vec<u8>>,
}

#[derive(Debug)]
struct Machine {
    host: Host,
    backends: Backends,
    proxy: WatchId,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    speaker: Speaker,
    watch: WatchId,
    gossip: UdpHandle,
    /// The multicast groups that its NIC lets through for it.
    groups: BTreeSet<Ipv6Addr>,
    /// Who was heard when, for [`PROOF`].
    heard: BTreeMap<SocketAddr, Time>,
}

impl Node {
    /// A node without power.
    #[must_use]
    pub fn new(name: &str, address: Ipv4Addr, seed: Seed, secret: &[u8]) -> Self {
        Self {
            name: name.into(),
            address,
            seed,
            secret: secret.to_vec(),
            speaker_kinds: SPEAKER_KINDS,
            proxy_kinds: PROXY_KINDS,
            machine: None,
            is_frozen: false,
            has_carrier: true,
            frames_waiting: VecDeque::new(),
            updates_waiting: VecDeque::new(),
            starts: 0,
            outgoing: VecDeque::new(),
            deeds: Vec::new(),
            bend: None,
        }
    }

    /// The same without any access to Kubernetes: a stranger's.
    #[must_use]
    pub fn without_kubernetes(self) -> Self {
        Self { speaker_kinds: &[], proxy_kinds: &[], ..self }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// Its own address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its NIC's address.
    #[must_use]
    pub const fn mac(&self) -> EthernetAddress {
        plan::mac(self.address)
    }

    /// Whether it has power.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether a speaker runs on it, frozen or not.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.process().is_some()
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// Its speaker's watch client, while it runs.
    #[must_use]
    pub fn watch(&self) -> Option<WatchId> {
        self.process().map(|process| process.watch)
    }

    /// Whether a watch client is one of its processes.
    #[must_use]
    pub fn has_watch(&self, id: WatchId) -> bool {
        self.watch() == Some(id) || self.machine.as_ref().is_some_and(|machine| machine.proxy == id)
    }

    /// Lets frames of the speaker go through `bend` on their way to the wire.
    pub fn bend_frames(&mut self, bend: fn(Vec<u8>) -> Vec<u8>) {
        self.bend = Some(bend);
    }

    fn process(&self) -> Option<&Process> {
        self.machine.as_ref()?.process.as_ref()
    }

    /// Boots: kernel, kube-proxy, speaker.
    pub fn power_on(&mut self, now: Time, cluster: &mut Cluster) {
        if self.machine.is_some() {
            return;
        }
        let address = IpCidr::new(self.address.into(), plan::PREFIX_LEN);
        let seed = self.seed.word(&format!("kernel/{}/{}", self.name, self.starts));
        let mut settings = HostSettings::new(self.name.as_str(), self.mac(), address, seed);
        settings.gateways = vec![plan::ROUTER.into()];
        let mut host = Host::new(settings);
        let backends = Backends::start(host.stack());
        let proxy = cluster.open_watch(now, &format!("proxy/{}", self.name), self.proxy_kinds);
        self.machine = Some(Machine { host, backends, proxy, process: None });
        self.has_carrier = true;
        self.start_speaker(now, cluster);
    }

    /// Everything on it is gone at once.
    pub fn power_off(&mut self, cluster: &mut Cluster) {
        self.kill_speaker(cluster);
        if let Some(machine) = self.machine.take() {
            cluster.close_watch(machine.proxy);
        }
        self.is_frozen = false;
        self.frames_waiting.clear();
        self.updates_waiting.clear();
        self.outgoing.clear();
    }

    /// Starts the speaker's process, with a Kubernetes client.
    pub fn start_speaker(&mut self, now: Time, cluster: &mut Cluster) {
        if self.is_speaking() || !self.is_on() {
            return;
        }
        let watch = cluster.open_watch(now, &format!("speaker/{}", self.name), self.speaker_kinds);
        self.start_process(now, watch);
        self.pump(now);
    }

    /// Tells the speaker who its peers are without asking Kubernetes: what a
    /// stranger who knows the plan would do.
    pub fn tell_peers(&mut self, now: Time, peers: Vec<Peer>) {
        self.tell_speaker(now, Input::Peers(peers));
        self.pump(now);
    }

    fn start_process(&mut self, now: Time, watch: WatchId) {
        self.starts += 1;
        let gossip_address = SocketAddr::new(self.address.into(), plan::GOSSIP_PORT);
        let settings = Settings {
            node: self.name.clone(),
            load_balancer_class: None,
            ignore_exclude_label: false,
            gossip_address: Some(gossip_address),
            gossip_secret: Some(self.secret.clone()),
            boot_id: EPOCH_MILLIS + now.as_micros() / 1000,
            seed: self.seed.bytes(&format!("speaker/{}/{}", self.name, self.starts)),
        };
        let Some(machine) = &mut self.machine else { return };
        let gossip = machine.host.stack().udp_bind(plan::GOSSIP_PORT);
        let (speaker, groups, heard) = (Speaker::new(settings), BTreeSet::new(), BTreeMap::new());
        machine.process = Some(Process { speaker, watch, gossip, groups, heard });
        self.tell_interfaces(now);
    }

    /// SIGKILL.
    pub fn kill_speaker(&mut self, cluster: &mut Cluster) {
        let Some(machine) = &mut self.machine else { return };
        if let Some(process) = machine.process.take() {
            machine.host.stack().udp_close(process.gossip);
            cluster.close_watch(process.watch);
        }
    }

    /// SIGTERM: it ends with [`Deed::Exit`].
    pub fn stop_speaker(&mut self, now: Time) {
        self.tell_speaker(now, Input::Shutdown);
        self.pump(now);
    }

    /// The whole machine stands still from now on.
    pub const fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// It goes on; its clocks have gone on all the time.
    pub fn thaw(&mut self, now: Time, cluster: &Cluster) {
        self.is_frozen = false;
        while let Some(frame) = self.frames_waiting.pop_front() {
            self.handle_frame(now, frame);
        }
        while let Some((watch, update)) = self.updates_waiting.pop_front() {
            self.handle_update(now, cluster, watch, &update);
        }
        self.poll(now);
    }

    /// Its NIC has lost or regained its carrier.
    pub fn set_carrier(&mut self, now: Time, has_carrier: bool) {
        self.has_carrier = has_carrier;
        self.tell_interfaces(now);
        self.pump(now);
    }

    fn tell_interfaces(&mut self, now: Time) {
        let interface = Interface {
            id: INTERFACE,
            name: "eth0".to_owned(),
            mac: Some(MacAddr(self.mac().0)),
            addresses: vec![(self.address.into(), plan::PREFIX_LEN)],
            is_up: true,
            has_carrier: self.has_carrier,
            can_broadcast: true,
            no_arp: false,
            has_master: false,
        };
        self.tell_speaker(now, Input::Interfaces(vec![interface]));
    }

    /// A frame has arrived at its NIC.
    pub fn handle_frame(&mut self, now: Time, frame: Vec<u8>) {
        if self.is_frozen {
            if self.frames_waiting.len() < FROZEN_QUEUE {
                self.frames_waiting.push_back(frame);
            }
            return;
        }
        let groups = self.process().map(|process| &process.groups);
        if nic::passes(&frame, self.mac(), groups) {
            self.tell_speaker(now, Input::Frame { interface: INTERFACE, bytes: &frame });
        }
        if let Some(machine) = &mut self.machine {
            machine.host.handle_frame(clock::instant(now), &frame);
        }
        self.pump(now);
    }

    /// One of its Kubernetes clients was told something.
    pub fn handle_update(&mut self, now: Time, cluster: &Cluster, watch: WatchId, update: &Update) {
        if self.is_frozen {
            self.updates_waiting.push_back((watch, update.clone()));
            return;
        }
        let Some(view) = cluster.view(watch) else { return };
        if self.watch() == Some(watch) {
            if let Some(input) = input(view, update) {
                self.tell_speaker(now, input);
            }
        } else if let Some(machine) = &mut self.machine {
            machine.host.set_loopback(proxied(view, &self.name));
        }
        self.pump(now);
    }

    fn tell_speaker(&mut self, now: Time, input: Input<'_>) {
        let process = self.machine.as_mut().and_then(|machine| machine.process.as_mut());
        if let Some(process) = process {
            process.speaker.handle(now, input);
        }
    }

    /// Lets its timers fire.
    pub fn poll(&mut self, now: Time) {
        if self.is_frozen {
            return;
        }
        if self.process().and_then(|process| process.speaker.poll_timeout()).is_some_and(|due| due <= now) {
            self.tell_speaker(now, Input::Timeout);
        }
        self.pump(now);
    }

    /// When to call [`Self::poll`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_frozen {
            return None;
        }
        let machine = self.machine.as_ref()?;
        let kernel = machine.host.poll_timeout().map(clock::time);
        let speaker = machine.process.as_ref().and_then(|process| process.speaker.poll_timeout());
        [kernel, speaker].into_iter().flatten().min()
    }

    /// The next frame that leaves its NIC.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// What its speaker did since the last call.
    pub fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    /// Moves bytes between speaker, kernel and services until all is quiet.
    fn pump(&mut self, now: Time) {
        let instant = clock::instant(now);
        let Some(machine) = &mut self.machine else { return };
        for _ in 0..MAX_ROUNDS {
            let mut is_quiet = true;
            if let Some(process) = &mut machine.process {
                while let Some(effect) = process.speaker.poll_effect() {
                    is_quiet = false;
                    match effect {
                        Effect::SendFrame { bytes, .. } => {
                            let bytes = self.bend.map_or_else(|| bytes.clone(), |bend| bend(bytes.clone()));
                            if self.has_carrier {
                                self.outgoing.push_back(bytes.clone());
                            }
                            self.deeds.push(Deed::Frame(bytes));
                        }
                        // A full socket buffer loses the datagram, as in the kernel.
                        Effect::SendDatagram { to, bytes } => {
                            if process.heard.get(&to).is_some_and(|heard| now - *heard < PROOF) {
                                machine.host.neighbours_mut().confirm(instant, to.ip());
                            }
                            let _ = machine.host.stack().udp_send(process.gossip, None, to, &bytes);
                        }
                        Effect::Event { service, reason, message, .. } => {
                            self.deeds.push(Deed::Event { service, reason, message });
                        }
                        Effect::Notice(notice) => self.deeds.push(Deed::Notice(notice)),
                        Effect::JoinGroup { group, .. } => _ = process.groups.insert(group),
                        Effect::LeaveGroup { group, .. } => _ = process.groups.remove(&group),
                        Effect::Exit => self.deeds.push(Deed::Exit),
                    }
                }
            }
            machine.host.poll(instant);
            if let Some(process) = &mut machine.process {
                let (speaker, stack) = (&mut process.speaker, machine.host.stack());
                let heard = &mut process.heard;
                let mut receive = |from, _to, bytes: &[u8]| {
                    heard.insert(from, now);
                    speaker.handle(now, Input::Datagram { from, bytes });
                };
                while stack.udp_receive_with(process.gossip, &mut receive).is_some() {
                    is_quiet = false;
                }
            }
            is_quiet &= !machine.backends.serve(machine.host.stack(), &self.name);
            while let Some(frame) = machine.host.poll_frame() {
                is_quiet = false;
                if self.has_carrier {
                    self.outgoing.push_back(frame);
                }
            }
            if is_quiet {
                return;
            }
        }
    }
}

/// The speaker's input that follows from an update.
fn input(view: &View, update: &Update) -> Option<Input<'static>> {
    let kind = match update {
        Update::Listed(kind) => *kind,
        Update::Changed(key) | Update::Gone(key) => key.kind,
    };
    if RESOURCES.contains(&kind) {
        return view.has_listed(RESOURCES).then(|| Input::Resources(view.resources()));
    }
    Some(match (kind, update) {
        (Kind::Node, _) => Input::Nodes(view.nodes()),
        (Kind::Pod, _) => Input::Peers(view.peers()),
        (Kind::Service, Update::Listed(_)) => Input::Services(view.services()),
        (Kind::Service, Update::Changed(key) | Update::Gone(key)) => {
            match view.get(key).and_then(view::service) {
                Some(service) => Input::Service(Box::new(service)),
                None => Input::ServiceGone(ServiceKey::new(key.namespace.clone(), key.name.clone())),
            }
        }
        (_, Update::Listed(_)) => Input::EndpointSlices(view.endpoint_slices()),
        (_, Update::Changed(key) | Update::Gone(key)) => match view.get(key).and_then(view::endpoint_slice) {
            Some(slice) => Input::EndpointSlice(slice),
            None => Input::EndpointSliceGone { namespace: key.namespace.clone(), name: key.name.clone() },
        },
    })
}

/// kube-proxy's part: the addresses whose packets this node accepts. Under
/// `externalTrafficPolicy: Local` only with an endpoint of its own.
fn proxied(view: &View, node: &NodeName) -> BTreeSet<IpAddr> {
    let slices = view.endpoint_slices();
    let has_local = |service: &ServiceKey| {
        let own = slices.iter().filter(|slice| slice.service.as_ref() == Some(service));
        own.flat_map(|slice| &slice.endpoints).any(|e| e.can_serve && e.node.as_ref() == Some(node))
    };
    let mut addresses = BTreeSet::new();
    for service in view.services() {
        if service.traffic_policy == TrafficPolicy::Cluster || has_local(&service.key) {
            addresses.extend(service.ingress_ips());
        }
    }
    addresses
}
