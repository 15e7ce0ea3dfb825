//! A node of the cluster: a Linux-like host, kube-proxy's part, the services
//! behind it, and the very speaker that ships.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use ferrolb_api::{NodeName, Time};
use smoltcp::wire::EthernetAddress;
use speaker_core::{Input, Peer, Settings, Speaker};

use crate::lab::address_plan::{self, Lan};
use crate::lab::api::objects::Kind;
use crate::lab::api::server::{SimulatedApi, WatchId};
use crate::lab::api::watch::Update;
use crate::lab::random::Seed;
use crate::lab::stations::kube_clients;
use crate::lab::stations::machine::{Machine, Process};
use crate::lab::stations::speaker_output::SpeakerOutput;

/// What a speaker watches.
pub const SPEAKER_KINDS: &[Kind] = &Kind::ALL;
/// What kube-proxy watches.
const PROXY_KINDS: &[Kind] = &[Kind::EndpointSlice, Kind::Service];
/// Frames that a frozen machine's network queue keeps: the oldest ones.
const FROZEN_QUEUE: usize = 256;
/// Milliseconds since the Unix epoch at which every simulation begins.
const EPOCH_MILLIS: u64 = 1_767_225_600_000;

/// A node, with or without power.
#[derive(Debug)]
pub struct Node {
    name: NodeName,
    /// Its NICs by their first addresses; the first one gossips.
    nics: Vec<(Lan, Ipv4Addr)>,
    seed: Seed,
    secret: Vec<u8>,
    /// What its Kubernetes clients may watch.
    speaker_kinds: &'static [Kind],
    proxy_kinds: &'static [Kind],
    machine: Option<Machine>,
    is_frozen: bool,
    /// What came while the machine stood still, with the NIC.
    frames_waiting: VecDeque<(usize, Vec<u8>)>,
    updates_waiting: VecDeque<(WatchId, Update)>,
    starts: u64,
    outputs: Vec<SpeakerOutput>,
    /// Frames pass through here on their way from the speaker to the wire; a
    /// test bends it to see the checkers bite.
    mutator: Option<fn(Vec<u8>) -> Vec<u8>>,
}

impl Node {
    /// A node without power, with one NIC.
    #[must_use]
    pub fn new(name: &str, address: Ipv4Addr, seed: Seed, secret: &[u8]) -> Self {
        Self {
            name: name.into(),
            nics: vec![(Lan::First, address)],
            seed,
            secret: secret.to_vec(),
            speaker_kinds: SPEAKER_KINDS,
            proxy_kinds: PROXY_KINDS,
            machine: None,
            is_frozen: false,
            frames_waiting: VecDeque::new(),
            updates_waiting: VecDeque::new(),
            starts: 0,
            outputs: Vec::new(),
            mutator: None,
        }
    }

    /// The same without any access to Kubernetes: the adversary's.
    #[must_use]
    pub fn without_kubernetes(self) -> Self {
        Self { speaker_kinds: &[], proxy_kinds: &[], ..self }
    }

    /// The same with one more NIC, `eth1`, on the second LAN.
    #[must_use]
    pub fn with_second_nic(mut self, address: Ipv4Addr) -> Self {
        self.nics.push((Lan::Second, address));
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// Its own address, on its first NIC.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.nics[0].1
    }

    /// The own IPv4 addresses of all its NICs, with their LANs.
    #[must_use]
    pub fn nics(&self) -> &[(Lan, Ipv4Addr)] {
        &self.nics
    }

    /// What the switch calls one of its NICs: the node's own name for the first.
    #[must_use]
    pub fn nic_name(&self, nic: usize) -> String {
        match self.nics.get(nic) {
            Some((lan, _)) if nic > 0 => format!("{}/{}", self.name, lan.interface()),
            _ => self.name.to_string(),
        }
    }

    /// Its first NIC's address.
    #[must_use]
    pub fn mac(&self) -> EthernetAddress {
        address_plan::mac(self.address())
    }

    /// Its speaker, to read what it says of itself (metrics).
    #[must_use]
    pub fn speaker(&self) -> Option<&Speaker> {
        self.process().map(|process| &process.speaker)
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

    /// Lets frames of the speaker go through `mutator` on their way to the wire.
    pub fn mutate_frames(&mut self, mutator: fn(Vec<u8>) -> Vec<u8>) {
        self.mutator = Some(mutator);
    }

    fn process(&self) -> Option<&Process> {
        self.machine.as_ref()?.process.as_ref()
    }

    /// Boots: kernel, kube-proxy, speaker.
    pub fn power_on(&mut self, now: Time, api: &mut SimulatedApi) {
        if self.machine.is_some() {
            return;
        }
        let seed = self.seed.word(&format!("kernel/{}/{}", self.name, self.starts));
        let proxy = api.open_watch(now, &format!("proxy/{}", self.name), self.proxy_kinds);
        self.machine = Some(Machine::boot(&self.name, &self.nics, seed, proxy));
        self.start_speaker(now, api);
    }

    /// Everything on it is gone at once.
    pub fn power_off(&mut self, api: &mut SimulatedApi) {
        self.kill_speaker(api);
        if let Some(machine) = self.machine.take() {
            api.close_watch(machine.proxy);
        }
        self.is_frozen = false;
        self.frames_waiting.clear();
        self.updates_waiting.clear();
    }

    /// Starts the speaker's process, with a Kubernetes client.
    pub fn start_speaker(&mut self, now: Time, api: &mut SimulatedApi) {
        if self.is_speaking() || !self.is_on() {
            return;
        }
        let watch = api.open_watch(now, &format!("speaker/{}", self.name), self.speaker_kinds);
        self.start_process(now, watch);
        self.pump(now);
    }

    /// Tells the speaker who its peers are without asking Kubernetes: what
    /// an adversary that knows the plan would do.
    pub fn tell_peers(&mut self, now: Time, peers: Vec<Peer>) {
        self.tell_speaker(now, Input::Peers(peers));
        self.pump(now);
    }

    fn start_process(&mut self, now: Time, watch: WatchId) {
        self.starts += 1;
        let gossip_address = SocketAddr::new(self.address().into(), address_plan::GOSSIP_PORT);
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
        machine.start(settings, watch);
        self.tell_interfaces(now);
    }

    /// SIGKILL.
    pub fn kill_speaker(&mut self, api: &mut SimulatedApi) {
        if let Some(watch) = self.machine.as_mut().and_then(Machine::kill) {
            api.close_watch(watch);
        }
    }

    /// SIGTERM: it ends with [`SpeakerOutput::Exit`].
    pub fn stop_speaker(&mut self, now: Time) {
        self.tell_speaker(now, Input::Shutdown);
        self.pump(now);
    }

    /// The whole machine stands still from now on.
    pub const fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// It goes on; its clocks have gone on all the time.
    pub fn thaw(&mut self, now: Time, api: &SimulatedApi) {
        self.is_frozen = false;
        while let Some((nic, frame)) = self.frames_waiting.pop_front() {
            self.handle_frame(now, nic, frame);
        }
        while let Some((watch, update)) = self.updates_waiting.pop_front() {
            self.handle_update(now, api, watch, &update);
        }
        self.poll(now);
    }

    /// A NIC has lost or regained its carrier.
    pub fn set_carrier(&mut self, now: Time, nic: usize, has_carrier: bool) {
        if let Some(machine) = &mut self.machine {
            machine.set_carrier(nic, has_carrier);
        }
        self.tell_interfaces(now);
        self.pump(now);
    }

    fn tell_interfaces(&mut self, now: Time) {
        if let Some(machine) = &mut self.machine {
            let interfaces = machine.interfaces();
            machine.tell_speaker(now, Input::Interfaces(interfaces));
        }
    }

    /// A frame has arrived at a NIC.
    pub fn handle_frame(&mut self, now: Time, nic: usize, frame: Vec<u8>) {
        if self.is_frozen {
            if self.frames_waiting.len() < FROZEN_QUEUE {
                self.frames_waiting.push_back((nic, frame));
            }
            return;
        }
        if let Some(machine) = &mut self.machine {
            machine.handle_frame(now, nic, &frame);
        }
        self.pump(now);
    }

    /// One of its Kubernetes clients was told something.
    pub fn handle_update(&mut self, now: Time, api: &SimulatedApi, watch: WatchId, update: &Update) {
        if self.is_frozen {
            self.updates_waiting.push_back((watch, update.clone()));
            return;
        }
        let Some(view) = api.view(watch) else { return };
        if self.watch() == Some(watch) {
            if let Some(input) = kube_clients::input(view, update) {
                self.tell_speaker(now, input);
            }
        } else if let Some(machine) = &mut self.machine {
            machine.let_in(&kube_clients::proxied(view, &self.name));
        }
        self.pump(now);
    }

    fn tell_speaker(&mut self, now: Time, input: Input<'_>) {
        if let Some(machine) = &mut self.machine {
            machine.tell_speaker(now, input);
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
        self.machine.as_ref()?.poll_timeout()
    }

    /// The next frame that leaves a NIC.
    pub fn poll_frame(&mut self, nic: usize) -> Option<Vec<u8>> {
        self.machine.as_mut()?.poll_frame(nic)
    }

    /// What its speaker did since the last call.
    pub fn take_outputs(&mut self) -> Vec<SpeakerOutput> {
        std::mem::take(&mut self.outputs)
    }

    fn pump(&mut self, now: Time) {
        if let Some(machine) = &mut self.machine {
            machine.pump(now, &self.name, self.mutator, &mut self.outputs);
        }
    }
}
