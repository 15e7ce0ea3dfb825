//! Several nodes with the same cluster before them: who announces what, whatever came
//! in which order.

use super::*;
use crate::fixtures::{self, advertisement, pool};
use ferrolb_api::config::Advertisement;
use ferrolb_api::endpoints::Endpoint;
use ferrolb_api::selector::Selector;
use ferrolb_api::service::{Ingress, TrafficPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;

/// What a test says of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Web {
    name: String,
    addresses: Vec<IpAddr>,
    /// The nodes with an endpoint.
    on: Vec<usize>,
    is_local: bool,
    /// The only node that an advertisement of its own selects.
    only: Option<usize>,
}

/// One node: what it knows, and what it announces by what it was told of.
struct Seat {
    ownership: Ownership,
    announced: BTreeMap<ServiceKey, Announced>,
}

const NODES: usize = 3;

fn node(number: usize) -> NodeName {
    format!("node-{}", ["a", "b", "c"][number]).into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

fn web(name: &str, addresses: &[&str], on: &[usize]) -> Web {
    let addresses = addresses.iter().map(|address| ip(address)).collect();
    Web { name: name.to_owned(), addresses, on: on.to_vec(), is_local: true, only: None }
}

fn cluster(web: Web) -> Web {
    Web { is_local: false, ..web }
}

fn only(web: Web, node: usize) -> Web {
    Web { only: Some(node), ..web }
}

fn selecting(key: &str, value: &str) -> Selector {
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let source = LabelSelector { match_labels: Some(labels), match_expressions: None };
    Selector::try_from(&source).expect("a legal selector")
}

/// One advertisement of each node, for the Services labelled so, and one of all.
fn config() -> Config {
    let of_node = |number: usize| Advertisement {
        node_selectors: vec![selecting("name", node(number).as_str())],
        service_selectors: vec![selecting("only", &number.to_string())],
        ..advertisement(&format!("only-{number}"))
    };
    let of_all = Advertisement { service_selectors: vec![selecting("only", "none")], ..advertisement("all") };
    let pool = pool("main", &["10.0.0.0/24", "fd00::/64"]);
    fixtures::config([pool], (0..NODES).map(of_node).chain([of_all]))
}

fn service(web: &Web) -> Service {
    let only = web.only.map_or_else(|| "none".to_owned(), |node| node.to_string());
    Service {
        labels: BTreeMap::from([("only".to_owned(), only)]),
        traffic_policy: if web.is_local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
        ..fixtures::service(&web.name, web.addresses.iter().copied().map(Ingress::Ip).collect())
    }
}

fn slice(web: &Web) -> EndpointSlice {
    let endpoint = |number: &usize| Endpoint { node: Some(node(*number)), can_serve: true };
    EndpointSlice {
        namespace: "default".to_owned(),
        name: format!("{}-1", web.name),
        service: Some(ServiceKey::new("default", &web.name)),
        endpoints: web.on.iter().map(endpoint).collect(),
        api_server: BTreeSet::new(),
    }
}

impl Seat {
    /// A node that knows the configuration and the Nodes.
    fn new(own: usize) -> Self {
        let settings = Settings {
            node: node(own),
            load_balancer_class: None,
            ignore_exclude_label: false,
            gossip_address: None,
            gossip_secret: None,
            boot_id: 1,
            seed: [0; 32],
        };
        let mut ownership = Ownership::new(&settings);
        ownership.set_config(config(), Members::unknown());
        let labelled = |number: usize| Node {
            name: node(number),
            labels: BTreeMap::from([("name".to_owned(), node(number).to_string())]),
            network_unavailable: false,
            addresses: BTreeSet::new(),
        };
        ownership.set_nodes((0..NODES).map(labelled).collect());
        Self { ownership, announced: BTreeMap::new() }
    }

    /// Looks at what has changed, and at nothing else, as the speaker does.
    fn settle(&mut self, members: Members<'_>) {
        let mut work = self.ownership.take_work();
        for service in &work.services {
            self.ownership.check(service);
        }
        work.services.extend(self.ownership.regroup());
        if work.election {
            work.services.extend(self.ownership.affected(members, self.announced.keys()));
        }
        for service in work.services {
            match self.ownership.decide(&service, members, |_, _| Ok(())) {
                Decision::Announce(announced, _) => _ = self.announced.insert(service, announced),
                _ => _ = self.announced.remove(&service),
            }
        }
    }

    fn set(&mut self, web: &Web) {
        self.ownership.set_service(service(web));
        self.ownership.set_endpoint_slice(slice(web));
    }

    fn remove(&mut self, name: &str) {
        self.ownership.remove_service(ServiceKey::new("default", name));
        self.ownership.remove_endpoint_slice("default".to_owned(), format!("{name}-1"));
    }
}

/// What all nodes announce that hear each other, each having heard of `webs` as they
/// stand and of nothing before.
fn announced(webs: &[Web], alive: &BTreeSet<NodeName>) -> Vec<BTreeMap<ServiceKey, Announced>> {
    let reaches = Reaches::new();
    let members = Members { alive: Some(alive), reaches: &reaches };
    let of_node = |own: usize| {
        let mut seat = Seat::new(own);
        for web in webs {
            seat.set(web);
        }
        seat.settle(members);
        seat.announced
    };
    (0..NODES).map(of_node).collect()
}

fn everybody() -> BTreeSet<NodeName> {
    (0..NODES).map(node).collect()
}

/// Who announces each Service: `-` where nobody does.
fn owners(webs: &[Web]) -> String {
    let all = announced(webs, &everybody());
    let owner = |web: &Web| {
        let key = ServiceKey::new("default", &web.name);
        let on: Vec<usize> = (0..NODES).filter(|node| all[*node].contains_key(&key)).collect();
        match on.as_slice() {
            [] => "-".to_owned(),
            nodes => nodes.iter().map(|number| ["a", "b", "c"][*number]).collect(),
        }
    };
    webs.iter().map(owner).collect::<Vec<_>>().join(" ")
}

/// 10.0.0.1 goes to node-b, then node-a; fd00::10 to node-c, then node-a (D24).
#[test]
fn d21_services_that_share_an_address_have_one_owner() {
    const V4: &str = "10.0.0.1";
    const V6: &str = "fd00::10";
    let all = &[0, 1, 2];
    let pair = || cluster(web("x", &[V4, V6], all));
    for (what, webs, expected) in [
        ("nothing shared", vec![cluster(web("x", &[V4], all)), cluster(web("y", &[V6], all))], "b c"),
        ("an IPv6 address of two", vec![pair(), cluster(web("y", &[V6], all))], "b b"),
        ("either way", vec![cluster(web("a", &[V6], all)), pair()], "b b"),
        ("IPv6 first", vec![cluster(web("x", &[V6, V4], all)), cluster(web("y", &[V4], all))], "b b"),
        ("Local, slices differ", vec![web("x", &[V4], &[0]), web("y", &[V4], &[0, 1])], "a a"),
        ("Local and Cluster", vec![web("x", &[V4], &[0]), cluster(web("y", &[V4], &[1]))], "a a"),
        ("Local, no node in common", vec![web("x", &[V4], &[0]), web("y", &[V4], &[1])], "- b"),
        ("one without endpoints", vec![web("x", &[V4], &[0]), web("y", &[V4], &[])], "a -"),
        ("one without an address", vec![web("x", &[V4], &[0]), web("y", &[], &[1])], "a -"),
        (
            "one announced elsewhere",
            vec![cluster(web("x", &[V4], all)), only(cluster(web("y", &[V4], all)), 2)],
            "c c",
        ),
        (
            "one announced elsewhere, Local",
            vec![web("x", &[V4], &[0, 1]), only(web("y", &[V4], all), 2)],
            "b -",
        ),
        (
            "a chain of three",
            vec![pair(), cluster(web("y", &[V6, "10.0.0.3"], all)), web("z", &["10.0.0.3"], &[2])],
            "c c c",
        ),
        (
            "a chain of three, in parts",
            vec![web("x", &[V4], &[1]), web("y", &[V4, V6], &[0]), web("z", &[V6], &[2])],
            "b - c",
        ),
    ] {
        assert_eq!(owners(&webs), expected, "{what}");
    }
}

#[test]
fn a_service_that_is_left_out_says_with_whom_it_shares_what() {
    let webs = [web("x", &["10.0.0.1"], &[0]), web("y", &["10.0.0.1"], &[1])];
    for own in 0..NODES {
        let mut seat = Seat::new(own);
        webs.iter().for_each(|web| seat.set(web));
        seat.settle(Members::unknown());
        let state = |name| seat.ownership.state(&ServiceKey::new("default", name), Members::unknown());
        assert_eq!(state("y"), AnnouncementState::Announced);
        let AnnouncementState::Blocked(diagnosis) = state("x") else { panic!("node {own}: it is left out") };
        assert_eq!(diagnosis.failure, CheckFailure::LeftOutOfSharing);
        let text = diagnosis.to_string();
        let expected = "it shares 10.0.0.1, and so its owner, with default/y, and no node can serve them all; node-b answers";
        assert!(text.starts_with(expected), "{text}");
        // Without endpoints that is what is wrong with it.
        seat.set(&web("x", &["10.0.0.1"], &[]));
        seat.settle(Members::unknown());
        let state = seat.ownership.state(&ServiceKey::new("default", "x"), Members::unknown());
        assert!(matches!(
            state,
            AnnouncementState::Blocked(Diagnosis { failure: CheckFailure::NoEndpoint, .. })
        ));
    }
}

/// Services of few addresses, so that most share and chain.
fn webs() -> impl Strategy<Value = Vec<Web>> {
    let addresses = proptest::sample::subsequence(vec!["10.0.0.1", "10.0.0.2"], 0..=1).prop_flat_map(|v4| {
        proptest::sample::subsequence(vec!["fd00::10", "fd00::11"], 0..=1)
            .prop_map(move |v6| v4.iter().chain(&v6).map(|address| ip(address)).collect::<Vec<_>>())
    });
    let on = proptest::sample::subsequence((0..NODES).collect::<Vec<_>>(), 0..=NODES);
    let only = proptest::option::weighted(0.2, 0..NODES);
    let one = (0..6_usize, addresses, any::<bool>(), on, any::<bool>(), only);
    let one = one.prop_map(|(name, mut addresses, swap, on, is_local, only)| {
        if swap {
            addresses.reverse();
        }
        Web { name: format!("w{name}"), addresses, on, is_local, only }
    });
    proptest::collection::vec(one, 1..24)
}

proptest! {
    /// S6, S12, L1, L4, by address: all nodes name one owner for each address, whatever
    /// they were told before and in which order; who announces can serve; no address falls
    /// silent that somebody could answer for.
    #[test]
    fn d21_d23_one_owner_for_each_address(history in webs(), dies in proptest::option::of(0..NODES)) {
        let (reaches, everybody) = (Reaches::new(), everybody());
        let mut alive = everybody.clone();
        let mut now: BTreeMap<String, Web> = BTreeMap::new();
        let mut seats: Vec<Seat> = (0..NODES).map(Seat::new).collect();
        for (step, web) in history.iter().enumerate() {
            // What is set again as it is goes.
            let gone = now.get(&web.name).is_some_and(|known| known.is_local == web.is_local);
            if gone { now.remove(&web.name) } else { now.insert(web.name.clone(), web.clone()) };
            if step == history.len() / 2 {
                alive.extend(everybody.clone());
            } else if step > history.len() / 2 && let Some(number) = dies {
                alive.remove(&node(number));
            }
            for (own, seat) in seats.iter_mut().enumerate() {
                if gone { seat.remove(&web.name) } else { seat.set(web) }
                seat.ownership.members_changed();
                if (step + own) % 3 != 0 {
                    seat.settle(Members { alive: Some(&alive), reaches: &reaches });
                }
            }
        }
        for seat in &mut seats {
            seat.settle(Members { alive: Some(&alive), reaches: &reaches });
        }
        let now: Vec<Web> = now.into_values().rev().collect();
        let fresh = announced(&now, &alive);
        for (own, seat) in seats.iter().enumerate() {
            prop_assert_eq!(&seat.announced, &fresh[own], "nothing remembered shows");
        }
        let living = (0..NODES).filter(|own| alive.contains(&node(*own)));
        let mut owner_of: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for own in living.clone() {
            for (service, announced) in &fresh[own] {
                let web = now.iter().find(|web| web.name == service.name()).expect("it exists");
                prop_assert!(!web.is_local || web.on.contains(&own), "S12: {web:?} on {own}");
                prop_assert!(web.only.is_none_or(|only| only == own), "{web:?} on {own}");
                for address in &announced.addresses {
                    prop_assert_eq!(*owner_of.entry(*address).or_insert(own), own, "two owners of {}", address);
                }
            }
        }
        for web in now.iter().filter(|web| !web.on.is_empty() && !web.addresses.is_empty()) {
            let can = |own: &usize| (!web.is_local || web.on.contains(own)) && web.only.is_none_or(|only| only == *own);
            let answered = web.addresses.iter().any(|address| owner_of.contains_key(address));
            prop_assert!(answered || !living.clone().any(|own| can(&own)), "{web:?} is silent");
        }
    }
}
