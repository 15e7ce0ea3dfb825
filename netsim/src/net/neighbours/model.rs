//! The client models: what each kind of neighbour believes, and how long.

use smoltcp::time::{Duration, Instant};

/// A kind of neighbour. What it does with ARP is fixed by the model; all of them do NDP as Linux does, which is RFC 4861.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientModel {
    /// Linux since 4.12.
    #[default]
    Linux,
    /// Linux before 4.12: gratuitous ARP is subject to the lock window, and updates that change nothing move it.
    LinuxOld,
    /// A router that does not learn from gratuitous replies (Junos by default), holds entries for 20 minutes, and looks at
    /// no more than 300 ARP requests a second.
    RouterIgnoringGratuitousReplies,
    /// A router that holds entries for 4 hours (Cisco IOS).
    FourHourRouter,
    /// macOS: any ARP from a neighbour overwrites its entry at once, announcements also create one; 20 minutes. Its unicast
    /// probing is not modelled, so it is slower to help itself than the real one.
    MacOs,
}

impl ClientModel {
    /// All models, for tables and sweeps.
    pub const ALL: [Self; 5] = [
        Self::Linux,
        Self::LinuxOld,
        Self::RouterIgnoringGratuitousReplies,
        Self::FourHourRouter,
        Self::MacOs,
    ];

    pub(super) const fn rules(self) -> &'static Rules {
        match self {
            Self::Linux => &LINUX,
            Self::LinuxOld => &LINUX_OLD,
            Self::RouterIgnoringGratuitousReplies => &ROUTER,
            Self::FourHourRouter => &FOUR_HOURS,
            Self::MacOs => &MAC_OS,
        }
    }
}

/// Linux's `arp_accept`: whether unsolicited ARP creates entries. Entries that exist are updated whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArpAccept {
    /// 0.
    #[default]
    Never,
    /// 1.
    Always,
    /// 2: if the sender is in a subnet of ours.
    SameSubnet,
}

/// The kernel settings that change what a Linux client believes. Other models ignore them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sysctls {
    /// `net.ipv4.conf.*.arp_accept`.
    pub arp_accept: ArpAccept,
    /// `net.ipv4.conf.*.drop_gratuitous_arp`.
    pub drop_gratuitous_arp: bool,
    /// `net.ipv6.conf.*.drop_unsolicited_na`.
    pub drop_unsolicited_na: bool,
}

/// What a model does with ARP.
#[derive(Debug)]
pub(super) struct Rules {
    /// After a change, how long only privileged frames may change an entry again.
    pub(super) lock: Duration,
    /// Gratuitous ARP is privileged.
    pub(super) gratuitous_beats_lock: bool,
    /// An update that changes nothing starts the lock window anew.
    pub(super) no_op_moves_lock: bool,
    /// Replies in which sender and target address are the same are looked at.
    pub(super) gratuitous_replies: bool,
    /// Requests in which sender and target address are the same create entries.
    pub(super) announcements_create: bool,
    /// The sysctls apply.
    pub(super) sysctls: bool,
    /// How an IPv4 entry grows old.
    pub(super) ageing: Ageing,
    /// ARP requests looked at in a second.
    pub(super) policer: Option<u32>,
}

/// How an entry grows old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ageing {
    /// Neighbour unreachability detection.
    Probing,
    /// Good until so long after the last ARP that confirmed it, then forgotten.
    Fixed(Duration),
}

const LINUX: Rules = Rules {
    lock: Duration::from_secs(1),
    gratuitous_beats_lock: true,
    no_op_moves_lock: false,
    gratuitous_replies: true,
    announcements_create: false,
    sysctls: true,
    ageing: Ageing::Probing,
    policer: None,
};

const LINUX_OLD: Rules = Rules { gratuitous_beats_lock: false, no_op_moves_lock: true, ..LINUX };

const ROUTER: Rules = Rules {
    lock: Duration::ZERO,
    gratuitous_replies: false,
    sysctls: false,
    ageing: Ageing::Fixed(Duration::from_secs(20 * 60)),
    policer: Some(300),
    ..LINUX
};

const FOUR_HOURS: Rules = Rules {
    gratuitous_replies: true,
    ageing: Ageing::Fixed(Duration::from_secs(4 * 3600)),
    policer: None,
    ..ROUTER
};

const MAC_OS: Rules =
    Rules { announcements_create: true, ageing: Ageing::Fixed(Duration::from_secs(20 * 60)), ..FOUR_HOURS };

/// A token bucket of one second's worth.
#[derive(Debug)]
pub(super) struct Policer {
    rate: u64,
    /// Micro-tokens: a frame costs a million.
    tokens: u64,
    filled: Instant,
}

/// What a frame costs.
const TOKEN: u64 = 1_000_000;

impl Policer {
    pub(super) fn new(per_second: u32) -> Self {
        let rate = u64::from(per_second);
        Self { rate, tokens: rate * TOKEN, filled: Instant::ZERO }
    }

    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let elapsed = (now - self.filled.min(now)).total_micros();
        self.filled = now;
        self.tokens = self.tokens.saturating_add(elapsed.saturating_mul(self.rate)).min(self.rate * TOKEN);
        if self.tokens < TOKEN {
            return false;
        }
        self.tokens -= TOKEN;
        true
    }
}
