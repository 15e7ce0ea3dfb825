//! Whatever is created first, the end is the same: who has which address, and which node announces it.

use ferrolb_api::crd::{IPAddressPool, L2Advertisement, ServiceL2Status};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::Api;
use kube_apiserver::NAMESPACE;

use crate::setup::{
    Controller, SpeakerProcess, Stage, WORK, advertisement, at_once, eventually, pool, service, slice,
};

/// What an address takes to be given and announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Pool,
    Advertisement,
    Service,
    Slice,
    Node,
}

const STEPS: [Step; 5] = [Step::Pool, Step::Advertisement, Step::Service, Step::Slice, Step::Node];

/// Every order of `steps`.
fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    if steps.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for first in steps {
        let rest: Vec<Step> = steps.iter().copied().filter(|step| step != first).collect();
        for mut order in self::orders(&rest) {
            order.insert(0, *first);
            orders.push(order);
        }
    }
    orders
}

impl Step {
    async fn create(self, stage: &Stage, name: &str) {
        match self {
            Self::Pool => _ = stage.create(&pool("first", &["172.16.16.101-172.16.16.120"])).await,
            Self::Advertisement => _ = stage.create(&advertisement("all")).await,
            Self::Service => _ = stage.create(&service(name)).await,
            Self::Slice => _ = stage.create(&slice(name)).await,
            Self::Node => stage.create_node("wk01").await,
        }
    }

    async fn delete(self, stage: &Stage, name: &str) {
        match self {
            Self::Pool => stage.delete::<IPAddressPool>(NAMESPACE, "first").await,
            Self::Advertisement => stage.delete::<L2Advertisement>(NAMESPACE, "all").await,
            Self::Service => stage.delete::<core::Service>(WORK, name).await,
            Self::Slice => stage.delete::<discovery::EndpointSlice>(WORK, &format!("{name}-1")).await,
            Self::Node => {
                let nodes: Api<core::Node> = Api::all(stage.admin.clone());
                nodes.delete("wk01", &at_once()).await.expect("it is there");
            }
        }
    }
}

/// The node whose status object says that it announces a Service.
async fn shown(stage: &Stage, service: &str) -> Vec<String> {
    let objects = stage.list::<ServiceL2Status>(NAMESPACE).await;
    let statuses = objects.into_iter().filter_map(|object| object.status);
    let own = statuses.filter(|status| status.service_name.as_deref() == Some(service));
    own.filter_map(|status| status.node).collect()
}

#[tokio::test]
async fn every_order_of_creation_ends_the_same() {
    let Some(stage) = Stage::take().await else { return };
    let controller = Controller::start(stage.api).await;
    let speaker = SpeakerProcess::start(stage.api, "wk01", false).await;
    let orders = orders(&STEPS);
    assert_eq!(orders.len(), 120);
    for (number, order) in orders.iter().enumerate() {
        let name = format!("web-{number}");
        for step in order {
            step.create(&stage, &name).await;
        }
        let announced = vec![format!("{WORK}/{name} 172.16.16.101")];
        stage.address_becomes(&name, "172.16.16.101").await;
        eventually(&format!("{order:?}: announced"), async || speaker.announces() == announced).await;
        // One in ten is enough for what is written for people.
        if number % 10 == 0 {
            eventually(&format!("{order:?}: shown"), async || shown(&stage, &name).await == ["wk01"]).await;
        }
        // What came last goes first, in every other round.
        let mut order = order.clone();
        if number % 2 == 0 {
            order.reverse();
        }
        for step in &order {
            step.delete(&stage, &name).await;
        }
        eventually(&format!("{order:?}: withdrawn"), async || speaker.announces().is_empty()).await;
    }
    controller.stop().await;
    speaker.stop().await;
}

/// The same without processes in between: everything is there when they start, and several Services want addresses.
#[tokio::test]
async fn c33_a_start_gives_the_same_addresses_as_the_running_controller() {
    let Some(stage) = Stage::take().await else { return };
    for name in ["web-c", "web-a", "web-b"] {
        stage.create(&service(name)).await;
    }
    stage.create(&pool("first", &["172.16.16.101-172.16.16.103"])).await;
    let controller = Controller::start(stage.api).await;
    for name in ["web-a", "web-b", "web-c"] {
        eventually(name, async || !stage.address(name).await.is_empty()).await;
    }
    let mut before = Vec::new();
    for name in ["web-a", "web-b", "web-c"] {
        before.push(stage.address(name).await);
    }
    controller.stop().await;
    // Adopted, in whatever order the list has them (C8).
    let written = stage.writes("controller").len();
    let controller = Controller::start(stage.api).await;
    eventually("it is ready", async || controller.readiness.report().ready).await;
    let mut after = Vec::new();
    for name in ["web-a", "web-b", "web-c"] {
        after.push(stage.address(name).await);
    }
    assert_eq!(after, before);
    let services = stage.writes("controller").split_off(written);
    assert!(!services.iter().any(|request| request.resource == "services"), "{services:?}");
    controller.stop().await;
}
