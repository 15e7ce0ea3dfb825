//! The custom resources of our namespace, gathered from their watches into one
//! [`Resources`] each time something that matters changes.

mod fold;

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_api::config::{Kind, Resources};
use ferrolb_api::crd::{IPAddressPool, L2Advertisement};
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
}

/// Watches pools and advertisements, and Namespaces once a pool is pinned by
/// their labels (A18). Sends all of them, each time they differ from what was
/// sent last; changes of a status alone are none (W49, B28). A receiver that is
/// slow gets the newest, not every one between.
///
/// Who writes conditions gives `statuses`: what stands there comes by it, and
/// Nodes are watched as well, once an advertisement asks for some by label.
/// Never ends while the receiver is there.
pub async fn gather<T>(
    source: Source,
    sender: mpsc::Sender<T>,
    wrap: fn(Resources) -> T,
    statuses: Option<watch::Sender<Statuses>>,
) {
    let mut items = watches(&source);
    let mut fold = Fold::default();
    let mut sees_namespaces = false;
    let mut sees_nodes = false;
    let mut patience = Instant::now();
    let mut pending: Option<Resources> = None;
    loop {
        let waits = sees_nodes && !fold.knows_nodes() && Instant::now() < patience;
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
        if statuses.is_some() && fold.needs_nodes() && !sees_nodes {
            sees_nodes = true;
            patience = Instant::now() + NODES_WITHIN;
            items.push(nodes(&source));
        }
        pending = fold.changed().or(pending);
    }
}

/// Nodes are waited for this long, so that a start does not first say that an
/// advertisement is fine and then that no Node matches it.
const NODES_WITHIN: Duration = Duration::from_secs(5);

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
fn nodes(source: &Source) -> Items {
    let gate = Readiness::default().gate("watch nodes", "not listed yet");
    let api = Api::all(source.client.clone());
    let nodes = Watch::new(api, None, |object| fold::slim_node(&object), gate);
    nodes.into_stream().map(Item::Node).boxed()
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
