//! What `kubectl kustomize` makes of the directories under manifests/, as far as ours use it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use json_patch::{Patch, PatchOperation};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

/// The directory with all manifests.
#[must_use]
pub fn manifests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

/// The objects in a YAML file.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn objects(path: &Path) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// What kustomize makes of a directory.
///
/// # Panics
/// If a file is missing or uses what this does not know.
#[must_use]
pub fn render(dir: &Path) -> Vec<Value> {
    accumulate(dir, Vec::new())
}

/// The same with a component added to it.
///
/// # Panics
/// If a file is missing or uses what this does not know.
#[must_use]
pub fn render_with(dir: &Path, component: &Path) -> Vec<Value> {
    accumulate(component, render(dir))
}

/// `Kind name`.
#[must_use]
pub fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The objects by [`name_of`].
///
/// # Panics
/// If two have one name.
#[must_use]
pub fn by_name(objects: &[Value]) -> BTreeMap<String, Value> {
    let named: BTreeMap<_, _> = objects.iter().map(|object| (name_of(object), object.clone())).collect();
    assert_eq!(named.len(), objects.len(), "two objects have one name");
    named
}

/// The part of kustomize that our kustomizations use; any other key is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    components: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<Generator>,
    #[serde(default)]
    common_annotations: BTreeMap<String, String>,
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    patches: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Change {
    /// Merge patches, each of the object that it names.
    File { path: String },
    /// A JSON patch of all objects that match.
    Operations { target: Target, patch: String },
}

/// Regular expressions of the whole text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_tag: String,
}

/// A ConfigMap of files, each as `key=path`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    namespace: String,
    files: Vec<String>,
    options: GeneratorOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GeneratorOptions {
    disable_name_suffix_hash: bool,
    labels: BTreeMap<String, String>,
}

/// Adds the directory's objects to those it is a component of.
fn accumulate(dir: &Path, mut rendered: Vec<Value>) -> Vec<Value> {
    let file = dir.join("kustomization.yaml");
    let kustomization: Kustomization =
        serde_saphyr::from_str(&text(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for resource in &kustomization.resources {
        let path = dir.join(resource);
        rendered.extend(if path.is_dir() { render(&path) } else { objects(&path) });
    }
    for component in &kustomization.components {
        rendered = accumulate(&dir.join(component), rendered);
    }
    rendered.extend(kustomization.config_map_generator.iter().map(|generator| config_map(dir, generator)));
    for change in &kustomization.patches {
        apply(change, dir, &mut rendered);
    }
    for object in &mut rendered {
        set_images(object, &kustomization.images);
        for (key, value) in &kustomization.common_annotations {
            object["metadata"]["annotations"][key] = json!(value);
        }
    }
    rendered
}

fn config_map(dir: &Path, generator: &Generator) -> Value {
    assert!(generator.options.disable_name_suffix_hash, "{}: its name would change", generator.name);
    let mut data = serde_json::Map::new();
    for file in &generator.files {
        let (key, path) = file.split_once('=').unwrap_or((file, file));
        data.insert(key.to_owned(), json!(text(&dir.join(path))));
    }
    let metadata = json!({
        "name": generator.name, "namespace": generator.namespace, "labels": generator.options.labels,
    });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
}

fn apply(change: &Change, dir: &Path, rendered: &mut [Value]) {
    match change {
        Change::File { path } => {
            for patch in objects(&dir.join(path)) {
                let patched = rendered.iter_mut().find(|object| name_of(object) == name_of(&patch));
                let patched = patched.unwrap_or_else(|| panic!("{} is not there", name_of(&patch)));
                merge(patched, &patch);
            }
        }
        Change::Operations { target, patch } => {
            let operations: Vec<Value> = serde_saphyr::from_str(patch).expect("a patch is YAML");
            let operation = |value| serde_json::from_value::<PatchOperation>(value).expect("it is one");
            let patch = Patch(operations.into_iter().map(operation).collect());
            let target = format!("^(?:{}) (?:{})$", target.kind, target.name);
            let target = Regex::new(&target).expect("kind and name are regular expressions");
            for object in rendered.iter_mut().filter(|object| target.is_match(&name_of(object))) {
                json_patch::patch(object, &patch)
                    .unwrap_or_else(|error| panic!("{}: {error}", name_of(object)));
            }
        }
    }
}

/// A merge patch (RFC 7396), which is what kustomize does to custom resources.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in fields {
        merge(&mut object[key.as_str()], value);
    }
}

fn set_images(object: &mut Value, images: &[Image]) {
    let containers = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let image = images.iter().find(|image| container["image"] == json!(image.name));
        if let Some(Image { name, new_tag }) = image {
            container["image"] = json!(format!("{name}:{new_tag}"));
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
