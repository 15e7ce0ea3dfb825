//! An ARP or NDP frame as a claim: who says that which address is where.

use std::net::IpAddr;

use smoltcp::wire::EthernetAddress;

use crate::lab::checks::arp::{Arp, Role};
use crate::lab::checks::ndp::Ndp;

/// What a frame says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// Nothing: its sender has none yet.
    Probe,
    /// An answer to somebody's question.
    Answer,
    /// That the address is here, to whom it may concern; a question says so too.
    Announcement,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameClaim {
    /// The address that is claimed.
    pub address: IpAddr,
    /// The sender's address in the IP header, where there is one beside it.
    pub from: Option<IpAddr>,
    /// Ethernet source.
    pub source: EthernetAddress,
    /// Where the address is said to be; `None` if that is left out.
    pub mac: Option<EthernetAddress>,
    /// What it is.
    pub saying: Saying,
    /// Whether it asks for an answer.
    pub is_question: bool,
}

impl FrameClaim {
    /// Whether a frame is ARP or neighbour discovery, valid or not.
    #[must_use]
    pub fn is(frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&[0x08, 0x06]) || Ndp::is(frame)
    }

    /// Reads a frame; `None` if it is neither, or not valid.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        if let Some(arp) = Arp::parse(frame) {
            let saying = match arp.role() {
                Role::Probe => Saying::Probe,
                Role::Answer => Saying::Answer,
                Role::Question | Role::GratuitousRequest | Role::DirectedRequest | Role::GratuitousReply => {
                    Saying::Announcement
                }
            };
            return Some(Self {
                address: arp.sender.into(),
                from: None,
                source: arp.source,
                mac: Some(arp.sender_mac),
                saying,
                is_question: !arp.is_reply,
            });
        }
        let ndp = Ndp::parse(frame)?;
        let (address, saying) = match (ndp.is_advertisement, ndp.is_solicited) {
            (false, _) if ndp.from.is_unspecified() => (ndp.from, Saying::Probe),
            (false, _) => (ndp.from, Saying::Announcement),
            (true, true) => (ndp.target, Saying::Answer),
            (true, false) => (ndp.target, Saying::Announcement),
        };
        Some(Self {
            address: address.into(),
            from: Some(ndp.from.into()),
            source: ndp.source,
            mac: ndp.mac,
            saying,
            is_question: !ndp.is_advertisement,
        })
    }
}
