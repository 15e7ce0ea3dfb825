//! A station at which somebody sits who tries things: who has this address,
//! one datagram, one page. Its answers come off the wire.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ferrolb_api::Time;
use smoltcp::wire::{ArpOperation, EthernetAddress, NdiscRepr};

use crate::lab::address_plan::{self, Lan};
use crate::lab::checks::arp::{Arp, Role};
use crate::lab::checks::ndp::Ndp;
use crate::lab::clock;
use crate::lab::stations::fetch::{Fetch, Progress};
use crate::net::frame;
use crate::net::host::{Host, HostSettings};
use crate::net::stack::UdpHandle;
use crate::net::station::Station;

/// Rounds that its sockets may keep it busy within one instant.
const MAX_ROUNDS: u32 = 100;

/// Somebody answered a question for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimHeard {
    /// The address.
    pub address: IpAddr,
    /// Where it is said to be.
    pub mac: EthernetAddress,
    /// Who says so: the Ethernet source.
    pub source: EthernetAddress,
}

/// The station.
#[derive(Debug)]
pub struct ProbeHost {
    lan: Lan,
    address: Ipv4Addr,
    host: Host,
    socket: UdpHandle,
    fetch: Option<Fetch>,
    outgoing: VecDeque<Vec<u8>>,
    claims: Vec<ClaimHeard>,
    answer: Option<String>,
    page: Option<Option<String>>,
}

impl ProbeHost {
    /// A probe on a LAN.
    #[must_use]
    pub fn new(lan: Lan, seed: u64) -> Self {
        let address = address_plan::probe_address(lan);
        let addresses = address_plan::own_addresses(address);
        let mut settings = HostSettings::new("tester", address_plan::mac(address), addresses[0], seed);
        settings.addresses = addresses;
        let mut host = Host::new(settings);
        let socket = host.stack().udp_bind(0);
        let (outgoing, claims) = (VecDeque::new(), Vec::new());
        Self { lan, address, host, socket, fetch: None, outgoing, claims, answer: None, page: None }
    }

    /// The LAN it sits on.
    #[must_use]
    pub const fn lan(&self) -> Lan {
        self.lan
    }

    /// Asks everybody who has `address`, by ARP or neighbour discovery, as
    /// `arping` and `ndisc6` do; [`Self::claims`] has the answers.
    pub fn ask_who_has(&mut self, address: IpAddr) {
        self.claims.clear();
        let mac = address_plan::mac(self.address);
        self.outgoing.push_back(match address {
            IpAddr::V4(target) => frame::arp(
                mac,
                EthernetAddress::BROADCAST,
                frame::Arp {
                    operation: ArpOperation::Request,
                    sha: mac,
                    spa: self.address,
                    tha: EthernetAddress([0; 6]),
                    tpa: target,
                },
            ),
            IpAddr::V6(target) => {
                let group = frame::solicited_node(target);
                let question = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: Some(mac.into()) };
                let to = frame::multicast_mac(group.into());
                frame::ndp(mac, to, address_plan::ipv6(self.address), group, question)
            }
        });
    }

    /// Answers to the last [`Self::ask_who_has`], in the order they came.
    #[must_use]
    pub fn claims(&self) -> &[ClaimHeard] {
        &self.claims
    }

    /// Sends one datagram, having forgotten who has which hardware address, so
    /// that its kernel must ask; [`Self::answer`] has what comes back.
    pub fn ask(&mut self, now: Time, to: SocketAddr) {
        self.host.neighbours_mut().flush();
        self.answer = None;
        // A full buffer loses the question, as in the kernel.
        let _ = self.host.stack().udp_send(self.socket, None, to, b"?");
        self.pump(now);
    }

    /// The answer to the last [`Self::ask`]: the name of the node that gave it.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// Begins to fetch a page, likewise; [`Self::page`] has it.
    pub fn fetch(&mut self, now: Time, from: SocketAddr) {
        if let Some(fetch) = self.fetch.take() {
            fetch.end(self.host.stack());
        }
        self.host.neighbours_mut().flush();
        self.page = None;
        self.fetch = Some(Fetch::begin(now, self.host.stack(), from));
        self.pump(now);
    }

    /// What came of the last [`Self::fetch`]; `None` while it is under way.
    #[must_use]
    pub fn page(&self) -> Option<Option<&str>> {
        self.page.as_ref().map(Option::as_deref)
    }

    /// Where its kernel has `address` now.
    #[must_use]
    pub fn neighbour(&self, address: IpAddr) -> Option<EthernetAddress> {
        self.host.neighbours().get(address).filter(|entry| entry.state.is_valid())?.mac
    }

    /// A frame has arrived at its NIC.
    pub fn handle_frame(&mut self, now: Time, frame: &[u8]) {
        let mac = address_plan::mac(self.address);
        if let Some(arp) = Arp::parse(frame)
            && arp.role() == Role::Answer
            && arp.destination == mac
        {
            self.claims.push(ClaimHeard {
                address: arp.sender.into(),
                mac: arp.sender_mac,
                source: arp.source,
            });
        }
        if let Some(Ndp {
            is_advertisement: true,
            is_solicited: true,
            target,
            mac: Some(claimed),
            source,
            ..
        }) = Ndp::parse(frame).filter(|ndp| ndp.destination == mac)
        {
            self.claims.push(ClaimHeard { address: target.into(), mac: claimed, source });
        }
        self.host.handle_frame(clock::instant(now), frame);
        self.pump(now);
    }

    /// Lets its timers fire.
    pub fn poll(&mut self, now: Time) {
        self.pump(now);
    }

    /// When to call [`Self::poll`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.host.poll_timeout().map(clock::time)
    }

    /// The next frame that leaves its NIC.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front().or_else(|| self.host.poll_frame())
    }

    fn pump(&mut self, now: Time) {
        for _ in 0..MAX_ROUNDS {
            self.host.poll(clock::instant(now));
            let mut is_quiet = true;
            while let Some(answer) = self.host.stack().udp_receive(self.socket) {
                is_quiet = false;
                let node = answer.payload.strip_prefix(b"?").unwrap_or_default();
                self.answer = Some(String::from_utf8_lossy(node).into_owned());
            }
            is_quiet &= !self.pump_fetch(now);
            if is_quiet {
                return;
            }
        }
    }

    fn pump_fetch(&mut self, now: Time) -> bool {
        let Some(fetch) = &mut self.fetch else { return false };
        match fetch.pump(self.host.stack()) {
            Progress::None => false,
            Progress::Some => true,
            Progress::Over(page) => {
                self.page = Some(page);
                self.host.poll(clock::instant(now));
                if let Some(fetch) = self.fetch.take() {
                    fetch.end(self.host.stack());
                }
                false
            }
        }
    }
}
