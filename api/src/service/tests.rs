//! Services as the API server has them, and what we see of them.

use serde_json::{Value, json};

use super::*;

fn service(spec: Value, status: Value) -> Service {
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "web", "name": "nginx" }, "spec": spec, "status": status,
    });
    Service::from(&serde_json::from_value::<core::Service>(object).expect("a Service"))
}

#[test]
fn a_full_service() {
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "namespace": "web", "name": "nginx", "uid": "u-1", "resourceVersion": "42",
            "labels": { "app": "nginx" },
            "annotations": { "metallb.io/loadBalancerIPs": "172.16.16.101", "other": "x" },
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "metallb", "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7", "fd00::7"], "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Local",
            "selector": { "app": "nginx" },
            "ports": [
                { "name": "http", "port": 80, "targetPort": "web", "nodePort": 30080 },
                { "name": "dns", "port": 53, "protocol": "UDP" },
            ],
        },
        "status": { "loadBalancer": { "ingress": [{ "ip": "172.16.16.101", "ipMode": "VIP" }] } },
    });
    let text = |text: &str| text.to_owned();
    let port = |protocol: &str, port| Port { protocol: protocol.to_owned(), port };
    let expected = Service {
        key: ServiceKey::new("web", "nginx"),
        uid: text("u-1"),
        resource_version: text("42"),
        is_load_balancer: true,
        load_balancer_class: Some(text("metallb")),
        labels: BTreeMap::from([(text("app"), text("nginx"))]),
        annotations: Annotations { load_balancer_ips: Some(text("172.16.16.101")), ..Annotations::default() },
        cluster_ips: vec![Ok([10, 96, 0, 7].into()), Ok("fd00::7".parse().expect("a literal"))],
        load_balancer_ip: None,
        primary_family: Some(IpFamily::V4),
        family_policy: FamilyPolicy::PreferDualStack,
        traffic_policy: TrafficPolicy::Local,
        selector: BTreeMap::from([(text("app"), text("nginx"))]),
        ports: vec![port("TCP", 80), port("UDP", 53)],
        ingress: vec![Ingress::Ip([172, 16, 16, 101].into())],
        status_writer: None,
    };
    assert_eq!(Service::from(&serde_json::from_value::<core::Service>(object).expect("a Service")), expected);
    assert_eq!(expected.key.to_string(), "web/nginx");
}

#[test]
fn nothing_at_all_is_a_service_too() {
    let service = Service::from(&core::Service::default());
    assert!(!service.is_load_balancer);
    assert_eq!((service.cluster_ips.len(), service.ingress.len(), service.ports.len()), (0, 0, 0));
    assert_eq!(service.family_policy, FamilyPolicy::SingleStack);
    assert_eq!(service.traffic_policy, TrafficPolicy::Cluster);
}

#[test]
fn c13_c40_cluster_ips() {
    for (spec, expected) in [
        (json!({ "clusterIP": "10.96.0.7" }), vec!["10.96.0.7"]),
        (json!({ "clusterIP": "10.96.0.7", "clusterIPs": [] }), vec!["10.96.0.7"]),
        (
            json!({ "clusterIP": "10.96.0.7", "clusterIPs": ["fd00::7", "10.96.0.7"] }),
            vec!["fd00::7", "10.96.0.7"],
        ),
        (json!({ "clusterIP": "" }), vec![]),
        (json!({ "clusterIP": "None", "clusterIPs": ["None"] }), vec!["!None"]),
        (json!({}), vec![]),
    ] {
        let seen = service(spec.clone(), json!({})).cluster_ips;
        let shown: Vec<_> = seen
            .iter()
            .map(|ip| ip.as_ref().map_or_else(|text| format!("!{text}"), ToString::to_string))
            .collect();
        assert_eq!(shown, expected, "{spec}");
    }
}

#[test]
fn c14_c17_ingress() {
    let ip = |text: &str| Ingress::Ip(text.parse().expect("a literal address"));
    for (ingress, expected) in [
        (
            json!([{ "ip": "172.16.16.101" }, { "ip": "fd00::101" }]),
            vec![ip("172.16.16.101"), ip("fd00::101")],
        ),
        (json!([{ "hostname": "lb.example" }]), vec![Ingress::Hostname("lb.example".to_owned())]),
        (json!([{ "ip": "" }]), vec![Ingress::Hostname(String::new())]),
        (json!([{ "ip": "172.16.16.1O1" }]), vec![Ingress::Unparsable("172.16.16.1O1".to_owned())]),
        (json!(null), vec![]),
    ] {
        let seen = service(json!({}), json!({ "loadBalancer": { "ingress": ingress } }));
        assert_eq!(seen.ingress, expected, "{ingress}");
        let ips = expected.iter().filter(|entry| matches!(entry, Ingress::Ip(_))).count();
        assert_eq!(seen.ingress_ips().count(), ips);
    }
}

#[test]
fn c31_c43_odd_values_mean_the_default() {
    let odd = service(
        json!({ "loadBalancerIP": "", "ipFamilies": ["IPv5"], "ipFamilyPolicy": "Triple",
                "externalTrafficPolicy": "Global", "ports": [{ "port": 70000 }] }),
        json!({}),
    );
    assert_eq!((odd.load_balancer_ip, odd.primary_family), (None, None));
    assert_eq!((odd.family_policy, odd.traffic_policy), (FamilyPolicy::SingleStack, TrafficPolicy::Cluster));
    assert_eq!(odd.ports, vec![Port { protocol: "TCP".to_owned(), port: 0 }]);
    let garbage = service(json!({ "loadBalancerIP": "not an address" }), json!({}));
    assert_eq!(garbage.load_balancer_ip.as_deref(), Some("not an address"));
}

#[test]
fn who_wrote_the_status_last() {
    let entry = |manager: &str, time: &str, fields: Value| {
        json!({ "manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": time, "subresource": "status", "fieldsV1": fields })
    };
    let ingress = || json!({ "f:status": { "f:loadBalancer": { "f:ingress": {} } } });
    let (earlier, later) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    for (entries, expected) in [
        (json!([]), None),
        (json!([entry("a", earlier, ingress())]), Some("a")),
        (json!([entry("a", later, ingress()), entry("b", earlier, ingress())]), Some("a")),
        (json!([entry("a", earlier, ingress()), entry("b", later, json!({ "f:spec": {} }))]), Some("a")),
        (json!([entry("a", earlier, json!({ "f:status": { "f:conditions": {} } }))]), None),
    ] {
        let object = json!({ "metadata": { "managedFields": entries } });
        let service = Service::from(&serde_json::from_value::<core::Service>(object).expect("a Service"));
        assert_eq!(service.status_writer.as_deref(), expected, "{entries}");
    }
}
