//! Many runs, summed up.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::json;

use super::{Format, SweepArgs, inputs, paint, run};
use crate::lab::clock::millis;
use crate::lab::run::catalogue;
use crate::lab::run::world::{Outcome, World};

/// Failing seeds that are shown in full; all are counted.
const SHOWN: usize = 20;

/// Runs one scenario with every seed. Returns whether every rule was kept.
pub(super) fn sweep(args: &SweepArgs) -> anyhow::Result<bool> {
    let scenario = args.what.scenario(catalogue::STANDARD)?;
    let manifests = inputs::manifests(args.what.manifests.as_deref())?;
    // What is wrong with scenario or manifests is said once, not by every seed.
    World::new(&scenario, &manifests, args.seeds.start, false)?;
    let bar = ProgressBar::new(args.seeds.end - args.seeds.start);
    let style = ProgressStyle::with_template("{msg} {wide_bar:.cyan/dim} {pos}/{len} seeds, {eta} left")?;
    bar.set_style(style);
    bar.set_message(scenario.name.clone());
    let began = Instant::now();
    let outcomes: Vec<anyhow::Result<Outcome>> = args
        .seeds
        .clone()
        .into_par_iter()
        .map(|seed| {
            let mut world = World::new(&scenario, &manifests, seed, false)?;
            world.run();
            bar.inc(1);
            Ok(world.outcome())
        })
        .collect();
    let took = began.elapsed();
    bar.finish_and_clear();
    let outcomes = outcomes.into_iter().collect::<anyhow::Result<Vec<Outcome>>>()?;
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).collect();
    let mut out = anstream::stdout().lock();
    if args.format == Format::Json {
        for outcome in &failed {
            writeln!(out, "{}", run::Summary::of(outcome).to_json()?)?;
        }
        writeln!(out, "{}", summary(&scenario.name, &outcomes, took))?;
    } else {
        text(&mut out, &scenario.name, &outcomes, took)?;
        let again = |seed| args.what.again(&scenario.name, seed);
        failures(&mut out, &again, &failed)?;
    }
    Ok(failed.is_empty())
}

fn text(out: &mut impl Write, name: &str, outcomes: &[Outcome], took: Duration) -> anyhow::Result<()> {
    let spread = Spread::of(outcomes);
    let virtual_minutes = outcomes.iter().map(|o| o.lasted.as_secs_f64()).sum::<f64>() / 60.0;
    let moves: u64 = outcomes.iter().map(|outcome| u64::from(outcome.moves)).sum();
    let lost: u64 = outcomes.iter().map(|outcome| u64::from(outcome.outage.lost)).sum();
    let asked: u64 = outcomes.iter().map(|outcome| u64::from(outcome.outage.asked)).sum();
    writeln!(out, "{}", paint::bold(&format!("{name}: {} seeds", outcomes.len())))?;
    writeln!(
        out,
        "  outage    p50 {} ms, p90 {} ms, p99 {} ms, max {} ms",
        spread.p50, spread.p90, spread.p99, spread.max
    )?;
    writeln!(out, "  answers   {lost} lost of {asked}")?;
    writeln!(out, "  moves     {moves} in {virtual_minutes:.0} virtual minutes")?;
    let cost = format!("  took      {:.1} s", took.as_secs_f64());
    writeln!(out, "{}", paint::faint(&cost))?;
    Ok(())
}

fn failures(out: &mut impl Write, again: &impl Fn(u64) -> String, failed: &[&Outcome]) -> anyhow::Result<()> {
    if failed.is_empty() {
        writeln!(out, "  {}", paint::good("every rule kept by every seed"))?;
        return Ok(());
    }
    writeln!(out, "  {}", paint::bad(&format!("{} seeds broke a rule", failed.len())))?;
    for outcome in failed.iter().take(SHOWN) {
        if let Some(violation) = outcome.violations.first() {
            writeln!(out, "    {violation}")?;
        }
        writeln!(out, "      {}", again(outcome.seed))?;
    }
    if failed.len() > SHOWN {
        let rest: Vec<String> = failed.iter().skip(SHOWN).map(|outcome| outcome.seed.to_string()).collect();
        writeln!(out, "    and the seeds {}", rest.join(" "))?;
    }
    Ok(())
}

fn summary(name: &str, outcomes: &[Outcome], took: Duration) -> serde_json::Value {
    let spread = Spread::of(outcomes);
    let failed: Vec<u64> = outcomes.iter().filter(|o| !o.violations.is_empty()).map(|o| o.seed).collect();
    json!({
        "scenario": name,
        "seeds": outcomes.len(),
        "outage_ms": {"p50": spread.p50, "p90": spread.p90, "p99": spread.p99, "max": spread.max},
        "answers_lost": outcomes.iter().map(|o| u64::from(o.outage.lost)).sum::<u64>(),
        "moves": outcomes.iter().map(|o| u64::from(o.moves)).sum::<u64>(),
        "virtual_minutes": outcomes.iter().map(|o| o.lasted.as_secs_f64()).sum::<f64>() / 60.0,
        "took_s": took.as_secs_f64(),
        "failed_seeds": failed,
    })
}

/// Where the outages of many runs lie, in milliseconds.
struct Spread {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(outcomes: &[Outcome]) -> Self {
        let mut outages: Vec<Duration> = outcomes.iter().map(|outcome| outcome.outage.duration).collect();
        outages.sort();
        // The nearest rank: the smallest value that at least so many percent do not exceed.
        let at = |percent: usize| {
            let rank = (outages.len() * percent).div_ceil(100).max(1);
            outages.get(rank - 1).copied().map(millis).unwrap_or_default()
        };
        Self { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}
