//! Decides which address each LoadBalancer Service gets.
//!
//! [`Controller`] is a plain value without socket, clock, thread or Kubernetes
//! client. It is told what happened and says what to do; a shell around it moves
//! the bytes: `controller` a real one, `netsim` a simulated one. One and the same
//! sequence of inputs and times gives one and the same sequence of effects.
//!
//! ```
//! use controller_core::{Controller, Effect, Input, Settings};
//! use ferrolb_api::config::{Kind, Resources};
//! use ferrolb_api::{Service, Time};
//! use serde_json::{from_value, json};
//!
//! let mut resources = Resources::default();
//! let pool = json!({ "metadata": { "name": "first" }, "spec": { "addresses": ["192.0.2.8/29"] } });
//! resources.read(Kind::IPAddressPool, &pool);
//! let object: k8s_openapi::api::core::v1::Service = from_value(json!({
//!     "metadata": { "namespace": "default", "name": "web", "uid": "1", "resourceVersion": "7" },
//!     "spec": { "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"] },
//! }))?;
//!
//! let mut controller = Controller::new(Settings::default());
//! let now = Time::ZERO;
//! controller.handle(now, Input::Resources(resources));
//! assert!(!controller.is_ready(), "it has not seen what Services hold");
//! controller.handle(now, Input::Services(vec![Service::from(&object)]));
//!
//! let mut written = Vec::new();
//! while let Some(effect) = controller.poll_effect() {
//!     if let Effect::WriteService { service, addresses, resource_version, .. } = effect {
//!         written.push(format!("{service} {addresses:?} over {resource_version}"));
//!     }
//! }
//! assert_eq!(written, ["default/web [192.0.2.8] over 7"]);
//! assert_eq!(controller.poll_timeout(), None, "nothing happens by time alone");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! `examples/drive.rs` adds a store that takes the writes and tells of them.
//!
//! Where to look: `controller` dispatches, `services` has the table of Services,
//! `service_state` and `write_state` what becomes of one of them, with a table of
//! states each; `reconcile` decides with `retain`, `request` and `pool_choice`,
//! over `pools`, `allocator` and `sharing`; `patience` says what waits a moment.

#![forbid(unsafe_code)]

mod allocator;
mod controller;
mod effect;
mod exhaustion;
mod input;
mod patience;
mod pool_choice;
mod pools;
mod reconcile;
mod request;
mod retain;
mod service_state;
mod services;
mod sharing;
mod usage;
mod verdicts;
mod write_conflict;
mod write_state;

pub use controller::{Assigned, Controller, Settings};
pub use effect::{Effect, EventReason, Notice, PoolUsage};
pub use input::Input;

#[cfg(test)]
mod tests;
