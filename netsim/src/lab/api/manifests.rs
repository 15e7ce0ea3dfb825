//! Manifests from disk: what `kubectl apply -k DIR` would send, as far as the
//! simulator needs it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::api::objects::{Kind, Object};
use crate::lab::api::yaml;

/// Kinds that a manifest may hold and the simulator does without.
const SKIPPED: &[&str] = &[
    "BFDProfile",
    "BGPAdvertisement",
    "BGPPeer",
    "ClusterRole",
    "ClusterRoleBinding",
    "Community",
    "ConfigMap",
    "ConfigurationState",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "EnvoyProxy",
    "Gateway",
    "GatewayClass",
    "GitRepository",
    "HTTPRoute",
    "HelmRelease",
    "HelmRepository",
    "Ingress",
    "IngressClass",
    "IngressRoute",
    "Job",
    "LimitRange",
    "NetworkPolicy",
    "OCIRepository",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PodMonitor",
    "PriorityClass",
    "PrometheusRule",
    "ReplicaSet",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
    "ServiceL2Status",
    "ServiceMonitor",
    "StatefulSet",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Deepest nesting of kustomizations; a cycle is deeper.
const MAX_DEPTH: u32 = 16;

/// One object that the simulator applies.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Where it was read.
    pub origin: Origin,
    /// The object.
    pub object: Object,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line where the object begins, or where the fault is; from 1.
    pub line: usize,
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of the files.
    pub objects: Vec<Manifest>,
    /// What was left out, and why that is all right.
    pub notes: Vec<String>,
}

/// Why manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory is missing or cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is not YAML.
    #[error("{origin}: not YAML: {message}")]
    NotYaml {
        /// Where.
        origin: Origin,
        /// What the parser says.
        message: String,
    },
    /// A document is no Kubernetes object.
    #[error("{origin}: not a Kubernetes object: {message}")]
    NotAnObject {
        /// Where.
        origin: Origin,
        /// What is missing.
        message: String,
    },
    /// A document is of a kind that nobody here knows.
    #[error("{origin}: unknown kind {kind:?} ({api_version})")]
    UnknownKind {
        /// Where.
        origin: Origin,
        /// The kind.
        kind: String,
        /// Its `apiVersion`.
        api_version: String,
    },
    /// A field is missing or of the wrong type.
    #[error("{origin}: {kind} {name:?}: {message}")]
    BadField {
        /// Where the object begins.
        origin: Origin,
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A kustomization would change a simulated object in a way that is not known here.
    #[error("{path}: {what} is not simulated; give the output of `kubectl kustomize` instead")]
    Unsupported {
        /// The kustomization.
        path: PathBuf,
        /// What it says.
        what: String,
    },
    /// Kustomizations include each other for ever.
    #[error("{path}: kustomizations are nested more than {MAX_DEPTH} deep; do two include each other?")]
    TooDeep {
        /// Where it was noticed.
        path: PathBuf,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Manifests {
    /// Reads a directory (by its `kustomization.yaml`, or else all its YAML
    /// files in name order) or a single file.
    ///
    /// # Errors
    /// The first fault found, with file and line.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let mut manifests = Self::default();
        manifests.add(path, 0)?;
        Ok(manifests)
    }

    /// Reads objects from a text, as if it stood in `file`.
    ///
    /// # Errors
    /// The first fault found, with its line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ManifestError> {
        let mut manifests = Self::default();
        manifests.add_text(file, text)?;
        Ok(manifests)
    }

    /// The objects of one kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.iter().map(|manifest| &manifest.object).filter(move |object| object.kind() == kind)
    }

    pub(super) fn add(&mut self, path: &Path, depth: u32) -> Result<(), ManifestError> {
        if depth > MAX_DEPTH {
            return Err(ManifestError::TooDeep { path: path.to_owned() });
        }
        let unreadable = |cause| ManifestError::Unreadable { path: path.to_owned(), cause };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            let text = fs::read_to_string(path).map_err(unreadable)?;
            return self.add_text(path, &text);
        }
        for name in ["kustomization.yaml", "kustomization.yml", "Kustomization"] {
            let file = path.join(name);
            if file.is_file() {
                return self.add_kustomization(path, &file, depth);
            }
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            self.notes.push(format!("{} holds no YAML file", path.display()));
        }
        files.iter().try_for_each(|file| self.add(file, depth + 1))
    }

    fn add_text(&mut self, file: &Path, text: &str) -> Result<(), ManifestError> {
        for document in yaml::documents(text) {
            let at = |line| Origin { file: file.to_owned(), line };
            let value: Value = yaml::from_str(&document.text)
                .map_err(|fault| ManifestError::NotYaml { origin: at(fault.line), message: fault.message })?;
            self.add_value(&at(document.line), value)?;
        }
        Ok(())
    }

    fn add_value(&mut self, origin: &Origin, value: Value) -> Result<(), ManifestError> {
        if value.is_null() {
            return Ok(());
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let missing = |what: &str| ManifestError::NotAnObject {
            origin: origin.clone(),
            message: format!("it has no {what}"),
        };
        let kind = text("kind").ok_or_else(|| missing("kind"))?;
        let api_version = text("apiVersion").ok_or_else(|| missing("apiVersion"))?;
        if kind == "List" {
            let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            return items.into_iter().try_for_each(|item| self.add_value(origin, item));
        }
        let name = value.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        let name = name.ok_or_else(|| missing("metadata.name"))?;
        let Some(known) = Kind::ALL.into_iter().find(|known| known.as_str() == kind && *known != Kind::Pod)
        else {
            if SKIPPED.contains(&kind.as_str()) {
                self.notes.push(format!("{origin}: {kind} {name} is not simulated"));
                return Ok(());
            }
            return Err(ManifestError::UnknownKind { origin: origin.clone(), kind, api_version });
        };
        let mut object = Object::from_json(known, value).map_err(|error| ManifestError::BadField {
            origin: origin.clone(),
            kind: known.as_str(),
            name,
            message: error.to_string(),
        })?;
        if !matches!(known, Kind::Namespace | Kind::Node) {
            object.metadata_mut().namespace.get_or_insert_with(|| "default".to_owned());
        }
        self.objects.push(Manifest { origin: origin.clone(), object });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifests, ManifestError> {
        Manifests::parse(Path::new("config.yaml"), text)
    }

    const POOL: &str = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p}\n";

    #[test]
    fn reads_several_documents_and_skips_what_is_not_simulated() {
        let text = format!(
            "# a comment\n---\n{POOL}spec: {{addresses: [10.0.0.0/24]}}\n---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\n"
        );
        let read = parse(&text).expect("two good documents");
        assert_eq!(read.objects.len(), 1);
        assert_eq!(read.objects[0].origin.line, 3);
        assert_eq!(read.notes.len(), 1);
        assert!(read.notes[0].contains("Deployment d"), "{:?}", read.notes);
    }

    #[test]
    fn errors_name_file_line_and_fault() {
        for (text, expected) in [
            ("a: [1, 2\nb: 3\n", "config.yaml:"),
            ("kind: Service\n", "config.yaml:1: not a Kubernetes object: it has no apiVersion"),
            ("just words\n", "config.yaml:1: not a Kubernetes object: it has no kind"),
            (
                "apiVersion: v1\nkind: Service\n",
                "config.yaml:1: not a Kubernetes object: it has no metadata.name",
            ),
            (
                "---\napiVersion: metallb.io/v1beta1\nkind: IPAdressPool\nmetadata: {name: p}\n",
                "config.yaml:2: unknown kind \"IPAdressPool\" (metallb.io/v1beta1)",
            ),
            (POOL, "config.yaml:1: IPAddressPool \"p\": missing field `spec`"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_fault_in_a_later_document_has_its_own_line() {
        let text = format!("{POOL}spec: {{addresses: []}}\n---\nkind: [\n");
        let error = parse(&text).expect_err("the second document is broken").to_string();
        assert!(
            error.starts_with("config.yaml:6: not YAML") || error.starts_with("config.yaml:7: not YAML"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Manifests::read(Path::new("/nonexistent/overlay")).expect_err("it does not exist");
        assert!(error.to_string().starts_with("cannot read /nonexistent/overlay: "), "{error}");
    }
}
