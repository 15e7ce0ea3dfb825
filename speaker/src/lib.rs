//! The speaker's shell: sockets, netlink, Kubernetes and HTTP around
//! `speaker-core`, which decides everything.

pub mod args;
pub mod event_loop;
pub mod exclude;
pub mod frames;
pub mod gossip;

pub mod interfaces;
pub mod kube;
#[cfg(test)]
mod log_lines;
pub mod metrics;
pub mod multicast;
pub mod notices;
mod strict_arp;
#[allow(unsafe_code, reason = "the only module that may: raw sockets need it")]
pub mod sys;

use std::io;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use ferrolb_shell::admin::http::HttpSettings;
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::process::random;
use ferrolb_shell::start::{Program, Surroundings};
use ferrolb_shell::{CommonArgs, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::args::{Args, Settings};
use crate::event_loop::{Channels, Sockets, Summary};
use crate::exclude::ExcludeList;
use crate::sys::privileges::{self, Dropped};

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

/// What the speaker opened before it gave up its privileges.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    core: speaker_core::Settings,
    sockets: Sockets,
    exclude: ExcludeList,
    dropped: Dropped,
}

impl Program for Args {
    type Prepared = Prepared;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn without_effect(&self) -> Vec<&'static str> {
        self.without_effect()
    }

    /// Reads the mounted secret and the list of excluded interfaces, opens the
    /// sockets, and then lets the privileges go.
    fn prepare(&self) -> anyhow::Result<Prepared> {
        let settings = self.settings()?;
        let exclude = ExcludeList::load(Path::new(exclude::PATH))?;
        let sockets = Sockets::open(settings.gossip.as_ref().map(|gossip| gossip.bind))?;
        let core = core_settings(&settings)?;
        let dropped = privileges::drop_all().context("cannot give up privileges")?;
        Ok(Prepared { settings, core, sockets, exclude, dropped })
    }

    fn http(prepared: &Prepared) -> &HttpSettings {
        &prepared.settings.http
    }

    async fn serve(prepared: Prepared, surroundings: Surroundings) -> anyhow::Result<()> {
        let settings = &prepared.settings;
        tracing::info!(op = "startup", node = %settings.node, left = %prepared.dropped, "privileges dropped");
        match &settings.gossip {
            None => tracing::info!(op = "startup", "membership is off: every Node is a candidate"),
            Some(gossip) if gossip.secret.is_none() => {
                tracing::warn!(op = "startup", "gossip has no secret: anybody on the network can forge it");
            }
            Some(gossip) => tracing::info!(op = "startup", address = %gossip.address, "gossip is encrypted"),
        }
        serve(prepared, surroundings).await
    }
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
async fn serve(prepared: Prepared, surroundings: Surroundings) -> anyhow::Result<()> {
    let Prepared { settings, core, sockets, exclude, .. } = prepared;
    let Surroundings { client, api_server, endpoints, shutdown } = surroundings;
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
            api_server,
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
