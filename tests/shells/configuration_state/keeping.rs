//! What is written how often, by whom, and again when somebody has undone it.

use fake_api::{FakeApi, Fault, Match, Refusal};
use ferrolb_api::crd::ConfigurationState;
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use tests::objects::{NAMESPACE, pool, typed};

use super::setup::{
    CONTROLLER, OWN, Running, SPEAKER, VALID, cluster, pod, seconds, state, status, summary, writes,
};
use crate::support::{account, rbac_mismatch, service};

#[tokio::test(start_paused = true)]
async fn a59_a60_h61_one_field_owner_writes_all_of_the_status() {
    let api = cluster();
    let _controller = Running::controller(&api, "controller-1");
    let _speaker = Running::speaker(&api, "speaker-1");
    seconds(10).await;
    for (name, owner) in [(CONTROLLER, "poolReconciler"), (SPEAKER, "configReconciler")] {
        let owners = api.field_owners::<ConfigurationState>(OWN, name).expect("the kind is served");
        let named: Vec<&str> = owners.keys().map(String::as_str).collect();
        let of_status = format!("{owner} Apply status");
        assert_eq!(named, [format!("{owner} Apply"), of_status.clone()], "{name}");
        for field in [".status.result", ".status.errorSummary"] {
            assert!(owners[&of_status].iter().any(|owned| owned == field), "{name}: {owners:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a59_what_metallb_left_behind_is_taken_over() {
    let api = cluster();
    let left: ConfigurationState = typed(json!({"apiVersion": "metallb.io/v1beta1",
        "kind": "ConfigurationState", "metadata": {"name": CONTROLLER, "namespace": NAMESPACE},
        "status": {"result": "Invalid", "errorSummary": "something", "conditions": [
            {"type": "poolReconcilerValid", "status": "False", "reason": "ConfigurationError",
                "message": "something", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}));
    api.create(&left).expect("the cluster is new");
    let _controller = Running::controller(&api, "controller-1");
    seconds(10).await;
    assert_eq!(summary(&api, CONTROLLER), (VALID, String::new()));
    assert_eq!(status(&api, CONTROLLER).conditions.len(), 1);
    assert_eq!(writes(&api).len(), 2, "labels with owner, and the status");
}

#[tokio::test(start_paused = true)]
async fn a53_the_object_belongs_to_the_pod() {
    let api = cluster();
    let running = Running::controller(&api, "controller-1");
    seconds(10).await;
    let owners = |api: &FakeApi| {
        let state = state(api, CONTROLLER).expect("it is there");
        state.metadata.owner_references.unwrap_or_default()
    };
    let uid = |name: &str| {
        let pod: Option<core::Pod> = api.get(OWN, name).expect("it decodes");
        pod.and_then(|pod| pod.metadata.uid).expect("it is there")
    };
    let [owner] = <[_; 1]>::try_from(owners(&api)).expect("one owner");
    assert_eq!((owner.api_version.as_str(), owner.kind.as_str()), ("v1", "Pod"));
    assert_eq!((owner.name.as_str(), &owner.uid), ("controller-1", &uid("controller-1")));
    assert_eq!((owner.controller, owner.block_owner_deletion), (None, None));
    running.stop().await;
    // Its successor takes the object over before the first Pod is gone.
    api.create(&pod("controller-2")).expect("new");
    let running = Running::controller(&api, "controller-2");
    seconds(10).await;
    let uids: Vec<_> = owners(&api).into_iter().map(|owner| owner.uid).collect();
    assert_eq!(uids, [uid("controller-2")]);
    running.stop().await;
    // Of a Pod that is not known nothing is the owner, and everything else is as ever.
    api.delete::<ConfigurationState>(OWN, CONTROLLER).expect("it is there");
    let _running = Running::controller(&api, "nobody");
    seconds(10).await;
    assert_eq!((owners(&api).len(), summary(&api, CONTROLLER).0), (0, VALID));
}

#[tokio::test(start_paused = true)]
async fn b28_h61_a_deleted_object_comes_back_and_an_edited_one_is_put_right() {
    let api = cluster();
    let _controller = Running::controller(&api, "controller-1");
    let _speaker = Running::speaker(&api, "speaker-1");
    seconds(10).await;
    for name in [CONTROLLER, SPEAKER] {
        let before = state(&api, name).expect("it is there");
        api.delete::<ConfigurationState>(OWN, name).expect("it is there");
        seconds(5).await;
        let after = state(&api, name).expect("it has come back");
        assert_ne!(after.metadata.uid, before.metadata.uid);
        assert_eq!(after.metadata.labels, before.metadata.labels);
        assert_eq!(summary(&api, name).0, VALID);
        let edit = json!({"metadata": {"labels": {"metallb.io/component-type": "other"}}});
        api.merge::<ConfigurationState>(OWN, name, edit).expect("it is there");
        let edit = json!({"status": {"result": "Invalid", "errorSummary": "by hand"}});
        api.merge_status::<ConfigurationState>(OWN, name, edit).expect("it is there");
        seconds(10).await;
        assert_eq!(summary(&api, name), (VALID, String::new()));
        let healed = state(&api, name).expect("it is there");
        assert_eq!(healed.metadata.labels, before.metadata.labels);
    }
    for component in ["controller", "speaker"] {
        let (refused, _) = rbac_mismatch(&account(component), &api.requests());
        assert_eq!(refused, Vec::<String>::new(), "the manifests lack these");
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_disagree_do_not_keep_the_server_busy() {
    let api = cluster();
    let _controller = Running::controller(&api, "controller-1");
    seconds(10).await;
    let before = writes(&api).len();
    for _ in 0..3_600 {
        let edit = json!({"status": {"result": "Invalid"}});
        if status(&api, CONTROLLER).result == VALID {
            api.merge_status::<ConfigurationState>(OWN, CONTROLLER, edit).expect("it is there");
        }
        seconds(1).await;
    }
    let restored = writes(&api).len() - before;
    assert!((10..40).contains(&restored), "{restored} writes in an hour");
}

#[tokio::test(start_paused = true)]
async fn a59_w49_nothing_new_is_not_written() {
    let api = cluster();
    api.create(&service("web")).expect("the cluster is new");
    let controller = Running::controller(&api, "controller-1");
    let speaker = Running::speaker(&api, "speaker-1");
    seconds(10).await;
    let expected = writes(&api);
    assert_eq!(expected.len(), 4, "of each an object and its status: {expected:#?}");
    assert!(expected.iter().all(|write| write.committed));
    // Counters of the pool change with each of these, its spec does not.
    for name in ["one", "two", "three"] {
        api.create(&service(name)).expect("new");
        seconds(60).await;
    }
    // Another bad-free change of the configuration has the same judgement.
    api.create(&pool("more", &["172.16.19.0/24"])).expect("new");
    seconds(600).await;
    assert_eq!(writes(&api).len(), expected.len());
    // Neither does a container that starts again in its Pod.
    controller.stop().await;
    speaker.stop().await;
    let _controller = Running::controller(&api, "controller-1");
    let _speaker = Running::speaker(&api, "speaker-1");
    seconds(600).await;
    assert_eq!(writes(&api).len(), expected.len());
}

#[tokio::test(start_paused = true)]
async fn failed_and_lost_writes_are_made_again() {
    let api = cluster();
    let ours = || Match::any().resource("configurationstates").verb("patch");
    api.inject(ours(), Fault::Refuse(Refusal::new(503, "ServiceUnavailable", "later")), 3);
    api.inject(ours(), Fault::Hang, 1);
    api.inject(ours(), Fault::LostReply, 2);
    let _controller = Running::controller(&api, "controller-1");
    seconds(180).await;
    assert_eq!(api.pending_faults(), 0);
    assert_eq!(summary(&api, CONTROLLER), (VALID, String::new()));
    let states = api.history::<ConfigurationState>(OWN, CONTROLLER).expect("they decode");
    assert_eq!(states.len(), 2, "made, and its status written");
}
