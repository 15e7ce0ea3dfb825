//! What an API server does to Services beyond storing them.

use serde_json::{Value, json};

use crate::error::Cause;

/// Fills in what the API server decides when a Service is created or replaced;
/// `serial` makes cluster addresses and node ports that nobody else has.
pub(crate) fn complete(service: &mut Value, old: Option<&Value>, serial: u64) {
    if !service["spec"].is_object() {
        service["spec"] = json!({});
    }
    let spec = &mut service["spec"];
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
        complete_cluster_ips(spec, old.map(|old| &old["spec"]), serial);
    }
    complete_ports(spec, old.map(|old| &old["spec"]), &kind, serial);
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    if kind == "LoadBalancer" || kind == "NodePort" {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if let Some(old) = old.filter(|old| old["spec"]["type"] != service["spec"]["type"]) {
        drop_what_the_type_ended(service, old);
    }
    complete_ingress(service);
}

/// The problems of a Service, of `subresource` or of its main endpoint.
pub(crate) fn problems(service: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is_load_balancer = service["spec"]["type"] == "LoadBalancer";
    let ports = service["spec"]["ports"].as_array();
    let needs_ports = service["spec"]["type"] != "ExternalName" && service["spec"]["clusterIP"] != "None";
    if needs_ports && ports.is_none_or(Vec::is_empty) {
        causes.push(Cause::invalid("spec.ports", "Required value"));
    }
    for (index, entry) in ingress(service).iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{index}]");
        if !is_load_balancer {
            causes.push(Cause::invalid(
                field.clone(),
                "Forbidden: may only be used when `spec.type` is \"LoadBalancer\"",
            ));
        }
        let ip = entry["ip"].as_str().unwrap_or_default();
        if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
            causes.push(Cause::invalid(format!("{field}.ip"), format!("Invalid value: \"{ip}\"")));
        }
    }
    if let Some(old) = old {
        let stays =
            |field: &str| old["spec"][field].is_null() || old["spec"][field] == service["spec"][field];
        if is_load_balancer && old["spec"]["type"] == "LoadBalancer" && !stays("loadBalancerClass") {
            causes.push(Cause::invalid("spec.loadBalancerClass", "may not change once set"));
        }
        if old["spec"]["type"] != "ExternalName"
            && service["spec"]["type"] != "ExternalName"
            && !stays("clusterIP")
        {
            causes.push(Cause::invalid("spec.clusterIPs[0]", "may not change once set"));
        }
    }
    causes
}

fn ingress(service: &Value) -> &[Value] {
    service["status"]["loadBalancer"]["ingress"].as_array().map_or(&[], Vec::as_slice)
}

fn default(spec: &mut Value, field: &str, value: Value) {
    if spec[field].is_null() {
        spec[field] = value;
    }
}

/// A dual-stack cluster whose first family is IPv4.
fn complete_cluster_ips(spec: &mut Value, old: Option<&Value>, serial: u64) {
    if let Some(old) = old {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec[field].is_null() && !old[field].is_null() {
                spec[field] = old[field].clone();
            }
        }
    }
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    let dual = spec["ipFamilyPolicy"] != "SingleStack";
    let mut families: Vec<String> =
        serde_json::from_value(spec["ipFamilies"].clone()).unwrap_or_else(|_| vec!["IPv4".to_owned()]);
    if dual && families.len() == 1 {
        families.push(if families[0] == "IPv4" { "IPv6".to_owned() } else { "IPv4".to_owned() });
    }
    let given = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if given == "None" {
        spec["clusterIPs"] = json!(["None"]);
    } else {
        let mut addresses: Vec<String> =
            serde_json::from_value(spec["clusterIPs"].clone()).unwrap_or_default();
        // The first of both is the same address; clusterIP is the one that people edit.
        match addresses.first_mut() {
            Some(first) if !given.is_empty() => *first = given,
            None if !given.is_empty() => addresses.push(given),
            _ => {}
        }
        for family in families.iter().skip(addresses.len()) {
            addresses.push(cluster_address(family, serial));
        }
        spec["clusterIP"] = json!(addresses.first());
        spec["clusterIPs"] = json!(addresses);
    }
    spec["ipFamilies"] = json!(families);
}

fn cluster_address(family: &str, serial: u64) -> String {
    let low = serial % 0xffff + 1;
    if family == "IPv6" {
        format!("fd00:10:96::{low:x}")
    } else {
        format!("10.96.{}.{}", low >> 8, low & 0xff)
    }
}

fn complete_ports(spec: &mut Value, old: Option<&Value>, kind: &str, serial: u64) {
    let old_ports = old.and_then(|old| old["ports"].as_array()).cloned().unwrap_or_default();
    let wants_node_ports = kind == "NodePort"
        || (kind == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != Value::Bool(false));
    let Some(ports) = spec["ports"].as_array_mut() else { return };
    for (index, port) in ports.iter_mut().enumerate() {
        default(port, "protocol", json!("TCP"));
        if port["targetPort"].is_null() {
            port["targetPort"] = port["port"].clone();
        }
        if wants_node_ports && port["nodePort"].as_u64().unwrap_or_default() == 0 {
            let before = old_ports.iter().find(|old| {
                old["port"] == port["port"]
                    && old["protocol"] == port["protocol"]
                    && !old["nodePort"].is_null()
            });
            port["nodePort"] = match before {
                Some(old) => old["nodePort"].clone(),
                None => json!(30_000 + (serial * 8 + index as u64) % 2_768),
            };
        }
    }
}

/// What a Service loses when its type changes: the fields that were the old
/// type's, unless they were changed in the same write.
fn drop_what_the_type_ended(service: &mut Value, old: &Value) {
    let kind = service["spec"]["type"].as_str().unwrap_or_default().to_owned();
    if kind != "LoadBalancer" {
        if let Some(status) = service["status"].as_object_mut()
            && status.contains_key("loadBalancer")
        {
            status.insert("loadBalancer".to_owned(), json!({}));
        }
        for field in ["loadBalancerClass", "allocateLoadBalancerNodePorts"] {
            if service["spec"][field] == old["spec"][field] {
                remove(&mut service["spec"], field);
            }
        }
    }
    if kind == "ClusterIP" {
        if service["spec"]["externalTrafficPolicy"] == old["spec"]["externalTrafficPolicy"] {
            remove(&mut service["spec"], "externalTrafficPolicy");
        }
        for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
            remove(port, "nodePort");
        }
    }
}

fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

/// KEP-1860: an ingress with an address says how it is to be reached.
fn complete_ingress(service: &mut Value) {
    if service["spec"]["type"] != "LoadBalancer" {
        return;
    }
    for entry in service["status"]["loadBalancer"]["ingress"].as_array_mut().into_iter().flatten() {
        if entry["ip"].as_str().is_some_and(|ip| !ip.is_empty()) {
            default(entry, "ipMode", json!("VIP"));
        }
    }
}
