//! What a person may do to the cluster, line by line.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cluster::{Cluster, NGINX, NODES, Outage, Program};

/// How long the client goes on asking after something was done to the cluster.
const WATCHED: Duration = Duration::from_secs(4);

const HELP: &str = "\
status            who runs where, who serves the address
kill NODE         SIGKILL to the node's speaker; NODE is wk01, wk02, owner or other
stop NODE         delete its Pod: SIGTERM, and the other takes over first
start NODE        start it again
cut NODE          pull the node's cable
heal NODE         plug it in
kill-leader       SIGKILL to the controller that leads
api stop|start    the API server crashes; it comes back
mend              plug in every cable, start whatever does not run
watch             do nothing but ask
help, quit
While kill, stop, start, cut, heal, mend and watch work, the client asks every millisecond, and what it saw is printed.";

/// A line, or the wish to end.
#[derive(Debug)]
pub(crate) enum Said {
    Line(String),
    End,
}

/// Ctrl-C and SIGTERM, and later the lines of standard input, one after the other.
pub(crate) fn interrupts() -> io::Result<(Sender<Said>, Receiver<Said>)> {
    let (sender, receiver) = mpsc::channel();
    let ends = sender.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Registered before anything is started, so that nothing is left behind.
    let guard = runtime.enter();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    drop(guard);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        // Who does not listen any more has ended.
        let _ = ends.send(Said::End);
    });
    Ok((sender, receiver))
}

/// Does what is said until the end.
pub(crate) fn serve(
    cluster: &mut Cluster,
    address: Ipv4Addr,
    (sender, receiver): &(Sender<Said>, Receiver<Said>),
) -> io::Result<()> {
    let lines = sender.clone();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if lines.send(Said::Line(line)).is_err() {
                return;
            }
        }
        // No more lines: Ctrl-D in a terminal. Without one the cluster runs until it is told otherwise.
        if io::IsTerminal::is_terminal(&io::stdin()) {
            let _ = lines.send(Said::End);
        }
    });
    let mut out = io::stdout();
    loop {
        write!(out, "> ")?;
        out.flush()?;
        let line = match receiver.recv() {
            Ok(Said::Line(line)) => line,
            Ok(Said::End) | Err(_) => return Ok(()),
        };
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => {}
            ["quit" | "exit"] => return Ok(()),
            words => match obey(cluster, address, words) {
                Ok(answer) => writeln!(out, "{answer}")?,
                Err(error) => writeln!(out, "{error:#}")?,
            },
        }
    }
}

/// Does one thing; gives what is to be printed.
fn obey(cluster: &mut Cluster, address: Ipv4Addr, words: &[&str]) -> anyhow::Result<String> {
    let node = |cluster: &Cluster, name: &str| node(cluster, address, name);
    match words {
        ["help"] => Ok(HELP.to_owned()),
        ["status"] => Ok(status(cluster, address)),
        ["watch"] => watch(cluster, address, |_| Ok(())),
        ["mend"] => watch(cluster, address, Cluster::mend),
        ["kill", name] => {
            let node = node(cluster, name)?;
            watch(cluster, address, |cluster| cluster.kill(Program::Speaker, node))
        }
        ["stop", name] => {
            let node = node(cluster, name)?;
            watch(cluster, address, |cluster| cluster.stop(Program::Speaker, node))
        }
        ["start", name] => {
            let node = node(cluster, name)?;
            watch(cluster, address, |cluster| cluster.launch(Program::Speaker, node))
        }
        [verb @ ("cut" | "heal"), name] => {
            let node = node(cluster, name)?;
            watch(cluster, address, |cluster| Ok(cluster.lan().set_link(node, *verb == "heal")?))
        }
        ["kill-leader"] => {
            let leader = cluster.leader()?;
            cluster.kill(Program::Controller, leader)?;
            Ok(format!("the controller on {} is dead; the other leads in some 15 s", NODES[leader].0))
        }
        ["api", "stop"] => {
            cluster.api().stop();
            Ok("the API server is gone".to_owned())
        }
        ["api", "start"] => {
            cluster.restart_api()?;
            Ok("the API server is back".to_owned())
        }
        _ => bail!("that is no command; say help"),
    }
}

/// A node by its name or by what it does.
fn node(cluster: &Cluster, address: Ipv4Addr, name: &str) -> anyhow::Result<usize> {
    let owner = || cluster.who_serves(address)?.context("nobody serves the address now; name a node");
    match name {
        "owner" => owner(),
        "other" => Ok(1 - owner()?),
        name => NODES.iter().position(|(node, _)| *node == name).context("the nodes are wk01 and wk02"),
    }
}

fn status(cluster: &Cluster, address: Ipv4Addr) -> String {
    let mut lines = cluster.status();
    let serving = match cluster.who_serves(address) {
        Ok(Some(node)) => NODES[node].0,
        Ok(None) | Err(_) => "nobody",
    };
    lines.push(format!("{NGINX} has {address}; {serving} serves it"));
    lines.join("\n")
}

/// Does something while the client asks; says what the client saw.
fn watch(
    cluster: &mut Cluster,
    address: Ipv4Addr,
    act: impl FnOnce(&mut Cluster) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let Outage { record, moved, .. } = cluster.measure(address, |cluster| {
        let begin = Instant::now();
        act(cluster)?;
        thread::sleep(WATCHED);
        Ok(begin)
    })?;
    let moved = match moved {
        Some(moved) => format!("{} answered after {moved:.2?}", record.nodes().last().unwrap_or(&"nobody")),
        None => "the owner stayed".to_owned(),
    };
    Ok(format!(
        "{} of {} answers lost, the longest silence was {:.3?}; {moved}",
        record.lost(),
        record.sent(),
        record.longest_silence()
    ))
}
