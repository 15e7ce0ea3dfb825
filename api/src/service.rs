//! Our view of a Service: what decides its addresses and who announces them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::annotations::Annotations;
use crate::ip_family::IpFamily;
use crate::lost_addresses::LostAddresses;

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    namespace: String,
    name: String,
}

impl ServiceKey {
    /// The key of Service `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `namespace/name`, the form MetalLB's metrics and logs use (F7).
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// The UID: a Service deleted and made again under its name is another one.
    pub uid: String,
    /// The version this view was read at; opaque, passed back with a write.
    pub resource_version: String,
    /// Whether `spec.type` is `LoadBalancer`.
    pub is_load_balancer: bool,
    /// `spec.loadBalancerClass` (C2).
    pub load_balancer_class: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations that concern us.
    pub annotations: Annotations,
    /// `spec.clusterIPs`, else `spec.clusterIP`; empty if it has neither (C13).
    /// An entry that is no address (`None` of a headless Service) is kept as text.
    pub cluster_ips: Vec<Result<IpAddr, String>>,
    /// `spec.loadBalancerIP`, as written (C31).
    pub load_balancer_ip: Option<String>,
    /// The first of `spec.ipFamilies` (C43).
    pub primary_family: Option<IpFamily>,
    /// `spec.ipFamilyPolicy`.
    pub family_policy: FamilyPolicy,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: TrafficPolicy,
    /// `spec.selector`, part of the backend key (C52).
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`, without node and target ports (C55).
    pub ports: Vec<Port>,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<Ingress>,
    /// The field manager that wrote the ingress last (`metadata.managedFields`), where that is known.
    pub status_writer: Option<String>,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyPolicy {
    /// One family; also what an absent field means.
    #[default]
    SingleStack,
    /// Two if they can be had.
    PreferDualStack,
    /// Two or nothing.
    RequireDualStack,
}

/// `spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any node forwards to any endpoint.
    #[default]
    Cluster,
    /// Only nodes with an endpoint of their own receive traffic (D14).
    Local,
}

/// One port of a Service (C55).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port that clients connect to.
    pub port: u16,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// An address.
    Ip(IpAddr),
    /// A non-empty `ip` that does not parse.
    Unparsable(String),
    /// No `ip`: somebody else's `hostname`, or nothing at all.
    Hostname(String),
}

impl Service {
    /// The addresses in its status, in order; unparsable entries are left out.
    pub fn ingress_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.ingress.iter().filter_map(|entry| match entry {
            Ingress::Ip(address) => Some(*address),
            Ingress::Unparsable(_) | Ingress::Hostname(_) => None,
        })
    }
}

impl Service {
    /// What it has lost and shall have again, as its annotation says.
    #[must_use]
    pub fn lost_addresses(&self) -> LostAddresses {
        let text = self.annotations.lost_addresses.as_deref();
        text.map(|text| LostAddresses::parse(text, &self.uid)).unwrap_or_default()
    }
}

impl From<&core::Service> for Service {
    fn from(object: &core::Service) -> Self {
        let metadata = &object.metadata;
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        Self {
            key: ServiceKey::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            ),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            is_load_balancer: spec.type_.as_deref() == Some("LoadBalancer"),
            load_balancer_class: spec.load_balancer_class.clone(),
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.as_ref().map(Annotations::from).unwrap_or_default(),
            cluster_ips: cluster_ips(&spec),
            load_balancer_ip: spec.load_balancer_ip.clone().filter(|ip| !ip.is_empty()),
            primary_family: spec.ip_families.as_deref().and_then(<[String]>::first).and_then(|family| {
                match family.as_str() {
                    "IPv4" => Some(IpFamily::V4),
                    "IPv6" => Some(IpFamily::V6),
                    _ => None,
                }
            }),
            family_policy: match spec.ip_family_policy.as_deref() {
                Some("PreferDualStack") => FamilyPolicy::PreferDualStack,
                Some("RequireDualStack") => FamilyPolicy::RequireDualStack,
                _ => FamilyPolicy::SingleStack,
            },
            traffic_policy: match spec.external_traffic_policy.as_deref() {
                Some("Local") => TrafficPolicy::Local,
                _ => TrafficPolicy::Cluster,
            },
            selector: spec.selector.unwrap_or_default(),
            ports: spec.ports.unwrap_or_default().iter().map(Port::from).collect(),
            ingress: status
                .and_then(|status| status.ingress.as_deref())
                .unwrap_or_default()
                .iter()
                .map(Ingress::from)
                .collect(),
            status_writer: status_writer(metadata.managed_fields.as_deref().unwrap_or_default()),
        }
    }
}

/// Who wrote the ingress last. An entry says in full seconds when; of those that are as new the last one counts.
fn status_writer(entries: &[ManagedFieldsEntry]) -> Option<String> {
    let wrote = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:status"]["f:loadBalancer"].is_null())
    };
    let newest = entries.iter().filter(wrote).max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    newest.and_then(|entry| entry.manager.clone())
}

fn cluster_ips(spec: &core::ServiceSpec) -> Vec<Result<IpAddr, String>> {
    let listed = spec.cluster_ips.clone().filter(|list| !list.is_empty());
    let texts = listed.unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    texts.into_iter().filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| text)).collect()
}

impl From<&core::ServicePort> for Port {
    fn from(port: &core::ServicePort) -> Self {
        Self {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            // The API server admits 1 to 65535 only; 0 collides with nothing.
            port: u16::try_from(port.port).unwrap_or_default(),
        }
    }
}

impl From<&core::LoadBalancerIngress> for Ingress {
    fn from(entry: &core::LoadBalancerIngress) -> Self {
        match entry.ip.as_deref().filter(|ip| !ip.is_empty()) {
            Some(ip) => ip.parse().map_or_else(|_| Self::Unparsable(ip.to_owned()), Self::Ip),
            None => Self::Hostname(entry.hostname.clone().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
