//! Keeps the `ConfigurationState` of this process as it has to be: the one
//! writer of both binaries (A50 to A60).
//!
//! What it says is decided by [`ferrolb_api::configuration_state`]. Here it is
//! written, when it differs from what stands, and written again when somebody
//! has edited or deleted the object.

mod subject;

use std::time::Duration;

use ferrolb_api::crd::ConfigurationState;
use ferrolb_api::crd::configuration_state::NetworkStatus;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use prometheus::IntCounter;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::admin::readiness::Readiness;
use crate::kubernetes::error::{self, Failure};
use crate::kubernetes::own_pod::OwnPod;
use crate::kubernetes::retry::{Retry, RetryableError};
use crate::kubernetes::watch::Watch;
use crate::process::backoff::Backoff;
use crate::process::random::Jitter;

use subject::ObjectState;
pub use subject::Subject;

/// Delays between tries of a request that fails.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(800), cap: Duration::from_secs(60) };
/// Delays between tries that most likely need a change made by hand first: the
/// CRD, or the RBAC rules. The first ones are short: an API server that has just
/// started refuses what it will allow in a moment.
const SLOW: Backoff = Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(300) };
/// Delays before what somebody has undone is written again. They grow, so that
/// two writers that disagree do not keep the API server busy.
const RESTORE: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) };
/// After this time without a need to restore, the next one is again the first.
const RESTORE_FORGIVEN: Duration = Duration::from_secs(900);
/// A request without an answer is made again after this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A process that has nothing to say yet after this time says that. Until then
/// what stands is of the process before it, and usually still right.
const FIRST_WORD: Duration = Duration::from_secs(30);

/// The field manager of what is said of a node's network.
const FIELD_MANAGER_OF_NETWORK: &str = "speaker";

/// What this process has to say: `None` before the configuration is judged, and
/// then the message of [`ferrolb_api::configuration_state::message`].
pub type Judgement = Option<String>;

/// Writes the object and keeps it.
#[derive(Debug)]
pub struct ConfigurationStateWriter {
    api: Api<ConfigurationState>,
    watched: Api<DeserializeGuard<ConfigurationState>>,
    subject: Subject,
    own_pod: OwnPod,
    judgement: watch::Receiver<Judgement>,
    /// What is to stand there of the node's network, for a speaker.
    network: watch::Receiver<Option<NetworkStatus>>,
    /// What was written of it last, and the UID of the object that it was written into.
    network_said: Option<(String, NetworkStatus)>,
    errors: IntCounter,
    jitter: Jitter,
    standing: ObjectState,
    /// The judgement that was written last.
    said: Option<Judgement>,
    retry: Retry,
    restores: u32,
    /// When the next restoration is due, or the last one was.
    restore_at: Option<Instant>,
    restored_at: Option<Instant>,
}

/// A request that did not succeed.
struct RequestError {
    /// Trying again soon is of no use.
    is_slow: bool,
    /// What it means, where that is known.
    meaning: &'static str,
    error: RetryableError,
}

impl ConfigurationStateWriter {
    /// Writes what `judgement` says into the object of `subject` in `namespace`.
    /// Requests that fail are counted in `errors`.
    #[must_use]
    pub fn new(
        client: &Client,
        namespace: &str,
        subject: Subject,
        own_pod: OwnPod,
        judgement: watch::Receiver<Judgement>,
        errors: IntCounter,
    ) -> Self {
        let (_, network) = watch::channel(None);
        Self {
            api: Api::namespaced(client.clone(), namespace),
            watched: Api::namespaced(client.clone(), namespace),
            subject,
            own_pod,
            judgement,
            network,
            network_said: None,
            errors,
            jitter: Jitter::seeded(),
            standing: ObjectState::Unseen,
            said: None,
            retry: Retry::new(BACKOFF),
            restores: 0,
            restore_at: None,
            restored_at: None,
        }
    }

    /// The same, saying besides what `network` is.
    #[must_use]
    pub fn with_network(mut self, network: watch::Receiver<Option<NetworkStatus>>) -> Self {
        self.network = network;
        self
    }

    /// Ends when nobody judges any more. Whatever is missing, the CRD of an
    /// older MetalLB for one, harms nothing but this object.
    pub async fn run(mut self) {
        self.wait_for_kind().await;
        let owner = self.own_pod.owner().await;
        let _ = timeout(FIRST_WORD, self.judgement.wait_for(Option::is_some)).await;
        // Readiness does not depend on it.
        let gate = Readiness::default().gate("watch configurationstates", "not listed yet");
        let watch = Watch::new(self.watched.clone(), None, subject::slim, gate).of_one(&self.subject.name());
        let mut changes = Box::pin(watch.into_stream());
        loop {
            let judgement = self.judgement.borrow_and_update().clone();
            let due = self.due(owner.as_ref(), &judgement);
            tokio::select! {
                // What has been seen is taken in before anything is written.
                biased;
                change = changes.next() => self.standing.see(change.expect("watches never end")),
                // Where nobody tells of a network, nothing ever comes.
                Ok(()) = self.network.changed() => {}
                changed = self.judgement.changed() => if changed.is_err() { return },
                () = self.retry.reconnected() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.write(owner.as_ref(), judgement).await;
                }
            }
        }
    }

    /// Waits until the kind exists and may be read.
    async fn wait_for_kind(&mut self) {
        let params = ListParams::default().fields(&format!("metadata.name={}", self.subject.name())).limit(1);
        loop {
            let setback = match timeout(REQUEST_TIMEOUT, self.api.list_metadata(&params)).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => RequestError::of(&error),
                Err(_) => RequestError::unanswered(),
            };
            self.set_back(setback);
            self.retry.wait().await;
        }
        self.retry.succeeded();
    }

    /// When to write, if there is anything to write.
    fn due(&mut self, owner: Option<&OwnerReference>, judgement: &Judgement) -> Option<Instant> {
        let now = Time(Timestamp::now());
        let differs = self.subject.metadata(owner, &self.standing).is_some()
            || self.subject.status(judgement.as_deref(), &self.standing, &now).is_some();
        if !differs {
            self.restore_at = None;
            return self.network_due().map(|_| self.retry.not_before());
        }
        if self.said.as_ref() != Some(judgement) {
            return Some(self.retry.not_before());
        }
        // It was written, and somebody has undone it.
        let at = self.restore_at.unwrap_or_else(|| {
            let now = Instant::now();
            if self.restored_at.is_none_or(|last| now.saturating_duration_since(last) > RESTORE_FORGIVEN) {
                self.restores = 0;
            }
            self.restores = self.restores.saturating_add(1);
            self.restored_at = Some(now);
            now + RESTORE.delay(self.restores, &mut self.jitter)
        });
        self.restore_at = Some(at);
        Some(at.max(self.retry.not_before()))
    }

    /// What has to be written of the network, and into which object: once for each, for a server
    /// whose CRD has no such field drops it, and will the next time.
    fn network_due(&self) -> Option<(String, NetworkStatus)> {
        let network = self.network.borrow().clone()?;
        let due = (self.standing.lacks(&network)?.to_owned(), network);
        (self.network_said.as_ref() != Some(&due)).then_some(due)
    }

    async fn write(&mut self, owner: Option<&OwnerReference>, judgement: Judgement) {
        match timeout(REQUEST_TIMEOUT, self.apply(owner, &judgement)).await {
            Ok(Ok(())) => {
                let failures = self.retry.succeeded();
                if failures > 0 {
                    tracing::info!(op = "configurationState", failures, "written again");
                }
                self.restore_at = None;
                self.said = Some(judgement);
            }
            Ok(Err(setback)) => self.set_back(setback),
            Err(_) => self.set_back(RequestError::unanswered()),
        }
    }

    /// Makes the object and its status what they have to be (A59). A forced
    /// apply takes over what another process of MetalLB's has written.
    async fn apply(
        &mut self,
        owner: Option<&OwnerReference>,
        judgement: &Judgement,
    ) -> Result<(), RequestError> {
        let params = PatchParams::apply(self.subject.field_owner()).force();
        let name = self.subject.name();
        if let Some(metadata) = self.subject.metadata(owner, &self.standing) {
            let patched = self.api.patch(&name, &params, &Patch::Apply(&metadata)).await;
            self.standing.replace(patched.map_err(|error| RequestError::of(&error))?);
        }
        let now = Time(Timestamp::now());
        if let Some(status) = self.subject.status(judgement.as_deref(), &self.standing, &now) {
            let patched = self.api.patch_status(&name, &params, &Patch::Apply(&status)).await;
            self.standing.replace(patched.map_err(|error| RequestError::of_status(&error))?);
        }
        if let Some(due) = self.network_due() {
            // No apply: that is refused as a whole where the CRD does not have the field.
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER_OF_NETWORK.to_owned()),
                ..Default::default()
            };
            let status = serde_json::json!({ "status": { "network": due.1 } });
            let patched = self.api.patch_status(&name, &params, &Patch::Merge(&status)).await;
            self.standing.replace(patched.map_err(|error| RequestError::of_status(&error))?);
            self.network_said = Some(due);
        }
        Ok(())
    }

    /// Says what happened, once for each run of failures, and puts off the next try.
    fn set_back(&mut self, setback: RequestError) {
        let backoff = if setback.is_slow { SLOW } else { BACKOFF };
        let is_news = self.retry.failed_by(backoff, &setback.error);
        if setback.meaning != NO_SUCH_KIND {
            self.errors.inc();
        }
        let (error, object, meaning) = (setback.error.text, self.subject.name(), setback.meaning);
        if is_news {
            tracing::warn!(op = "configurationState", object, error, "{meaning}");
        } else {
            tracing::debug!(op = "configurationState", object, error, "{meaning}");
        }
    }
}

const NO_SUCH_KIND: &str = "there is no kind ConfigurationState; nothing else depends on it, and it is asked \
                            for again every few minutes";
const NOT_ALLOWED: &str = "the RBAC rules lack list, watch, create or patch on configurationstates, or patch on \
                           their status; trying again every few minutes";
const REFUSED: &str = "a write is refused; trying again every few minutes";
const FAILED: &str = "a request failed; trying again";

impl RequestError {
    fn of(error: &kube::Error) -> Self {
        let (is_slow, meaning) = match error::classify(error) {
            Failure::NotFound => (true, NO_SUCH_KIND),
            Failure::Forbidden => (true, NOT_ALLOWED),
            Failure::Refused => (true, REFUSED),
            _ => (false, FAILED),
        };
        Self { is_slow, meaning, error: RetryableError::from(error) }
    }

    /// What is not found now was there a moment before.
    fn of_status(error: &kube::Error) -> Self {
        match error::classify(error) {
            Failure::NotFound => Self { is_slow: false, meaning: FAILED, ..Self::of(error) },
            _ => Self::of(error),
        }
    }

    fn unanswered() -> Self {
        Self { is_slow: false, meaning: FAILED, error: RetryableError::new("no answer") }
    }
}
