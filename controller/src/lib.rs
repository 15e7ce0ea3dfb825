//! The controller's shell: flags, Kubernetes, HTTP and logs around
//! `controller-core`, which decides everything.

#![forbid(unsafe_code)]

pub mod args;
pub mod event_loop;
pub mod kube;
pub mod metrics;
pub mod notices;

use std::io::Write as _;
use std::process::ExitCode;

use ::kube::Client;
use anyhow::Context as _;
use ferrolb_shell::admin::http::{self, Endpoints, HttpSettings};
use ferrolb_shell::kubernetes::client;
use ferrolb_shell::kubernetes::leader_election::{self, Candidacy};
use ferrolb_shell::process::logs::LogLevel;
use ferrolb_shell::process::{flags, logs, shutdown};
use ferrolb_shell::{Readiness, Shutdown};
use prometheus::Registry;
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;

use crate::args::{Args, Settings};
use crate::event_loop::Inputs;
use crate::kube::Outlets;
use crate::metrics::Metrics;

/// Inputs and effects that may wait for their taker, which is waited for.
const QUEUE: usize = 256;

/// Runs the controller as its command line says, until SIGTERM or SIGINT. The
/// exit code is 1 where it cannot start.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log has it, unless it was not started or is set to say nothing.
            if LevelFilter::current() == LevelFilter::OFF {
                let _ = writeln!(std::io::stderr(), "controller: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> anyhow::Result<()> {
    let level: LogLevel = args.common.log_level.parse()?;
    let settings = args.settings()?;
    // M2: the kubelet asks for both ports from outside of the Pod.
    let http = args.common.http(None, None)?;
    let _logs = logs::start(level)?;
    let ended = start_logged(args, settings, http);
    if let Err(error) = &ended {
        // Before the log ends, which takes its last lines with it.
        tracing::error!(op = "exit", error = format!("{error:#}"), "controller cannot go on");
    }
    ended
}

fn start_logged(args: &Args, settings: Settings, http: HttpSettings) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(op = "startup", version, namespace = settings.namespace, "controller starting");
    flags::log_without_effect(&args.without_effect());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(args, settings, http))
}

async fn serve(args: &Args, settings: Settings, http: HttpSettings) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal().context("cannot handle signals")?;
    let endpoints = Endpoints { registry: Registry::new(), readiness: Readiness::default() };
    endpoints.registry.register(Box::new(ferrolb_shell::admin::metrics::Process::default()))?;
    let client = client::connect(args.common.kubeconfig.as_deref()).await?;
    http::start(&http, &client, &endpoints, &shutdown).await?;
    match args.candidacy(&settings) {
        Some(candidacy) => run_elected(client, settings, candidacy, endpoints, shutdown).await,
        None => run_with(client, settings, endpoints, shutdown).await,
    }
    tracing::info!(op = "shutdown", "controller ended");
    Ok(())
}

/// Runs the only controller against the API server behind `client` until `shutdown`.
/// Reads no clock but tokio's, except for dates that are written to the API.
pub async fn run_with(client: Client, settings: Settings, endpoints: Endpoints, shutdown: Shutdown) {
    let metrics = Metrics::register(&endpoints.registry);
    work(client, settings, metrics, &endpoints.readiness, shutdown).await;
}

/// The same for one of several replicas: works while it holds the Lease, and
/// stands by otherwise.
///
/// Who stands by watches nothing. It would have to list everything again in any
/// case, after it has got the Lease, for the last writes of the one before to be
/// in the list; and a core kept warm would have granted addresses that were never
/// written. So a tenure begins as the process does: with lists, with what stands
/// in them adopted, and then with what is missing (C8).
pub async fn run_elected(
    client: Client,
    settings: Settings,
    candidacy: Candidacy,
    endpoints: Endpoints,
    mut shutdown: Shutdown,
) {
    let Endpoints { registry, readiness } = endpoints;
    let metrics = Metrics::register(&registry);
    metrics.forget_all();
    let gate = readiness.gate("leader election", "the Lease is not read yet");
    let outside = readiness.names();
    let (mut leadership, candidate) = leader_election::channel(client.clone(), candidacy, &registry, gate);
    let tenures = async {
        loop {
            let tenure = tokio::select! {
                tenure = leadership.gained() => tenure,
                () = shutdown.wait() => return,
            };
            let (client, settings) = (tenure.client(client.clone()), settings.clone());
            metrics.client.config_awaited();
            tokio::select! {
                // Once it is over nothing of it is even looked at.
                biased;
                () = tenure.over() => {}
                () = work(client, settings, metrics.clone(), &readiness, shutdown.clone()) => return,
            }
            metrics.forget_all();
            readiness.retain(&outside);
        }
    };
    candidate.run_while(tenures).await;
}

/// Assigns addresses through `client` until `shutdown`, and then writes what is
/// still to be written. Nothing of it goes on when it is dropped before that.
async fn work(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    readiness: &Readiness,
    shutdown: Shutdown,
) {
    let (resources, resources_taken) = mpsc::channel(1);
    let (services, services_taken) = mpsc::channel(QUEUE);
    let (effects, effects_taken) = mpsc::channel(QUEUE);
    let gate = readiness.gate("allocation", "custom resources and Services are not known yet");
    let core = controller_core::Settings { load_balancer_class: settings.load_balancer_class.clone() };
    let inputs = Inputs { resources: resources_taken, services: services_taken };
    let outlets = Outlets { resources, services };
    tokio::join!(
        event_loop::run(core, inputs, effects, gate, metrics.clone(), shutdown.clone()),
        kube::run(client, settings, outlets, effects_taken, metrics, readiness.clone(), shutdown),
    );
}
