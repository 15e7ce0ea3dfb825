//! How the product is packed and tried out: images, their list of parts, and the run on kind
//! as far as it goes without a container engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::manifests::{manifests, objects, render};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The stages of the Containerfile by name, each with its instructions.
fn stages() -> BTreeMap<String, Vec<String>> {
    let mut stages = BTreeMap::<String, Vec<String>>::new();
    let mut name = String::new();
    for line in read("Containerfile").replace("\\\n", " ").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(from) = line.strip_prefix("FROM ") {
            name = from.split(" AS ").nth(1).expect("every stage has a name").to_owned();
        }
        stages.entry(name.clone()).or_default().push(line.trim().to_owned());
    }
    stages
}

/// G126: two images with one program each, called as in MetalLB's, so that a chart's values can name them.
#[test]
fn g126_two_images_with_the_entry_points_of_metallb() {
    let stages = stages();
    assert_eq!(stages.keys().collect::<Vec<_>>(), ["build", "controller", "speaker"]);
    for (program, user) in [("controller", "65534:65534"), ("speaker", "0:0")] {
        let stage = &stages[program];
        let expected = [
            format!("FROM scratch AS {program}"),
            format!("COPY --from=build /out/{program} /{program}"),
            format!("COPY --from=build /out/{program}.cdx.json /sbom.cdx.json"),
            format!("USER {user}"),
            format!("ENTRYPOINT [\"/{program}\"]"),
        ];
        for line in expected {
            assert!(stage.contains(&line), "{program}: no {line:?} in {stage:#?}");
        }
        assert!(!stage.iter().any(|line| line.starts_with("RUN")), "nothing runs in an image from scratch");
    }
    // The user that the Pod runs as is the image's, so that it also runs under MetalLB's own manifest.
    let rendered = render(&manifests().join("base"));
    for (kind, user) in [("Deployment", 65534), ("DaemonSet", 0)] {
        let workload = rendered.iter().find(|object| object["kind"] == json!(kind)).expect("base has it");
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let own = &container["securityContext"]["runAsUser"];
        let said = if own.is_null() { &pod["securityContext"]["runAsUser"] } else { own };
        assert_eq!(said, &json!(user), "{kind}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true), "{kind}");
    }
}

/// G126: the speakers of a chart's release find each other by the labels that the chart gives them.
#[test]
fn g126_a_charts_labels_select_its_speakers() {
    let labels = "app.kubernetes.io/name=metallb,app.kubernetes.io/component=speaker";
    let args = [
        "speaker",
        "--node-name=wk01",
        "--ml-bindaddr=172.16.16.11",
        "--insecure-gossip",
        "--namespace=metallb-system",
        "--ml-labels",
        labels,
    ];
    let args = <speaker::args::Args as clap::Parser>::try_parse_from(args).expect("they are good arguments");
    let gossip = args.settings().expect("they suffice").gossip.expect("gossip is on");
    assert_eq!(gossip.labels, labels, "the selector of the peers' Pods, word for word");
}

/// Cargo loads every member of the workspace, also those it does not build.
#[test]
fn the_image_is_built_from_every_member_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let members = members.expect("the workspace has members").split(',');
    let top = |member: &str| member.trim().trim_matches('"').split('/').next().map(str::to_owned);
    let members: BTreeSet<String> = members.filter_map(top).filter(|name| !name.is_empty()).collect();
    assert!(members.len() >= 5, "{members:?}");
    let build = &stages()["build"];
    for member in members {
        assert!(build.contains(&format!("COPY {member} {member}")), "the build lacks {member}");
    }
}

/// The list of parts of a program.
fn sbom(program: &str) -> Value {
    assert!(Command::new("jq").arg("--version").output().is_ok(), "{NO_JQ}");
    let output = Command::new(root().join(".ci/sbom")).arg(program).output().expect("the script can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it writes JSON")
}

#[test]
fn every_crate_in_a_program_is_in_its_sbom() {
    for (program, wanted, unwanted) in [
        ("controller", ["controller-core", "kube", "tokio"], ["speaker-core", "foca", "insta"]),
        ("speaker", ["speaker-core", "kube", "foca"], ["controller-core", "netsim", "insta"]),
    ] {
        let sbom = sbom(program);
        assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
        assert_eq!(sbom["metadata"]["component"]["name"], json!(program));
        let components = sbom["components"].as_array().expect("it has components");
        let named = |name: &str| components.iter().any(|component| component["name"] == json!(name));
        assert!(wanted.iter().all(|name| named(name)), "{program}: not all of {wanted:?}");
        assert!(!unwanted.iter().any(|name| named(name)), "{program}: one of {unwanted:?}");
        let mut refs = BTreeSet::from([sbom["metadata"]["component"]["bom-ref"].to_string()]);
        for component in components {
            let licence = component["licenses"][0]["expression"].as_str().unwrap_or_default();
            assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
            let is_ours =
                component["version"] == json!(env!("CARGO_PKG_VERSION")) && component["purl"].is_null();
            let hash = component["hashes"][0]["content"].as_str().unwrap_or_default();
            assert!(is_ours || hash.len() == 64, "{component}");
            assert!(refs.insert(component["bom-ref"].to_string()), "twice: {component}");
        }
        let dependencies = sbom["dependencies"].as_array().expect("it has dependencies");
        for dependency in dependencies {
            let on = dependency["dependsOn"].as_array().expect("a list").iter();
            for reference in on.chain([&dependency["ref"]]) {
                assert!(refs.contains(&reference.to_string()), "{program}: {reference} is no component");
            }
        }
        assert_eq!(dependencies.len(), refs.len(), "every component says what it depends on");
    }
}

/// What our scripts write JSON with, and the README asks for.
const NO_JQ: &str = "jq is not installed, which .ci/sbom and tests/kind/run need: apt-get install jq";

/// A directory of the test's own, with what the script calls in it.
struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// Of the machine's own programs only these.
    const REAL: &'static [&'static str] =
        &["bash", "cat", "dirname", "grep", "jq", "mkdir", "mktemp", "rm", "sed", "sleep", "sort", "touch"];

    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kind-{name}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("the target directory is writable");
        for tool in Self::REAL {
            let path = std::env::var_os("PATH").expect("there is a PATH");
            let found = std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| path.is_file());
            let found = found.unwrap_or_else(|| match tool {
                &"jq" => panic!("{NO_JQ}"),
                _ => panic!("{tool} is not installed"),
            });
            std::os::unix::fs::symlink(found, dir.join(tool)).expect("the directory is new");
        }
        Self { dir }
    }

    /// Adds stand-ins for docker, kind and kubectl that write down how they were called.
    fn with_stand_ins(self) -> Self {
        for tool in ["docker", "kind", "kubectl"] {
            let path = self.dir.join(tool);
            fs::write(&path, STAND_IN).expect("the directory is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        }
        self
    }

    fn run(&self, arguments: &[&str], failing: &str) -> Output {
        let mut command = Command::new(self.dir.join("bash"));
        command.arg(root().join("tests/kind/run")).args(arguments).env_clear().env("PATH", &self.dir);
        command.env("DIR", &self.dir).env("FAILING", failing).env("ASK_SECONDS", "0").env("FAULT_AFTER", "0");
        command.output().expect("bash is there")
    }

    /// The calls, in order.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Answers as docker, kind and kubectl would, with two nodes of which the first one owns the address.
const STAND_IN: &str = r#"#!/usr/bin/env bash
call="${0##*/} $*"
printf '%s\n' "$call" >>"$DIR/calls"
[[ -z $FAILING || $call != $FAILING* ]] || exit 1
case $call in
"docker network inspect"*) exit 1 ;;
"kind get nodes"*) printf 'ferrolb-worker\nferrolb-worker2\n' ;;
"docker inspect"*ferrolb-worker) echo 02:00:00:00:00:01 ;;
"docker inspect"*ferrolb-worker2) echo 02:00:00:00:00:02 ;;
"docker exec"*" arp "*) if [[ -e $DIR/killed ]]; then echo 02:00:00:00:00:02; else echo 02:00:00:00:00:01; fi ;;
"docker exec"*" http "*) echo '{"asked": 3000, "unanswered": 164, "outage_ms": 1640, "answered_at_the_end": true}' ;;
"docker kill"*) touch "$DIR/killed" ;;
"kubectl get service nginx"*) printf 172.30.255.200 ;;
"kubectl version"*) echo '{"serverVersion": {"gitVersion": "v1.33.1"}}' ;;
esac
"#;

#[test]
fn kind_says_what_is_missing() {
    let output = Tools::new("missing").run(&[], "");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for tool in ["docker", "kind", "kubectl"] {
        assert!(text.contains(&format!("{tool} is not installed: https://")), "{text}");
    }
    assert!(!text.contains("jq is not installed"), "{text}");
    let tools = Tools::new("no-engine").with_stand_ins();
    let output = tools.run(&[], "docker info");
    assert!(String::from_utf8_lossy(&output.stderr).contains("docker has no engine"));
    assert_eq!(tools.calls(), ["docker info"], "nothing was made");
    let help = Tools::new("help").run(&["--help"], "");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--keep"));
    let wrong = Tools::new("wrong").run(&["--kept"], "");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("unknown argument --kept"));
}

#[test]
fn kind_goes_through_its_steps_and_cleans_up() {
    let tools = Tools::new("all").with_stand_ins();
    let numbers = tools.dir.join("numbers.json");
    let output = tools.run(&["--numbers", &numbers.to_string_lossy()], "");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let calls = tools.calls();
    let mut rest = calls.iter();
    for expected in [
        "docker build --target controller --tag ferrolb/controller:0.1.0",
        "docker build --target speaker --tag ferrolb/speaker:0.1.0",
        "docker network create --subnet 172.30.255.0/24 ferrolb-kind",
        "kind create cluster --name ferrolb --config tests/kind/cluster.yaml",
        "kind load docker-image --name ferrolb ferrolb/controller:0.1.0 ferrolb/speaker:0.1.0",
        "kubectl apply -k manifests/crds",
        "kubectl apply -k manifests/overlays/kind",
        "kubectl rollout status --namespace metallb-system daemonset/speaker",
        "kubectl apply -f tests/kind/nginx.yaml",
        "docker run --detach --name ferrolb-client --network ferrolb-kind",
        "kubectl delete pod --namespace metallb-system --selector component=speaker --field-selector \
         spec.nodeName=ferrolb-worker",
        "docker kill ferrolb-worker",
        "docker rm --force ferrolb-client",
        "kind delete cluster --name ferrolb",
        "docker network rm ferrolb-kind",
    ] {
        assert!(
            rest.any(|call| call.starts_with(expected)),
            "{expected} not, or not in order, in {calls:#?}"
        );
    }
    let numbers: Value = serde_json::from_str(&fs::read_to_string(numbers).expect("it was written"))
        .expect("the numbers are JSON");
    assert_eq!(numbers["kubernetes"], json!("v1.33.1"));
    let killed = &numbers["measurements"][1];
    assert_eq!(
        (&killed["owner"], &killed["new_owner"]),
        (&json!("ferrolb-worker"), &json!("ferrolb-worker2"))
    );
    let table = String::from_utf8_lossy(&output.stdout);
    let row = table.lines().find(|line| line.starts_with("the owner's node is killed"));
    assert!(row.is_some_and(|row| row.ends_with("1640 ms")), "{table}");
}

#[test]
fn kind_cleans_up_what_it_made_when_a_step_fails() {
    let steps = [
        ("docker build", "kind delete", false),
        ("docker network create", "kind delete", false),
        ("kind create", "kind delete", true),
        ("kubectl rollout", "kubectl logs", true),
        ("docker run", "docker network rm", true),
        ("docker exec", "docker rm --force ferrolb-client", true),
    ];
    for (failing, call, expected) in steps {
        let tools = Tools::new(&format!("failing-{}", failing.replace(' ', "-"))).with_stand_ins();
        let output = tools.run(&[], failing);
        assert!(!output.status.success(), "{failing}");
        let found = tools.calls().iter().any(|made| made.starts_with(call));
        assert_eq!(found, expected, "{failing}: {call} in {:#?}", tools.calls());
    }
    let kept = Tools::new("kept").with_stand_ins();
    let output = kept.run(&["--keep", "--numbers", "/dev/null"], "kubectl rollout");
    assert!(!kept.calls().iter().any(|call| call.starts_with("kind delete")));
    let text = String::from_utf8_lossy(&output.stderr);
    let kubeconfig = text.split("KUBECONFIG=").nth(1).and_then(|rest| rest.split(';').next());
    let work = kubeconfig.and_then(|path| Path::new(path).parent()).expect("it says where the cluster is");
    fs::remove_dir(work).expect("nothing was put into it");
}

/// The script, the overlay and the client agree on the network.
#[test]
fn kinds_pool_lies_in_the_network_that_the_script_makes() {
    let script = read("tests/kind/run");
    assert!(script.contains("SUBNET=172.30.255.0/24"));
    let rendered = render(&manifests().join("overlays/kind"));
    let pool =
        rendered.iter().find(|object| object["kind"] == json!("IPAddressPool")).expect("it has a pool");
    for range in pool["spec"]["addresses"].as_array().expect("a list of ranges") {
        let range = range.as_str().expect("a range is text");
        assert!(range.split('-').all(|end| end.starts_with("172.30.255.")), "{range}");
    }
    let service = objects(&root().join("tests/kind/nginx.yaml"));
    let service = service.iter().find(|object| object["kind"] == json!("Service")).expect("it has one");
    assert_eq!(
        service["spec"]["externalTrafficPolicy"],
        json!("Local"),
        "or Kubernetes' own delay is measured"
    );
}
