//! Why a received frame is not answered.

/// Why a frame was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// It came from an interface that we have not been told of.
    UnknownInterface,
    /// The interface does not announce: down, without broadcast or ARP, or part
    /// of a bridge or bond (D45, D46).
    UnusableInterface,
    /// It ends before the packet in it does.
    TooShort,
    /// It is longer than any Ethernet frame on a segment of 1,500 bytes.
    TooLong,
    /// It carries a VLAN tag: its segment is another one (D54).
    Tagged,
    /// Its EtherType is neither ARP's nor IPv6's (D50).
    NotArp,
    /// It is IPv6, but neither a neighbour solicitation nor an advertisement.
    NotNdp,
    /// It is ARP, but not for IPv4 over Ethernet (D54); or NDP with a code, an
    /// option, an address or a flag that may not be there (RFC 4861 7.1).
    Malformed,
    /// Its hop limit is not 255: a router has passed it on (RFC 4861 7.1).
    HopLimit,
    /// Its ICMPv6 checksum is wrong.
    BadChecksum,
    /// Its operation is neither request nor reply.
    UnknownOperation,
    /// It is a reply or an advertisement (D56, D62). It was looked at for
    /// conflicts.
    NotARequest,
    /// Its destination is neither broadcast nor our own address (D56); in NDP,
    /// neither the group of the address asked for nor that address itself.
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
            Self::NotNdp => "notNDP",
            Self::HopLimit => "hopLimit",
            Self::BadChecksum => "badChecksum",
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
