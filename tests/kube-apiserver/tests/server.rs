//! The harness itself: a server that starts empty, takes our manifests, knows our service accounts, can be taken away
//! and brought back, and never outlives its test.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube_apiserver::{ApiServer, ApiUser, NAMESPACE};

const TALOS: &str = "manifests/overlays/talos";
/// Set for [`leaves_without_a_word`], which is otherwise no test.
const VICTIM: &str = "FERROLB_TEST_VICTIM";

#[tokio::test]
async fn the_talos_overlay_applies_to_an_empty_server() {
    let Some(api) = ApiServer::start() else { return };
    let (runs, _) = api.apply_overlay(TALOS);
    assert!(runs <= 2, "kubectl knows new kinds in its second run");
    // kubectl prints "configured" of some kinds whatever happens; the versions tell.
    let line = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    let versions = || api.kubectl(&["get", "-k", TALOS, "-o", line]);
    let before = versions();
    assert!(before.lines().count() > 20, "{before}");
    assert_eq!(api.apply_overlay(TALOS).0, 1);
    assert_eq!(versions(), before, "an apply of the same changes nothing");
    let range = "jsonpath={.spec.addresses[0]}";
    let pool = api.kubectl(&["get", "-n", NAMESPACE, "ipaddresspool", "first-pool", "-o", range]);
    assert_eq!(pool, "172.16.16.101-172.16.16.120");

    // Real tokens, and nothing beyond what the manifests grant.
    for account in ["controller", "speaker"] {
        let client = api.client_as(account);
        let services: Api<Service> = Api::all(client.clone());
        services.list(&ListParams::default()).await.expect("the manifests grant it");
        let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
        let refused = secrets.list(&ListParams::default()).await.expect_err("nobody reads Secrets");
        assert!(matches!(&refused, kube::Error::Api(status) if status.is_forbidden()), "{refused}");
        let asked = api.requests(&ApiUser::account(account));
        let seen: Vec<_> =
            asked.iter().map(|one| (one.verb.as_str(), one.resource.as_str(), one.code)).collect();
        assert_eq!(seen, [("list", "services", 200), ("list", "secrets", 403)]);
    }
    let refused = api.kubectl_as(&ApiUser::user("jane"), &["get", "nodes"], "");
    assert!(refused.expect_err("the token may do nothing").contains("Forbidden"));
}

#[tokio::test]
async fn a_backup_takes_objects_and_revisions_back() {
    let Some(api) = ApiServer::start() else { return };
    let maps: Api<ConfigMap> = Api::default_namespaced(api.admin());
    let create = async |name: &str| {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let map = ConfigMap { metadata, ..ConfigMap::default() };
        let made = maps.create(&PostParams::default(), &map).await.expect("the name is new");
        let version = made.metadata.resource_version.expect("it has one");
        version.parse::<u64>().expect("versions are numbers here")
    };
    create("before").await;
    let backup = api.back_up();
    let mut last = 0;
    for number in 0..50 {
        last = create(&format!("after-{number}")).await;
    }
    for _ in 0..2 {
        api.restore(&backup);
        let names = maps.list(&ListParams::default()).await.expect("it is back");
        assert!(names.iter().all(|map| map.metadata.name.as_deref() != Some("after-0")));
        maps.get("before").await.expect("it was there then");
        assert!(create("anew").await < last, "revisions begin again where they stood");
    }
}

#[tokio::test]
async fn data_and_port_survive_what_is_done_to_the_server() {
    let Some(api) = ApiServer::start() else { return };
    let maps: Api<ConfigMap> = Api::default_namespaced(api.admin());
    let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let map = ConfigMap { metadata: named("kept"), ..ConfigMap::default() };
    let created = maps.create(&PostParams::default(), &map).await.expect("the server is empty");
    let (address, pids) = (api.address(), api.pids());

    api.stop();
    assert!(std::net::TcpStream::connect(address).is_err(), "the port refuses");
    assert!(maps.get("kept").await.is_err());
    api.restart();
    assert_eq!((api.address(), api.pids()[0]), (address, pids[0]), "same port, same etcd");
    assert_ne!(api.pids()[1], pids[1]);
    assert_eq!(maps.get("kept").await.expect("it is back").metadata, created.metadata);

    api.pause();
    let answer = tokio::time::timeout(Duration::from_secs(1), maps.get("kept")).await;
    assert!(answer.is_err(), "nothing answers: {answer:?}");
    api.resume();
    maps.get("kept").await.expect("it is awake");

    api.terminate();
    assert!(std::net::TcpStream::connect(address).is_err(), "the port refuses");
    api.restart();
    maps.get("kept").await.expect("it is back");

    // What only Kubernetes' own controllers do.
    let namespaces: Api<Namespace> = Api::all(api.admin());
    let space = Namespace { metadata: named("short-lived"), ..Namespace::default() };
    namespaces.create(&PostParams::default(), &space).await.expect("it is new");
    api.start_controllers(&["namespace-controller"]);
    namespaces.delete("short-lived", &DeleteParams::default()).await.expect("it is there");
    let gone = async || namespaces.get_opt("short-lived").await.is_ok_and(|found| found.is_none());
    assert!(comes_true(gone).await, "the namespace is deleted");
}

#[tokio::test]
async fn a_server_ends_with_its_handle_and_with_its_test() {
    let Some(api) = ApiServer::start() else { return };
    let (pids, folder) = (api.pids(), api.folder().to_owned());
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)));
    drop(api);
    assert!(!pids.iter().any(|pid| runs(*pid)) && !folder.exists());

    let mut victim = Command::new(std::env::current_exe().expect("this test is a program"))
        .args(["--exact", "leaves_without_a_word", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts again");
    let lines = BufReader::new(victim.stdout.take().expect("it was asked for")).lines();
    let line = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("SERVER ").map(str::to_owned));
    let said = line.expect("the victim has a server");
    let (folder, pids) = said.split_once(' ').expect("a folder, then numbers");
    let pids: Vec<i32> = pids.split(' ').map(|pid| pid.parse().expect("a number")).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)));
    victim.kill().expect("it runs");
    victim.wait().expect("it is our child");
    assert!(comes_true(async || !pids.iter().any(|pid| runs(*pid))).await, "nobody outlives its test");
    assert!(comes_true(async || !Path::new(folder).exists()).await, "nothing is left behind");
}

/// The victim of [`a_server_ends_with_its_handle_and_with_its_test`], in a process of its own.
#[test]
fn leaves_without_a_word() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let api = ApiServer::shared().expect("the test that starts us has the binaries");
    let pids: Vec<String> = api.pids().iter().map(ToString::to_string).collect();
    // Written at once: libtest does not capture here.
    let line = format!("\nSERVER {} {}\n", api.folder().display(), pids.join(" "));
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).expect("somebody listens");
    std::thread::sleep(Duration::from_secs(600));
}

fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the name: a zombie runs no more.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn comes_true(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if condition().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
