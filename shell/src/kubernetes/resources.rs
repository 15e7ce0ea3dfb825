//! The custom resources of our namespace, gathered from their watches into one
//! [`Resources`] each time something that matters changes.

mod fold;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::config::{Kind, Resources};
use ferrolb_api::crd::{ConfigurationState, IPAddressPool, L2Advertisement};
use ferrolb_api::endpoints;
use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::admin::readiness::Readiness;
use crate::kubernetes::watch::Watch;

use fold::{Fold, Item};

/// The `status` of every pool and advertisement as last seen; null where there
/// is none or it cannot be read.
pub type Statuses = BTreeMap<(Kind, String), Value>;

/// Where custom resources are read.
#[derive(Clone)]
pub struct Source {
    /// The client.
    pub client: Client,
    /// The namespace of pools and advertisements (A2).
    pub namespace: String,
    /// Where the watches say whether they are ready.
    pub readiness: Readiness,
    /// Where the client reaches the API server, if that is an address.
    pub api_server: Option<IpAddr>,
}

/// Watches pools and advertisements, and Namespaces once a pool is pinned by
/// their labels (A18). Sends all of them, each time they differ from what was
/// sent last; changes of a status alone are none (W49, B28), but for
/// `lastKnownGood`. A receiver that is
/// slow gets the newest, not every one between.
///
/// Who writes conditions and gives out addresses gives `statuses`: what stands there comes by it, and
/// what belongs to somebody else is watched as well: Nodes, the API server's slice, and what speakers
/// say of their nodes' networks.
/// Never ends while the receiver is there.
pub async fn gather<T>(
    source: Source,
    sender: mpsc::Sender<T>,
    wrap: fn(Resources) -> T,
    statuses: Option<watch::Sender<Statuses>>,
) {
    let mut items = watches(&source);
    let mut fold = Fold::new(source.api_server);
    let mut sees_namespaces = false;
    let patience = Instant::now() + SURROUNDINGS_WITHIN;
    if statuses.is_some() {
        items.extend(surroundings(&source));
    }
    let mut pending: Option<Resources> = None;
    loop {
        let waits = statuses.is_some() && !fold.knows_surroundings() && Instant::now() < patience;
        let item = tokio::select! {
            permit = sender.reserve(), if pending.is_some() && !waits => {
                let Ok(permit) = permit else { return };
                permit.send(wrap(pending.take().expect("the branch is guarded by it")));
                continue;
            }
            () = sleep_until(patience), if waits => continue,
            item = items.next() => item.expect("watches never end"),
        };
        fold.apply(item);
        if let Some(statuses) = &statuses
            && let Some(seen) = fold.statuses()
        {
            statuses.send_if_modified(|last| {
                let is_new = *last != seen;
                *last = seen;
                is_new
            });
        }
        if fold.needs_namespaces() && !sees_namespaces {
            sees_namespaces = true;
            items.push(namespaces(&source));
        }
        pending = fold.changed().or(pending);
    }
}

/// What belongs to others is waited for this long, so that a start gives none of it to a Service, nor
/// says first that an advertisement is fine and then that no Node matches it. Without the right to
/// read one of them, as under MetalLB's own rules, the rest has to do.
const SURROUNDINGS_WITHIN: Duration = Duration::from_secs(5);

type Items = BoxStream<'static, Item>;

fn watches(source: &Source) -> SelectAll<Items> {
    let gate = |name| source.readiness.gate(format!("watch {name}"), "not listed yet");
    let pools: Api<DeserializeGuard<IPAddressPool>> =
        Api::namespaced(source.client.clone(), &source.namespace);
    let pools = Watch::new(pools, None, fold::slim_pool, gate("ipaddresspools"));
    let advertisements: Api<DeserializeGuard<L2Advertisement>> =
        Api::namespaced(source.client.clone(), &source.namespace);
    let advertisements = Watch::new(advertisements, None, fold::slim_advertisement, gate("l2advertisements"));
    let mut items: SelectAll<Items> = SelectAll::new();
    items.push(pools.into_stream().map(Item::Pool).boxed());
    items.push(advertisements.into_stream().map(Item::Advertisement).boxed());
    items
}

fn namespaces(source: &Source) -> Items {
    let gate = source.readiness.gate("watch namespaces", "not listed yet");
    let api = Api::all(source.client.clone());
    let namespaces = Watch::new(api, None, |object| ferrolb_api::Namespace::from(&object), gate);
    namespaces.into_stream().map(Item::Namespace).boxed()
}

/// Readiness does not depend on them.
fn surroundings(source: &Source) -> [Items; 3] {
    let gate = |name| Readiness::default().gate(format!("watch {name}"), "not listed yet");
    let api = Api::all(source.client.clone());
    let nodes = Watch::new(api, None, |object| fold::slim_node(&object), gate("nodes"));
    let api = Api::namespaced(source.client.clone(), endpoints::API_SERVER_NAMESPACE);
    let slice = Watch::new(api, None, |object| endpoints::addresses(&object), gate("endpointslices"))
        .of_one(endpoints::API_SERVER_SLICE);
    let api: Api<DeserializeGuard<ConfigurationState>> =
        Api::namespaced(source.client.clone(), &source.namespace);
    let networks = Watch::new(api, None, |object| object.node_network(), gate("configurationstates"));
    [
        nodes.into_stream().map(Item::Node).boxed(),
        slice.into_stream().map(Item::ApiServer).boxed(),
        networks.into_stream().map(Item::Network).boxed(),
    ]
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
