//! The manifests against a real API server: that it takes every one of them strictly, from
//! empty, with the commands of the README.

use kube_apiserver::{ApiServer, ApiUser};
use tests::manifests::{manifests, objects};

/// What each file or directory is applied with.
const TAKEN: &[(&str, &str)] = &[
    ("-k", "manifests/crds"),
    ("-k", "manifests/base"),
    ("-k", "manifests/overlays/kind"),
    ("-k", "manifests/overlays/talos"),
    ("-k", "manifests/overlays/talos-reserved"),
    ("-k", "manifests/overlays/prometheus"),
    ("-k", "manifests/components/network-policies"),
    ("-f", "manifests/examples/nginx.yaml"),
    ("-f", "tests/kind/nginx.yaml"),
];

/// Kinds that are not ours, of which this server knows nothing.
const FOREIGN: &[&str] = &["PrometheusRule", "ServiceMonitor"];

/// A field with a wrong name, type or value fails; so does one that another Kubernetes dropped.
#[test]
fn every_manifest_is_valid_to_the_letter() {
    let Some(api) = ApiServer::start() else { return };
    // Nothing is stored below, but kinds and namespace must be there.
    api.kubectl(&["apply", "-k", "manifests/crds"]);
    api.kubectl(&["apply", "-f", "manifests/base/namespace.yaml"]);
    let dry_run = |how: &str, what: &str| {
        let arguments = ["apply", "--dry-run=server", "--validate=strict", how, what];
        api.kubectl_as(&ApiUser::Admin, &arguments, "")
    };
    for (how, what) in TAKEN {
        let Err(error) = dry_run(how, what) else { continue };
        let is_foreign =
            |line: &str| FOREIGN.iter().any(|kind| line.contains(&format!("no matches for kind \"{kind}\"")));
        let hint = "ensure CRDs are installed first";
        let problem = |line: &&str| !is_foreign(line) && *line != hint && !line.ends_with("(server dry run)");
        let problems: Vec<&str> = error.lines().filter(problem).collect();
        assert!(problems.is_empty(), "{what}: {}", problems.join("\n"));
    }
    let refused = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: a, namespace: metallb-system}\n\
                   spec: {addresses: [10.0.0.0/24], autoAsign: false}\n";
    let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    let error =
        api.kubectl_as(&ApiUser::Admin, &arguments, refused).expect_err("a slip of the pen is noticed");
    assert!(error.contains("autoAsign"), "{error}");
}

/// README, "Install it": each command ends well, and everything is there that needs no node.
#[test]
fn the_readme_installs_from_an_empty_api_server() {
    let readme = std::fs::read_to_string(manifests().join("../README.md")).expect("it is there");
    let journey = readme.split("## Install it").nth(1).and_then(|rest| rest.split("```").nth(1));
    let commands: Vec<Vec<&str>> = journey
        .expect("the README says how to install it")
        .lines()
        .filter_map(|line| line.split('#').next().unwrap_or_default().trim().strip_prefix("kubectl "))
        .map(|command| command.split_whitespace().collect())
        .collect();
    assert_eq!(commands.len(), 5, "five commands: {commands:?}");
    let Some(api) = ApiServer::start() else { return };
    for command in &commands {
        api.kubectl(command);
    }
    for file in ["base/controller.yaml", "base/speaker.yaml", "overlays/talos/metallb-config.yaml"] {
        for object in objects(&manifests().join(file)) {
            let text = |value: &serde_json::Value| value.as_str().expect("it is text").to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            api.kubectl(&["get", &kind, &name, "-n", "metallb-system"]);
        }
    }
    // Applied again it is the same: nothing of ours is a default that comes back as a change.
    let again = api.kubectl(&["diff", "-k", "manifests/overlays/talos"]);
    assert!(again.trim().is_empty(), "{again}");
}
