//! The whole product without a container engine: two controllers and a speaker on each of two nodes, as processes of the
//! shipped programs against a real API server, and a client behind a router that asks every millisecond.
//!
//! One cluster for all cases, in their order; each begins and ends with everything running. It needs the binaries of
//! Kubernetes (see the package `kube-apiserver`) and runs without root. When a case fails, logs and a capture are in the
//! target directory's `tmp/whole/`. `WHOLE_API_GONE` is how long the API server is away, in seconds.

mod cases;
mod figures;

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use cluster::Cluster;
use libtest_mimic::{Arguments, Trial};
use tests::namespaces;

use cases::Case;
use figures::Figures;

/// What the cases share.
#[derive(Default)]
struct Stage {
    /// Started by the first case that runs.
    cluster: Option<Cluster>,
    /// Why it did not start: every further case fails at once.
    failed: Option<String>,
    figures: Figures,
}

fn main() -> ExitCode {
    if let Some(exit) = cluster::run_if_asked() {
        return exit;
    }
    let mut arguments = Arguments::from_args();
    // One at a time, in order: there is one cluster, and the bounds are in real time.
    arguments.test_threads = Some(1);
    if !arguments.list
        && let Err(exit) = namespaces::enter_or_leave("whole")
    {
        return exit;
    }
    let stage = Arc::new(Mutex::new(Stage::default()));
    let trials = cases::ALL.iter().map(|(name, case)| {
        let stage = Arc::clone(&stage);
        Trial::test(*name, move || run(&stage, name, *case))
    });
    let exit = libtest_mimic::run(&arguments, trials.collect()).exit_code();
    let _ = write!(io::stderr(), "{}", stage.lock().unwrap_or_else(PoisonError::into_inner).figures);
    exit
}

/// Runs one case on the cluster, which is started where it is not there yet.
fn run(stage: &Mutex<Stage>, name: &str, case: Case) -> Result<(), libtest_mimic::Failed> {
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let Stage { cluster, failed, figures } = &mut *stage;
    if let Some(failed) = failed {
        return Err(format!("the cluster did not start: {failed}").into());
    }
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => {
            // Also if it panics; it is not tried again for every case.
            *failed = Some("see the first case".to_owned());
            let started = start(figures).map_err(|error| format!("{error:#}"))?;
            *failed = None;
            // Without the binaries of Kubernetes; it has been said that nothing is tested.
            let Some(started) = started else { return Ok(()) };
            cluster.insert(started)
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| case(cluster, figures)));
    if !matches!(outcome, Ok(Ok(()))) {
        cluster.report(name);
        // The next case shall fail for reasons of its own only.
        if let Err(error) = cluster.mend() {
            let _ = writeln!(io::stderr(), "{name}: the cluster could not be mended: {error:#}");
        }
    }
    let result = outcome.unwrap_or_else(|panic| resume_unwind(panic));
    result.map_err(|error| format!("{error:#}").into())
}

fn start(figures: &mut Figures) -> anyhow::Result<Option<Cluster>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole");
    // What is left of the last run.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let begin = std::time::Instant::now();
    let started = Cluster::start(&folder);
    match &started {
        Ok(Some(_)) => figures.add("from nothing until every program is ready", begin.elapsed()),
        Ok(None) => {}
        Err(_) => drop(writeln!(io::stderr(), "what was said is in {}", folder.display())),
    }
    started
}
