//! The controller's state machine; it dispatches, others decide.

use std::collections::VecDeque;
use std::net::IpAddr;

use ferrolb_api::config::{self, Checked, ConfigurationReport, Rejected, Resources};
use ferrolb_api::{Config, ServiceKey, Time};

use crate::effect::Effect;
use crate::input::Input;
use crate::pools::Pools;
use crate::services::ServiceTable;
use crate::usage::Usage;
use crate::verdicts::Verdicts;

/// What is fixed when a controller starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--lb-class`: the Services it handles (C2).
    pub load_balancer_class: Option<String>,
}

/// Assigns addresses to Services.
///
/// # In which order to poll
///
/// 1. [`handle`](Self::handle) with one input and the time, which never goes back.
/// 2. [`poll_effect`](Self::poll_effect) until it gives `None`: effects are for
///    their input, in order, and those left over come before those of the next.
/// 3. [`poll_timeout`](Self::poll_timeout), anew after each `handle`: the time
///    that it gave before counts no more. Wait for an input until then, else
///    `handle` [`Input::Timeout`]. Too early does no harm.
///
/// What a write comes to is told by the next version of the Service, as a watch
/// delivers it, and in no other way: a write that failed or was refused needs no
/// input of its own.
///
/// # Start
///
/// It grants nothing before [`Input::Resources`] and [`Input::Services`] have both
/// come, in any order (C4, C8). Inputs about single Services may come before.
#[derive(Debug)]
pub struct Controller {
    pools: Pools,
    resources_known: bool,
    services_known: bool,
    services: ServiceTable,
    usage: Usage,
    verdicts: Verdicts,
    rejected: Vec<Rejected>,
    effects: VecDeque<Effect>,
}

impl Controller {
    /// A controller that knows nothing yet and grants nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            pools: Pools::default(),
            resources_known: false,
            services_known: false,
            services: ServiceTable::new(settings.load_balancer_class),
            usage: Usage::default(),
            verdicts: Verdicts::default(),
            rejected: Vec::new(),
            effects: VecDeque::new(),
        }
    }

    /// Takes one input. Never blocks, never fails; what must be done is queued
    /// as effects.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Resources(resources) => self.take_resources(now, &resources),
            Input::Services(objects) => {
                self.services.observe_all(objects);
                self.services_known = true;
                if self.is_ready() {
                    self.services.reconcile_all(&self.pools, true, now);
                }
            }
            Input::Service(object) => {
                let key = object.key.clone();
                self.services.observe(*object);
                if self.is_ready() {
                    self.services.reconcile_one(&key, &self.pools, now);
                }
            }
            Input::ServiceGone(key) => {
                self.services.remove(&key);
                if self.is_ready() {
                    self.services.retry_waiting(&self.pools, now);
                }
            }
            Input::Timeout => {}
        }
        if self.is_ready() {
            self.services.retry_due(&self.pools, now);
        }
        self.effects.extend(self.services.take_effects());
        if self.is_ready() {
            self.effects.extend(self.usage.publish(&self.pools, self.services.allocator()));
        }
    }

    /// The next effect, oldest first. Drain it to `None` after every `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call `handle` with [`Input::Timeout`] if nothing comes before.
    /// By time alone happens one thing: what somebody else keeps undoing is
    /// put back.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.services.next_retry().filter(|_| self.is_ready())
    }

    /// Whether resources and Services have both come, so that it decides (C4).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.resources_known && self.services_known
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.pools.config
    }

    /// Pools and advertisements that are left out.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Who holds what, by Service.
    pub fn assignments(&self) -> impl Iterator<Item = Assigned<'_>> {
        self.services.allocator().holdings().map(|(service, held)| Assigned {
            service,
            addresses: &held.addresses,
            pool: &held.pool,
        })
    }

    /// The Services that miss an address and get it as soon as there is one.
    pub fn waiting(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.waiting().iter()
    }

    fn take_resources(&mut self, now: Time, resources: &Resources) {
        let Checked { config, verdicts } = config::check(resources, &self.pools.config);
        let report = ConfigurationReport::new(&config, &verdicts);
        let news = !self.resources_known || config != self.pools.config || report.rejected != self.rejected;
        self.effects.extend(self.verdicts.publish(verdicts));
        // What changes nothing that is in force is no reason to look at every
        // Service (B24).
        if !news {
            return;
        }
        self.rejected.clone_from(&report.rejected);
        self.effects.push_back(Effect::Configuration(report));
        let unusable = config.unusable_pools.keys().cloned().collect();
        self.pools = Pools::new(config, unusable);
        self.resources_known = true;
        self.effects.extend(self.usage.take_pools(&self.pools));
        if self.is_ready() {
            self.services.reconcile_all(&self.pools, false, now);
        }
    }
}

/// One assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned<'a> {
    /// The Service.
    pub service: &'a ServiceKey,
    /// Its addresses, in the order of its status.
    pub addresses: &'a [IpAddr],
    /// The pool they come from.
    pub pool: &'a str,
}
