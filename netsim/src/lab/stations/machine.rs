//! A machine that runs: its NICs, each with its part of the kernel's network
//! and the services behind it, and the speaker's process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ferrolb_api::{NodeName, Time};
use smoltcp::wire::EthernetAddress;
use speaker_core::{Effect, Input, Interface, InterfaceId, MacAddr, Report, Settings, Speaker};

use crate::lab::address_plan::{self, Lan};
use crate::lab::api::server::WatchId;
use crate::lab::clock;
use crate::lab::stations::backends::Backends;
use crate::lab::stations::kube_clients::Proxied;
use crate::lab::stations::nic_filter;
use crate::lab::stations::speaker_output::SpeakerOutput;
use crate::net::host::{Host, HostSettings};
use crate::net::stack::UdpHandle;
use crate::net::station::Station;

/// The shell's rule: a datagram to a peer heard within this time confirms the
/// peer's neighbour entry (`MSG_CONFIRM`).
const PROOF: Duration = Duration::from_secs(1);
/// Rounds that kernel and speaker may answer each other within one instant.
const MAX_ROUNDS: u32 = 1000;

/// A running machine.
#[derive(Debug)]
pub(super) struct Machine {
    nics: Vec<Nic>,
    /// kube-proxy's watch client.
    pub(super) proxy: WatchId,
    pub(super) process: Option<Process>,
}

/// One NIC and what the kernel has for it.
#[derive(Debug)]
struct Nic {
    id: InterfaceId,
    lan: Lan,
    host: Host,
    backends: Backends,
    has_carrier: bool,
    outgoing: VecDeque<Vec<u8>>,
}

/// The speaker's process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) speaker: Speaker,
    pub(super) watch: WatchId,
    gossip: UdpHandle,
    /// The multicast groups that a NIC lets through for it.
    groups: BTreeMap<InterfaceId, BTreeSet<Ipv6Addr>>,
    /// Who was heard when, for [`PROOF`].
    heard: BTreeMap<SocketAddr, Time>,
}

impl Machine {
    /// Boots on the given addresses, one NIC for each.
    pub(super) fn boot(name: &NodeName, addresses: &[(Lan, Ipv4Addr)], seed: u64, proxy: WatchId) -> Self {
        let ids = (2..).map(InterfaceId);
        let nics = addresses.iter().zip(ids).map(|((lan, address), id)| {
            let first = address_plan::own_addresses(*address)[0];
            // Each NIC draws from a stream of its own.
            let stream =
                if *lan == Lan::First { name.to_string() } else { format!("{name}/{}", lan.interface()) };
            let mut settings = HostSettings::new(&stream, address_plan::mac(*address), first, seed);
            settings.addresses = address_plan::own_addresses(*address);
            if *lan == Lan::First {
                settings.gateways = vec![address_plan::ROUTER.into()];
            }
            let mut host = Host::new(settings);
            let backends = Backends::start(host.stack());
            Nic { id, lan: *lan, host, backends, has_carrier: true, outgoing: VecDeque::new() }
        });
        Self { nics: nics.collect(), proxy, process: None }
    }

    /// Starts the speaker.
    pub(super) fn start(&mut self, settings: Settings, watch: WatchId) {
        let gossip = self.nics[0].host.stack().udp_bind(address_plan::GOSSIP_PORT);
        let (speaker, groups, heard) = (Speaker::new(settings), BTreeMap::new(), BTreeMap::new());
        self.process = Some(Process { speaker, watch, gossip, groups, heard });
    }

    /// SIGKILL; gives the watch client that is left behind.
    pub(super) fn kill(&mut self) -> Option<WatchId> {
        let process = self.process.take()?;
        self.nics[0].host.stack().udp_close(process.gossip);
        Some(process.watch)
    }

    /// A NIC has lost or regained its carrier.
    pub(super) fn set_carrier(&mut self, nic: usize, has_carrier: bool) {
        if let Some(nic) = self.nics.get_mut(nic) {
            nic.has_carrier = has_carrier;
        }
    }

    /// The links as netlink would tell them.
    pub(super) fn interfaces(&self) -> Vec<Interface> {
        self.nics.iter().map(Nic::interface).collect()
    }

    /// kube-proxy has changed what packets are let in.
    pub(super) fn let_in(&mut self, proxied: &Proxied) {
        for nic in &mut self.nics {
            nic.host.set_loopback(proxied.addresses.clone());
            nic.backends.serve_services(nic.host.stack(), proxied);
        }
    }

    /// Tells the speaker, if it runs.
    pub(super) fn tell_speaker(&mut self, now: Time, input: Input<'_>) {
        if let Some(process) = &mut self.process {
            process.speaker.handle(now, input);
        }
    }

    /// A frame has arrived at a NIC.
    pub(super) fn handle_frame(&mut self, now: Time, nic: usize, frame: &[u8]) {
        let Some(nic) = self.nics.get_mut(nic) else { return };
        if let Some(process) = &mut self.process
            && nic_filter::passes(frame, nic.host.mac(), process.groups.get(&nic.id))
        {
            process.speaker.handle(now, Input::Frame { interface: nic.id, bytes: frame });
        }
        nic.host.handle_frame(clock::instant(now), frame);
    }

    /// When one of its timers fires.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let kernel = self.nics.iter().filter_map(|nic| nic.host.poll_timeout()).map(clock::time);
        let speaker = self.process.as_ref().and_then(|process| process.speaker.poll_timeout());
        kernel.chain(speaker).min()
    }

    /// The next frame that leaves a NIC.
    pub(super) fn poll_frame(&mut self, nic: usize) -> Option<Vec<u8>> {
        self.nics.get_mut(nic)?.outgoing.pop_front()
    }

    /// Moves bytes between speaker, kernel and services until all is quiet.
    /// The speaker's frames go through `mutator`; what it does goes to `outputs`.
    pub(super) fn pump(
        &mut self,
        now: Time,
        name: &NodeName,
        mutator: Option<fn(Vec<u8>) -> Vec<u8>>,
        outputs: &mut Vec<SpeakerOutput>,
    ) {
        let instant = clock::instant(now);
        for _ in 0..MAX_ROUNDS {
            let mut is_quiet = true;
            while let Some(effect) = self.process.as_mut().and_then(|process| process.speaker.poll_effect()) {
                is_quiet = false;
                self.carry_out(now, effect, mutator, outputs);
            }
            for nic in &mut self.nics {
                nic.host.poll(instant);
            }
            is_quiet &= !self.receive_gossip(now);
            for nic in &mut self.nics {
                is_quiet &= !nic.backends.serve(nic.host.stack(), name);
                is_quiet &= !nic.collect();
            }
            if is_quiet {
                return;
            }
        }
    }

    fn carry_out(
        &mut self,
        now: Time,
        effect: Effect,
        mutator: Option<fn(Vec<u8>) -> Vec<u8>>,
        outputs: &mut Vec<SpeakerOutput>,
    ) {
        let Some(process) = &mut self.process else { return };
        match effect {
            Effect::SendFrame { interface, bytes } => {
                let bytes = mutator.map_or_else(|| bytes.clone(), |mutator| mutator(bytes.clone()));
                if let Some(nic) = self.nics.iter_mut().find(|nic| nic.id == interface && nic.has_carrier) {
                    nic.outgoing.push_back(bytes.clone());
                }
                outputs.push(SpeakerOutput::Frame(bytes));
            }
            // A full socket buffer loses the datagram, as in the kernel.
            Effect::SendDatagram { to, bytes } => {
                let host = &mut self.nics[0].host;
                if process.heard.get(&to).is_some_and(|heard| now - *heard < PROOF) {
                    host.neighbours_mut().confirm(clock::instant(now), to.ip());
                }
                let _ = host.stack().udp_send(process.gossip, None, to, &bytes);
            }
            Effect::Report(report) => outputs.push(match report {
                Report::Event { service, reason, message, .. } => {
                    SpeakerOutput::Event { service, reason, message }
                }
                Report::L2Status { name, change } => SpeakerOutput::L2Status { name, change },
                Report::Configuration(report) => SpeakerOutput::Configuration(report),
                Report::Network(network) => SpeakerOutput::Network(network),
                Report::Notice(notice) => SpeakerOutput::Notice(notice),
                // A timeline shows who hears whom in other ways.
                Report::Unheard(_) => return,
            }),
            Effect::JoinGroup { interface, group } => {
                process.groups.entry(interface).or_default().insert(group);
            }
            Effect::LeaveGroup { interface, group } => {
                process.groups.entry(interface).or_default().remove(&group);
            }
            Effect::Exit => outputs.push(SpeakerOutput::Exit),
        }
    }

    fn receive_gossip(&mut self, now: Time) -> bool {
        let Some(process) = &mut self.process else { return false };
        let (speaker, heard) = (&mut process.speaker, &mut process.heard);
        let mut receive = |from, _: IpAddr, bytes: &[u8]| {
            heard.insert(from, now);
            speaker.handle(now, Input::Datagram { from, bytes });
        };
        let stack = self.nics[0].host.stack();
        let mut has_worked = false;
        while stack.udp_receive_with(process.gossip, &mut receive).is_some() {
            has_worked = true;
        }
        has_worked
    }
}

impl Nic {
    /// The router, where it is: its default routes are not simulated.
    fn gateways(&self) -> Vec<IpAddr> {
        match self.lan {
            Lan::First => vec![address_plan::ROUTER.into(), address_plan::ipv6(address_plan::ROUTER).into()],
            Lan::Second => Vec::new(),
        }
    }

    fn interface(&self) -> Interface {
        let addresses = self.host.addresses();
        let EthernetAddress(mac) = self.host.mac();
        Interface {
            id: self.id,
            name: self.lan.interface().to_owned(),
            mac: Some(MacAddr(mac)),
            addresses: addresses.iter().map(|own| (own.address().into(), own.prefix_len())).collect(),
            gateways: self.gateways(),
            is_up: true,
            has_carrier: self.has_carrier,
            can_broadcast: true,
            no_arp: false,
            master: None,
            ipv6_is_off: false,
        }
    }

    /// Takes what the kernel sends. Returns whether there was anything.
    fn collect(&mut self) -> bool {
        let mut has_sent = false;
        while let Some(frame) = self.host.poll_frame() {
            has_sent = true;
            if self.has_carrier {
                self.outgoing.push_back(frame);
            }
        }
        has_sent
    }
}
