//! What a watch tells: events, bookmarks, and nothing at all.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::{config_map, version};

pub(super) async fn row(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    let first = maps.create(&PostParams::default(), &config_map("a", json!({}))).await.expect("new");
    maps.create(&PostParams::default(), &config_map("b", json!({}))).await.expect("new");
    let told = async |params: WatchParams, from: u64| {
        let events = maps.watch(&params.timeout(4), &from.to_string()).await.expect("watches begin with 200");
        let events = events.map(|event| match event.expect("it ends in order") {
            WatchEvent::Added(map) => format!("+{}", map.name_any()),
            WatchEvent::Bookmark(mark) => mark.metadata.resource_version,
            other => panic!("unexpected: {other:?}"),
        });
        events.collect::<Vec<_>>().await
    };
    let begin = version(&first);
    assert_eq!(told(WatchParams::default().disable_bookmarks(), begin).await, ["+b"]);
    // What is not selected moves the bookmark all the same, which comes before the end.
    let marks = told(WatchParams::default().fields("metadata.name=a"), begin).await;
    let mark = marks.last().expect("there is one").parse::<u64>().expect("versions are numbers here");
    assert!(mark > begin, "{marks:?}");
    // From a version that is still to come, as after etcd was restored from a backup: no event, no bookmark, no error.
    let future = told(WatchParams::default(), begin + 1_000_000);
    let write = async {
        maps.create(&PostParams::default(), &config_map("c", json!({}))).await.expect("new");
    };
    let (words, ()) = futures::join!(future, write);
    assert_eq!(words, [""; 0]);
}
