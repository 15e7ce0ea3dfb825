//! S3: nobody takes an address from a Service that gave no reason for it. A
//! controller's restart, other Services and API errors are none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::{Service, ServiceKey};

/// What is known of the Services' addresses.
#[derive(Debug, Default)]
pub(super) struct Stability {
    holders: BTreeMap<ServiceKey, Holder>,
}

#[derive(Debug)]
struct Holder {
    /// The Service as it was when it was last looked at, without status.
    wants: Service,
    addresses: BTreeSet<IpAddr>,
    /// Whether it, or the configuration, has changed since it got them.
    is_excused: bool,
}

impl Stability {
    /// Pools, advertisements or Namespaces have changed: whoever loses an
    /// address may have lost it by that.
    pub(super) fn config_changed(&mut self) {
        for holder in self.holders.values_mut() {
            holder.is_excused = true;
        }
    }

    /// Looks at all Services; gives those that have lost an address for no reason.
    pub(super) fn look_at(&mut self, services: &[Service]) -> Vec<String> {
        let mut found = Vec::new();
        let mut holders = BTreeMap::new();
        for service in services {
            let addresses: BTreeSet<IpAddr> = service.ingress_ips().collect();
            let wants = without_status(service);
            let before = self.holders.remove(&service.key).filter(|before| before.wants.uid == wants.uid);
            let is_excused = before.as_ref().is_some_and(|before| before.is_excused || before.wants != wants);
            let mut is_still_excused = is_excused;
            if let Some(before) = before {
                let lost: Vec<&IpAddr> = before.addresses.difference(&addresses).collect();
                if !lost.is_empty() && !is_excused {
                    found.push(format!("{} has lost {lost:?} for no reason", service.key));
                }
                // One change is no excuse for what happens after it has had its effect.
                is_still_excused &= lost.is_empty();
            }
            let holder = Holder { wants, addresses, is_excused: is_still_excused };
            holders.insert(service.key.clone(), holder);
        }
        self.holders = holders;
        found
    }
}

/// A Service as its owner wrote it.
fn without_status(service: &Service) -> Service {
    let mut wants = service.clone();
    wants.ingress.clear();
    wants.resource_version.clear();
    wants.annotations.allocated_from_pool = None;
    wants.annotations.lost_addresses = None;
    wants.status_writer = None;
    wants
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(address: Option<&str>, port: u16) -> Service {
        let ingress: Vec<_> = address.map(|ip| json!({"ip": ip})).into_iter().collect();
        let value = json!({
            "metadata": {"namespace": "default", "name": "a", "uid": "1"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": port}]},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let object: k8s_openapi::api::core::v1::Service = serde_json::from_value(value).expect("a Service");
        Service::from(&object)
    }

    #[test]
    fn s3_an_address_goes_for_a_reason_only() {
        let held = || service(Some("172.16.16.101"), 80);
        let mut stability = Stability::default();
        assert_eq!(stability.look_at(&[service(None, 80)]), [""; 0]);
        assert_eq!(stability.look_at(&[held()]), [""; 0], "it gets one");
        assert_eq!(stability.look_at(&[service(Some("172.16.16.102"), 80)]).len(), 1, "another one");
        assert_eq!(stability.look_at(&[service(None, 80)]).len(), 1, "none");
        stability.look_at(&[held()]);
        stability.look_at(&[service(Some("172.16.16.101"), 81)]);
        assert_eq!(stability.look_at(&[service(None, 81)]), [""; 0], "it was edited");
        stability.look_at(&[held()]);
        stability.look_at(&[held()]);
        stability.config_changed();
        assert_eq!(stability.look_at(&[service(None, 80)]), [""; 0], "a pool was edited");
        stability.look_at(&[held()]);
        assert_eq!(stability.look_at(&[]), [""; 0], "it was deleted");
        assert_eq!(stability.look_at(&[service(None, 80)]), [""; 0], "and made again");
    }
}
