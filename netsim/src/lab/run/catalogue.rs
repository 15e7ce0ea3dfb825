//! The named scenarios.

use std::time::Duration;

use crate::lab::api::manifests::{ManifestError, Manifests};
use crate::lab::api::objects::{Key, Kind};
use crate::lab::run::scenario::{Action, Cut, Expect, Link, Scenario, Target};
use crate::lab::stations::client::ClientKind;

/// The standard scenario, and the one that a sweep runs if none is named.
pub const STANDARD: &str = "failover";

/// What `netsim` shows if it is not told what to do.
pub const DEMONSTRATION: &str = "demo";

/// L1 with membership by SWIM alone (profile T2+): detection p99 1.8 s, one
/// lost probe round, one lost announcement wave.
const FAILOVER: Duration = Duration::from_millis(3500);

/// Good and bad objects beside each other, for `bad-config`.
const BAD_OBJECTS: &str = include_str!("../../../scenarios/bad-objects.yaml");

/// Every named scenario.
///
/// # Panics
/// If the objects built into the program are not YAML; a test reads them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    vec![
        demonstration(),
        failover(),
        leave(),
        port_cut(),
        crash_restart(),
        freeze(),
        partition_heal(),
        quiet(),
        api_gone(),
        watch_trouble(),
        controller_restart(),
        bad_config(),
        strangers(),
        mixed_clients(),
        three_nodes(),
    ]
}

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

fn moved_once(outage_at_most: Duration) -> Expect {
    Expect {
        outage_at_most: Some(outage_at_most),
        moves_at_least: Some(1),
        moves_at_most: Some(1),
        lost_at_most: None,
    }
}

fn demonstration() -> Scenario {
    let mut scenario = Scenario::new(
        DEMONSTRATION,
        "the owner loses power on a quiet LAN, and comes back; what is shown without arguments",
    )
    .step(4000, 900, Action::PowerOff(Target::Owner))
    .step(9000, 900, Action::PowerOn(Target::FormerOwner));
    scenario.settle = Duration::from_secs(4);
    scenario.expect = Expect { moves_at_least: Some(1), outage_at_most: Some(FAILOVER), ..Expect::default() };
    scenario
}

fn failover() -> Scenario {
    let mut scenario = Scenario::new(
        "failover",
        "the owner loses power at a random moment; 1 % loss on every cable",
    )
    .step(4000, 1000, Action::PowerOff(Target::Owner));
    scenario.link = Link::with_loss(1);
    scenario.settle = Duration::from_secs(5);
    scenario.expect = moved_once(FAILOVER);
    scenario
}

fn leave() -> Scenario {
    let mut scenario = Scenario::new("leave", "the owner's speaker gets SIGTERM; no answer may be lost")
        .step(4000, 1000, Action::Stop(Target::Owner));
    scenario.settle = Duration::from_secs(3);
    scenario.expect = Expect { lost_at_most: Some(0), ..moved_once(Duration::ZERO) };
    scenario
}

fn port_cut() -> Scenario {
    let mut scenario = Scenario::new(
        "port-cut",
        "the owner's cable is cut in both ways and nobody is told; later it is mended",
    )
    .step(4000, 1000, Action::CutCable(Target::Owner, Cut::Both))
    .step(9000, 500, Action::MendCable(Target::FormerOwner));
    scenario.settle = Duration::from_secs(5);
    scenario.expect = Expect { outage_at_most: Some(FAILOVER), ..Expect::default() };
    scenario
}

fn crash_restart() -> Scenario {
    let mut scenario = Scenario::new(
        "crash-restart",
        "the owner's speaker is killed and comes back after two seconds, then again after ten",
    )
    .step(4000, 500, Action::Crash(Target::Owner))
    .step(6000, 500, Action::Start(Target::FormerOwner))
    .step(11_000, 500, Action::Crash(Target::Owner))
    .step(21_000, 500, Action::Start(Target::FormerOwner));
    scenario.settle = Duration::from_secs(5);
    scenario.expect = Expect { outage_at_most: Some(FAILOVER), ..Expect::default() };
    scenario
}

fn freeze() -> Scenario {
    let mut scenario = Scenario::new(
        "freeze",
        "the owner's machine stands still for some seconds and wakes up believing that it owns",
    )
    .step(4000, 1000, Action::Freeze(Target::Owner))
    .step(9000, 500, Action::Thaw(Target::FormerOwner));
    scenario.settle = Duration::from_secs(5);
    scenario.expect = Expect { outage_at_most: Some(FAILOVER), ..Expect::default() };
    scenario
}

fn partition_heal() -> Scenario {
    let mut scenario = Scenario::new(
        "partition-heal",
        "the switch breaks in two, each side elects an owner; then it is whole again and one stays",
    )
    .step(4000, 1000, Action::Isolate(Target::Owner))
    .step(10_000, 1000, Action::Heal);
    scenario.settle = Duration::from_secs(5);
    scenario.expect = Expect { outage_at_most: Some(FAILOVER), ..Expect::default() };
    scenario
}

fn quiet() -> Scenario {
    let mut scenario =
        Scenario::new("quiet", "one minute without any fault but 5 % loss; no address may move")
            .step(11_000, 0, Action::Wait)
            .step(71_000, 0, Action::Wait);
    scenario.link = Link::with_loss(5);
    // At this loss a kernel may need several seconds for its first ARP, and a
    // node that boots unheard believes that it is alone. That is over by now.
    scenario.services_at = Duration::from_secs(10);
    scenario.ask_every = Duration::from_millis(500);
    scenario.fetch_every = Duration::ZERO;
    scenario.settle = Duration::from_secs(1);
    scenario.expect = Expect { moves_at_most: Some(0), ..Expect::default() };
    scenario
}

fn api_gone() -> Scenario {
    let mut scenario = Scenario::new(
        "api-gone",
        "the API server is gone for half a minute; the owner loses power meanwhile",
    )
    .step(3000, 500, Action::ApiGone)
    .step(6000, 1000, Action::PowerOff(Target::Owner))
    .step(33_000, 1000, Action::ApiBack);
    scenario.ask_every = Duration::from_millis(20);
    scenario.settle = Duration::from_secs(5);
    scenario.expect = moved_once(FAILOVER);
    scenario
}

fn watch_trouble() -> Scenario {
    // kube-proxy has watches of its own; they are not under test.
    let (controller, speaker) = (|| "controller".to_owned(), || "speaker".to_owned());
    let second = Service::second().expect("the built-in Service is YAML");
    let mut scenario = Scenario::new(
        "watch-trouble",
        "watches break, lists are stale, events come twice, deletions late, answers to writes get lost",
    )
    .step(2500, 500, Action::LoseAnswers(3))
    .step(3500, 100, Action::Apply(second.objects.clone()))
    .step(4500, 500, Action::ReplayWatch(speaker()))
    .step(4700, 500, Action::ReplayWatch(controller()))
    .step(5500, 500, Action::StaleList(speaker(), 4))
    .step(5700, 500, Action::StaleList(controller(), 4))
    .step(8500, 100, Action::DelayDeletes(speaker(), Duration::from_secs(2)))
    .step(9000, 100, Action::Delete(Service::second_key()))
    .step(11_500, 500, Action::CutWatch(String::new()))
    .step(13_500, 100, Action::Apply(second.objects))
    .step(14_500, 100, Action::CutWatch(controller()));
    scenario.expect = Expect { lost_at_most: Some(0), moves_at_most: Some(0), ..Expect::default() };
    scenario
}

fn controller_restart() -> Scenario {
    let second = Service::second().expect("the built-in Service is YAML");
    let mut scenario = Scenario::new(
        "controller-restart",
        "the controller is killed and started again; every address stays, and new Services wait for it",
    )
    .step(3000, 500, Action::CrashController)
    .step(4000, 100, Action::Apply(second.objects))
    .step(6000, 500, Action::StartController);
    scenario.expect = Expect { lost_at_most: Some(0), moves_at_most: Some(0), ..Expect::default() };
    scenario
}

fn bad_config() -> Scenario {
    let bad = Manifests::parse("bad-objects.yaml".as_ref(), BAD_OBJECTS);
    let bad = bad.expect("the built-in objects are YAML").objects;
    let mut scenario = Scenario::new(
        "bad-config",
        "bad pools and Services are applied beside the good ones, which must go on undisturbed",
    )
    .step(3000, 500, Action::Apply(bad));
    scenario.expect = Expect { lost_at_most: Some(0), moves_at_most: Some(0), ..Expect::default() };
    scenario
}

fn strangers() -> Scenario {
    let mut scenario = Scenario::new(
        "strangers",
        "a stranger replays gossip, gossips with another key and sends garbage; nobody is moved by it",
    )
    .step(3000, 500, Action::WrongKey)
    .step(5000, 500, Action::ReplayGossip)
    .step(7000, 500, Action::Garbage(500))
    .step(8000, 500, Action::ReplayGossip);
    scenario.expect = Expect { lost_at_most: Some(0), moves_at_most: Some(0), ..Expect::default() };
    scenario
}

fn mixed_clients() -> Scenario {
    let mut scenario = Scenario::new(
        "mixed-clients",
        "power loss seen by five neighbour tables: two Linuxes, two routers and smoltcp",
    )
    .step(4000, 1000, Action::PowerOff(Target::Owner));
    scenario.clients = ClientKind::ALL.to_vec();
    scenario.ask_every = Duration::from_millis(20);
    scenario.settle = Duration::from_secs(6);
    scenario.expect = moved_once(FAILOVER);
    scenario
}

fn three_nodes() -> Scenario {
    let mut scenario = Scenario::new(
        "three-nodes",
        "three nodes lose their owners one after the other, and the first comes back",
    )
    .step(4000, 500, Action::PowerOff(Target::Owner))
    .step(9000, 500, Action::PowerOff(Target::Owner))
    .step(14_000, 500, Action::PowerOn(Target::FormerOwner));
    scenario.nodes = 3;
    scenario.link = Link::with_loss(1);
    scenario.settle = Duration::from_secs(6);
    scenario.expect = Expect { outage_at_most: Some(FAILOVER), ..Expect::default() };
    scenario
}

/// The Services that the program brings along.
#[derive(Debug)]
pub struct Service;

impl Service {
    /// The one that is used where the manifests hold none: nginx on port 80.
    ///
    /// # Errors
    /// Never, as long as the built-in text is YAML.
    pub fn nginx() -> Result<Manifests, ManifestError> {
        Manifests::parse("nginx.yaml".as_ref(), include_str!("../../../scenarios/nginx.yaml"))
    }

    fn second() -> Result<Manifests, ManifestError> {
        Manifests::parse("second.yaml".as_ref(), include_str!("../../../scenarios/second.yaml"))
    }

    fn second_key() -> Key {
        Key { kind: Kind::Service, namespace: "default".to_owned(), name: "second".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_valid_described_and_named_once() {
        let scenarios = all();
        for scenario in &scenarios {
            scenario.validate().expect(&scenario.name);
            assert!(
                !scenario.description.is_empty() && scenario.description.len() <= 100,
                "{}",
                scenario.name
            );
            assert_eq!(scenarios.iter().filter(|other| other.name == scenario.name).count(), 1);
        }
        assert!(named(STANDARD).is_some());
        assert!(named("no-such-thing").is_none());
    }

    #[test]
    fn the_built_in_objects_are_what_they_should_be() {
        let nginx = Service::nginx().expect("it is YAML");
        assert_eq!(nginx.of_kind(Kind::Service).count(), 1);
        let second = Service::second().expect("it is YAML");
        assert_eq!(second.objects[0].object.key(), Service::second_key());
    }
}
