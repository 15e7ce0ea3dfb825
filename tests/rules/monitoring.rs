//! The Prometheus flavour of the manifests: that it finds the Pods, and that every
//! alert and every panel asks for series that the binaries have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fake_api::FakeApi;
use ferrolb_api::{NodeName, ServiceKey};
use ferrolb_shell::Readiness;
use ferrolb_shell::kubernetes::leader_election::{self, LeaderElectionConfig};
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use regex::Regex;
use serde_json::{Value, json};
use speaker::event_loop::Summary;
use speaker_core::GossipRejection;
use tests::manifests::{by_name, manifests, render, render_with};
use tokio::sync::watch;

/// Labels that Prometheus itself gives to what it scrapes from a Pod.
const TARGET_LABELS: &[&str] = &["container", "endpoint", "instance", "job", "namespace", "node", "pod"];

/// Words of PromQL that look like labels or metrics.
const KEYWORDS: &[&str] =
    &["and", "by", "count", "group_left", "increase", "max", "on", "or", "rate", "sum", "vector"];

/// The names of all series of both binaries, each with its labels.
fn registered() -> BTreeMap<String, BTreeSet<String>> {
    let families = gathered().into_iter();
    families.map(|family| (family.name().to_owned(), labels_of(&family).into_iter().collect())).collect()
}

/// The labels of a family, in the order of their names.
fn labels_of(family: &MetricFamily) -> Vec<String> {
    let metric = family.get_metric().first().expect("a family that is gathered has a series");
    metric.get_label().iter().map(|label| label.name().to_owned()).collect()
}

/// What a scrape of both binaries would show.
fn gathered() -> Vec<MetricFamily> {
    let registry = Registry::new();
    controller::metrics::Metrics::register(&registry).show(&controller_core::PoolUsage {
        pool: "pool".to_owned(),
        total_ipv4: 2,
        total_ipv6: 0,
        assigned_ipv4: 1,
        assigned_ipv6: 0,
        exhausted: None,
    });
    register_leadership(&registry);
    let mut summary = Summary::default();
    let address = IpAddr::from([172, 16, 16, 101]);
    summary.announced.push((ServiceKey::new("default", "nginx"), address));
    summary.core.addresses.insert(address, speaker_core::AddressCounters::default());
    summary.core.gossip_rejections.insert(GossipRejection::Truncated, 1);
    let (_sender, receiver) = watch::channel(summary);
    speaker::metrics::register(&registry, NodeName::from("wk01"), receiver);
    registry.gather()
}

/// What a controller shows that stands for election. Nothing is asked of its server.
fn register_leadership(registry: &Registry) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a thread is free");
    let _inside = runtime.enter();
    let client = FakeApi::builder().build().expect("our own CRDs are implemented").client(FakeApi::ADMIN);
    let names = ["metallb-system", "metallb-controller", "controller-7d"].map(str::to_owned);
    let [namespace, name, holder] = names;
    let gate = Readiness::default().gate("leader election", "not asked for");
    let _ =
        leader_election::channel(client, LeaderElectionConfig { namespace, name, holder }, registry, gate);
}

fn component() -> BTreeMap<String, Value> {
    by_name(&render(&manifests().join("components/prometheus")))
}

fn array<'a>(value: &'a Value, what: &str) -> &'a [Value] {
    value.as_array().unwrap_or_else(|| panic!("{what} is no list: {value}"))
}

/// Name and expression of every alert.
fn alerts() -> Vec<(String, String)> {
    let component = component();
    let groups = array(&component["PrometheusRule metallb"]["spec"]["groups"], "groups").iter();
    let rules = groups.flat_map(|group| array(&group["rules"], "rules"));
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

fn dashboard() -> Value {
    let component = component();
    let map = &component["ConfigMap ferrolb-dashboard"];
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], json!("1"), "Grafana's sidecar looks for it");
    let text = map["data"]["ferrolb.json"].as_str().expect("the file is in it");
    serde_json::from_str(text).expect("the dashboard is JSON")
}

/// Title and expression of every query.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut queries = Vec::new();
    for panel in array(&dashboard["panels"], "panels").iter().filter(|panel| panel["type"] != json!("row")) {
        let title = panel["title"].as_str().expect("a panel has a title");
        for target in array(&panel["targets"], title) {
            queries.push((title.to_owned(), target["expr"].as_str().expect("a query is text").to_owned()));
        }
    }
    queries
}

/// What is wrong with an expression: unknown series, unknown labels, unbalanced brackets.
fn problems_of(expression: &str, registered: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let regex = |pattern: &str| Regex::new(pattern).expect("the pattern is valid");
    let mut problems = Vec::new();
    let plain = regex(r#""[^"]*""#).replace_all(expression, "");
    let mut allowed: BTreeSet<String> = TARGET_LABELS.iter().map(|label| (*label).to_owned()).collect();
    let without_ranges =
        regex(r"\[[^\]]*\]|\{[^}]*\}|\b(by|on|group_left) \([^)]*\)").replace_all(&plain, " ");
    for word in regex(r"[a-zA-Z_:][a-zA-Z0-9_:]*").find_iter(&without_ranges) {
        match registered.get(word.as_str()) {
            Some(labels) => allowed.extend(labels.iter().cloned()),
            None if word.as_str() == "up" || KEYWORDS.contains(&word.as_str()) => {}
            None => problems.push(format!("no series {}", word.as_str())),
        }
    }
    let matcher = regex(r"([a-z_]+)(=|!=|=~|!~)");
    let matched = matcher.captures_iter(&plain).map(|found| found[1].to_owned());
    let grouped: Vec<String> = regex(r"\b(?:by|on|group_left) \(([^)]*)\)")
        .captures_iter(&plain)
        .flat_map(|found| found[1].split(',').map(|label| label.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    for label in matched.chain(grouped).filter(|label| !label.is_empty() && !allowed.contains(label)) {
        problems.push(format!("no label {label}"));
    }
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
        if plain.matches(open).count() != plain.matches(close).count() {
            problems.push(format!("{open} without {close}"));
        }
    }
    problems
}

#[test]
fn f12_every_alert_and_panel_asks_for_series_that_exist() {
    let registered = registered();
    assert!(registered.len() > 25, "only {} series are registered", registered.len());
    let mut problems = Vec::new();
    for (name, expression) in alerts().into_iter().chain(queries()) {
        for problem in problems_of(&expression, &registered) {
            problems.push(format!("{name}: {problem} in {expression}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_is_wrong_with_an_expression_is_found() {
    let registered = registered();
    for (expression, expected) in [
        ("sum(metallb_layer2_request_received)", "no series metallb_layer2_request_received"),
        ("sum by (pol) (metallb_allocator_addresses_total)", "no label pol"),
        (r#"metallb_speaker_frames_not_sent_total{cause="x"}"#, "no label cause"),
        ("sum(metallb_speaker_members", "( without )"),
    ] {
        assert_eq!(problems_of(expression, &registered), [expected], "{expression}");
    }
    assert!(problems_of(r#"rate(metallb_layer2_responses_sent{ip="::1"}[5m]) > 0"#, &registered).is_empty());
}

/// What a user of MetalLB's chart has silenced, routed or tested by name.
#[test]
fn f12_alerts_have_the_names_of_metallb() {
    let alerts: Vec<String> = alerts().into_iter().map(|(name, _)| name).collect();
    for name in [
        "MetalLBStaleConfig",
        "MetalLBConfigNotLoaded",
        "MetalLBAddressPoolExhausted",
        "MetalLBAddressPoolUsage75Percent",
        "MetalLBAddressPoolUsage85Percent",
        "MetalLBAddressPoolUsage95Percent",
    ] {
        assert!(alerts.iter().any(|alert| alert == name), "{name} is missing");
    }
    let distinct: BTreeSet<&String> = alerts.iter().collect();
    assert_eq!(distinct.len(), alerts.len(), "an alert has one name");
}

/// A series that is worth a metric is worth a line on the dashboard.
#[test]
fn every_series_is_on_the_dashboard() {
    // F5 has no series; the totals by family are shown instead of their sum.
    let asked = queries().into_iter().map(|(_, expression)| expression).collect::<Vec<_>>().join("\n");
    let own = |name: &&String| name.starts_with("metallb_");
    let shown_elsewhere = ["metallb_k8s_client_config_loaded_bool", "metallb_speaker_notices_dropped_total"];
    let groups = ["metallb_speaker_multicast_groups", "metallb_speaker_multicast_join_failures_total"];
    for name in registered().keys().filter(own) {
        let excused = shown_elsewhere.contains(&name.as_str()) || groups.contains(&name.as_str());
        assert!(excused || asked.contains(name.as_str()), "{name} is on no panel");
    }
}

/// Series with MetalLB's names begin like this.
const OF_METALLB: &[&str] =
    &["metallb_allocator_", "metallb_k8s_client_", "metallb_layer2_", "metallb_speaker_announced"];

#[test]
fn docs_metrics_has_a_row_for_every_series_of_ours() {
    let page = std::fs::read_to_string(manifests().join("../docs/metrics.md")).expect("it is there");
    let table = page.split("| metric | labels | what |").nth(1).expect("the page has the table");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let is_ours = |family: &MetricFamily| !OF_METALLB.iter().any(|start| family.name().starts_with(start));
    let expected: Vec<String> = gathered()
        .into_iter()
        .filter(is_ours)
        .map(|family| {
            let labels = labels_of(&family).iter().map(|label| format!("`{label}`")).collect::<Vec<_>>();
            format!("| `{}` | {} | {} |", family.name(), labels.join(", "), family.help())
        })
        .collect();
    assert!(expected.len() > 10, "only {expected:?}");
    assert_eq!(rows, expected, "docs/metrics.md should have these rows:\n{}", expected.join("\n"));
}

/// G125: MetalLB's flavour, on 9120 over HTTPS; and the component by itself, on 7472 as the base is.
#[test]
fn g125_monitors_lead_to_the_pods() {
    let base = manifests().join("base");
    let plain = render_with(&base, &manifests().join("components/prometheus"));
    let flavour = render(&manifests().join("overlays/prometheus"));
    for (rendered, name, number) in [(plain, "monitoring", 7472), (flavour, "metricshttps", 9120)] {
        let rendered = by_name(&rendered);
        for (component, workload) in
            [("controller", "Deployment controller"), ("speaker", "DaemonSet speaker")]
        {
            let service = &rendered[&format!("Service {component}-monitor-service")];
            assert_eq!(
                service["spec"]["ports"],
                json!([{ "name": name, "port": number, "targetPort": name }])
            );
            assert_monitored(component, &rendered[workload], service, &rendered);
        }
        let binding = &rendered["RoleBinding prometheus-k8s"];
        assert_eq!(binding["subjects"][0]["namespace"], json!("monitoring"));
        assert_eq!(binding["roleRef"]["name"], rendered["Role prometheus-k8s"]["metadata"]["name"]);
    }
}

/// ServiceMonitor, Service and container port lead to each other.
fn assert_monitored(component: &str, workload: &Value, service: &Value, all: &BTreeMap<String, Value>) {
    let monitor = &all[&format!("ServiceMonitor {component}-monitor")];
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object().expect("it selects by labels");
    for (key, value) in selected {
        assert_eq!(&service["metadata"]["labels"][key], value, "{component}: {key}");
    }
    assert!(monitor["spec"]["namespaceSelector"].is_null(), "without one it looks in its own namespace");
    let pods = &workload["spec"]["template"];
    for (key, value) in service["spec"]["selector"].as_object().expect("it selects by labels") {
        assert_eq!(&pods["metadata"]["labels"][key], value, "{component}: {key}");
    }
    assert_eq!(service["spec"]["clusterIP"], json!("None"), "each Pod is a target");
    let [port] = array(&service["spec"]["ports"], "ports") else { panic!("one port") };
    let [endpoint] = array(&monitor["spec"]["endpoints"], "endpoints") else { panic!("one endpoint") };
    assert_eq!(endpoint["port"], port["name"], "{component}");
    let containers = array(&pods["spec"]["containers"], "containers").iter();
    let mut ports = containers.flat_map(|container| array(&container["ports"], "ports"));
    let listening = ports.find(|listening| listening["name"] == port["targetPort"]);
    assert!(listening.is_some_and(|listening| listening["containerPort"] == port["port"]), "{component}");
}

/// `.ci/run alerts` runs them; a new alert has to be among them.
#[test]
fn each_alert_has_a_unit_test() {
    let tests = std::fs::read_to_string(manifests().join("../tests/rules/alerts.yaml")).expect("it is there");
    for (name, _) in alerts() {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} fires in no test");
    }
}

/// Grafana draws what lies on its 24 columns and has an id of its own.
#[test]
fn the_dashboard_is_laid_out() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in array(&dashboard["panels"], "panels") {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the id {}", panel["id"]);
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a panel has its place");
        assert!(at("x") + at("w") <= 24, "{} is too wide", panel["title"]);
        for y in at("y")..at("y") + at("h") {
            for x in at("x")..at("x") + at("w") {
                assert!(cells.insert((x, y)), "{} lies on another panel", panel["title"]);
            }
        }
    }
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!((&variable["type"], &variable["name"]), (&json!("datasource"), &json!("datasource")));
}
