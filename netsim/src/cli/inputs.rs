//! What the command line names: seeds and manifests.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::lab::api::manifests::Manifests;
use crate::lab::api::objects::{Kind, Object};

/// Where the manifests are if nobody says otherwise, from the workspace's root.
const DEFAULT_MANIFESTS: &str = "manifests/overlays/talos";
/// The Service that goes with them, beside the overlays.
const EXAMPLE: &str = "examples/nginx.yaml";

/// `A..B`, the last not included; `A` alone is that one.
pub(super) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let fault = || format!("{text:?} is no range of seeds like 0..1000");
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| fault());
    let range = match text.split_once("..") {
        Some((first, last)) => number(first)?..number(last)?,
        None => number(text)?..number(text)?.saturating_add(1),
    };
    if range.is_empty() {
        Err(format!("{text:?} is empty; the last seed is not included"))
    } else {
        Ok(range)
    }
}

/// How many virtual seconds go into a second: none at all times, or so many that
/// a run ends in somebody's lifetime.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    const SLOWEST: f64 = 0.001;
    match text.parse::<f64>() {
        Ok(speed) if speed == 0.0 || (speed.is_finite() && speed >= SLOWEST) => Ok(speed),
        _ => Err(format!("write 0, for as fast as possible, or a number from {SLOWEST}")),
    }
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:+=@%,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Reads the manifests; if they hold no Service, the example beside them.
pub(super) fn manifests(given: Option<&Path>) -> anyhow::Result<Manifests> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => default_manifests()?,
    };
    let mut manifests = Manifests::read(&path)?;
    let is_balanced = |object: &Object| match object {
        Object::Service(service) => {
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
        }
        _ => false,
    };
    if !manifests.of_kind(Kind::Service).any(is_balanced) {
        let example = path.ancestors().map(|dir| dir.join(EXAMPLE)).find(|file| file.is_file());
        if let Some(example) = example {
            let example = Manifests::read(&example)?;
            manifests.objects.extend(example.objects);
            manifests.notes.extend(example.notes);
        }
    }
    Ok(manifests)
}

/// Below the current directory, or in the workspace that cargo runs us from.
fn default_manifests() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(DEFAULT_MANIFESTS);
    let workspace = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let there = workspace.and_then(|package| Some(package.parent()?.join(DEFAULT_MANIFESTS)));
    let found = [Some(here), there].into_iter().flatten().find(|path| path.is_dir());
    found.with_context(|| {
        format!("there is no {DEFAULT_MANIFESTS} here; name the manifests with --manifests DIR")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        for (word, expected) in
            [("a/b-1.yaml", "a/b-1.yaml"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn seeds_are_half_open() {
        assert_eq!(seeds("0..1000"), Ok(0..1000));
        assert_eq!(seeds("7"), Ok(7..8));
        for text in ["", "a..b", "5..5", "9..3", "1..", "-1..2"] {
            seeds(text).expect_err(text);
        }
    }
}
