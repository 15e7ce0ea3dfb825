//! A cluster in memory and a running `kube.rs`.

use std::time::Duration;

use fake_api::FakeApi;
use ferrolb_api::crd::IPAddressPool;
use ferrolb_api::{NodeName, ServiceKey};
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::kubernetes::connectivity;
use ferrolb_shell::process::shutdown;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde_json::json;
use speaker_core::{EventReason, Input, Report};
use tests::objects::{NAMESPACE, advertisement, pool, typed};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::view::View;
use crate::support::{account, fake, service};

/// Long enough for any retry of `kube.rs` to have come round: the longest
/// backoff of a watch, its timeout, and the longest backoff of a write.
pub(crate) const SETTLED: Duration = Duration::from_secs(180);
/// L10: a watch that hangs is noticed and replaced within this time.
pub(crate) const L10: Duration = Duration::from_secs(60);

/// A running `kube.rs`.
pub(crate) struct Shell {
    inputs: mpsc::Receiver<Input<'static>>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) readiness: Readiness,
    pub(crate) trigger: shutdown::Trigger,
    pub(crate) task: JoinHandle<()>,
    pub(crate) view: View,
    /// How many inputs have come.
    pub(crate) taken: usize,
}

impl Shell {
    pub(crate) fn start(api: &FakeApi) -> Self {
        let settings = speaker::kube::Settings {
            namespace: NAMESPACE.to_owned(),
            node: NodeName::from("wk01"),
            peer_labels: Some("app=metallb,component=speaker".to_owned()),
            pod_name: Some("speaker-7d".to_owned()),
            api_server: None,
        };
        let (input, inputs) = mpsc::channel(64);
        let (reports, report) = mpsc::channel(64);
        let metrics = ClientMetrics::register(&prometheus::Registry::new());
        let readiness = Readiness::default();
        let (trigger, shutdown) = shutdown::channel();
        let client = connectivity::observed(api.client(&account("speaker")), "server");
        let run = speaker::kube::run(client, settings, input, report, metrics, readiness.clone(), shutdown);
        let task = tokio::spawn(run);
        Self { inputs, reports, readiness, trigger, task, view: View::default(), taken: 0 }
    }

    /// Takes inputs in for as long as `duration`.
    pub(crate) async fn run(&mut self, duration: Duration) {
        let end = sleep(duration);
        tokio::pin!(end);
        loop {
            tokio::select! {
                input = self.inputs.recv() => {
                    self.view.take(input.expect("kube.rs runs for as long as we do"));
                    self.taken += 1;
                }
                () = &mut end => return,
            }
        }
    }

    pub(crate) fn event(&self, uid: &str, message: &str) {
        let report = Report::Event {
            service: ServiceKey::new("default", "web"),
            uid: uid.to_owned(),
            reason: EventReason::NodeAssigned,
            message: message.to_owned(),
        };
        self.reports.try_send(report).expect("the channel has room");
    }
}

fn pod(name: &str, node: &str, address: &str, component: &str) -> core::Pod {
    typed(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE,
            "labels": {"app": "metallb", "component": component}},
        "spec": {"nodeName": node, "containers": [{"name": component}]},
        "status": {"phase": "Running", "podIP": address}}))
}

fn node(name: &str) -> core::Node {
    typed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
}

fn slice(name: &str, ready: bool) -> discovery::EndpointSlice {
    typed(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "wk01", "conditions": {"ready": ready}}]}))
}

/// A cluster of two nodes with one Service.
pub(crate) fn cluster() -> FakeApi {
    let api = fake();
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.101"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    api.create(&service("web")).expect(made);
    api.create(&slice("web-1", true)).expect(made);
    for (name, address) in [("wk01", "172.16.16.11"), ("wk02", "172.16.16.12")] {
        api.create(&node(name)).expect(made);
        api.create(&pod(&format!("speaker-{name}"), name, address, "speaker")).expect(made);
    }
    api.create(&pod("controller", "wk01", "10.0.0.9", "controller")).expect(made);
    api
}

/// Changes one object of every kind that is watched; `turn` makes it differ.
pub(crate) fn change_everything(api: &FakeApi, turn: u64) {
    let there = "it is there";
    let (ns, own) = (Some("default"), Some(NAMESPACE));
    let labels = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
    let range = json!({"spec": {"addresses": [format!("172.16.16.101-172.16.16.{}", 102 + turn % 100)]}});
    api.merge::<IPAddressPool>(own, "first", range).expect(there);
    let ad = format!("ad-{turn}");
    api.create(&advertisement(&ad)).expect("each turn is new");
    api.merge::<core::Service>(ns, "web", labels.clone()).expect(there);
    api.merge::<core::Node>(None, "wk02", labels).expect(there);
    let endpoints =
        json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": turn.is_multiple_of(2)}}]});
    api.merge::<discovery::EndpointSlice>(ns, "web-1", endpoints).expect(there);
    let address = json!({"status": {"podIP": format!("172.16.16.{}", 20 + turn % 100)}});
    api.merge_status::<core::Pod>(own, "speaker-wk02", address).expect(there);
}
