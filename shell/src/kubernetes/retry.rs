//! The tries of a request that has to succeed in the end: how often it has
//! failed, when it is made again, and whether that is news.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::kubernetes::connectivity::{self, Comeback, SPREAD};
use crate::kubernetes::error::{self, Failure};
use crate::process::backoff::Backoff;
use crate::process::random::Jitter;

/// How often in a row a server may ask for patience before people are told.
pub const BUSY_TRIES: u32 = 4;

/// Why a request did not succeed, and what that says of the next try.
#[derive(Debug)]
pub struct RetryableError {
    /// What happened, in one line.
    pub text: String,
    /// The next try does not come sooner than this, whatever the backoff: the
    /// server's wish (`Retry-After`), or zero.
    pub after: Duration,
    /// The server asks for patience (429), as it does while a new CRD's storage is made.
    is_busy: bool,
    /// Set where the server did not answer.
    comeback: Option<Comeback>,
}

impl RetryableError {
    /// A failure that is known by its text alone.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), after: Duration::ZERO, is_busy: false, comeback: None }
    }

    /// The same with `context: ` before the text.
    #[must_use]
    pub fn context(mut self, context: &str) -> Self {
        self.text = format!("{context}: {}", self.text);
        self
    }
}

impl From<&kube::Error> for RetryableError {
    fn from(error: &kube::Error) -> Self {
        let after = match error::classify(error) {
            Failure::Transient { after } => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        Self {
            text: error::describe(error),
            after,
            is_busy: error::is_busy(error),
            comeback: Comeback::of(error),
        }
    }
}

/// The tries of one request, or of one kind of them.
///
/// Each failure puts the next try off by a backoff with jitter. When the API
/// server answers again after an outage, the next try is due within [`SPREAD`]
/// and the backoff begins anew, as it does with the first failure that is an
/// answer; the run of failures goes on, for it is told once.
#[derive(Debug)]
pub struct Retry {
    backoff: Backoff,
    jitter: Jitter,
    /// Failures since the last success.
    failures: u32,
    /// Those of them since the server has answered again, by which the delay grows.
    tries: u32,
    /// Whether the run was told of.
    is_told: bool,
    not_before: Instant,
    comeback: Option<Comeback>,
}

impl Retry {
    /// Nothing has failed yet. `backoff` is what [`Retry::failed`] puts tries off by.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            jitter: Jitter::seeded(),
            failures: 0,
            tries: 0,
            is_told: false,
            not_before: Instant::now(),
            comeback: None,
        }
    }

    /// Takes in a failure. True for the first of a run, which is worth a line in
    /// the log; the others are the same news again. A server that asks for patience
    /// is news at the [`BUSY_TRIES`]th time.
    pub fn failed(&mut self, error: &RetryableError) -> bool {
        self.failed_by(self.backoff, error)
    }

    /// The same for a failure with a backoff of its own.
    pub fn failed_by(&mut self, backoff: Backoff, error: &RetryableError) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.comeback.is_some() && error.comeback.is_none() {
            // How long nobody answered says nothing about how long an answer will stand.
            self.tries = 0;
        }
        self.tries = self.tries.saturating_add(1);
        self.not_before = Instant::now() + backoff.delay(self.tries, &mut self.jitter).max(error.after);
        self.comeback.clone_from(&error.comeback);
        let is_news = !self.is_told && (!error.is_busy || self.failures >= BUSY_TRIES);
        self.is_told |= is_news;
        is_news
    }

    /// Takes in a success; says how many failures came before it, in this run.
    pub fn succeeded(&mut self) -> u32 {
        self.tries = 0;
        self.is_told = false;
        self.comeback = None;
        std::mem::take(&mut self.failures)
    }

    /// When the next try is due; in the past if nothing has failed.
    #[must_use]
    pub fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Completes when the API server answers again, which may make the next try
    /// due sooner; never if the last failure was not for want of an answer.
    /// Cancel-safe.
    pub async fn reconnected(&mut self) {
        connectivity::back(self.comeback.as_mut()).await;
        self.comeback = None;
        self.tries = 0;
        self.not_before = self.not_before.min(Instant::now() + self.jitter.up_to(SPREAD));
    }

    /// Completes when the next try is due. Cancel-safe.
    pub async fn wait(&mut self) {
        loop {
            let due = self.not_before;
            tokio::select! {
                () = sleep_until(due) => return,
                () = self.reconnected() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(60) };

    fn refused(after: u32) -> RetryableError {
        let mut status = kube::core::Status::failure("busy", "TooManyRequests");
        status.code = 429;
        let details = serde_json::json!({ "retryAfterSeconds": after });
        status.details = serde_json::from_value(details).expect("every field has a default");
        RetryableError::from(&kube::Error::Api(status.boxed()))
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_a_success_ends_the_run() {
        let mut retry = Retry::new(BACKOFF);
        for (failures, most) in [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60)] {
            let begin = Instant::now();
            assert_eq!(retry.failed(&RetryableError::new("no answer")), failures == 1, "the first is news");
            retry.wait().await;
            let (took, most) = (begin.elapsed(), Duration::from_secs(most));
            assert!(took >= most / 2 && took <= most + Duration::from_millis(1), "{failures}: {took:?}");
        }
        assert_eq!(retry.succeeded(), 5);
        assert_eq!(retry.succeeded(), 0, "it is told once");
        assert!(retry.failed(&RetryableError::new("no answer")));
        assert!(retry.not_before() <= Instant::now() + BACKOFF.base, "the delay begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_is_left_alone_for_as_long_as_it_asks() {
        let mut retry = Retry::new(BACKOFF);
        let begin = Instant::now();
        retry.failed(&refused(77));
        retry.wait().await;
        assert!(begin.elapsed() >= Duration::from_secs(77), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_patience_is_news_if_it_goes_on() {
        let busy = || {
            let mut status = kube::core::Status::failure("storage is (re)initializing", "TooManyRequests");
            status.code = 429;
            RetryableError::from(&kube::Error::Api(status.boxed()))
        };
        let mut retry = Retry::new(BACKOFF);
        let told: Vec<bool> = (0..6).map(|_| retry.failed(&busy())).collect();
        assert_eq!(told, [false, false, false, true, false, false]);
        retry.succeeded();
        assert!(!retry.failed(&busy()));
        assert!(retry.failed(&RetryableError::new("no answer")), "that is another matter");
        assert!(!retry.failed(&busy()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_outage_ends_with_is_tried_again_soon() {
        let mut retry = Retry::new(BACKOFF);
        let mut unanswered = RetryableError::new("no answer");
        unanswered.comeback = Some(Comeback::never());
        for _ in 0..9 {
            retry.failed(&unanswered);
        }
        assert!(!retry.failed(&RetryableError::new("forbidden")), "the run was told of");
        assert!(retry.not_before() <= Instant::now() + BACKOFF.base, "the delay begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_outage_ends_the_wait_and_not_the_run() {
        let answers = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&answers);
        let service = tower::service_fn(move |_: Request<Body>| {
            let answers = switch.load(Ordering::Relaxed);
            async move {
                let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                answers.then(|| Response::new(Body::empty())).ok_or_else(refused)
            }
        });
        let client = connectivity::observed(Client::new(service, "default"), "server");
        let ask = || async { client.send(Request::new(Body::empty())).await.map(|_| ()) };
        let mut retry = Retry::new(BACKOFF);
        for _ in 0..9 {
            let error = ask().await.expect_err("nobody answers");
            retry.failed(&RetryableError::from(&error));
        }
        answers.store(true, Ordering::Relaxed);
        ask().await.expect("the server answers");
        let begin = Instant::now();
        retry.wait().await;
        assert!(begin.elapsed() <= SPREAD + Duration::from_millis(1), "{:?}", begin.elapsed());
        assert!(!retry.failed(&RetryableError::new("not yet")), "the run was told of");
        assert!(retry.not_before() <= Instant::now() + BACKOFF.base, "the delay begins anew");
        assert_eq!(retry.succeeded(), 10);
    }
}
