//! What is answered: one received frame in, a reply or the reason for silence out.

pub(crate) mod arp;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send this frame where the request came from.
    Reply(Vec<u8>),
    /// Say nothing.
    Drop(DropReason),
}

/// Why a frame was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// It came from an interface that we have not been told of.
    UnknownInterface,
    /// The interface does not announce: down, without broadcast or ARP, or part
    /// of a bridge or bond (D45).
    UnusableInterface,
    /// It ends before the ARP packet does.
    TooShort,
    /// It is longer than any Ethernet frame that can hold ARP.
    TooLong,
    /// It carries a VLAN tag: its segment is another one (D54).
    Tagged,
    /// Its EtherType is not ARP (D50).
    NotArp,
    /// It is ARP, but not for IPv4 over Ethernet (D54).
    Malformed,
    /// Its operation is neither request nor reply.
    UnknownOperation,
    /// It is a reply (D56). It was looked at for conflicts.
    NotARequest,
    /// Its destination is neither broadcast nor our own address (D56).
    ForeignDestination,
    /// Its sender is a group or nobody; an answer would be an attack (T3).
    SenderNotUnicast,
    /// We sent it ourselves.
    OwnFrame,
    /// This node does not announce the address asked for (D56).
    NotAnnounced,
    /// It announces the address, but not on this interface (D56).
    OtherInterface,
    /// More requests came than are answered (T3).
    RateLimited,
    /// The address was handed over to another node on the way out.
    HandedOver,
}

impl DropReason {
    /// The reason as a metric's label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownInterface => "unknownInterface",
            Self::UnusableInterface => "unusableInterface",
            Self::TooShort => "tooShort",
            Self::TooLong => "tooLong",
            Self::Tagged => "tagged",
            Self::NotArp => "notARP",
            Self::Malformed => "malformed",
            Self::UnknownOperation => "unknownOperation",
            Self::NotARequest => "notARequest",
            Self::ForeignDestination => "foreignDestination",
            Self::SenderNotUnicast => "senderNotUnicast",
            Self::OwnFrame => "ownFrame",
            Self::NotAnnounced => "notAnnounced",
            Self::OtherInterface => "otherInterface",
            Self::RateLimited => "rateLimited",
            Self::HandedOver => "handedOver",
        }
    }
}
