//! Manifests, as short as they can be written.

use std::fmt::Display;

/// A pool of these ranges or CIDRs, and what else its spec holds (`key: value, ...` in YAML's flow style).
pub(crate) fn pool(name: &str, addresses: &[&str], more: &str) -> String {
    object("metallb.io/v1beta1", "IPAddressPool", name, "", format!("addresses: {addresses:?}, {more}"))
}

/// The same with labels.
pub(crate) fn labelled_pool(name: &str, labels: &str, addresses: &[&str]) -> String {
    let labels = format!(", labels: {{{labels}}}");
    object("metallb.io/v1beta1", "IPAddressPool", name, &labels, format!("addresses: {addresses:?}"))
}

/// An advertisement with this spec.
pub(crate) fn advertisement(name: &str, spec: &str) -> String {
    object("metallb.io/v1beta1", "L2Advertisement", name, "", spec)
}

/// A LoadBalancer Service in `default`.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    name: String,
    labels: String,
    annotations: String,
    families: Families,
    spec: String,
}

/// What addresses a Service gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    Ipv4,
    Ipv6,
    Dual,
}

impl Families {
    pub(crate) const SINGLE: [Self; 2] = [Self::Ipv4, Self::Ipv6];
    pub(crate) const ALL: [Self; 3] = [Self::Ipv4, Self::Ipv6, Self::Dual];

    /// How many addresses that are.
    pub(crate) const fn count(self) -> usize {
        if matches!(self, Self::Dual) { 2 } else { 1 }
    }
}

impl Service {
    /// An IPv4 Service on the echo port, which every simulated backend answers.
    pub(crate) fn new(name: &str) -> Self {
        let spec = "ports: [{name: echo, protocol: UDP, port: 7}]".to_owned();
        let (labels, annotations) = (String::new(), String::new());
        Self { name: name.to_owned(), labels, annotations, families: Families::Ipv4, spec }
    }

    pub(crate) fn families(self, families: Families) -> Self {
        Self { families, ..self }
    }

    pub(crate) fn labels(self, labels: &str) -> Self {
        Self { labels: labels.to_owned(), ..self }
    }

    pub(crate) fn annotations(self, annotations: &str) -> Self {
        Self { annotations: annotations.to_owned(), ..self }
    }

    /// More of its spec, in YAML's flow style.
    pub(crate) fn spec(self, more: &str) -> Self {
        Self { spec: format!("{}, {more}", self.spec), ..self }
    }

    /// Its ports instead of the echo's, as `protocol/port`.
    pub(crate) fn ports(self, ports: &[&str]) -> Self {
        let port = |port: &&str| {
            let (protocol, number) = port.split_once('/').expect("a test writes protocol/port");
            format!("{{name: p{number}, protocol: {protocol}, port: {number}}}")
        };
        let ports: Vec<String> = ports.iter().map(port).collect();
        Self { spec: format!("ports: [{}]", ports.join(", ")), ..self }
    }

    /// The manifest.
    pub(crate) fn yaml(&self) -> String {
        let families = match self.families {
            Families::Ipv4 => "ipFamilies: [IPv4]",
            Families::Ipv6 => "ipFamilies: [IPv6], clusterIPs: ['fd96::1'], clusterIP: 'fd96::1'",
            Families::Dual => {
                "ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6], clusterIP: 10.96.1.1, \
                 clusterIPs: [10.96.1.1, 'fd96::1']"
            }
        };
        let metadata = format!(", labels: {{{}}}, annotations: {{{}}}", self.labels, self.annotations);
        let spec = format!("type: LoadBalancer, {families}, {}", self.spec);
        let text = object("v1", "Service", &self.name, &metadata, spec);
        text.replace("namespace: metallb-system", "namespace: default")
    }
}

fn object(api: &str, kind: &str, name: &str, metadata: &str, spec: impl Display) -> String {
    format!(
        "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: metallb-system{metadata}}}\n\
         spec: {{{spec}}}\n"
    )
}
