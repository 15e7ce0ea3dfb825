//! Everything that a speaker can ask its shell to do.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ferrolb_api::config::{ConfigurationReport, NodeNetwork};
use ferrolb_api::l2_status::{L2StatusContent, Subject, Time};
use ferrolb_api::{NodeName, ServiceKey};

use crate::gossip::unheard::UnheardPeers;
use crate::interface::{InterfaceId, MacAddr};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send an Ethernet frame, once. A failure is counted, not retried: the
    /// announcement schedule repeats what matters.
    SendFrame {
        /// Where.
        interface: InterfaceId,
        /// The whole frame, at least 60 bytes.
        bytes: Vec<u8>,
    },
    /// Receive what is sent to a multicast group on an interface, until
    /// [`Effect::LeaveGroup`] of the same two. A failure is retried until then.
    JoinGroup {
        /// Where.
        interface: InterfaceId,
        /// The group: the solicited-node group of one address or more (D61).
        group: Ipv6Addr,
    },
    /// No longer receive it; the interface may have gone.
    LeaveGroup {
        /// Where.
        interface: InterfaceId,
        /// The group.
        group: Ipv6Addr,
    },
    /// Send a sealed datagram to a peer's gossip port, once.
    SendDatagram {
        /// To whom.
        to: SocketAddr,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// Tell people, through the API server or the log. Nothing on the wire waits for
    /// it.
    Report(Report),
    /// The last effect after [`crate::Input::Shutdown`]: the peers have been
    /// told and served; the process may end.
    Exit,
}

/// What people are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Create a Kubernetes Event on a Service (F20).
    Event {
        /// The Service.
        service: ServiceKey,
        /// Its UID.
        uid: String,
        /// The exact reason.
        reason: EventReason,
        /// The text for `kubectl describe`.
        message: String,
    },
    /// Change one `ServiceL2Status` (D82), whose name is the key: a later change
    /// takes the place of one that is not yet carried out. Announcing never
    /// waits for it.
    L2Status {
        /// Its name.
        name: String,
        /// What to do.
        change: L2StatusChange,
    },
    /// The custom resources were judged anew: say so in the `ConfigurationState`,
    /// the metrics and the log (A54 to A58). The latest wins.
    Configuration(ConfigurationReport),
    /// What stands on this node's network, so that the controller gives none of it to a Service: say
    /// so in the `ConfigurationState`. The latest wins.
    Network(NodeNetwork),
    /// Speakers that Kubernetes names are not heard; or, where it is empty, all are
    /// again. It belongs on the own Pod, for it is about this node's network.
    Unheard(UnheardPeers),
    /// Something worth a log line or a line of the simulator's timeline.
    Notice(Notice),
}

/// What is to be done about one `ServiceL2Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L2StatusChange {
    /// Create it with these labels, owned by our Pod and without status (A42,
    /// A43). One that is there already is as good.
    Create(Subject),
    /// Write its status, unless it has changed since `resource_version`.
    Write {
        /// What is to stand in it.
        content: L2StatusContent,
        /// The time of its condition; `None` is now.
        since: Option<Time>,
        /// The version that this was decided on.
        resource_version: String,
    },
    /// Delete it, unless it is another object by now.
    Delete {
        /// Its UID; `None` is whichever has the name.
        uid: Option<String>,
    },
}

/// Reasons of Kubernetes Events: F30, F31, and two of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventReason {
    /// F30
    NodeAssigned,
    /// F31
    AnnounceFailed,
    /// A Service has an address, and no node announces it.
    NotAnnounced,
    /// Another station says that it has an address of the Service (X17).
    AddressConflict,
}

impl EventReason {
    /// The reason as MetalLB writes it, or as it would.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeAssigned => "nodeAssigned",
            Self::AnnounceFailed => "announceFailed",
            Self::NotAnnounced => "notAnnounced",
            Self::AddressConflict => "addressConflict",
        }
    }

    /// Whether its type is `Warning`, not `Normal`.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::NodeAssigned)
    }
}

/// Something that happened inside, for the log and the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `serviceAnnounced`: this node now answers for a Service's address.
    Announced {
        /// The Service.
        service: ServiceKey,
        /// The address.
        address: IpAddr,
        /// Its candidates in election order, this node first (D20).
        candidates: Vec<NodeName>,
    },
    /// `serviceWithdrawn`: this node no longer answers for it.
    Withdrawn {
        /// The Service.
        service: ServiceKey,
        /// The address.
        address: IpAddr,
        /// Why.
        reason: WithdrawReason,
        /// Who is first in the election now, if anybody.
        owner: Option<NodeName>,
    },
    /// A member was heard and may own addresses.
    MemberUp(NodeName),
    /// A member is dead or has left.
    MemberDown(NodeName),
    /// An announcement went out in answer to a trigger: wave 0 is immediate.
    Gratuitous {
        /// The address.
        address: IpAddr,
        /// Which wave of the schedule, 0 to 5; `None` for the slow refresh.
        wave: Option<u8>,
        /// The interface.
        interface: InterfaceId,
        /// The MAC announced.
        mac: MacAddr,
    },
    /// A member came back under a new identity without having been missed:
    /// its speaker was restarted, or it refuted a false suspicion.
    MemberRestarted(NodeName),
    /// From now on this node claims what it owns (W15): the first members are known,
    /// or nobody is missing, or nobody is waited for any longer.
    Joined {
        /// The members it knows, itself included.
        members: Vec<NodeName>,
        /// Speakers that Kubernetes names and that have not answered so far.
        missing: Vec<NodeName>,
    },
    /// Another station claims an address of ours, and 0.2 s later it is still
    /// ours; we announce it again (X17). At most once a second for each address on
    /// each interface.
    Conflict {
        /// The address.
        address: IpAddr,
        /// Where the claim was heard.
        interface: InterfaceId,
        /// Who makes it.
        mac: MacAddr,
    },
    /// This node was asleep: a timer ran this much too late. Its addresses are
    /// announced again.
    Paused(Duration),
}

/// Why an address is not announced by this node (D4 to D9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WithdrawReason {
    /// D4
    ServiceDeleted,
    /// D4
    NotLoadBalancer,
    /// D6
    NoIpAllocated,
    /// D6
    InvalidIp,
    /// D6
    IpNotAllowed,
    /// D6a
    LoadBalancerIpChanged,
    /// D6b, D9
    NotOwner,
    /// D7
    SharedIpWithServiceSelector,
    /// D8
    NoMatchingAdvertisement,
    /// D44, W18: none of the interfaces that the advertisements name can announce here.
    InterfaceMissing,
    /// The speaker is leaving.
    Leaving,
}

impl WithdrawReason {
    /// The text that MetalLB logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceDeleted => "serviceDeleted",
            Self::NotLoadBalancer => "notLoadBalancer",
            Self::NoIpAllocated => "noIPAllocated",
            Self::InvalidIp => "invalidIP",
            Self::IpNotAllowed => "ipNotAllowed",
            Self::LoadBalancerIpChanged => "loadBalancerIPChanged",
            Self::NotOwner => "notOwner",
            Self::SharedIpWithServiceSelector => "sharedIPWithServiceSelector",
            Self::NoMatchingAdvertisement => "noMatchingAdvertisement",
            Self::InterfaceMissing => "interfaceMissing",
            Self::Leaving => "leaving",
        }
    }
}
