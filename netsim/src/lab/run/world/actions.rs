//! The table of everything that can be done to a world: its word in scenario files, its arguments, what the timeline says,
//! and what happens. One more fault is one more row. X numbers are the faults of docs/rules.md.

use std::sync::LazyLock;

use ferrolb_api::Time;

use super::World;
use crate::lab::clock;
use crate::lab::run::action::{Args, Cut};
use crate::lab::run::timeline::Tone;
use crate::lab::stations::adversary::Adversary;
use crate::net::faults::Chance;

/// An argument, by its key in scenario files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab::run) enum Arg {
    Node,
    Way,
    Loss,
    Client,
    Revisions,
    By,
    Count,
    File,
    Object,
}

/// One thing that can be done.
#[derive(Debug)]
pub(in crate::lab::run) struct Row {
    /// What scenario files call it.
    pub(in crate::lab::run) word: &'static str,
    /// The arguments that a step must give.
    pub(in crate::lab::run) needs: &'static [Arg],
    /// The argument that it may give.
    pub(in crate::lab::run) may_have: Option<Arg>,
    /// Who says it on the timeline; a node says for itself what is done to it.
    pub(super) who: &'static str,
    pub(super) tone: Tone,
    /// What is said: `{loss}`, `{by}`, `{count}`, `{revisions}`, `{recorded}` and `{way}` stand for numbers and words;
    /// nothing where doing it says it.
    pub(super) says: &'static str,
    pub(super) does: Does,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    /// To one node.
    Node(fn(&mut World, usize, &Args)),
    /// To something else.
    World(fn(&mut World, &Args)),
}

impl Arg {
    /// The key.
    pub(in crate::lab::run) const fn key(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Way => "way",
            Self::Loss => "loss",
            Self::Client => "client",
            Self::Revisions => "revisions",
            Self::By => "by",
            Self::Count => "count",
            Self::File => "file",
            Self::Object => "object",
        }
    }
}

/// The table.
pub(in crate::lab::run) static ACTIONS: LazyLock<Vec<Row>> =
    LazyLock::new(|| [node_rows(), lan_rows(), api_rows(), process_rows()].into_iter().flatten().collect());

/// The row of this word.
pub(in crate::lab::run) fn row(word: &str) -> Option<&'static Row> {
    ACTIONS.iter().find(|row| row.word == word)
}

/// Nodes and their cables.
fn node_rows() -> Vec<Row> {
    use Tone::{Bad, Good};
    let row = |word, tone, says, does| Row::new(word, &[Arg::Node], "", tone, says, Does::Node(does));
    vec![
        // X2
        row("power-off", Bad, "loses power", World::power_off),
        row("power-on", Good, "has power again and boots", World::power_on),
        // X1
        row("crash", Bad, "its speaker is killed (SIGKILL)", World::crash),
        row("start", Good, "its speaker starts again", |world, node, _| {
            world.stations.nodes[node].start_speaker(world.now, &mut world.api);
        }),
        row("stop", Bad, "its speaker gets SIGTERM", |world, node, _| {
            world.stations.nodes[node].stop_speaker(world.now)
        }),
        // X3: its clocks go on.
        row("freeze", Bad, "the whole machine stands still", |world, node, _| {
            world.stations.nodes[node].freeze()
        }),
        row("thaw", Good, "the machine goes on where it stopped", |world, node, _| {
            world.stations.nodes[node].thaw(world.now, &world.api);
        }),
        // X6
        row("link-down", Bad, "its NIC loses carrier", |world, node, _| world.set_carrier(node, 0, false)),
        row("link-up", Good, "its NIC has carrier again", |world, node, _| world.set_carrier(node, 0, true)),
        // X9
        row("cut-cable", Bad, "{way}; nobody is told", |world, node, args| {
            let wire = world.network.switch.wire_mut(world.network.nodes[node][0]);
            wire.to_switch.cut |= args.way != Cut::Incoming;
            wire.to_station.cut |= args.way != Cut::Outgoing;
        })
        .may_have(Arg::Way),
        row("mend-cable", Good, "its cable is whole again", |world, node, _| {
            world.network.switch.wire_mut(world.network.nodes[node][0]).set_cut(false);
        }),
        // X10
        row("isolate", Bad, "is cut off from all others: the switch breaks in two", |world, node, _| {
            world.network.isolate(node)
        }),
    ]
}

/// The switch, all cables, and a stranger at one of them.
fn lan_rows() -> Vec<Row> {
    use Tone::{Bad, Good, Plain};
    let row = |word, needs, who, tone, says, does| Row::new(word, needs, who, tone, says, Does::World(does));
    vec![
        row("heal", &[], "switch", Good, "is whole again", |world, _| {
            world.network.heal();
        }),
        // X8
        row("loss", &[Arg::Loss], "switch", Bad, "every cable loses {loss} % from now on", |world, args| {
            for port in world.network.switch.ports() {
                world
                    .network
                    .switch
                    .wire_mut(port)
                    .set(|faults| faults.loss = Chance::ratio(args.loss, 10_000));
            }
        }),
        // X32
        row(
            "replay-gossip",
            &[],
            Adversary::NAME,
            Bad,
            "sends {recorded} recorded gossip packets again",
            |world, _| {
                world.stations.adversary.replay(&world.record.gossip);
                world.collect_adversary();
            },
        ),
        row(
            "wrong-key",
            &[],
            Adversary::NAME,
            Bad,
            "starts a speaker with another key, and knows the peers",
            |world, _| world.intrude(),
        ),
        // X16
        row(
            "garbage",
            &[Arg::Count],
            Adversary::NAME,
            Bad,
            "sends {count} frames of garbage",
            |world, args| {
                world.send_garbage(args.count);
            },
        ),
        row("wait", &[], "", Plain, "", |_, _| {}),
    ]
}

/// The API server and its clients.
fn api_rows() -> Vec<Row> {
    use Tone::{Bad, Good, Plain};
    let row = |word, needs, tone, says, does| Row::new(word, needs, "api", tone, says, Does::World(does));
    let client = Arg::Client;
    vec![
        // X20
        row("api-gone", &[], Bad, "the API server is gone for everybody", |world, _| {
            world.api.set_reachable(world.now, false);
            world.checkers.unreachable(Time::from_micros(u64::MAX));
        }),
        row("api-back", &[], Good, "the API server is back; everybody lists again", |world, _| {
            world.api.set_reachable(world.now, true);
            world.checkers.unreachable(world.now);
        }),
        // X21
        row("cut-watch", &[], Bad, "watches break", |world, args| {
            world.api.disturb(&args.client, |watch| watch.cut(world.now));
        })
        .may_have(client),
        // X24
        row(
            "stale-list",
            &[Arg::Revisions],
            Bad,
            "watches break, and the next lists are {revisions} revisions old",
            |world, args| {
                world.api.disturb(&args.client, |watch| {
                    watch.list_stale(args.revisions);
                    watch.cut(world.now);
                });
            },
        )
        .may_have(client),
        row("replay-watch", &[], Bad, "the last watch events come again", |world, args| {
            world.api.disturb(&args.client, |watch| watch.replay(world.now));
        })
        .may_have(client),
        // X21
        row("delay-deletes", &[Arg::By], Bad, "deletions come {by} ms late", |world, args| {
            world.api.disturb(&args.client, |watch| watch.delay_deletes(args.by));
        })
        .may_have(client),
        // X23
        row(
            "lose-answers",
            &[Arg::Count],
            Bad,
            "the next {count} writes are committed, but not answered",
            |world, args| world.api.lose_answers(args.count),
        ),
        row("apply", &[Arg::File], Plain, "", |world, args| {
            for manifest in &args.manifests {
                world.apply(manifest.object.clone());
            }
        }),
        row("delete", &[Arg::Object], Plain, "", |world, args| {
            args.object.iter().for_each(|key| world.delete_object(key));
        }),
    ]
}

/// The controller's process.
fn process_rows() -> Vec<Row> {
    let row = |word, tone, says, does| Row::new(word, &[], "controller", tone, says, Does::World(does));
    vec![
        // X26
        row("crash-controller", Tone::Bad, "is killed (SIGKILL)", |world, _| {
            if let Some(controller) = world.stations.controller.take() {
                world.api.close_watch(controller.watch());
            }
        }),
        row("start-controller", Tone::Plain, "", |world, _| world.start_controller()),
    ]
}

impl Row {
    const fn new(
        word: &'static str,
        needs: &'static [Arg],
        who: &'static str,
        tone: Tone,
        says: &'static str,
        does: Does,
    ) -> Self {
        Self { word, needs, may_have: None, who, tone, says, does }
    }

    const fn may_have(mut self, arg: Arg) -> Self {
        self.may_have = Some(arg);
        self
    }

    /// What the timeline says of it.
    pub(super) fn sentence(&self, args: &Args, recorded: usize) -> String {
        let way = match args.way {
            Cut::Both => "its cable is cut",
            Cut::Outgoing => "is no longer heard",
            Cut::Incoming => "no longer hears",
        };
        let whose = if args.client.is_empty() { String::new() } else { format!(" ({})", args.client) };
        let text = [
            ("{way}", way.to_owned()),
            ("{loss}", (f64::from(args.loss) / 100.0).to_string()),
            ("{by}", args.by.as_millis().to_string()),
            ("{count}", args.count.to_string()),
            ("{revisions}", args.revisions.to_string()),
            ("{recorded}", recorded.to_string()),
        ]
        .iter()
        .fold(self.says.to_owned(), |text, (place, value)| text.replace(place, value));
        text + &whose
    }
}

impl World {
    fn power_off(&mut self, node: usize, _: &Args) {
        self.crash(node, &Args::default());
        self.stations.nodes[node].power_off(&mut self.api);
        self.set_ports_up(node, false);
    }

    fn power_on(&mut self, node: usize, _: &Args) {
        self.set_ports_up(node, true);
        self.boot(node);
    }

    fn crash(&mut self, node: usize, _: &Args) {
        self.stations.nodes[node].kill_speaker(&mut self.api);
        let name = self.stations.nodes[node].name().clone();
        self.checkers.restarted(&name);
    }

    fn set_ports_up(&mut self, node: usize, is_up: bool) {
        for port in &self.network.nodes[node] {
            self.network.switch.set_port_up(clock::instant(self.now), *port, is_up);
        }
    }
}
