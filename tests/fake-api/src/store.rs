//! The objects, their one revision, and the history that watches replay.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use crate::fields::FieldOwners;

/// Where an object lies: group, plural, namespace (empty if it has none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Location {
    /// Whether the object is of this kind and in this namespace, if one is given.
    pub(crate) fn is_in(&self, group: &str, plural: &str, namespace: Option<&str>) -> bool {
        self.group == group
            && self.plural == plural
            && namespace.is_none_or(|wanted| self.namespace == wanted)
    }
}

/// An object and who set which of its fields.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) object: Arc<Value>,
    pub(crate) owners: FieldOwners,
}

/// One committed write.
#[derive(Clone, Debug)]
pub(crate) struct CommittedWrite {
    pub(crate) revision: u64,
    pub(crate) at: Instant,
    pub(crate) key: Location,
    pub(crate) old: Option<Arc<Value>>,
    /// The object after the write; a deleted one carries the revision of its deletion.
    pub(crate) object: Arc<Value>,
    pub(crate) deleted: bool,
}

/// Everything that would be in etcd.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectStore {
    revision: u64,
    compacted: u64,
    objects: BTreeMap<Location, Stored>,
    history: Vec<CommittedWrite>,
}

impl ObjectStore {
    /// The revision of the latest write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes up to and including this revision can no longer be watched.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets, for watches and continue tokens, everything up to now.
    pub(crate) fn compact(&mut self) {
        // A revision of its own: who stands at the latest write is behind now.
        self.revision += 1;
        self.compacted = self.revision;
    }

    pub(crate) fn get(&self, key: &Location) -> Option<&Stored> {
        self.objects.get(key)
    }

    /// Every object of a kind as it stood at `revision`, by namespace and name.
    pub(crate) fn list(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> BTreeMap<Location, Arc<Value>> {
        let wanted = |key: &Location| key.is_in(group, plural, namespace);
        let mut objects: BTreeMap<_, _> = self
            .objects
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, stored)| (key.clone(), stored.object.clone()))
            .collect();
        for change in self.history.iter().rev().take_while(|change| change.revision > revision) {
            if wanted(&change.key) {
                match &change.old {
                    Some(old) => objects.insert(change.key.clone(), old.clone()),
                    None => objects.remove(&change.key),
                };
            }
        }
        objects
    }

    /// The writes after `revision`, oldest first.
    pub(crate) fn changes_after(&self, revision: u64) -> &[CommittedWrite] {
        let from = self.history.partition_point(|change| change.revision <= revision);
        &self.history[from..]
    }

    /// Writes an object under a new revision and returns it as it now stands.
    pub(crate) fn put(&mut self, key: Location, mut object: Value, owners: FieldOwners) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let old = self.objects.insert(key.clone(), Stored { object: object.clone(), owners });
        self.record(key, old.map(|stored| stored.object), object.clone(), false);
        object
    }

    /// Removes an object; the last state returned carries the revision of the removal.
    pub(crate) fn remove(&mut self, key: &Location) -> Option<Arc<Value>> {
        let old = self.objects.remove(key)?.object;
        self.revision += 1;
        let mut last = Value::clone(&old);
        last["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let last = Arc::new(last);
        self.record(key.clone(), Some(old), last.clone(), true);
        Some(last)
    }

    fn record(&mut self, key: Location, old: Option<Arc<Value>>, object: Arc<Value>, deleted: bool) {
        let at = Instant::now();
        self.history.push(CommittedWrite { revision: self.revision, at, key, old, object, deleted });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Location {
        Location { group: String::new(), plural: "things".into(), namespace: "ns".into(), name: name.into() }
    }

    #[test]
    fn the_past_can_be_listed() {
        let mut store = ObjectStore::default();
        store.put(key("a"), json!({"v": 1}), FieldOwners::default());
        store.put(key("b"), json!({"v": 1}), FieldOwners::default());
        store.put(key("a"), json!({"v": 2}), FieldOwners::default());
        store.remove(&key("b"));
        let seen = |revision| {
            store
                .list("", "things", None, revision)
                .iter()
                .map(|(key, object)| format!("{}{}", key.name, object["v"]))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!([0, 1, 2, 3, 4].map(seen), ["", "a1", "a1 b1", "a2 b1", "a2"]);
        assert_eq!(store.changes_after(2).len(), 2);
        assert_eq!(store.changes_after(3)[0].object["metadata"]["resourceVersion"], "4");
    }
}
