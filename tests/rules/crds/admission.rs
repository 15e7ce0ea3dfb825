//! What the CRDs let through of pools and advertisements, and what they refuse.

use ferrolb_api::crd::{self, IPAddressPool, L2Advertisement};
use serde_json::{Value, json};

use super::{api, tables};

/// What the API server answers to a pool with this spec.
fn apply_pool(spec: &Value) -> Result<(), String> {
    let object = json!({ "metadata": { "name": "pool", "namespace": "metallb-system" }, "spec": spec });
    let pool: IPAddressPool = serde_json::from_value(object).expect("it decodes");
    api().create(&pool).map(|_| ()).map_err(|refusal| refusal.to_string())
}

fn apply_advertisement(spec: &Value) -> Result<(), String> {
    let object = json!({ "metadata": { "name": "ad", "namespace": "metallb-system" }, "spec": spec });
    let advertisement: L2Advertisement = serde_json::from_value(object).expect("it decodes");
    api().create(&advertisement).map(|_| ()).map_err(|refusal| refusal.to_string())
}

#[test]
fn a12_b3_b4_b16_what_metallb_accepts_is_accepted() {
    for spec in tables::good_pools() {
        assert_eq!(apply_pool(&spec), Ok(()), "{spec}");
    }
}

#[test]
fn b2_b3_b4_b8_b12_b17_what_is_refused_says_why() {
    for (spec, fragment) in tables::bad_pools() {
        let refusal = apply_pool(&spec).expect_err("this spec is bad");
        assert!(refusal.contains(fragment), "{spec}: {refusal}");
    }
}

/// Fields that MetalLB does not have: a pool without them is as there.
#[test]
fn reservations_and_exclusions() {
    for spec in tables::reserved_pools() {
        assert_eq!(apply_pool(&spec), Ok(()), "{spec}");
    }
    for (spec, fragment) in tables::badly_reserved_pools() {
        let refusal = apply_pool(&spec).expect_err("this spec is bad");
        assert!(refusal.contains(fragment), "{spec}: {refusal}");
    }
}

#[test]
fn a26_a33_b10_b12_advertisements() {
    for spec in tables::good_advertisements() {
        assert_eq!(apply_advertisement(&spec), Ok(()), "{spec}");
    }
    for (spec, fragment) in tables::bad_advertisements() {
        let refusal = apply_advertisement(&spec).expect_err("this spec is bad");
        assert!(refusal.contains(fragment), "{spec}: {refusal}");
    }
}

#[test]
fn a26_an_advertisement_without_spec_is_admitted_and_read_back() {
    let api = api();
    let bare = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
        "metadata": { "name": "all", "namespace": "metallb-system" },
    });
    api.insert_unchecked(bare.clone()).expect("its kind is known");
    let read: Option<L2Advertisement> = api.get(Some("metallb-system"), "all").expect("it decodes");
    assert_eq!(read.map(|ad| ad.spec), Some(crd::L2AdvertisementSpec::default()));

    // The schema itself asks for no spec either.
    let definition = crd::all().into_iter().find(|crd| crd.spec.names.kind == "L2Advertisement");
    let schema = serde_json::to_value(definition).expect("a CRD is JSON");
    assert_eq!(schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["required"], Value::Null);
}
