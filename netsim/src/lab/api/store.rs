//! The API server's store: objects, revisions, and writes that are refused if
//! they were computed from an older object (S16).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_api::annotations::{IP_ALLOCATED_FROM_POOL, LOST_ADDRESSES};
use ferrolb_api::crd::ServiceL2Status;
use ferrolb_api::l2_status::Time;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus};
use k8s_openapi::jiff::Timestamp;
use speaker_core::L2StatusChange;

use crate::lab::api::objects::{Key, Kind, Object};

/// When every condition began: there is no wall clock in here, and nothing
/// reads that field.
pub const EPOCH: Time = Time(Timestamp::UNIX_EPOCH);

/// Objects by key with all their versions, and one revision counter for all.
#[derive(Clone, Debug, Default)]
pub struct Store {
    revision: u64,
    versions: BTreeMap<Key, Vec<Version>>,
    changes: Vec<Change>,
    cluster_ips: u8,
}

#[derive(Clone, Debug)]
struct Version {
    revision: u64,
    /// `None` once deleted.
    object: Option<Object>,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision that it made.
    pub revision: u64,
    /// Which object.
    pub key: Key,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// 404: there is no such object, or it is another one of the same name.
    NotFound,
    /// 409: the object has changed since the version the writer saw.
    Conflict,
}

impl Store {
    /// The newest revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// All changes so far, oldest first.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The object as it now stands.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.at(key, self.revision)
    }

    /// The object as it stood at `revision`.
    #[must_use]
    pub fn at(&self, key: &Key, revision: u64) -> Option<&Object> {
        let versions = self.versions.get(key)?;
        versions.iter().rev().find(|version| version.revision <= revision)?.object.as_ref()
    }

    /// What the change that made `revision` left of its object; `None` if it
    /// was deleted, or if there is no such revision.
    #[must_use]
    pub fn at_exactly(&self, revision: u64) -> Option<&Object> {
        let index = self.changes.binary_search_by_key(&revision, |change| change.revision).ok()?;
        self.at(&self.changes.get(index)?.key, revision)
    }

    /// All objects of `kind` as they stood at `revision`, in key order.
    pub fn list(&self, kind: Kind, revision: u64) -> impl Iterator<Item = (&Key, &Object)> {
        let keys = self.versions.keys().filter(move |key| key.kind == kind);
        keys.filter_map(move |key| Some((key, self.at(key, revision)?)))
    }

    /// All Services as they now stand.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.list(Kind::Service, self.revision).filter_map(|(_, object)| match object {
            Object::Service(service) => Some(service.as_ref()),
            _ => None,
        })
    }

    /// Creates or replaces an object as `kubectl apply` would: status, UID and
    /// what the API server defaults are kept. Returns whether anything changed.
    pub fn apply(&mut self, mut object: Object) -> bool {
        let key = object.key();
        let old = self.get(&key).cloned();
        if let Some(old) = &old {
            object.keep_status_of(old);
            let before = old.metadata();
            let metadata = object.metadata_mut();
            metadata.uid.clone_from(&before.uid);
            metadata.resource_version.clone_from(&before.resource_version);
            metadata.generation = before.generation;
            keep_allocation(metadata.annotations.get_or_insert_default(), before.annotations.as_ref());
        } else {
            let uid = format!("uid-{}", self.revision + 1);
            let metadata = object.metadata_mut();
            metadata.uid = Some(uid);
            metadata.annotations.get_or_insert_default();
        }
        self.default_cluster_ip(&mut object, old.as_ref());
        if old.as_ref() == Some(&object) {
            return false;
        }
        if object.has_generation() {
            let generation = object.metadata().generation.unwrap_or_default() + 1;
            object.metadata_mut().generation = Some(generation);
        }
        self.commit(key, Some(object));
        true
    }

    /// Deletes an object. Returns whether it was there.
    pub fn delete(&mut self, key: &Key) -> bool {
        let there = self.get(key).is_some();
        if there {
            self.commit(key.clone(), None);
        }
        there
    }

    /// Writes addresses, pool and losses of a Service, if it is still the object of
    /// `uid` at `resource_version`. A write that changes nothing makes no
    /// revision. Returns whether one was made.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was written.
    pub fn write_service(
        &mut self,
        key: &Key,
        uid: &str,
        resource_version: &str,
        addresses: &[IpAddr],
        pool: Option<&str>,
        lost_addresses: Option<&str>,
    ) -> Result<bool, StoreError> {
        let Some(Object::Service(current)) = self.get(key) else { return Err(StoreError::NotFound) };
        if current.metadata.uid.as_deref() != Some(uid) {
            return Err(StoreError::NotFound);
        }
        if current.metadata.resource_version.as_deref() != Some(resource_version) {
            return Err(StoreError::Conflict);
        }
        let mut service = Service::clone(current);
        let ingress: Vec<LoadBalancerIngress> = addresses
            .iter()
            .map(|address| LoadBalancerIngress { ip: Some(address.to_string()), ..Default::default() })
            .collect();
        let balancer = LoadBalancerStatus { ingress: (!ingress.is_empty()).then_some(ingress) };
        service.status = Some(ServiceStatus {
            load_balancer: Some(balancer),
            ..service.status.take().unwrap_or_default()
        });
        let annotations = service.metadata.annotations.get_or_insert_default();
        for (key, value) in [(IP_ALLOCATED_FROM_POOL, pool), (LOST_ADDRESSES, lost_addresses)] {
            match value {
                Some(value) => annotations.insert(key.to_owned(), value.to_owned()),
                None => annotations.remove(key),
            };
        }
        if service == **current {
            return Ok(false);
        }
        self.commit(key.clone(), Some(Object::Service(Arc::new(service))));
        Ok(true)
    }

    /// Changes a `ServiceL2Status` in `namespace`, if it is still the one that
    /// the change was decided on. Returns whether a revision was made.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was written.
    pub fn change_l2_status(
        &mut self,
        namespace: &str,
        name: &str,
        change: &L2StatusChange,
    ) -> Result<bool, StoreError> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let key = Key { kind: Kind::ServiceL2Status, namespace, name };
        let current = self.get(&key).map(|object| object.metadata().clone());
        match (change, current) {
            (L2StatusChange::Create(_), Some(_)) => Err(StoreError::Conflict),
            (L2StatusChange::Create(subject), None) => {
                let mut object = ServiceL2Status::default();
                object.metadata.namespace = Some(key.namespace);
                object.metadata.name = Some(key.name);
                object.metadata.labels = Some(subject.to_labels());
                Ok(self.apply(Object::L2Status(Arc::new(object))))
            }
            (_, None) => Err(StoreError::NotFound),
            (L2StatusChange::Write { content, since, resource_version }, Some(current)) => {
                if current.resource_version.as_ref() != Some(resource_version) {
                    return Err(StoreError::Conflict);
                }
                let since = since.clone().unwrap_or(EPOCH);
                Ok(self.write_status(&key, |object| {
                    let Object::L2Status(object) = object else { return };
                    Arc::make_mut(object).status = Some(content.to_status(since));
                }))
            }
            (L2StatusChange::Delete { uid }, Some(current)) => {
                if uid.is_some() && current.uid != *uid {
                    return Err(StoreError::Conflict);
                }
                Ok(self.delete(&key))
            }
        }
    }

    /// Replaces an object's status by `edit`. Returns whether it changed.
    pub fn write_status(&mut self, key: &Key, edit: impl FnOnce(&mut Object)) -> bool {
        let Some(old) = self.get(key) else { return false };
        let mut new = old.clone();
        edit(&mut new);
        if new == *old {
            return false;
        }
        self.commit(key.clone(), Some(new));
        true
    }

    fn commit(&mut self, key: Key, mut object: Option<Object>) {
        self.revision += 1;
        if let Some(object) = &mut object {
            object.metadata_mut().resource_version = Some(self.revision.to_string());
        }
        let version = Version { revision: self.revision, object };
        self.versions.entry(key.clone()).or_default().push(version);
        self.changes.push(Change { revision: self.revision, key });
    }

    /// Gives a Service the cluster IP that the API server would.
    fn default_cluster_ip(&mut self, object: &mut Object, old: Option<&Object>) {
        let Object::Service(service) = object else { return };
        let service = Arc::make_mut(service);
        let spec = service.spec.get_or_insert_default();
        if spec.cluster_ip.is_some() || spec.cluster_ips.is_some() {
            return;
        }
        let kept = match old {
            Some(Object::Service(old)) => old.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()),
            _ => None,
        };
        let address = kept.unwrap_or_else(|| {
            self.cluster_ips = self.cluster_ips.wrapping_add(1);
            format!("10.96.0.{}", self.cluster_ips)
        });
        spec.cluster_ips = Some(vec![address.clone()]);
        spec.cluster_ip = Some(address);
        spec.ip_families.get_or_insert_with(|| vec!["IPv4".to_owned()]);
    }

    /// The addresses that stand in any Service's status.
    #[must_use]
    pub fn assigned(&self) -> BTreeSet<IpAddr> {
        let services = self.services().map(ferrolb_api::Service::from);
        services.flat_map(|service| service.ingress_ips().collect::<Vec<_>>()).collect()
    }
}

/// A user's manifest does not name the annotations that the controller wrote,
/// and applying it does not take them away.
fn keep_allocation(new: &mut BTreeMap<String, String>, old: Option<&BTreeMap<String, String>>) {
    for key in [IP_ALLOCATED_FROM_POOL, LOST_ADDRESSES] {
        if let Some(value) = old.and_then(|old| old.get(key)) {
            new.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nginx() -> Object {
        let value = json!({
            "metadata": {"namespace": "default", "name": "nginx"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        });
        Object::from_json(Kind::Service, value).expect("a Service")
    }

    fn uid_and_version(store: &Store) -> (String, String) {
        let metadata = store.get(&nginx().key()).expect("it was applied").metadata().clone();
        (metadata.uid.expect("the store gives one"), metadata.resource_version.expect("the store gives one"))
    }

    #[test]
    fn s16_a_write_from_an_older_object_is_refused() {
        let mut store = Store::default();
        assert!(store.apply(nginx()));
        let key = nginx().key();
        let (uid, first) = uid_and_version(&store);
        let address: IpAddr = [172, 16, 16, 101].into();
        assert_eq!(store.write_service(&key, &uid, &first, &[address], Some("p"), None), Ok(true));
        assert_eq!(store.assigned(), BTreeSet::from([address]));
        assert_eq!(store.write_service(&key, &uid, &first, &[], None, None), Err(StoreError::Conflict));
        assert_eq!(store.write_service(&key, "other", &first, &[], None, None), Err(StoreError::NotFound));
        let (_, second) = uid_and_version(&store);
        assert_eq!(
            store.write_service(&key, &uid, &second, &[address], Some("p"), None),
            Ok(false),
            "no change"
        );
        assert_eq!(store.revision(), 2, "and so no revision");
    }

    #[test]
    fn applying_again_keeps_status_and_cluster_ip() {
        let mut store = Store::default();
        store.apply(nginx());
        let (uid, version) = uid_and_version(&store);
        let address: IpAddr = [172, 16, 16, 101].into();
        store
            .write_service(&nginx().key(), &uid, &version, &[address], Some("p"), None)
            .expect("nobody was faster");
        assert!(!store.apply(nginx()), "the same manifest changes nothing");
        assert_eq!(store.assigned(), BTreeSet::from([address]));
    }

    #[test]
    fn older_revisions_can_be_read() {
        let mut store = Store::default();
        store.apply(nginx());
        assert!(store.delete(&nginx().key()));
        assert!(!store.delete(&nginx().key()));
        assert_eq!(store.list(Kind::Service, 1).count(), 1);
        assert_eq!(store.list(Kind::Service, 2).count(), 0);
    }
}
