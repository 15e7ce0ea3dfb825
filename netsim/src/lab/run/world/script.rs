//! Doing what the scenario says.

use ferrolb_api::Time;
use smoltcp::wire::EthernetAddress;

use super::trace::colons;
use super::{Event, World};
use crate::lab::api::objects::{Kind, Object};
use crate::lab::api::watch::Watch;
use crate::lab::clock;
use crate::lab::run::scenario::{Action, Cut, Target};
use crate::lab::run::timeline::{Message, Tone};
use crate::lab::stations::adversary::Adversary;
use crate::lab::stations::controller::ControllerProcess;
use crate::net::faults::Chance;

impl World {
    pub(super) fn perform_next(&mut self) {
        let Some((_, event)) = self.script.pop_first() else { return };
        self.checkers.cause(self.now);
        match event {
            Event::Boot(index) => {
                self.log_boot(index);
                self.power_on(index);
            }
            Event::StartController => self.start_controller(),
            Event::ApplyServices => self.apply_services(),
            Event::Step(action) => {
                self.first_fault.get_or_insert(self.now);
                self.trace_answers();
                self.perform(action);
            }
        }
    }

    fn log_boot(&mut self, index: usize) {
        let node = &self.nodes[index];
        let (name, address, mac) = (node.name().to_string(), node.address(), colons(node.mac()));
        self.log(&name, Tone::Plain, format!("boots: {address} at {mac}, speaker starts"));
    }

    pub(super) fn perform(&mut self, action: Action) {
        let target = action.target().cloned();
        match target {
            None => self.perform_on_cluster(action),
            Some(target) => {
                let Some(index) = self.resolve(&target) else {
                    self.log(
                        "scenario",
                        Tone::Faint,
                        format!("{action:?}: there is no such node now; skipped"),
                    );
                    return;
                };
                self.perform_on_node(&action, index);
            }
        }
    }

    fn resolve(&mut self, target: &Target) -> Option<usize> {
        match target {
            Target::Owner => {
                let owner = self.owner();
                self.former_owner = owner.or(self.former_owner);
                owner
            }
            Target::FormerOwner => self.former_owner,
            Target::Other => {
                let owner = self.owner();
                (0..self.nodes.len()).find(|index| Some(*index) != owner && self.is_in_core(*index))
            }
            Target::Node(name) => self.index_of(name),
        }
    }

    fn perform_on_node(&mut self, action: &Action, index: usize) {
        let (tone, what) = match action {
            Action::PowerOff(_) => (Tone::Bad, "loses power"),
            Action::PowerOn(_) => (Tone::Good, "has power again and boots"),
            Action::Crash(_) => (Tone::Bad, "its speaker is killed (SIGKILL)"),
            Action::Start(_) => (Tone::Good, "its speaker starts again"),
            Action::Stop(_) => (Tone::Bad, "its speaker gets SIGTERM"),
            Action::Freeze(_) => (Tone::Bad, "the whole machine stands still"),
            Action::Thaw(_) => (Tone::Good, "the machine goes on where it stopped"),
            Action::LinkDown(_) => (Tone::Bad, "its NIC loses carrier"),
            Action::LinkUp(_) => (Tone::Good, "its NIC has carrier again"),
            Action::CutCable(_, Cut::Both) => (Tone::Bad, "its cable is cut; nobody is told"),
            Action::CutCable(_, Cut::Outgoing) => (Tone::Bad, "is no longer heard; nobody is told"),
            Action::CutCable(_, Cut::Incoming) => (Tone::Bad, "no longer hears; nobody is told"),
            Action::MendCable(_) => (Tone::Good, "its cable is whole again"),
            Action::Isolate(_) => (Tone::Bad, "is cut off from all others: the switch breaks in two"),
            _ => return,
        };
        let name = self.nodes[index].name().to_string();
        self.log(&name, tone, what);
        let at = self.now;
        self.timeline.arrow(Message { at, from: name.clone(), to: Some(name), label: what.to_owned(), tone });
        self.change_node(action, index);
        self.collect_node(index);
    }

    fn change_node(&mut self, action: &Action, index: usize) {
        let (now, ports) = (self.now, self.node_ports[index].clone());
        // What is said of "its cable" is the first one.
        let port = ports[0];
        let name = self.nodes[index].name().clone();
        match action {
            Action::PowerOff(_) => {
                self.nodes[index].power_off(&mut self.api);
                self.checkers.restarted(&name);
                for port in ports {
                    self.switch.set_port_up(clock::instant(now), port, false);
                }
            }
            Action::PowerOn(_) => {
                for port in ports {
                    self.switch.set_port_up(clock::instant(now), port, true);
                }
                self.power_on(index);
            }
            Action::Crash(_) => {
                self.nodes[index].kill_speaker(&mut self.api);
                self.checkers.restarted(&name);
            }
            Action::Start(_) => self.nodes[index].start_speaker(now, &mut self.api),
            Action::Stop(_) => self.nodes[index].stop_speaker(now),
            Action::Freeze(_) => self.nodes[index].freeze(),
            Action::Thaw(_) => self.nodes[index].thaw(now, &self.api),
            Action::LinkDown(_) => {
                self.switch.set_port_up(clock::instant(now), port, false);
                self.nodes[index].set_carrier(now, 0, false);
            }
            Action::LinkUp(_) => {
                self.switch.set_port_up(clock::instant(now), port, true);
                self.nodes[index].set_carrier(now, 0, true);
            }
            Action::CutCable(_, cut) => {
                let wire = self.switch.wire_mut(port);
                wire.to_switch.cut |= matches!(cut, Cut::Outgoing | Cut::Both);
                wire.to_station.cut |= matches!(cut, Cut::Incoming | Cut::Both);
            }
            Action::MendCable(_) => self.switch.wire_mut(port).set_cut(false),
            Action::Isolate(_) => self.wired[port.index()].is_apart = true,
            _ => {}
        }
    }

    fn power_on(&mut self, index: usize) {
        self.nodes[index].power_on(self.now, &mut self.api);
        self.collect_node(index);
    }

    fn start_controller(&mut self) {
        let random = self.seed.stream(&format!("controller/{}", self.now));
        self.controller = Some(ControllerProcess::start(self.now, &mut self.api, random));
        self.log("controller", Tone::Plain, "starts");
    }

    fn perform_on_cluster(&mut self, action: Action) {
        match action {
            Action::Heal => {
                for wired in &mut self.wired {
                    wired.is_apart = false;
                }
                self.log("switch", Tone::Good, "is whole again");
            }
            Action::Loss(loss) => {
                for port in self.switch.ports() {
                    self.switch.wire_mut(port).set(|faults| faults.loss = Chance::ratio(loss, 10_000));
                }
                self.log(
                    "switch",
                    Tone::Bad,
                    format!("every cable loses {} % from now on", f64::from(loss) / 100.0),
                );
            }
            Action::CrashController => {
                if let Some(controller) = self.controller.take() {
                    self.api.close_watch(controller.watch());
                }
                self.log("controller", Tone::Bad, "is killed (SIGKILL)");
            }
            Action::StartController => self.start_controller(),
            Action::Apply(manifests) => {
                for manifest in manifests {
                    self.apply(manifest.object);
                }
            }
            Action::Delete(key) => {
                if !matches!(key.kind, Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::Pod) {
                    self.checkers.config_changed();
                }
                let existed = self.api.delete(self.now, &key);
                self.log(
                    "api",
                    Tone::Plain,
                    format!("{key} {}", if existed { "deleted" } else { "is not there" }),
                );
                self.store_changed();
            }
            Action::ReplayGossip | Action::WrongKey | Action::Garbage(_) => self.let_adversary_act(&action),
            Action::Wait => {}
            other => self.disturb_api(other),
        }
    }

    fn disturb_api(&mut self, action: Action) {
        let now = self.now;
        let (client, what) = match &action {
            Action::ApiGone => (String::new(), "the API server is gone for everybody".to_owned()),
            Action::ApiBack => (String::new(), "the API server is back; everybody lists again".to_owned()),
            Action::CutWatch(client) => (client.clone(), "watches break".to_owned()),
            Action::StaleList(client, by) => {
                (client.clone(), format!("watches break, and the next lists are {by} revisions old"))
            }
            Action::ReplayWatch(client) => (client.clone(), "the last watch events come again".to_owned()),
            Action::DelayDeletes(client, by) => {
                (client.clone(), format!("deletions come {} ms late", by.as_millis()))
            }
            Action::LoseAnswers(count) => {
                (String::new(), format!("the next {count} writes are committed, but not answered"))
            }
            _ => return,
        };
        match action {
            Action::ApiGone => {
                self.api.set_reachable(now, false);
                self.checkers.unreachable(Time::from_micros(u64::MAX));
            }
            Action::ApiBack => {
                self.api.set_reachable(now, true);
                self.checkers.unreachable(now);
            }
            Action::CutWatch(_) => self.api.disturb(&client, |watch| watch.cut(now)),
            Action::StaleList(_, by) => self.api.disturb(&client, |watch| {
                watch.list_stale(by);
                watch.cut(now);
            }),
            Action::ReplayWatch(_) => self.api.disturb(&client, |watch: &mut Watch| watch.replay(now)),
            Action::DelayDeletes(_, by) => self.api.disturb(&client, |watch| watch.delay_deletes(by)),
            Action::LoseAnswers(count) => self.api.lose_answers(count),
            _ => {}
        }
        let tone = if matches!(action, Action::ApiBack) { Tone::Good } else { Tone::Bad };
        let whose = if client.is_empty() { String::new() } else { format!(" ({client})") };
        self.log("api", tone, format!("{what}{whose}"));
    }

    fn let_adversary_act(&mut self, action: &Action) {
        match action {
            Action::ReplayGossip => {
                self.adversary.replay(&self.recorded_gossip);
                let count = self.recorded_gossip.len();
                self.log(Adversary::NAME, Tone::Bad, format!("sends {count} recorded gossip packets again"));
            }
            Action::Garbage(count) => {
                let victims: Vec<EthernetAddress> = self.nodes.iter().map(|node| node.mac()).collect();
                let gossip: Vec<Vec<u8>> = self.recorded_gossip.iter().cloned().collect();
                self.adversary.send_garbage(*count, &victims, &gossip);
                self.log(Adversary::NAME, Tone::Bad, format!("sends {count} frames of garbage"));
            }
            _ => {
                let store = self.api.store();
                let mut view = crate::lab::api::view::View::default();
                let pods = store.list(Kind::Pod, store.revision());
                let pods: Vec<(_, Object)> = pods.map(|(key, pod)| (key.clone(), pod.clone())).collect();
                view.replace(Kind::Pod, pods);
                self.adversary.intrude(self.now, &mut self.api, view.peers());
                self.log(
                    Adversary::NAME,
                    Tone::Bad,
                    "starts a speaker with another key, and knows the peers",
                );
            }
        }
        self.collect_adversary();
    }
}
