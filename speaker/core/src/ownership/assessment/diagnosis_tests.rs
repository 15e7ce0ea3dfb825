//! Which failure is named, and that each text says what to do.

use std::collections::BTreeMap;

use ferrolb_api::node::EXCLUDE_LABEL;
use ferrolb_api::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;
use crate::fixtures::{advertisement, config, pool, service};
use crate::ownership::reach::{Reach, Reaches};

const NODES: [&str; 3] = ["cp01", "wk01", "wk02"];

/// A cluster in which `web` is announced; each case breaks something.
#[derive(Clone)]
struct World {
    service: Service,
    endpoints: Endpoints,
    config: Config,
    nodes: BTreeMap<NodeName, Node>,
    alive: Option<BTreeSet<NodeName>>,
    reaches: Reaches,
    class: Option<&'static str>,
    ignore_exclude_label: bool,
}

fn names(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| NodeName::from(*name)).collect()
}

fn selector(text: &str) -> Selector {
    let (key, value) = text.split_once('=').expect("the test writes key=value");
    let labels = [(key.to_owned(), value.to_owned())].into();
    let source = LabelSelector { match_labels: Some(labels), match_expressions: None };
    Selector::try_from(&source).expect("a legal selector")
}

fn world() -> World {
    let node = |name: &str| Node {
        name: name.into(),
        labels: BTreeMap::new(),
        network_unavailable: false,
        addresses: Default::default(),
    };
    World {
        service: service("web", vec![Ingress::Ip([172, 16, 16, 101].into())]),
        endpoints: Endpoints { any: true, nodes: names(&["wk01"]) },
        config: config([pool("main", &["172.16.16.101-172.16.16.110"])], [advertisement("l2")]),
        nodes: NODES.iter().map(|name| (NodeName::from(*name), node(name))).collect(),
        alive: Some(names(&NODES)),
        reaches: Reaches::new(),
        class: None,
        ignore_exclude_label: false,
    }
}

impl World {
    fn state(&self) -> AnnouncementState {
        let election = ElectionContext {
            nodes: &self.nodes,
            alive: self.alive.as_ref(),
            reaches: &self.reaches,
            ignore_exclude_label: self.ignore_exclude_label,
        };
        let (load_balancer_class, subnets) = (self.class, &BTreeSet::new());
        let occupied = &Occupied::new([], self.nodes.values(), []);
        let context = Context { load_balancer_class, config: &self.config, subnets, occupied };
        assess(context, &self.service, &self.endpoints).state(election)
    }

    /// No node has an interface to announce on.
    fn cut_off(&mut self) {
        self.reaches = self.nodes.keys().map(|name| (name.clone(), Reach::default())).collect();
    }

    fn ad(&mut self) -> &mut Advertisement {
        self.config.advertisements.get_mut("l2").expect("it is there")
    }

    fn label(&mut self, name: &str, label: &str) {
        let node = self.nodes.get_mut(&NodeName::from(name)).expect("it is there");
        node.labels.insert(label.to_owned(), String::new());
    }
}

type Edit = fn(&mut World);

/// From class to owner, each breaks with everything behind it in order.
const CHAIN: &[(CheckFailure, Edit, &[&str])] = &[
    (
        CheckFailure::NotAnAddress,
        |w| w.service.ingress = vec![Ingress::Hostname("lb.example.com".to_owned())],
        &["\"lb.example.com\"", "no IP address"],
    ),
    (
        CheckFailure::NotAnAddress,
        |w| w.service.ingress.push(Ingress::Unparsable("172.16.16".to_owned())),
        &["\"172.16.16\"", "no IP address"],
    ),
    (
        CheckFailure::NotInPool,
        |w| w.service.ingress = vec![Ingress::Ip([10, 0, 0, 1].into())],
        &["10.0.0.1 is in no IPAddressPool", "add a pool", "Ready condition"],
    ),
    (
        CheckFailure::Occupied,
        |w| {
            let Some(Ingress::Ip(address)) = w.service.ingress.first().cloned() else { return };
            w.nodes.values_mut().take(1).for_each(|node| node.addresses = [address].into());
        },
        &["is Node cp01's", "another address", "allowOccupiedAddresses"],
    ),
    (
        CheckFailure::NotAdvertised,
        |w| w.config.advertisements.clear(),
        &["no L2Advertisement in force announces IPAddressPool main", "create one"],
    ),
    (
        CheckFailure::NotSelected,
        |w| w.ad().service_selectors = vec![selector("app=other")],
        &["serviceSelectors of L2Advertisement l2", "labels of the Service"],
    ),
    (
        CheckFailure::SharedUnderSelectors,
        |w| {
            w.service.labels.insert("app".to_owned(), "web".to_owned());
            w.service.annotations.allow_shared_ip = Some("key".to_owned());
            w.ad().service_selectors = vec![selector("app=web")];
        },
        &["may share its address", "L2Advertisement l2 has serviceSelectors", "remove either"],
    ),
    (
        CheckFailure::NoEndpoint,
        |w| w.endpoints = Endpoints::default(),
        &["no endpoint of the Service is ready", "Pods", "selector"],
    ),
    (
        CheckFailure::NoNodeSelected,
        |w| w.ad().node_selectors = vec![selector("zone=a")],
        &["nodeSelectors of L2Advertisement l2 match no Node", "label a Node"],
    ),
    (
        CheckFailure::NodesExcluded,
        |w| NODES.iter().for_each(|name| w.label(name, EXCLUDE_LABEL)),
        &["cp01, wk01, wk02 may not announce", EXCLUDE_LABEL, "Talos", "--ignore-exclude-lb"],
    ),
    (
        CheckFailure::NetworkUnavailable,
        |w| w.nodes.values_mut().for_each(|node| node.network_unavailable = true),
        &["NetworkUnavailable", "network plugin"],
    ),
    (
        CheckFailure::NoLocalEndpoint,
        |w| {
            w.service.traffic_policy = TrafficPolicy::Local;
            w.label("wk01", EXCLUDE_LABEL);
        },
        &["externalTrafficPolicy is Local", "(cp01, wk02)", "set it to Cluster"],
    ),
    (
        CheckFailure::NoSpeaker,
        |w| w.alive = Some(BTreeSet::new()),
        &["no speaker is alive on cp01, wk01, wk02", "Pods"],
    ),
    (
        CheckFailure::NoNamedInterface,
        |w| {
            w.ad().interfaces = vec!["eth9".to_owned()];
            w.cut_off();
        },
        &["none of cp01, wk01, wk02", "(eth9)", "correct the names"],
    ),
    (CheckFailure::NoInterface, World::cut_off, &["has an interface that is up"]),
];

#[test]
fn each_failure_is_named_with_what_to_do() {
    assert_eq!(world().state(), AnnouncementState::Announced);
    for (failure, edit, words) in CHAIN {
        let mut world = world();
        edit(&mut world);
        let AnnouncementState::Blocked(diagnosis) = world.state() else { panic!("{failure:?} is none") };
        let text = diagnosis.to_string();
        assert_eq!(diagnosis.failure, *failure, "{text}");
        for word in *words {
            assert!(text.contains(word), "{word:?} in {text:?}");
        }
        assert!(text.len() < 300, "{text}");
    }
    let without_text = |failure: &CheckFailure| failure.text().is_none();
    // What a Service lacks beside others shows among others (ownership/tests.rs).
    let alone = |failure: &CheckFailure| failure.check() != Check::Sharing && !without_text(failure);
    for failure in CheckFailure::ALL.iter().filter(|failure| alone(failure)) {
        assert!(CHAIN.iter().any(|(one, ..)| one == failure), "{failure:?} has no row");
    }
}

/// Two checks fail: the earlier one is named.
#[test]
fn the_first_failed_check_is_named() {
    for (earlier, (first, edit, _)) in CHAIN.iter().enumerate() {
        for (_, later, _) in &CHAIN[earlier + 1..] {
            let mut world = world();
            later(&mut world);
            edit(&mut world);
            let AnnouncementState::Blocked(diagnosis) = world.state() else { panic!("{first:?} is none") };
            // Where the second edit is of the same thing, it takes the place of the first.
            let at = |check: Check| {
                CHAIN.iter().position(|(one, ..)| one.check() == check).expect("each has a row")
            };
            assert!(at(diagnosis.failure.check()) <= at(first.check()), "{first:?}: {diagnosis}");
        }
    }
}

#[test]
fn what_the_controller_reports_is_not_said_twice() {
    let cases: [(&str, Edit); 3] = [
        ("no address yet", |w| w.service.ingress.clear()),
        ("C2: another class", |w| w.service.load_balancer_class = Some("other".to_owned())),
        ("D4: no load balancer", |w| w.service.is_load_balancer = false),
    ];
    for (case, edit) in cases {
        let mut world = world();
        world.endpoints = Endpoints::default();
        edit(&mut world);
        assert_eq!(world.state(), AnnouncementState::Nothing, "{case}");
    }
    let mut world = world();
    (world.class, world.service.load_balancer_class) = (Some("ours"), Some("ours".to_owned()));
    assert_eq!(world.state(), AnnouncementState::Announced, "our own class");
}

#[test]
fn c14_d10_to_d14_what_is_no_obstacle() {
    let cases: [(&str, Edit); 6] = [
        ("C14: a hostname beside the address", |w| {
            w.service.ingress.push(Ingress::Hostname("lb.example.com".to_owned()));
        }),
        ("one node is left", |w| {
            w.label("cp01", EXCLUDE_LABEL);
            w.label("wk01", EXCLUDE_LABEL);
        }),
        ("D12: the label is ignored", |w| {
            NODES.iter().for_each(|name| w.label(name, EXCLUDE_LABEL));
            w.ignore_exclude_label = true;
        }),
        ("H110: membership is off", |w| w.alive = None),
        ("D14: an endpoint on one node", |w| w.service.traffic_policy = TrafficPolicy::Local),
        ("B18: another advertisement fits", |w| {
            w.ad().node_selectors = vec![selector("zone=a")];
            w.config.advertisements.insert("more".to_owned(), advertisement("more"));
        }),
    ];
    for (case, edit) in cases {
        let mut world = world();
        edit(&mut world);
        assert_eq!(world.state(), AnnouncementState::Announced, "{case}");
    }
}
