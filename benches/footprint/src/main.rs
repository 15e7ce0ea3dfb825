//! `footprint`: how much memory the controller and a speaker take as Services are added, and how long it takes until
//! all have their addresses. Prints the tables of docs/performance.md; it is no test, for nobody knows what is too much.

mod bench;
mod load;
mod programs;
mod sizes;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use tests::namespaces;

use bench::FootprintBench;
use programs::{Program, Running};
use sizes::Size;

/// Measures the built programs against a real API server, on this machine, without root: build them
/// (`cargo build --profile dist -p controller -p speaker`), then
/// `export KUBEBUILDER_ASSETS=$(tests/kube-apiserver/install)`.
#[derive(Parser, Debug)]
#[command(name = "footprint", version)]
struct Args {
    /// Directory with the programs `controller` and `speaker`.
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    programs: PathBuf,
    /// How many endpoints each Service has, all on the node of the speaker.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    endpoints: usize,
    /// How long memory may settle before it is looked at, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    settle: u64,
    /// Numbers of Services to stop and look at, in ascending order; at most 60,000.
    #[arg(value_name = "SERVICES", default_values_t = [0, 100, 1_000])]
    services: Vec<usize>,
}

/// What is seen at one number of Services.
struct Row {
    services: usize,
    /// From the first Service's creation to the last one's.
    created: Duration,
    /// From the last Service's creation until all have addresses.
    assigned: Duration,
    /// From then until each has its `ServiceL2Status`.
    announced: Duration,
    /// Both programs, who have seen the Services come one by one.
    grown: [Size; 2],
    /// From the start of both programs until both are ready.
    started: Duration,
    /// Both programs, who have found all Services in their first list.
    fresh: [Size; 2],
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(exit) = namespaces::enter_or_leave("footprint") {
        return exit;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error there is nobody to tell.
            let _ = writeln!(io::stderr(), "footprint: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args.programs.canonicalize();
    let folder = folder.with_context(|| format!("no programs in {}", args.programs.display()))?;
    let Some(mut bench) = FootprintBench::start(args.endpoints)? else {
        anyhow::bail!("it needs the binaries of Kubernetes");
    };
    let start = |bench: &FootprintBench| -> anyhow::Result<[Running; 2]> {
        let start = |program| Running::start(bench, &folder, program);
        let mut both = [start(Program::Controller)?, start(Program::Speaker)?];
        both.iter_mut().try_for_each(|running| running.wait_until_ready())?;
        Ok(both)
    };
    let settle = || std::thread::sleep(Duration::from_secs(args.settle));
    let mut both = start(&bench)?;
    let mut rows: Vec<Row> = Vec::new();
    for &services in &args.services {
        let began = Instant::now();
        bench.create_services(services)?;
        let created = began.elapsed();
        bench.wait_for_addresses(services)?;
        let assigned = began.elapsed() - created;
        bench.wait_for_statuses(services)?;
        let announced = began.elapsed() - created - assigned;
        settle();
        let grown = both.each_ref().map(Running::size);
        let [controller, speaker] = both;
        controller.stop()?;
        speaker.stop()?;
        let began = Instant::now();
        both = start(&bench)?;
        let started = began.elapsed();
        settle();
        let fresh = both.each_ref().map(Running::size);
        let [grown_controller, grown_speaker] = grown;
        let [fresh_controller, fresh_speaker] = fresh;
        rows.push(Row {
            services,
            created,
            assigned,
            announced,
            grown: [grown_controller?, grown_speaker?],
            started,
            fresh: [fresh_controller?, fresh_speaker?],
        });
    }
    print(&rows)?;
    let [controller, speaker] = both;
    controller.stop()?;
    speaker.stop()
}

/// Tables in Markdown.
fn print(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "| Services | created in | all assigned after | all announced after | start with them |")?;
    writeln!(out, "| ---: | ---: | ---: | ---: | ---: |")?;
    for Row { services, created, assigned, announced, started, .. } in rows {
        let [created, assigned, announced, started] =
            [created, assigned, announced, started].map(Duration::as_secs_f64);
        writeln!(
            out,
            "| {services} | {created:.1} s | {assigned:.1} s | {announced:.1} s | {started:.1} s |"
        )?;
    }
    let header =
        "resident | heap | peak | threads | restarted: resident | heap | peak | heap for each Service |";
    for (index, name) in ["controller", "speaker"].into_iter().enumerate() {
        writeln!(out, "\n| {name}: Services | {header}")?;
        writeln!(out, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for (row, before) in rows.iter().zip(std::iter::once(None).chain(rows.iter().map(Some))) {
            let (grown, fresh) = (&row.grown[index], &row.fresh[index]);
            let slope = before.and_then(|before| {
                let more = row.services.checked_sub(before.services).filter(|more| *more > 0)?;
                let kib = grown.anonymous.cast_signed() - before.grown[index].anonymous.cast_signed();
                Some(format!("{} B", kib * 1_024 / more.cast_signed()))
            });
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.services,
                sizes::mebibytes(grown.resident),
                sizes::mebibytes(grown.anonymous),
                sizes::mebibytes(grown.peak),
                grown.threads,
                sizes::mebibytes(fresh.resident),
                sizes::mebibytes(fresh.anonymous),
                sizes::mebibytes(fresh.peak),
                slope.unwrap_or_default(),
            )?;
        }
    }
    Ok(())
}
