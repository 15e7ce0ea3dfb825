//! The one table of what can keep a Service from being announced: which check fails,
//! what MetalLB calls it, and in which words people are told what to do.
//!
//! docs/troubleshooting.md has each text; a test of the tree compares.

use std::fmt;

use crate::effect::WithdrawReason;

/// The most names in one list.
const MAX_NAMES: usize = 5;

/// The checks of a Service, in the order in which people are told of them. Up to
/// [`Check::Nodes`] they hold for every protocol; those behind it are Layer 2's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// It is a load balancer of our class (C2, D4).
    Class,
    /// Its status has addresses, and nothing else (D6).
    Address,
    /// They are all in one pool that is in force (D6).
    Pool,
    /// An advertisement announces the pool and applies to the Service (D7, D8).
    Advertisement,
    /// An endpoint can serve, and does where it must be (D6b, D14).
    Endpoints,
    /// A node may announce (D11 to D13).
    Nodes,
    /// A speaker is alive on one that may (D10).
    Speaker,
    /// Such a node has a usable interface (W13).
    Interface,
    /// The owner of its addresses can serve it (D21).
    Sharing,
}

/// How a check can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckFailure {
    /// It is no load balancer, or of another class.
    NotOurs,
    /// It has no address yet.
    NoAddress,
    /// An entry of its status is no address.
    NotAnAddress,
    /// Its addresses are not all in one pool.
    NotInPool,
    /// Somebody else has one of them.
    Occupied,
    /// No advertisement announces its pool.
    NotAdvertised,
    /// Those that do select other Services.
    NotSelected,
    /// It may share its address and is selected by its labels.
    SharedUnderSelectors,
    /// Nothing can serve.
    NoEndpoint,
    /// The advertisements select no Node.
    NoNodeSelected,
    /// All Nodes that are selected have the exclude label.
    NodesExcluded,
    /// None that is left has a network.
    NetworkUnavailable,
    /// Nothing can serve on a node that may announce, where the policy is `Local`.
    NoLocalEndpoint,
    /// No node that may announce has a live speaker.
    NoSpeaker,
    /// None that has one has a usable interface.
    NoInterface,
    /// The same, where the advertisements name interfaces.
    NoNamedInterface,
    /// A node that cannot serve it answers for its addresses, for Services that share
    /// them.
    LeftOutOfSharing,
}

impl Check {
    /// Its name in docs/troubleshooting.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Address => "address",
            Self::Pool => "pool",
            Self::Advertisement => "advertisement",
            Self::Endpoints => "endpoints",
            Self::Nodes => "nodes",
            Self::Speaker => "speaker",
            Self::Interface => "interface",
            Self::Sharing => "sharing",
        }
    }
}

impl CheckFailure {
    /// All of them, in the order of the checks.
    pub const ALL: [Self; 17] = [
        Self::NotOurs,
        Self::NoAddress,
        Self::NotAnAddress,
        Self::NotInPool,
        Self::Occupied,
        Self::NotAdvertised,
        Self::NotSelected,
        Self::SharedUnderSelectors,
        Self::NoEndpoint,
        Self::NoNodeSelected,
        Self::NodesExcluded,
        Self::NetworkUnavailable,
        Self::NoLocalEndpoint,
        Self::NoSpeaker,
        Self::NoInterface,
        Self::NoNamedInterface,
        Self::LeftOutOfSharing,
    ];

    /// The check that fails.
    #[must_use]
    pub const fn check(self) -> Check {
        match self {
            Self::NotOurs => Check::Class,
            Self::NoAddress | Self::NotAnAddress => Check::Address,
            Self::NotInPool | Self::Occupied => Check::Pool,
            Self::NotAdvertised | Self::NotSelected | Self::SharedUnderSelectors => Check::Advertisement,
            Self::NoEndpoint | Self::NoLocalEndpoint => Check::Endpoints,
            Self::NoNodeSelected | Self::NodesExcluded | Self::NetworkUnavailable => Check::Nodes,
            Self::NoSpeaker => Check::Speaker,
            Self::NoInterface | Self::NoNamedInterface => Check::Interface,
            Self::LeftOutOfSharing => Check::Sharing,
        }
    }

    /// What is missing and what to do about it, with names in the place of the words in
    /// braces. `None` where the controller says what is missing: then there is nothing
    /// to announce.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::NotOurs | Self::NoAddress => return None,
            Self::NotAnAddress => {
                "{entry} in its status is no IP address; whoever wrote it there manages this Service as well"
            }
            Self::NotInPool => {
                "{addresses} is in no IPAddressPool that is in force; add a pool with it, or look at the Ready \
                 condition of the pool that should have it"
            }
            Self::Occupied => {
                "{owners}; nobody else is to answer for that. Give the Service another address, or set \
                 allowOccupiedAddresses of the pool"
            }
            Self::NotAdvertised => {
                "no L2Advertisement in force announces IPAddressPool {pool}; create one, or add the pool to one \
                 that exists"
            }
            Self::NotSelected => {
                "the serviceSelectors of L2Advertisement {advertisements} do not match the labels of the Service"
            }
            Self::SharedUnderSelectors => {
                "the Service may share its address, and L2Advertisement {advertisement} has serviceSelectors: Services \
                 of one address are not selected one by one; remove either"
            }
            Self::NoEndpoint => "no endpoint of the Service is ready; look at its Pods and at its selector",
            Self::NoNodeSelected => {
                "the nodeSelectors of L2Advertisement {advertisements} match no Node; label a Node or change them"
            }
            Self::NodesExcluded => {
                "{nodes} may not announce because of the label \
                 node.kubernetes.io/exclude-from-external-load-balancers, which Talos and kubeadm give to control \
                 planes; remove it, or run the speakers with --ignore-exclude-lb"
            }
            Self::NetworkUnavailable => {
                "every Node that may announce ({nodes}) has the condition NetworkUnavailable; look at the \
                 cluster's network plugin"
            }
            Self::NoLocalEndpoint => {
                "externalTrafficPolicy is Local, and no ready endpoint runs on a node that may announce ({nodes}); \
                 run one there, or set it to Cluster"
            }
            Self::NoSpeaker => {
                "no speaker is alive on {nodes}, and no other node may announce; look at the speakers' Pods"
            }
            Self::NoInterface => "none of {nodes} has an interface that is up and can announce",
            Self::NoNamedInterface => {
                "none of {nodes} has one of the interfaces that the L2Advertisements name ({interfaces}) in a \
                 state to announce; correct the names, or leave them out for all interfaces"
            }
            Self::LeftOutOfSharing => {
                "it shares {addresses}, and so its owner, with {services}, and no node can serve them all; {node} \
                 answers and cannot serve this one: let an L2Advertisement, an interface and, under \
                 externalTrafficPolicy Local, a ready endpoint of each be on one node, or give it an address of \
                 its own"
            }
        })
    }

    /// Why a node that announces the Service no longer does, as MetalLB logs it (D4 to
    /// D9).
    #[must_use]
    pub const fn withdraw_reason(self) -> WithdrawReason {
        match self {
            Self::NotOurs => WithdrawReason::NotLoadBalancer,
            Self::NoAddress => WithdrawReason::NoIpAllocated,
            Self::NotAnAddress => WithdrawReason::InvalidIp,
            Self::NotInPool | Self::Occupied => WithdrawReason::IpNotAllowed,
            Self::SharedUnderSelectors => WithdrawReason::SharedIpWithServiceSelector,
            Self::NotAdvertised | Self::NotSelected | Self::NoNodeSelected => {
                WithdrawReason::NoMatchingAdvertisement
            }
            Self::NoEndpoint
            | Self::NoLocalEndpoint
            | Self::NodesExcluded
            | Self::NetworkUnavailable
            | Self::NoSpeaker
            | Self::NoInterface
            | Self::LeftOutOfSharing => WithdrawReason::NotOwner,
            Self::NoNamedInterface => WithdrawReason::InterfaceMissing,
        }
    }
}

/// A check that fails, and of what: its text is made when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// How it fails.
    pub(crate) failure: CheckFailure,
    /// What stands in the place of each word in braces.
    pub(crate) names: Vec<Names>,
}

/// A list of names, of which not all are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    shown: Vec<String>,
    more: usize,
}

impl<T: ToString> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut names = names.into_iter();
        let shown = names.by_ref().take(MAX_NAMES).map(|name| name.to_string()).collect();
        Self { shown, more: names.count() }
    }
}

/// `a, b and 3 more`.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.failure.text().unwrap_or_default();
        for names in &self.names {
            let (before, behind) = rest.split_once('{').unwrap_or((rest, ""));
            write!(f, "{before}{names}")?;
            rest = behind.split_once('}').map_or("", |(_, behind)| behind);
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_once_with_the_words_that_they_have_names_for() {
        assert!(CheckFailure::ALL.is_sorted_by(|one, next| one < next), "each once, in order");
        for failure in CheckFailure::ALL {
            let text = failure.text().unwrap_or_default();
            let names: Vec<Names> = text.matches('{').map(|_| Names::from_iter(["N"])).collect();
            let text = Diagnosis { failure, names }.to_string();
            assert!(!text.contains(['{', '}']), "{text}");
        }
    }

    #[test]
    fn names_are_bounded() {
        assert_eq!(Names::from_iter(["a", "b"]).to_string(), "a, b");
        assert_eq!(Names::from_iter(0..9).to_string(), "0, 1, 2, 3, 4 and 4 more");
    }
}
