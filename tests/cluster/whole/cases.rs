//! What must hold of the whole.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cluster::{Cluster, NGINX, NODES, Outage, Program};

use crate::figures::Figures;

/// A case works on the cluster that all share.
pub(crate) type Case = fn(&mut Cluster, &mut Figures) -> anyhow::Result<()>;

/// All of them, in the order in which they run.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("the_readmes_journey", journey),
    ("nothing_is_written_when_nothing_happens", quiet),
    ("speaker_killed", speaker_killed),
    ("port_cut", port_cut),
    ("node_drained_speaker_stopped_and_back", drained),
    ("api_gone_and_a_node_fails", api_gone),
    ("controller_killed", controller_killed),
];

/// The address that the overlay's pool begins with: `.100` is the API server's.
const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 16, 101);
/// From the loss of a node until the other serves. Detection takes about 1.7 s (the membership profile), at the worst
/// 2.9 s; the rest is for a busy machine.
const FAILOVER: Duration = Duration::from_secs(4);
/// How long we look at all before we say that it did not happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nothing happens for this long.
const QUIET: Duration = Duration::from_secs(15);
/// How long the API server is away, unless `WHOLE_API_GONE` says otherwise.
const API_GONE: Duration = Duration::from_secs(20);
/// A Lease that is not renewed lasts 15 s, and is looked at every 2 s; then everything is listed.
const NEXT_LEADER: Duration = Duration::from_secs(40);
/// When the API server is back the first request that it answers wakes all others: a second or two. Should the server
/// refuse what it does not know its rules for yet, they are made again after some seconds.
const TOLD: Duration = Duration::from_secs(60);
/// How often a loss is measured again when the test's own threads came too late to tell.
const TRIES: usize = 3;

/// Five commands of the README; `expose_nginx` does it once for all cases.
fn journey(cluster: &mut Cluster, figures: &mut Figures) -> anyhow::Result<()> {
    let begin = Instant::now();
    let address = nginx(cluster)?;
    figures.add("kubectl expose until EXTERNAL-IP", begin.elapsed());
    ensure!(address == VIP, "it got {address}");
    let owner = cluster.settle(VIP)?;
    let page = cluster.curl(VIP)?;
    ensure!(page.contains(&format!("nginx on {}", NODES[owner].0)), "{page}");
    figures.add("and until curl has the page, sure of its owner", begin.elapsed());

    let path = "-ojsonpath={.status.loadBalancer.ingress[0].ip}";
    let shown = cluster.api().kubectl(&["get", "service", NGINX, path]);
    ensure!(shown == VIP.to_string(), "kubectl shows {shown:?}");
    let announcing = cluster.announcing(NGINX);
    ensure!(
        announcing == [NODES[owner].0],
        "ServiceL2Status names {announcing:?}, {} serves",
        NODES[owner].0
    );
    // Neither the API server's address nor the next of the pool is served by anybody.
    ensure!(cluster.who_serves(Ipv4Addr::new(172, 16, 16, 102))?.is_none(), "nobody holds .102");
    Ok(())
}

/// The address of nginx, which is exposed by the first case that runs.
fn nginx(cluster: &Cluster) -> anyhow::Result<Ipv4Addr> {
    match cluster.api().kubectl(&["get", "service", NGINX, "--ignore-not-found", "-oname"]).as_str() {
        "" => cluster.expose_nginx(),
        _ => cluster.address_of(NGINX, PATIENCE),
    }
}

/// Everything is as it should be: gives who serves, and the other.
fn settled(cluster: &Cluster) -> anyhow::Result<(usize, usize)> {
    nginx(cluster)?;
    let owner = cluster.settle(VIP)?;
    Ok((owner, 1 - owner))
}

/// Four programs that have nothing to do write nothing, the Lease apart.
fn quiet(cluster: &mut Cluster, _: &mut Figures) -> anyhow::Result<()> {
    settled(cluster)?;
    let before = cluster.writes();
    ensure!(!before.is_empty(), "the audit log says that nothing was ever written, which is not true");
    thread::sleep(QUIET);
    let after = cluster.writes();
    ensure!(
        after.len() == before.len(),
        "written in {QUIET:?}: {:#?}",
        &after[before.len().min(after.len())..]
    );
    Ok(())
}

/// The speaker dies, its node lives: no answer is lost, for the node serves until the neighbours have turned away.
fn speaker_killed(cluster: &mut Cluster, figures: &mut Figures) -> anyhow::Result<()> {
    let (owner, other) = settled(cluster)?;
    let outage = cluster.measure(VIP, |cluster| {
        let killed = Instant::now();
        cluster.kill(Program::Speaker, owner)?;
        cluster.await_owner(VIP, other, PATIENCE)?;
        Ok(killed)
    })?;
    figures.add_outage("the owner's speaker is killed", &outage);
    has_moved(&outage, owner, other)?;
    cluster.curl(VIP)?;

    let outage = back(cluster, owner)?;
    figures.add_outage("it is started again", &outage);
    short(&outage)
}

/// The owner's cable is cut, and plugged in again.
fn port_cut(cluster: &mut Cluster, figures: &mut Figures) -> anyhow::Result<()> {
    let (owner, other) = settled(cluster)?;
    let outage = cluster.measure(VIP, |cluster| {
        let cut = Instant::now();
        cluster.lan().set_link(owner, false)?;
        cluster.await_owner(VIP, other, PATIENCE)?;
        Ok(cut)
    })?;
    figures.add_outage("the owner's port is cut", &outage);
    has_moved(&outage, owner, other)?;
    short(&outage)?;
    ensure!(outage.record.lost() > 0, "a cut cable cannot be free: the test cuts nothing");
    cluster.curl(VIP)?;

    let outage = cluster.measure(VIP, |cluster| {
        let healed = Instant::now();
        cluster.lan().set_link(owner, true)?;
        cluster.settle(VIP)?;
        Ok(healed)
    })?;
    figures.add_outage("it is plugged in again", &outage);
    short(&outage)
}

/// Planned work on the owner: drained, its speaker's Pod deleted, and everything back. Nothing is lost.
fn drained(cluster: &mut Cluster, figures: &mut Figures) -> anyhow::Result<()> {
    let nothing_lost = |outage: &Outage| outage.record.lost() == 0;
    for attempt in 1..=TRIES {
        let (owner, other) = settled(cluster)?;
        let leave = cluster.measure(VIP, |cluster| {
            cluster.drain(owner)?;
            let stopped = Instant::now();
            cluster.stop(Program::Speaker, owner)?;
            cluster.await_owner(VIP, other, PATIENCE)?;
            Ok(stopped)
        })?;
        has_moved(&leave, owner, other)?;
        cluster.undrain(owner)?;
        let comeback = back(cluster, owner)?;
        short(&comeback)?;
        // The kernel has thrown away answers because we were too slow to take them: that says nothing of the speakers.
        let is_blurred = leave.overflows + comeback.overflows > 0;
        if is_blurred && !nothing_lost(&leave) && attempt < TRIES {
            continue;
        }
        figures.add_outage("the owner is drained, its speaker stopped", &leave);
        figures.add_outage("it comes back", &comeback);
        ensure!(
            nothing_lost(&leave),
            "{} of {} answers were lost, the longest silence was {:?}",
            leave.record.lost(),
            leave.record.sent(),
            leave.record.longest_silence()
        );
        return Ok(());
    }
    unreachable!("the last attempt returns")
}

/// Nobody can ask the API server, and a node fails. When it is back it is told.
fn api_gone(cluster: &mut Cluster, figures: &mut Figures) -> anyhow::Result<()> {
    let gone = match std::env::var("WHOLE_API_GONE") {
        Ok(seconds) => Duration::from_secs(seconds.parse().context("WHOLE_API_GONE is in seconds")?),
        Err(_) => API_GONE,
    };
    let (owner, other) = settled(cluster)?;
    let outage = cluster.measure(VIP, |cluster| {
        cluster.api().stop();
        thread::sleep(gone / 2);
        let cut = Instant::now();
        cluster.lan().set_link(owner, false)?;
        cluster.await_owner(VIP, other, PATIENCE)?;
        thread::sleep((gone / 2).saturating_sub(cut.elapsed()));
        Ok(cut)
    });
    // Whatever came of it, the next case finds everything running.
    cluster.restart_api()?;
    let outage = outage?;
    figures.add_outage("API server gone, the owner's port is cut", &outage);
    has_moved(&outage, owner, other)?;
    short(&outage)?;
    cluster.curl(VIP)?;
    let back = Instant::now();
    while !cluster.announcing(NGINX).iter().any(|node| node == NODES[other].0) {
        ensure!(back.elapsed() < TOLD, "ServiceL2Status does not name {}", NODES[other].0);
        thread::sleep(Duration::from_millis(500));
    }
    figures.add("API server back until kubectl shows the owner", back.elapsed());
    cluster.lan().set_link(owner, true)?;
    cluster.settle(VIP)?;
    Ok(())
}

/// The leading controller dies: what has an address keeps it, and the other gives the next one.
fn controller_killed(cluster: &mut Cluster, figures: &mut Figures) -> anyhow::Result<()> {
    settled(cluster)?;
    let leader = cluster.leader()?;
    let mut took = Duration::ZERO;
    let outage = cluster.measure(VIP, |cluster| {
        let killed = Instant::now();
        cluster.kill(Program::Controller, leader)?;
        cluster.api().kubectl(&["create", "service", "loadbalancer", "second", "--tcp=80"]);
        let address = cluster.address_of("second", NEXT_LEADER)?;
        took = killed.elapsed();
        ensure!(address == Ipv4Addr::new(172, 16, 16, 102), "it got {address}");
        Ok(killed)
    })?;
    figures.add_outage("the leading controller is killed", &outage);
    figures.add("until the other gives the next address", took);
    ensure!(cluster.leader()? == 1 - leader, "the other leads");
    ensure!(outage.moved.is_none(), "addresses are none of a controller's business once they are given");
    short(&outage)?;
    ensure!(nginx(cluster)? == VIP, "it keeps its address");
    cluster.api().kubectl(&["delete", "service", "second"]);
    cluster.launch(Program::Controller, leader)
}

/// Starts the owner's speaker again and waits until all is quiet.
fn back(cluster: &mut Cluster, owner: usize) -> anyhow::Result<Outage> {
    cluster.measure(VIP, |cluster| {
        let started = Instant::now();
        cluster.launch(Program::Speaker, owner)?;
        cluster.settle(VIP)?;
        Ok(started)
    })
}

/// The other has taken over, once, and in time.
fn has_moved(outage: &Outage, from: usize, to: usize) -> anyhow::Result<()> {
    let (nodes, expected) = (outage.record.nodes(), [NODES[from].0, NODES[to].0]);
    ensure!(nodes == expected, "{nodes:?} have answered in turn, not {expected:?}");
    let moved = outage.moved.context("another node has answered")?;
    ensure!(moved < FAILOVER, "{} took over after {moved:?}", NODES[to].0);
    Ok(())
}

/// The client had an answer again in time.
fn short(outage: &Outage) -> anyhow::Result<()> {
    let silence = outage.record.longest_silence();
    ensure!(silence < FAILOVER, "nothing for {silence:?}, {} lost", outage.record.lost());
    Ok(())
}
