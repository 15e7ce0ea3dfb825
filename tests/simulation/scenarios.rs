//! The named scenarios, and proof that their checkers can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netsim::lab::api::manifests::Manifests;
use netsim::lab::run::catalogue;
use netsim::lab::run::scenario::{Expect, Scenario};
use netsim::lab::run::scenario_file;
use netsim::lab::run::world::{Outcome, World};

/// Seeds that every scenario is run with; the sweep has more.
const SEEDS: std::ops::Range<u64> = 1..5;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the demonstration applies.
fn manifests() -> Manifests {
    let mut manifests =
        Manifests::read(&workspace().join("manifests/overlays/talos")).expect("our own overlay");
    let nginx = Manifests::read(&workspace().join("manifests/examples/nginx.yaml")).expect("our own example");
    manifests.objects.extend(nginx.objects);
    manifests
}

fn world(scenario: &Scenario, seed: u64) -> World {
    World::new(scenario, &manifests(), seed, true).expect("a valid scenario")
}

fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let mut world = world(scenario, seed);
    world.run();
    world.outcome()
}

fn named(name: &str) -> Scenario {
    catalogue::named(name).expect("a scenario of this name")
}

fn shown(outcome: &Outcome) -> Vec<String> {
    outcome.violations.iter().map(ToString::to_string).collect()
}

#[test]
fn every_named_scenario_keeps_every_rule() {
    let mut problems = Vec::new();
    for scenario in catalogue::all() {
        for seed in SEEDS {
            let outcome = run(&scenario, seed);
            problems.extend(
                shown(&outcome).iter().map(|what| format!("{} --seed {seed}: {what}", scenario.name)),
            );
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for name in ["failover", "strangers", "watch-trouble"] {
        let scenario = named(name);
        let [mut one, mut other] = [7, 7].map(|seed| world(&scenario, seed));
        one.run();
        other.run();
        assert_eq!(one.timeline().to_text(), other.timeline().to_text(), "{name}");
        let (first, second) = (one.outcome(), other.outcome());
        assert_eq!(first.fingerprint, second.fingerprint, "{name}");
        let pages = [(&one, &first), (&other, &second)]
            .map(|(world, outcome)| netsim::report::page(&scenario, world, outcome));
        assert_eq!(pages[0], pages[1], "{name}");
        assert_ne!(first.fingerprint, run(&scenario, 8).fingerprint, "{name}: another seed is another run");
    }
}

#[test]
fn recording_changes_nothing() {
    let scenario = named("failover");
    let mut silent = World::new(&scenario, &manifests(), 3, false).expect("a valid scenario");
    silent.run();
    assert_eq!(silent.outcome().fingerprint, run(&scenario, 3).fingerprint);
    assert!(silent.timeline().entries().is_empty());
}

#[test]
fn the_demonstration_reads_like_this() {
    let mut world = world(&named(catalogue::DEMONSTRATION), 1);
    world.run();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("netsim-demonstration", world.timeline().to_text()));
}

#[test]
fn the_example_file_keeps_every_rule() {
    let scenario = scenario_file::read(&workspace().join("netsim/scenarios/example.yaml"))
        .expect("the example is valid");
    for seed in SEEDS {
        let outcome = run(&scenario, seed);
        assert_eq!(shown(&outcome), [""; 0], "seed {seed}");
    }
}

#[test]
fn bad_config_leaves_the_good_alone() {
    let mut world = world(&named("bad-config"), 1);
    world.run();
    let text = world.timeline().to_text();
    for bad in ["not-an-address", "reversed", "zz-overlapping", "empty", "bad-selector"] {
        assert!(text.contains(&format!("{bad} left out: ")), "{bad} is not named:\n{text}");
    }
    for pending in ["outside", "the-router", "taken", "no-such-pool", "garbage", "headless"] {
        assert!(
            text.contains(&format!("default/{pending} gets no address: ")),
            "{pending} is not named:\n{text}"
        );
    }
    assert_eq!(world.assigned().len(), 1, "nginx keeps its address, and nobody else has one");
}

/// Puts other bytes at an offset of every frame that the speaker sends.
fn overwrite(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    frame
}

/// Offsets in an ARP frame.
const OPERATION: usize = 20;
const SENDER_MAC: usize = 22;
const SENDER: usize = 28;

#[test]
fn a_broken_speaker_is_caught() {
    type Mutator = fn(Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Mutator, &str); 4] = [
        ("an address that nobody assigned", |f| overwrite(f, SENDER, &[172, 16, 16, 103]), "S4"),
        ("the router's address", |f| overwrite(f, SENDER, &[172, 16, 16, 1]), "S5"),
        ("somebody else's MAC", |f| overwrite(f, SENDER_MAC, &[2, 0, 172, 16, 16, 50]), "S6"),
        ("an operation that does not exist", |f| overwrite(f, OPERATION, &[0, 9]), "S5"),
    ];
    for (what, mutator, rule) in cases {
        let mut world = world(&named("failover"), 1);
        for index in 0..2 {
            world.node_mut(index).expect("two nodes").mutate_frames(mutator);
        }
        world.run();
        let outcome = world.outcome();
        let found: Vec<&str> = outcome.violations.iter().map(|violation| violation.rule).collect();
        assert!(found.contains(&rule), "{what}: {found:?}");
    }
}

#[test]
fn a_speaker_whose_announcements_get_lost_is_caught() {
    // Ethernet source and destination the same: the switch drops it.
    let to_itself = |frame: Vec<u8>| {
        let source = frame.get(6..12).map(<[u8]>::to_vec).unwrap_or_default();
        overwrite(frame, 0, &source)
    };
    let mut world = world(&named("failover"), 1);
    for index in 0..2 {
        world.node_mut(index).expect("two nodes").mutate_frames(to_itself);
    }
    world.run();
    let outcome = world.outcome();
    assert!(outcome.violations.iter().any(|violation| violation.rule == "L2"), "{:?}", shown(&outcome));
}

#[test]
fn a_demand_that_is_not_met_is_named() {
    let never = Expect { outage_at_most: Some(Duration::from_millis(1)), ..Expect::default() };
    let none_lost = Expect { lost_at_most: Some(0), ..Expect::default() };
    let stays = Expect { moves_at_most: Some(0), ..Expect::default() };
    let moves_often = Expect { moves_at_least: Some(9), ..Expect::default() };
    for (expect, rule) in [(never, "L1"), (none_lost, "L1"), (stays, "L7"), (moves_often, "L1")] {
        let outcome = run(&Scenario { expect, ..named("failover") }, 1);
        let found: Vec<&str> = outcome.violations.iter().map(|violation| violation.rule).collect();
        assert_eq!(found, [rule], "{expect:?}");
    }
}

#[test]
fn bad_manifests_are_named_with_file_and_line() {
    let dir = std::env::temp_dir().join(format!("netsim-manifests-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory for the test");
    let good = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p}\nspec: {addresses: [10.0.0.0/24]}\n";
    for (text, expected) in [
        ("spec: [\n".to_owned(), "bad.yaml:"),
        (
            format!("{good}---\napiVersion: v1\nkind: Servce\nmetadata: {{name: x}}\n"),
            "bad.yaml:6: unknown kind \"Servce\"",
        ),
        (format!("{good}---\nname: x\n"), "bad.yaml:6: not a Kubernetes object: it has no kind"),
    ] {
        fs::write(dir.join("bad.yaml"), &text).expect("the directory is ours");
        let error = Manifests::read(&dir).expect_err("it is bad").to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(dir.join("kustomization.yaml"), "resources: [bad.yaml, missing.yaml]\n").expect("it is ours");
    fs::write(dir.join("bad.yaml"), good).expect("it is ours");
    let error = Manifests::read(&dir).expect_err("a resource is missing").to_string();
    assert!(error.contains("cannot read") && error.contains("missing.yaml"), "{error}");
    fs::write(dir.join("kustomization.yaml"), "resources: [.]\n").expect("it is ours");
    let error = Manifests::read(&dir).expect_err("it includes itself").to_string();
    assert!(error.contains("include each other"), "{error}");
    fs::remove_dir_all(&dir).expect("it is ours");
}

#[test]
fn manifests_without_a_pool_are_refused() {
    let error =
        World::new(&named("failover"), &Manifests::default(), 1, false).expect_err("there is no pool");
    assert_eq!(error.to_string(), "the manifests hold no IPAddressPool in the namespace metallb-system");
}
