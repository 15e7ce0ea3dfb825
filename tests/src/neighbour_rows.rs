//! What a Linux neighbour makes of each kind of frame: the table of reliability.md 1.2 (ARP) and 1.3 (NDP), row by row.
//!
//! The client has a line for a VIP at node A, or none, or is just asking. Then node B sends exactly one frame. The same
//! rows are held against the model in virtual time (`neighbour_model`) and against the kernel (`neighbour_kernel`), so
//! that the simulated clients are known to be true.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netsim::net::frame::{self, ALL_NODES, Arp, ETHERNET_HEADER};
use netsim::net::neighbours::{ArpAccept, NeighbourState, Sysctls};
use smoltcp::wire::{ArpOperation, EthernetAddress, Icmpv6Packet, Ipv6Packet, NdiscNeighborFlags, NdiscRepr};

use NeighbourState::{Delay, Incomplete, Reachable, Stale};

/// The client.
pub const CLIENT: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xc]);
/// The node that has answered for the VIP so far.
pub const A: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xa]);
/// The node that sends the frame.
pub const B: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xb]);

const ZERO: EthernetAddress = EthernetAddress([0; 6]);
const ALL: EthernetAddress = EthernetAddress::BROADCAST;

/// A frame from B about the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Gratuitous ARP request (spa = tpa = VIP), broadcast, with this target hardware address.
    GratuitousRequest(EthernetAddress),
    /// Gratuitous ARP reply, broadcast, likewise.
    GratuitousReply(EthernetAddress),
    /// ARP reply to the client, which has not asked.
    UnicastReply,
    /// ARP request: who has the client's address, tell the VIP. Sent to this address.
    AsksForClient(EthernetAddress),
    /// ARP request: who has somebody else's address, tell the VIP.
    AsksForOther,
    /// ARP probe: who has the VIP, tell nobody.
    Probe,
    /// Neighbour advertisement with these flags, to all nodes.
    AdvertToAll(NdiscNeighborFlags),
    /// The same, to the client.
    AdvertToClient(NdiscNeighborFlags),
    /// Neighbour solicitation for the client's address from the VIP, with source option; to the client alone or to its
    /// solicited-node group.
    SolicitsClient {
        /// To the client alone.
        unicast: bool,
    },
    /// Duplicate address detection for the VIP.
    Dad,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tha = |mac: EthernetAddress| match mac {
            ALL => "ff:ff",
            ZERO => "0",
            _ => "sha",
        };
        let cast = |unicast: bool| if unicast { "unicast" } else { "to all" };
        let bit = |flags: NdiscNeighborFlags, bit| u8::from(flags.contains(bit));
        match *self {
            Self::GratuitousRequest(mac) => write!(f, "GARP request, tha={}", tha(mac)),
            Self::GratuitousReply(mac) => write!(f, "GARP reply, tha={}", tha(mac)),
            Self::UnicastReply => write!(f, "unsolicited unicast reply"),
            Self::AsksForClient(to) => write!(f, "request for the client, {}", cast(to == CLIENT)),
            Self::AsksForOther => write!(f, "request for somebody else"),
            Self::Probe => write!(f, "ARP probe"),
            Self::AdvertToAll(flags) => write!(f, "NA S={} O={} to all", bit(flags, S), bit(flags, O)),
            Self::AdvertToClient(flags) => write!(f, "NA S={} O={} unicast", bit(flags, S), bit(flags, O)),
            Self::SolicitsClient { unicast } => write!(f, "NS for the client, {}", cast(unicast)),
            Self::Dad => write!(f, "NS of duplicate address detection"),
        }
    }
}

/// What the client knows when the frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The VIP is at A, reachable, since so long ago.
    KnownFor(Duration),
    /// It has never heard of the VIP.
    Nothing,
    /// It is asking for the VIP; a packet waits.
    Asking,
}

/// Kernel settings of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// As shipped.
    Default,
    /// `drop_gratuitous_arp=1`, `drop_unsolicited_na=1`.
    DropUnasked,
    /// `arp_accept=1`.
    AcceptAlways,
    /// `arp_accept=2`.
    AcceptSameSubnet,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "as shipped",
            Self::DropUnasked => "drop_*=1",
            Self::AcceptAlways => "arp_accept=1",
            Self::AcceptSameSubnet => "arp_accept=2",
        })
    }
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Default, Self::DropUnasked, Self::AcceptAlways, Self::AcceptSameSubnet];

    /// For the model.
    #[must_use]
    pub fn sysctls(self) -> Sysctls {
        let shipped = Sysctls::default();
        match self {
            Self::Default => shipped,
            Self::DropUnasked => Sysctls { drop_gratuitous_arp: true, drop_unsolicited_na: true, ..shipped },
            Self::AcceptAlways => Sysctls { arp_accept: ArpAccept::Always, ..shipped },
            Self::AcceptSameSubnet => Sysctls { arp_accept: ArpAccept::SameSubnet, ..shipped },
        }
    }

    /// For the kernel: names below `/proc/sys/net/*/conf/INTERFACE/`, with family and value.
    #[must_use]
    pub const fn kernel(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::Default => &[],
            Self::DropUnasked => {
                &[("ipv4", "drop_gratuitous_arp", "1"), ("ipv6", "drop_unsolicited_na", "1")]
            }
            Self::AcceptAlways => &[("ipv4", "arp_accept", "1")],
            Self::AcceptSameSubnet => &[("ipv4", "arp_accept", "2")],
        }
    }

    /// Third part of the setting's subnets, 10.9.n.0/24 and fd09:n::/64.
    #[must_use]
    pub const fn subnet(self) -> u8 {
        self as u8
    }
}

/// What the client knows after the frame: hardware address and state, or nothing at all.
pub type After = Option<(Option<EthernetAddress>, NeighbourState)>;

const UNKNOWN: After = None;
const ASKING: After = Some((None, Incomplete));
const A_REACHABLE: After = Some((Some(A), Reachable));
const A_STALE: After = Some((Some(A), Stale));
const B_REACHABLE: After = Some((Some(B), Reachable));
const B_STALE: After = Some((Some(B), Stale));
/// Stale, and something was sent there at once: a packet that had waited, or the answer to a solicitation.
const B_DELAY: After = Some((Some(B), Delay));

const FRESH: Before = Before::KnownFor(Duration::from_millis(100));
const SETTLED: Before = Before::KnownFor(Duration::from_millis(1500));

/// Columns of [`ARP`].
const ARP_COLUMNS: [(Before, Setting); 7] = [
    (FRESH, Setting::Default),
    (SETTLED, Setting::Default),
    (Before::Nothing, Setting::Default),
    (Before::Asking, Setting::Default),
    (SETTLED, Setting::DropUnasked),
    (Before::Nothing, Setting::AcceptAlways),
    (Before::Nothing, Setting::AcceptSameSubnet),
];

/// reliability.md 1.2. Where it gives only the address, the state is what Linux 6.18 shows.
#[rustfmt::skip]
const ARP: [(Form, [After; 7]); 10] = [
    //                                fresh        settled      nothing  asking       drop         accept=1     accept=2
    (Form::GratuitousRequest(ZERO), [B_STALE,     B_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE, B_STALE,     B_STALE]),
    (Form::GratuitousRequest(ALL),  [B_STALE,     B_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE, B_STALE,     B_STALE]),
    (Form::GratuitousReply(ALL),    [A_REACHABLE, B_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE, B_STALE,     B_STALE]),
    (Form::GratuitousReply(ZERO),   [A_REACHABLE, B_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE, B_STALE,     B_STALE]),
    (Form::GratuitousReply(B),      [B_STALE,     B_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE, B_STALE,     B_STALE]),
    (Form::UnicastReply,            [A_REACHABLE, B_REACHABLE, UNKNOWN, B_REACHABLE, B_REACHABLE, B_REACHABLE, B_REACHABLE]),
    (Form::AsksForClient(ALL),      [B_STALE,     B_STALE,     B_STALE, B_DELAY,     B_STALE,     B_STALE,     B_STALE]),
    (Form::AsksForClient(CLIENT),   [B_STALE,     B_STALE,     B_STALE, B_DELAY,     B_STALE,     B_STALE,     B_STALE]),
    (Form::AsksForOther,            [A_REACHABLE, B_STALE,     UNKNOWN, B_DELAY,     B_STALE,     UNKNOWN,     UNKNOWN]),
    (Form::Probe,                   [A_REACHABLE, A_REACHABLE, UNKNOWN, ASKING,      A_REACHABLE, UNKNOWN,     UNKNOWN]),
];

/// Columns of [`NDP`]. There is no lock window in IPv6, so one age is enough.
const NDP_COLUMNS: [(Before, Setting); 4] = [
    (FRESH, Setting::Default),
    (Before::Nothing, Setting::Default),
    (Before::Asking, Setting::Default),
    (FRESH, Setting::DropUnasked),
];

const NONE: NdiscNeighborFlags = NdiscNeighborFlags::empty();
const O: NdiscNeighborFlags = NdiscNeighborFlags::OVERRIDE;
const S: NdiscNeighborFlags = NdiscNeighborFlags::SOLICITED;
const SO: NdiscNeighborFlags = NdiscNeighborFlags::from_bits_truncate(O.bits() | S.bits());

/// reliability.md 1.3. The column "asking" is ours: an entry without an address takes whatever comes first.
#[rustfmt::skip]
const NDP: [(Form, [After; 4]); 8] = [
    //                                          fresh        nothing  asking       drop
    (Form::AdvertToAll(O),                     [B_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE]),
    (Form::AdvertToAll(NONE),                  [A_STALE,     UNKNOWN, B_DELAY,     A_REACHABLE]),
    (Form::AdvertToClient(S),                  [A_STALE,     UNKNOWN, B_REACHABLE, A_STALE]),
    (Form::AdvertToClient(SO),                 [B_REACHABLE, UNKNOWN, B_REACHABLE, B_REACHABLE]),
    (Form::AdvertToAll(SO),                    [A_REACHABLE, UNKNOWN, ASKING,      A_REACHABLE]),
    (Form::SolicitsClient { unicast: false },  [B_DELAY,     B_DELAY, B_DELAY,     B_DELAY]),
    (Form::SolicitsClient { unicast: true },   [B_DELAY,     B_DELAY, B_DELAY,     B_DELAY]),
    (Form::Dad,                                [A_REACHABLE, UNKNOWN, ASKING,      A_REACHABLE]),
];

/// One cell of the tables, with a VIP of its own, so that all cells can be tried at the same time.
#[derive(Clone, Debug)]
pub struct Case {
    /// Row and column.
    pub name: String,
    /// What B sends.
    pub form: Form,
    /// What the client knows.
    pub before: Before,
    /// How the client is set.
    pub setting: Setting,
    /// What must come of it.
    pub after: After,
    /// The address it is about.
    pub vip: IpAddr,
    /// The client's own address in the VIP's subnet.
    pub client: IpAddr,
}

/// All cells of both tables.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (form, cells) in ARP {
        for ((before, setting), after) in ARP_COLUMNS.into_iter().zip(cells) {
            let number = next_number(&cases, setting);
            let [client, vip] = [1, number].map(|last| Ipv4Addr::new(10, 9, setting.subnet(), last).into());
            cases.push(Case::new("1.2", form, before, setting, after, vip, client));
        }
    }
    for (form, cells) in NDP {
        for ((before, setting), after) in NDP_COLUMNS.into_iter().zip(cells) {
            let number = next_number(&cases, setting);
            let [client, vip] = [1, number].map(|last| {
                Ipv6Addr::new(0xfd09, setting.subnet().into(), 0, 0, 0, 0, 0, last.into()).into()
            });
            cases.push(Case::new("1.3", form, before, setting, after, vip, client));
        }
    }
    cases
}

/// The last byte of the next VIP in a setting's subnet.
fn next_number(cases: &[Case], setting: Setting) -> u8 {
    let taken = cases.iter().filter(|case| case.setting == setting).count();
    u8::try_from(100 + taken).expect("fewer than 150 cells in one setting")
}

impl Case {
    fn new(
        table: &str,
        form: Form,
        before: Before,
        setting: Setting,
        after: After,
        vip: IpAddr,
        client: IpAddr,
    ) -> Self {
        let before_name = match before {
            Before::KnownFor(age) => format!("known for {} ms", age.as_millis()),
            Before::Nothing => "nothing known".to_owned(),
            Before::Asking => "asking".to_owned(),
        };
        let name = format!("{table} {form}; {before_name}; {setting}");
        Self { name, form, before, setting, after, vip, client }
    }

    /// The frame that B sends, of at least 60 bytes as on a wire.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut bytes = match (self.vip, self.client) {
            (IpAddr::V4(vip), IpAddr::V4(client)) => self.arp(vip, client),
            (IpAddr::V6(vip), IpAddr::V6(client)) => self.ndp(vip, client),
            _ => unreachable!("a VIP and the client's address in its subnet are of one family"),
        };
        bytes.resize(bytes.len().max(60), 0);
        bytes
    }

    fn arp(&self, vip: Ipv4Addr, client: Ipv4Addr) -> Vec<u8> {
        use ArpOperation::{Reply, Request};
        let [a, b, c, _] = client.octets();
        let other = Ipv4Addr::new(a, b, c, 254);
        let (destination, operation, spa, tha, tpa) = match self.form {
            Form::GratuitousRequest(tha) => (ALL, Request, vip, tha, vip),
            Form::GratuitousReply(tha) => (ALL, Reply, vip, tha, vip),
            Form::UnicastReply => (CLIENT, Reply, vip, CLIENT, client),
            Form::AsksForClient(destination) => (destination, Request, vip, ZERO, client),
            Form::AsksForOther => (ALL, Request, vip, ZERO, other),
            Form::Probe => (ALL, Request, Ipv4Addr::UNSPECIFIED, ZERO, vip),
            form => unreachable!("{form:?} is no ARP frame"),
        };
        frame::arp(B, destination, Arp { operation, sha: B, spa, tha, tpa })
    }

    fn ndp(&self, vip: Ipv6Addr, client: Ipv6Addr) -> Vec<u8> {
        let advert = |flags| NdiscRepr::NeighborAdvert { flags, target_addr: vip, lladdr: Some(B.into()) };
        let solicit = |target_addr, lladdr| NdiscRepr::NeighborSolicit { target_addr, lladdr };
        let send = |destination, from, to, message| frame::ndp(B, destination, from, to, message);
        let group = |address| {
            let group = frame::solicited_node(address);
            (frame::multicast_mac(group.into()), group)
        };
        match self.form {
            Form::AdvertToAll(flags) => {
                send(frame::multicast_mac(ALL_NODES.into()), vip, ALL_NODES, advert(flags))
            }
            Form::AdvertToClient(flags) => send(CLIENT, vip, client, advert(flags)),
            Form::SolicitsClient { unicast } => {
                let (destination, to) = if unicast { (CLIENT, client) } else { group(client) };
                send(destination, vip, to, solicit(client, Some(B.into())))
            }
            Form::Dad => {
                let (destination, to) = group(vip);
                send(destination, Ipv6Addr::UNSPECIFIED, to, solicit(vip, None))
            }
            form => unreachable!("{form:?} is no NDP frame"),
        }
    }
}

/// A's answer to a frame of the client, if that asks for an address: which one, and the frame.
#[must_use]
pub fn answer(asked: &[u8]) -> Option<(IpAddr, Vec<u8>)> {
    let body = asked.get(ETHERNET_HEADER..)?;
    match asked.get(12..ETHERNET_HEADER)? {
        [0x08, 0x06] if body.get(6..8)? == [0, 1] => {
            let asker: [u8; 4] = body.get(14..18)?.try_into().ok()?;
            let target: [u8; 4] = body.get(24..28)?.try_into().ok()?;
            let (asker, target) = (Ipv4Addr::from(asker), Ipv4Addr::from(target));
            let reply = Arp { operation: ArpOperation::Reply, sha: A, spa: target, tha: CLIENT, tpa: asker };
            Some((target.into(), frame::arp(A, CLIENT, reply)))
        }
        [0x86, 0xdd] => {
            let ip = Ipv6Packet::new_checked(body).ok()?;
            let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
            let NdiscRepr::NeighborSolicit { target_addr, .. } = NdiscRepr::parse(&icmp).ok()? else {
                return None;
            };
            let advert = NdiscRepr::NeighborAdvert { flags: SO, target_addr, lladdr: Some(A.into()) };
            Some((target_addr.into(), frame::ndp(A, CLIENT, target_addr, ip.src_addr(), advert)))
        }
        _ => None,
    }
}
