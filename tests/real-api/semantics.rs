//! The real API server against the table that the in-memory one is held to: what is tested on that one holds here.

use kube_apiserver::ApiServer;

use crate::table;

/// On a server of its own, for the table makes objects of our kinds where no controller reads them.
#[tokio::test]
async fn the_real_server_keeps_to_the_same_table() {
    let Some(api) = ApiServer::start() else { return };
    api.kubectl(&["apply", "-k", "manifests/crds"]);
    api.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    let client = api.admin();
    table::keep_to_the_table(|| client.clone()).await;
}
