//! Drives the speaker's core by hand: one node, one Service, and half a minute of its timers.
//!
//! `cargo run -p speaker-core --example drive`

use std::time::Duration;

use ferrolb_api::config::{Kind, Resources};
use ferrolb_api::endpoints::Endpoint;
use ferrolb_api::{EndpointSlice, Node, Service, ServiceKey, Time};
use serde_json::{from_value, json};
use speaker_core::{Input, Interface, InterfaceId, MacAddr, Settings, Speaker};

#[allow(clippy::print_stdout, reason = "it is there to be looked at")]
fn main() -> Result<(), serde_json::Error> {
    let end = Time::ZERO + Duration::from_secs(30);
    let mut speaker = Speaker::new(Settings {
        node: "wk01".into(),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: None,
        gossip_secret: None,
        boot_id: 1,
        seed: [7; 32],
    });
    let mut inputs = inputs()?.into_iter();
    let mut now = Time::ZERO;
    loop {
        // What has happened, or else what is due.
        let input = match (inputs.next(), speaker.poll_timeout()) {
            (Some(input), _) => input,
            (None, Some(due)) if due <= end => {
                now = due;
                Input::Timeout
            }
            (None, _) => return Ok(()),
        };
        speaker.handle(now, input);
        while let Some(effect) = speaker.poll_effect() {
            println!("{now:?} {effect:?}");
        }
    }
}

/// What a shell would tell of a cluster with one node and one Service.
fn inputs() -> Result<[Input<'static>; 5], serde_json::Error> {
    let mut resources = Resources::default();
    let pool = json!({ "metadata": { "name": "first" }, "spec": { "addresses": ["192.0.2.8/29"] } });
    resources.read(Kind::IPAddressPool, &pool);
    resources.read(Kind::L2Advertisement, &json!({ "metadata": { "name": "all" } }));
    let service: k8s_openapi::api::core::v1::Service = from_value(json!({
        "metadata": { "namespace": "default", "name": "web", "uid": "1" },
        "spec": { "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"] },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.8" }] } },
    }))?;
    let interface = Interface {
        id: InterfaceId(2),
        name: "eth0".to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        addresses: vec![([192, 0, 2, 1].into(), 24)],
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    };
    let endpoints = EndpointSlice {
        api_server: Default::default(),
        namespace: "default".to_owned(),
        name: "web-1".to_owned(),
        service: Some(ServiceKey::new("default", "web")),
        endpoints: vec![Endpoint { node: Some("wk01".into()), can_serve: true }],
    };
    let node = Node {
        name: "wk01".into(),
        labels: Default::default(),
        network_unavailable: false,
        addresses: Default::default(),
    };
    Ok([
        Input::Interfaces(vec![interface]),
        Input::Nodes(vec![node]),
        Input::EndpointSlices(vec![endpoints]),
        Input::Services(vec![Service::from(&service)]),
        Input::Resources(resources),
    ])
}
