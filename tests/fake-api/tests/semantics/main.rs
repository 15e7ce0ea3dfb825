//! The in-memory API server against a table of semantics.

mod table;

use fake_api::FakeApi;

#[tokio::test(start_paused = true)]
async fn the_fake_keeps_to_the_table() {
    let api = FakeApi::builder().build().expect("our own CRDs are implemented");
    table::keep_to_the_table(|| api.client("tester")).await;
}
