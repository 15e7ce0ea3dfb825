//! Drives the controller's core by hand: a pool of two addresses, three Services, and a store that takes its writes.
//!
//! `cargo run -p controller-core --example drive`

use std::collections::VecDeque;

use controller_core::{Controller, Effect, Input, Settings};
use ferrolb_api::config::{Kind, Resources};
use ferrolb_api::service::Ingress;
use ferrolb_api::{Service, Time};
use k8s_openapi::api::core::v1 as core;
use serde_json::json;

#[allow(clippy::print_stdout, reason = "it is there to be looked at")]
fn main() -> Result<(), serde_json::Error> {
    let mut resources = Resources::default();
    let pool = json!({ "metadata": { "name": "first" }, "spec": { "addresses": ["192.0.2.0/31"] } });
    resources.read(Kind::IPAddressPool, &pool);
    let mut store = ["dns", "web", "mail"].map(service).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut inputs = VecDeque::from([Input::Resources(resources), Input::Services(store.clone())]);
    // When all is settled, the first one is deleted.
    let mut last = Some(Input::ServiceGone(store[0].key.clone()));

    let mut controller = Controller::new(Settings::default());
    let mut now = Time::ZERO;
    loop {
        // What has happened, or else what is due.
        let input = match (inputs.pop_front().or_else(|| last.take()), controller.poll_timeout()) {
            (Some(input), _) => input,
            (None, Some(due)) => {
                now = due;
                Input::Timeout
            }
            (None, None) => return Ok(()),
        };
        controller.handle(now, input);
        while let Some(effect) = controller.poll_effect() {
            println!("{effect:?}");
            let Effect::WriteService { service, addresses, pool, lost_addresses, .. } = effect else {
                continue;
            };
            // The API server's part: it stores the write, and a watch tells of it.
            let Some(stored) = store.iter_mut().find(|stored| stored.key == service) else { continue };
            stored.ingress = addresses.into_iter().map(Ingress::Ip).collect();
            stored.annotations.allocated_from_pool = pool;
            stored.annotations.lost_addresses = lost_addresses;
            stored.resource_version.push('0');
            inputs.push_back(Input::Service(Box::new(stored.clone())));
        }
    }
}

fn service(name: &str) -> Result<Service, serde_json::Error> {
    let object: core::Service = serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": name, "uid": name, "resourceVersion": "1" },
        "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"] },
    }))?;
    Ok(Service::from(&object))
}
