//! What `/readyz` says of a speaker that cannot do its work yet.

/// Why a speaker cannot do its work yet (W43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No custom resources were read.
    #[error("the configuration has not been read yet")]
    Configuration,
    /// Services, endpoints or Nodes were not listed.
    #[error("Services, EndpointSlices and Nodes have not all been listed yet")]
    Cluster,
    /// Kubernetes does not know our node.
    #[error("there is no Node of this speaker's name")]
    OwnNode,
    /// Nothing to answer ARP or NDP on.
    #[error("no interface can announce: none is an Ethernet link that is up and has a carrier")]
    Interfaces,
    /// The other speakers have not been met (W15).
    #[error("the other speakers have not answered yet")]
    Membership,
    /// It was told to end.
    #[error("the speaker is leaving")]
    Leaving,
}
