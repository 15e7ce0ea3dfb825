//! A cluster and a client, as the checklist wants them: apply, wait, ask. The invariants of reliability.md 3.3 are looked
//! after all the while, and a test ends with a look at what they found.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferrolb_api::{NodeName, ServiceKey};
use netsim::lab::address_plan::{self, Lan};
use netsim::lab::api::objects::{Key, Kind, Object};
use netsim::lab::checks::reference_election;
use netsim::lab::run::action::Action;
use netsim::lab::run::scenario::Scenario;
use netsim::lab::run::world::{Proto, World};

use super::objects::{Service, pool};

/// Until every node has booted and has met the others.
const BOOT: Duration = Duration::from_secs(5);
/// Until a change has reached everybody and was acted upon. MetalLB's own tests wait up to a minute.
const SETTLE: Duration = Duration::from_secs(2);

/// Two ranges on the first LAN, one of each family.
pub(crate) const BOTH: &[&str] = &["172.16.16.101-172.16.16.120", "fd00:16::101-fd00:16::120"];
/// The port of the echo.
pub(crate) const ECHO: u16 = 7;

/// The cluster and whoever looks at it.
pub(crate) struct Lab {
    world: World,
}

impl Lab {
    /// So many nodes on one LAN, and nothing else.
    pub(crate) fn new(nodes: u8) -> Self {
        Self::start(nodes, false)
    }

    /// The same with a second NIC for each node, on a second LAN.
    pub(crate) fn with_two_lans(nodes: u8) -> Self {
        Self::start(nodes, true)
    }

    /// Three nodes, a pool of both families, and one advertisement of everything.
    pub(crate) fn standard() -> Self {
        let mut lab = Self::new(3);
        lab.apply(&[pool("first-pool", BOTH, ""), super::objects::advertisement("all", "")]);
        lab
    }

    fn start(nodes: u8, has_second_lan: bool) -> Self {
        let scenario = Scenario {
            nodes,
            has_second_lan,
            ..Scenario::new("checklist", "a cluster in the hands of a test")
        };
        let mut world = World::interactive(&scenario, 1).expect("a valid scenario");
        world.run_for(BOOT);
        Self { world }
    }

    /// `kubectl apply`, and time for it.
    pub(crate) fn apply(&mut self, manifests: &[impl AsRef<str>]) {
        for manifest in manifests {
            self.world.apply_text(manifest.as_ref()).expect("a test writes whole objects");
        }
        self.settle();
    }

    /// The same for a Service; gives its addresses.
    pub(crate) fn serve(&mut self, service: &Service) -> Vec<IpAddr> {
        let yaml = service.yaml();
        let name =
            yaml.split("name: ").nth(1).and_then(|rest| rest.split(',').next()).expect("it has a name");
        let name = name.to_owned();
        self.apply(&[yaml]);
        self.addresses(&name)
    }

    /// The same with endpoints on these nodes only.
    pub(crate) fn serve_from(&mut self, service: &Service, name: &str, nodes: &[&str]) -> Vec<IpAddr> {
        self.world.set_endpoints(&ServiceKey::new("default", name), nodes);
        self.serve(service)
    }

    pub(crate) fn settle(&mut self) {
        self.world.run_for(SETTLE);
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, duration: Duration) {
        self.world.run_for(duration);
    }

    pub(crate) fn delete(&mut self, kind: Kind, name: &str) {
        let namespace = if kind == Kind::Service { "default" } else { "metallb-system" };
        self.world.delete(kind, namespace, name);
        self.settle();
    }

    /// Changes the labels of an object.
    pub(crate) fn label(&mut self, kind: Kind, name: &str, label: &str, value: Option<&str>) {
        let namespace = match kind {
            Kind::Node => "",
            Kind::Service => "default",
            _ => "metallb-system",
        };
        let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        self.world.edit(&key, |object: &mut Object| {
            let labels = object.metadata_mut().labels.get_or_insert_default();
            match value {
                Some(value) => labels.insert(label.to_owned(), value.to_owned()),
                None => labels.remove(label),
            };
        });
        self.settle();
    }

    pub(crate) fn set_network_unavailable(&mut self, node: &str, is_unavailable: bool) {
        self.world.set_network_unavailable(node, is_unavailable);
        self.settle();
    }

    pub(crate) fn taint(&mut self, node: &str, is_tainted: bool) {
        self.world.taint(node, is_tainted);
        self.world.run_for(BOOT);
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.world.act(action);
        self.settle();
    }

    /// What a Service's status holds.
    pub(crate) fn addresses(&self, service: &str) -> Vec<IpAddr> {
        self.world.addresses_of(&ServiceKey::new("default", service))
    }

    /// An object as it stands.
    pub(crate) fn object(&self, kind: Kind, name: &str) -> Option<&Object> {
        let namespace = if kind == Kind::Service { "default" } else { "metallb-system" };
        let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        self.world.api().store().get(&key)
    }

    /// The names of the NICs that answer for `address` on a LAN.
    pub(crate) fn who_has(&mut self, lan: Lan, address: IpAddr) -> Vec<String> {
        self.world.who_has(lan, address)
    }

    /// The one node that answers for `address` on the first LAN.
    pub(crate) fn owner(&mut self, address: IpAddr) -> String {
        let mut answering = self.who_has(Lan::First, address);
        assert_eq!(answering.len(), 1, "one node answers for {address}: {answering:?}");
        answering.remove(0)
    }

    /// Asks at an address and port; gives the node that served, which must be the one whose hardware address was given
    /// for it.
    pub(crate) fn ask(&mut self, lan: Lan, address: IpAddr, port: u16, how: Proto) -> Option<String> {
        let reply = self.world.ask(lan, SocketAddr::new(address, port), how)?;
        let node = reply.via.split('/').next().unwrap_or_default();
        assert_eq!(reply.node, node, "{address} is answered by whom ARP or NDP named ({})", reply.via);
        Some(reply.node)
    }

    /// The echo of an address is served by its owner; gives the owner.
    pub(crate) fn is_served(&mut self, address: IpAddr) -> String {
        let owner = self.owner(address);
        assert_eq!(self.ask(Lan::First, address, ECHO, Proto::Udp).as_deref(), Some(&*owner), "{address}");
        owner
    }

    /// Nobody answers for an address, on any LAN.
    pub(crate) fn is_silent(&mut self, address: IpAddr) {
        for lan in Lan::ALL {
            assert_eq!(self.who_has(lan, address), [""; 0], "nobody has {address} on {lan:?}");
        }
    }

    /// The nodes' Kubernetes Events of this reason on a Service: who wrote them, oldest first.
    pub(crate) fn events(&self, service: &str, reason: &str) -> Vec<String> {
        let service = ServiceKey::new("default", service);
        let told = self.world.events().iter().filter(|told| told.service == service && told.reason == reason);
        told.map(|told| told.from.clone()).collect()
    }

    /// The simulated cluster itself.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let found: Vec<String> = self.world.violations().iter().map(ToString::to_string).collect();
            assert!(found.is_empty(), "{}\n{}", self.world.timeline().to_text(), found.join("\n"));
        }
    }
}

/// The names of the first nodes.
pub(crate) fn node_names(count: u8) -> Vec<String> {
    (0..count).map(address_plan::node_name).collect()
}

/// Who wins by D20's hash alone, computed apart from the code under test.
pub(crate) fn hash_winner(nodes: &[String], address: IpAddr) -> String {
    let nodes: Vec<NodeName> = nodes.iter().map(|name| NodeName::from(name.as_str())).collect();
    reference_election::first(&nodes, address).expect("there are nodes").to_string()
}

/// Some node that is not this one.
pub(crate) fn other_than(nodes: &[String], not: &str) -> String {
    nodes.iter().find(|name| *name != not).expect("there are two nodes at least").clone()
}

/// An address in a literal.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("a test writes valid addresses")
}
