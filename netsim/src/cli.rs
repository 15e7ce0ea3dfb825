//! The command line: what can be asked of netsim, and where its answer goes.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::lab::run::catalogue;
use crate::lab::run::scenario::Scenario;
use crate::lab::run::scenario_file;

mod inputs;
mod paint;
mod run;
mod sweep;

/// A run that broke a rule.
const VIOLATED: u8 = 1;
/// Arguments or files that cannot be used.
const UNUSABLE: u8 = 2;

/// Runs the shipped controller and speakers on a simulated network, in
/// virtual time. Without a command: the demonstration.
#[derive(Debug, Parser)]
#[command(name = "netsim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario with one seed, and tell what happens.
    Run(RunArgs),
    /// List the scenarios.
    List,
    /// Run one scenario with many seeds, and sum up.
    Sweep(SweepArgs),
}

/// Which scenario, and how it is bent.
#[derive(Clone, Debug, Default, Args)]
struct What {
    /// A scenario's name (see `netsim list`).
    scenario: Option<String>,
    /// A scenario file instead; netsim/scenarios/example.yaml explains its keys.
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    file: Option<PathBuf>,
    /// The manifests to apply: a kustomization, a directory or a file.
    /// [default: manifests/overlays/talos]
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Other than the scenario's number of nodes.
    #[arg(long, value_name = "N")]
    nodes: Option<u8>,
    /// Other than the scenario's loss on every cable, each way, in percent.
    #[arg(long, value_name = "PERCENT")]
    loss: Option<f64>,
    /// Other than the scenario's delay of every cable, in microseconds.
    #[arg(long, value_name = "MICROS")]
    delay: Option<u64>,
}

#[derive(Clone, Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    what: What,
    /// The seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to tell.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write all frames to this pcapng file.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write a report with a picture of what happened to this HTML file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Virtual seconds told in a second; 0 is as fast as possible.
    /// [default: 4 on a terminal, else 0]
    #[arg(long, value_name = "FACTOR", value_parser = inputs::speed)]
    speed: Option<f64>,
}

#[derive(Clone, Debug, Args)]
struct SweepArgs {
    #[command(flatten)]
    what: What,
    /// The seeds, the last not included: 0..1000.
    #[arg(long, value_name = "A..B", value_parser = inputs::seeds)]
    seeds: std::ops::Range<u64>,
    /// How to sum up.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => run::run(&RunArgs::demonstration()),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::List) => list(),
        Some(Command::Sweep(args)) => sweep::sweep(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(VIOLATED),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "netsim: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

impl RunArgs {
    /// What `netsim` without arguments runs.
    fn demonstration() -> Self {
        let scenario = Some(catalogue::DEMONSTRATION.to_owned());
        Self {
            what: What { scenario, ..What::default() },
            seed: 1,
            format: Format::Text,
            pcap: None,
            report: None,
            speed: None,
        }
    }

    fn speed(&self) -> f64 {
        /// Slow enough to read along, fast enough not to wait.
        const ON_A_TERMINAL: f64 = 4.0;
        let is_watched = self.format == Format::Text && std::io::stdout().is_terminal();
        self.speed.unwrap_or(if is_watched { ON_A_TERMINAL } else { 0.0 })
    }
}

impl What {
    fn scenario(&self, default: &str) -> anyhow::Result<Scenario> {
        let mut scenario = match (&self.file, &self.scenario) {
            (Some(file), _) => scenario_file::read(file)?,
            (None, name) => {
                let name = name.as_deref().unwrap_or(default);
                catalogue::named(name).with_context(|| format!("no scenario {name:?}; see netsim list"))?
            }
        };
        scenario.nodes = self.nodes.unwrap_or(scenario.nodes);
        if let Some(loss) = self.loss {
            anyhow::ensure!((0.0..=100.0).contains(&loss), "--loss {loss} is not between 0 and 100");
            scenario.link.loss = (loss * 100.0).round() as u32;
        }
        if let Some(delay) = self.delay {
            scenario.link.delay = std::time::Duration::from_micros(delay);
        }
        scenario.validate().map_err(anyhow::Error::msg)?;
        Ok(scenario)
    }

    /// The command that runs the scenario of this `name` again, bent in the same way.
    fn again(&self, name: &str, seed: u64) -> String {
        let mut command = "cargo run --release -p netsim -- run".to_owned();
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                command.push_str(&format!(" {flag}{}", inputs::quoted(&value)));
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        add("--file ", path(&self.file));
        add("", self.file.is_none().then(|| name.to_owned()));
        add("--manifests ", path(&self.manifests));
        add("--nodes ", self.nodes.map(|nodes| nodes.to_string()));
        add("--loss ", self.loss.map(|loss| loss.to_string()));
        add("--delay ", self.delay.map(|delay| delay.to_string()));
        add("--seed ", Some(seed.to_string()));
        command
    }
}

fn list() -> anyhow::Result<bool> {
    let mut out = anstream::stdout();
    for scenario in catalogue::all() {
        let name = paint::bold(&format!("{:<20}", scenario.name));
        writeln!(out, "{name} {}", scenario.description)?;
    }
    Ok(true)
}

/// `netsim list | head -1` is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn help_says_what_comes_without_a_command() {
        let about = Cli::command().get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.contains("Without a command: the demonstration"), "{about}");
    }

    #[test]
    fn what_was_run_can_be_run_again() {
        for given in [
            "failover --seed 7",
            "--file a/b.yaml --manifests m --nodes 3 --loss 0.5 --delay 70 --seed 1",
            "quiet --loss 80 --seed 9",
        ] {
            let words = ["netsim", "run"].into_iter().chain(given.split(' '));
            let cli = Cli::try_parse_from(words).expect("it is a command");
            let Some(Command::Run(args)) = cli.command else { panic!("it is a run") };
            let name = args.what.scenario.as_deref().unwrap_or("named-in-the-file");
            let again = args.what.again(name, args.seed);
            assert_eq!(again, format!("cargo run --release -p netsim -- run {given}"));
        }
    }

    #[test]
    fn speeds_that_no_clock_can_follow_are_refused() {
        for speed in ["0", "0.001", "4", "1e6"] {
            Cli::try_parse_from(["netsim", "run", "--speed", speed]).expect(speed);
        }
        for speed in ["nan", "inf", "1e-300", "-1", "fast", ""] {
            let error = Cli::try_parse_from(["netsim", "run", &format!("--speed={speed}")]).expect_err(speed);
            assert!(error.to_string().contains("0.001"), "{error}");
        }
    }

    #[test]
    fn wires_that_are_too_long_are_refused() {
        for (delay, is_good) in [(9_999_900, true), (9_999_901, false), (u64::MAX, false)] {
            let what = What { delay: Some(delay), ..What::default() };
            let outcome = what.scenario(catalogue::DEMONSTRATION).map_err(|error| error.to_string());
            assert_eq!(outcome.is_ok(), is_good, "{delay}");
            assert!(outcome.err().is_none_or(|error| error.contains("delay and jitter")), "{delay}");
        }
    }
}
