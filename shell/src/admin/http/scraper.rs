//! Who may read `/metrics` over HTTPS: whomever the API server knows by the
//! bearer token (TokenReview) and allows it to (SubjectAccessReview), as with
//! MetalLB v0.16 (M1, G125).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use crate::kubernetes::error;

/// What a scraper must be allowed to get.
const PATH: &str = "/metrics";
/// An admission is asked for again after this time.
const ADMITTED_FOR: Duration = Duration::from_secs(60);
/// A refusal is asked for again after this time: somebody may be mending it.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// While the API server cannot be asked, whoever was admitted this recently
/// stays so: metrics are wanted most when something is down.
const GRACE: Duration = Duration::from_secs(600);
/// Tokens that are remembered; a cluster has a few scrapers.
const TOKENS: usize = 128;
/// The longest token; those of service accounts have about a thousand bytes.
const TOKEN_BYTES: usize = 8192;
/// How many tokens may be asked about in one second, so that nobody makes us
/// flood the API server.
const REVIEWS_PER_SECOND: u32 = 10;
/// How long the API server may take.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// What a token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It may read the metrics.
    Admitted,
    /// It is nobody's: 401.
    Unknown,
    /// It is this user's, who may not: 403.
    Forbidden(String),
}

/// A verdict is remembered by the token's hash, so that no token is kept.
type Fingerprint = [u8; 32];

#[derive(Clone, Debug)]
struct Remembered {
    verdict: Verdict,
    at: Instant,
}

/// Asks the API server about each token, and remembers the answer for a while.
#[derive(Clone)]
pub(super) struct Scrapers(Arc<Inner>);

struct Inner {
    client: Client,
    known: Mutex<BTreeMap<Fingerprint, Remembered>>,
    pace: Mutex<Pace>,
}

impl Scrapers {
    pub(super) fn new(client: Client) -> Self {
        let pace = Mutex::new(Pace { second: Instant::now(), reviews: 0 });
        Self(Arc::new(Inner { client, known: Mutex::default(), pace }))
    }
}

/// Lets a request through or answers it.
pub(super) async fn admit(State(scrapers): State<Scrapers>, request: Request, next: Next) -> Response {
    let inner = &scrapers.0;
    let Some(token) = bearer(request.headers()) else { return unauthorized() };
    match inner.verdict(token).await {
        Ok(Verdict::Admitted) => next.run(request).await,
        Ok(Verdict::Unknown) => unauthorized(),
        Ok(Verdict::Forbidden(user)) => {
            let text = format!("{user} may not get the non-resource URL {PATH}\n");
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Err(NoVerdict::TooMany) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], "too many unknown tokens\n")
                .into_response()
        }
        Err(NoVerdict::Failed(error)) => {
            tracing::warn!(
                op = "https",
                error,
                "the API server does not say whether a scraper is allowed to"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, "the API server cannot be asked\n").into_response()
        }
    }
}

fn unauthorized() -> Response {
    let text = "a bearer token is needed that the API server knows\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES;
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

/// Why nothing is known of a token.
#[derive(Debug)]
enum NoVerdict {
    TooMany,
    Failed(String),
}

impl Inner {
    async fn verdict(&self, token: &str) -> Result<Verdict, NoVerdict> {
        let fingerprint: Fingerprint = Sha256::digest(token.as_bytes()).into();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&fingerprint).cloned();
        let age = |known: &Remembered| known.at.elapsed();
        if let Some(known) = known.as_ref().filter(|known| age(known) < known.verdict.lasts()) {
            return Ok(known.verdict.clone());
        }
        let grace = known
            .filter(|known| known.verdict == Verdict::Admitted && age(known) < GRACE)
            .map(|known| known.verdict);
        match self.review(token).await {
            Ok(verdict) => {
                self.remember(fingerprint, &verdict);
                Ok(verdict)
            }
            Err(no_verdict) => grace.ok_or(no_verdict),
        }
    }

    async fn review(&self, token: &str) -> Result<Verdict, NoVerdict> {
        if !self.pace.lock().unwrap_or_else(PoisonError::into_inner).allows(Instant::now()) {
            return Err(NoVerdict::TooMany);
        }
        match timeout(REVIEW_TIMEOUT, ask(&self.client, token)).await {
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(error)) => Err(NoVerdict::Failed(error::describe(&error))),
            Err(_) => Err(NoVerdict::Failed(format!("no answer within {REVIEW_TIMEOUT:?}"))),
        }
    }

    fn remember(&self, fingerprint: Fingerprint, verdict: &Verdict) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(fingerprint, Remembered { verdict: verdict.clone(), at: Instant::now() });
        if known.len() > TOKENS {
            forget_one(&mut known);
        }
    }
}

/// Forgets a refused token before an admitted one, and the oldest of its kind.
fn forget_one(known: &mut BTreeMap<Fingerprint, Remembered>) {
    let worth = |remembered: &Remembered| (remembered.verdict == Verdict::Admitted, remembered.at);
    let least = known.iter().min_by_key(|(_, remembered)| worth(remembered)).map(|(key, _)| *key);
    if let Some(least) = least {
        known.remove(&least);
    }
}

impl Verdict {
    fn lasts(&self) -> Duration {
        if *self == Self::Admitted { ADMITTED_FOR } else { REFUSED_FOR }
    }
}

/// How many tokens were asked about in this second.
struct Pace {
    second: Instant,
    reviews: u32,
}

impl Pace {
    fn allows(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: now, reviews: 0 };
        }
        let allowed = self.reviews < REVIEWS_PER_SECOND;
        self.reviews += u32::from(allowed);
        allowed
    }
}

async fn ask(client: &Client, token: &str) -> kube::Result<Verdict> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = review.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
        return Ok(Verdict::Unknown);
    };
    let name = user.username.clone().unwrap_or_default();
    let review = SubjectAccessReview { spec: access(user), ..SubjectAccessReview::default() };
    let review =
        Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let allowed = review.status.is_some_and(|status| status.allowed);
    Ok(if allowed { Verdict::Admitted } else { Verdict::Forbidden(name) })
}

fn access(user: UserInfo) -> SubjectAccessReviewSpec {
    let attributes = NonResourceAttributes { path: Some(PATH.to_owned()), verb: Some("get".to_owned()) };
    SubjectAccessReviewSpec {
        extra: user.extra,
        groups: user.groups,
        non_resource_attributes: Some(attributes),
        resource_attributes: None,
        uid: user.uid,
        user: user.username,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_a_token() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("it is plain text"));
            assert_eq!(bearer(&headers), expected, "{value:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
        let mut headers = HeaderMap::new();
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES + 1));
        headers.insert(header::AUTHORIZATION, long.parse().expect("it is plain text"));
        assert_eq!(bearer(&headers), None);
    }

    #[test]
    fn refusals_are_forgotten_before_admissions() {
        let now = Instant::now();
        let mut known = BTreeMap::new();
        for (index, verdict) in
            [Verdict::Admitted, Verdict::Unknown, Verdict::Unknown].into_iter().enumerate()
        {
            let later = Duration::from_secs(index as u64);
            known.insert([index as u8; 32], Remembered { verdict, at: now + later });
        }
        forget_one(&mut known);
        assert_eq!(known.keys().map(|key| key[0]).collect::<Vec<_>>(), [0, 2]);
        forget_one(&mut known);
        assert_eq!(known.keys().map(|key| key[0]).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn unknown_tokens_are_asked_about_at_a_bounded_pace() {
        let start = Instant::now();
        let mut pace = Pace { second: start, reviews: 0 };
        let allowed = (0..1000).filter(|_| pace.allows(start)).count();
        assert_eq!(allowed, 10);
        assert!(!pace.allows(start + Duration::from_millis(999)));
        assert!(pace.allows(start + Duration::from_secs(1)));
    }
}
