//! The two programs as processes, with the arguments of the shipped manifests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kube_apiserver::{ChildProcess, NAMESPACE};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{FootprintBench, NODE, NODE_ADDRESS};
use crate::sizes::Size;

/// How long a program may take until it is ready, also with many Services.
const READY: Duration = Duration::from_secs(120);
/// How long one may take to end.
const END: Duration = Duration::from_secs(30);

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Gives addresses.
    Controller,
    /// Announces them.
    Speaker,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Speaker => "speaker",
        }
    }

    /// Where it serves its metrics. Both are on one host here.
    const fn port(self) -> u16 {
        match self {
            Self::Controller => 7471,
            Self::Speaker => 7472,
        }
    }
}

/// A program that runs.
pub(crate) struct Running {
    program: Program,
    process: ChildProcess,
}

impl Running {
    /// Starts the program of that name in `programs`.
    pub(crate) fn start(bench: &FootprintBench, programs: &Path, program: Program) -> anyhow::Result<Self> {
        let path = programs.join(program.name());
        anyhow::ensure!(path.is_file(), "there is no {}", path.display());
        let kubeconfig = kubeconfig(bench, program)?;
        let mut command = vec!["-i".to_owned(), format!("METALLB_NAMESPACE={NAMESPACE}")];
        let pod = format!("METALLB_POD_NAME={}-0", program.name());
        match program {
            Program::Controller => command.extend([pod, "METALLB_ML_SECRET_NAME=memberlist".to_owned()]),
            Program::Speaker => command.extend([
                pod,
                format!("METALLB_NODE_NAME={NODE}"),
                format!("METALLB_HOST={NODE_ADDRESS}"),
                format!("METALLB_ML_BIND_ADDR={NODE_ADDRESS}"),
                "METALLB_ML_LABELS=app=metallb,component=speaker".to_owned(),
                format!("METALLB_ML_SECRET_KEY_PATH={}", bench.secret_folder().display()),
            ]),
        }
        command.push(path.display().to_string());
        command.push(format!("--kubeconfig={kubeconfig}"));
        command.push(format!("--port={}", program.port()));
        command.extend(["--health-probe-port=0", "--log-level=info"].map(str::to_owned));
        if program == Program::Controller {
            command.push("--leader-elect".to_owned());
        }
        let process =
            ChildProcess::start(program.name(), Path::new("/usr/bin/env"), &command, bench.folder(), false);
        Ok(Self { program, process })
    }

    /// Waits until its readiness probe is answered well.
    pub(crate) fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            self.process.assert_running();
            let answer = self.ask("/readyz");
            if answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{} is not ready: {answer:?}\n{}", self.program.name(), self.process.log_end());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((NODE_ADDRESS, self.program.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {NODE_ADDRESS}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// How large it is.
    pub(crate) fn size(&self) -> anyhow::Result<Size> {
        Size::of(self.process.pid()).with_context(|| format!("{} has ended", self.program.name()))
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGTERM);
        let ended = self.process.wait(END);
        let status = ended.with_context(|| format!("{} has ignored SIGTERM", self.program.name()))?;
        let (name, log) = (self.program.name(), self.process.log_end());
        anyhow::ensure!(status.success(), "{name} ended with {status}:\n{log}");
        Ok(())
    }
}

/// A kubeconfig of the program's service account that the speaker can still read when it has become nobody.
fn kubeconfig(bench: &FootprintBench, program: Program) -> anyhow::Result<String> {
    let name = program.name();
    // Each has its own, for the other may be reading.
    let authority = fs::read(bench.api().folder().join("ca.crt"))?;
    let authority = bench.publish(&format!("{name}.crt"), &authority)?;
    let server = format!("https://{}", bench.api().address());
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": {"token": bench.api().token(NAMESPACE, name)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    });
    let path = bench.publish(&format!("{name}.kubeconfig"), text.to_string().as_bytes())?;
    Ok(path.display().to_string())
}
