//! What a Service has lost is written beside its status, and comes back.

use fake_api::FakeApi;
use ferrolb_api::annotations::LOST_ADDRESSES;
use ferrolb_api::crd::IPAddressPool;
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use tests::objects::pool;

use super::setup::{NS, OWN, Running, address, assert_right, cluster, get, seconds, status_writes};

fn lost(service: &core::Service) -> Option<&String> {
    service.metadata.annotations.as_ref()?.get(LOST_ADDRESSES)
}

/// How many writes have changed a Service.
fn made(api: &FakeApi) -> usize {
    api.writes().iter().filter(|write| write.committed && write.resource == "services").count()
}

/// `web-1` has .102, and .101 is free. `restart`: another controller follows between loss and return.
async fn replaced(restart: bool) {
    let api = cluster(3);
    let mut running = Running::start(&api);
    seconds(5).await;
    api.delete::<core::Service>(NS, "web-0").expect("it is there");
    seconds(5).await;
    let before = made(&api);
    api.delete::<IPAddressPool>(OWN, "first").expect("it is there");
    seconds(2).await;
    let uid = get(&api, "web-1").metadata.uid.expect("the API server gives one");
    assert_eq!(address(&api, "web-1"), "");
    assert_eq!(lost(&get(&api, "web-1")), Some(&format!("{uid}/172.16.16.102")));
    assert_eq!(made(&api), before + 2, "one write for each Service");
    if restart {
        running.stop().await;
        running = Running::start(&api);
        seconds(1).await;
        assert_eq!(made(&api), before + 2, "nothing has changed");
    }
    api.create(&pool("first", &["172.16.16.101-172.16.16.200"])).expect("it is gone");
    seconds(2).await;
    assert_eq!(address(&api, "web-1"), "172.16.16.102");
    assert_eq!(address(&api, "web-2"), "172.16.16.103");
    assert_eq!((lost(&get(&api, "web-1")), made(&api)), (None, before + 4), "one more for each");
    seconds(60).await;
    assert_eq!(made(&api), before + 4);
    assert_right(&api, "after the return");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn c62_a_replaced_pool_gives_back_with_one_write_each() {
    for restart in [false, true] {
        replaced(restart).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c72_a_copied_memory_is_nobodys() {
    let api = cluster(1);
    let _running = Running::start(&api);
    seconds(5).await;
    let writes = status_writes(&api).len();
    let copied = json!({"metadata": {"annotations": {(LOST_ADDRESSES): "another-uid/172.16.16.150"}}});
    api.merge::<core::Service>(NS, "web-0", copied).expect("it is there");
    seconds(60).await;
    assert_eq!((address(&api, "web-0").as_str(), status_writes(&api).len()), ("172.16.16.101", writes));
}
