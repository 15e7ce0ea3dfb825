//! One Service: keep what it has, take it away, or give it addresses (C13 to C28).

use std::net::IpAddr;

use ferrolb_api::service::FamilyPolicy;
use ferrolb_api::{IpFamilies, IpFamily, Service};

use crate::allocator::{Allocator, Assignment};
use crate::effect::{EventReason, Notice};
use crate::keep::{Loss, Situation};
use crate::pool_choice::{self, list};
use crate::pools::Pools;
use crate::request::RequestError;

/// What shall be with a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What its status shall say.
    pub(crate) status: Wanted,
    /// Whether it misses an address and would take one that is freed.
    pub(crate) waiting: bool,
    /// What there is to say about it.
    pub(crate) remarks: Vec<Remark>,
}

/// What the status of a Service shall say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What the allocator holds for it, if anything.
    AsHeld,
    /// What it says now: the Service cannot be judged (C18).
    Untouched,
}

/// Something said once, until it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// A Kubernetes Event on the Service.
    Event(EventReason, String),
    /// A log line.
    Notice(Notice),
}

/// Decides on a LoadBalancer Service of ours and records in the allocator what
/// it holds from now on.
///
/// `answered` says that this view of the Service is older than what was decided
/// last: then memory counts before the status it shows, otherwise after it.
pub(crate) fn converge(
    service: &Service,
    answered: bool,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Outcome {
    let mut case = Case::new(service, answered, pools, allocator);
    match required_families(service) {
        Ok(families) => case.settle(families),
        Err(refusal) => case.refuse(refusal),
    }
    Outcome { status: case.status, waiting: case.waiting, remarks: case.remarks }
}

/// Records what a Service may keep, and gives it nothing. After a restart this
/// is done for all of them before anything is granted (C8).
pub(crate) fn adopt(
    service: &Service,
    answered: bool,
    pools: &Pools,
    allocator: &mut Allocator,
) -> Vec<Remark> {
    let mut case = Case::new(service, answered, pools, allocator);
    match required_families(service) {
        Ok(families) => {
            if let Ok(kept) = case.now.keep(case.allocator, families) {
                case.record(kept);
            }
        }
        Err(Refusal::ClusterIpFamilies) => case.leave_untouched(),
        Err(Refusal::NoClusterIp | Refusal::NotEnoughClusterIps) => {}
    }
    case.remarks
}

/// The families that the Service's addresses must have (C40).
fn required_families(service: &Service) -> Result<IpFamilies, Refusal> {
    if service.cluster_ips.is_empty() {
        return Err(Refusal::NoClusterIp);
    }
    if service.family_policy == FamilyPolicy::RequireDualStack && service.cluster_ips.len() < 2 {
        return Err(Refusal::NotEnoughClusterIps);
    }
    let addresses: Result<Vec<IpAddr>, &String> =
        service.cluster_ips.iter().map(|address| address.as_ref().copied()).collect();
    addresses.ok().and_then(|addresses| IpFamilies::of(&addresses)).ok_or(Refusal::ClusterIpFamilies)
}

/// Why a Service cannot have addresses at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// C13
    NoClusterIp,
    /// C15
    NotEnoughClusterIps,
    /// C18
    ClusterIpFamilies,
}

struct Case<'a> {
    now: Situation<'a>,
    allocator: &'a mut Allocator,
    status: Wanted,
    waiting: bool,
    remarks: Vec<Remark>,
}

impl<'a> Case<'a> {
    fn new(service: &'a Service, answered: bool, pools: &'a Pools, allocator: &'a mut Allocator) -> Self {
        Self {
            now: Situation::new(service, answered, pools),
            allocator,
            status: Wanted::AsHeld,
            waiting: false,
            remarks: Vec::new(),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let lost = self.now.current(self.allocator);
        let reason = match refusal {
            Refusal::NoClusterIp => "the Service has no cluster IP",
            Refusal::NotEnoughClusterIps => "RequireDualStack needs two cluster IPs, the Service has one",
            Refusal::ClusterIpFamilies => "the families of its cluster IPs cannot be told",
        };
        match refusal {
            Refusal::NoClusterIp if lost.is_empty() => {}
            Refusal::NoClusterIp => {
                let message = format!("{} cannot be kept: {reason}", list(&lost));
                self.event(EventReason::ClearAssignment, message);
            }
            Refusal::NotEnoughClusterIps => self.event(EventReason::NotEnoughClusterIps, reason.to_owned()),
            Refusal::ClusterIpFamilies => self.event(EventReason::NoClusterIpsFamily, reason.to_owned()),
        }
        match refusal {
            Refusal::ClusterIpFamilies => self.leave_untouched(),
            Refusal::NoClusterIp | Refusal::NotEnoughClusterIps => self.clear(&lost, reason.to_owned()),
        }
        self.unassigned(reason.to_owned());
    }

    /// C18: the status stays, and so does the claim to it, as far as nobody
    /// else has one.
    fn leave_untouched(&mut self) {
        self.status = Wanted::Untouched;
        let addresses = self.now.shown();
        if self.allocator.holding(&self.now.service.key).is_some() || IpFamilies::of(&addresses).is_none() {
            return;
        }
        let contested = addresses.iter().any(|address| self.now.conflict(*address, self.allocator).is_some());
        let origin = self.now.service.annotations.allocated_from_pool.as_deref();
        if let (false, Ok(pool)) = (contested, self.now.owner(&addresses, origin)) {
            self.record(Assignment { addresses, pool });
        }
    }

    /// Holds what it may keep.
    fn record(&mut self, kept: Assignment) {
        let service = &self.now.service.key;
        if self.allocator.holding(service).is_none_or(|held| held.addresses != kept.addresses) {
            let Assignment { addresses, pool } = kept.clone();
            self.remarks.push(Remark::Notice(Notice::Adopted { service: service.clone(), addresses, pool }));
        }
        self.allocator.hold(service, kept, self.now.terms.clone());
    }

    fn settle(&mut self, families: IpFamilies) {
        let shown = self.now.shown();
        if self.now.unparsable() || (!shown.is_empty() && IpFamilies::of(&shown).is_none()) {
            let message = "the families of the addresses in its status cannot be told".to_owned();
            self.event(EventReason::NoLbIpsFamily, message);
        }
        let current = self.now.current(self.allocator);
        match self.now.keep(self.allocator, families) {
            Ok(kept) => self.keep_on(kept, families),
            Err(loss) => {
                if !current.is_empty() {
                    self.lose(&current, &loss);
                }
                self.allocator.release(&self.now.service.key);
                self.allocate(families);
            }
        }
    }

    fn keep_on(&mut self, kept: Assignment, families: IpFamilies) {
        self.record(kept.clone());
        match &self.now.asked {
            Err(error) => self.request_invalid(&error.clone()),
            // A request for one address is not completed by another: it would
            // not be what was asked for, and be taken away again by C24.
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
        let pool = self.now.pools.config.pools.get(&kept.pool);
        let offer = pool.map(|pool| self.now.pools.offer(pool, self.now.service));
        match offer.and_then(|offer| self.allocator.pick(&offer, other, &self.now.terms)) {
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
        let asked = match &self.now.asked {
            Ok(asked) => asked.clone(),
            Err(error) => return self.request_invalid(&error.clone()),
        };
        let chosen = pool_choice::choose(
            self.now.service,
            families,
            asked.as_deref(),
            &self.now.terms,
            self.now.pools,
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
        let service = self.now.service.key.clone();
        self.remarks.push(Remark::Notice(Notice::Allocated { service, addresses, pool }));
        self.allocator.hold(&self.now.service.key, assignment, self.now.terms.clone());
    }

    fn request_invalid(&mut self, error: &RequestError) {
        self.event(EventReason::LoadBalancerFailed, format!("invalid request: {error}"));
        if self.allocator.holding(&self.now.service.key).is_none() {
            self.unassigned(error.to_string());
        }
    }

    fn lose(&mut self, addresses: &[IpAddr], loss: &Loss) {
        if !loss.is_asked_for() {
            let message = format!("{} cannot be kept: {loss}", list(addresses));
            self.event(EventReason::ClearAssignment, message);
        }
        self.clear(addresses, loss.to_string());
    }

    fn clear(&mut self, addresses: &[IpAddr], reason: String) {
        self.allocator.release(&self.now.service.key);
        if !addresses.is_empty() {
            let (service, addresses) = (self.now.service.key.clone(), addresses.to_vec());
            self.remarks.push(Remark::Notice(Notice::Cleared { service, addresses, reason }));
        }
    }

    fn unassigned(&mut self, reason: String) {
        let service = self.now.service.key.clone();
        self.remarks.push(Remark::Notice(Notice::Unassigned { service, reason }));
    }

    fn event(&mut self, reason: EventReason, message: String) {
        self.remarks.push(Remark::Event(reason, message));
    }
}
