//! What Flux, Argo CD or kubectl would apply: that it renders, is safe, and means what we say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrolb_api::config::{self, Config, Kind, Resources};
use serde_json::{Value, json};
use tests::manifests::{by_name, manifests, name_of, objects, render};

/// The directories that a user applies.
const APPLIED: &[&str] =
    &["crds", "base", "overlays/kind", "overlays/prometheus", "overlays/talos", "overlays/talos-reserved"];

/// Those with a pool of their own.
const WITH_POOLS: &[&str] = &["overlays/kind", "overlays/talos", "overlays/talos-reserved"];

/// What a user adds to an overlay; each is rendered into it by some test.
const COMPONENTS: &[&str] =
    &["components/metrics-https", "components/network-policies", "components/prometheus"];

fn base() -> BTreeMap<String, Value> {
    by_name(&render(&manifests().join("base")))
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("manifests/ is readable") {
        let path = entry.expect("manifests/ is readable").path();
        match path.extension() {
            _ if path.is_dir() => files.extend(files_under(&path)),
            Some(extension) if extension == "yaml" || extension == "json" => files.push(path),
            _ => panic!("{} is neither YAML nor JSON", path.display()),
        }
    }
    files.sort();
    files
}

#[test]
fn every_file_is_yaml_and_is_used() {
    let mut used = BTreeSet::new();
    for file in files_under(&manifests()) {
        for object in objects(&file) {
            let is_object = object["apiVersion"].is_string() && object["kind"].is_string();
            let is_json = file.extension().is_some_and(|extension| extension == "json");
            assert!(is_object || is_json, "{}", file.display());
            let list = |key: &str| object[key].as_array().cloned().unwrap_or_default();
            let patches = list("patches").into_iter().map(|patch| patch["path"].clone());
            let patches = patches.filter(Value::is_string);
            let generated = list("configMapGenerator").into_iter();
            let generated = generated.flat_map(|map| map["files"].as_array().cloned().unwrap_or_default());
            let components = list("components").into_iter();
            for resource in list("resources").into_iter().chain(components).chain(patches).chain(generated) {
                let name = resource.as_str().unwrap_or_default();
                let path = file.with_file_name(name.split_once('=').map_or(name, |(_, path)| path));
                let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                used.insert(if path.is_dir() { path.join("kustomization.yaml") } else { path });
            }
        }
    }
    let applied = APPLIED.iter().chain(COMPONENTS);
    let applied = applied.map(|dir| manifests().join(dir).join("kustomization.yaml"));
    used.extend(applied.map(|path| path.canonicalize().expect("APPLIED names what is there")));
    for file in files_under(&manifests()) {
        let path = file.canonicalize().expect("it was just read");
        let is_example = path.ancestors().any(|ancestor| ancestor.ends_with("manifests/examples"));
        assert!(is_example || used.contains(&path), "{} belongs to no kustomization", file.display());
    }
}

/// The CRDs are left out, whose file is itself generated, and the dashboard, which is a file by itself.
#[test]
fn what_the_overlays_render() {
    insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false }, {
        for dir in APPLIED.iter().filter(|dir| dir.starts_with("overlays/")) {
            let objects = render(&manifests().join(dir));
            let shown: Vec<_> = objects
                .iter()
                .filter(|object| object["kind"] != json!("CustomResourceDefinition"))
                .filter(|object| name_of(object) != "ConfigMap ferrolb-dashboard")
                .map(|object| serde_saphyr::to_string(object).expect("JSON is YAML"))
                .collect();
            let name = format!("manifests-{}", dir.replace('/', "-"));
            insta::assert_snapshot!(name, shown.join("---\n"));
        }
    });
}

/// `kubectl kustomize` and this file agree, and it has nothing to warn of.
#[test]
fn kustomize_renders_the_same_without_warnings() {
    let tools: [&[&str]; 2] = [&["kubectl", "kustomize"], &["kustomize", "build"]];
    let runs = |tool: &&&[&str]| Command::new(tool[0]).arg("--help").output().is_ok();
    let Some(tool) = tools.iter().find(runs) else {
        assert!(std::env::var_os("CI").is_none(), "CI must have kubectl or kustomize");
        // Not by `eprintln`, which the test harness swallows.
        let note = "SKIPPED: neither kubectl nor kustomize is installed; nothing is compared with them";
        writeln!(std::io::stderr(), "{note}").expect("stderr is open");
        return;
    };
    for dir in APPLIED {
        let output = Command::new(tool[0]).args(&tool[1..]).arg(manifests().join(dir)).output();
        let output = output.expect("it ran a moment ago");
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{dir}: {warnings}");
        let text = String::from_utf8(output.stdout).expect("YAML is UTF-8");
        let rendered: Vec<Value> = serde_saphyr::from_multiple(&text).expect("kustomize writes YAML");
        let (theirs, ours) = (by_name(&rendered), by_name(&render(&manifests().join(dir))));
        assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{dir}");
        for (name, object) in &theirs {
            assert!(
                object == &ours[name],
                "{dir}: {name}: kustomize has\n{object:#}\nand we\n{:#}",
                ours[name]
            );
        }
    }
}

#[test]
fn every_custom_resource_is_accepted() {
    for dir in APPLIED {
        let mut resources = Resources::default();
        for object in render(&manifests().join(dir)) {
            if let Some(kind) = object["kind"].as_str().and_then(Kind::parse) {
                resources.read(kind, &object);
            }
        }
        let checked = config::check(&resources, &Config::default());
        for verdict in &checked.verdicts {
            assert!(
                verdict.outcome.is_ok(),
                "{dir}: {} {}: {:?}",
                verdict.kind,
                verdict.name,
                verdict.outcome
            );
        }
        let has_pools = WITH_POOLS.contains(dir);
        assert_eq!(!checked.config.pools.is_empty(), has_pools, "{dir}: pools belong into overlays");
        for pool in checked.config.pools.values() {
            let announced = checked.config.advertisements.values().any(|ad| ad.selects_pool(pool));
            assert!(announced, "{dir}: nobody announces {}", pool.name);
        }
    }
}

/// .100 is the API server's own virtual address, the nodes begin at .11 and the router is .1.
#[test]
fn the_address_plan_of_talos() {
    let rendered = render(&manifests().join("overlays/talos"));
    let mut resources = Resources::default();
    for object in rendered.iter().filter(|object| object["kind"] == json!("IPAddressPool")) {
        resources.read(Kind::IPAddressPool, object);
    }
    let config = config::check(&resources, &Config::default()).config;
    let inside = (0..=255_u8).filter(|host| config.pool_of(&[[172, 16, 16, *host].into()]).is_some());
    assert_eq!(inside.collect::<Vec<_>>(), (101..=120).collect::<Vec<u8>>());
}

/// What docs/reservations.md promises of the overlay, with Services as Helm and Envoy Gateway make them.
#[test]
fn the_reservations_of_talos() {
    let mut rendered = render(&manifests().join("overlays/talos-reserved"));
    let service = |namespace: &str, name: &str, labels: Value| {
        let object = json!({ "metadata": { "namespace": namespace, "name": name, "labels": labels } });
        let object: k8s_openapi::api::core::v1::Service =
            serde_json::from_value(object).expect("it is a Service");
        ferrolb_api::Service::from(&object)
    };
    let owned_by = |gateway: &str| {
        json!({
            "gateway.envoyproxy.io/owning-gateway-namespace": "envoy-gateway-system",
            "gateway.envoyproxy.io/owning-gateway-name": gateway,
        })
    };
    let traefik = service("traefik", "traefik", json!({}));
    let web = service("envoy-gateway-system", "envoy-web-3f2a", owned_by("web"));
    let api = service("envoy-gateway-system", "envoy-api-77c1", owned_by("api"));
    let nginx = service("default", "nginx", json!({}));

    // As it stands, and when someone widens the pool.
    for (addresses, first) in [(Value::Null, 101_u8), (json!(["172.16.16.0/24"]), 0)] {
        let pool = rendered.iter_mut().find(|object| object["kind"] == json!("IPAddressPool"));
        let pool = pool.expect("the overlay has a pool");
        if !addresses.is_null() {
            pool["spec"]["addresses"] = addresses;
        }
        let mut resources = Resources::default();
        resources.read(Kind::IPAddressPool, pool);
        let config = config::check(&resources, &Config::default()).config;
        let pool = &config.pools["first-pool"];
        assert!(pool.contains([172, 16, 16, first].into()), "it is the pool that is meant");
        let unavailable_for =
            |host: u8, service| pool.unavailable([172, 16, 16, host].into(), service).is_some();
        for (host, free_for) in [(101, &traefik), (102, &web)] {
            for other in [&traefik, &web, &api, &nginx] {
                assert_eq!(unavailable_for(host, other), other.key != free_for.key, ".{host} {}", other.key);
            }
        }
        assert!(!unavailable_for(103, &nginx));
        assert_eq!(config.pool_of(&[[172, 16, 16, 100].into()]), None, "the API server's address");
    }
}

#[test]
fn the_examples_ask_for_the_addresses_of_the_plan() {
    let annotation = "metallb.io/loadBalancerIPs";
    for (file, kind, pointer, expected) in [
        ("nginx.yaml", "Service", "/metadata/annotations", Value::Null),
        ("traefik.yaml", "Service", "/metadata/annotations", json!("172.16.16.101")),
        (
            "envoy-gateway.yaml",
            "EnvoyProxy",
            "/spec/provider/kubernetes/envoyService/annotations",
            json!("172.16.16.102"),
        ),
    ] {
        let objects = objects(&manifests().join("examples").join(file));
        let object = objects.iter().find(|object| object["kind"] == json!(kind)).expect(file);
        let asked =
            object.pointer(pointer).map_or(Value::Null, |annotations| annotations[annotation].clone());
        assert_eq!(asked, expected, "{file}");
        if kind == "Service" {
            let service: k8s_openapi::api::core::v1::Service =
                serde_json::from_value(object.clone()).expect(file);
            assert!(ferrolb_api::Service::from(&service).is_load_balancer, "{file}");
        }
    }
}

/// Pod Security Standards, level restricted, as far as it concerns our fields.
#[test]
fn t12_the_controller_meets_pss_restricted() {
    let deployment = &base()["Deployment controller"];
    let pod = &deployment["spec"]["template"]["spec"];
    for field in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
        assert_eq!(pod[field], Value::Null, "{field}");
    }
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], json!(true));
    assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0));
    assert_eq!(security["seccompProfile"]["type"], json!("RuntimeDefault"));
    let container = only_container(deployment);
    let security = &container["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], json!(false));
    assert_eq!(security["readOnlyRootFilesystem"], json!(true));
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(security["privileged"], Value::Null);
    assert!(
        container["ports"].as_array().expect("it has ports").iter().all(|port| port["hostPort"].is_null())
    );
}

#[test]
fn g111_g113_the_speaker_has_what_it_needs_and_no_more() {
    let daemon_set = &base()["DaemonSet speaker"];
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], json!(true));
    assert_eq!(pod["terminationGracePeriodSeconds"], json!(15));
    assert_eq!(pod["priorityClassName"], json!("system-node-critical"));
    for field in ["hostPID", "hostIPC", "initContainers"] {
        assert_eq!(pod[field], Value::Null, "{field}");
    }
    for volume in pod["volumes"].as_array().expect("it has volumes") {
        assert!(volume["hostPath"].is_null(), "T13: {volume}");
    }
    let container = only_container(daemon_set);
    let security = &container["securityContext"];
    let added = ["NET_RAW", "SETGID", "SETPCAP", "SETUID"];
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"], "add": added }));
    // It becomes nobody, who must be able to read the ServiceAccount's token.
    assert_eq!(security["runAsUser"], json!(0));
    assert_eq!(pod["securityContext"]["fsGroup"], json!(speaker::sys::privileges::NOBODY));
    assert_eq!(security["allowPrivilegeEscalation"], json!(false));
    assert_eq!(security["readOnlyRootFilesystem"], json!(true));
    assert_eq!(security["privileged"], Value::Null);
    assert_eq!(container["resources"]["requests"]["cpu"], json!("200m"));
    assert_eq!(container["resources"]["limits"]["cpu"], Value::Null);
    for mount in container["volumeMounts"].as_array().expect("it has mounts") {
        assert_eq!(mount["readOnly"], json!(true), "{mount}");
    }
}

/// A drain takes one controller at a time, and never waits for ever.
#[test]
fn the_disruption_budget_is_of_the_controllers_pods() {
    let base = base();
    let spec = &base["PodDisruptionBudget controller"]["spec"];
    assert_eq!(spec["maxUnavailable"], json!(1));
    let deployment = &base["Deployment controller"]["spec"];
    assert_eq!(spec["selector"], deployment["selector"]);
    assert!(deployment["replicas"].as_u64().is_some_and(|replicas| replicas >= 1));
}

/// G124: what the policy lets in is what the container listens on; what it lets out is the API server.
#[test]
fn g124_policies_let_in_the_declared_ports_and_out_the_api_server() {
    let policies = by_name(&render(&manifests().join("components/network-policies")));
    let base = base();
    assert_eq!(
        policies.keys().collect::<Vec<_>>(),
        ["NetworkPolicy controller", "NetworkPolicy default-deny"]
    );
    let deny = &policies["NetworkPolicy default-deny"]["spec"];
    assert_eq!(deny, &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
    let policy = &policies["NetworkPolicy controller"]["spec"];
    let deployment = &base["Deployment controller"];
    assert_eq!(policy["podSelector"], deployment["spec"]["selector"]);
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let names = |ports: &Value, key: &str| -> BTreeSet<String> {
        let ports = ports.as_array().expect("a list of ports").iter();
        ports.map(|port| port[key].as_str().expect("ports have names").to_owned()).collect()
    };
    assert_eq!(
        names(&policy["ingress"][0]["ports"], "port"),
        names(&only_container(deployment)["ports"], "name")
    );
    assert!(policy["ingress"][0]["from"].is_null(), "the kubelet and any Prometheus");
    let egress = policy["egress"][0]["ports"].as_array().expect("a list of ports");
    let egress: Vec<_> = egress.iter().map(|port| port["port"].clone()).collect();
    assert_eq!(egress, [json!(6443), json!(443)]);
    let daemon_set = &base["DaemonSet speaker"]["spec"]["template"]["spec"];
    assert_eq!(daemon_set["hostNetwork"], json!(true), "speakers are out of reach of any policy");
}

fn only_container(workload: &Value) -> &Value {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array();
    let [container] = containers.map(Vec::as_slice).unwrap_or_default() else { panic!("one container") };
    container
}

#[test]
fn g60_g100_g110_a_drop_in_has_the_names_of_metallb() {
    let base = base();
    for name in [
        "Namespace metallb-system",
        "CustomResourceDefinition ipaddresspools.metallb.io",
        "CustomResourceDefinition l2advertisements.metallb.io",
        "ServiceAccount controller",
        "ServiceAccount speaker",
        "ClusterRole metallb-system:controller",
        "ClusterRole metallb-system:speaker",
        "Role controller",
        "ConfigMap metallb-excludel2",
        "Deployment controller",
        "DaemonSet speaker",
    ] {
        assert!(base.contains_key(name), "{name} is missing");
    }
    for (workload, component) in [("Deployment controller", "controller"), ("DaemonSet speaker", "speaker")] {
        let workload = &base[workload];
        let labels = json!({ "app": "metallb", "component": component });
        for at in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            assert_eq!(workload.pointer(at), Some(&labels), "{component} {at}");
        }
        let container = only_container(workload);
        assert_eq!(container["name"], json!(component));
        assert_eq!(container["image"], json!(format!("ferrolb/{component}:0.1.0")));
        assert_eq!(
            container["livenessProbe"]["httpGet"],
            json!({ "path": "/healthz", "port": "monitoring" })
        );
        assert_eq!(
            container["readinessProbe"]["httpGet"],
            json!({ "path": "/readyz", "port": "monitoring" })
        );
    }
    let enforced = &base["Namespace metallb-system"]["metadata"]["labels"];
    assert_eq!(enforced["pod-security.kubernetes.io/enforce"], json!("privileged"));
}

/// Every right, one in a line, as a snapshot; and what no right may be.
#[test]
fn t12_rbac_is_what_the_code_calls() {
    let base = base();
    let mut rights = BTreeSet::new();
    for (name, role) in base.iter().filter(|(name, _)| name.contains("Role ")) {
        for rule in role["rules"].as_array().expect("a role has rules") {
            for right in rights_of(rule) {
                assert!(!right.contains('*'), "{name}: {right}");
                assert!(
                    !right.starts_with("list secrets") && !right.starts_with("watch secrets"),
                    "{name}: {right}"
                );
                let cluster_wide = name.starts_with("ClusterRole");
                assert!(!(cluster_wide && right.contains("secrets")), "{name}: {right}");
                assert!(!(cluster_wide && right.contains("pods")), "{name}: {right}");
                rights.insert(format!("{name}: {right}"));
            }
        }
    }
    for (name, binding) in base.iter().filter(|(name, _)| name.contains("RoleBinding ")) {
        let role = &binding["roleRef"];
        let role = format!(
            "{} {}",
            role["kind"].as_str().unwrap_or_default(),
            role["name"].as_str().unwrap_or_default()
        );
        assert!(base.contains_key(&role), "{name} binds {role}, which is missing");
        for subject in binding["subjects"].as_array().expect("a binding has subjects") {
            assert_eq!(subject["namespace"], json!("metallb-system"), "{name}");
            let account = format!("ServiceAccount {}", subject["name"].as_str().unwrap_or_default());
            assert!(base.contains_key(&account), "{name} binds {account}, which is missing");
        }
    }
    insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("manifests-rights", rights.into_iter().collect::<Vec<_>>().join("\n"));
    });
}

fn rights_of(rule: &Value) -> Vec<String> {
    let list = |key: &str| -> Vec<&str> {
        rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let mut rights = Vec::new();
    for group in list("apiGroups") {
        for resource in list("resources") {
            for verb in list("verbs") {
                let group = if group.is_empty() { String::new() } else { format!(".{group}") };
                let names = list("resourceNames");
                let names =
                    if names.is_empty() { String::new() } else { format!(" named {}", names.join(", ")) };
                rights.push(format!("{verb} {resource}{group}{names}"));
            }
        }
    }
    rights
}

/// G40, G120: the ConfigMap holds a file that the speaker reads.
#[test]
fn g120_the_excluded_interfaces_are_those_of_metallb() {
    let base = base();
    let text = base["ConfigMap metallb-excludel2"]["data"]["excludel2.yaml"].as_str().expect("it is text");
    let content: BTreeMap<String, Vec<String>> = serde_saphyr::from_str(text).expect("it is YAML");
    let patterns = &content["announcedInterfacesToExclude"];
    assert_eq!(patterns.len(), 14);
    for pattern in ["^docker.*", "^veth.*", "^lo$", "^cali.*", "^flannel.*", "^kube-ipvs.*", "^lxc.*"] {
        assert!(patterns.iter().any(|listed| listed == pattern), "{pattern}");
    }
}
