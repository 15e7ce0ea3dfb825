//! The tree as it lies there: its files and their text.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust source of the workspace, in order.
pub(crate) fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for top in ["api", "benches", "controller", "speaker", "netsim", "shell", "tests", "fuzz"] {
        collect(&root().join(top), &mut files);
    }
    files.sort();
    assert!(files.len() > 30, "found only {} source files: is the tree where this test looks?", files.len());
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The pages that explain the tree.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
        .iter()
        .map(|page| root().join(page))
        .collect();
    for entry in fs::read_dir(root().join("docs")).expect("docs/ is there").flatten() {
        pages.extend(Some(entry.path()).filter(|page| page.extension().is_some_and(|end| end == "md")));
    }
    assert!(pages.len() > 5, "only {pages:?} were found");
    pages
}

/// Whether all of it is for tests.
pub(crate) fn is_test(file: &Path) -> bool {
    let shown = shown(file);
    shown.starts_with("tests/")
        && !shown.starts_with("tests/fake-api/src/")
        && !shown.starts_with("tests/kube-apiserver/src/")
        && !shown.starts_with("tests/src/")
        || shown.ends_with("tests.rs")
        || shown.contains("/tests/")
}

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Its path from there.
pub(crate) fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// Its text.
pub(crate) fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The lines of `text` before its first inline test module.
pub(crate) fn without_unit_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}
