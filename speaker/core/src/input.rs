//! Everything that can happen to a speaker.

use std::net::{IpAddr, SocketAddr};

use ferrolb_api::config::Resources;
use ferrolb_api::{EndpointSlice, L2Status, Node, NodeName, Service, ServiceKey};

use crate::interface::{Interface, InterfaceId};

/// One thing that happened. Bytes are borrowed: a frame is never copied to be
/// looked at.
///
/// Lists (`Resources`, `Services`, `EndpointSlices`, `Nodes`, `Peers`,
/// `Interfaces`) are whole: what is missing in one is gone.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// An Ethernet frame was received: ARP of any operation, a neighbour
    /// solicitation or advertisement, and nothing that this node sent itself.
    Frame {
        /// Where.
        interface: InterfaceId,
        /// The frame from its Ethernet header on, without checksum.
        bytes: &'a [u8],
    },
    /// A datagram came to the gossip port. It is not trusted yet.
    Datagram {
        /// Its source.
        from: SocketAddr,
        /// Its payload, still sealed.
        bytes: &'a [u8],
    },
    /// The links and their addresses, each time one changes.
    Interfaces(Vec<Interface>),
    /// The custom resources, each time one changes.
    Resources(Resources),
    /// Every Service, after a (new) list.
    Services(Vec<Service>),
    /// A Service was created or changed.
    Service(Box<Service>),
    /// A Service was deleted.
    ServiceGone(ServiceKey),
    /// Every EndpointSlice, after a (new) list.
    EndpointSlices(Vec<EndpointSlice>),
    /// An EndpointSlice was created or changed.
    EndpointSlice(EndpointSlice),
    /// An EndpointSlice was deleted.
    EndpointSliceGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Every Node, each time one changes in a way we look at.
    Nodes(Vec<Node>),
    /// Every `ServiceL2Status` in our namespace, after a (new) list.
    L2Statuses(Vec<L2Status>),
    /// A `ServiceL2Status` was created or changed.
    L2Status(Box<L2Status>),
    /// The `ServiceL2Status` of this name was deleted.
    L2StatusGone(String),
    /// The speakers that Kubernetes knows, from their Pods, this one included: an entry
    /// for each address.
    Peers(Vec<Peer>),
    /// SIGTERM: leave the member list, hand over, then end with
    /// [`crate::Effect::Exit`].
    Shutdown,
    /// The time that [`crate::Speaker::poll_timeout`] named has come.
    Timeout,
}

/// A speaker's Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The node it runs on.
    pub node: NodeName,
    /// An address of its Pod, which on the host network is the node's.
    pub address: IpAddr,
    /// Whether its containers have been started: from then on it can be heard.
    pub is_running: bool,
}
