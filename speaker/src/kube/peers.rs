//! The speakers' Pods as peers, and the Event on our own about those that are not heard.

use ferrolb_api::NodeName;
use ferrolb_shell::OwnPod;
use ferrolb_shell::kubernetes::events::{Events, Occurrence};
use k8s_openapi::api::core::v1 as core;
use speaker_core::{Input, Peer, UnheardPeers};
use tokio::sync::watch;

use crate::notices;

/// E4: the speaker behind a Pod, once for each of its addresses. None before the Pod
/// has an address and a node, and none after it has ended.
pub(super) fn of_pod(pod: core::Pod) -> Vec<Peer> {
    let Some(status) = pod.status else { return Vec::new() };
    let phase = status.phase.as_deref();
    let node = pod.spec.and_then(|spec| spec.node_name).filter(|name| !name.is_empty());
    let Some(node) = node.filter(|_| !matches!(phase, Some("Succeeded" | "Failed"))) else {
        return Vec::new();
    };
    let node = NodeName::from(node);
    // The first of them is podIP as well.
    let others = status.pod_ips.into_iter().flatten().map(|address| address.ip);
    let addresses = status.pod_ip.into_iter().chain(others).filter_map(|text| text.parse().ok());
    let is_running = phase == Some("Running");
    let mut peers: Vec<Peer> =
        addresses.map(|address| Peer { node: node.clone(), address, is_running }).collect();
    peers.dedup();
    peers
}

/// Of each node its Pods' addresses, in Kubernetes' order, the first of which is the primary one.
pub(super) fn of_pods(pods: Vec<Vec<Peer>>) -> Input<'static> {
    let mut peers: Vec<Peer> = pods.into_iter().flatten().collect();
    peers.sort_by(|one, other| one.node.cmp(&other.node));
    peers.dedup();
    Input::Peers(peers)
}

/// Says on the own Pod which speakers are not heard, and when all are again. Does
/// nothing where the own Pod is not known.
pub(super) async fn tell_unheard(
    mut unheard: watch::Receiver<Option<UnheardPeers>>,
    own_pod: OwnPod,
    namespace: String,
    events: Events,
) {
    while unheard.changed().await.is_ok() {
        let Some(pod) = own_pod.owner().await else { return };
        // By now there may be news.
        let Some(peers) = unheard.borrow_and_update().clone() else { continue };
        let is_warning = !peers.is_empty();
        let message = if is_warning { peers.to_string() } else { notices::ALL_HEARD.to_owned() };
        let reason = if is_warning { "speakersNotHeard" } else { "speakersHeard" };
        let (namespace, name, uid) = (namespace.clone(), pod.name, pod.uid);
        events.report(Occurrence { kind: "Pod", namespace, name, uid, reason, message, is_warning }).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value, status: serde_json::Value) -> core::Pod {
        let object = json!({ "metadata": { "name": "speaker-x" }, "spec": spec, "status": status });
        serde_json::from_value(object).expect("it is a Pod")
    }

    #[test]
    fn e4_peers_are_pods_with_an_address_and_a_node() {
        let spec = json!({ "containers": [], "nodeName": "wk01" });
        let unplaced = json!({ "containers": [] });
        let address = "172.16.16.11";
        let both = json!([{ "ip": address }, { "ip": "fd00::11" }]);
        for (spec, status, expected) in [
            (&spec, json!({ "podIP": address, "phase": "Running" }), &[address][..]),
            (&spec, json!({ "podIP": address, "phase": "Pending" }), &[address]),
            (&spec, json!({ "podIP": address, "podIPs": both, "phase": "Running" }), &[address, "fd00::11"]),
            (&spec, json!({ "podIP": "fd00::11", "podIPs": [{ "ip": "fd00::11" }] }), &["fd00::11"]),
            (&spec, json!({ "podIP": address, "phase": "Failed" }), &[]),
            (&spec, json!({ "podIP": address, "phase": "Succeeded" }), &[]),
            (&spec, json!({ "phase": "Pending" }), &[]),
            (&spec, json!({ "podIP": "", "phase": "Running" }), &[]),
            (&unplaced, json!({ "podIP": address, "phase": "Running" }), &[]),
        ] {
            let found = of_pod(pod(spec.clone(), status.clone()));
            let addresses: Vec<_> = found.iter().map(|peer| peer.address.to_string()).collect();
            assert_eq!(addresses, expected, "{status}");
            assert!(found.iter().all(|peer| peer.node.as_str() == "wk01"));
            assert!(found.iter().all(|peer| peer.is_running == (status["phase"] == "Running")), "{status}");
        }
    }

    #[test]
    fn peers_are_sorted_by_node_and_said_once() {
        let peer = |node: &str, address: [u8; 4]| Peer {
            node: node.into(),
            address: address.into(),
            is_running: true,
        };
        let [first, second] = [[172, 16, 16, 12], [172, 16, 16, 11]];
        let pods = vec![vec![peer("b", first), peer("b", second)], vec![], vec![peer("a", first)]];
        let Input::Peers(found) = of_pods(pods) else { panic!("peers make peers") };
        assert_eq!(found, [peer("a", first), peer("b", first), peer("b", second)]);
    }
}
