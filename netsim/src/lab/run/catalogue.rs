//! The named scenarios: the files in `netsim/scenarios/`, which are built into the program.

use std::io;
use std::path::Path;

use crate::lab::api::manifests::{ManifestError, Manifests};
use crate::lab::run::scenario::Scenario;
use crate::lab::run::scenario_file;

/// The standard scenario, and the one that a sweep runs if none is named.
pub const STANDARD: &str = "failover";

/// What `netsim` shows if it is not told what to do.
pub const DEMONSTRATION: &str = "demo";

/// Every file below `netsim/scenarios/` by its path there, and its text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// Every named scenario, by name.
///
/// # Panics
/// If a file that is built into the program is not valid; a test reads them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let files = FILES.iter().filter(|(path, _)| !path.contains('/'));
    files.map(|(path, text)| parsed(path, text)).collect()
}

/// The scenario of this name.
///
/// # Panics
/// As [`all`].
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    let path = format!("{name}.yaml");
    Some(parsed(&path, text(&path)?))
}

/// The Service that is used where the manifests hold none: nginx on port 80.
///
/// # Errors
/// Never, as long as the file is valid.
pub fn default_service() -> Result<Manifests, ManifestError> {
    manifests("objects/nginx.yaml")
}

fn parsed(path: &str, text: &str) -> Scenario {
    let scenario = scenario_file::parse(Path::new(path), text, &manifests);
    scenario.unwrap_or_else(|error| panic!("netsim/scenarios: {error}"))
}

fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}

fn manifests(file: &str) -> Result<Manifests, ManifestError> {
    let path = Path::new(file);
    match text(file) {
        Some(text) => Manifests::parse(path, text),
        None => {
            let cause = io::ErrorKind::NotFound.into();
            Err(ManifestError::Unreadable { path: path.to_owned(), cause })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::api::objects::Kind;

    #[test]
    fn every_scenario_is_valid_described_and_named_as_its_file() {
        for (path, text) in FILES.iter().filter(|(path, _)| !path.contains('/')) {
            let scenario = parsed(path, text);
            assert_eq!(format!("{}.yaml", scenario.name), *path);
            let length = scenario.description.len();
            assert!((1..=100).contains(&length), "{path}: the description has {length} characters");
        }
        assert!(named(STANDARD).is_some() && named(DEMONSTRATION).is_some());
        assert!(named("no-such-thing").is_none());
    }

    #[test]
    fn the_default_service_is_one_service() {
        let nginx = default_service().expect("it is YAML");
        assert_eq!(nginx.of_kind(Kind::Service).count(), 1);
    }
}
