//! The requests for the Lease, and what is told of them.

use std::sync::Arc;
use std::time::Duration;

use ferrolb_api::Time;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::IntGauge;
use tokio::time::{sleep_until, timeout};

use super::{LeaderElectionConfig, Shared, TermState};
use crate::admin::readiness::Gate;
use crate::kubernetes::error::{self, Failure};
use crate::kubernetes::leader_election::lease::{Action, Election, Failed, LeaderState};

/// What log lines about this have in common.
const OP: &str = "leaderElection";
/// A request that takes longer is made again: twice before the Lease runs out.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits to let go of the Lease. It runs out by
/// itself otherwise.
const LETTING_GO: Duration = Duration::from_secs(3);

/// Asks for the Lease and renews it.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    election: Election,
    shared: Arc<Shared>,
    gate: Gate,
    gauge: IntGauge,
    told: LeaderState,
    /// The last request failed, and that was said.
    failing: bool,
}

impl Candidate {
    pub(super) fn new(
        client: Client,
        candidacy: &LeaderElectionConfig,
        identity: String,
        shared: Arc<Shared>,
        gate: Gate,
        gauge: IntGauge,
    ) -> Self {
        gate.not_ready("the Lease is not read yet");
        Self {
            api: Api::namespaced(client, &candidacy.namespace),
            name: candidacy.name.clone(),
            election: Election::new(identity),
            shared,
            gate,
            gauge,
            told: LeaderState::Unknown,
            failing: false,
        }
    }

    /// Asks for the Lease, and keeps it, while `work` is done; then lets go of
    /// it, so that another can go on at once. Not before the last write of this
    /// process has been answered: while one may still come true, the Lease is
    /// left to run out.
    pub async fn run_while(mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            // Work that has ended needs no renewal any more.
            biased;
            () = work => {}
            () = self.run() => {}
        }
        self.election.resign();
        self.publish();
        let lease = &self.name;
        if self.shared.writes().may_linger(self.shared.clock.now()) {
            tracing::warn!(op = OP, lease, "a write is without an answer; the Lease is left to run out");
        } else if timeout(LETTING_GO, self.run()).await.is_err() {
            tracing::warn!(op = OP, lease = self.name, "cannot let go of the Lease; it will run out");
        }
    }

    /// Until there is nothing to be done any more, which is after a resignation.
    async fn run(&mut self) {
        loop {
            let now = self.shared.clock.now();
            let action = self.election.poll(now, Timestamp::now());
            // What has ended by time alone ends before anything is asked for.
            self.publish();
            let (api, name, params) = (self.api.clone(), self.name.clone(), PostParams::default());
            match action {
                Action::Done => return,
                Action::Wait(until) => sleep_until(self.shared.clock.instant(until)).await,
                Action::Read => match self.answer("get", api.get_opt(&name)).await {
                    Ok(lease) => self.election.read(self.shared.clock.now(), lease),
                    Err(failed) => self.election.failed(self.shared.clock.now(), failed),
                },
                Action::Create(spec) => {
                    let lease = self.lease(None, spec);
                    let written = self.answer("create", api.create(&params, &lease)).await;
                    self.take(now, written);
                }
                Action::Replace(version, spec) => {
                    let lease = self.lease(Some(version), spec);
                    let written = self.answer("update", api.replace(&name, &params, &lease)).await;
                    self.take(now, written);
                }
            }
            self.publish();
        }
    }

    fn take(&mut self, sent: Time, written: Result<Lease, Failed>) {
        let now = self.shared.clock.now();
        match written {
            Ok(lease) => self.election.wrote(sent, now, lease),
            Err(failed) => self.election.failed(now, failed),
        }
    }

    fn lease(&self, version: Option<String>, spec: LeaseSpec) -> Lease {
        let metadata =
            ObjectMeta { name: Some(self.name.clone()), resource_version: version, ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec) }
    }

    /// Waits for the answer, and says so if there is none to be used.
    async fn answer<T>(
        &mut self,
        verb: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failed> {
        let (failed, is_forbidden, error) = match timeout(TIMEOUT, request).await {
            Ok(Ok(answer)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(op = OP, lease = self.name, "the API server answers again");
                }
                return Ok(answer);
            }
            Ok(Err(error)) => match error::classify(&error) {
                Failure::Conflict | Failure::AlreadyExists | Failure::NotFound => {
                    return Err(Failed::Overtaken);
                }
                Failure::Forbidden => {
                    let error = error::describe(&error);
                    let error = format!("the RBAC rules lack the verb {verb} on leases: {error}");
                    (Failed::Unknown, true, error)
                }
                _ => (Failed::Unknown, false, error::describe(&error)),
            },
            Err(_) => (Failed::Unknown, false, format!("no answer within {} s", TIMEOUT.as_secs())),
        };
        if is_forbidden || self.told == LeaderState::Unknown {
            self.gate.not_ready(&error);
        } else {
            self.gate.ready_but(&error);
        }
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(op = OP, lease = self.name, error, "cannot {verb} the Lease; trying again");
        }
        Err(failed)
    }

    /// Tells everybody how things stand.
    fn publish(&mut self) {
        let leader_state = self.election.leader_state(self.shared.clock.now());
        let (number, until) = match leader_state {
            LeaderState::Leading { term, until } => (Some(term), until),
            _ => (None, Time::ZERO),
        };
        self.shared.term.send_if_modified(|term| {
            let new = TermState { number: number.unwrap_or(term.number), until };
            std::mem::replace(term, new) != new
        });
        self.gauge.set(i64::from(number.is_some()));
        self.tell(leader_state);
    }

    fn tell(&mut self, leader_state: LeaderState) {
        if !self.failing {
            match &leader_state {
                LeaderState::Unknown => {}
                LeaderState::Leading { .. } => self.gate.ready_but("leading"),
                LeaderState::Standby(Some(leader)) => self.gate.ready_but(format!("standby; {leader} leads")),
                LeaderState::Standby(None) => self.gate.ready_but("standby; nobody leads"),
            }
        }
        let lease = &self.name;
        match (&self.told, &leader_state) {
            (LeaderState::Leading { term: old, .. }, LeaderState::Leading { term: new, .. })
                if old == new => {}
            (told, new) if told == new => {}
            (told, new) => {
                if matches!(told, LeaderState::Leading { .. }) {
                    tracing::warn!(op = OP, lease, "this replica does not lead any more");
                }
                match new {
                    LeaderState::Leading { term, .. } => {
                        tracing::info!(op = OP, lease, term, "this replica leads");
                    }
                    LeaderState::Standby(leader) => {
                        let leader = leader.as_deref().unwrap_or("nobody");
                        tracing::info!(op = OP, lease, leader, "this replica stands by");
                    }
                    LeaderState::Unknown => {}
                }
            }
        }
        self.told = leader_state;
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("election", &self.election)
            .finish_non_exhaustive()
    }
}
