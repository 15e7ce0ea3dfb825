//! A controller together with the API server's part: what it writes comes back as the new view of the Service.

use std::collections::BTreeMap;

use controller_core::{Controller, Effect, Input, Settings};
use ferrolb_api::config::Resources;
use ferrolb_api::service::Ingress;
use ferrolb_api::{Service, ServiceKey, Time};

/// A controller and the stored Services.
#[derive(Debug)]
pub struct Controlled {
    controller: Controller,
    store: BTreeMap<ServiceKey, Service>,
    revision: u64,
}

impl Controlled {
    /// A controller that has just started in a cluster with these Services, and
    /// has done all that it has to do.
    #[must_use]
    pub fn start(resources: Resources, services: Vec<Service>) -> Self {
        let store = services.iter().map(|service| (service.key.clone(), service.clone())).collect();
        let mut started =
            Self { controller: Controller::new(Settings::default()), store, revision: 10_000_000 };
        started.tell(Input::Resources(resources));
        started.tell(Input::Services(services));
        started
    }

    /// Creates or changes a Service.
    pub fn apply(&mut self, service: Service) {
        self.store.insert(service.key.clone(), service.clone());
        self.tell(Input::Service(Box::new(service)));
    }

    /// Deletes a Service.
    pub fn delete(&mut self, key: &ServiceKey) {
        self.store.remove(key);
        self.tell(Input::ServiceGone(key.clone()));
    }

    /// How many Services have an address.
    #[must_use]
    pub fn served(&self) -> usize {
        self.store.values().filter(|service| !service.ingress.is_empty()).count()
    }

    /// Takes an input, and the echo of every write that follows from it.
    pub fn tell(&mut self, input: Input) {
        self.controller.handle(Time::ZERO, input);
        while let Some(effect) = self.controller.poll_effect() {
            let Effect::WriteService { service, addresses, pool, lost_addresses, .. } = effect else {
                continue;
            };
            let Some(stored) = self.store.get_mut(&service) else { continue };
            self.revision += 1;
            stored.resource_version = self.revision.to_string();
            stored.ingress = addresses.into_iter().map(Ingress::Ip).collect();
            stored.annotations.allocated_from_pool = pool;
            stored.annotations.lost_addresses = lost_addresses;
            self.controller.handle(Time::ZERO, Input::Service(Box::new(stored.clone())));
        }
    }
}
