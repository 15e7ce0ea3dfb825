//! One Service: keep what it has, take it away, or give it addresses (C13 to C28).

use std::net::IpAddr;

use ferrolb_api::service::FamilyPolicy;
use ferrolb_api::{IpFamilies, IpFamily, Service};

use crate::allocator::{Allocator, Assignment};
use crate::effect::{EventReason, Notice};
use crate::pool_choice::{self, list};
use crate::pools::Pools;
use crate::request::RequestError;
use crate::retain::{RetainContext, RetainError};

/// What shall be with a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reconciled {
    /// What its status shall say.
    pub(crate) status: DesiredStatus,
    /// Whether it misses an address and would take one that is freed.
    pub(crate) waiting: bool,
    /// What there is to say about it.
    pub(crate) findings: Vec<Finding>,
}

/// What the status of a Service shall say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DesiredStatus {
    /// What the allocator holds for it, if anything.
    AsHeld,
    /// What it says now: the Service cannot be judged (C18).
    Untouched,
}

/// Something said once, until it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A Kubernetes Event on the Service.
    Event(EventReason, String),
    /// A log line.
    Notice(Notice),
}

/// Decides on a LoadBalancer Service of ours and records in the allocator what
/// it holds from now on.
///
/// `is_stale` says that this version of the Service is older than what was decided
/// last: then memory counts before the status it shows, otherwise after it.
pub(crate) fn reconcile(
    service: &Service,
    is_stale: bool,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Reconciled {
    let mut reconciliation = Reconciliation::new(service, is_stale, pools, allocator);
    match required_families(service) {
        Ok(families) => reconciliation.run(families),
        Err(error) => reconciliation.reject(error),
    }
    Reconciled {
        status: reconciliation.status,
        waiting: reconciliation.waiting,
        findings: reconciliation.findings,
    }
}

/// Records what a Service may keep, and gives it nothing. After a restart this
/// is done for all of them before anything is granted (C8).
pub(crate) fn adopt(
    service: &Service,
    is_stale: bool,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Vec<Finding> {
    let mut reconciliation = Reconciliation::new(service, is_stale, pools, allocator);
    match required_families(service) {
        Ok(families) => {
            if let Ok(kept) = reconciliation.context.retain(reconciliation.allocator, families) {
                reconciliation.record(kept);
            }
        }
        Err(ClusterIpError::ClusterIpFamilies) => reconciliation.leave_untouched(),
        Err(ClusterIpError::NoClusterIp | ClusterIpError::NotEnoughClusterIps) => {}
    }
    reconciliation.findings
}

/// The families that the Service's addresses must have (C40).
fn required_families(service: &Service) -> Result<IpFamilies, ClusterIpError> {
    if service.cluster_ips.is_empty() {
        return Err(ClusterIpError::NoClusterIp);
    }
    if service.family_policy == FamilyPolicy::RequireDualStack && service.cluster_ips.len() < 2 {
        return Err(ClusterIpError::NotEnoughClusterIps);
    }
    let addresses: Result<Vec<IpAddr>, &String> =
        service.cluster_ips.iter().map(|address| address.as_ref().copied()).collect();
    addresses.ok().and_then(|addresses| IpFamilies::of(&addresses)).ok_or(ClusterIpError::ClusterIpFamilies)
}

/// Why a Service cannot have addresses at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClusterIpError {
    /// C13
    NoClusterIp,
    /// C15
    NotEnoughClusterIps,
    /// C18
    ClusterIpFamilies,
}

struct Reconciliation<'a> {
    context: RetainContext<'a>,
    allocator: &'a mut Allocator,
    status: DesiredStatus,
    waiting: bool,
    findings: Vec<Finding>,
}

impl<'a> Reconciliation<'a> {
    fn new(service: &'a Service, is_stale: bool, pools: &'a Pools, allocator: &'a mut Allocator) -> Self {
        Self {
            context: RetainContext::new(service, is_stale, pools),
            allocator,
            status: DesiredStatus::AsHeld,
            waiting: false,
            findings: Vec::new(),
        }
    }

    fn reject(&mut self, error: ClusterIpError) {
        let lost = self.context.current(self.allocator);
        let reason = match error {
            ClusterIpError::NoClusterIp => "the Service has no cluster IP",
            ClusterIpError::NotEnoughClusterIps => {
                "RequireDualStack needs two cluster IPs, the Service has one"
            }
            ClusterIpError::ClusterIpFamilies => "the families of its cluster IPs cannot be told",
        };
        match error {
            ClusterIpError::NoClusterIp if lost.is_empty() => {}
            ClusterIpError::NoClusterIp => {
                let message = format!("{} cannot be kept: {reason}", list(&lost));
                self.event(EventReason::ClearAssignment, message);
            }
            ClusterIpError::NotEnoughClusterIps => {
                self.event(EventReason::NotEnoughClusterIps, reason.to_owned())
            }
            ClusterIpError::ClusterIpFamilies => {
                self.event(EventReason::NoClusterIpsFamily, reason.to_owned())
            }
        }
        match error {
            ClusterIpError::ClusterIpFamilies => self.leave_untouched(),
            ClusterIpError::NoClusterIp | ClusterIpError::NotEnoughClusterIps => {
                self.clear(&lost, reason.to_owned())
            }
        }
        self.unassigned(reason.to_owned());
    }

    /// C18: the status stays, and so does the claim to it, as far as nobody
    /// else has one.
    fn leave_untouched(&mut self) {
        self.status = DesiredStatus::Untouched;
        let addresses = self.context.shown();
        if self.allocator.holding(&self.context.service.key).is_some() || IpFamilies::of(&addresses).is_none()
        {
            return;
        }
        let reverted =
            addresses.iter().any(|address| self.context.conflict(*address, self.allocator).is_some());
        let origin = self.context.service.annotations.origin();
        if let (false, Ok(pool)) = (reverted, self.context.owner(&addresses, origin)) {
            self.record(Assignment { addresses, pool });
        }
    }

    /// Holds what it may keep.
    fn record(&mut self, kept: Assignment) {
        let service = &self.context.service.key;
        if self.allocator.holding(service).is_none_or(|held| held.addresses != kept.addresses) {
            let Assignment { addresses, pool } = kept.clone();
            self.findings.push(Finding::Notice(Notice::Adopted {
                service: service.clone(),
                addresses,
                pool,
            }));
        }
        self.allocator.hold(service, kept, self.context.sharing.clone());
    }

    fn run(&mut self, families: IpFamilies) {
        let shown = self.context.shown();
        if self.context.unparsable() || (!shown.is_empty() && IpFamilies::of(&shown).is_none()) {
            let message = "the families of the addresses in its status cannot be told".to_owned();
            self.event(EventReason::NoLbIpsFamily, message);
        }
        let current = self.context.current(self.allocator);
        match self.context.retain(self.allocator, families) {
            Ok(kept) => self.retained(kept, families),
            Err(error) => {
                if !current.is_empty() {
                    self.lose(&current, &error);
                }
                self.allocator.release(&self.context.service.key);
                self.allocate(families);
            }
        }
    }

    fn retained(&mut self, kept: Assignment, families: IpFamilies) {
        self.record(kept.clone());
        let is_requested = matches!(self.context.requested, Ok(Some(_)));
        if let Some(message) = self.context.pools.kept_withheld(&kept.addresses, is_requested) {
            self.event(EventReason::AddressOccupied, message);
        }
        match &self.context.requested {
            Err(error) => self.request_invalid(&error.clone()),
            // A request for one address is not completed by another: it would
            // not be what was requested, and be taken away again by C24.
            Ok(Some(_)) => {}
            Ok(None) if families == IpFamilies::Dual => self.complete(kept),
            Ok(None) => {}
        }
    }

    /// C25: adds the other family, from the same pool, to a single address. Only
    /// a Service with two cluster IPs gets here (C48).
    fn complete(&mut self, mut kept: Assignment) {
        let &[address] = kept.addresses.as_slice() else { return };
        let other = IpFamily::of(address).other();
        let pool = self.context.pools.config.pools.get(&kept.pool);
        let available = pool.map(|pool| self.context.pools.available(pool, self.context.service));
        match available.and_then(|available| self.allocator.pick(&available, other, &self.context.sharing)) {
            Some(second) => {
                kept.addresses.push(second);
                self.event(EventReason::IpAllocated, format!("assigned the additional address {second}"));
                self.allocated(kept);
            }
            None => {
                let message = format!("pool {:?} has no free {other} address to add", kept.pool);
                self.event(EventReason::AdditionalAssignFailed, message);
                self.waiting = true;
            }
        }
    }

    fn allocate(&mut self, families: IpFamilies) {
        let requested = match &self.context.requested {
            Ok(requested) => requested.clone(),
            Err(error) => return self.request_invalid(&error.clone()),
        };
        let chosen = pool_choice::choose(
            self.context.service,
            families,
            requested.as_deref(),
            &self.context.sharing,
            self.context.pools,
            self.allocator,
        );
        match chosen {
            Ok(assignment) => {
                let message =
                    format!("assigned {} from pool {:?}", list(&assignment.addresses), assignment.pool);
                self.event(EventReason::IpAllocated, message);
                self.allocated(assignment);
            }
            Err(error) => {
                self.event(EventReason::AllocationFailed, format!("no address: {error}"));
                self.unassigned(error.to_string());
                self.waiting = true;
            }
        }
    }

    fn allocated(&mut self, assignment: Assignment) {
        let Assignment { addresses, pool } = assignment.clone();
        let service = self.context.service.key.clone();
        self.findings.push(Finding::Notice(Notice::Allocated { service, addresses, pool }));
        self.allocator.hold(&self.context.service.key, assignment, self.context.sharing.clone());
    }

    fn request_invalid(&mut self, error: &RequestError) {
        self.event(EventReason::LoadBalancerFailed, format!("invalid request: {error}"));
        if self.allocator.holding(&self.context.service.key).is_none() {
            self.unassigned(error.to_string());
        }
    }

    fn lose(&mut self, addresses: &[IpAddr], error: &RetainError) {
        if !error.is_requested() {
            let message = format!("{} cannot be kept: {error}", list(addresses));
            self.event(EventReason::ClearAssignment, message);
        }
        self.clear(addresses, error.to_string());
    }

    fn clear(&mut self, addresses: &[IpAddr], reason: String) {
        self.allocator.release(&self.context.service.key);
        if !addresses.is_empty() {
            let (service, addresses) = (self.context.service.key.clone(), addresses.to_vec());
            self.findings.push(Finding::Notice(Notice::Cleared { service, addresses, reason }));
        }
    }

    fn unassigned(&mut self, reason: String) {
        let service = self.context.service.key.clone();
        self.findings.push(Finding::Notice(Notice::Unassigned { service, reason }));
    }

    fn event(&mut self, reason: EventReason, message: String) {
        self.findings.push(Finding::Event(reason, message));
    }
}
