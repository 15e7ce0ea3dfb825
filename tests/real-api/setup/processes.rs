//! The controller, and a speaker without sockets, as tasks of a test; each with the token of its service account.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrolb_api::{ServiceKey, Time};
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::kubernetes::client;
use ferrolb_shell::process::shutdown;
use kube::Client;
use kube_apiserver::{ApiServer, ApiUser, NAMESPACE};
use prometheus::Registry;
use speaker_core::{Effect, Input, Interface, InterfaceId, MacAddr, Report, Speaker};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub(crate) use crate::controller_process::Controller;

/// A client as the program itself makes it.
async fn connect(api: &ApiServer, account: &str) -> Client {
    let kubeconfig = api.kubeconfig(&ApiUser::account(account));
    client::connect(Some(&kubeconfig)).await.expect("the harness wrote the file").0
}

impl Controller {
    /// The only one.
    pub(crate) async fn start(api: &ApiServer) -> Self {
        Self::run(connect(api, "controller").await)
    }

    /// As the manifests start it: one of several.
    pub(crate) async fn start_elected(api: &ApiServer) -> Self {
        Self::run_elected(connect(api, "controller").await)
    }
}

/// What a node announces now.
type Announced = Arc<Mutex<Vec<(ServiceKey, IpAddr)>>>;

/// The speaker's `kube.rs` around its core, on a node with one interface and no neighbours. Dropping it is SIGKILL.
pub(crate) struct SpeakerProcess {
    announced: Announced,
    trigger: shutdown::Trigger,
    task: JoinHandle<()>,
}

impl SpeakerProcess {
    /// On `wk01` or `wk02`. With `gossip` it is a member, and the only one, otherwise every Node is a candidate.
    pub(crate) async fn start(api: &ApiServer, node: &'static str, gossip: bool) -> Self {
        let settings = speaker::kube::Settings {
            namespace: NAMESPACE.to_owned(),
            node: node.into(),
            peer_labels: gossip.then(|| "app=metallb,component=speaker".to_owned()),
            pod_name: Some(format!("speaker-{node}")),
            api_server: None,
        };
        let (input, inputs) = mpsc::channel(64);
        let (reports, report) = mpsc::channel(1024);
        let metrics = ClientMetrics::register(&Registry::new());
        let announced = Announced::default();
        let (trigger, shutdown) = shutdown::channel();
        let client = connect(api, "speaker").await;
        let core = drive(core(node, gossip), inputs, reports, Arc::clone(&announced), shutdown.clone());
        let shell =
            speaker::kube::run(client, settings, input, report, metrics, Readiness::default(), shutdown);
        let task = tokio::spawn(async { _ = tokio::join!(shell, core) });
        Self { announced, trigger, task }
    }

    /// What it announces, as `service address`.
    pub(crate) fn announces(&self) -> Vec<String> {
        let announced = self.announced.lock().expect("nobody panics while it is held");
        announced.iter().map(|(service, address)| format!("{service} {address}")).collect()
    }

    /// SIGTERM.
    pub(crate) async fn stop(mut self) {
        self.trigger.shut_down();
        (&mut self.task).await.expect("the speaker ends in order");
    }
}

impl Drop for SpeakerProcess {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn last_byte(node: &str) -> u8 {
    node.trim_start_matches("wk").parse().expect("the names end in a number")
}

fn core(node: &'static str, gossip: bool) -> Speaker {
    let host = IpAddr::from([172, 16, 16, 10 + last_byte(node)]);
    let mut speaker = Speaker::new(speaker_core::Settings {
        node: node.into(),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: gossip.then(|| (host, 7946).into()),
        gossip_secret: gossip.then(|| b"secret".to_vec()),
        boot_id: 1,
        seed: [last_byte(node); 32],
    });
    let interface = Interface {
        id: InterfaceId(2),
        name: "eth0".to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, last_byte(node)])),
        addresses: vec![(host, 24)],
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    };
    speaker.handle(Time::ZERO, Input::Interfaces(vec![interface]));
    speaker
}

/// The event loop's part, until the core has handed over.
async fn drive(
    mut speaker: Speaker,
    mut inputs: mpsc::Receiver<Input<'static>>,
    reports: mpsc::Sender<Report>,
    announced: Announced,
    mut shutdown: ferrolb_shell::Shutdown,
) {
    let started = Instant::now();
    let now = || Time::ZERO + started.elapsed();
    let mut leaving = false;
    loop {
        let due = speaker.poll_timeout().map_or(Duration::from_secs(60), |at| at - Time::ZERO);
        tokio::select! {
            Some(input) = inputs.recv() => speaker.handle(now(), input),
            () = shutdown.wait(), if !leaving => {
                leaving = true;
                speaker.handle(now(), Input::Shutdown);
            }
            () = sleep_until(started + due) => speaker.handle(now(), Input::Timeout),
        }
        while let Some(effect) = speaker.poll_effect() {
            match effect {
                Effect::Exit => return,
                Effect::Report(report) => {
                    // With the shell its ear ends.
                    let _ = reports.try_send(report);
                }
                _ => {}
            }
        }
        *announced.lock().expect("nobody panics while it is held") =
            speaker.announced().map(|one| (one.service.clone(), one.address)).collect();
    }
}
