//! One request from bytes to bytes: faults, authorization, execution, the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::BoxError;

use crate::error::Refusal;
use crate::execute::{Executor, key};
use crate::faults::{ActiveFaults, Fault, HANG};
use crate::kinds::Kinds;
use crate::patch::Patch;
use crate::rbac::{Attributes, Rbac};
use crate::request::{ApiRequest, RequestAction, RequestTarget};
use crate::review::{self, Tokens};
use crate::store::ObjectStore;
use crate::watch::{Watch, WatchEntry};

/// The user that may do everything.
pub(crate) const ADMIN: &str = "system:admin";

/// What a client gets back.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// One request as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// When, since the server was made.
    pub at: Duration,
    /// By whom.
    pub user: String,
    /// The verb.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The resource in plural.
    pub resource: String,
    /// The subresource.
    pub subresource: Option<String>,
    /// The namespace, if the request names one.
    pub namespace: Option<String>,
    /// The object, if the request names one.
    pub name: Option<String>,
    /// The code of the answer; `None` if none was given (yet).
    pub status: Option<u16>,
    /// Whether it changed anything, answered or not.
    pub committed: bool,
}

impl RequestRecord {
    /// Whether it asked for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// As authorization sees it.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes {
            verb: &self.verb,
            group: &self.group,
            resource: &self.resource,
            subresource: self.subresource.as_deref(),
            namespace: self.namespace.as_deref(),
            name: self.name.as_deref(),
        }
    }
}

/// Everything behind the lock.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: ObjectStore,
    pub(crate) kinds: Kinds,
    pub(crate) rbac: Rbac,
    pub(crate) tokens: Tokens,
    pub(crate) faults: ActiveFaults,
    pub(crate) watches: BTreeMap<u64, WatchEntry>,
    pub(crate) log: Vec<RequestRecord>,
    started: Instant,
}

/// What all clients and streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    server: Mutex<Server>,
    /// Moves whenever a stream should look again.
    pub(crate) ticks: tokio::sync::watch::Sender<u64>,
}

impl Server {
    pub(crate) fn new(kinds: Kinds, rbac: Rbac) -> Self {
        Self {
            store: ObjectStore::default(),
            kinds,
            rbac,
            tokens: Tokens::default(),
            faults: ActiveFaults::default(),
            watches: BTreeMap::new(),
            log: Vec::new(),
            started: Instant::now(),
        }
    }

    /// An executor at the present time. The wall clock begins in 2026 and
    /// follows tokio's, paused or not.
    pub(crate) fn executor(&mut self) -> Executor<'_> {
        const BEGIN: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);
        let seconds = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(0);
        let now = BEGIN.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(BEGIN);
        Executor { store: &mut self.store, now: now.to_string() }
    }

    fn record(&mut self, user: &str, request: &ApiRequest, verb: &str) -> usize {
        let target = &request.target;
        self.log.push(RequestRecord {
            at: self.started.elapsed(),
            user: user.to_owned(),
            verb: verb.to_owned(),
            group: target.kind.group.clone(),
            resource: target.kind.plural.clone(),
            subresource: target.subresource.clone(),
            namespace: target.namespace.clone(),
            name: request.authorized_name().map(str::to_owned),
            status: None,
            committed: false,
        });
        self.log.len() - 1
    }

    /// Lets somebody else write first.
    fn overtake(&mut self, request: &ApiRequest) {
        let note = format!("before {}", self.store.revision());
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"example.com/overtaken": note}}}));
        let target = RequestTarget { subresource: None, ..request.target.clone() };
        let action = RequestAction::Patch { patch, manager: Some("somebody".to_owned()), force: false };
        // Where there is no object there is nothing to write.
        let _ = self.executor().execute(&ApiRequest { target, action, metadata_only: false }, 0);
    }

    /// Completes a record.
    fn answered(&mut self, index: usize, status: Option<u16>, committed: bool) {
        let record = &mut self.log[index];
        record.status = status;
        record.committed = committed;
    }

    /// Whether `user` may do this.
    fn authorize(&self, user: &str, request: &Attributes<'_>) -> Result<(), Refusal> {
        if user == ADMIN || self.rbac.allowed(user, request) {
            return Ok(());
        }
        let subresource =
            request.subresource.map(|subresource| format!("/{subresource}")).unwrap_or_default();
        let place = request.namespace.map_or_else(
            || "at the cluster scope".to_owned(),
            |namespace| format!("in the namespace \"{namespace}\""),
        );
        let text = format!(
            "{}{subresource} is forbidden: User \"{user}\" cannot {} resource \"{}{subresource}\" in API \
             group \"{}\" {place}",
            request.resource, request.verb, request.resource, request.group
        );
        Err(Refusal::new(403, "Forbidden", text))
    }

    /// Applying what does not exist creates it, and needs both verbs.
    fn authorize_creation(&self, user: &str, request: &ApiRequest) -> Result<(), Refusal> {
        let creates = matches!(&request.action, RequestAction::Patch { patch: Patch::Apply(_), .. });
        let target = &request.target;
        let name = target.name.as_deref();
        if !creates || self.store.get(&key(target, name.unwrap_or_default())).is_some() {
            return Ok(());
        }
        let attributes = Attributes {
            verb: "create",
            group: &target.kind.group,
            resource: &target.kind.plural,
            subresource: target.subresource.as_deref(),
            namespace: target.namespace.as_deref(),
            name,
        };
        self.authorize(user, &attributes)
    }
}

impl Shared {
    pub(crate) fn new(server: Server) -> Self {
        Self { server: Mutex::new(server), ticks: tokio::sync::watch::Sender::new(0) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().expect("no holder of this lock panics: requests are answered with refusals")
    }

    /// Makes every stream look again.
    pub(crate) fn tick(&self) {
        self.ticks.send_modify(|tick| *tick += 1);
    }
}

/// Answers one request.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    user: String,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if parts.uri.path() == "/version" {
        return respond(200, &version(), None);
    }
    let arrival = match arrive(&shared, &user, &parts, &body) {
        Ok(arrival) => arrival,
        Err(refusal) => return refuse(&refusal),
    };
    if let Some(answer) = before(&shared, arrival.index, &arrival.faults).await {
        return answer;
    }
    carry_out(shared, &user, arrival)
}

/// A request that is in the log and has had its faults drawn.
struct Arrival {
    index: usize,
    record: RequestRecord,
    parsed: Result<ApiRequest, Refusal>,
    faults: Vec<Fault>,
}

fn arrive(shared: &Shared, user: &str, parts: &Parts, body: &[u8]) -> Result<Arrival, Refusal> {
    let mut guard = shared.lock();
    let server = &mut *guard;
    let (target, verb) = ApiRequest::envelope(&server.kinds, parts)?;
    let parsed = ApiRequest::parse(&server.kinds, parts, body);
    let bare = ApiRequest { target, action: RequestAction::Get, metadata_only: false };
    let index = server.record(user, parsed.as_ref().unwrap_or(&bare), verb);
    let record = server.log[index].clone();
    let now = Instant::now();
    let faults = if server.faults.is_gone(now) {
        vec![Fault::Disconnect]
    } else {
        server.faults.draw(user, &record.attributes(), now)
    };
    Ok(Arrival { index, record, parsed, faults })
}

fn carry_out(shared: Arc<Shared>, user: &str, arrival: Arrival) -> Result<Response<Body>, BoxError> {
    let Arrival { index, record, parsed, faults } = arrival;
    let lost = faults.contains(&Fault::LostReply);
    let mut guard = shared.lock();
    let server = &mut *guard;
    let authorized = server.authorize(user, &record.attributes()).and(parsed).and_then(|request| {
        server.authorize_creation(user, &request)?;
        Ok(request)
    });
    let before = server.store.revision();
    let mut revision = before;
    let answer = match authorized {
        Err(refusal) => Err(refusal),
        Ok(ApiRequest { target, action: RequestAction::Watch(options), metadata_only }) => {
            server.answered(index, Some(200), false);
            drop(guard);
            return stream(Watch::open(shared, user, target, options, metadata_only, &faults));
        }
        Ok(ApiRequest { target, action: RequestAction::Create { body, .. }, .. })
            if review::is_review(&target.kind) =>
        {
            review::answer(&server.tokens, &server.rbac, &target.kind, &body)
        }
        Ok(request) => {
            let stale = faults.iter().find_map(|fault| match fault {
                Fault::StaleList(revisions) => Some(*revisions),
                _ => None,
            });
            if faults.contains(&Fault::Overtaken) {
                server.overtake(&request);
                revision = server.store.revision();
            }
            let shape = |value| if request.metadata_only { metadata_only(&value) } else { value };
            let answer = server.executor().execute(&request, stale.unwrap_or(0));
            answer.map(|(code, value)| (code, shape(value)))
        }
    };
    let committed = server.store.revision() != revision;
    let changed = server.store.revision() != before;
    let code = answer.as_ref().map_or_else(|refusal| refusal.code, |(code, _)| *code);
    server.answered(index, (!lost).then_some(code), committed);
    drop(guard);
    if changed {
        shared.tick();
    }
    match answer {
        _ if lost => Err(reset()),
        Ok((code, value)) => respond(code, &value, None),
        Err(refusal) => refuse(&refusal),
    }
}

/// The faults that strike before a request is carried out.
async fn before(shared: &Shared, index: usize, faults: &[Fault]) -> Option<Result<Response<Body>, BoxError>> {
    for fault in faults {
        match fault {
            Fault::Delay(delay) => tokio::time::sleep(*delay).await,
            Fault::Disconnect => return Some(Err(reset())),
            Fault::Hang => {
                tokio::time::sleep(HANG).await;
                return Some(Err(reset()));
            }
            Fault::Refuse(refusal) => {
                shared.lock().answered(index, Some(refusal.code), false);
                return Some(refuse(refusal));
            }
            _ => {}
        }
    }
    shared.lock().faults.is_gone(Instant::now()).then(|| Err(refused()))
}

fn refused() -> BoxError {
    Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
}

/// The error of a connection that breaks.
pub(crate) fn reset() -> BoxError {
    Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
}

fn version() -> Value {
    json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0+in-memory", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})
}

/// An object, or each item of a list, as `PartialObjectMetadata`.
pub(crate) fn metadata_only(value: &Value) -> Value {
    match value["items"].as_array() {
        Some(items) => json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": value["metadata"],
            "items": items.iter().map(metadata_only).collect::<Vec<_>>(),
        }),
        None if value["kind"] == "Status" => value.clone(),
        None => json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": value["metadata"]}),
    }
}

fn refuse(refusal: &Refusal) -> Result<Response<Body>, BoxError> {
    respond(refusal.code, &refusal.status(), refusal.retry_after)
}

fn respond(code: u16, value: &Value, retry_after: Option<u32>) -> Result<Response<Body>, BoxError> {
    let bytes = Bytes::from(value.to_string());
    let mut response = Response::builder().status(StatusCode::from_u16(code)?);
    response = response.header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds.to_string());
    }
    Ok(response.body(Full::new(bytes).map_err(|never| match never {}).boxed_unsync())?)
}

fn stream(watch: Watch) -> Result<Response<Body>, BoxError> {
    let lines = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((line, watch))
    });
    let body = StreamBody::new(lines.map(|line| line.map(http_body::Frame::data)));
    let response = Response::builder().status(StatusCode::OK).header("content-type", "application/json");
    Ok(response.body(body.boxed_unsync())?)
}
