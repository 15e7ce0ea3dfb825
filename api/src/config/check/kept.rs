//! Which version of a rejected object stays in force: the newer of that which this process
//! remembers and that which stands in the object's status.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::claims::Claims;
use super::{Advertisement, Config, Kind, Pool, Resources, read_advertisement, read_pool};
use crate::config::Version;
use crate::crd::{IPAddressPool, L2Advertisement, LastKnownGood};

/// A version that can stay in force.
pub(super) struct Kept<T> {
    /// What is made of it.
    pub(super) value: T,
    /// Where it comes from.
    pub(super) version: Version,
    /// Whether it stands in the object's status, where a restarted process finds it.
    pub(super) is_stored: bool,
}

/// The version of an object that is accepted.
pub(super) fn accepted(metadata: &ObjectMeta, spec: &impl Serialize) -> Version {
    let generation = metadata.generation.unwrap_or_default();
    let spec = serde_json::to_value(spec).unwrap_or_default();
    Version { uid: metadata.uid.clone(), source: LastKnownGood { generation, spec } }
}

/// The version of a rejected pool that can stay. It has the labels that the object has now, and
/// admits the Namespaces that there are now.
pub(super) fn pool(resources: &Resources, last: &Config, name: &str) -> Option<Kept<Pool>> {
    let object = resources.pools.iter().find(|pool| pool.metadata.name.as_deref() == Some(name));
    let status = object.and_then(|object| object.status.as_ref());
    let labels = labels(resources, last, name);
    let read = |source: &LastKnownGood| {
        let mut object = IPAddressPool::new(name, spec(source)?);
        object.metadata.labels = Some(labels.clone());
        let (pool, texts) = read_pool(&object, resources).ok()?;
        Claims::default().admit(&pool, &texts).ok()?;
        Some(pool)
    };
    let metadata = object.map(|object| &object.metadata);
    let stored = status.and_then(|status| status.last_known_good.as_ref());
    newest(metadata, stored, last.versions.get(&(Kind::IPAddressPool, name.to_owned())), read)
}

/// The version of a rejected advertisement that can stay.
pub(super) fn advertisement(resources: &Resources, last: &Config, name: &str) -> Option<Kept<Advertisement>> {
    let object = resources.l2_advertisements.iter().find(|ad| ad.metadata.name.as_deref() == Some(name));
    let status = object.and_then(|object| object.status.as_ref());
    let read = |source: &LastKnownGood| read_advertisement(&L2Advertisement::new(name, spec(source)?)).ok();
    let metadata = object.map(|object| &object.metadata);
    let stored = status.and_then(|status| status.last_known_good.as_ref());
    newest(metadata, stored, last.versions.get(&(Kind::L2Advertisement, name.to_owned())), read)
}

/// The labels of a pool; of one that cannot be read those that it had.
pub(super) fn labels(resources: &Resources, last: &Config, name: &str) -> BTreeMap<String, String> {
    let object = resources.pools.iter().find(|pool| pool.metadata.name.as_deref() == Some(name));
    let had = || last.pools.get(name).or_else(|| last.unusable_pools.get(name));
    let had = || had().map(|pool| pool.labels.clone()).unwrap_or_default();
    object.map_or_else(had, |object| object.metadata.labels.clone().unwrap_or_default())
}

/// The newer version that can be read. Of two with one number it is the stored one, which
/// every process sees. Of an earlier object of the same name nothing stays.
fn newest<T>(
    metadata: Option<&ObjectMeta>,
    stored: Option<&LastKnownGood>,
    remembered: Option<&Version>,
    read: impl Fn(&LastKnownGood) -> Option<T>,
) -> Option<Kept<T>> {
    let uid = metadata.and_then(|metadata| metadata.uid.as_ref());
    let is_same = |version: &&Version| uid.is_none() || version.uid.is_none() || version.uid.as_ref() == uid;
    let remembered = remembered.filter(is_same);
    let uid = uid.or_else(|| remembered?.uid.as_ref());
    let remembered = remembered.map(|version| &version.source);
    let is_newer = remembered.map(|source| source.generation) > stored.map(|source| source.generation);
    let order = if is_newer { [remembered, stored] } else { [stored, remembered] };
    order.into_iter().flatten().find_map(|source| {
        let version = Version { uid: uid.cloned(), source: source.clone() };
        Some(Kept { value: read(source)?, version, is_stored: stored == Some(source) })
    })
}

fn spec<T: DeserializeOwned>(source: &LastKnownGood) -> Option<T> {
    serde_json::from_value(source.spec.clone()).ok()
}
