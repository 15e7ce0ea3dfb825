//! What is said: valid, invalid with its cause, unknown.

use fake_api::{FakeApi, Fault, Match, Refusal};
use ferrolb_api::crd::IPAddressPool;
use ferrolb_api::crd::configuration_state::ConfigurationResult;
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use tests::objects::pool;

use super::setup::{
    CONTROLLER, INVALID, OWN, Running, SPEAKER, VALID, cluster, seconds, state, status, summary,
};
use crate::support::service;

#[tokio::test(start_paused = true)]
async fn a51_to_a58_h61_valid_invalid_with_its_cause_and_valid_again() {
    let api = cluster();
    let _controller = Running::controller(&api, "controller-1");
    let _speaker = Running::speaker(&api, "speaker-1");
    seconds(10).await;
    for (name, kind) in [(CONTROLLER, "poolReconcilerValid"), (SPEAKER, "configReconcilerValid")] {
        assert_eq!(summary(&api, name), (VALID, String::new()), "{name}");
        let conditions = status(&api, name).conditions;
        let [condition] = conditions.as_slice() else { panic!("{name} has one: {conditions:?}") };
        let said = (condition.status.as_str(), condition.reason.as_str(), condition.message.as_str());
        assert_eq!((condition.type_.as_str(), said), (kind, ("True", "Reconciled", "")));
    }
    assert_eq!(
        json!(state(&api, SPEAKER).expect("it is there").metadata.labels),
        json!({"metallb.io/component-type": "speaker", "metallb.io/node-name": "wk01"}),
    );
    // Two objects go bad, the second after the first.
    api.create(&pool("second", &["172.16.16.150-172.16.16.250"])).expect("alone it is sound");
    seconds(5).await;
    for name in [CONTROLLER, SPEAKER] {
        let (result, summary) = summary(&api, name);
        assert_eq!(result, INVALID, "{name}");
        assert!(summary.starts_with("configuration error: IPAddressPool/second: "), "{name}: {summary}");
    }
    let since = status(&api, CONTROLLER).conditions[0].last_transition_time.clone();
    api.create(&pool("third", &["172.16.16.100-172.16.16.110"])).expect("alone it is sound");
    seconds(5).await;
    for name in [CONTROLLER, SPEAKER] {
        let status = status(&api, name);
        for pool in ["IPAddressPool/second: ", "IPAddressPool/third: "] {
            assert!(status.error_summary.contains(pool), "{name}: {}", status.error_summary);
        }
        let [condition] = status.conditions.as_slice() else { panic!("{name} has one") };
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "ConfigurationError"));
        assert_eq!(condition.message, status.error_summary);
    }
    let still = status(&api, CONTROLLER).conditions[0].last_transition_time.clone();
    assert_eq!(still, since, "A59: the status is the same as before");
    // Correcting both is enough.
    for (name, addresses) in [("second", "172.16.17.0/24"), ("third", "172.16.18.0/24")] {
        let mended = json!({"spec": {"addresses": [addresses]}});
        api.merge::<IPAddressPool>(OWN, name, mended).expect("it is there");
    }
    seconds(5).await;
    for name in [CONTROLLER, SPEAKER] {
        assert_eq!(summary(&api, name), (VALID, String::new()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn b22_after_an_error_the_last_good_version_stays_and_it_is_said() {
    let api = cluster();
    api.create(&service("web")).expect("the cluster is new");
    let controller = Running::controller(&api, "controller-1");
    let speaker = Running::speaker(&api, "speaker-1");
    seconds(10).await;
    let address = |api: &FakeApi| {
        let service: Option<core::Service> = api.get(Some("default"), "web").expect("it decodes");
        let status = service.and_then(|service| service.status).and_then(|status| status.load_balancer);
        status.and_then(|status| status.ingress).unwrap_or_default()[0].ip.clone()
    };
    let held = address(&api);
    assert!(held.is_some() && !controller.is_stale() && !speaker.is_stale());
    // No schema sees that both ends are in the wrong order.
    let reversed = json!({"spec": {"addresses": ["172.16.16.200-172.16.16.101"]}});
    api.merge::<IPAddressPool>(OWN, "first", reversed).expect("the schema allows it");
    seconds(60).await;
    assert!(controller.is_stale() && speaker.is_stale());
    assert_eq!(address(&api), held);
    for name in [CONTROLLER, SPEAKER] {
        assert_eq!(summary(&api, name).0, INVALID, "{name}");
        assert!(summary(&api, name).1.contains("last valid version"), "{name}: {}", summary(&api, name).1);
    }
    let mended = json!({"spec": {"addresses": ["172.16.16.101-172.16.16.200"]}});
    api.merge::<IPAddressPool>(OWN, "first", mended).expect("it is there");
    seconds(60).await;
    assert!(!controller.is_stale() && !speaker.is_stale());
    assert_eq!((address(&api), summary(&api, CONTROLLER).0), (held, VALID));
}

#[tokio::test(start_paused = true)]
async fn a54_w35_what_could_not_be_read_is_not_called_valid() {
    let api = cluster();
    let controller = Running::controller(&api, "controller-1");
    seconds(10).await;
    assert_eq!(summary(&api, CONTROLLER).0, VALID);
    controller.stop().await;
    // From now on pools cannot be listed; something else can.
    let lists = || Match::any().verb("list").resource("ipaddresspools");
    api.inject(lists(), Fault::Refuse(Refusal::new(500, "InternalError", "etcd is away")), 1_000);
    let controller = Running::controller(&api, "controller-1");
    let speaker = Running::speaker(&api, "speaker-1");
    seconds(120).await;
    for name in [CONTROLLER, SPEAKER] {
        let status = status(&api, name);
        assert_eq!(status.result, Some(ConfigurationResult::Unknown), "{name}");
        assert_eq!(status.conditions, [], "{name}: nothing was judged");
    }
    assert!(!controller.readiness.report().ready && !speaker.readiness.report().ready);
    api.clear_faults();
    seconds(60).await;
    for name in [CONTROLLER, SPEAKER] {
        assert_eq!(summary(&api, name).0, VALID, "{name}");
    }
    // What has been judged stays said while the server is away.
    api.set_gone(true);
    seconds(600).await;
    api.set_gone(false);
    seconds(120).await;
    assert_eq!(summary(&api, CONTROLLER).0, VALID);
}
