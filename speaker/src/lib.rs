//! The speaker's shell: sockets, netlink, Kubernetes and HTTP around
//! `speaker-core`, which decides everything.

pub mod args;
pub mod event_loop;
pub mod exclude;
pub mod frames;
pub mod gossip;
pub mod groups;
pub mod interfaces;
pub mod kube;
#[cfg(test)]
mod log_lines;
pub mod metrics;
pub mod notices;
mod strict_arp;
#[allow(unsafe_code, reason = "the only module that may: raw sockets need it")]
pub mod sys;

use std::io;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::prometheus::Registry;
use anyhow::{Context as _, anyhow, bail};
use ferrolb_shell::admin::http::{self, Endpoints};
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::kubernetes::client;
use ferrolb_shell::process::{flags, logs, random, shutdown};
use ferrolb_shell::{Readiness, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::args::{Args, Settings};
use crate::event_loop::{Channels, Sockets, Summary};
use crate::exclude::ExcludeList;
use crate::sys::privileges;

/// Threads for watches, HTTP and log lines; the event loop has one of its own.
const WORKERS: usize = 2;
/// Inputs from Kubernetes that may wait: more only means that a watch waits.
const KUBERNETES_INPUTS: usize = 256;
/// Lists of interfaces that may wait; each replaces the one before.
const INTERFACE_INPUTS: usize = 2;
/// Reports that may wait for the API server and the log.
const REPORTS: usize = 1024;
/// The process ends this long after SIGTERM even if the core has not said that
/// it is done: before the Pod's grace period of 15 s is over.
const LAST_RESORT: Duration = Duration::from_secs(12);
/// How long the Events of a shutdown may take to be written.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Runs the speaker until SIGTERM or SIGINT.
///
/// Everything that needs a privilege comes first, on one thread: the mounted
/// secret, the list of excluded interfaces and the sockets. Then the privileges
/// go, and only then the first other thread starts, the log's.
///
/// # Errors
/// If it cannot start as it was told to, or its event loop fails; the process
/// exits with 1 then. Once the log runs, its last line says why.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let level = args.common.log_level.parse()?;
    let settings = args.settings()?;
    let exclude = ExcludeList::load(Path::new(exclude::PATH))?;
    let sockets = Sockets::open(settings.gossip.as_ref().map(|gossip| gossip.address))?;
    let core = core_settings(&settings)?;
    let dropped = privileges::drop_all().context("cannot give up privileges")?;

    let _logs = logs::start(level)?;
    let ended = run_logged(args, settings, core, sockets, exclude, &dropped);
    if let Err(error) = &ended {
        // Before the log ends, which takes its last lines with it.
        tracing::error!(op = "exit", error = format!("{error:#}"), "speaker cannot go on");
    }
    ended
}

fn run_logged(
    args: &Args,
    settings: Settings,
    core: speaker_core::Settings,
    sockets: Sockets,
    exclude: ExcludeList,
    dropped: &impl std::fmt::Display,
) -> anyhow::Result<()> {
    flags::log_without_effect(&args.without_effect());
    tracing::info!(op = "startup", version = env!("CARGO_PKG_VERSION"), node = %settings.node, "speaker");
    tracing::info!(op = "startup", left = %dropped, "privileges dropped");
    match &settings.gossip {
        None => tracing::info!(op = "startup", "membership is off: every Node is a candidate"),
        Some(gossip) if gossip.secret.is_none() => {
            tracing::warn!(op = "startup", "gossip has no secret: anybody on the network can forge it");
        }
        Some(gossip) => tracing::info!(op = "startup", address = %gossip.address, "gossip is encrypted"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let result = runtime.block_on(serve(settings, core, sockets, exclude));
    runtime.shutdown_timeout(Duration::ZERO);
    result
}

/// What the core is told at its start.
fn core_settings(settings: &Settings) -> anyhow::Result<speaker_core::Settings> {
    // A clock before 1970 makes every restart look older than the last: the
    // peers refute that, which only costs time.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(speaker_core::Settings {
        node: settings.node.clone(),
        load_balancer_class: settings.load_balancer_class.clone(),
        ignore_exclude_label: settings.ignore_exclude_label,
        gossip_address: settings.gossip.as_ref().map(|gossip| gossip.address),
        gossip_secret: settings.gossip.as_ref().and_then(|gossip| gossip.secret.clone()),
        boot_id: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        seed: random::bytes().context("/dev/urandom")?,
    })
}

/// Starts everything and waits until the event loop has ended.
async fn serve(
    settings: Settings,
    core: speaker_core::Settings,
    sockets: Sockets,
    exclude: ExcludeList,
) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let client = client::connect(settings.kubeconfig.as_deref()).await?;
    let endpoints = Endpoints { registry: Registry::new(), readiness: Readiness::default() };
    http::start(&settings.http, &client, &endpoints, &shutdown).await?;

    let (kubernetes_sender, kubernetes) = mpsc::channel(KUBERNETES_INPUTS);
    let (interfaces_sender, interfaces) = mpsc::channel(INTERFACE_INPUTS);
    let (reports, reports_receiver) = mpsc::channel(REPORTS);
    let (summary, summary_receiver) = watch::channel(Summary::default());
    metrics::register(&endpoints.registry, settings.node.clone(), summary_receiver.clone());
    let gate = endpoints.readiness.gate("announcing", "the event loop is starting");
    tokio::spawn(metrics::report_readiness(summary_receiver, gate));
    tokio::spawn(interfaces::watch(exclude, interfaces_sender));
    tokio::spawn(strict_arp::watch());
    let channels = Channels { kubernetes, interfaces, shutdown: shutdown.clone(), reports, summary };
    let event_loop = event_loop::spawn(sockets, core, channels)?;
    let mut kubernetes = tokio::spawn(kube::run(
        client,
        kube::Settings {
            namespace: settings.namespace,
            node: settings.node,
            peer_labels: settings.gossip.map(|gossip| gossip.labels),
            pod_name: settings.pod_name,
        },
        kubernetes_sender,
        reports_receiver,
        ClientMetrics::register(&endpoints.registry),
        endpoints.readiness,
        shutdown.clone(),
    ));

    tokio::select! {
        ended = wait_for(event_loop) => ended?,
        () = last_resort(shutdown.clone()) => bail!("the core was not done {LAST_RESORT:?} after the signal"),
        ended = broken(&mut kubernetes) => bail!("the Kubernetes side has ended: {ended}"),
    }
    // The loop has closed the channel of reports: what is left gets written. It
    // may have been already, and then `broken` has taken the task's result.
    if !kubernetes.is_finished() {
        let _ = timeout(LAST_WRITES, kubernetes).await;
    }
    Ok(())
}

/// Waits for the event loop's thread.
async fn wait_for(event_loop: JoinHandle<io::Result<()>>) -> anyhow::Result<()> {
    let joined = tokio::task::spawn_blocking(move || event_loop.join()).await?;
    joined.map_err(|_| anyhow!("the event loop has panicked"))?.context("the event loop")
}

/// Completes when a shutdown takes too long.
async fn last_resort(shutdown: Shutdown) {
    shutdown.wait_owned().await;
    sleep(LAST_RESORT).await;
}

/// Completes if the Kubernetes side panics: nothing would ever reach the core
/// again. Its proper end, which comes with a shutdown, is waited for elsewhere.
async fn broken(kubernetes: &mut tokio::task::JoinHandle<()>) -> String {
    match kubernetes.await {
        Err(error) => error.to_string(),
        Ok(()) => std::future::pending().await,
    }
}
