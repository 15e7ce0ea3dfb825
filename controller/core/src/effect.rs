//! Everything that a controller can ask its shell to do.

use std::net::IpAddr;

use ferrolb_api::ServiceKey;
use ferrolb_api::config::{ConfigurationReport, Verdict};

/// One thing to do. Effects that say how something shall stand are keyed: the
/// latest wins, and the shell retries it until it stands or is overtaken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Key: `service`. Write the addresses into the Service's status, the
    /// pool and what it has lost into its annotations (C70 to C72), on condition that the object is
    /// still at `resource_version`; on a conflict drop it, for a newer version
    /// of the Service is on its way and will be answered.
    WriteService {
        /// The Service.
        service: ServiceKey,
        /// Its UID.
        uid: String,
        /// The version the decision was made on (S16).
        resource_version: String,
        /// The new ingress addresses in order; empty clears the status.
        addresses: Vec<IpAddr>,
        /// The pool they come from; `None` removes the annotation.
        pool: Option<String>,
        /// The annotation [`ferrolb_api::annotations::LOST_ADDRESSES`]; `None` removes it.
        lost_addresses: Option<String>,
    },
    /// Key: kind and name. Write the conditions of a pool or advertisement, but
    /// for `Exhausted`.
    WriteVerdict(Verdict),
    /// Key: the pool. Write the counters of its status and its `Exhausted`
    /// condition, and show the counters as metrics.
    WritePoolUsage(PoolUsage),
    /// Key: the pool. A pool is gone: its metric series end (C84).
    ForgetPool(String),
    /// Create a Kubernetes Event on a Service (F20).
    Event {
        /// The Service.
        service: ServiceKey,
        /// Its UID.
        uid: String,
        /// The exact reason, spaces included.
        reason: EventReason,
        /// The text for `kubectl describe`.
        message: String,
    },
    /// The custom resources were judged anew: say so in the `ConfigurationState`,
    /// the metrics and the log (A54 to A58). The latest wins.
    Configuration(ConfigurationReport),
    /// Something worth a log line.
    Notice(Notice),
}

/// The counters of one pool (F1 to F4, C80 to C82). Counts saturate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool.
    pub pool: String,
    /// Usable IPv4 addresses.
    pub total_ipv4: i64,
    /// Usable IPv6 addresses.
    pub total_ipv6: i64,
    /// IPv4 addresses in use, each counted once however many share it.
    pub assigned_ipv4: i64,
    /// IPv6 addresses in use.
    pub assigned_ipv6: i64,
    /// If no address of some family is free for a Service without a reservation:
    /// which, and who has them. For the `Exhausted` condition.
    pub exhausted: Option<String>,
}

/// Reasons of Kubernetes Events (F21 to F29).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventReason {
    /// F21
    IpAllocated,
    /// F22
    ClearAssignment,
    /// F23
    AdditionalAssignFailed,
    /// F24
    AllocationFailed,
    /// F25
    LoadBalancerFailed,
    /// F26
    NotEnoughClusterIps,
    /// F27
    NoLbIpsFamily,
    /// F27
    NoClusterIpsFamily,
    /// F28
    DeprecatedAnnotation,
    /// Not MetalLB's: an annotation with its prefix that nobody reads.
    UnknownAnnotation,
    /// Not MetalLB's: somebody else has the address that the Service keeps.
    AddressOccupied,
    /// Not MetalLB's: somebody else has written over the status.
    StatusOverwritten,
}

impl EventReason {
    /// The reason as MetalLB writes it (F21 to F29), where it has one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IpAllocated => "IPAllocated",
            Self::ClearAssignment => "ClearAssignment",
            Self::AdditionalAssignFailed => "AdditionalAssignFailed",
            Self::AllocationFailed => "AllocationFailed",
            Self::LoadBalancerFailed => "LoadBalancerFailed",
            Self::NotEnoughClusterIps => "not enough clusterips",
            Self::NoLbIpsFamily => "nolbIPsIPFamily",
            Self::NoClusterIpsFamily => "noclusterIPsIPFamily",
            Self::DeprecatedAnnotation => "deprecatedAnnotation",
            Self::UnknownAnnotation => "unknownAnnotation",
            Self::AddressOccupied => "addressOccupied",
            Self::StatusOverwritten => "statusOverwritten",
        }
    }

    /// Whether its type is `Warning`, not `Normal` (F21 to F29).
    #[must_use]
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::IpAllocated | Self::ClearAssignment | Self::AdditionalAssignFailed)
    }
}

/// Something worth a log line or a line of the simulator's timeline (F42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `ipAllocated`: a Service was given addresses.
    Allocated {
        /// The Service.
        service: ServiceKey,
        /// Its addresses.
        addresses: Vec<IpAddr>,
        /// The pool they come from.
        pool: String,
    },
    /// A Service's addresses were found in its status and kept (C8).
    Adopted {
        /// The Service.
        service: ServiceKey,
        /// Its addresses.
        addresses: Vec<IpAddr>,
        /// The pool they come from.
        pool: String,
    },
    /// `clearAssignment`: a Service lost its addresses.
    Cleared {
        /// The Service.
        service: ServiceKey,
        /// What it lost.
        addresses: Vec<IpAddr>,
        /// Why.
        reason: String,
    },
    /// A Service could not be given an address.
    Unassigned {
        /// The Service.
        service: ServiceKey,
        /// Why.
        reason: String,
    },
}
