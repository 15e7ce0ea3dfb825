//! Server-side apply: merging what is applied, and who owns what afterwards.

use serde_json::Value;

use crate::error::{Cause, Refusal};
use crate::fields::{
    FieldOwners, FieldSet, ListType, Manager, Path, Shape, below, changed, display, get, item_key, leaves,
    remove,
};
use crate::kinds::Kind;

/// The object and its owners after `manager` has applied `applied` to `live`.
///
/// # Errors
/// 409 with a cause for each field that another manager owns with another
/// value, unless `force`.
pub(crate) fn apply(
    kind: &Kind,
    live: &Value,
    owners: &FieldOwners,
    applied: &Value,
    manager: &Manager,
    force: bool,
) -> Result<(Value, FieldOwners), Refusal> {
    let shape = Shape::new(kind);
    let wanted = leaves(&shape, applied);
    let mut merged = live.clone();
    merge(&shape, &mut merged, applied, "");
    let conflicts = conflicts(&shape, live, &merged, owners, &wanted, manager);
    if !conflicts.is_empty() && !force {
        return Err(refuse(kind, applied, &conflicts));
    }
    let mut owners = owners.clone();
    for (owner, path) in &conflicts {
        if let Some(fields) = owners.get_mut(owner) {
            fields.remove(path);
        }
    }
    let before = owners.remove(manager).unwrap_or_default();
    for path in before.difference(&wanted) {
        // A leaf that is a container now stays for what is in it.
        let mut kept = owners.values().flatten().chain(&wanted);
        if !kept.any(|kept| kept.starts_with(path)) {
            remove(&shape, &mut merged, path);
        }
    }
    owners.insert(manager.clone(), wanted);
    owners.retain(|_, fields| !fields.is_empty());
    Ok((merged, owners))
}

/// The owners after a write that was no apply: what it changed is the writer's.
pub(crate) fn take_over(
    kind: &Kind,
    old: &Value,
    new: &Value,
    owners: &FieldOwners,
    manager: &Manager,
) -> FieldOwners {
    let shape = Shape::new(kind);
    let taken = changed(&shape, old, new);
    let present = leaves(&shape, new);
    let mut owners = owners.clone();
    for (owner, fields) in &mut owners {
        fields.retain(|path| present.contains(path) && (owner == manager || !taken.contains(path)));
    }
    owners.entry(manager.clone()).or_default().extend(taken);
    owners.retain(|_, fields| !fields.is_empty());
    owners
}

/// The fields that applying would change although another manager owns them.
fn conflicts(
    shape: &Shape<'_>,
    live: &Value,
    merged: &Value,
    owners: &FieldOwners,
    wanted: &FieldSet,
    manager: &Manager,
) -> Vec<(Manager, Path)> {
    let changed = wanted.iter().filter(|path| get(shape, live, path) != get(shape, merged, path));
    changed
        .flat_map(|path| {
            let others =
                owners.iter().filter(move |(owner, fields)| *owner != manager && fields.contains(path));
            others.map(move |(owner, _)| (owner.clone(), path.clone()))
        })
        .collect()
}

fn refuse(kind: &Kind, applied: &Value, conflicts: &[(Manager, Path)]) -> Refusal {
    let causes: Vec<_> = conflicts
        .iter()
        .map(|(owner, path)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with \"{}\"", owner.name),
            field: display(path),
        })
        .collect();
    let name = applied["metadata"]["name"].as_str().unwrap_or_default();
    let why = format!("Apply failed with {} conflict(s)", causes.len());
    Refusal::conflict(&kind.qualified(), name, &why).because(&causes)
}

fn merge(shape: &Shape<'_>, live: &mut Value, applied: &Value, at: &str) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !shape.map_is_atomic(at) => {
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(member) => merge(shape, member, value, &below(at, name)),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) => match shape.list(at) {
            ListType::Atomic => live.clone_from(applied),
            ListType::Set => {
                let new: Vec<_> = applied.iter().filter(|item| !live.contains(item)).cloned().collect();
                live.extend(new);
            }
            ListType::Keyed(keys) => {
                for item in applied {
                    let key = item_key(item, &keys);
                    match live.iter_mut().find(|item| item_key(item, &keys) == key) {
                        Some(member) => merge(shape, member, item, &format!("{at}[]")),
                        None => live.push(item.clone()),
                    }
                }
            }
        },
        (live, applied) => live.clone_from(applied),
    }
}
