//! The start and the end of both programs: the same steps, in the same order.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use kube::Client;
use prometheus::Registry;
use tracing::level_filters::LevelFilter;

use crate::admin::http::{self, AdminState, HttpSettings};
use crate::admin::metrics::Process;
use crate::admin::readiness::Readiness;
use crate::kubernetes::client;
use crate::process::flags::{self, CommonArgs};
use crate::process::logs;
use crate::process::shutdown::{self, Shutdown};

/// Threads for watches, HTTP and log lines.
const WORKERS: usize = 2;

/// A program, as its command line describes it.
pub trait Program: Parser {
    /// What its flags say, checked, and what it opened before it gave up its privileges.
    type Prepared;

    /// The flags that both programs have.
    fn common(&self) -> &CommonArgs;

    /// The flags that were given and do nothing.
    fn without_effect(&self) -> Vec<&'static str>;

    /// What comes before the first other thread, the log's: checks the flags, and
    /// does everything that needs a privilege.
    ///
    /// # Errors
    /// If the program cannot start as it was told to.
    fn prepare(&self) -> anyhow::Result<Self::Prepared>;

    /// Where metrics and probes are served.
    fn http(prepared: &Self::Prepared) -> &HttpSettings;

    /// The program's work, until the shutdown and what is left to do then. Metrics
    /// and probes are served by now.
    fn serve(
        prepared: Self::Prepared,
        surroundings: Surroundings,
    ) -> impl Future<Output = anyhow::Result<()>>;
}

/// What a program works with.
pub struct Surroundings {
    /// Asks the API server; see [`client::connect`].
    pub client: Client,
    /// Where that reaches it, if it is an address.
    pub api_server: Option<IpAddr>,
    /// What metrics and probes are answered from.
    pub endpoints: AdminState,
    /// SIGTERM or SIGINT.
    pub shutdown: Shutdown,
}

/// Runs the program until SIGTERM or SIGINT. The exit code is 1 where it cannot
/// start or cannot go on; the last line of the log says why, and standard error
/// where there is no log.
#[must_use]
pub fn run<P: Program>(args: &P) -> ExitCode {
    let command = P::command();
    let name = command.get_name();
    match start(name, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log has it, unless it was not started or is set to say nothing.
            if LevelFilter::current() == LevelFilter::OFF {
                let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start<P: Program>(name: &str, args: &P) -> anyhow::Result<()> {
    let level = args.common().log_level.parse()?;
    let prepared = args.prepare()?;
    let _logs = logs::start(level)?;
    let ended = start_logged(name, args, prepared);
    if let Err(error) = &ended {
        // Before the log ends, which takes its last lines with it.
        tracing::error!(op = "exit", error = format!("{error:#}"), "{name} cannot go on");
    }
    ended
}

fn start_logged<P: Program>(name: &str, args: &P, prepared: P::Prepared) -> anyhow::Result<()> {
    tracing::info!(op = "startup", version = env!("CARGO_PKG_VERSION"), "{name} starting");
    flags::log_without_effect(&args.without_effect());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let surroundings = surroundings(args.common(), P::http(&prepared)).await?;
        P::serve(prepared, surroundings).await
    });
    // What still runs holds nothing worth waiting for.
    runtime.shutdown_timeout(Duration::ZERO);
    if ended.is_ok() {
        tracing::info!(op = "shutdown", "{name} ended");
    }
    ended
}

async fn surroundings(common: &CommonArgs, settings: &HttpSettings) -> anyhow::Result<Surroundings> {
    let shutdown = shutdown::on_signal().context("cannot handle signals")?;
    let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
    endpoints.registry.register(Box::new(Process::default()))?;
    let (client, api_server) = client::connect(common.kubeconfig()).await?;
    http::start(settings, &client, &endpoints, &shutdown).await?;
    Ok(Surroundings { client, api_server, endpoints, shutdown })
}
