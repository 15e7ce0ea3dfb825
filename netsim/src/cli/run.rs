//! One run, told as it happens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use super::{Format, RunArgs, inputs, paint};
use crate::lab::api::manifests::Manifests;
use crate::lab::checks::outage::Outage;
use crate::lab::clock::millis;
use crate::lab::run::catalogue;
use crate::lab::run::scenario::Scenario;
use crate::lab::run::timeline::Entry;
use crate::lab::run::world::{Outcome, World};
use crate::report;

/// Runs one scenario. Returns whether every rule was kept.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<bool> {
    let scenario = args.what.scenario(catalogue::STANDARD)?;
    let manifests = inputs::manifests(args.what.manifests.as_deref())?;
    let mut world = World::new(&scenario, &manifests, args.seed, true)?;
    // Before the run, which may take a while: what cannot be written is said at once.
    let (pcap, report) = (Sink::open(args.pcap.as_deref())?, Sink::open(args.report.as_deref())?);
    if pcap.is_some() {
        world.switch_mut().start_capture(&[]);
    }
    let mut out = anstream::stdout().lock();
    if args.format == Format::Text {
        head(&mut out, &scenario, &manifests, args.seed)?;
    }
    let began = Instant::now();
    loop {
        let goes_on = world.step();
        for entry in world.timeline_mut().take_new() {
            wait(&entry, began, args.speed());
            match args.format {
                Format::Text => writeln!(out, "{}", paint::entry(&entry))?,
                Format::Json => writeln!(out, "{}", line(&entry))?,
            }
        }
        if !goes_on {
            break;
        }
    }
    let outcome = world.outcome();
    match args.format {
        Format::Text => {
            let again = args.what.again(&scenario.name, args.seed);
            verdict(&mut out, &outcome, &again, began.elapsed())?;
        }
        Format::Json => {
            writeln!(out, "{}", details(&outcome))?;
            writeln!(out, "{}", Summary::of(&outcome).to_json()?)?;
        }
    }
    drop(out);
    if let (Some(sink), Some(capture)) = (pcap, world.switch_mut().take_capture()) {
        sink.fill(|file| Ok(capture.write_to(file)?))?;
    }
    if let Some(sink) = report {
        let page = report::page(&scenario, &world, &outcome);
        sink.fill(|file| Ok(file.write_all(page.as_bytes())?))?;
    }
    Ok(outcome.violations.is_empty())
}

/// A file that is asked for and open, and still empty.
struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Sink {
    fn open(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path else { return Ok(None) };
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(Self { path: path.to_owned(), file: BufWriter::new(file) }))
    }

    fn fill(mut self, write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let written = write(&mut self.file).and_then(|()| Ok(self.file.flush()?));
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Keeps virtual time at `speed` times the real one.
fn wait(entry: &Entry, began: Instant, speed: f64) {
    /// A line comes at least so long after the one before, so that it can be seen to come.
    const BREATH: Duration = Duration::from_millis(25);
    if speed <= 0.0 {
        return;
    }
    let due = Duration::from_secs_f64(entry.at.as_micros() as f64 / 1e6 / speed);
    thread::sleep(due.saturating_sub(began.elapsed()).max(BREATH));
}

fn head(out: &mut impl Write, scenario: &Scenario, manifests: &Manifests, seed: u64) -> anyhow::Result<()> {
    let title = format!("Ferrolb netsim: {}, seed {seed}", scenario.name);
    writeln!(out, "{}", paint::bold(&title))?;
    writeln!(out, "{}", paint::faint(&scenario.description))?;
    let notes = manifests.notes.len();
    if notes > 0 {
        let what = if notes == 1 { "object is" } else { "objects are" };
        writeln!(
            out,
            "{}",
            paint::faint(&format!("{notes} {what} not simulated (Deployments, RBAC, CRDs ...)"))
        )?;
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (nodes, clients) = (usize::from(scenario.nodes), scenario.clients.len());
    let lan = format!(
        "One switch; router 172.16.16.1, {nodes} node{} from 172.16.16.11, API 172.16.16.100, {clients} client{} from \
         172.16.16.50.\n{} % loss, {} to {} us on every cable, each way. All times are virtual.",
        plural(nodes),
        plural(clients),
        f64::from(scenario.link.loss) / 100.0,
        scenario.link.delay.as_micros(),
        (scenario.link.delay + scenario.link.jitter).as_micros(),
    );
    writeln!(out, "{}\n", paint::faint(&lan))?;
    Ok(())
}

fn verdict(out: &mut impl Write, outcome: &Outcome, again: &str, took: Duration) -> anyhow::Result<()> {
    writeln!(out)?;
    for text in measured(&outcome.outage, outcome) {
        writeln!(out, "  {text}")?;
    }
    let others = outcome.outages.iter().skip(1).filter(|(_, outage)| outage.lost > 0);
    for (client, outage) in others {
        let (lost, asked) = (outage.lost, outage.asked);
        writeln!(out, "  {client:<20} {:>8} ms, {lost} answers of {asked} lost", millis(outage.duration))?;
    }
    writeln!(out)?;
    if outcome.violations.is_empty() {
        let rules = "S1 S2 S4 S5 S6 S13 after every step, then L1 L2 L4";
        writeln!(out, "  {} ({rules})", paint::good("checkers: every rule kept"))?;
    } else {
        writeln!(out, "  {}", paint::bad("checkers: rules broken"))?;
        for violation in &outcome.violations {
            writeln!(out, "    {violation}")?;
        }
        writeln!(out, "  again: {again}")?;
    }
    let size = format!(
        "{} steps, {:.1} virtual seconds in {:.2} real ones; fingerprint {}",
        outcome.steps,
        outcome.lasted.as_secs_f64(),
        took.as_secs_f64(),
        outcome.fingerprint
    );
    writeln!(out, "  {}", paint::faint(&size))?;
    Ok(())
}

fn measured(outage: &Outage, outcome: &Outcome) -> Vec<String> {
    let nobody = || "nobody".to_owned();
    let mut lines = Vec::new();
    match (outage.last_before, outage.lost) {
        (_, 0) => lines.push(paint::good(&format!("no answer lost of {} questions", outage.asked))),
        (Some(before), lost) => {
            let owner = outcome.owner_before.clone().unwrap_or_else(nobody);
            lines.push(format!("last answer before   {before:>8}  by {owner}", before = before.to_string()));
            let after = outage.first_after.map_or_else(|| "never".to_owned(), |after| after.to_string());
            let owner = outcome.owner_after.clone().unwrap_or_else(nobody);
            lines.push(format!("first answer after   {after:>8}  by {owner}"));
            let total = format!("outage               {:>8} ms", millis(outage.duration));
            lines.push(paint::bold(&total));
            lines.push(format!("answers lost         {lost:>8}  of {} questions", outage.asked));
        }
        (None, lost) => lines.push(paint::bad(&format!("never answered: {lost} questions lost"))),
    }
    lines
}

fn line(entry: &Entry) -> serde_json::Value {
    json!({"at_ms": entry.at.as_micros() as f64 / 1000.0, "who": entry.who, "what": entry.what})
}

/// The last line of `--format json`. A struct, so that its keys keep their order.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    scenario: &'a str,
    seed: u64,
    outage_ms: f64,
    owner_before: Option<&'a str>,
    owner_after: Option<&'a str>,
    violations: Vec<String>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        Self {
            scenario: &outcome.scenario,
            seed: outcome.seed,
            outage_ms: millis(outcome.outage.duration),
            owner_before: outcome.owner_before.as_deref(),
            owner_after: outcome.owner_after.as_deref(),
            violations: outcome.violations.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// The line before it: what else was measured.
fn details(outcome: &Outcome) -> serde_json::Value {
    let outages_ms: BTreeMap<&str, f64> =
        outcome.outages.iter().map(|(client, outage)| (client.as_str(), millis(outage.duration))).collect();
    json!({
        "asked": outcome.outage.asked,
        "answers_lost": outcome.outage.lost,
        "outages_ms": outages_ms,
        "moves": outcome.moves,
        "steps": outcome.steps,
        "virtual_ms": millis(outcome.lasted),
        "fingerprint": outcome.fingerprint.to_string(),
    })
}
