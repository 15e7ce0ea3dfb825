//! One received frame of either protocol: read, judged, answered.

use std::net::IpAddr;

use ferrolb_api::IpFamily;

use super::announcements::Lookup;
use super::drop_reason::DropReason;
use super::gate::Request;
use super::{arp, frame, ndp};
use crate::interface::MacAddr;

/// A frame that could be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReceivedFrame {
    Arp(arp::Packet),
    Ndp(ndp::Message),
}

impl ReceivedFrame {
    /// Whose protocol a frame is to be read as.
    pub(crate) fn family(bytes: &[u8]) -> IpFamily {
        if frame::is_ipv6(bytes) { IpFamily::V6 } else { IpFamily::V4 }
    }

    /// Reads a frame. Whatever the bytes, it gives a message or a reason.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        match Self::family(bytes) {
            IpFamily::V4 => arp::parse(bytes).map(Self::Arp),
            IpFamily::V6 => ndp::parse(bytes).map(Self::Ndp),
        }
    }

    /// Its Ethernet source, and where its sender is, as far as it says.
    pub(crate) fn senders(&self) -> (MacAddr, MacAddr) {
        match self {
            Self::Arp(packet) => (packet.source, packet.sender_mac),
            Self::Ndp(message) => (message.source, message.sender_mac()),
        }
    }

    /// The address asked for.
    pub(crate) const fn target(&self) -> IpAddr {
        match self {
            Self::Arp(packet) => IpAddr::V4(packet.target_ip),
            Self::Ndp(message) => IpAddr::V6(message.target),
        }
    }

    /// Which address the sender says is where.
    pub(crate) fn claim(&self) -> Option<(IpAddr, MacAddr)> {
        match self {
            Self::Arp(packet) => packet.is_claim().then_some((packet.sender_ip.into(), packet.sender_mac)),
            Self::Ndp(message) => message.claim().map(|(address, mac)| (address.into(), mac)),
        }
    }

    /// Whether it asks for another address than its sender's.
    pub(crate) fn asks(&self) -> bool {
        match self {
            Self::Arp(packet) => {
                packet.operation == arp::Operation::Request && packet.sender_ip != packet.target_ip
            }
            Self::Ndp(message) => message.kind == ndp::Kind::Solicitation && message.from != message.target,
        }
    }

    /// Which budget its answer comes out of (T3).
    pub(crate) fn request(&self) -> Request {
        let (source, sender) = self.senders();
        match self {
            Self::Ndp(message) if message.is_duplicate_detection() => Request::ToAll,
            _ if source != sender => Request::Mismatched,
            _ => Request::Plain,
        }
    }

    /// Whether it is to be answered where `own` is our address. `lookup` says
    /// whether the address asked for is announced there.
    pub(crate) fn judge(
        &self,
        own: MacAddr,
        lookup: impl FnOnce(IpAddr) -> Lookup,
    ) -> Result<(), DropReason> {
        match self {
            Self::Arp(packet) => arp::judge(packet, own, |address| lookup(address.into())),
            Self::Ndp(message) => ndp::judge(message, own, |address| lookup(address.into())),
        }
    }

    /// The frame that answers it.
    pub(crate) fn reply(&self, own: MacAddr) -> Vec<u8> {
        match self {
            Self::Arp(packet) => packet.reply(own).to_frame(),
            Self::Ndp(message) => message.reply(own).to_frame(),
        }
    }
}
