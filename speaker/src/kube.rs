//! The speaker's one door to Kubernetes: what is watched becomes inputs of the
//! core, and what it has for people is written.

mod l2_status;
mod peers;

use std::fmt::Debug;
use std::net::IpAddr;

use ferrolb_api::configuration_state;
use ferrolb_api::crd::configuration_state::NetworkStatus;
use ferrolb_api::endpoints::SERVICE_NAME_LABEL;
use ferrolb_api::{EndpointSlice, Node, NodeName, Service, ServiceKey};
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::kubernetes::configuration_log::ConfigurationLog;
use ferrolb_shell::kubernetes::configuration_state::{ConfigurationStateWriter, Judgement, Subject};
use ferrolb_shell::kubernetes::events::{self, Events, Occurrence, Reporter};
use ferrolb_shell::kubernetes::resources::{self, Source};
use ferrolb_shell::kubernetes::watch::{Change, Seen, Table, Watch};
use ferrolb_shell::kubernetes::write_queue::WriteSender;
use ferrolb_shell::{OwnPod, Readiness, Shutdown};
use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use speaker_core::{Input, L2StatusChange, Report, UnheardPeers};
use tokio::sync::{mpsc, watch};

use crate::notices;

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of pools, advertisements and the speakers' Pods.
    pub namespace: String,
    /// The node it runs on, for its Events.
    pub node: NodeName,
    /// Label selector of the speakers' Pods (E4); `None` without membership.
    pub peer_labels: Option<String>,
    /// Its own Pod, the owner of the status objects that it writes (G31).
    pub pod_name: Option<String>,
    /// Where the client reaches the API server, if that is an address.
    pub api_server: Option<IpAddr>,
}

/// Watches, and says what it sees to `inputs`; writes and logs the core's
/// `reports`. Ends when the process does, or when nobody takes inputs any more.
///
/// An API server that does not answer is waited for: nothing is taken back, so
/// the core goes on with what it knows.
pub async fn run(
    client: Client,
    settings: Settings,
    inputs: mpsc::Sender<Input<'static>>,
    reports: mpsc::Receiver<Report>,
    metrics: ClientMetrics,
    readiness: Readiness,
    mut shutdown: Shutdown,
) {
    let reporter = Reporter { component: "metallb-speaker", host: Some(settings.node.as_str().to_owned()) };
    let (events, writer) = events::channel(reporter);
    let writer = tokio::spawn(writer.run(client.clone()));
    let own_pod = OwnPod::new(client.clone(), &settings.namespace, settings.pod_name.as_deref());
    let (judgement, judged) = watch::channel(None);
    let subject = Subject::Speaker(settings.node.clone());
    let errors = metrics.update_errors.clone();
    let (statuses, status_writer) =
        l2_status::channel(client.clone(), &settings.namespace, own_pod.clone(), errors.clone());
    let status_writer = tokio::spawn(status_writer.run());
    let (network, seen_network) = watch::channel(None);
    let (unheard, unheard_seen) = watch::channel(None);
    let pod = own_pod.clone();
    let state = ConfigurationStateWriter::new(&client, &settings.namespace, subject, own_pod, judged, errors)
        .with_network(seen_network);
    tokio::spawn(peers::tell_unheard(unheard_seen, pod, settings.namespace.clone(), events.clone()));
    let outlets = Outlets { events, statuses, judgement, network, unheard };
    let taken = tokio::spawn(take(reports, outlets, metrics.clone()));
    let watches = Watches { client, inputs, metrics, readiness };
    tokio::select! {
        () = watches.run(settings) => {}
        () = state.run() => {}
        () = shutdown.wait() => {}
    }
    // The core says what it hands over until it exits; only then the reports end.
    let _ = taken.await;
    let _ = tokio::time::timeout(LAST_EVENTS, async { tokio::join!(writer, status_writer) }).await;
}

/// How long the end of the process waits for its last Events.
const LAST_EVENTS: std::time::Duration = std::time::Duration::from_secs(1);

/// Where what concerns people goes.
struct Outlets {
    events: Events,
    statuses: WriteSender<String, L2StatusChange>,
    judgement: watch::Sender<Judgement>,
    network: watch::Sender<Option<NetworkStatus>>,
    unheard: watch::Sender<Option<UnheardPeers>>,
}

/// Takes the core's reports to where they belong.
async fn take(mut reports: mpsc::Receiver<Report>, outlets: Outlets, metrics: ClientMetrics) {
    let Outlets { events, statuses, judgement, network, unheard } = outlets;
    let mut configuration_log = ConfigurationLog::default();
    while let Some(report) = reports.recv().await {
        match report {
            Report::Event { service, uid, reason, message } => {
                let occurrence = Occurrence {
                    kind: "Service",
                    namespace: service.namespace().to_owned(),
                    name: service.name().to_owned(),
                    uid,
                    reason: reason.as_str(),
                    message,
                    is_warning: reason.is_warning(),
                };
                // A node that takes over many Services says all of it at once.
                if !events.report(occurrence).await {
                    metrics.update_errors.inc();
                }
            }
            Report::L2Status { name, change } => statuses.put(name, change).await,
            Report::Configuration(report) => {
                metrics.config_read(report.rejected.len());
                judgement.send_replace(Some(configuration_state::message(&report.rejected)));
                configuration_log.log(&report);
            }
            Report::Network(seen) => {
                network.send_replace(Some(NetworkStatus::from(&seen)));
            }
            Report::Unheard(peers) => {
                notices::log_unheard(&peers);
                unheard.send_replace(Some(peers));
            }
            Report::Notice(notice) => notices::log(&notice),
        }
    }
}

struct Watches {
    client: Client,
    inputs: mpsc::Sender<Input<'static>>,
    metrics: ClientMetrics,
    readiness: Readiness,
}

impl Watches {
    async fn run(&self, settings: Settings) {
        let Settings { namespace, peer_labels, api_server, .. } = settings;
        let source = Source {
            client: self.client.clone(),
            namespace: namespace.clone(),
            readiness: self.readiness.clone(),
            api_server,
        };
        let slices = Some(SERVICE_NAME_LABEL.to_owned());
        tokio::join!(
            resources::gather(source, self.inputs.clone(), Input::Resources, None),
            self.each(Api::all(self.client.clone()), None, |object| Service::from(&object), service),
            self.each(Api::all(self.client.clone()), slices, |object| EndpointSlice::from(&object), slice),
            self.whole(Api::all(self.client.clone()), None, |object| Node::from(&object), Input::Nodes),
            async {
                if let Some(labels) = peer_labels {
                    let api = Api::namespaced(self.client.clone(), &namespace);
                    self.whole(api, Some(labels), peers::of_pod, peers::of_pods).await;
                }
            },
            l2_status::watch(self.client.clone(), &namespace, self.inputs.clone()),
        );
    }

    /// Reports changes one by one.
    async fn each<K, V>(
        &self,
        api: Api<DeserializeGuard<K>>,
        labels: Option<String>,
        convert: fn(K) -> V,
        input: fn(Change<V>) -> Option<Input<'static>>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        V: Send + 'static,
    {
        let mut watch = self.watch(api, labels, convert);
        loop {
            let Some(input) = input(watch.next().await) else { continue };
            self.metrics.updates.inc();
            if self.inputs.send(input).await.is_err() {
                return;
            }
        }
    }

    /// Reports everything each time something that is looked at differs; a
    /// core that is slow gets the newest, not every state between.
    async fn whole<K, V>(
        &self,
        api: Api<DeserializeGuard<K>>,
        labels: Option<String>,
        convert: fn(K) -> V,
        input: fn(Vec<V>) -> Input<'static>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        V: Clone + PartialEq + Send + 'static,
    {
        let mut changes = Box::pin(self.watch(api, labels, convert).into_stream());
        let mut table = Table::default();
        let mut is_new = false;
        loop {
            tokio::select! {
                permit = self.inputs.reserve(), if is_new => {
                    let Ok(permit) = permit else { return };
                    self.metrics.updates.inc();
                    permit.send(input(table.objects().cloned().collect()));
                    is_new = false;
                }
                change = changes.next() => is_new |= table.apply(change.expect("watches never end")),
            }
        }
    }

    fn watch<K, V>(
        &self,
        api: Api<DeserializeGuard<K>>,
        labels: Option<String>,
        convert: fn(K) -> V,
    ) -> Watch<K, V>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        V: Send + 'static,
    {
        let gate = self.readiness.gate(format!("watch {}", K::plural(&())), "not listed yet");
        Watch::new(api, labels, convert, gate)
    }
}

fn service(change: Change<Service>) -> Option<Input<'static>> {
    match change {
        Change::List(seen) => Some(Input::Services(readable(seen))),
        Change::Applied(seen) => Some(Input::Service(Box::new(seen.object.ok()?))),
        Change::Deleted(key) => Some(Input::ServiceGone(ServiceKey::new(key.namespace, key.name))),
    }
}

fn slice(change: Change<EndpointSlice>) -> Option<Input<'static>> {
    match change {
        Change::List(seen) => Some(Input::EndpointSlices(readable(seen))),
        Change::Applied(seen) => Some(Input::EndpointSlice(seen.object.ok()?)),
        Change::Deleted(key) => Some(Input::EndpointSliceGone { namespace: key.namespace, name: key.name }),
    }
}

/// The objects that can be read; the API server checks these kinds itself.
fn readable<V>(seen: Vec<Seen<V>>) -> Vec<V> {
    seen.into_iter().filter_map(|seen| seen.object.ok()).collect()
}
