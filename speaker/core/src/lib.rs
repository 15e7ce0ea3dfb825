//! Decides which addresses this node owns, and answers ARP and NDP for them.
//!
//! [`Speaker`] is a plain value without socket, clock, thread or Kubernetes client:
//! [`Speaker::handle`] takes one [`Input`], [`Speaker::poll_effect`] gives what must be
//! done, and [`Speaker::poll_timeout`] says when to come back if nothing happens. The
//! same type runs in the `speaker` binary and in the simulator; one sequence of inputs
//! and times gives one sequence of effects.
//!
//! A node alone, which nobody else can take an address from:
//!
//! ```
//! use ferrolb_api::config::{Kind, Resources};
//! use ferrolb_api::endpoints::Endpoint;
//! use ferrolb_api::{EndpointSlice, Node, Service, ServiceKey, Time};
//! use serde_json::{from_value, json};
//! use speaker_core::{Effect, Input, Interface, InterfaceId, MacAddr, Settings, Speaker};
//!
//! let mut speaker = Speaker::new(Settings {
//!     node: "wk01".into(),
//!     load_balancer_class: None,
//!     ignore_exclude_label: false,
//!     gossip_address: None,
//!     gossip_secret: None,
//!     boot_id: 1,
//!     seed: [7; 32],
//! });
//! let mut resources = Resources::default();
//! let pool = json!({ "metadata": { "name": "first" }, "spec": { "addresses": ["192.0.2.8/29"] } });
//! resources.read(Kind::IPAddressPool, &pool);
//! resources.read(Kind::L2Advertisement, &json!({ "metadata": { "name": "all" } }));
//! let service: k8s_openapi::api::core::v1::Service = from_value(json!({
//!     "metadata": { "namespace": "default", "name": "web", "uid": "1" },
//!     "spec": { "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"] },
//!     "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.8" }] } },
//! }))?;
//! let interface = Interface {
//!     id: InterfaceId(2),
//!     name: "eth0".to_owned(),
//!     mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
//!     addresses: vec![([192, 0, 2, 1].into(), 24)],
//!     gateways: Vec::new(),
//!     is_up: true,
//!     has_carrier: true,
//!     can_broadcast: true,
//!     no_arp: false,
//!     master: None,
//!     ipv6_is_off: false,
//! };
//! let endpoints = EndpointSlice {
//!     api_server: Default::default(),
//!     namespace: "default".to_owned(),
//!     name: "web-1".to_owned(),
//!     service: Some(ServiceKey::new("default", "web")),
//!     endpoints: vec![Endpoint { node: Some("wk01".into()), can_serve: true }],
//! };
//! let node = Node { name: "wk01".into(), labels: Default::default(), network_unavailable: false, addresses: Default::default() };
//!
//! let now = Time::ZERO;
//! speaker.handle(now, Input::Interfaces(vec![interface]));
//! speaker.handle(now, Input::Nodes(vec![node]));
//! speaker.handle(now, Input::EndpointSlices(vec![endpoints]));
//! speaker.handle(now, Input::Services(vec![Service::from(&service)]));
//! assert!(speaker.is_ready().is_err(), "it does not know the pools");
//! speaker.handle(now, Input::Resources(resources));
//! assert_eq!(speaker.is_ready(), Ok(()));
//!
//! let mut frames = 0;
//! while let Some(effect) = speaker.poll_effect() {
//!     frames += u32::from(matches!(effect, Effect::SendFrame { .. }));
//! }
//! assert_eq!(frames, 1, "a gratuitous ARP request for 192.0.2.8");
//! let again = speaker.poll_timeout().expect("it is repeated");
//! speaker.handle(again, Input::Timeout);
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! `examples/drive.rs` runs its timers for half a minute.
//!
//! Where to look, in four rooms: `ownership` says which addresses this node is to announce, out
//! of what Kubernetes and the members said; `wire` what goes out on interfaces, and what is
//! answered; `gossip` who is alive; `status` what people are told. `speaker` asks them in
//! their order; `lifecycle` is its way from the start to the end.

#![forbid(unsafe_code)]

mod counters;
mod effect;
#[cfg(test)]
mod fixtures;
mod gossip;
mod graceful_shutdown;
mod input;
mod interface;
mod lifecycle;
mod not_ready;
mod outputs;
mod ownership;
mod random;
mod settings;
mod speaker;
mod status;
mod wire;

pub use counters::{AddressCounters, Counters, MAX_COUNTED_ADDRESSES};
pub use effect::{Effect, EventReason, L2StatusChange, Notice, Report, WithdrawReason};
pub use gossip::envelope::GossipRejection;
pub use gossip::identity::is_node_name;
pub use gossip::unheard::UnheardPeers;
pub use input::{Input, Peer};
pub use interface::{Interface, InterfaceId, InterfaceSet, MacAddr, Obstacle};
pub use not_ready::NotReady;
pub use ownership::diagnosis::{Check, CheckFailure};
pub use settings::Settings;
pub use speaker::Speaker;
pub use wire::announcements::Announcement;
pub use wire::drop_reason::DropReason;
