//! A bounded sweep: the numbers that the README promises hold for these seeds.
//!
//! `cargo run --release -p netsim -- sweep --seeds 0..1000` runs more of them.

use std::path::Path;
use std::time::Duration;

use netsim::lab::api::manifests::Manifests;
use netsim::lab::run::catalogue;
use netsim::lab::run::world::{Outcome, World};

/// Power loss of the owner, two nodes, 1 % loss on every cable.
const OUTAGE_P50: Duration = Duration::from_millis(1900);
const OUTAGE_P99: Duration = Duration::from_millis(2500);

fn sweep(name: &str, seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let scenario = catalogue::named(name).expect("a scenario of this name");
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/talos");
    let manifests = Manifests::read(&overlay).expect("our own overlay");
    let run = |seed| {
        let mut world = World::new(&scenario, &manifests, seed, false).expect("a valid scenario");
        world.run();
        world.outcome()
    };
    let outcomes: Vec<Outcome> = seeds.map(run).collect();
    for outcome in &outcomes {
        assert!(outcome.violations.is_empty(), "{name} --seed {}: {:?}", outcome.seed, outcome.violations);
    }
    outcomes
}

#[test]
fn l1_power_loss_is_over_in_time() {
    let mut outages: Vec<Duration> =
        sweep("failover", 1000..1100).iter().map(|outcome| outcome.outage.duration).collect();
    outages.sort();
    assert!(outages[49] <= OUTAGE_P50, "p50 is {:?}", outages[49]);
    assert!(outages[98] <= OUTAGE_P99, "p99 is {:?}", outages[98]);
    assert!(
        outages[0] >= Duration::from_secs(1),
        "{:?}: nobody detects a death that fast by SWIM",
        outages[0]
    );
}

#[test]
fn a_planned_leave_loses_no_answer() {
    for outcome in sweep("leave", 1000..1050) {
        assert_eq!((outcome.outage.lost, outcome.moves), (0, 1), "seed {}", outcome.seed);
        assert!(outcome.outage.asked > 200, "seed {}: the client asked", outcome.seed);
    }
}

#[test]
fn l7_no_false_takeover_at_five_percent_loss() {
    for outcome in sweep("quiet", 1000..1020) {
        assert_eq!(outcome.moves, 0, "seed {}", outcome.seed);
        assert!(outcome.lasted >= Duration::from_secs(70), "a whole minute");
    }
}
