//! What a watch tells: events, bookmarks, and nothing at all.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::{config_map, version};

pub(super) async fn row(client: Client, ns: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client, ns);
    let create = async |name: &str| {
        maps.create(&PostParams::default(), &config_map(name, json!({}))).await.expect("the name is new")
    };
    // Events and versions of bookmarks, for a watch from a version on during which something is created.
    let told = async |params: WatchParams, from: u64, name: &str| {
        let events = maps.watch(&params.timeout(4), &from.to_string()).await.expect("watches begin with 200");
        create(name).await;
        let events = events.map(|event| match event.expect("it ends in order") {
            WatchEvent::Added(map) => format!("+{}", map.name_any()),
            WatchEvent::Bookmark(mark) => mark.metadata.resource_version,
            other => panic!("unexpected: {other:?}"),
        });
        events.collect::<Vec<_>>().await
    };
    let begin = version(&create("a").await);
    assert_eq!(told(WatchParams::default().disable_bookmarks(), begin, "b").await, ["+b"]);
    // What is not selected moves the bookmark all the same, which comes before the end.
    let marks = told(WatchParams::default().fields("metadata.name=a"), begin, "c").await;
    let mark = marks.last().expect("there is one").parse::<u64>().expect("versions are numbers here");
    assert!(mark > begin, "{marks:?}");
    // From a version that is still to come, as after etcd was restored from a backup: no event, no bookmark, no error.
    assert_eq!(told(WatchParams::default(), begin + 1_000_000, "d").await, [""; 0]);
}
