//! `ConfigurationState`: whether a process accepts the configuration (A50 to A60).

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type and a path")]

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use crate::config::NodeNetwork;

/// The label with [`CONTROLLER`] or [`SPEAKER`] (A52).
pub const COMPONENT_LABEL: &str = "metallb.io/component-type";
/// The label with a speaker's node (A52).
pub const NODE_LABEL: &str = "metallb.io/node-name";
/// The controller: its object's name, and its label's value (A51, A52).
pub const CONTROLLER: &str = "controller";
/// A speaker's label's value (A52).
pub const SPEAKER: &str = "speaker";
/// The condition that the controller writes (A56).
pub const POOLS_VALID: &str = "poolReconcilerValid";
/// The condition that a speaker writes (A56).
pub const CONFIG_VALID: &str = "configReconcilerValid";
/// The reason of a condition that is True (A57).
pub const RECONCILED: &str = "Reconciled";
/// The reason of a condition that is False for the configuration's fault (A57).
pub const CONFIGURATION_ERROR: &str = "ConfigurationError";

/// The name of the object of the speaker on `node` (A51).
#[must_use]
pub fn speaker_object(node: &str) -> String {
    format!("{SPEAKER}-{node}")
}

/// Nothing is asked for: the kind has no spec at all (A50).
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ConfigurationState",
    plural = "configurationstates",
    namespaced,
    no_spec,
    doc = "Whether the controller, or the speaker of a node, accepts the configuration.",
    status = "ConfigurationStateStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result"),
    printcolumn(name = "ErrorSummary", type_ = "string", json_path = ".status.errorSummary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ConfigurationStateSpec {}

/// What a process makes of the configuration.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStateStatus {
    /// What the conditions come to (A54).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ConfigurationResult>,
    /// The messages of the conditions that fail, one in a line; empty when valid (A55).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_summary: String,
    /// One condition from each part that reads the configuration (A56).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// What a speaker sees of its node's network: no Service is given an address that stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStatus>,
}

/// The network of a node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// The addresses on interfaces that neighbours are reached by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub addresses: Vec<InterfaceAddress>,
    /// The gateways of default routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)))]
    pub gateways: Vec<String>,
}

/// An address on an interface.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceAddress {
    /// The interface.
    #[schemars(length(max = 15))]
    pub interface: String,
    /// The address with its prefix length, as `192.168.1.7/24`.
    #[schemars(length(max = 49))]
    pub address: String,
}

/// The most addresses and gateways that are told.
const MAX_ADDRESSES: usize = 256;
const MAX_GATEWAYS: usize = 64;

impl From<&NodeNetwork> for NetworkStatus {
    fn from(network: &NodeNetwork) -> Self {
        let address = |(interface, net): &(String, IpNet)| InterfaceAddress {
            interface: interface.clone(),
            address: net.to_string(),
        };
        Self {
            addresses: network.addresses.iter().take(MAX_ADDRESSES).map(address).collect(),
            gateways: network.gateways.iter().take(MAX_GATEWAYS).map(ToString::to_string).collect(),
        }
    }
}

impl ConfigurationState {
    /// What a speaker's object says of its node's network; what cannot be read is left out.
    #[must_use]
    pub fn node_network(&self) -> Option<NodeNetwork> {
        let network = self.status.as_ref()?.network.as_ref()?;
        let name = self.metadata.name.as_deref()?;
        let node = name.strip_prefix(SPEAKER)?.strip_prefix('-')?.into();
        let address = |entry: &InterfaceAddress| Some((entry.interface.clone(), entry.address.parse().ok()?));
        Some(NodeNetwork {
            node,
            addresses: network.addresses.iter().filter_map(address).collect(),
            gateways: network.gateways.iter().filter_map(|gateway| gateway.parse().ok()).collect(),
        })
    }
}

/// What conditions come to (A54).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(inline)]
pub enum ConfigurationResult {
    /// Everything is accepted.
    Valid,
    /// Something is refused.
    Invalid,
    /// Nothing was judged yet.
    Unknown,
}

impl ConfigurationStateStatus {
    /// The status that `conditions` come to (A54, A55).
    #[must_use]
    pub fn summarised(conditions: Vec<Condition>) -> Self {
        let fails =
            |condition: &&Condition| condition.status == "False" && condition.reason == CONFIGURATION_ERROR;
        let errors: Vec<&str> =
            conditions.iter().filter(fails).map(|condition| condition.message.as_str()).collect();
        let result = match (conditions.is_empty(), errors.is_empty()) {
            (true, _) => ConfigurationResult::Unknown,
            (false, true) => ConfigurationResult::Valid,
            (false, false) => ConfigurationResult::Invalid,
        };
        Self { result: Some(result), error_summary: errors.join("\n"), conditions, network: None }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a54_a55_the_conditions_are_summed_up() {
        use ConfigurationResult::{Invalid, Unknown, Valid};
        let good = (POOLS_VALID, "True", RECONCILED, "");
        let bad = (CONFIG_VALID, "False", CONFIGURATION_ERROR, "pool a overlaps pool b");
        let worse = ("other", "False", CONFIGURATION_ERROR, "no such interface");
        let failed = ("other", "False", "UnknownError", "the API server did not answer");
        let muted = ("other", "Unknown", CONFIGURATION_ERROR, "not judged");
        for (conditions, result, summary) in [
            (vec![], Unknown, ""),
            (vec![good], Valid, ""),
            (vec![good, failed, muted], Valid, ""),
            (vec![good, bad], Invalid, "pool a overlaps pool b"),
            (vec![bad, failed, worse], Invalid, "pool a overlaps pool b\nno such interface"),
        ] {
            let conditions: Vec<Condition> = conditions
                .into_iter()
                .map(|(type_, status, reason, message)| Condition {
                    type_: type_.to_owned(),
                    status: status.to_owned(),
                    reason: reason.to_owned(),
                    message: message.to_owned(),
                    observed_generation: None,
                    last_transition_time: Time(Timestamp::UNIX_EPOCH),
                })
                .collect();
            let status = ConfigurationStateStatus::summarised(conditions.clone());
            assert_eq!((status.result, status.error_summary.as_str()), (Some(result), summary));
            assert_eq!(status.conditions, conditions);
        }
    }

    #[test]
    fn a_network_comes_back_as_it_was_told() {
        let net = |text: &str| text.parse::<IpNet>().expect("a literal");
        let network = NodeNetwork {
            node: "wk-01.example".into(),
            addresses: [("eth0", "10.0.0.2/24"), ("eth0", "fd00::2/64"), ("bond0", "10.1.0.100/32")]
                .map(|(interface, text)| (interface.to_owned(), net(text)))
                .into(),
            gateways: ["10.0.0.1", "fe80::1"].map(|text| text.parse().expect("a literal")).into(),
        };
        let mut object = ConfigurationState::new(&speaker_object("wk-01.example"), ConfigurationStateSpec {});
        assert_eq!(object.node_network(), None);
        object.status =
            Some(ConfigurationStateStatus { network: Some((&network).into()), ..Default::default() });
        assert_eq!(object.node_network(), Some(network.clone()));
        let status = object.status.as_mut().and_then(|status| status.network.as_mut()).expect("made above");
        status.gateways.push("router".to_owned());
        assert_eq!(object.node_network(), Some(network), "what cannot be read is left out");
        object.metadata.name = Some(CONTROLLER.to_owned());
        assert_eq!(object.node_network(), None);
    }

    #[test]
    fn a51_an_object_for_every_speaker() {
        assert_eq!(speaker_object("worker-1.example"), "speaker-worker-1.example");
    }
}
