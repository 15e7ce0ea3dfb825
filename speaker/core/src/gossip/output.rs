//! What comes out of gossip: datagrams to send, and changes of who is alive.

use std::net::SocketAddr;

use ferrolb_api::NodeName;

use crate::gossip::unheard::UnheardPeers;

/// Something that the member list asks for or tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send a datagram.
    Send(SocketAddr, Vec<u8>),
    /// A member is alive now.
    Up(NodeName),
    /// A member is dead or has left.
    Down(NodeName),
    /// A member came back without having been missed.
    Restarted(NodeName),
    /// Peers that ought to be heard are not, or all are again.
    Unheard(UnheardPeers),
    /// What is known of what nodes can announce on has changed.
    Reaches,
}
