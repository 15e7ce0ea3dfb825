//! The speaker's `kube.rs` against the in-memory API server, under tokio's
//! paused clock: what the core would know must be what the server holds,
//! whatever happens between them.

#[path = "kube_support.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use fake_api::{FakeApi, Fault, FaultPlan, Match, RequestRecord};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use metallb_api::crd::{IPAddressPool, L2Advertisement, ServiceL2Status};
use metallb_api::l2_status::{L2StatusContent, Subject};
use metallb_api::{EndpointSlice, Node, NodeName, Service, ServiceKey};
use metallb_shell::metrics::ClientMetrics;
use metallb_shell::{Readiness, shutdown};
use serde_json::json;
use speaker_core::{Effect, EventReason, Input, L2StatusChange, Peer};
use support::{NAMESPACE, account, advertisement, fake, pool, rbac_mismatch, service, typed};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Long enough for any retry of `kube.rs` to have come round: the longest
/// backoff of a watch, its timeout, and the longest backoff of a write.
const SETTLED: Duration = Duration::from_secs(180);
/// L10: a watch that hangs is noticed and replaced within this time.
const L10: Duration = Duration::from_secs(60);

/// What a core knows from its inputs.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    /// Every pool that can be read: its name and ranges.
    pools: BTreeMap<String, Vec<String>>,
    advertisements: Vec<String>,
    undecodable: Vec<String>,
    namespaces: Vec<String>,
    services: BTreeMap<ServiceKey, Service>,
    slices: BTreeMap<(String, String), EndpointSlice>,
    nodes: Vec<Node>,
    peers: Vec<Peer>,
}

impl View {
    fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Resources(resources) => {
                let name = |name: &Option<String>| name.clone().unwrap_or_default();
                self.pools = (resources.pools.iter())
                    .map(|pool| (name(&pool.metadata.name), pool.spec.addresses.clone()))
                    .collect();
                self.advertisements =
                    resources.l2_advertisements.iter().map(|ad| name(&ad.metadata.name)).collect();
                self.undecodable = resources.undecodable.iter().map(|bad| bad.name.clone()).collect();
                self.namespaces =
                    resources.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
            }
            Input::Services(all) => {
                self.services = all.into_iter().map(|service| (service.key.clone(), service)).collect();
            }
            Input::Service(service) => {
                self.services.insert(service.key.clone(), *service);
            }
            Input::ServiceGone(key) => {
                self.services.remove(&key);
            }
            Input::EndpointSlices(all) => {
                let key = |slice: &EndpointSlice| (slice.namespace.clone(), slice.name.clone());
                self.slices = all.into_iter().map(|slice| (key(&slice), slice)).collect();
            }
            Input::EndpointSlice(slice) => {
                self.slices.insert((slice.namespace.clone(), slice.name.clone()), slice);
            }
            Input::EndpointSliceGone { namespace, name } => {
                self.slices.remove(&(namespace, name));
            }
            Input::Nodes(nodes) => self.nodes = nodes,
            Input::Peers(peers) => self.peers = peers,
            // tests/speaker_l2_status.rs looks at these.
            Input::L2Statuses(_) | Input::L2Status(_) | Input::L2StatusGone(_) => {}
            other => panic!("kube.rs has no business with {other:?}"),
        }
    }

    /// What the server holds; pools that do not decode are given.
    fn truth(api: &FakeApi, undecodable: &[&str]) -> Self {
        let services = api.list::<core::Service>(None).expect("they decode");
        let services = services.iter().map(Service::from).map(|service| (service.key.clone(), service));
        let slices = api.list::<discovery::EndpointSlice>(None).expect("they decode");
        let slices = slices.iter().map(EndpointSlice::from);
        let nodes = api.list::<core::Node>(None).expect("they decode");
        let pools = if undecodable.is_empty() {
            api.list::<IPAddressPool>(Some(NAMESPACE)).expect("they decode")
        } else {
            Vec::new()
        };
        let advertisements = api.list::<L2Advertisement>(Some(NAMESPACE)).expect("they decode");
        let mut peers: Vec<_> = api
            .list::<core::Pod>(Some(NAMESPACE))
            .expect("they decode")
            .iter()
            .filter(|pod| pod.metadata.labels.as_ref().is_some_and(|labels| labels["component"] == "speaker"))
            .filter_map(|pod| {
                let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
                Some(Peer { node: pod.spec.as_ref()?.node_name.clone()?.into(), address })
            })
            .collect();
        peers.sort();
        let name = |name: Option<String>| name.unwrap_or_default();
        Self {
            pools: pools.into_iter().map(|pool| (name(pool.metadata.name), pool.spec.addresses)).collect(),
            advertisements: advertisements.into_iter().map(|ad| name(ad.metadata.name)).collect(),
            undecodable: undecodable.iter().map(|name| (*name).to_owned()).collect(),
            namespaces: Vec::new(),
            services: services.collect(),
            slices: slices.map(|slice| ((slice.namespace.clone(), slice.name.clone()), slice)).collect(),
            nodes: nodes.iter().map(Node::from).collect(),
            peers,
        }
    }
}

/// A running `kube.rs`.
struct Shell {
    inputs: mpsc::Receiver<Input<'static>>,
    effects: mpsc::Sender<Effect>,
    readiness: Readiness,
    trigger: shutdown::Trigger,
    task: JoinHandle<()>,
    view: View,
    /// How many inputs have come.
    taken: usize,
}

impl Shell {
    fn start(api: &FakeApi) -> Self {
        let settings = speaker::kube::Settings {
            namespace: NAMESPACE.to_owned(),
            node: NodeName::from("wk01"),
            peer_labels: Some("app=metallb,component=speaker".to_owned()),
            pod_name: Some("speaker-7d".to_owned()),
        };
        let (input, inputs) = mpsc::channel(64);
        let (effects, effect) = mpsc::channel(64);
        let metrics = ClientMetrics::register(&prometheus::Registry::new());
        let readiness = Readiness::default();
        let (trigger, shutdown) = shutdown::channel();
        let client = api.client(&account("speaker"));
        let run = speaker::kube::run(client, settings, input, effect, metrics, readiness.clone(), shutdown);
        let task = tokio::spawn(run);
        Self { inputs, effects, readiness, trigger, task, view: View::default(), taken: 0 }
    }

    /// Takes inputs in for as long as `duration`.
    async fn run(&mut self, duration: Duration) {
        let end = sleep(duration);
        tokio::pin!(end);
        loop {
            tokio::select! {
                input = self.inputs.recv() => {
                    self.view.take(input.expect("kube.rs runs for as long as we do"));
                    self.taken += 1;
                }
                () = &mut end => return,
            }
        }
    }

    fn event(&self, uid: &str, message: &str) {
        let effect = Effect::Event {
            service: ServiceKey::new("default", "web"),
            uid: uid.to_owned(),
            reason: EventReason::NodeAssigned,
            message: message.to_owned(),
        };
        self.effects.try_send(effect).expect("the channel has room");
    }
}

fn pod(name: &str, node: &str, address: &str, component: &str) -> core::Pod {
    typed(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE,
            "labels": {"app": "metallb", "component": component}},
        "spec": {"nodeName": node, "containers": [{"name": component}]},
        "status": {"phase": "Running", "podIP": address}}))
}

fn node(name: &str) -> core::Node {
    typed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
}

fn slice(name: &str, ready: bool) -> discovery::EndpointSlice {
    typed(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "wk01", "conditions": {"ready": ready}}]}))
}

/// A cluster of two nodes with one Service.
fn cluster() -> FakeApi {
    let api = fake();
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.101"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    api.create(&service("web")).expect(made);
    api.create(&slice("web-1", true)).expect(made);
    for (name, address) in [("wk01", "172.16.16.11"), ("wk02", "172.16.16.12")] {
        api.create(&node(name)).expect(made);
        api.create(&pod(&format!("speaker-{name}"), name, address, "speaker")).expect(made);
    }
    api.create(&pod("controller", "wk01", "10.0.0.9", "controller")).expect(made);
    api
}

/// Changes one object of every kind that is watched; `turn` makes it differ.
fn change_everything(api: &FakeApi, turn: u64) {
    let there = "it is there";
    let (ns, own) = (Some("default"), Some(NAMESPACE));
    let labels = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
    let range = json!({"spec": {"addresses": [format!("172.16.16.101-172.16.16.{}", 102 + turn % 100)]}});
    api.merge::<IPAddressPool>(own, "first", range).expect(there);
    let ad = format!("ad-{turn}");
    api.create(&advertisement(&ad)).expect("each turn is new");
    api.merge::<core::Service>(ns, "web", labels.clone()).expect(there);
    api.merge::<core::Node>(None, "wk02", labels).expect(there);
    let endpoints =
        json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": turn.is_multiple_of(2)}}]});
    api.merge::<discovery::EndpointSlice>(ns, "web-1", endpoints).expect(there);
    let address = json!({"status": {"podIP": format!("172.16.16.{}", 20 + turn % 100)}});
    api.merge_status::<core::Pod>(own, "speaker-wk02", address).expect(there);
}

#[tokio::test(start_paused = true)]
async fn the_core_learns_what_stands_and_what_changes() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    assert!(!shell.readiness.report().ready);
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    assert!(shell.readiness.report().ready, "{}", shell.readiness.report().text);
    change_everything(&api, 1);
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    api.delete::<core::Service>(Some("default"), "web").expect("it is there");
    api.delete::<discovery::EndpointSlice>(Some("default"), "web-1").expect("it is there");
    api.delete::<core::Node>(None, "wk02").expect("it is there");
    api.delete::<core::Pod>(Some(NAMESPACE), "speaker-wk02").expect("it is there");
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    assert_eq!((shell.view.services.len(), shell.view.nodes.len(), shell.view.peers.len()), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn quiet_objects_make_no_inputs() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let taken = shell.taken;
    // Heartbeats of Nodes, readiness of Pods and statuses of pools are not looked at.
    let beat = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "lastHeartbeatTime": "2026-01-01T00:05:00Z"}]}});
    api.merge_status::<core::Node>(None, "wk01", beat).expect("it is there");
    let counters = json!({"status": {"assignedIPv4": 1}});
    api.merge_status::<IPAddressPool>(Some(NAMESPACE), "first", counters).expect("it is there");
    shell.run(Duration::from_secs(3_600)).await;
    assert_eq!(shell.taken, taken);
    assert!(api.writes().iter().all(|write| write.resource == "configurationstates"));
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_watched_once_a_pool_is_pinned_by_their_labels() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let namespaces = Match::any().resource("namespaces");
    assert_eq!(api.open_watches(&namespaces), 0);
    let pin = json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    api.merge::<IPAddressPool>(Some(NAMESPACE), "first", pin).expect("it is there");
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(api.open_watches(&namespaces), 1);
    assert!(shell.view.namespaces.contains(&"default".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn every_request_is_granted_and_every_grant_is_needed() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    let pin = json!({"spec": {"serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"a": "b"}}]}}});
    api.merge::<IPAddressPool>(Some(NAMESPACE), "first", pin).expect("it is there");
    for _ in 0..2 {
        shell.event("uid", "announcing from node \"wk01\"");
        shell.run(Duration::from_secs(30)).await;
    }
    let subject = Subject { node: "wk01".into(), service: ServiceKey::new("default", "web") };
    let content = L2StatusContent { subject: subject.clone(), interfaces: Vec::new(), announced: None };
    let write = |api: &FakeApi| {
        let object: Option<ServiceL2Status> = api.get(Some(NAMESPACE), "l2-web").expect("it decodes");
        let resource_version = object.and_then(|object| object.metadata.resource_version);
        let resource_version = resource_version.expect("it was created");
        L2StatusChange::Write { content: content.clone(), since: None, resource_version }
    };
    let create = |_: &FakeApi| L2StatusChange::Create(subject.clone());
    let delete = |_: &FakeApi| L2StatusChange::Delete { uid: None };
    for change in [&create as &dyn Fn(&FakeApi) -> L2StatusChange, &write, &delete] {
        let effect = Effect::L2Status { name: "l2-web".to_owned(), change: change(&api) };
        shell.effects.try_send(effect).expect("the channel has room");
        shell.run(Duration::from_secs(30)).await;
    }
    let (refused, unused) = rbac_mismatch(&account("speaker"), &api.requests());
    assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");
    assert!(unused.is_empty(), "the manifests grant these for nothing: {unused:?}");
}

#[tokio::test(start_paused = true)]
async fn l10_a_hung_watch_is_noticed_within_a_minute() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    for turn in 1..4 {
        // At any phase of a watch's life.
        shell.run(Duration::from_secs(17 * turn)).await;
        api.hang_watches(&Match::any());
        change_everything(&api, turn);
        shell.run(L10).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "turn {turn}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    for turn in 1..20 {
        api.cut_watches(&Match::any());
        change_everything(&api, turn);
        shell.run(Duration::from_secs(3)).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "turn {turn}");
    }
    // tests/configuration_state/ looks at the one kind that has a watch of its own.
    let is_ours = |request: &&RequestRecord| request.resource != "configurationstates";
    let requests = api.requests();
    let lists = requests.iter().filter(is_ours).filter(|request| request.verb == "list").count();
    assert_eq!(lists, 7, "one for each kind: nothing had to be listed again");
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_even_if_the_list_is_stale() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    change_everything(&api, 1);
    api.inject(Match::any().verb("list"), Fault::StaleList(5), 6);
    api.inject(Match::any().verb("watch"), Fault::ExpiredWatch, 12);
    api.cut_watches(&Match::any());
    api.delete::<core::Service>(Some("default"), "web").expect("it is there");
    shell.run(SETTLED).await;
    assert_eq!(api.pending_faults(), 0);
    assert_eq!(shell.view, View::truth(&api, &[]));
    // For real: what was missed is no longer kept.
    api.set_gone(true);
    shell.run(Duration::from_secs(1)).await;
    change_everything_but_the_service(&api);
    api.compact();
    api.set_gone(false);
    shell.run(SETTLED).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
}

fn change_everything_but_the_service(api: &FakeApi) {
    api.create(&service("web")).expect("it was deleted");
    change_everything(api, 2);
}

#[tokio::test(start_paused = true)]
async fn an_absent_api_server_takes_nothing_away() {
    let api = cluster();
    api.set_gone(true);
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(600)).await;
    assert_eq!(shell.taken, 0, "nothing is known yet");
    assert!(!shell.readiness.report().ready);
    api.set_gone(false);
    shell.run(Duration::from_secs(31)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
    // And for an hour later on: the core keeps what it knows.
    let taken = shell.taken;
    api.set_gone(true);
    shell.run(Duration::from_secs(3_600)).await;
    assert_eq!(shell.taken, taken, "an outage is no input");
    assert!(shell.readiness.report().ready, "what is known stays in force");
    change_everything(&api, 1);
    api.set_gone(false);
    shell.run(Duration::from_secs(31)).await;
    assert_eq!(shell.view, View::truth(&api, &[]));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_hides_no_other() {
    let api = cluster();
    let bad = json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": "bad", "namespace": NAMESPACE, "generation": 1, "uid": "u"},
        "spec": {"addresses": "172.16.16.0/24"}});
    api.insert_unchecked(bad.clone()).expect("the kind is served");
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view.undecodable, ["bad"]);
    assert_eq!(shell.view.pools.keys().collect::<Vec<_>>(), ["first"]);
    // It is mended, and another one goes bad while it is watched.
    api.delete::<IPAddressPool>(Some(NAMESPACE), "bad").expect("it is there");
    let mut worse = bad;
    worse["metadata"]["name"] = "worse".into();
    api.insert_unchecked(worse).expect("the kind is served");
    api.create(&pool("second", &["172.16.17.0/24"])).expect("new");
    shell.run(Duration::from_secs(1)).await;
    assert_eq!(shell.view.undecodable, ["worse"]);
    assert_eq!(shell.view.pools.keys().collect::<Vec<_>>(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn f30_events_are_written_once_and_counted() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    let creates = Match::any().verb("create").resource("events");
    api.inject(creates.clone(), Fault::LostReply, 1);
    api.inject(creates.clone(), Fault::too_many_requests(5), 1);
    api.inject(creates, Fault::unavailable(), 2);
    for _ in 0..3 {
        shell.event("uid", "announcing from node \"wk01\" with protocol \"layer2\"");
        shell.run(Duration::from_secs(60)).await;
    }
    shell.event("uid", "something else");
    shell.run(SETTLED).await;
    let events = api.list::<core::Event>(Some("default")).expect("they decode");
    assert_eq!(events.len(), 2, "{events:?}");
    let counted = events.iter().find(|event| event.count == Some(3)).expect("three became one");
    assert_eq!(counted.reason.as_deref(), Some("nodeAssigned"));
    assert_eq!(counted.type_.as_deref(), Some("Normal"));
    let object = &counted.involved_object;
    assert_eq!((object.kind.as_deref(), object.name.as_deref()), (Some("Service"), Some("web")));
    assert_eq!(object.uid.as_deref(), Some("uid"));
    let source = counted.source.clone().unwrap_or_default();
    assert_eq!(
        (source.component.as_deref(), source.host.as_deref()),
        (Some("metallb-speaker"), Some("wk01"))
    );
    // A server without an answer holds nothing up.
    api.inject(Match::any().verb("create"), Fault::Hang, 1);
    shell.event("uid", "after a hang");
    shell.run(SETTLED).await;
    assert_eq!(api.list::<core::Event>(Some("default")).expect("they decode").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_event_is_written_at_the_end() {
    let api = cluster();
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(1)).await;
    shell.trigger.shut_down();
    shell.event("uid", "leaving");
    drop(shell.effects);
    shell.task.await.expect("kube.rs ends in order");
    assert_eq!(api.list::<core::Event>(Some("default")).expect("they decode").len(), 1);
    assert_eq!(api.open_watches(&Match::any()), 0);
}

#[tokio::test(start_paused = true)]
async fn random_faults_leave_no_trace() {
    for seed in 0..20 {
        let api = cluster();
        api.run_plan(FaultPlan::new(seed, Duration::from_secs(900)));
        let mut shell = Shell::start(&api);
        for turn in 1..60 {
            change_everything(&api, turn);
            shell.run(Duration::from_secs(15)).await;
        }
        shell.run(SETTLED).await;
        assert_eq!(shell.view, View::truth(&api, &[]), "seed {seed}");
        assert!(shell.readiness.report().ready, "seed {seed}: {}", shell.readiness.report().text);
        assert_eq!(api.open_watches(&Match::any()), 8, "seed {seed}: one for each kind");
    }
}

#[tokio::test(start_paused = true)]
async fn a2_only_objects_in_the_own_namespace_count() {
    let api = fake();
    let mut elsewhere = (pool("first", &["172.16.16.1-172.16.16.9"]), advertisement("all"));
    elsewhere.0.metadata.namespace = Some("default".to_owned());
    elsewhere.1.metadata.namespace = Some("default".to_owned());
    api.create(&elsewhere.0).expect("the cluster is new");
    api.create(&elsewhere.1).expect("the cluster is new");
    api.create(&pool("own", &["172.16.16.101-172.16.16.200"])).expect("the cluster is new");
    let mut shell = Shell::start(&api);
    shell.run(Duration::from_secs(60)).await;
    assert_eq!(shell.view.pools.keys().collect::<Vec<_>>(), ["own"]);
    assert_eq!(shell.view.advertisements, [""; 0]);
    api.create(&advertisement("mine")).expect("another name");
    shell.run(Duration::from_secs(60)).await;
    assert_eq!(shell.view.advertisements, ["mine"]);
}
