//! The status of Services over time: nothing is written without need, nobody is fought, and nothing is lost while the
//! API server is busy, silent or away.

use std::time::Duration;

use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Patch, PatchParams, PostParams};
use kube_apiserver::{AuditedRequest, NAMESPACE};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::setup::{
    Controller, SpeakerProcess, Stage, WORK, addresses, advertisement, eventually, pool, service, slice,
};

/// How long nothing is written in [`c70_w23_nothing_is_written_again`], in seconds; 600 for a long look.
const QUIET: &str = "FERROLB_QUIET_SECONDS";

/// A repair on a busy machine; in a minute even a watch that hangs would have been replaced (L10).
const AT_ONCE: Duration = Duration::from_secs(30);

/// A pool, an advertisement and Services `web-0`, `web-1`, ... that have their addresses.
async fn settled(stage: &Stage, services: usize) -> Controller {
    stage.create(&pool("first", &["172.16.16.101-172.16.16.120"])).await;
    stage.create(&advertisement("all")).await;
    let controller = Controller::start(stage.api).await;
    for index in 0..services {
        stage.create(&service(&format!("web-{index}"))).await;
        stage.address_becomes(&format!("web-{index}"), &format!("172.16.16.{}", 101 + index)).await;
    }
    controller
}

fn lb(ingress: Value) -> Value {
    json!({"status": {"loadBalancer": {"ingress": ingress}}})
}

/// The texts of the Events on a Service with this reason, and how often each was said.
async fn events(stage: &Stage, name: &str, reason: &str) -> Vec<(String, i32)> {
    let all = stage.list::<core::Event>(WORK).await;
    let own = all.into_iter().filter(|event| {
        event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
    });
    own.map(|event| (event.message.unwrap_or_default(), event.count.unwrap_or(1))).collect()
}

#[tokio::test]
async fn c70_w23_nothing_is_written_again() {
    let Some(stage) = Stage::take().await else { return };
    stage.create_node("wk01").await;
    let controller = settled(&stage, 3).await;
    let speaker = SpeakerProcess::start(stage.api, "wk01", false).await;
    for index in 0..3 {
        stage.create(&slice(&format!("web-{index}"))).await;
    }
    eventually("all are announced", async || speaker.announces().len() == 3).await;
    let web: core::Service = stage.get(WORK, "web-0").await.expect("it is there");
    let entries = web.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
    let modes: Vec<_> = entries.into_iter().map(|entry| entry.ip_mode).collect();
    assert_eq!(modes, [Some("VIP".to_owned())], "the server fills it in");
    // Verdicts, Events and status objects may still be under way.
    let writes = || (stage.writes("controller"), stage.writes("speaker"));
    let mut before = writes();
    eventually("all is written", async || {
        sleep(Duration::from_secs(5)).await;
        std::mem::replace(&mut before, writes()) == before
    })
    .await;
    let before = writes();
    let seconds = std::env::var(QUIET).ok().map_or(20, |text| text.parse().expect("a number of seconds"));
    sleep(Duration::from_secs(seconds)).await;
    let after = writes();
    assert_eq!((&after.0[before.0.len()..], &after.1[before.1.len()..]), (&[][..], &[][..]));
    let services: Vec<_> = after.0.iter().filter(|request| request.resource == "services").collect();
    assert_eq!(services.len(), 3, "each status was written once: {services:#?}");
    controller.stop().await;
    speaker.stop().await;
}

#[tokio::test]
async fn a_foreign_writer_is_named_and_not_fought() {
    let Some(stage) = Stage::take().await else { return };
    let controller = settled(&stage, 2).await;
    let foreign = lb(json!([{"ip": "192.0.2.1"}]));
    let params = PatchParams { field_manager: Some("other-lb".to_owned()), ..PatchParams::default() };
    // A controller that is as sure of itself: whatever it sees it overwrites.
    let services = stage.all::<core::Service>(WORK);
    let rival = tokio::spawn(async move {
        loop {
            let seen = services.get("web-0").await.expect("it is there");
            if addresses(&seen) != "192.0.2.1" {
                let _ = services.patch_status("web-0", &params, &Patch::Merge(&foreign)).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let begun = stage.writes("controller").len();
    eventually("it is told", async || !events(&stage, "web-0", "statusOverwritten").await.is_empty()).await;
    sleep(Duration::from_secs(10)).await;
    let writes = stage.writes("controller").split_off(begun);
    let is_fought_over =
        |request: &&AuditedRequest| request.subresource == "status" && request.name == "web-0";
    let of_status = writes.iter().filter(is_fought_over).count();
    assert!((2..=6).contains(&of_status), "now, then after 1, 2 and 4 s: {writes:#?}");
    let told = events(&stage, "web-0", "statusOverwritten").await;
    let [(message, 1)] = &told[..] else { panic!("said once: {told:?}") };
    for fragment in ["other-lb", "192.0.2.1", "172.16.16.101"] {
        assert!(message.contains(fragment), "{message}");
    }
    assert_eq!(stage.address("web-1").await, "172.16.16.102", "the other Service is left alone");
    rival.abort();
    stage.address_becomes("web-0", "172.16.16.101").await;
    controller.stop().await;
}

#[tokio::test]
async fn a_slip_of_the_hand_is_put_right_at_once() {
    let Some(stage) = Stage::take().await else { return };
    let controller = settled(&stage, 2).await;
    for (name, edit) in [("web-0", lb(json!(null))), ("web-1", lb(json!([{"ip": "172.16.16.101"}])))] {
        let before = stage.address(name).await;
        let edited = stage.merge_status::<core::Service>(WORK, name, edit).await;
        assert_ne!(addresses(&edited), before);
        let begun = Instant::now();
        stage.address_becomes(name, &before).await;
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
    controller.stop().await;
}

#[tokio::test]
async fn s16_a_conflict_is_no_error() {
    let Some(stage) = Stage::take().await else { return };
    stage.create(&pool("first", &["172.16.16.101-172.16.16.120"])).await;
    // A Service that never keeps still, while it is given an address.
    let controller = Controller::start(stage.api).await;
    let services = stage.all::<core::Service>(WORK);
    let restless = tokio::spawn(async move {
        for round in 0..200 {
            let change = json!({"metadata": {"labels": {"round": round.to_string()}}});
            for index in 0..5 {
                let name = format!("web-{index}");
                let _ = services.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await;
            }
        }
    });
    for index in 0..5 {
        stage.create(&service(&format!("web-{index}"))).await;
    }
    for index in 0..5 {
        stage.address_becomes(&format!("web-{index}"), &format!("172.16.16.{}", 101 + index)).await;
    }
    restless.await.expect("it does not panic");
    let codes: Vec<u16> = stage.writes("controller").iter().map(|request| request.code).collect();
    assert!(codes.iter().all(|code| [200, 201, 409].contains(code)), "{codes:?}");
    controller.stop().await;
}

#[tokio::test]
async fn the_api_server_hangs_restarts_and_is_gone_for_a_while() {
    let Some(stage) = Stage::take().await else { return };
    let controller = settled(&stage, 2).await;
    let held = [stage.address("web-0").await, stage.address("web-1").await];

    stage.api.pause();
    sleep(Duration::from_secs(5)).await;
    stage.api.resume();
    stage.create(&service("after-a-pause")).await;
    stage.address_becomes("after-a-pause", "172.16.16.103").await;

    // In order, on SIGTERM, it would wait for our watches to end by themselves: nothing new for us, and a minute.
    stage.api.restart();
    stage.create(&service("after-a-restart")).await;
    stage.address_becomes("after-a-restart", "172.16.16.104").await;

    stage.api.stop();
    sleep(Duration::from_secs(5)).await;
    stage.api.restart();
    stage.delete::<core::Service>(WORK, "web-1").await;
    stage.create(&service("after-a-crash")).await;
    stage.address_becomes("after-a-crash", "172.16.16.102").await;
    assert_eq!(stage.address("web-0").await, held[0], "what is held is kept");
    eventually("it is ready", async || controller.readiness.report().ready).await;
    let services = stage.writes("controller");
    let own = services.iter().filter(|request| request.resource == "services" && request.name == "web-0");
    assert_eq!(own.count(), 1, "web-0 was written once and never again");
    controller.stop().await;
}

#[tokio::test]
async fn c11_c69_type_and_class_change() {
    let Some(stage) = Stage::take().await else { return };
    let controller = settled(&stage, 2).await;
    // The server itself takes status and class away with the type.
    stage.merge::<core::Service>(WORK, "web-0", json!({"spec": {"type": "ClusterIP"}})).await;
    stage.address_becomes("web-0", "").await;
    stage.create(&service("next")).await;
    stage.address_becomes("next", "172.16.16.101").await;
    let foreign = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}});
    stage.merge::<core::Service>(WORK, "web-0", foreign).await;
    let theirs = lb(json!([{"ip": "192.0.2.7"}]));
    stage.merge_status::<core::Service>(WORK, "web-0", theirs).await;
    stage.merge::<core::Service>(WORK, "web-1", json!({"spec": {"type": "NodePort"}})).await;
    stage.address_becomes("web-1", "").await;
    assert_eq!(stage.address("web-0").await, "192.0.2.7", "C3: another class is left alone");
    // A class can only be changed with the type: to ClusterIP, and back without one.
    stage.merge::<core::Service>(WORK, "web-0", json!({"spec": {"type": "ClusterIP"}})).await;
    stage.merge::<core::Service>(WORK, "web-0", json!({"spec": {"type": "LoadBalancer"}})).await;
    stage.address_becomes("web-0", "172.16.16.102").await;
    assert_eq!(events(&stage, "web-0", "statusOverwritten").await, [], "nobody but the server");
    controller.stop().await;
}

#[tokio::test]
async fn pools_and_their_kind_go_and_come_back() {
    let Some(stage) = Stage::take().await else { return };
    let controller = settled(&stage, 1).await;
    let pools = "ipaddresspools.metallb.io";
    stage.delete::<IPAddressPool>(NAMESPACE, "first").await;
    stage.address_becomes("web-0", "").await;
    stage.create(&pool("first", &["172.16.16.110-172.16.16.120"])).await;
    stage.address_becomes("web-0", "172.16.16.110").await;

    // With the kind go its objects. The server needs a moment to forget it, and another to learn it again.
    stage.api.kubectl(&["delete", "crd", pools]);
    stage.api.kubectl(&["apply", "-k", "manifests/crds"]);
    stage.api.kubectl(&["wait", "crd", pools, "--for=condition=Established", "--timeout=60s"]);
    let again = pool("first", &["172.16.16.105-172.16.16.120"]);
    eventually("the kind is served again", async || {
        stage.all::<IPAddressPool>(NAMESPACE).create(&PostParams::default(), &again).await.is_ok()
    })
    .await;
    eventually("an address of the new pool", async || {
        ["172.16.16.105", "172.16.16.110"].contains(&stage.address("web-0").await.as_str())
    })
    .await;
    eventually("its verdict", async || {
        stage.condition("first", "Ready").await.is_some_and(|(status, _)| status == "True")
    })
    .await;
    controller.stop().await;
}

/// The namespace with everything in it: only Kubernetes' own controller takes it away.
#[tokio::test]
async fn the_namespace_goes_and_comes_back() {
    let Some(mut stage) = Stage::take().await else { return };
    let controller = settled(&stage, 1).await;
    controller.stop().await;
    stage.is_left_bare();
    let controller = Controller::start_elected(stage.api).await;
    eventually("it leads", async || controller.readiness.report().ready).await;
    stage.api.start_controllers(&["namespace-controller"]);
    stage.api.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]);
    // Rights and token are gone as well: whether it could still take the address back is a matter of luck.
    drop(controller);
    stage.api.kubectl(&["apply", "-k", "manifests/base"]);
    stage.create(&pool("first", &["172.16.16.107-172.16.16.120"])).await;
    let advertised: L2Advertisement = stage.create(&advertisement("all")).await;
    assert_eq!(advertised.status, None);
    // The account is another one, and so is its token.
    let controller = Controller::start_elected(stage.api).await;
    stage.address_becomes("web-0", "172.16.16.107").await;
    controller.stop().await;
}
