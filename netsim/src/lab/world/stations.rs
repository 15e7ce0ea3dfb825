//! What hangs on the switch beside the nodes, and by what wires.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::IpCidr;

use crate::lab::client::{Client, Pace};
use crate::lab::plan;
use crate::lab::random::Seed;
use crate::lab::scenario::{ClientKind, Link, Scenario};
use crate::net::faults::{Chance, Faults};
use crate::net::host::{Host, HostSettings};

/// How often the router asks the first address, beside the clients.
const ROUTER_PACE: Pace = Pace { ask: Duration::from_millis(250), fetch: Duration::ZERO };

/// What every wire does to frames.
pub(super) fn faults(link: Link) -> Faults {
    let micros = |duration: Duration| {
        smoltcp::time::Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    };
    Faults {
        jitter: micros(link.jitter),
        loss: Chance::ratio(link.loss, 10_000),
        ..Faults::delay(micros(link.delay))
    }
}

/// The clients of a scenario, and the router behind them.
pub(super) fn clients(scenario: &Scenario, seed: Seed) -> (Vec<Client>, Vec<Ipv4Addr>) {
    let (mut clients, mut addresses) = (Vec::new(), Vec::new());
    for (index, kind) in scenario.clients.iter().enumerate() {
        let number = u8::try_from(index).unwrap_or(u8::MAX);
        let address = plan::client_address(number);
        let name = if index == 0 { "client".to_owned() } else { kind.as_str().to_owned() };
        let is_taken = clients.iter().any(|client: &Client| client.name() == name);
        let name = if is_taken || name == "router" { format!("{name}-{}", index + 1) } else { name };
        let fetch = if index == 0 { scenario.fetch_every } else { Duration::ZERO };
        let pace = Pace { ask: scenario.ask_every, fetch };
        clients.push(Client::new(&name, *kind, address, pace, seed.word(&format!("client/{index}"))));
        addresses.push(address);
    }
    let kind = ClientKind::RouterIgnoringGratuitousReplies;
    clients.push(Client::new("router", kind, plan::ROUTER, ROUTER_PACE, seed.word("router")));
    addresses.push(plan::ROUTER);
    (clients, addresses)
}

/// The host that has the API server's address.
pub(super) fn api_host(seed: Seed) -> Host {
    let address = IpCidr::new(plan::API_VIP.into(), plan::PREFIX_LEN);
    Host::new(HostSettings::new("api", plan::mac(plan::API_VIP), address, seed.word("api")))
}
