//! The controller's one door to Kubernetes: what is watched becomes inputs of
//! the core, and what the core asks for is written.

mod secret;
mod service_write;
mod status_patch;
mod status_write;

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use ::kube::{Api, Client};
use controller_core::{Effect, EventReason, Input, Notice};
use ferrolb_api::config::Kind;
use ferrolb_api::configuration_state;
use ferrolb_api::{Service, ServiceKey};
use ferrolb_shell::kubernetes::configuration_log::ConfigurationLog;
use ferrolb_shell::kubernetes::configuration_state::{ConfigurationStateWriter, Judgement, Subject};
use ferrolb_shell::kubernetes::events::{self, EventWriter, Events, Occurrence, Reporter};
use ferrolb_shell::kubernetes::resources::{self, Source, Statuses};
use ferrolb_shell::kubernetes::watch::{Change, Watch};
use ferrolb_shell::kubernetes::write_queue::{self, Queue, WriteSender};
use ferrolb_shell::{OwnPod, Readiness, Shutdown};
use k8s_openapi::api::core::v1 as core;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::args::Settings;
use crate::metrics::Metrics;
use crate::notices;

use service_write::ServiceWrite;
use status_patch::StatusPatch;
use status_write::{ObjectKey, Wanted};

/// The name that our writes have in `managedFields`: that of MetalLB's
/// controller, so that what it owned is ours after a swap of images.
const FIELD_MANAGER: &str = "controller";
/// Services that may wait for a write: more than a cluster has.
const SERVICES: usize = 65_536;
/// Custom resources that may wait for a write.
const OBJECTS: usize = 16_384;
/// How long the end of the process waits for writes that are under way.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// Where the inputs go.
#[derive(Debug)]
pub struct Outlets {
    /// Custom resources.
    pub resources: mpsc::Sender<Input>,
    /// Services.
    pub services: mpsc::Sender<Input>,
}

/// Watches, reports what it sees to `outlets`, and does what `effects` ask for.
/// After `shutdown` it waits, for a short time, until `effects` end and what
/// they asked for is written.
pub async fn run(
    client: Client,
    settings: Settings,
    outlets: Outlets,
    effects: mpsc::Receiver<Effect>,
    metrics: Metrics,
    readiness: Readiness,
    mut shutdown: Shutdown,
) {
    let (statuses, statuses_seen) = watch::channel(Statuses::default());
    let (judgement, judged) = watch::channel(None);
    let own_pod = OwnPod::new(client.clone(), &settings.namespace, settings.pod_name.as_deref());
    let errors = metrics.client.update_errors.clone();
    let state = ConfigurationStateWriter::new(
        &client,
        &settings.namespace,
        Subject::Controller,
        own_pod,
        judged,
        errors,
    );
    let writer = Writer::new(client.clone(), settings.namespace.clone(), metrics, judgement);
    // No task of its own: what is dropped with a term must not go on writing.
    let mut written = pin!(writer.run(effects, statuses_seen));
    let source = Source {
        client: client.clone(),
        namespace: settings.namespace.clone(),
        readiness: readiness.clone(),
        api_server: settings.api_server,
    };
    let watches = async {
        tokio::join!(
            resources::gather(source, outlets.resources, Input::Resources, Some(statuses)),
            services(client.clone(), outlets.services, &readiness),
            secret::provide(client.clone(), &settings, &readiness),
        )
    };
    tokio::select! {
        _ = watches => {}
        () = state.run() => {}
        () = &mut written => return,
        () = shutdown.wait() => {}
    }
    if timeout(LAST_WRITES, written).await.is_err() {
        tracing::warn!(op = "shutdown", "some writes are not finished; the next controller makes them");
    }
}

async fn services(client: Client, inputs: mpsc::Sender<Input>, readiness: &Readiness) {
    let gate = readiness.gate("watch services", "not listed yet");
    let convert = |object: core::Service| Service::from(&object);
    let mut watch = Watch::new(Api::all(client), None, convert, gate);
    loop {
        let input = match watch.next().await {
            // The API server checks Services itself: each can be read.
            Change::List(seen) => {
                Input::Services(seen.into_iter().filter_map(|seen| seen.object.ok()).collect())
            }
            Change::Applied(seen) => match seen.object {
                Ok(service) => Input::Service(Box::new(service)),
                Err(_) => continue,
            },
            Change::Deleted(key) => Input::ServiceGone(ServiceKey::new(key.namespace, key.name)),
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

/// Does what the core asks for.
struct Writer {
    client: Client,
    namespace: String,
    metrics: Metrics,
    services: WriteSender<ServiceKey, ServiceWrite>,
    services_queue: Queue<ServiceKey, ServiceWrite>,
    statuses: WriteSender<ObjectKey, serde_json::Value>,
    statuses_queue: Queue<ObjectKey, serde_json::Value>,
    events: Events,
    event_writer: EventWriter,
    judgement: watch::Sender<Judgement>,
}

impl Writer {
    fn new(client: Client, namespace: String, metrics: Metrics, judgement: watch::Sender<Judgement>) -> Self {
        let (services, services_queue) = write_queue::channel(SERVICES);
        let (statuses, statuses_queue) = write_queue::channel(OBJECTS);
        let (events, event_writer) =
            events::channel(Reporter { component: "metallb-controller", host: None });
        Self {
            client,
            namespace,
            metrics,
            services,
            services_queue,
            statuses,
            statuses_queue,
            events,
            event_writer,
            judgement,
        }
    }

    /// Ends when the effects have ended and what they asked for is written, as
    /// far as that needs no retry.
    async fn run(self, effects: mpsc::Receiver<Effect>, statuses: watch::Receiver<Statuses>) {
        let Self { client, namespace, metrics, .. } = self;
        let errors = &metrics.client.update_errors;
        let service_patch = StatusPatch::new("services", errors.clone());
        let pool_patch = StatusPatch::new("ipaddresspools", errors.clone());
        let advertisement_patch = StatusPatch::new("l2advertisements", errors.clone());
        let dispatch = Dispatch {
            metrics: metrics.clone(),
            services: self.services,
            statuses: self.statuses,
            events: self.events,
            judgement: self.judgement,
            wanted: Wanted::default(),
            configuration_log: ConfigurationLog::default(),
        };
        tokio::join!(
            dispatch.run(effects, statuses),
            self.services_queue.run(|service, wanted| {
                service_write::write(client.clone(), &service_patch, service, wanted)
            }),
            self.statuses_queue.run(|object, status| {
                let patch = match object.0 {
                    Kind::IPAddressPool => &pool_patch,
                    Kind::L2Advertisement => &advertisement_patch,
                };
                status_write::write(client.clone(), namespace.clone(), patch, object, status)
            }),
            self.event_writer.run(client.clone()),
        );
    }
}

/// Takes effects and hands each to its queue; never waits for the API server.
struct Dispatch {
    metrics: Metrics,
    services: WriteSender<ServiceKey, ServiceWrite>,
    statuses: WriteSender<ObjectKey, serde_json::Value>,
    events: Events,
    judgement: watch::Sender<Judgement>,
    wanted: Wanted,
    configuration_log: ConfigurationLog,
}

impl Dispatch {
    async fn run(mut self, mut effects: mpsc::Receiver<Effect>, mut seen: watch::Receiver<Statuses>) {
        loop {
            let mut due = BTreeSet::new();
            tokio::select! {
                effect = effects.recv() => match effect {
                    Some(effect) => due.extend(self.take(effect).await),
                    None => return,
                },
                Ok(()) = seen.changed() => due.extend(self.wanted.seen(seen.borrow_and_update().clone())),
            }
            // Verdict and counters of a pool come together: one write for both.
            while let Ok(effect) = effects.try_recv() {
                due.extend(self.take(effect).await);
            }
            for object in due {
                if let Some(status) = self.wanted.status(&object) {
                    self.statuses.put(object, status).await;
                }
            }
        }
    }

    /// Takes one effect, and says whose status may have to be written now.
    async fn take(&mut self, effect: Effect) -> Option<ObjectKey> {
        match effect {
            Effect::WriteService { service, uid: _, resource_version, addresses, pool, lost_addresses } => {
                let write = ServiceWrite { resource_version, addresses, pool, lost_addresses };
                self.services.put(service, write).await;
            }
            Effect::WriteVerdict(verdict) => return Some(self.wanted.verdict(verdict)),
            Effect::WritePoolUsage(usage) => {
                self.metrics.show(&usage);
                return Some(self.wanted.usage(usage));
            }
            Effect::ForgetPool(pool) => {
                self.metrics.forget(&pool);
                self.wanted.forget_pool(pool);
            }
            Effect::Event { service, uid, reason, message } => {
                if reason == EventReason::StatusOverwritten {
                    tracing::warn!(event = "statusOverwritten", service = %service, "{message}");
                }
                let occurrence = Occurrence {
                    kind: "Service",
                    namespace: service.namespace().to_owned(),
                    name: service.name().to_owned(),
                    uid,
                    reason: reason.as_str(),
                    message,
                    is_warning: reason.is_warning(),
                };
                if !self.events.report(occurrence).await {
                    self.metrics.client.update_errors.inc();
                }
            }
            Effect::Configuration(report) => {
                self.metrics.client.config_read(report.rejected.len());
                self.judgement.send_replace(Some(configuration_state::message(&report.rejected)));
                self.configuration_log.log(&report);
            }
            Effect::Notice(notice) => {
                if matches!(notice, Notice::Unassigned { .. }) {
                    self.metrics.client.update_errors.inc();
                }
                notices::log(&notice);
            }
        }
        None
    }
}

/// A counter of failed writes, by another name for the modules below.
type Errors = IntCounter;
