//! The examples for Flux and Argo CD: that they point at what is there, and that the health
//! checks, run by the Lua that Argo CD has, say of an object what its conditions say.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ferrolb_api::conditions;
use ferrolb_api::config::{self, Config, Kind, Resources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tests::manifests::{manifests, objects, render};

fn example(path: &str) -> Vec<Value> {
    objects(&manifests().join("examples").join(path))
}

/// Both tools make an overlay Ready in one sync, in whatever order they apply it.
#[test]
fn flux_and_argo_point_at_an_overlay_and_depend_on_nothing() {
    let flux = example("flux/ferrolb.yaml");
    let [source, kustomization] = flux.as_slice() else { panic!("a source and a Kustomization") };
    assert_eq!(kustomization["spec"]["sourceRef"]["kind"], source["kind"]);
    assert_eq!(kustomization["spec"]["sourceRef"]["name"], source["metadata"]["name"]);
    assert_eq!(kustomization["spec"]["wait"], json!(true));
    for absent in ["dependsOn", "healthChecks", "healthCheckExprs"] {
        assert!(kustomization["spec"][absent].is_null(), "{absent} is not needed");
    }
    let argo = example("argocd/application.yaml");
    let [application] = argo.as_slice() else { panic!("one Application") };
    let options = application["spec"]["syncPolicy"]["syncOptions"].as_array().expect("it has options");
    assert!(options.contains(&json!("SkipDryRunOnMissingResource=true")));
    for path in [&kustomization["spec"]["path"], &application["spec"]["source"]["path"]] {
        let path = path.as_str().expect("a path is text");
        assert!(manifests().join("..").join(path).join("kustomization.yaml").is_file(), "{path}");
    }
    assert_eq!(source["spec"]["url"], application["spec"]["source"]["repoURL"]);
}

/// With a CRD go all objects of its kind, so no tool may prune it; and nothing has a sync wave,
/// which would have pools wait for speakers.
#[test]
fn crds_are_never_pruned_and_nothing_is_ordered() {
    let rendered = render(&manifests().join("overlays/talos"));
    let mut crds = 0;
    for object in &rendered {
        let annotations = &object["metadata"]["annotations"];
        assert!(annotations["argocd.argoproj.io/sync-wave"].is_null());
        let is_crd = object["kind"] == json!("CustomResourceDefinition");
        crds += usize::from(is_crd);
        let flux = annotations["kustomize.toolkit.fluxcd.io/prune"] == json!("disabled");
        let argo = annotations["argocd.argoproj.io/sync-options"] == json!("Delete=false,Prune=false");
        assert_eq!((flux, argo), (is_crd, is_crd), "{}", object["metadata"]["name"]);
    }
    assert_eq!(crds, 9);
}

/// The health check of a kind.
fn script(kind: &str) -> String {
    let [config] = &example("argocd/health.yaml")[..] else { panic!("one ConfigMap") };
    assert_eq!(config["metadata"]["name"], json!("argocd-cm"));
    let key = format!("resource.customizations.health.metallb.io_{kind}");
    config["data"][key].as_str().unwrap_or_else(|| panic!("no health check for {kind}")).to_owned()
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        // Lua 5.1 reads decimal escapes of single bytes only.
        Value::String(text) => {
            let bytes: Vec<String> = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
            format!("\"{}\"", bytes.concat())
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| format!("[{}]={}", lua(&json!(key)), lua(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

/// Health and message of each object by the check of its kind; `None` without Lua on this machine.
fn health(objects: &[Value]) -> Option<Vec<(String, String)>> {
    let mut program = String::new();
    for object in objects {
        let kind = object["kind"].as_str().expect("an object has a kind");
        let check = format!("(function() local obj = {}\n{}\nend)()", lua(object), script(kind));
        program.push_str(&format!("do local h = {check}\nprint(h.status .. \"|\" .. h.message) end\n"));
    }
    let run = Command::new("lua5.1").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut run) = run else {
        assert!(std::env::var_os("CI").is_none(), "CI must have lua5.1");
        // Not by `eprintln`, which the test harness swallows.
        let note = "SKIPPED: the health checks for Argo CD were not run; apt-get install lua5.1";
        writeln!(std::io::stderr(), "{note}").expect("stderr is open");
        return None;
    };
    run.stdin.take().expect("it is piped").write_all(program.as_bytes()).expect("lua5.1 reads its program");
    let output = run.wait_with_output().expect("lua5.1 ends");
    assert!(output.status.success(), "lua5.1 could not run:\n{program}");
    let text = String::from_utf8(output.stdout).expect("our messages are UTF-8");
    let lines = text.lines().map(|line| line.split_once('|').expect("health and message"));
    Some(lines.map(|(status, message)| (status.to_owned(), message.to_owned())).collect())
}

/// A pool, and the conditions that the controller gives it.
fn judged_pool(addresses: &[&str], advertised: bool, exhausted: Option<&str>) -> Value {
    let metadata = json!({ "name": "pool", "namespace": "metallb-system", "generation": 2 });
    let mut pool = json!({ "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": metadata, "spec": { "addresses": addresses } });
    let mut resources = Resources::default();
    resources.read(Kind::IPAddressPool, &pool);
    if advertised {
        let advertisement = json!({ "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": { "name": "example", "namespace": "metallb-system" } });
        resources.read(Kind::L2Advertisement, &advertisement);
    }
    let checked = config::check(&resources, &Config::default());
    let verdict = checked.verdicts.iter().find(|verdict| verdict.kind == Kind::IPAddressPool);
    let verdict = verdict.expect("every object has a verdict");
    let now = Time(Timestamp::UNIX_EPOCH);
    let conditions = conditions::with_verdict(verdict, &[], &now);
    let conditions = conditions::with_exhaustion(exhausted, verdict.generation, &conditions, &now);
    pool["status"] = json!({ "conditions": conditions });
    pool
}

#[test]
fn argo_shows_what_the_conditions_say() {
    let good = judged_pool(&["10.0.0.0/24"], true, None);
    let bad = judged_pool(&["10.0.0.9-10.0.0.1"], true, None);
    let idle = judged_pool(&["10.0.0.0/24"], false, None);
    let full = judged_pool(&["10.0.0.0/32"], true, Some("held by \"a\" \\ 'b'"));
    let mut edited = good.clone();
    edited["metadata"]["generation"] = json!(3);
    let mut new = good.clone();
    new["status"] = Value::Null;
    let mut as_metallb = good.clone();
    as_metallb["status"] = json!({ "availableIPv4": 256 });
    let mut advertisement = bad.clone();
    advertisement["kind"] = json!("L2Advertisement");
    let state = |status: Value| json!({ "kind": "ConfigurationState", "metadata": {}, "status": status });
    let l2 = |status: Value| json!({ "kind": "ServiceL2Status", "metadata": {}, "status": status });
    let condition = json!({ "type": "Announced", "status": "False", "reason": "NoOwner", "message": "why" });
    let cases = [
        (good, "Healthy", ""),
        (bad.clone(), "Degraded", "InvalidAddresses: "),
        (idle, "Healthy", "no L2Advertisement selects this pool"),
        (full, "Healthy", "held by \"a\" \\ 'b'"),
        (edited, "Progressing", "Not judged"),
        (new, "Progressing", "Not judged"),
        (as_metallb, "Progressing", "Not judged"),
        (advertisement, "Degraded", "InvalidAddresses: "),
        (state(Value::Null), "Progressing", "Nothing was judged"),
        (state(json!({ "result": "Unknown" })), "Progressing", "Nothing was judged"),
        (state(json!({ "result": "Valid" })), "Healthy", ""),
        (state(json!({ "result": "Invalid", "errorSummary": "a pool" })), "Degraded", "a pool"),
        (l2(Value::Null), "Progressing", "No node"),
        (l2(json!({ "node": "wk01" })), "Healthy", "announced from wk01"),
        (l2(json!({ "node": "wk01", "conditions": [condition] })), "Degraded", "NoOwner: why"),
    ];
    let objects: Vec<Value> = cases.iter().map(|(object, _, _)| object.clone()).collect();
    let Some(found) = health(&objects) else { return };
    assert_eq!(found.len(), cases.len());
    for ((object, status, message), (found_status, found_message)) in cases.iter().zip(&found) {
        assert_eq!(found_status, status, "{object}");
        assert!(found_message.starts_with(message), "{object}: {found_message}");
        assert_eq!(message.is_empty(), found_message.is_empty(), "{object}: {found_message}");
    }
    assert_eq!(script("IPAddressPool"), script("L2Advertisement"), "both kinds have the same conditions");
}
