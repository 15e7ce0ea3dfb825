//! A client on the LAN: it asks by UDP again and again, fetches a page now and
//! then, and knows nothing of all this.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ferrolb_api::Time;
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::lab::address_plan;
use crate::lab::clock;
use crate::lab::stations::fetch::{self, Fetch, Progress};
use crate::net::ethernet_host::EthernetHost;
use crate::net::host::{Host, HostSettings};
use crate::net::neighbours::{ClientModel, Neighbour};
use crate::net::stack::UdpHandle;
use crate::net::station::Station;

/// A user needs this long to learn a new address.
const LEARN: Duration = Duration::from_millis(300);
/// How often a client says hello to each node before it asks.
const GREETINGS: u8 = 3;
/// Time between them.
const GREET_EVERY: Duration = Duration::from_millis(100);
/// Rounds that a client's sockets may keep it busy within one instant.
const MAX_ROUNDS: u32 = 100;

/// A client's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A Linux of today.
    Linux,
    /// A Linux before 4.12, whose lock window also covers requests.
    LinuxOld,
    /// A router that learns nothing from gratuitous replies.
    RouterIgnoringGratuitousReplies,
    /// A router that keeps an entry for four hours.
    FourHourRouter,
    /// smoltcp's own Ethernet stack, deaf to everything gratuitous.
    Smoltcp,
}

impl ClientKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Linux,
        Self::LinuxOld,
        Self::RouterIgnoringGratuitousReplies,
        Self::FourHourRouter,
        Self::Smoltcp,
    ];

    /// The word for it, in scenario files and on the timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::LinuxOld => "old-linux",
            Self::RouterIgnoringGratuitousReplies => "router",
            Self::FourHourRouter => "four-hour-router",
            Self::Smoltcp => "smoltcp",
        }
    }
}

/// One question and, if it came, its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// When it was sent.
    pub sent: Time,
    /// When the first answer came.
    pub answered: Option<Time>,
    /// Who gave it, as an index into [`Client::answerers`].
    pub by: u8,
}

/// Something a client noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// An answer to a question, and who gave it.
    Answer {
        /// Who gave it, as an index into [`Client::answerers`].
        by: u8,
    },
    /// A page came.
    Page {
        /// Its text.
        text: String,
        /// How long it took.
        took: Duration,
    },
    /// No page came.
    NoPage,
    /// Its table says something new of the address.
    Neighbour(Neighbour),
}

/// A client.
#[derive(Debug)]
pub struct Client {
    name: String,
    kind: ClientKind,
    address: Ipv4Addr,
    station: ClientStack,
    socket: UdpHandle,
    target: Option<Ipv4Addr>,
    greet: Vec<(Time, Ipv4Addr)>,
    ask_every: Duration,
    next_ask: Option<Time>,
    fetch_every: Duration,
    next_fetch: Option<Time>,
    fetch: Option<Fetch>,
    asks: Vec<Ask>,
    answerers: Vec<String>,
    seen: Option<Neighbour>,
    noticed: Vec<Noticed>,
}

/// The IP stack it sits on.
#[derive(Debug)]
enum ClientStack {
    Host(Box<Host>),
    Ethernet(Box<EthernetHost>),
}

/// How often a client does what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two questions by UDP.
    pub ask: Duration,
    /// Between two pages; zero is never.
    pub fetch: Duration,
}

impl Client {
    /// A client that does not yet know whom to ask.
    #[must_use]
    pub fn new(name: &str, kind: ClientKind, address: Ipv4Addr, pace: Pace, seed: u64) -> Self {
        let mac = address_plan::mac(address);
        let cidr = IpCidr::new(address.into(), address_plan::PREFIX_LEN);
        let host = |model| {
            let mut settings = HostSettings::new(name, mac, cidr, seed);
            settings.model = model;
            if address != address_plan::ROUTER {
                settings.gateways = vec![address_plan::ROUTER.into()];
            }
            ClientStack::Host(Box::new(Host::new(settings)))
        };
        let mut station = match kind {
            ClientKind::Linux => host(ClientModel::Linux),
            ClientKind::LinuxOld => host(ClientModel::LinuxOld),
            ClientKind::RouterIgnoringGratuitousReplies => host(ClientModel::RouterIgnoringGratuitousReplies),
            ClientKind::FourHourRouter => host(ClientModel::FourHourRouter),
            ClientKind::Smoltcp => ClientStack::Ethernet(Box::new(EthernetHost::new(
                name,
                mac,
                &[cidr],
                &[address_plan::ROUTER.into()],
                seed,
            ))),
        };
        let socket = station.station().stack().udp_bind(0);
        Self {
            name: name.to_owned(),
            kind,
            address,
            station,
            socket,
            target: None,
            greet: Vec::new(),
            ask_every: pace.ask,
            next_ask: None,
            fetch_every: pace.fetch,
            next_fetch: None,
            fetch: None,
            asks: Vec::new(),
            answerers: Vec::new(),
            seen: None,
            noticed: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its neighbour table is like.
    #[must_use]
    pub const fn kind(&self) -> ClientKind {
        self.kind
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its NIC's address.
    #[must_use]
    pub const fn mac(&self) -> EthernetAddress {
        address_plan::mac(self.address)
    }

    /// Everything it asked so far.
    #[must_use]
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// The names of the nodes that ever answered, in order of appearance.
    #[must_use]
    pub fn answerers(&self) -> &[String] {
        &self.answerers
    }

    /// What its table says of `address`; smoltcp's own table cannot be read.
    #[must_use]
    pub fn neighbour(&self, address: Ipv4Addr) -> Option<Neighbour> {
        match &self.station {
            ClientStack::Host(host) => host.neighbours().get(address.into()).copied(),
            ClientStack::Ethernet(_) => None,
        }
    }

    /// Begins to ask `address`, or stops if there is none.
    pub fn set_target(&mut self, now: Time, address: Option<Ipv4Addr>) {
        if self.target == address {
            return;
        }
        self.target = address;
        let begin = now + LEARN;
        self.next_ask = address.map(|_| begin);
        self.next_fetch = address.filter(|_| !self.fetch_every.is_zero()).map(|_| begin);
    }

    /// Says hello to each node from `at` on. A client is no adversary: it has
    /// talked with each node before, and their kernels know its hardware
    /// address (Linux forgets none as long as there are fewer than 128). A node
    /// that does not know it pays its own kernel's ARP, a second more if lost.
    pub fn greet(&mut self, at: Time, nodes: impl Iterator<Item = Ipv4Addr>) {
        for node in nodes {
            self.greet.extend((0..GREETINGS).map(|turn| (at + GREET_EVERY * u32::from(turn), node)));
        }
        self.greet.sort();
    }

    fn poll_greetings(&mut self, now: Time) {
        while let Some((due, node)) = self.greet.first().copied()
            && due <= now
        {
            self.greet.remove(0);
            let to = SocketAddr::new(node.into(), address_plan::ECHO_PORT);
            // No question has this number, so the answer is not taken for one.
            let _ = self.station.station().stack().udp_send(self.socket, None, to, &u32::MAX.to_be_bytes());
        }
    }

    /// A frame has arrived at its NIC.
    pub fn handle_frame(&mut self, now: Time, frame: &[u8]) {
        self.station.station().handle_frame(clock::instant(now), frame);
        self.pump(now);
    }

    /// Lets its timers fire.
    pub fn poll(&mut self, now: Time) {
        self.poll_greetings(now);
        if let (Some(target), Some(due)) = (self.target, self.next_ask)
            && due <= now
        {
            let sequence = u32::try_from(self.asks.len()).unwrap_or(u32::MAX);
            let to = SocketAddr::new(target.into(), address_plan::ECHO_PORT);
            // A full buffer loses the question, as in the kernel.
            let _ = self.station.station().stack().udp_send(self.socket, None, to, &sequence.to_be_bytes());
            self.asks.push(Ask { sent: now, answered: None, by: 0 });
            self.next_ask = Some(due + self.ask_every);
        }
        self.poll_fetch(now);
        self.pump(now);
    }

    fn poll_fetch(&mut self, now: Time) {
        if self.fetch.as_ref().is_some_and(|fetch| now - fetch.begun() >= fetch::TIMEOUT) {
            self.end_fetch(now, Noticed::NoPage);
        }
        if let (Some(target), Some(due), None) = (self.target, self.next_fetch, &self.fetch)
            && due <= now
        {
            let to = SocketAddr::new(target.into(), address_plan::HTTP_PORT);
            self.fetch = Some(Fetch::begin(now, self.station.station().stack(), to));
            self.next_fetch = None;
        }
    }

    fn end_fetch(&mut self, now: Time, noticed: Noticed) {
        if let Some(fetch) = self.fetch.take() {
            self.next_fetch = Some((fetch.begun() + self.fetch_every).max(now));
            fetch.end(self.station.station().stack());
            self.noticed.push(noticed);
        }
    }

    /// When to call [`Self::poll`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let timeout = self.fetch.as_ref().map(|fetch| fetch.begun() + fetch::TIMEOUT);
        let stack = self.station.poll_timeout().map(clock::time);
        let greeting = self.greet.first().map(|(due, _)| *due);
        [self.next_ask, self.next_fetch, timeout, stack, greeting].into_iter().flatten().min()
    }

    /// The next frame that leaves its NIC.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.station.station().poll_frame()
    }

    /// What it noticed since the last call.
    pub fn take_noticed(&mut self) -> Vec<Noticed> {
        std::mem::take(&mut self.noticed)
    }

    fn pump(&mut self, now: Time) {
        for _ in 0..MAX_ROUNDS {
            self.station.station().poll(clock::instant(now));
            let mut is_quiet = true;
            while let Some(answer) = self.station.station().stack().udp_receive(self.socket) {
                is_quiet = false;
                self.take_answer(now, &answer.payload);
            }
            is_quiet &= !self.pump_fetch(now);
            if is_quiet {
                break;
            }
        }
        if let Some(entry) = self.target.and_then(|target| self.neighbour(target))
            && self.seen.is_none_or(|seen| (seen.mac, seen.state) != (entry.mac, entry.state))
        {
            self.seen = Some(entry);
            self.noticed.push(Noticed::Neighbour(entry));
        }
    }

    fn take_answer(&mut self, now: Time, payload: &[u8]) {
        let Some((sequence, node)) = payload.split_first_chunk::<4>() else { return };
        let sequence = usize::try_from(u32::from_be_bytes(*sequence)).unwrap_or(usize::MAX);
        let Some(ask) = self.asks.get_mut(sequence) else { return };
        if ask.answered.is_some() {
            return;
        }
        let node = String::from_utf8_lossy(node);
        let known = self.answerers.iter().position(|name| *name == node);
        let index = known.unwrap_or_else(|| {
            self.answerers.push(node.into_owned());
            self.answerers.len() - 1
        });
        ask.answered = Some(now);
        ask.by = u8::try_from(index).unwrap_or(u8::MAX);
        self.noticed.push(Noticed::Answer { by: ask.by });
    }

    /// Returns whether the page under way got any further.
    fn pump_fetch(&mut self, now: Time) -> bool {
        let Some(fetch) = &mut self.fetch else { return false };
        let took = now - fetch.begun();
        match fetch.pump(self.station.station().stack()) {
            Progress::None => false,
            Progress::Some => true,
            Progress::Over(page) => {
                self.station.station().poll(clock::instant(now));
                self.end_fetch(now, page.map_or(Noticed::NoPage, |text| Noticed::Page { text, took }));
                false
            }
        }
    }
}

impl ClientStack {
    fn station(&mut self) -> &mut dyn Station {
        match self {
            Self::Host(host) => host.as_mut(),
            Self::Ethernet(host) => host.as_mut(),
        }
    }

    fn poll_timeout(&self) -> Option<smoltcp::time::Instant> {
        match self {
            Self::Host(host) => host.poll_timeout(),
            Self::Ethernet(host) => host.poll_timeout(),
        }
    }
}

/// Whether two tables' lines say the same.
#[must_use]
pub fn points_to(entry: &Neighbour, mac: EthernetAddress) -> bool {
    entry.state.is_valid() && entry.mac == Some(mac)
}

/// The address that a client can ask, if the Service has one of its family.
#[must_use]
pub fn askable(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
