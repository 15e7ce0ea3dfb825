//! A speaker as a process: the real event loop, sockets, netlink watch and privilege drop, with standard input in the
//! place of the API server. And the test's handle to it.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ferrolb_shell::process::shutdown;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use speaker::event_loop::{self, Channels, Sockets, Summary};
use speaker::exclude::ExcludeList;
use speaker::interfaces;
use speaker::sys::{packet::PacketSocket, privileges};
use speaker_core::Settings;
use tokio::sync::{mpsc, watch};

use super::objects;

const FLAG: &str = "--speaker-node";
const GOSSIP_PORT: u16 = 7946;

/// Is a speaker if the command line says so, and ends.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != FLAG {
        return None;
    }
    let (node, address) = (arguments.next()?, arguments.next()?);
    Some(match run(&node, &address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "speaker {node}: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run(node: &str, address: &str) -> anyhow::Result<()> {
    let gossip = SocketAddr::new(address.parse()?, GOSSIP_PORT);
    let sockets = Sockets::open(Some(gossip))?;
    let dropped = privileges::drop_all()?;
    let second = PacketSocket::open_arp().err().and_then(|error| error.raw_os_error());
    say(&json!({"dropped": dropped.to_string(), "second_packet_socket": second}));

    let boot = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let settings = Settings {
        node: node.into(),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: Some(gossip),
        gossip_secret: Some(b"a secret of the test".to_vec()),
        boot_id: u64::try_from(boot.as_millis())?,
        seed: ferrolb_shell::process::random::bytes()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _guard = runtime.enter();
    let (inputs, kubernetes) = mpsc::channel(64);
    let (links, interfaces) = mpsc::channel(4);
    let (reports, mut notices) = mpsc::channel(1024);
    let (summary, _) = watch::channel(Summary::default());
    let (trigger, parent_gone) = shutdown::channel();
    let shutdown = first_of(shutdown::on_signal()?, parent_gone);
    runtime.spawn(interfaces::watch(ExcludeList::default(), links));
    runtime.spawn(async move {
        while let Some(effect) = notices.recv().await {
            say(&json!({"effect": format!("{effect:?}")}));
        }
    });
    thread::spawn(move || {
        for line in io::stdin().lines() {
            let input = line.context("standard input").and_then(|line| objects::read(&line));
            let _ = inputs.blocking_send(input.expect("the test sends what it can read"));
        }
        trigger.shut_down();
    });
    let channels = Channels { kubernetes, interfaces, shutdown, reports, summary };
    let thread = event_loop::spawn(sockets, settings, channels)?;
    thread.join().map_err(|_| anyhow::anyhow!("the event loop panicked"))??;
    say(&json!({"ended": true}));
    Ok(())
}

/// Ends when a signal comes, or with the test that started it.
fn first_of(mut signal: shutdown::Shutdown, mut parent: shutdown::Shutdown) -> shutdown::Shutdown {
    let (trigger, either) = shutdown::channel();
    tokio::spawn(async move {
        tokio::select! {
            () = signal.wait() => {}
            () = parent.wait() => {}
        }
        trigger.shut_down();
        std::future::pending::<()>().await;
    });
    either
}

/// A line for the test.
fn say(line: &Value) {
    // Without a reader the process is about to end as well.
    let _ = writeln!(io::stdout(), "{line}");
}

/// The test's handle to a running speaker. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct SpeakerProcess {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl SpeakerProcess {
    /// Starts a speaker in the network namespace of the calling thread.
    pub(crate) fn start(node: &str, address: Ipv4Addr) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([FLAG, node, &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let said = Arc::new(Said::default());
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                heard.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                heard.more.notify_all();
            }
        });
        Ok(Self { child, stdin, said })
    }

    /// Tells it what Kubernetes says.
    pub(crate) fn tell(&mut self, lists: &[Value]) {
        for list in lists {
            writeln!(self.stdin, "{list}").expect("the speaker reads its standard input");
        }
    }

    /// Waits for a line that has all of `parts` in it.
    pub(crate) fn wait_for(&self, parts: &[&str], patience: Duration) -> String {
        self.wait_for_since(0, parts, patience)
    }

    /// The same of the lines after the first `since`.
    pub(crate) fn wait_for_since(&self, since: usize, parts: &[&str], patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        let mut lines = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut new = lines.iter().skip(since);
            if let Some(line) = new.find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no line with {parts:?} within {patience:?}; it said:\n{}",
                lines.join("\n")
            );
            lines = self.said.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything it has said so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fields of `/proc/PID/status`.
    pub(crate) fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the speaker runs")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive and small");
        kill(Pid::from_raw(pid), signal).expect("the speaker runs");
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it still runs after {patience:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for SpeakerProcess {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
