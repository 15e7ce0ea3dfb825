//! Doing what the scenario says.

use smoltcp::wire::EthernetAddress;

use super::actions::{self, Does, Row};
use super::trace::colons;
use super::{Event, World};
use crate::lab::api::objects::{Key, Kind, Object};
use crate::lab::api::view::WatchCache;
use crate::lab::clock;
use crate::lab::run::action::{Action, Target};
use crate::lab::run::timeline::{Message, Tone};
use crate::lab::stations::controller::ControllerProcess;

impl World {
    pub(super) fn perform_next(&mut self) {
        let Some((_, event)) = self.script.pop_first() else { return };
        self.checkers.cause(self.now);
        match event {
            Event::Boot(index) => {
                self.log_boot(index);
                self.boot(index);
            }
            Event::StartController => self.start_controller(),
            Event::ApplyServices => self.apply_services(),
            Event::Step(action) => {
                self.measured.first_fault.get_or_insert(self.now);
                self.trace_answers();
                self.perform(&action);
            }
        }
    }

    fn log_boot(&mut self, index: usize) {
        let node = &self.stations.nodes[index];
        let (name, address, mac) = (node.name().to_string(), node.address(), colons(node.mac()));
        self.log(&name, Tone::Plain, format!("boots: {address} at {mac}, speaker starts"));
    }

    pub(super) fn perform(&mut self, action: &Action) {
        let (word, args) = (action.word, &action.args);
        let Some(row) = actions::row(word) else {
            self.checkers.report("scenario", self.now, format!("there is no action {word:?}"));
            return;
        };
        match row.does {
            Does::Node(does) => match args.node.as_ref().and_then(|target| self.resolve(target)) {
                Some(index) => {
                    self.say(row, action, &self.stations.nodes[index].name().to_string(), true);
                    does(self, index, args);
                    self.collect_node(index);
                }
                None => {
                    let target = args.node.as_ref().map(ToString::to_string).unwrap_or_default();
                    let what = format!("{word} {target}: there is no such node; skipped");
                    self.log("scenario", Tone::Faint, what);
                }
            },
            Does::World(does) => {
                self.say(row, action, row.who, false);
                does(self, args);
            }
        }
    }

    /// Puts on the timeline what is about to be done.
    fn say(&mut self, row: &Row, action: &Action, who: &str, is_drawn: bool) {
        if row.says.is_empty() {
            return;
        }
        let (at, tone) = (self.now, row.tone);
        let what = row.sentence(&action.args, self.record.gossip.len());
        if is_drawn {
            let (from, to) = (who.to_owned(), Some(who.to_owned()));
            self.record.timeline.arrow(Message { at, from, to, label: what.clone(), tone });
        }
        self.log(who, tone, what);
    }

    fn resolve(&mut self, target: &Target) -> Option<usize> {
        match target {
            Target::Owner => {
                let owner = self.owner();
                self.measured.former_owner = owner.or(self.measured.former_owner);
                owner
            }
            Target::FormerOwner => self.measured.former_owner,
            Target::Other => {
                let owner = self.owner();
                (0..self.stations.nodes.len()).find(|index| Some(*index) != owner && self.is_in_core(*index))
            }
            Target::Node(name) => self.stations.index_of(name),
        }
    }

    pub(super) fn boot(&mut self, index: usize) {
        self.stations.nodes[index].power_on(self.now, &mut self.api);
        self.collect_node(index);
    }

    /// A NIC has lost or regained its carrier, and the node notices.
    pub(super) fn set_carrier(&mut self, index: usize, nic: usize, has_carrier: bool) {
        let Some(port) = self.network.nodes[index].get(nic).copied() else { return };
        self.network.switch.set_port_up(clock::instant(self.now), port, has_carrier);
        self.stations.nodes[index].set_carrier(self.now, nic, has_carrier);
    }

    pub(super) fn start_controller(&mut self) {
        let random = self.seed.stream(&format!("controller/{}", self.now));
        let networks = self.stations.networks.clone();
        self.stations.controller = Some(ControllerProcess::start(self.now, &mut self.api, random, networks));
        self.log("controller", Tone::Plain, "starts");
    }

    pub(super) fn delete_object(&mut self, key: &Key) {
        if !matches!(key.kind, Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::Pod) {
            self.checkers.config_changed();
        }
        let existed = self.api.delete(self.now, key);
        let what = if existed { "deleted" } else { "is not there" };
        self.log("api", Tone::Plain, format!("{key} {what}"));
        self.store_changed();
    }

    pub(super) fn send_garbage(&mut self, count: u32) {
        let victims: Vec<EthernetAddress> = self.stations.nodes.iter().map(|node| node.mac()).collect();
        let gossip: Vec<Vec<u8>> = self.record.gossip.iter().cloned().collect();
        self.stations.adversary.send_garbage(count, &victims, &gossip);
        self.collect_adversary();
    }

    /// The adversary starts its speaker, which knows every peer.
    pub(super) fn intrude(&mut self) {
        let store = self.api.store();
        let mut view = WatchCache::default();
        let pods = store.list(Kind::Pod, store.revision());
        let pods: Vec<(_, Object)> = pods.map(|(key, pod)| (key.clone(), pod.clone())).collect();
        view.replace(Kind::Pod, pods);
        self.stations.adversary.intrude(self.now, &mut self.api, view.peers());
        self.collect_adversary();
    }
}
