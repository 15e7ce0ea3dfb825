//! The part of kustomize that the simulator knows: resources, components, `namespace:` and merge patches of custom
//! resources. What else would change an object that is simulated is refused, not passed over.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::lab::api::manifests::{ManifestError, Manifests, Origin};
use crate::lab::api::objects::{Kind, Object};
use crate::lab::api::yaml;

/// Keys of a kustomization that change nothing that the simulator looks at.
const HARMLESS_KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "images",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "buildMetadata",
    "sortOptions",
    "generatorOptions",
    "configMapGenerator",
    "secretGenerator",
];

#[derive(Deserialize)]
struct Kustomization {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    components: Vec<String>,
    namespace: Option<String>,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Patch {
    path: Option<String>,
    patch: Option<String>,
    target: Option<Value>,
}

impl Manifests {
    /// Reads what the kustomization in `file`, which lies in `dir`, puts together.
    pub(super) fn add_kustomization(
        &mut self,
        dir: &Path,
        file: &Path,
        depth: u32,
    ) -> Result<(), ManifestError> {
        let text = read(file)?;
        let kustomization: Kustomization = yaml::from_str(&text).map_err(|fault| not_yaml(file, fault))?;
        if let Some(key) = kustomization.rest.keys().find(|key| !HARMLESS_KEYS.contains(&key.as_str())) {
            return Err(unsupported(file, format!("the key {key:?}")));
        }
        let first = self.objects.len();
        for resource in kustomization.resources.iter().chain(&kustomization.components) {
            if resource.contains("://") || resource.starts_with("github.com/") {
                self.notes.push(format!("{}: {resource} is not on this disk; skipped", file.display()));
            } else {
                self.add(&dir.join(resource), depth + 1)?;
            }
        }
        kustomization.patches.iter().try_for_each(|patch| self.apply_patch(dir, file, first, patch))?;
        if let Some(namespace) = &kustomization.namespace {
            for manifest in &mut self.objects[first..] {
                if !matches!(manifest.object.kind(), Kind::Namespace | Kind::Node) {
                    manifest.object.metadata_mut().namespace = Some(namespace.clone());
                }
            }
        }
        Ok(())
    }

    /// Applies a patch to the objects from `first` on.
    fn apply_patch(
        &mut self,
        dir: &Path,
        file: &Path,
        first: usize,
        patch: &Patch,
    ) -> Result<(), ManifestError> {
        if let Some(target) = &patch.target {
            let kinds = target.get("kind").and_then(Value::as_str).unwrap_or(".*");
            let mut words = kinds.split(|c: char| !c.is_ascii_alphanumeric());
            let is_literal = kinds.chars().all(|c| c.is_ascii_alphanumeric() || "(|)".contains(c));
            return match !is_literal || words.any(|word| simulated(word).is_some()) {
                true => Err(unsupported(file, format!("a patch whose target is {kinds}"))),
                false => Ok(()),
            };
        }
        let text = match (&patch.path, &patch.patch) {
            (Some(path), _) => read(&dir.join(path))?,
            (None, Some(text)) => text.clone(),
            (None, None) => return Err(unsupported(file, "a patch without path and patch".to_owned())),
        };
        for document in yaml::documents(&text) {
            let value: Value = yaml::from_str(&document.text).map_err(|fault| not_yaml(file, fault))?;
            let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (kind, name) = (text("/kind"), text("/metadata/name"));
            let Some(known) = simulated(&kind) else { continue };
            let mut objects = self.objects[first..].iter_mut().map(|manifest| &mut manifest.object);
            let found = objects.find(|object| {
                object.kind() == known && object.metadata().name.as_deref() == Some(name.as_str())
            });
            let what = || unsupported(file, format!("a patch of {kind} {name}"));
            let object = found.ok_or_else(what)?;
            *object = patched(object, &value).ok_or_else(what)?;
        }
        Ok(())
    }
}

/// A custom resource with a patch merged into it; `None` for other kinds, whose lists kustomize merges by key.
fn patched(object: &Object, patch: &Value) -> Option<Object> {
    let mut value = match object {
        Object::Pool(pool) => serde_json::to_value(pool.as_ref()).ok()?,
        Object::Advertisement(advertisement) => serde_json::to_value(advertisement.as_ref()).ok()?,
        _ => return None,
    };
    merge(&mut value, patch);
    Object::from_json(object.kind(), value).ok()
}

/// RFC 7386: objects are merged, `null` takes away, all else replaces.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (key, new) in patch {
        if new.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), new);
        }
    }
}

fn simulated(kind: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|known| known.as_str() == kind)
}

fn read(path: &Path) -> Result<String, ManifestError> {
    fs::read_to_string(path).map_err(|cause| ManifestError::Unreadable { path: path.to_owned(), cause })
}

fn not_yaml(file: &Path, fault: yaml::Fault) -> ManifestError {
    let origin = Origin { file: file.to_owned(), line: fault.line };
    ManifestError::NotYaml { origin, message: fault.message }
}

fn unsupported(file: &Path, what: String) -> ManifestError {
    ManifestError::Unsupported { path: file.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_of_a_pool_is_applied() {
        let overlays = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays"));
        let read = Manifests::read(&overlays.join("talos-reserved")).expect("our own overlay");
        let pools: Vec<&Object> = read.of_kind(Kind::IPAddressPool).collect();
        let [Object::Pool(pool)] = pools.as_slice() else { panic!("one pool: {pools:?}") };
        assert_eq!(pool.spec.reservations.len(), 2);
        assert!(!pool.spec.addresses.is_empty(), "the rest stays");
    }

    #[test]
    fn merging_is_that_of_rfc_7386() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut value, &json!({"a": {"b": null, "e": {"f": 3}}, "d": [4]}));
        assert_eq!(value, json!({"a": {"c": 2, "e": {"f": 3}}, "d": [4]}));
    }

    #[test]
    fn what_would_change_a_simulated_object_is_applied_or_refused() {
        let dir = std::env::temp_dir().join(format!("netsim-kustomize-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for the test");
        let pool = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p}\nspec: {addresses: [10.0.0.0/24]}\n";
        fs::write(dir.join("pool.yaml"), pool).expect("the directory is ours");
        for (rest, expected) in [
            ("namePrefix: x-\n", Some("the key \"namePrefix\"")),
            (
                "patches: [{target: {kind: IPAddressPool}, patch: '[]'}]\n",
                Some("a patch whose target is IPAddressPool"),
            ),
            ("patches: [{target: {name: p}, patch: '[]'}]\n", Some("a patch whose target is .*")),
            (
                "patches: [{patch: '{kind: IPAddressPool, metadata: {name: q}}'}]\n",
                Some("a patch of IPAddressPool q"),
            ),
            ("patches: [{target: {kind: (Deployment|DaemonSet)}, patch: '[]'}]\n", None),
            ("namespace: elsewhere\n", None),
        ] {
            fs::write(dir.join("kustomization.yaml"), format!("resources: [pool.yaml]\n{rest}"))
                .expect("it is ours");
            let read = Manifests::read(&dir).map_err(|error| error.to_string());
            match expected {
                Some(what) => assert!(read.is_err_and(|error| error.contains(what)), "{rest}"),
                None => {
                    let read = read.expect(rest);
                    let namespace = read.objects[0].object.metadata().namespace.clone();
                    let expected = if rest.starts_with("namespace") { "elsewhere" } else { "default" };
                    assert_eq!(namespace.as_deref(), Some(expected));
                }
            }
        }
        fs::remove_dir_all(&dir).expect("it is ours");
    }
}
