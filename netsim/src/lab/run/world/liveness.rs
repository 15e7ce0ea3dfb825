//! The end of a run: what must be well again (L1, L2, L4), what the scenario
//! demands, and what was measured.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::{Service, Time};

use super::World;
use crate::lab::checks::outage::{self, IN_FLIGHT, Outage};
use crate::lab::checks::safety::Violation;
use crate::lab::clock::millis;
use crate::lab::run::fingerprint::Fingerprint;
use crate::lab::run::timeline::Tone;
use crate::lab::stations::client::{Client, points_to};

/// How far back the last answer of a client that is served may lie, and how
/// many questions in a row may get lost on a lossy cable.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
const LOST_IN_A_ROW: u32 = 8;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What the first client went through, from the first step on.
    pub outage: Outage,
    /// The same for every client that asked, by its name; the first is the first.
    pub outages: Vec<(String, Outage)>,
    /// Who answered before the longest gap; who owned, if there was none.
    pub owner_before: Option<String>,
    /// Who answered after it.
    pub owner_after: Option<String>,
    /// How often the first address changed its owner.
    pub moves: u32,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// The hash of everything that was delivered.
    pub fingerprint: Fingerprint,
    /// Virtual time that passed.
    pub lasted: Duration,
    /// Things that were done.
    pub steps: u64,
}

impl World {
    /// What came of the run; complete once [`World::step`] has returned `false`.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let outage = self.outage();
        let name = |index: usize| self.stations.nodes[index].name().to_string();
        let client = &self.stations.clients[0];
        let answerer = |at: Option<Time>| {
            let ask = client.asks().iter().find(|ask| at.is_some() && ask.answered == at)?;
            client.answerers().get(usize::from(ask.by)).cloned()
        };
        let fault = self.measured.first_fault.unwrap_or(self.now);
        let before = self.measured.owner_at(fault).map(name);
        Outcome {
            scenario: self.scenario.name.clone(),
            seed: self.seed.number(),
            owner_before: answerer(outage.last_before).or(before),
            owner_after: answerer(outage.first_after)
                .or_else(|| self.measured.owners.last().map(|(_, index)| name(*index))),
            outage,
            outages: self.outages(),
            moves: self.measured.moves(),
            violations: self.checkers.violations().to_vec(),
            fingerprint: self.record.fingerprint,
            lasted: self.now - Time::ZERO,
            steps: self.steps,
        }
    }

    fn outage(&self) -> Outage {
        self.outage_of(&self.stations.clients[0])
    }

    fn outage_of(&self, client: &Client) -> Outage {
        outage::measure(client.asks(), self.measured.first_fault.unwrap_or(self.now), self.now)
    }

    fn outages(&self) -> Vec<(String, Outage)> {
        let asked = self.stations.clients.iter().filter(|client| !client.asks().is_empty());
        asked.map(|client| (client.name().to_owned(), self.outage_of(client))).collect()
    }

    /// Judges the end of the run.
    pub(super) fn finish(&mut self) {
        self.trace_answers();
        self.check_owners();
        self.check_clients();
        self.check_expectations();
        for violation in self.checkers.violations().to_vec() {
            self.log("checkers", Tone::Bad, violation.to_string());
        }
    }

    /// L1 and L4: every address with a candidate has exactly one owner.
    fn check_owners(&mut self) {
        let core: BTreeSet<usize> =
            (0..self.stations.nodes.len()).filter(|index| self.is_in_core(*index)).collect();
        if core.is_empty() {
            return;
        }
        if self.measured.address.is_none() {
            self.checkers.report("L1", self.now, "the first Service never got an address".to_owned());
        }
        for address in self.api.assigned() {
            let owners: Vec<String> = self
                .checkers
                .owners(address)
                .filter(|name| {
                    self.stations.index_of(name.as_str()).is_some_and(|index| core.contains(&index))
                })
                .map(ToString::to_string)
                .collect();
            match owners.as_slice() {
                [_] => {}
                [] if self.is_left_out(address) => {}
                [] => self.checkers.report("L1", self.now, format!("nobody announces {address}")),
                _ => {
                    let seen = format!("{} all announce {address}", owners.join(" and "));
                    self.checkers.report("L4", self.now, seen);
                }
            }
        }
    }

    /// Whether nobody announces `address` because each Service that has it shares another
    /// one, with whose owner it goes.
    fn is_left_out(&self, address: IpAddr) -> bool {
        let services: Vec<Service> = self.api.store().services().map(Service::from).collect();
        let has = |service: &Service, it: IpAddr| service.ingress_ips().any(|one| one == it);
        let is_tied = |service: &Service| {
            let mut others = service.ingress_ips().filter(|other| {
                services.iter().any(|sharer| sharer.key != service.key && has(sharer, *other))
            });
            others.any(|other| self.checkers.owners(other).next().is_some())
        };
        services.iter().filter(|service| has(service, address)).all(is_tied)
    }

    /// L2 and L4: every client is served, and its table says by the owner.
    fn check_clients(&mut self) {
        let Some(address) = self.measured.address else { return };
        let Some(owner) = self.owner() else { return };
        let (name, mac) = (self.stations.nodes[owner].name().to_string(), self.stations.nodes[owner].mac());
        let mut found = Vec::new();
        for client in &self.stations.clients {
            if client.asks().is_empty() {
                continue;
            }
            match last_answer(client) {
                Some((at, by)) if self.now - at <= self.patience(client) => {
                    if by != name {
                        found.push(("L2", format!("{} is answered by {by}, not by {name}", client.name())));
                    }
                }
                last => {
                    let last = last.map_or_else(|| "never".to_owned(), |(at, _)| format!("last at {at}"));
                    found.push(("L2", format!("{} is not served ({last})", client.name())));
                }
            }
            if let Some(entry) = client.neighbour(address)
                && entry.state.is_valid()
                && !points_to(&entry, mac)
            {
                let whose = entry.mac.and_then(|mac| self.network.station_of(mac)).unwrap_or_default();
                found.push((
                    "L4",
                    format!("{}'s table has {address} at {whose}, not at {name}", client.name()),
                ));
            }
        }
        for (rule, seen) in found {
            self.checkers.report(rule, self.now, seen);
        }
    }

    fn patience(&self, client: &Client) -> Duration {
        let asks = client.asks();
        let pace = match asks {
            [.., one, other] => other.sent - one.sent,
            _ => self.scenario.ask_every,
        };
        SERVED_WITHIN.max(pace * LOST_IN_A_ROW) + IN_FLIGHT
    }

    /// What the scenario demands beside the invariants.
    fn check_expectations(&mut self) {
        let (expect, outage, moves) = (self.scenario.expect, self.outage(), self.measured.moves());
        let now = self.now;
        if let Some(most) = expect.outage_at_most
            && outage.duration > most
        {
            let (was, most) = (millis(outage.duration), millis(most));
            self.checkers.report(
                "L1",
                now,
                format!("the client went {was} ms without an answer, more than {most}"),
            );
        }
        if let Some(most) = expect.lost_at_most
            && outage.lost > most
        {
            let seen = format!("{} answers of {} were lost, more than {most}", outage.lost, outage.asked);
            self.checkers.report("L1", now, seen);
        }
        if let Some(most) = expect.moves_at_most
            && moves > most
        {
            let owners: Vec<String> = self
                .measured
                .owners
                .iter()
                .map(|(at, index)| format!("{} at {at}", self.stations.nodes[*index].name()))
                .collect();
            let seen =
                format!("the first address had the owners {}: more than {most} moves", owners.join(", "));
            self.checkers.report("L7", now, seen);
        }
        if let Some(least) = expect.moves_at_least
            && moves < least
        {
            self.checkers.report(
                "L1",
                now,
                format!("the first address moved {moves} times, fewer than {least}"),
            );
        }
    }

    /// How many addresses any Service holds.
    #[must_use]
    pub fn assigned(&self) -> BTreeSet<IpAddr> {
        self.api.assigned()
    }
}

fn last_answer(client: &Client) -> Option<(Time, String)> {
    let ask = client.asks().iter().rev().find(|ask| ask.answered.is_some())?;
    let by = client.answerers().get(usize::from(ask.by)).cloned().unwrap_or_default();
    Some((ask.answered?, by))
}
