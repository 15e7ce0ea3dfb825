//! Which interfaces are never used (D42, D43): MetalLB's `excludel2.yaml`.

use std::io;
use std::path::{Path, PathBuf};

use regex::RegexSet;
use serde::Deserialize;

/// Where the manifests mount it (G40).
pub const PATH: &str = "/etc/metallb/excludel2.yaml";

/// Patterns of interface names that are left out.
#[derive(Clone, Debug, Default)]
pub struct ExcludeList {
    patterns: Option<RegexSet>,
}

/// Why the file cannot be used; MetalLB exits with 1 then, and so do we.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// It is there but cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can be read but not used.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ContentError,
    },
}

/// What is wrong in the file.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It is not YAML of the expected form.
    #[error("{0}")]
    Yaml(Box<dyn std::error::Error + Send + Sync>),
    /// One of the patterns is no regular expression.
    #[error("announcedInterfacesToExclude: {0}")]
    Pattern(#[from] regex::Error),
}

/// The file's content; keys we do not know are none of our business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    announced_interfaces_to_exclude: Option<Vec<String>>,
}

impl ExcludeList {
    /// Reads the file; a missing one excludes nothing (D43).
    ///
    /// # Errors
    /// If it is there and cannot be read, is no such YAML, or has a bad pattern.
    pub fn load(path: &Path) -> Result<Self, ExcludeError> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                Self::parse(&text).map_err(|source| ExcludeError::Content { path: path.to_owned(), source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ExcludeError::Read { path: path.to_owned(), source }),
        }
    }

    /// Whether interfaces of this name are left out: any pattern matches
    /// anywhere in it, unless it is anchored.
    #[must_use]
    pub fn matches(&self, interface: &str) -> bool {
        self.patterns.as_ref().is_some_and(|patterns| patterns.is_match(interface))
    }

    /// Reads the file's text; empty text excludes nothing.
    ///
    /// # Errors
    /// If it is no such YAML, or has a bad pattern.
    pub fn parse(text: &str) -> Result<Self, ContentError> {
        let file: Option<File> =
            serde_saphyr::from_str(text).map_err(|error| ContentError::Yaml(Box::new(error)))?;
        let patterns = file.and_then(|file| file.announced_interfaces_to_exclude).unwrap_or_default();
        Ok(Self { patterns: Some(RegexSet::new(patterns)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G120: the list that MetalLB ships.
    const SHIPPED: &str = "announcedInterfacesToExclude: \
        ['^docker.*', '^cbr.*', '^dummy.*', '^virbr.*', '^lxcbr.*', '^veth.*', '^lo$', '^cali.*', '^tunl.*', \
        '^flannel.*', '^kube-ipvs.*', '^cni.*', '^nodelocaldns.*', '^lxc.*']";

    #[test]
    fn d43_unanchored_alternatives() {
        for (text, name, excluded) in [
            (SHIPPED, "eth0", false),
            (SHIPPED, "lo", true),
            (SHIPPED, "lo0", false),
            (SHIPPED, "cali12345", true),
            (SHIPPED, "veth0a1b", true),
            (SHIPPED, "myveth", false),
            ("announcedInterfacesToExclude: [veth]", "myveth0", true),
            ("announcedInterfacesToExclude: [veth, 'eth[12]']", "eth2", true),
            ("announcedInterfacesToExclude: [veth, 'eth[12]']", "eth0", false),
            ("announcedInterfacesToExclude: []", "eth0", false),
            ("announcedInterfacesToExclude:", "eth0", false),
            ("", "eth0", false),
            ("# nothing\n", "eth0", false),
            ("{}", "eth0", false),
            ("somethingElse: [eth0]", "eth0", false),
        ] {
            let list = ExcludeList::parse(text).expect("a good file");
            assert_eq!(list.matches(name), excluded, "{name} with {text}");
        }
    }

    #[test]
    fn d43_bad_content_is_an_error() {
        for (text, is_pattern) in [
            ("announcedInterfacesToExclude: ['(']", true),
            ("announcedInterfacesToExclude: eth0", false),
            ("announcedInterfacesToExclude: [", false),
            ("- a list", false),
        ] {
            let error = ExcludeList::parse(text).expect_err("bad content");
            assert_eq!(matches!(error, ContentError::Pattern(_)), is_pattern, "{text}: {error}");
        }
    }

    #[test]
    fn d43_an_unreadable_file_is_an_error_that_names_it() {
        let error = ExcludeList::load(Path::new("/proc/self")).expect_err("a directory");
        assert!(error.to_string().contains("/proc/self"), "{error}");
    }

    #[test]
    fn d43_missing_file_excludes_nothing() {
        let list = ExcludeList::load(Path::new("/nonexistent/excludel2.yaml")).expect("missing is fine");
        assert!(!list.matches("eth0"));
    }
}
