//! The real API server against the table that the in-memory one is held to: what is tested on that one holds here.

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use crate::setup::Stage;
use crate::table;

#[tokio::test]
async fn the_real_server_keeps_to_the_same_table() {
    let Some(stage) = Stage::take().await else { return };
    let client = stage.admin.clone();
    table::keep_to_the_table(|| client.clone()).await;
    // The controllers of other tests would serve what is left.
    let services: Api<core::Service> = Api::all(client.clone());
    for service in services.list(&ListParams::default()).await.expect("a list") {
        let (namespace, name) = (service.metadata.namespace, service.metadata.name);
        let (namespace, name) = (namespace.expect("it has one"), name.expect("it has one"));
        if namespace != "default" {
            let api: Api<core::Service> = Api::namespaced(client.clone(), &namespace);
            api.delete(&name, &DeleteParams::default()).await.expect("nobody else deletes it");
        }
    }
}
