//! A controller process: the very core that ships, and the part of its shell
//! that turns watches into inputs and effects into writes.

use std::collections::BTreeMap;
use std::time::Duration;

use controller_core::{Controller, Effect, EventReason, Input, Notice, Settings};
use ferrolb_api::config::{self, Config, ConfigurationReport, NodeNetwork};
use ferrolb_api::{NodeName, ServiceKey, Time};

use crate::lab::address_plan;
use crate::lab::api::objects::Kind;
use crate::lab::api::server::{SimulatedApi, WatchId, WriteOutcome};
use crate::lab::api::store::StoreError;
use crate::lab::api::view::{self, WatchCache};
use crate::lab::api::watch::Update;
use crate::lab::random::RandomStream;

/// What a controller watches.
pub const KINDS: &[Kind] =
    &[Kind::Namespace, Kind::IPAddressPool, Kind::L2Advertisement, Kind::Node, Kind::Service];
/// What [`Input::Resources`] is made of: nothing is told before all are listed.
const RESOURCES: &[Kind] = &[Kind::Namespace, Kind::IPAddressPool, Kind::L2Advertisement, Kind::Node];
/// How long a write takes to reach the API server.
const WRITE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(4));
/// Back-off of a failed write: doubles from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Something that a controller did, for timeline and checkers.
#[derive(Clone, Debug)]
pub enum ControllerOutput {
    /// It said something.
    Notice(Notice),
    /// It judged the custom resources.
    Configuration(ConfigurationReport),
    /// It made a Kubernetes Event.
    Event {
        /// On which Service.
        service: ServiceKey,
        /// Its reason.
        reason: EventReason,
        /// Its text.
        message: String,
    },
    /// It wrote, and this became of it.
    Wrote {
        /// The write.
        effect: Effect,
        /// The outcome.
        written: WriteOutcome,
    },
}

/// One controller process.
#[derive(Debug)]
pub struct ControllerProcess {
    controller: Controller,
    watch: WatchId,
    pending: BTreeMap<String, Pending>,
    random: RandomStream,
    /// The configuration that follows from what it was told, judged apart from
    /// the core (S2).
    observed: Config,
    /// What the speakers have said of their nodes' networks.
    networks: BTreeMap<NodeName, NodeNetwork>,
    outputs: Vec<ControllerOutput>,
}

#[derive(Debug)]
struct Pending {
    due: Time,
    attempts: u32,
    effect: Effect,
}

impl ControllerProcess {
    /// Starts a controller.
    pub fn start(
        now: Time,
        api: &mut SimulatedApi,
        random: RandomStream,
        networks: BTreeMap<NodeName, NodeNetwork>,
    ) -> Self {
        Self {
            controller: Controller::new(Settings::default()),
            watch: api.open_watch(now, "controller", KINDS),
            pending: BTreeMap::new(),
            random,
            observed: Config::default(),
            networks,
            outputs: Vec::new(),
        }
    }

    /// Its watch client.
    #[must_use]
    pub const fn watch(&self) -> WatchId {
        self.watch
    }

    /// The configuration that it must have in force.
    #[must_use]
    pub const fn observed(&self) -> &Config {
        &self.observed
    }

    /// Whether it has nothing left to write.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When [`Self::poll`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let write = self.pending.values().map(|pending| pending.due).min();
        [write, self.controller.poll_timeout()].into_iter().flatten().min()
    }

    /// Takes news from its watch.
    pub fn handle(&mut self, now: Time, api: &SimulatedApi, update: &Update) {
        let Some(view) = api.view(self.watch) else { return };
        let kind = match update {
            Update::Listed(kind) => *kind,
            Update::Changed(key) | Update::Gone(key) => key.kind,
        };
        let input = if RESOURCES.contains(&kind) {
            return self.take_resources(now, view);
        } else {
            match update {
                Update::Listed(_) => Input::Services(view.services()),
                Update::Changed(key) => {
                    let Some(service) = view.get(key).and_then(view::service) else { return };
                    Input::Service(Box::new(service))
                }
                Update::Gone(key) => {
                    Input::ServiceGone(ServiceKey::new(key.namespace.clone(), key.name.clone()))
                }
            }
        };
        self.controller.handle(now, input);
        self.drain(now);
    }

    /// Takes what a speaker says of its node's network. The `ConfigurationState` that carries it is not
    /// simulated: it is there at once.
    pub fn set_network(&mut self, now: Time, api: &SimulatedApi, network: NodeNetwork) {
        self.networks.insert(network.node.clone(), network);
        if let Some(view) = api.view(self.watch) {
            self.take_resources(now, view);
        }
    }

    fn take_resources(&mut self, now: Time, view: &WatchCache) {
        if !view.has_listed(RESOURCES) {
            return;
        }
        let mut resources = view.resources();
        resources.nodes = Some(view.nodes());
        resources.api_server = [address_plan::API_VIP.into()].into();
        resources.node_networks = self.networks.values().cloned().collect();
        self.observed = config::check(&resources, &self.observed).config;
        self.controller.handle(now, Input::Resources(resources));
        self.drain(now);
    }

    /// Lets its timers fire and its writes that are due reach the API server.
    pub fn poll(&mut self, now: Time, api: &mut SimulatedApi) {
        if self.controller.poll_timeout().is_some_and(|due| due <= now) {
            self.controller.handle(now, Input::Timeout);
            self.drain(now);
        }
        let due: Vec<String> =
            self.pending.iter().filter(|(_, p)| p.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(mut pending) = self.pending.remove(&key) else { continue };
            let written = api.write(now, &pending.effect);
            let retry = match written {
                WriteOutcome::Changed | WriteOutcome::Unchanged => false,
                // A newer view of the Service is on its way; other writes carry no version.
                WriteOutcome::Refused(StoreError::Conflict | StoreError::NotFound) => false,
                WriteOutcome::AnswerLost | WriteOutcome::Unreachable => true,
            };
            if retry {
                let backoff = RETRY.0.saturating_mul(1 << pending.attempts.min(10)).min(RETRY.1);
                pending.attempts += 1;
                pending.due = now + backoff + self.random.between(Duration::ZERO, backoff / 10);
                self.outputs.push(ControllerOutput::Wrote { effect: pending.effect.clone(), written });
                self.pending.insert(key, pending);
            } else {
                self.outputs.push(ControllerOutput::Wrote { effect: pending.effect, written });
            }
        }
    }

    /// What it did since the last call.
    pub fn take_outputs(&mut self) -> Vec<ControllerOutput> {
        std::mem::take(&mut self.outputs)
    }

    fn drain(&mut self, now: Time) {
        while let Some(effect) = self.controller.poll_effect() {
            let key = match &effect {
                Effect::Notice(notice) => {
                    self.outputs.push(ControllerOutput::Notice(notice.clone()));
                    continue;
                }
                Effect::Configuration(report) => {
                    self.outputs.push(ControllerOutput::Configuration(report.clone()));
                    continue;
                }
                Effect::Event { service, reason, message, .. } => {
                    let (service, reason, message) = (service.clone(), *reason, message.clone());
                    self.outputs.push(ControllerOutput::Event { service, reason, message });
                    continue;
                }
                Effect::ForgetPool(pool) => {
                    self.pending.remove(&format!("usage/{pool}"));
                    continue;
                }
                Effect::WriteService { service, .. } => format!("service/{service}"),
                Effect::WriteVerdict(verdict) => format!("verdict/{:?}/{}", verdict.kind, verdict.name),
                Effect::WritePoolUsage(usage) => format!("usage/{}", usage.pool),
            };
            // Keyed effects: the latest wins.
            let due = now + self.random.between(WRITE.0, WRITE.1);
            self.pending.insert(key, Pending { due, attempts: 0, effect });
        }
    }
}
