//! Leading by a Lease: the requests of [`crate::kubernetes::leader_election::lease`], and what the rest of
//! the process has of it. Work is done in terms; each ends with the Lease that
//! it began with, and no write of a term leaves the process after its end.
//!
//! kube-leader-election 0.44 does "without fencing", as it says itself, and
//! kube-lease-manager 0.13 fences no write either: they tell whether one led a
//! moment ago.

mod boot_clock;
mod candidate;
pub mod lease;
mod write_fence;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrolb_api::Time;
use kube::Client;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::admin::metrics::register;
use crate::admin::readiness::Gate;
use crate::process::random;

use boot_clock::BootClock;
use write_fence::WriteFence;

pub use candidate::Candidate;

/// Which Lease, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// What people know this process by, as the name of its Pod. The holder's
    /// identity is this and a random part, so that a process that is started
    /// again is another holder.
    pub holder: String,
}

/// Tells when this process leads.
#[derive(Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
    terms: watch::Receiver<TermState>,
    last: u64,
}

/// A time in which this process, and no other, writes.
#[derive(Clone, Debug)]
pub struct Term {
    shared: Arc<Shared>,
    number: u64,
}

/// The term that runs: its number, and until when it does without a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TermState {
    number: u64,
    until: Time,
}

#[derive(Debug)]
struct Shared {
    clock: BootClock,
    term: watch::Sender<TermState>,
    writes: Mutex<WriteFence>,
}

/// What this machine calls itself, which in a container is the Pod's name.
#[must_use]
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}

/// A candidate for the Lease and the way to learn of its success. `gate` says
/// how the election stands, the gauge `leader_election_master_status` whether
/// this process leads; it is client-go's.
///
/// # Panics
/// If the kernel has no random bytes, without which two could be taken for one.
#[must_use]
pub fn channel(
    client: Client,
    candidacy: LeaderElectionConfig,
    registry: &Registry,
    gate: Gate,
) -> (Leadership, Candidate) {
    let random = random::bytes::<8>().expect("Linux has random bytes");
    let identity = format!("{}_{:016x}", candidacy.holder, u64::from_ne_bytes(random));
    let shared = Arc::new(Shared::new(TermState { number: 0, until: Time::ZERO }));
    let leadership = Leadership { shared: shared.clone(), terms: shared.term.subscribe(), last: 0 };
    let options = Opts::new("leader_election_master_status", "Whether this process leads, by its Lease");
    let gauge = IntGaugeVec::new(options, &["name"]).expect("name and label are valid");
    let gauge = register(registry, gauge).with_label_values(&[&candidacy.name]);
    (leadership, Candidate::new(client, &candidacy, identity, shared, gate, gauge))
}

impl Leadership {
    /// The next term, once it begins. What it is decided on has to be read
    /// after that: what was read before may lack the last writes of another.
    pub async fn gained(&mut self) -> Term {
        let (last, clock) = (self.last, &self.shared.clock);
        let begun = |term: &TermState| term.number > last && clock.now() < term.until;
        // The sender lives as long as this does.
        let term = self.terms.wait_for(begun).await.map(|term| *term);
        let Ok(TermState { number, .. }) = term else { return std::future::pending().await };
        self.last = number;
        Term { shared: self.shared.clone(), number }
    }
}

impl Term {
    /// A term without a Lease and without an end: there is nobody else.
    #[must_use]
    pub fn unlimited() -> Self {
        let forever = TermState { number: 1, until: Time::from_micros(u64::MAX) };
        Self { shared: Arc::new(Shared::new(forever)), number: forever.number }
    }

    /// Whether a write may leave the process now. Asks the clock, so that a
    /// process that was stopped and continued knows before anybody tells it.
    #[must_use]
    pub fn may_write(&self) -> bool {
        let term = *self.shared.term.borrow();
        term.number == self.number && self.shared.clock.now() < term.until
    }

    /// Completes when it is over. Cancel-safe.
    pub async fn over(&self) {
        let mut terms = self.shared.term.subscribe();
        while self.may_write() {
            let until = terms.borrow_and_update().until;
            tokio::select! {
                // The sender lives as long as this does.
                _ = terms.changed() => {}
                () = sleep_until(self.shared.clock.instant(until)) => {}
            }
        }
    }

    /// The same client, for this term: it refuses every write outside of it,
    /// at the last moment before the connection, whoever asks for it.
    #[must_use]
    pub fn client(&self, client: Client) -> Client {
        write_fence::fenced(client, self.clone())
    }
}

impl Shared {
    fn new(term: TermState) -> Self {
        Self { clock: BootClock::start(), term: watch::Sender::new(term), writes: Mutex::default() }
    }

    fn writes(&self) -> MutexGuard<'_, WriteFence> {
        // Each change of it is one step: a poisoned one is still whole.
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
