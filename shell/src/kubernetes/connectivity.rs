//! The end of an outage of the API server, told to everybody who waits it out.
//!
//! Each watch and each write has a backoff of its own, of up to a minute. Left
//! to that alone, the last of them would be back a minute after the server is.
//! So the error of a request that was not answered at all carries a
//! [`Comeback`], which completes as soon as any request of this process has been
//! answered: then everybody goes on.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::kubernetes::error;
use crate::process::random::Jitter;

/// Those who go on do so within this time: a server that has just come back
/// hears from every node.
pub const SPREAD: Duration = Duration::from_secs(1);

/// How requests have fared.
#[derive(Debug, Default)]
struct Reach {
    /// A request was not answered, and none has been since.
    is_lost: bool,
    /// How many times that has ended.
    comebacks: u64,
}

/// Why a request has no answer, and when to ask again.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {}", error::describe(cause))]
struct Unreachable {
    /// Who was asked.
    server: Arc<str>,
    cause: kube::Error,
    comeback: Comeback,
}

/// Tells when the API server answers again.
#[derive(Clone, Debug)]
pub struct Comeback {
    reach: watch::Receiver<Reach>,
    /// The comebacks before the request failed.
    before: u64,
}

/// The same client, whose errors carry a [`Comeback`] where the server did not
/// answer, and name `server`, its address.
#[must_use]
pub fn observed(client: Client, server: &str) -> Client {
    let server: Arc<str> = server.into();
    let namespace = client.default_namespace().to_owned();
    let reach = watch::Sender::new(Reach::default());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, reach, server) = (client.clone(), reach.clone(), Arc::clone(&server));
        async move {
            match client.send(request).await {
                Ok(answer) => {
                    if speaks_for_itself(answer.status()) {
                        regain(&reach);
                    }
                    Ok(answer)
                }
                Err(cause @ (kube::Error::Service(_) | kube::Error::HyperError(_))) => {
                    let comeback = lose(&reach);
                    Err(kube::Error::Service(Box::new(Unreachable { server, cause, comeback })))
                }
                // The request was never sent.
                Err(error) => Err(error),
            }
        }
    });
    Client::new(service, namespace)
}

/// Not so a proxy in the server's place, or a server that cannot serve yet.
fn speaks_for_itself(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

fn regain(reach: &watch::Sender<Reach>) {
    reach.send_if_modified(|reach| {
        let was_lost = std::mem::take(&mut reach.is_lost);
        reach.comebacks += u64::from(was_lost);
        was_lost
    });
}

fn lose(reach: &watch::Sender<Reach>) -> Comeback {
    let mut before = 0;
    reach.send_if_modified(|reach| {
        reach.is_lost = true;
        before = reach.comebacks;
        false
    });
    Comeback { reach: reach.subscribe(), before }
}

impl Comeback {
    /// One of a server that has not answered, and never will.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        lose(&watch::Sender::new(Reach::default()))
    }

    /// The one that `error` carries. None where the server has answered.
    #[must_use]
    pub fn of(error: &kube::Error) -> Option<Self> {
        let kube::Error::Service(inner) = error else { return None };
        inner.downcast_ref::<Unreachable>().map(|error| error.comeback.clone())
    }

    /// Completes when any request of the same client has been answered since.
    /// Cancel-safe.
    pub async fn wait(&mut self) {
        let before = self.before;
        if self.reach.wait_for(|reach| reach.comebacks > before).await.is_err() {
            // Nobody can ask any more.
            std::future::pending().await
        }
    }
}

/// Completes with the comeback, and never without one. Cancel-safe.
pub async fn back(comeback: Option<&mut Comeback>) {
    match comeback {
        Some(comeback) => comeback.wait().await,
        None => std::future::pending().await,
    }
}

/// Waits for `delay`, or for the comeback and a part of [`SPREAD`] if that is
/// sooner. Says whether the server is back.
pub async fn wait_out(delay: Duration, comeback: Option<Comeback>, jitter: &mut Jitter) -> bool {
    let Some(mut comeback) = comeback else {
        sleep(delay).await;
        return false;
    };
    let is_back = timeout(delay, comeback.wait()).await.is_ok();
    if is_back {
        sleep(jitter.up_to(SPREAD)).await;
    }
    is_back
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use http::Response;
    use tokio::time::Instant;

    use super::*;

    /// What the server does: it answers with this status, or not at all.
    const SILENT: u16 = 0;

    fn client(status: &Arc<AtomicU16>) -> Client {
        let status = Arc::clone(status);
        let service = tower::service_fn(move |_: Request<Body>| {
            let status = status.load(Ordering::Relaxed);
            async move {
                if status == SILENT {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
                }
                Ok(Response::builder().status(status).body(Body::empty()).expect("it has a valid status"))
            }
        });
        observed(Client::new(service, "default"), "https://10.96.0.1")
    }

    async fn ask(client: &Client) -> kube::Result<()> {
        client.send(Request::new(Body::empty())).await.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_ends_everybodys_wait() {
        let status = Arc::new(AtomicU16::new(SILENT));
        let client = client(&status);
        let begin = Instant::now();
        let waits: Vec<_> = (0..5)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let error = ask(&client).await.expect_err("nobody answers");
                    wait_out(Duration::from_secs(600), Comeback::of(&error), &mut Jitter::new(number)).await
                })
            })
            .collect();
        sleep(Duration::from_secs(60)).await;
        assert!(waits.iter().all(|wait| !wait.is_finished()));
        for stopgap in [502, 503, 429] {
            status.store(stopgap, Ordering::Relaxed);
            ask(&client).await.expect("somebody answers");
        }
        sleep(Duration::from_secs(60)).await;
        assert!(waits.iter().all(|wait| !wait.is_finished()), "nobody knows yet what is behind it");
        status.store(404, Ordering::Relaxed);
        ask(&client).await.expect("the server answers, whatever it says");
        for wait in waits {
            assert!(wait.await.expect("it does not panic"), "the server is back");
        }
        let took = begin.elapsed() - Duration::from_secs(120);
        assert!(took <= SPREAD, "the last went on after {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_was_over_before_ends_no_wait() {
        let status = Arc::new(AtomicU16::new(SILENT));
        let client = client(&status);
        ask(&client).await.expect_err("nobody answers");
        status.store(200, Ordering::Relaxed);
        ask(&client).await.expect("the server answers");
        status.store(SILENT, Ordering::Relaxed);
        let error = ask(&client).await.expect_err("nobody answers");
        let begin = Instant::now();
        let delay = Duration::from_secs(30);
        assert!(!wait_out(delay, Comeback::of(&error), &mut Jitter::new(1)).await);
        assert_eq!(begin.elapsed(), delay);
    }

    #[tokio::test]
    async fn the_cause_is_told_once() {
        let client = client(&Arc::new(AtomicU16::new(SILENT)));
        let error = ask(&client).await.expect_err("nobody answers");
        assert_eq!(error::describe(&error), "https://10.96.0.1: connection refused");
        assert_eq!(error::classify(&error), error::Failure::Transient { after: None });
    }

    #[test]
    fn an_answer_carries_no_comeback() {
        let status = kube::core::Status::failure("no", "Forbidden");
        assert!(Comeback::of(&kube::Error::Api(status.boxed())).is_none());
    }
}
