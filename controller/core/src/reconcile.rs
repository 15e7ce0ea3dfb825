//! One Service: keep what it has, take it away, or give it addresses (C13 to C28).

use std::net::IpAddr;

use ferrolb_api::service::FamilyPolicy;
use ferrolb_api::{IpFamilies, IpFamily, LostAddresses, Service};

use crate::allocator::{Allocator, Assignment};
use crate::effect::{EventReason, Notice};
use crate::patience::{MayPutOff, PutOff};
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
    /// What is not decided yet.
    pub(crate) put_off: Option<PutOff>,
    /// Whether it has just lost addresses that are kept for it.
    pub(crate) has_just_lost: bool,
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
/// last: then memory counts before the status it shows, otherwise after it. `lost` is
/// what it has lost; both it and the allocator are brought up to date.
pub(crate) fn reconcile(
    service: &Service,
    is_stale: bool,
    may_put_off: MayPutOff,
    lost: &mut LostAddresses,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Reconciled {
    let mut reconciliation = Reconciliation::new(service, is_stale, pools, allocator);
    reconciliation.may_put_off = may_put_off;
    std::mem::swap(&mut reconciliation.lost, lost);
    match required_families(service) {
        Ok(families) => reconciliation.run(families),
        Err(error) => reconciliation.reject(error),
    }
    std::mem::swap(&mut reconciliation.lost, lost);
    Reconciled {
        status: reconciliation.status,
        waiting: reconciliation.waiting,
        put_off: reconciliation.put_off,
        has_just_lost: reconciliation.has_just_lost,
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

/// Gives a Service that holds nothing what it has lost last, if a pool has it again. This is done for all of them before
/// anything else is granted: what was somebody's goes back before others may take it. Of two that had the same, the
/// first by name gets it.
pub(crate) fn give_back(
    service: &Service,
    lost: &mut LostAddresses,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Vec<Finding> {
    let Ok(families) = required_families(service) else { return Vec::new() };
    let mut reconciliation = Reconciliation::new(service, true, pools, allocator);
    std::mem::swap(&mut reconciliation.lost, lost);
    reconciliation.give_back(families, 1);
    std::mem::swap(&mut reconciliation.lost, lost);
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
    may_put_off: MayPutOff,
    put_off: Option<PutOff>,
    lost: LostAddresses,
    has_just_lost: bool,
    findings: Vec<Finding>,
}

impl<'a> Reconciliation<'a> {
    fn new(service: &'a Service, is_stale: bool, pools: &'a Pools, allocator: &'a mut Allocator) -> Self {
        Self {
            context: RetainContext::new(service, is_stale, pools),
            allocator,
            status: DesiredStatus::AsHeld,
            waiting: false,
            may_put_off: MayPutOff { replacement: false, parting: false },
            put_off: None,
            lost: LostAddresses::default(),
            has_just_lost: false,
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
            Err(error) if error.may_settle() && self.may_put_off.parting => self.settle(current, families),
            Err(error) => {
                if !current.is_empty() {
                    self.lose(&current, &error);
                }
                self.allocator.release(&self.context.service.key);
                self.allocate(families);
            }
        }
    }

    /// C54: it was edited so that it does not fit those that it shares `current` with. If they were edited too,
    /// all stay; until that is known, each has what it had.
    fn settle(&mut self, current: Vec<IpAddr>, families: IpFamilies) {
        if self.allocator.settle(&self.context.service.key, &self.context.sharing)
            && let Some(kept) = self.allocator.holding(&self.context.service.key).cloned()
        {
            return self.retained(kept, families);
        }
        self.put_off = Some(PutOff::Parting);
        self.waiting = true;
        if self.allocator.holding(&self.context.service.key).is_none() && !current.is_empty() {
            self.status = DesiredStatus::Untouched;
        }
    }

    fn retained(&mut self, kept: Assignment, families: IpFamilies) {
        self.record(kept.clone());
        let is_requested = matches!(self.context.requested, Ok(Some(_)));
        if let Some(message) = self.context.pools.kept_withheld(&kept.addresses, is_requested) {
            self.event(EventReason::AddressOccupied, message);
        }
        if self.lost.returned(&kept.addresses) {
            self.event(EventReason::IpAllocated, format!("{} is its own again", list(&kept.addresses)));
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
        if let Some(second) = self.lost_address_beside(address, other) {
            kept.addresses.push(second);
            self.event(EventReason::IpAllocated, format!("given back the additional address {second}"));
            return self.allocated(kept);
        }
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

    /// Of `family`, the address that it had together with `address` and may have again.
    fn lost_address_beside(&self, address: IpAddr, family: IpFamily) -> Option<IpAddr> {
        let beside = self.lost.iter().filter(|lost| lost.contains(&address)).flatten().copied();
        beside.filter(|lost| IpFamily::of(*lost) == family).find(|lost| {
            self.context.may_return(&[address, *lost], IpFamilies::Dual, self.allocator).is_some()
        })
    }

    /// Of a pair that it has lost, the address in the place of `chosen`, if it is to have but one of its family (C63).
    fn half_of_lost(&self, chosen: &Assignment, families: IpFamilies) -> Option<Assignment> {
        let &[address] = chosen.addresses.as_slice() else { return None };
        let of_family = |lost: &&IpAddr| IpFamily::of(**lost) == IpFamily::of(address);
        self.lost.iter().flatten().filter(of_family).find_map(|lost| {
            let addresses = vec![*lost];
            let pool = self.context.may_return(&addresses, families, self.allocator)?;
            Some(Assignment { addresses, pool })
        })
    }

    /// Gives it what it has lost, at most so many losses ago. Returns whether it has got something.
    fn give_back(&mut self, families: IpFamilies, losses: usize) -> bool {
        let found = self.lost.iter().take(losses).find_map(|lost| {
            let pool = self.context.may_return(lost, families, self.allocator)?;
            Some(Assignment { addresses: lost.to_vec(), pool })
        });
        let Some(assignment) = found else { return false };
        let message = format!("given back {} from pool {:?}", list(&assignment.addresses), assignment.pool);
        self.event(EventReason::IpAllocated, message);
        self.allocated(assignment);
        true
    }

    fn allocate(&mut self, families: IpFamilies) {
        let requested = match &self.context.requested {
            Ok(requested) => requested.clone(),
            Err(error) => return self.request_invalid(&error.clone()),
        };
        if requested.is_none() && !self.lost.is_empty() {
            let losses = if self.may_put_off.replacement { 1 } else { usize::MAX };
            if self.give_back(families, losses) {
                return;
            }
            if self.may_put_off.replacement {
                self.put_off = Some(PutOff::Replacement);
                self.waiting = true;
                return;
            }
        }
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
                let assignment = self.half_of_lost(&assignment, families).unwrap_or(assignment);
                let mut message =
                    format!("assigned {} from pool {:?}", list(&assignment.addresses), assignment.pool);
                if let Some(lost) = self.lost.latest() {
                    message.push_str(&format!("; {}, which it has lost, is not to be had", list(lost)));
                }
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
        self.lost.returned(&addresses);
        let service = self.context.service.key.clone();
        self.findings.push(Finding::Notice(Notice::Allocated { service, addresses, pool }));
        self.allocator.hold(&self.context.service.key, assignment, self.context.sharing.clone());
    }

    fn request_invalid(&mut self, error: &RequestError) {
        // C23 where something is kept, C26 where there is nothing.
        if self.allocator.holding(&self.context.service.key).is_some() {
            self.event(EventReason::LoadBalancerFailed, format!("invalid request: {error}"));
        } else {
            self.event(EventReason::AllocationFailed, format!("invalid request: {error}"));
            self.unassigned(error.to_string());
        }
    }

    fn lose(&mut self, addresses: &[IpAddr], error: &RetainError) {
        let mut reason = error.to_string();
        // What somebody else has written into the status it never had.
        let is_from_us = self.allocator.holding(&self.context.service.key).is_some()
            || self.context.service.annotations.origin().is_some();
        if error.is_of_pools() && is_from_us {
            self.lost.remember(addresses);
            self.has_just_lost = true;
            self.may_put_off.replacement = true;
            reason.push_str("; it is given back to this Service as soon as a pool has it again");
        } else if error.is_requested() {
            self.lost.forget();
        }
        if !error.is_requested() {
            let message = format!("{} cannot be kept: {reason}", list(addresses));
            self.event(EventReason::ClearAssignment, message);
        }
        self.clear(addresses, reason);
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
