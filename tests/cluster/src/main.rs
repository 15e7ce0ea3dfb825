//! `cluster`: starts the cluster of the test `whole` for a person to play with, and takes it down again on Ctrl-C.

mod commands;
mod folder;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use cluster::{Cluster, NGINX};
use tests::namespaces;

use folder::Folder;

/// Starts a whole cluster on this machine, without containers and without root: two nodes, each with its speaker, two
/// controllers, a real API server, a router, and a client behind it. Commands come from standard input ("help" lists
/// them); Ctrl-C or "quit" takes everything down. Nothing of the host's network is touched.
#[derive(Parser, Debug)]
#[command(name = "cluster", version)]
struct Args {
    /// Where logs and captures go, and stay [default: a temporary directory that goes with the cluster].
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(exit) = cluster::run_if_asked() {
        return exit;
    }
    let args = Args::parse();
    // Without standard output or error there is nobody to tell.
    if let Err(refusal) = namespaces::enter() {
        let _ = writeln!(io::stderr(), "cluster: {refusal}");
        return ExitCode::FAILURE;
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    check_assets(std::env::var_os("KUBEBUILDER_ASSETS").unwrap_or_default().as_ref())?;
    let folder = Folder::new(args.logs)?;
    let mut out = io::stdout();
    writeln!(out, "starting; this takes some seconds")?;
    let interrupted = commands::interrupts()?;
    let started = Cluster::start(folder.path());
    let started =
        started.with_context(|| format!("it did not start; logs are in {}", folder.kept().display()))?;
    let mut cluster = started.context("there are no binaries of Kubernetes")?;
    let address = cluster.expose_nginx()?;
    let tools = folder.write_tools(&cluster)?;
    writeln!(out, "{}", folder.introduction(&tools, NGINX, address))?;
    commands::serve(&mut cluster, address, &interrupted)?;
    writeln!(out, "taking it down")?;
    drop(cluster);
    Ok(())
}

/// Whether Kubernetes' programs are in the directory that the variable names.
fn check_assets(folder: &Path) -> anyhow::Result<()> {
    const NEEDED: [&str; 4] = ["etcd", "kube-apiserver", "kubectl", "kube-controller-manager"];
    const HOW: &str =
        "export KUBEBUILDER_ASSETS=$(tests/kube-apiserver/install), which needs Go 1.25 or later";
    if folder.as_os_str().is_empty() {
        anyhow::bail!(
            "it needs {}, and KUBEBUILDER_ASSETS names no directory with them: {HOW}",
            NEEDED.join(", ")
        );
    }
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !folder.join(name).is_file()).collect();
    anyhow::ensure!(
        missing.is_empty(),
        "KUBEBUILDER_ASSETS is {}, and there is no {} in it: {HOW}",
        folder.display(),
        missing.join(", no ")
    );
    Ok(())
}
