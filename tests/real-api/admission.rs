//! What the API server by itself says to whoever applies our kinds, wherever the manifests are installed; and the
//! manifests on an API server that has no such policies.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kube_apiserver::{ApiServer, ApiUser, NAMESPACE};
use serde_json::{Value, json};
use tests::manifests::manifests;

/// A policy is in force within a second or two after it is stored.
const PATIENCE: Duration = Duration::from_secs(60);
/// A namespace of the user's choice.
const ELSEWHERE: &str = "network";

/// A kustomization of the user's that moves the base and the components, as far as their kinds are known, elsewhere.
fn moved() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moved");
    fs::create_dir_all(&folder).expect("cargo has made the folder above");
    let manifests = manifests().canonicalize().expect("it is there");
    let to_the_top = "../".repeat(folder.canonicalize().expect("it was made").components().count() - 1);
    let path =
        |dir: &str| format!("{to_the_top}{}", manifests.join(dir).display().to_string().trim_matches('/'));
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": ELSEWHERE,
        "resources": [path("base")],
        "components": [path("components/network-policies"), path("components/metrics-https")],
    });
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).expect("the folder is ours");
    folder.display().to_string()
}

fn object(kind: &str, namespace: &str, spec: &Value) -> String {
    let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
    json!({
        "apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": { "name": "a", "namespace": namespace }, "spec": spec,
    })
    .to_string()
}

fn pool(namespace: &str) -> String {
    object("IPAddressPool", namespace, &json!({ "addresses": ["10.0.0.0/24"] }))
}

fn apply(api: &ApiServer, object: &str, more: &[&str]) -> Result<String, String> {
    let arguments = [&["apply", "-f", "-"], more].concat();
    api.kubectl_as(&ApiUser::Admin, &arguments, object)
}

/// Asks, and stores nothing, until the policies are in force.
fn wait_for_refusal(api: &ApiServer, object: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match apply(api, object, &["--dry-run=server"]) {
            Err(error) => return error,
            Ok(taken) => assert!(Instant::now() < deadline, "never refused: {taken}"),
        }
    }
}

/// One after the other in both namespaces: where the controller is, objects are taken, and nowhere else.
#[test]
fn b47_objects_are_refused_where_no_controller_reads_them() {
    let Some(api) = ApiServer::start() else { return };
    api.kubectl(&["apply", "-k", "manifests/crds"]);
    let stray = pool("default");
    apply(&api, &stray, &[]).expect("there is no policy yet");
    for (overlay, ours) in [("manifests/base".to_owned(), NAMESPACE), (moved(), ELSEWHERE)] {
        api.kubectl(&["apply", "-k", &overlay]);
        let error = wait_for_refusal(&api, &pool("kube-public"));
        let text =
            "resource must be created in the namespace of the controller: nobody reads it in kube-public";
        assert!(error.contains(text), "{error}");
        for (kind, spec) in [
            ("L2Advertisement", json!({})),
            ("BGPAdvertisement", json!({})),
            ("BFDProfile", json!({})),
            ("Community", json!({})),
            ("BGPPeer", json!({ "myASN": 64512, "peerASN": 64512, "peerAddress": "10.0.0.1" })),
        ] {
            let error = apply(&api, &object(kind, "kube-public", &spec), &[]).expect_err(kind);
            assert!(error.contains(text), "{error}");
            let taken = apply(&api, &object(kind, ours, &spec), &[]).expect("the controller is there");
            let is_warned = taken.contains("nothing reads objects of BGP");
            assert_eq!(is_warned, kind != "L2Advertisement", "{taken}");
        }
        apply(&api, &pool(ours), &[]).expect("the controller is there");
        // What lies elsewhere since before can be changed and deleted.
        api.kubectl(&[
            "label",
            "ipaddresspool",
            "a",
            "-n",
            "default",
            "--overwrite",
            &format!("seen={ours}"),
        ]);
        // Cluster-wide names are the same, so one after the other.
        api.kubectl(&["delete", "--wait=false", "namespace", ours]);
        api.kubectl(&["delete", "rolebinding,role", "controller", "-n", ours]);
    }
    api.kubectl(&["delete", "ipaddresspool", "a", "-n", "default"]);
}

/// The programs have their rights in the user's namespace, and applying it again changes nothing.
#[test]
fn a_namespace_of_the_users_moves_everything() {
    let Some(api) = ApiServer::start() else { return };
    api.kubectl(&["apply", "-k", "manifests/crds"]);
    let moved = moved();
    api.kubectl(&["apply", "-k", &moved]);
    for (account, arguments) in [
        ("controller", &["watch", "ipaddresspools.metallb.io", "-n", ELSEWHERE][..]),
        ("controller", &["patch", "services", "--subresource=status", "-A"]),
        ("controller", &["create", "tokenreviews.authentication.k8s.io", "-A"]),
        ("speaker", &["watch", "l2advertisements.metallb.io", "-n", ELSEWHERE]),
        ("speaker", &["watch", "services", "-A"]),
        ("speaker", &["create", "servicel2statuses.metallb.io", "-n", ELSEWHERE]),
    ] {
        let who = format!("--as=system:serviceaccount:{ELSEWHERE}:{account}");
        let answer = api.kubectl(&[&["auth", "can-i", &who], arguments].concat());
        assert!(answer.contains("yes"), "{account} {arguments:?}: {answer}");
    }
    let left = api.kubectl_as(&ApiUser::Admin, &["get", "namespace", NAMESPACE], "");
    assert!(left.is_err(), "nothing has made {NAMESPACE}");
    let again = api.kubectl(&["diff", "-k", &moved]);
    assert!(again.trim().is_empty(), "{again}");
}

/// Kubernetes 1.30 and later have it, unless somebody turns it off: then kubectl names what it does not know, and
/// everything else is there.
#[test]
fn without_such_policies_everything_else_is_applied() {
    let resources = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    let off = resources.map(|resource| format!("admissionregistration.k8s.io/v1/{resource}=false")).join(",");
    let api = ApiServer::builder()
        .flag(&format!("--runtime-config={off}"))
        .flag("--disable-admission-plugins=ValidatingAdmissionPolicy");
    let Some(api) = api.start() else { return };
    api.kubectl(&["apply", "-k", "manifests/crds"]);
    let said = api.kubectl_as(&ApiUser::Admin, &["apply", "-k", "manifests/overlays/talos"], "");
    let said = said.expect_err("kubectl fails where it does not know a kind");
    let unknown: Vec<&str> = said.lines().filter(|line| line.contains("no matches for kind")).collect();
    assert!(unknown.iter().all(|line| line.contains("\"ValidatingAdmissionPolicy")), "{said}");
    let objects =
        ["deployment/controller", "daemonset/speaker", "ipaddresspool/first-pool", "l2advertisement/example"];
    api.kubectl(&[&["get", "-n", NAMESPACE], &objects[..]].concat());
}
