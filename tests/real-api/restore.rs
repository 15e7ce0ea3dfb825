//! etcd is put back to an earlier state, as after a disaster: revisions that were told already are given out anew, and a
//! watch from before is silent for good. Everybody lists again.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_api::crd::IPAddressPool;
use k8s_openapi::api::core::v1 as core;
use kube_apiserver::NAMESPACE;
use serde_json::json;
use tokio::time::Instant;

use crate::setup::{
    Controller, SpeakerProcess, Stage, WORK, advertisement, eventually, pool, service, slice, typed,
};

/// From the API server's return until all is known and acted on.
const LISTED_AGAIN: Duration = Duration::from_secs(60);
/// Revisions after the backup: more than the server and we write until all is well again.
const LOST_WRITES: u32 = 300;

/// Names and addresses that the speaker announces.
fn announced(names: &[(&str, u8)]) -> Vec<String> {
    names.iter().map(|(name, last)| format!("{WORK}/{name} 172.16.16.{last}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_etcd_was_restored_everything_is_listed_again() {
    let Some(stage) = Stage::take().await else { return };
    stage.create_node("wk01").await;
    stage.create(&pool("first", &["172.16.16.101-172.16.16.103"])).await;
    stage.create(&advertisement("all")).await;
    let controller = Controller::start(stage.api).await;
    let speaker = SpeakerProcess::start(stage.api, "wk01", false).await;
    let add = async |name: &str| {
        stage.create(&service(name)).await;
        stage.create(&slice(name)).await;
    };
    add("kept").await;
    eventually("it is announced", async || speaker.announces() == announced(&[("kept", 101)])).await;
    let (api, backup) = (stage.api, Arc::new(stage.api.back_up()));

    let map = json!({"metadata": {"name": "writes", "namespace": WORK}});
    stage.create(&typed::<core::ConfigMap>(map)).await;
    for number in 0..LOST_WRITES {
        let data = json!({"data": {"number": number.to_string()}});
        stage.merge::<core::ConfigMap>(WORK, "writes", data).await;
    }
    // Last, so that the watches of these kinds have come as far.
    add("lost").await;
    let both = announced(&[("kept", 101), ("lost", 102)]);
    eventually("both are announced", async || speaker.announces() == both).await;
    let smaller = json!({"spec": {"addresses": ["172.16.16.101-172.16.16.102"]}});
    stage.merge::<IPAddressPool>(NAMESPACE, "first", smaller).await;

    let restored = Arc::clone(&backup);
    tokio::task::spawn_blocking(move || api.restore(&restored)).await.expect("it becomes ready");
    let begun = Instant::now();
    add("new-1").await;
    add("new-2").await;
    let all = announced(&[("kept", 101), ("new-1", 102), ("new-2", 103)]);
    eventually("what is there is announced, and nothing else", async || speaker.announces() == all).await;
    let took = begun.elapsed();
    let line = format!("all was known {:.1} s after the API server was ready\n", took.as_secs_f64());
    std::io::stdout().write_all(line.as_bytes()).expect("somebody listens");
    assert!(took < LISTED_AGAIN, "{took:?}");
    controller.stop().await;
    speaker.stop().await;
}
