//! `ServiceL2Status` and "why is nothing announced?": the speaker's `kube.rs`
//! around its real core, against the in-memory API server under tokio's paused
//! clock. Gossip passes from core to core.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{account, fake, rbac, rbac_mismatch, service};
use fake_api::{FakeApi, Fault, Match, Rbac, Refusal};
use ferrolb_api::crd::{self, L2Advertisement, ServiceL2Status};
use ferrolb_api::node::EXCLUDE_LABEL;
use ferrolb_api::{ServiceKey, Time};
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::metrics::ClientMetrics;
use ferrolb_shell::process::shutdown;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde_json::{Value, json};
use speaker_core::{Effect, Input, Interface, InterfaceId, MacAddr, Report, Speaker};
use tests::objects::{NAMESPACE, advertisement, pool, typed};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

const OWN: Option<&str> = Some(NAMESPACE);
const NODES: [&str; 2] = ["wk01", "wk02"];

/// Where each speaker takes datagrams: who sent them, and what.
type Ports = Arc<Mutex<BTreeMap<SocketAddr, mpsc::UnboundedSender<(SocketAddr, Vec<u8>)>>>>;
/// What each node announces now.
type Announced = Arc<Mutex<Vec<(ServiceKey, IpAddr)>>>;

fn address(node: &str) -> SocketAddr {
    let last = 10 + node.trim_start_matches("wk").parse::<u8>().expect("the names end in a number");
    ([172, 16, 16, last], 7946).into()
}

/// A speaker without sockets.
struct Running {
    task: JoinHandle<()>,
    readiness: Readiness,
    announced: Announced,
    _trigger: shutdown::Trigger,
}

impl Running {
    fn start(api: &FakeApi, ports: &Ports, node: &'static str) -> Self {
        let settings = speaker::kube::Settings {
            namespace: NAMESPACE.to_owned(),
            node: node.into(),
            peer_labels: Some("app=metallb,component=speaker".to_owned()),
            pod_name: Some(format!("speaker-{node}")),
            api_server: None,
        };
        let (input, inputs) = mpsc::channel(64);
        let (reports, report) = mpsc::channel(1024);
        let metrics = ClientMetrics::register(&prometheus::Registry::new());
        let readiness = Readiness::default();
        let (trigger, shutdown) = shutdown::channel();
        let client = api.client(&account("speaker"));
        let shell = speaker::kube::run(client, settings, input, report, metrics, readiness.clone(), shutdown);
        let announced = Announced::default();
        let core = drive(node, inputs, reports, Arc::clone(ports), Arc::clone(&announced));
        let task = tokio::spawn(async { _ = tokio::join!(shell, core) });
        Self { task, readiness, announced, _trigger: trigger }
    }

    fn announces(&self) -> usize {
        self.announced.lock().expect("nobody panics while it is held").len()
    }
}

impl Drop for Running {
    /// SIGKILL.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The event loop's part.
async fn drive(
    node: &'static str,
    mut inputs: mpsc::Receiver<Input<'static>>,
    reports: mpsc::Sender<Report>,
    ports: Ports,
    announced: Announced,
) {
    let mut speaker = Speaker::new(speaker_core::Settings {
        node: node.into(),
        load_balancer_class: None,
        ignore_exclude_label: false,
        gossip_address: Some(address(node)),
        gossip_secret: Some(b"secret".to_vec()),
        boot_id: 1,
        seed: [node.as_bytes()[3]; 32],
    });
    let started = Instant::now();
    let now = || Time::ZERO + started.elapsed();
    let (port, mut datagrams) = mpsc::unbounded_channel();
    ports.lock().expect("nobody panics while it is held").insert(address(node), port);
    speaker.handle(now(), Input::Interfaces(vec![interface(node)]));
    loop {
        let due = speaker.poll_timeout().map_or(Duration::from_secs(60), |at| at - Time::ZERO);
        tokio::select! {
            Some(input) = inputs.recv() => speaker.handle(now(), input),
            Some((from, bytes)) = datagrams.recv() => {
                speaker.handle(now(), Input::Datagram { from, bytes: &bytes });
            }
            () = sleep_until(started + due) => speaker.handle(now(), Input::Timeout),
        }
        while let Some(effect) = speaker.poll_effect() {
            match effect {
                Effect::SendDatagram { to, bytes } => {
                    let ports = ports.lock().expect("nobody panics while it is held");
                    // Nobody listens at a dead node's port.
                    _ = ports.get(&to).map(|port| port.send((address(node), bytes)));
                }
                Effect::Report(report) => {
                    reports.try_send(report).expect("kube.rs takes what it is given");
                }
                _ => {}
            }
        }
        *announced.lock().expect("nobody panics while it is held") =
            speaker.announced().map(|one| (one.service.clone(), one.address)).collect();
    }
}

fn interface(node: &str) -> Interface {
    Interface {
        id: InterfaceId(2),
        name: "eth0".to_owned(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, node.as_bytes()[3]])),
        addresses: vec![(address(node).ip(), 24)],
        gateways: Vec::new(),
        is_up: true,
        has_carrier: true,
        can_broadcast: true,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    }
}

/// Two nodes and their speakers' Pods, a pool and an advertisement, and Services
/// with an address and an endpoint each.
fn fill(api: &FakeApi, services: &[(&str, u8)]) {
    let made = "the cluster is new";
    api.create(&pool("first", &["172.16.16.101-172.16.16.150"])).expect(made);
    api.create(&advertisement("all")).expect(made);
    for node in NODES {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        api.create(&typed::<core::Node>(object)).expect(made);
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("speaker-{node}"), "namespace": NAMESPACE,
                "labels": {"app": "metallb", "component": "speaker"}},
            "spec": {"nodeName": node, "containers": [{"name": "speaker"}]},
            "status": {"phase": "Running", "podIP": address(node).ip()}});
        api.create(&typed::<core::Pod>(pod)).expect(made);
    }
    for (name, last) in services {
        api.create(&service(name)).expect(made);
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": format!("172.16.16.{last}")}]}}});
        api.merge_status::<core::Service>(Some("default"), name, ingress).expect("it was made");
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]});
        api.create(&typed::<discovery::EndpointSlice>(slice)).expect(made);
    }
}

/// Both speakers, running.
fn start(api: &FakeApi) -> BTreeMap<&'static str, Running> {
    let ports = Ports::default();
    NODES.into_iter().map(|node| (node, Running::start(api, &ports, node))).collect()
}

fn statuses(api: &FakeApi) -> Vec<ServiceL2Status> {
    api.list(OWN).expect("they decode")
}

/// The node and the Service of each object, of its status and its labels.
fn shown(api: &FakeApi) -> Vec<(String, String)> {
    let shown = statuses(api).into_iter().map(|object| {
        let status = object.status.expect("it has been written");
        let labels = object.metadata.labels.expect("it has labels");
        let (node, service) = (status.node.expect("set"), status.service_name.expect("set"));
        assert_eq!((&labels["metallb.io/node"], &labels["metallb.io/service-name"]), (&node, &service));
        (node, service)
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    shown
}

/// The requests that changed an object, as verbs.
fn written(api: &FakeApi) -> Vec<String> {
    let ours = |write: &&fake_api::RequestRecord| write.resource == "servicel2statuses";
    api.writes().iter().filter(ours).map(|write| write.verb.clone()).collect()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a41_a42_a43_a44_h2_an_announced_service_has_one_object() {
    let api = fake();
    fill(&api, &[("web", 101)]);
    let running = start(&api);
    seconds(10).await;
    let [object] = <[_; 1]>::try_from(statuses(&api)).expect("one Service, one object");
    assert!(object.metadata.name.as_ref().is_some_and(|name| name.starts_with("l2-")), "{object:?}");
    let status = object.status.clone().expect("it has been written");
    let node = status.node.expect("set");
    assert_eq!(running[node.as_str()].announces(), 1, "the node that answers");
    let labels = json!({"metallb.io/node": node, "metallb.io/service-name": "web",
        "metallb.io/service-namespace": "default"});
    assert_eq!(json!(object.metadata.labels), labels);
    let pod: Option<core::Pod> = api.get(OWN, &format!("speaker-{node}")).expect("it decodes");
    let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": format!("speaker-{node}"),
        "uid": pod.expect("it is there").metadata.uid}]);
    assert_eq!(json!(object.metadata.owner_references), owners);
    assert_eq!(
        (status.service_name.as_deref(), status.service_namespace.as_deref()),
        (Some("web"), Some("default"))
    );
    let [condition] = status.conditions.as_slice() else { panic!("one condition: {:?}", status.conditions) };
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("Announced", "True"));
    assert_eq!(condition.message, format!("node {node} answers for 172.16.16.101 on every interface"));
    assert_eq!(written(&api), ["create", "patch"], "D82: without status first");
    // H2: it stays as it is, and disappears with the Service.
    seconds(600).await;
    assert_eq!((statuses(&api), written(&api).len()), (vec![object], 2));
    api.delete::<core::Service>(Some("default"), "web").expect("it is there");
    seconds(5).await;
    assert_eq!(statuses(&api), []);
    assert_eq!(written(&api), ["create", "patch", "delete"]);
}

#[tokio::test(start_paused = true)]
async fn a45_h16_the_interfaces_that_the_advertisement_names() {
    let api = fake();
    fill(&api, &[("web", 101)]);
    let _running = start(&api);
    let interfaces = |api: &FakeApi| json!(statuses(api)[0].status)["interfaces"].clone();
    for (named, expected) in [
        (json!(["eth0"]), json!([{"name": "eth0"}])),
        (json!(["eth1", "eth0"]), json!([{"name": "eth0"}, {"name": "eth1"}])),
        (json!([]), Value::Null),
    ] {
        let edit = json!({"spec": {"interfaces": named}});
        api.merge::<L2Advertisement>(OWN, "all", edit).expect("it is there");
        seconds(20).await;
        assert_eq!(interfaces(&api), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn h135_what_is_deleted_or_edited_by_hand_is_made_right() {
    let api = fake();
    fill(&api, &[("web", 101)]);
    let _running = start(&api);
    seconds(10).await;
    let right = shown(&api);
    let name = statuses(&api)[0].metadata.name.clone().expect("it has one");
    api.delete::<ServiceL2Status>(OWN, &name).expect("it is there");
    seconds(2).await;
    assert_eq!(shown(&api), right, "deleted");
    let edit = json!({"metadata": {"labels": {"metallb.io/node": "wk99"}}});
    api.merge::<ServiceL2Status>(OWN, &name, edit).expect("it is there");
    seconds(5).await;
    assert_eq!(shown(&api), right, "labels");
    let edit = json!({"status": {"interfaces": [{"name": "eth7"}], "conditions": []}});
    api.merge_status::<ServiceL2Status>(OWN, &name, edit).expect("it is there");
    seconds(5).await;
    let status = statuses(&api)[0].status.clone().expect("it has one");
    assert_eq!((status.interfaces.len(), status.conditions.len()), (0, 1), "status");
    // What MetalLB left: another name for the same, and a node that is no more.
    for (made, node) in [("l2-abcde", right[0].0.as_str()), ("l2-fghij", "wk99")] {
        let labels = json!({"metallb.io/node": node, "metallb.io/service-name": "web",
            "metallb.io/service-namespace": "default"});
        let object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
            "metadata": {"name": made, "namespace": NAMESPACE, "labels": labels}, "spec": {}});
        api.create(&typed::<ServiceL2Status>(object)).expect("new");
    }
    seconds(5).await;
    assert_eq!(shown(&api), right, "redundant");
}

#[tokio::test(start_paused = true)]
async fn d82_w36_the_winner_takes_away_what_a_dead_node_left() {
    let api = fake();
    fill(&api, &[("web", 101), ("api", 102), ("mail", 103), ("news", 104)]);
    let mut running = start(&api);
    seconds(10).await;
    let before = shown(&api);
    let lost = before.iter().filter(|(node, _)| node == "wk01").count();
    assert!(before.len() == 4 && lost > 0 && lost < 4, "{before:?}");
    let writes = written(&api).len();
    running.remove("wk01");
    seconds(10).await;
    let after = shown(&api);
    assert!(after.len() == 4 && after.iter().all(|(node, _)| node == "wk02"), "{after:?}");
    assert_eq!(written(&api).len() - writes, 3 * lost, "one deletion, one creation, one status each");
}

#[tokio::test(start_paused = true)]
async fn d82_the_loser_deletes_its_own() {
    let api = fake();
    fill(&api, &[("web", 101)]);
    let _running = start(&api);
    seconds(10).await;
    let (winner, _) = shown(&api).remove(0);
    let exclude = json!({"metadata": {"labels": {EXCLUDE_LABEL: ""}}});
    api.merge::<core::Node>(None, &winner, exclude).expect("it is there");
    seconds(4).await;
    let after = shown(&api);
    assert!(after.len() == 1 && after[0].0 != winner, "{after:?}");
    assert_eq!(written(&api).len(), 2 + 3);
}

/// G87: MetalLB's speaker may do everything with this kind.
#[tokio::test(start_paused = true)]
async fn g87_under_metallbs_rbac_and_its_crd() {
    let mut definitions = crd::all();
    let status = definitions.iter_mut().find(|crd| crd.spec.names.kind == "ServiceL2Status");
    let mut plain = json!(status.as_ref().expect("it is one of ours"));
    let schema = &mut plain["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    let properties = schema["properties"].as_object_mut().expect("it has fields");
    assert!(properties.remove("conditions").is_some(), "MetalLB has none");
    *status.expect("it is one of ours") = typed(plain);
    let role = |kind: &str, namespace: Value, rules: Value| {
        let metadata = json!({"name": "stock", "namespace": namespace});
        let role = json!({"kind": kind, "metadata": metadata, "rules": rules});
        let binding = json!({"kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"kind": kind, "name": "stock"},
            "subjects": [{"kind": "ServiceAccount", "name": "speaker", "namespace": NAMESPACE}]});
        [role, binding]
    };
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| {
        json!({"apiGroups": [group],
        "resources": resources, "verbs": verbs})
    };
    let objects = role(
        "ClusterRole",
        Value::Null,
        json!([
            rule(
                "metallb.io",
                &[
                    "servicel2statuses",
                    "servicel2statuses/status",
                    "configurationstates",
                    "configurationstates/status"
                ],
                &["*"]
            ),
            rule("", &["services", "endpoints", "nodes", "namespaces"], &["get", "list", "watch"]),
            rule("discovery.k8s.io", &["endpointslices"], &["get", "list", "watch"]),
            rule("", &["events"], &["create", "patch"]),
        ]),
    );
    let own = role(
        "Role",
        json!(NAMESPACE),
        json!([
            rule("metallb.io", &["ipaddresspools", "l2advertisements"], &["get", "list", "watch"]),
            rule("", &["pods"], &["get", "list"]),
        ]),
    );
    let rbac = Rbac::from_objects(&[objects, own].concat()).expect("every binding has its role");
    let api = FakeApi::builder().rbac(rbac).definitions(definitions).build().expect("it is well-formed");
    fill(&api, &[("web", 101)]);
    let _running = start(&api);
    seconds(60).await;
    assert_eq!(shown(&api).len(), 1);
    // The condition is dropped each time; it is not written for ever.
    seconds(3_600).await;
    assert_eq!(written(&api), ["create", "patch"]);
}

#[tokio::test(start_paused = true)]
async fn g87_every_verb_is_granted_and_needed() {
    let api = fake();
    fill(&api, &[("web", 101)]);
    let _running = start(&api);
    seconds(10).await;
    api.delete::<core::Service>(Some("default"), "web").expect("it is there");
    seconds(10).await;
    let (refused, unused) = rbac_mismatch(&account("speaker"), &api.requests());
    assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");
    let unused: Vec<_> = unused.iter().filter(|grant| grant.contains("servicel2statuses")).collect();
    assert!(unused.is_empty(), "the manifests grant these for nothing: {unused:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_kind_or_the_right_everything_else_goes_on() {
    let kept = crd::all().into_iter().filter(|crd| crd.spec.names.kind != "ServiceL2Status").collect();
    let no_kind = FakeApi::builder().rbac(rbac()).definitions(kept).build().expect("it is well-formed");
    let refused = fake();
    let objects = Match::any().resource("servicel2statuses");
    let forbidden = Refusal::new(403, "Forbidden", "servicel2statuses.metallb.io is forbidden");
    refused.inject(objects, Fault::Refuse(forbidden), usize::MAX);
    for api in [no_kind, refused] {
        fill(&api, &[("web", 101)]);
        let running = start(&api);
        seconds(60).await;
        assert_eq!(running.values().map(Running::announces).sum::<usize>(), 1);
        for node in running.values() {
            assert!(node.readiness.report().ready, "{}", node.readiness.report().text);
        }
        assert_eq!(api.list::<core::Pod>(OWN).expect("they decode").len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_api_server_leave_no_trace() {
    let api = fake();
    fill(&api, &[("web", 101), ("api", 102), ("mail", 103)]);
    let objects = || Match::any().resource("servicel2statuses");
    api.inject(objects().verb("create"), Fault::LostReply, 2);
    api.inject(objects().verb("create"), Fault::too_many_requests(5), 1);
    api.inject(objects().verb("patch"), Fault::unavailable(), 3);
    api.inject(objects().verb("patch"), Fault::LostReply, 1);
    let mut running = start(&api);
    seconds(300).await;
    assert_eq!(shown(&api).len(), 3);
    api.inject(objects().verb("delete"), Fault::LostReply, 1);
    api.inject(objects().verb("watch"), Fault::ExpiredWatch, 4);
    api.set_gone(true);
    running.remove("wk01");
    seconds(600).await;
    api.set_gone(false);
    seconds(300).await;
    let after = shown(&api);
    assert!(after.len() == 3 && after.iter().all(|(node, _)| node == "wk02"), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn why_nothing_is_announced_stands_at_the_service() {
    let api = fake();
    fill(&api, &[("web", 101)]);
    let _running = start(&api);
    seconds(10).await;
    for node in NODES {
        let exclude = json!({"metadata": {"labels": {EXCLUDE_LABEL: ""}}});
        api.merge::<core::Node>(None, node, exclude).expect("it is there");
    }
    seconds(600).await;
    let events = api.list::<core::Event>(Some("default")).expect("they decode");
    let ours = events.iter().filter(|event| event.reason.as_deref() == Some("notAnnounced"));
    let [event] = ours.collect::<Vec<_>>()[..] else { panic!("by one speaker and once: {events:?}") };
    assert_eq!((event.type_.as_deref(), event.count), (Some("Warning"), Some(1)));
    assert_eq!(event.involved_object.name.as_deref(), Some("web"));
    let message = event.message.as_deref().unwrap_or_default();
    assert!(message.contains(EXCLUDE_LABEL) && message.contains("remove it"), "{message}");
    assert_eq!(statuses(&api), []);
}
