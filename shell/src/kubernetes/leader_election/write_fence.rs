//! The one place that every write of a term passes, and how many are under way.

use ferrolb_api::Time;
use http::{Method, Request};
use kube::Client;
use kube::client::Body;

use super::Term;
use crate::kubernetes::leader_election::lease::DURATION;

/// The writes of this process, in all of its terms.
#[derive(Debug, Default)]
pub(super) struct WriteFence {
    under_way: usize,
    /// When one was given up last without an answer: it may come true later.
    abandoned: Option<Time>,
}

impl WriteFence {
    /// Whether one may still come true, and another must not be invited to write.
    pub(super) fn may_linger(&self, now: Time) -> bool {
        self.under_way > 0 || self.abandoned.is_some_and(|abandoned| now.since(abandoned) < DURATION)
    }
}

/// Why a write did not leave the process.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead any more; the write is not sent")]
struct NotLeading;

/// A write that is under way until it is answered or dropped.
struct UnderWay {
    term: Term,
    answered: bool,
}

impl UnderWay {
    /// None if it must not be sent.
    fn begin(term: Term) -> Option<Self> {
        // Counted first: who sees none under way after the end sees none later.
        term.shared.writes().under_way += 1;
        let this = Self { term, answered: false };
        if this.term.may_write() {
            return Some(this);
        }
        this.answered();
        None
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.term.shared.clock.now();
        let mut writes = self.term.shared.writes();
        writes.under_way -= 1;
        if !self.answered {
            writes.abandoned = Some(now);
        }
    }
}

/// Whatever is not read is a write.
pub(super) fn fenced(client: Client, term: Term) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, term) = (client.clone(), term.clone());
        async move {
            if request.method() == Method::GET {
                return client.send(request).await;
            }
            let Some(write) = UnderWay::begin(term) else {
                return Err(kube::Error::Service(Box::new(NotLeading)));
            };
            let answer = client.send(request).await;
            // Without an answer it may still be on its way; so it may behind a
            // server that gave up waiting for another one.
            if answer.as_ref().is_ok_and(|answer| !answer.status().is_server_error()) {
                write.answered();
            }
            answer
        }
    });
    Client::new(service, namespace)
}
