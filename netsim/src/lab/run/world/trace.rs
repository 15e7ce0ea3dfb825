//! From outputs to words: what parts of the world did, for checkers, timeline
//! and picture.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use controller_core::{Effect, Notice as ControllerNotice};
use ferrolb_api::config::{ConfigurationReport, Rejected};
use ferrolb_api::{NodeName, ServiceKey, Time};
use smoltcp::wire::EthernetAddress;
use speaker_core::Notice;

use super::{RecordedEvent, World};
use crate::lab::api::objects::{Key, Kind, Object};
use crate::lab::api::server::WriteOutcome;
use crate::lab::api::view;
use crate::lab::checks::arp::{Arp, Role};
use crate::lab::checks::reference_election;
use crate::lab::clock::millis;
use crate::lab::run::timeline::{Message, TableChange, Tone};
use crate::lab::stations::client::Noticed;
use crate::lab::stations::controller::ControllerOutput;
use crate::lab::stations::speaker_output::SpeakerOutput;
use crate::net::neighbours::Neighbour;

/// A client that goes without answers for this long is worth a line.
const NOTABLE_GAP: Duration = Duration::from_millis(100);

/// What has been told already, so that it is not told again and again.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Who answered each client last.
    answerers: BTreeMap<usize, u8>,
    /// When each client had its last answer.
    last_answers: BTreeMap<usize, Time>,
    /// Answers of the first client since the last summary.
    answers: u32,
    /// Whose page the first client saw last.
    page: Option<String>,
    pages: u32,
}

impl World {
    /// Takes what a speaker did; frames go to `frames`.
    pub(super) fn speaker_put_out(&mut self, index: usize, output: SpeakerOutput, frames: &mut Vec<Vec<u8>>) {
        match output {
            SpeakerOutput::Frame(frame) => frames.push(frame),
            SpeakerOutput::Notice(notice) => self.speaker_noticed(index, &notice),
            SpeakerOutput::Configuration(report) => {
                let name = self.stations.nodes[index].name().clone();
                self.configuration(name.as_str(), &report, Rejected::object);
            }
            SpeakerOutput::Network(network) => {
                self.stations.networks.insert(network.node.clone(), network.clone());
                if let Some(controller) = &mut self.stations.controller {
                    controller.set_network(self.now, &self.api, network);
                }
            }
            SpeakerOutput::Event { service, reason, message } => {
                let name = self.stations.nodes[index].name().to_string();
                self.record.events.push(RecordedEvent::new(
                    self.now,
                    &name,
                    &service,
                    reason.as_str(),
                    &message,
                ));
                let what = format!("Event {} on {service}: {message}", reason.as_str());
                self.log(&name, Tone::Faint, what);
            }
            SpeakerOutput::L2Status { name, change } => {
                self.api.write_l2_status(self.now, &name, &change);
            }
            SpeakerOutput::Exit => {
                let name = self.stations.nodes[index].name().clone();
                self.log(name.as_str(), Tone::Plain, "its speaker has left and ends");
                self.stations.nodes[index].kill_speaker(&mut self.api);
                self.checkers.restarted(&name);
            }
        }
    }

    fn speaker_noticed(&mut self, index: usize, notice: &Notice) {
        let node = self.stations.nodes[index].name().clone();
        let elector = match notice {
            Notice::Announced { service, .. } => self.elector(index, service),
            _ => None,
        };
        let by_hash_alone = elector.filter(|(_, is_alone)| *is_alone).map(|(address, _)| address);
        self.checkers.noticed(self.now, &node, notice, by_hash_alone);
        if let Notice::Announced { address, .. } = notice
            && Some(*address) == self.measured.address.map(IpAddr::V4)
        {
            self.measured.announced(self.now, index);
        }
        if !self.record.timeline.is_recording() {
            return;
        }
        let (tone, what) = match notice {
            Notice::Announced { service, address, candidates } => {
                let what = format!("owns {address} of {service}: {}", reason(candidates, *address, elector));
                self.arrow(node.as_str(), Some(node.as_str()), format!("owns {address}"), Tone::Good);
                (Tone::Good, what)
            }
            Notice::Withdrawn { address, reason, owner, .. } => {
                let owner = owner.as_ref().map(|owner| format!(", now {owner}'s")).unwrap_or_default();
                (Tone::Plain, format!("gives up {address}: {}{owner}", reason.as_str()))
            }
            Notice::MemberUp(member) => (Tone::Plain, format!("hears {member}: member up")),
            Notice::MemberDown(member) => {
                let what = format!("{member} is down");
                self.arrow(node.as_str(), Some(node.as_str()), what.clone(), Tone::Bad);
                (Tone::Bad, what)
            }
            Notice::MemberRestarted(member) => (Tone::Plain, format!("{member} has begun anew")),
            Notice::Joined { members, .. } => (Tone::Faint, format!("has joined: {}", join(members))),
            Notice::Conflict { address, mac, .. } => {
                let whose =
                    self.network.station_of(EthernetAddress(mac.0)).unwrap_or_else(|| mac.to_string());
                (Tone::Plain, format!("{whose} also claims {address}"))
            }
            Notice::Paused(late) => {
                (Tone::Bad, format!("was asleep: its timer is {} ms late", late.as_millis()))
            }
            // The frames themselves are told.
            Notice::Gratuitous { .. } => return,
        };
        self.log(node.as_str(), tone, what);
    }

    /// The address by whose hashes a Service's owner is found (D21), as the node sees the
    /// cluster, and whether nothing else decides: preferences would (D22), and selectors
    /// may keep a Service that could share from being announced (D7).
    fn elector(&self, index: usize, service: &ServiceKey) -> Option<(IpAddr, bool)> {
        let view = self.api.view(self.stations.nodes[index].watch()?)?;
        let elector = reference_election::elector(service, &view.services(), &view.endpoint_slices())?;
        let decides = |object: &Object| match object {
            Object::Advertisement(ad) => {
                !ad.spec.preferred_node_selectors.is_empty()
                    || elector.is_shared && !ad.spec.service_selectors.is_empty()
            }
            _ => false,
        };
        Some((elector.address, !view.objects(Kind::L2Advertisement).any(decides)))
    }

    /// One line for what a speaker sent at one moment.
    pub(super) fn trace_frames(&mut self, index: usize, frames: &[Vec<u8>]) {
        if !self.record.timeline.is_recording() || frames.is_empty() {
            return;
        }
        let node = self.stations.nodes[index].name().to_string();
        let mut by_address: BTreeMap<Ipv4Addr, Vec<Arp>> = BTreeMap::new();
        for arp in frames.iter().filter_map(|frame| Arp::parse(frame)) {
            by_address.entry(arp.sender).or_default().push(arp);
        }
        for (address, arps) in by_address {
            let mut parts = Vec::new();
            for role in [Role::GratuitousRequest, Role::GratuitousReply] {
                let count = arps.iter().filter(|arp| arp.role() == role).count();
                if count > 0 {
                    let times = if count > 1 { format!(" x{count}") } else { String::new() };
                    let label = if role == Role::GratuitousRequest {
                        format!("gratuitous ARP{times} to all (who has {address}? tell {address})")
                    } else {
                        let mac = colons(arps[0].sender_mac);
                        format!("gratuitous ARP reply{times} to all ({address} is at {mac})")
                    };
                    parts.push(label);
                    self.arrow(&node, None, format!("gratuitous ARP: {address} is here"), Tone::Wire);
                }
            }
            let mut asked = Vec::new();
            for arp in arps.iter().filter(|arp| arp.role() == Role::DirectedRequest) {
                let to = self.network.station_of(arp.destination).unwrap_or_else(|| arp.target.to_string());
                self.arrow(&node, Some(&to), format!("who has {}? tell {address}", arp.target), Tone::Wire);
                asked.push(to);
            }
            if !asked.is_empty() {
                parts.push(format!("ARP request to {} (that they must note and answer)", asked.join(", ")));
            }
            for arp in arps.iter().filter(|arp| arp.role() == Role::Answer) {
                let to = self.network.station_of(arp.destination).unwrap_or_else(|| arp.target.to_string());
                self.arrow(
                    &node,
                    Some(&to),
                    format!("{address} is at {}", colons(arp.sender_mac)),
                    Tone::Wire,
                );
                parts.push(format!("answers {to}: {address} is at {}", colons(arp.sender_mac)));
            }
            if !parts.is_empty() {
                self.log(&node, Tone::Wire, parts.join("; "));
            }
        }
    }

    /// A client's own question for the address.
    pub(super) fn trace_question(&mut self, index: usize, frame: &[u8]) {
        if !self.record.timeline.is_recording() || frame.get(12..14) != Some(&[0x08, 0x06]) {
            return;
        }
        let Some(arp) =
            Arp::parse(frame).filter(|arp| !arp.is_reply && Some(arp.target) == self.measured.address)
        else {
            return;
        };
        let name = self.stations.clients[index].name().to_owned();
        let to = arp.destination.is_unicast().then(|| self.network.station_of(arp.destination)).flatten();
        let whom = to.as_deref().unwrap_or("all");
        self.log(&name, Tone::Wire, format!("asks {whom}: who has {}? tell {}", arp.target, arp.sender));
        self.arrow(&name, to.as_deref(), format!("who has {}?", arp.target), Tone::Wire);
    }

    pub(super) fn client_noticed(&mut self, index: usize, noticed: Noticed) {
        match noticed {
            Noticed::Answer { by } => self.answered(index, by),
            Noticed::Page { text, took } => {
                self.trace.pages += 1;
                if self.trace.page.as_deref() != Some(&text) {
                    let address =
                        self.measured.address.map(|address| address.to_string()).unwrap_or_default();
                    let what = format!("GET http://{address}/ -> 200 {text:?} in {} ms", millis(took));
                    self.log_client(index, Tone::Good, what);
                    self.trace.page = Some(text);
                }
            }
            Noticed::NoPage => self.log_client(index, Tone::Bad, "GET / failed".to_owned()),
            Noticed::Neighbour(entry) => self.neighbour_changed(index, &entry),
        }
    }

    fn answered(&mut self, index: usize, by: u8) {
        let before = self.trace.last_answers.insert(index, self.now);
        if index == 0 {
            self.trace.answers += 1;
        }
        let is_new = self.trace.answerers.insert(index, by) != Some(by);
        let gap = before.map(|before| self.now - before);
        let is_gap = gap.is_some_and(|gap| gap > NOTABLE_GAP + self.scenario.ask_every) && index == 0;
        if !self.record.timeline.is_recording() || !(is_new || is_gap) {
            return;
        }
        let name = self.stations.clients[index].answerers().get(usize::from(by)).cloned().unwrap_or_default();
        let client = self.stations.clients[index].name().to_owned();
        if index + 1 == self.stations.clients.len() && before.is_none() {
            return;
        }
        let what = match gap.filter(|_| is_gap) {
            Some(gap) => format!("is answered by {name}, {} ms after the last answer", millis(gap)),
            None => format!("is answered by {name}"),
        };
        self.log(&client, Tone::Good, what);
        self.arrow(&name, Some(&client), "first answer".to_owned(), Tone::Good);
    }

    /// A summary of the answers since the last one.
    pub(super) fn trace_answers(&mut self) {
        let (answers, pages) = (self.trace.answers, self.trace.pages);
        if answers == 0 || !self.record.timeline.is_recording() {
            return;
        }
        let by = self.trace.answerers.get(&0).copied().unwrap_or_default();
        let name = self.stations.clients[0].answerers().get(usize::from(by)).cloned().unwrap_or_default();
        let every = self.scenario.ask_every.as_millis();
        self.log_client(
            0,
            Tone::Plain,
            format!("{answers} answers (asking every {every} ms) and {pages} pages, last by {name}"),
        );
        self.trace.answers = 0;
        self.trace.pages = 0;
    }

    fn log_client(&mut self, index: usize, tone: Tone, what: String) {
        let name = self.stations.clients[index].name().to_owned();
        self.log(&name, tone, what);
    }

    fn neighbour_changed(&mut self, index: usize, entry: &Neighbour) {
        if !self.record.timeline.is_recording() {
            return;
        }
        let owner = entry.mac.filter(|_| entry.state.is_valid()).and_then(|mac| self.network.station_of(mac));
        let client = self.stations.clients[index].name().to_owned();
        let mac = entry.mac.map_or_else(|| "-".to_owned(), colons);
        let state = format!("{:?}", entry.state);
        let last = self.record.timeline.tables().iter().rev().find(|change| change.client == client);
        let has_moved = last.is_none_or(|last| last.owner != owner);
        if has_moved {
            let whose = owner.as_deref().map(|owner| format!(" ({owner})")).unwrap_or_default();
            let what = format!("ARP table: {} -> {mac}{whose} {}", entry.address, state.to_uppercase());
            self.log(&client, Tone::Table, what);
        }
        self.record.timeline.table(TableChange { at: self.now, client, owner, mac, state });
    }

    pub(super) fn controller_put_out(&mut self, output: ControllerOutput) {
        match output {
            ControllerOutput::Notice(notice) => self.controller_noticed(&notice),
            ControllerOutput::Configuration(report) => {
                self.configuration("controller", &report, |one| one.name.clone());
            }
            ControllerOutput::Event { service, reason, message } => {
                self.record.events.push(RecordedEvent::new(
                    self.now,
                    "controller",
                    &service,
                    reason.as_str(),
                    &message,
                ));
                let what = format!("Event {} on {service}: {message}", reason.as_str());
                self.log("controller", Tone::Faint, what);
            }
            ControllerOutput::Wrote { effect, written } => self.controller_wrote(&effect, written),
        }
    }

    fn controller_noticed(&mut self, notice: &ControllerNotice) {
        let (tone, what) = match notice {
            ControllerNotice::Allocated { service, addresses, pool } => {
                (Tone::Good, format!("assigns {} to {service}, the first free of {pool}", join(addresses)))
            }
            ControllerNotice::Adopted { service, addresses, pool } => {
                (Tone::Good, format!("{service} keeps {} of {pool}", join(addresses)))
            }
            ControllerNotice::Cleared { service, addresses, reason } => {
                (Tone::Bad, format!("takes {} from {service}: {reason}", join(addresses)))
            }
            ControllerNotice::Unassigned { service, reason } => {
                (Tone::Bad, format!("{service} gets no address: {reason}"))
            }
        };
        self.log("controller", tone, what);
    }

    fn configuration(&mut self, who: &str, report: &ConfigurationReport, named: fn(&Rejected) -> String) {
        let pools = count(report.pools, "pool");
        let advertisements = count(report.advertisements, "advertisement");
        let rejected = report.rejected.iter();
        let left_out = rejected.map(|one| format!("; {} left out: {}", named(one), one.problem));
        let left_out: String = left_out.collect();
        self.log(who, Tone::Faint, format!("configuration: {pools}, {advertisements}{left_out}"));
    }

    fn controller_wrote(&mut self, effect: &Effect, written: WriteOutcome) {
        let Effect::WriteService { service, addresses, pool, .. } = effect else { return };
        match written {
            WriteOutcome::Changed | WriteOutcome::AnswerLost => {
                let (namespace, name) = (service.namespace().to_owned(), service.name().to_owned());
                let key = Key { kind: Kind::Service, namespace, name };
                let object = self.api.store().get(&key).and_then(view::service);
                if let (Some(object), Some(controller)) = (object, &self.stations.controller) {
                    self.checkers.written(self.now, &object, addresses, controller.observed());
                }
                let pool = pool.as_deref().map(|pool| format!(" from {pool}")).unwrap_or_default();
                let lost = if written == WriteOutcome::AnswerLost { "; the answer is lost" } else { "" };
                let what = if addresses.is_empty() {
                    format!("status of {service} cleared{lost}")
                } else {
                    format!("status of {service}: {}{pool}{lost}", join(addresses))
                };
                self.log("api", Tone::Plain, what);
                self.arrow("controller", Some("api"), format!("{service}: {}", join(addresses)), Tone::Plain);
                self.store_changed();
            }
            WriteOutcome::Refused(refusal) => {
                self.log("api", Tone::Faint, format!("write to {service} refused: {refusal:?}"));
            }
            WriteOutcome::Unreachable => self.log("controller", Tone::Bad, "cannot reach the API server"),
            WriteOutcome::Unchanged => {}
        }
    }

    fn arrow(&mut self, from: &str, to: Option<&str>, label: String, tone: Tone) {
        let message = Message { at: self.now, from: from.to_owned(), to: to.map(str::to_owned), label, tone };
        self.record.timeline.arrow(message);
    }
}

/// As everybody writes it.
pub(super) fn colons(mac: EthernetAddress) -> String {
    mac.to_string().replace('-', ":")
}

/// D20 in one line: the candidates in their order, each with its hash, and of which
/// address that is, where it is not `address` itself.
fn reason(candidates: &[NodeName], address: IpAddr, elector: Option<(IpAddr, bool)>) -> String {
    if candidates.len() < 2 {
        return "the only candidate".to_owned();
    }
    let (hashed, is_alone) = elector.unwrap_or((address, false));
    let key = |node: &NodeName| reference_election::key_prefix(node, hashed);
    let of = if hashed == address { "address".to_owned() } else { hashed.to_string() };
    let keys: Vec<String> = candidates.iter().map(|node| format!("{node} {}", key(node))).collect();
    if is_alone || candidates.is_sorted_by_key(key) {
        format!("smallest hash of node#{of}: {}", keys.join(" < "))
    } else {
        format!("preferred, and only then by the hash of node#{of}: {}", keys.join(", "))
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
