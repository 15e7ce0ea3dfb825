//! The objects of a watch as they now stand.

use std::collections::BTreeMap;
use std::collections::btree_map::Values;

use super::{Change, ObjectKey, Undecodable};

/// Folds changes into a table ordered by namespace and name. An object that
/// cannot be read keeps its last readable version.
#[derive(Clone, Debug)]
pub struct Table<V> {
    objects: BTreeMap<ObjectKey, V>,
    undecodable: BTreeMap<ObjectKey, Undecodable>,
    is_listed: bool,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), undecodable: BTreeMap::new(), is_listed: false }
    }
}

impl<V: Clone + PartialEq> Table<V> {
    /// Takes a change in, and says whether anything is different now. The
    /// first list always is.
    pub fn apply(&mut self, change: Change<V>) -> bool {
        match change {
            Change::List(seen) => {
                let last = std::mem::take(self);
                self.is_listed = true;
                for entry in seen {
                    // What cannot be read starts from what was known of it.
                    if entry.object.is_err() {
                        let known = last.objects.get(&entry.key).cloned();
                        self.objects.extend(known.map(|object| (entry.key.clone(), object)));
                        let problem = last.undecodable.get(&entry.key).cloned();
                        self.undecodable.extend(problem.map(|problem| (entry.key.clone(), problem)));
                    }
                    self.put(entry.key, entry.object);
                }
                !last.is_listed || self.objects != last.objects || self.undecodable != last.undecodable
            }
            Change::Applied(seen) => self.put(seen.key, seen.object),
            Change::Deleted(key) => {
                let was_readable = self.objects.remove(&key).is_some();
                self.undecodable.remove(&key).is_some() || was_readable
            }
        }
    }

    fn put(&mut self, key: ObjectKey, object: Result<V, Undecodable>) -> bool {
        match object {
            Ok(object) => {
                let was_undecodable = self.undecodable.remove(&key).is_some();
                if self.objects.get(&key) == Some(&object) {
                    return was_undecodable;
                }
                self.objects.insert(key, object);
                true
            }
            Err(problem) => {
                if self.undecodable.get(&key) == Some(&problem) {
                    return false;
                }
                let ObjectKey { namespace, name } = &key;
                tracing::warn!(
                    op = "watch",
                    namespace,
                    name,
                    error = problem.error,
                    "an object cannot be read"
                );
                self.undecodable.insert(key, problem);
                true
            }
        }
    }

    /// Whether the first list has come.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The objects in their last readable version, by namespace and name.
    pub fn objects(&self) -> Values<'_, ObjectKey, V> {
        self.objects.values()
    }

    /// The objects that cannot be read now, and why.
    pub fn undecodable(&self) -> impl Iterator<Item = (&ObjectKey, &Undecodable)> {
        self.undecodable.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::*;

    fn seen(name: &str, object: Result<u32, &str>) -> Seen<u32> {
        let object = object.map_err(|error| Undecodable { generation: 1, error: error.to_owned() });
        Seen { key: key(name), object }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: String::new(), name: name.to_owned() }
    }

    #[test]
    fn says_whether_anything_is_different() {
        let mut table = Table::default();
        for (change, is_different, objects) in [
            (Change::List(Vec::new()), true, vec![]),
            (Change::List(Vec::new()), false, vec![]),
            (Change::Applied(seen("b", Ok(1))), true, vec![1]),
            (Change::Applied(seen("b", Ok(1))), false, vec![1]),
            (Change::Applied(seen("a", Ok(2))), true, vec![2, 1]),
            (Change::List(vec![seen("b", Ok(1)), seen("a", Ok(2))]), false, vec![2, 1]),
            (Change::Applied(seen("a", Err("bad"))), true, vec![2, 1]),
            (Change::Applied(seen("a", Err("bad"))), false, vec![2, 1]),
            (Change::List(vec![seen("b", Ok(1)), seen("a", Err("bad"))]), false, vec![2, 1]),
            (Change::Applied(seen("a", Ok(2))), true, vec![2, 1]),
            (Change::Deleted(key("a")), true, vec![1]),
            (Change::Deleted(key("a")), false, vec![1]),
            (Change::List(vec![seen("c", Ok(3))]), true, vec![3]),
        ] {
            let name = format!("{change:?}");
            assert_eq!(table.apply(change), is_different, "{name}");
            assert_eq!(table.objects().copied().collect::<Vec<_>>(), objects, "{name}");
        }
        assert!(table.is_listed());
    }
}
