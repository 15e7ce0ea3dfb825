//! A cluster in memory with a controller and a speaker, and what they wrote.

use std::time::Duration;

use controller::args::Settings;
use fake_api::{FakeApi, RequestRecord};
use ferrolb_api::crd::ConfigurationState;
use ferrolb_api::crd::configuration_state::{ConfigurationResult, ConfigurationStateStatus};
use ferrolb_api::{NodeName, Time};
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::http::AdminState;
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::process::shutdown;
use k8s_openapi::api::core::v1 as core;
use prometheus::{Registry, TextEncoder};
use serde_json::json;
use speaker_core::{Effect, Speaker};
use tests::objects::{NAMESPACE, advertisement, pool, typed};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::{account, fake};

/// Our own objects live here.
pub(crate) const OWN: Option<&str> = Some(NAMESPACE);
/// The objects, as they are named.
pub(crate) const CONTROLLER: &str = "controller";
pub(crate) const SPEAKER: &str = "speaker-wk01";

/// A process that runs until it is stopped.
pub(crate) struct Running {
    trigger: shutdown::Trigger,
    task: JoinHandle<()>,
    registry: Registry,
    pub(crate) readiness: Readiness,
}

impl Running {
    pub(crate) fn controller(api: &FakeApi, pod_name: &str) -> Self {
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            load_balancer_class: None,
            secret_name: None,
            deployment: None,
            pod_name: Some(pod_name.to_owned()),
            api_server: None,
        };
        let (registry, readiness) = (Registry::new(), Readiness::default());
        let endpoints = AdminState { registry: registry.clone(), readiness: readiness.clone() };
        let (trigger, shutdown) = shutdown::channel();
        let client = api.client(&account("controller"));
        let task = tokio::spawn(controller::run_with(client, settings, endpoints, shutdown));
        Self { trigger, task, registry, readiness }
    }

    /// The speaker's `kube.rs` around its real core, without sockets.
    pub(crate) fn speaker(api: &FakeApi, pod_name: &str) -> Self {
        let settings = speaker::kube::Settings {
            namespace: NAMESPACE.to_owned(),
            node: NodeName::from("wk01"),
            peer_labels: None,
            pod_name: Some(pod_name.to_owned()),
            api_server: None,
        };
        let core = speaker_core::Settings {
            node: NodeName::from("wk01"),
            load_balancer_class: None,
            ignore_exclude_label: false,
            gossip_address: None,
            gossip_secret: None,
            boot_id: 1,
            seed: [7; 32],
        };
        let (input, mut inputs) = mpsc::channel(64);
        let (reports, report) = mpsc::channel(64);
        let (registry, readiness) = (Registry::new(), Readiness::default());
        let metrics = ClientMetrics::register(&registry);
        let (trigger, shutdown) = shutdown::channel();
        let mut ending = shutdown.clone();
        let client = api.client(&account("speaker"));
        let shell = speaker::kube::run(client, settings, input, report, metrics, readiness.clone(), shutdown);
        let task = tokio::spawn(async move {
            let core = async move {
                let mut speaker = Speaker::new(core);
                loop {
                    let input = tokio::select! {
                        Some(input) = inputs.recv() => input,
                        () = ending.wait() => return,
                        else => return,
                    };
                    speaker.handle(Time::ZERO, input);
                    while let Some(effect) = speaker.poll_effect() {
                        if let Effect::Report(report) = effect {
                            reports.send(report).await.expect("kube.rs runs for as long as we do");
                        }
                    }
                }
            };
            tokio::join!(core, shell);
        });
        Self { trigger, task, registry, readiness }
    }

    pub(crate) async fn stop(self) {
        self.trigger.shut_down();
        self.task.await.expect("it ends in order");
    }

    /// Whether `metallb_k8s_client_config_stale_bool` is 1.
    pub(crate) fn is_stale(&self) -> bool {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).expect("it is text");
        text.lines().any(|line| line == "metallb_k8s_client_config_stale_bool 1")
    }
}

pub(crate) async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn pod(name: &str) -> core::Pod {
    typed(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "main", "image": "ferrolb"}]}}))
}

/// A cluster with one pool, one advertisement and the Pods of both processes.
pub(crate) fn cluster_in(api: FakeApi) -> FakeApi {
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    for name in ["controller-1", "speaker-1"] {
        api.create(&pod(name)).expect(made);
    }
    api
}

pub(crate) fn cluster() -> FakeApi {
    cluster_in(fake())
}

pub(crate) fn state(api: &FakeApi, name: &str) -> Option<ConfigurationState> {
    api.get(OWN, name).expect("it decodes")
}

pub(crate) fn status(api: &FakeApi, name: &str) -> ConfigurationStateStatus {
    state(api, name).and_then(|state| state.status).unwrap_or_default()
}

pub(crate) fn summary(api: &FakeApi, name: &str) -> (Option<ConfigurationResult>, String) {
    let status = status(api, name);
    (status.result, status.error_summary)
}

pub(crate) const VALID: Option<ConfigurationResult> = Some(ConfigurationResult::Valid);
pub(crate) const INVALID: Option<ConfigurationResult> = Some(ConfigurationResult::Invalid);

/// The requests that asked for a change of a `ConfigurationState`.
pub(crate) fn writes(api: &FakeApi) -> Vec<RequestRecord> {
    let is_ours = |write: &RequestRecord| write.resource == "configurationstates";
    api.writes().into_iter().filter(is_ours).collect()
}
