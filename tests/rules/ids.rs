//! The ids that comments and tests cite: each has one row, and what users read has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;

use crate::compatibility::{ids_of, tests_in};
use crate::tree::{is_test, read, root, rust_files, shown, without_unit_tests};

/// The pages whose tables explain ids.
const EXPLAINED_IN: [&str; 3] = ["docs/rules.md", "docs/compatibility.md", "docs/deviations.md"];

/// What looks like an id and is none: the families of addresses as Rust names them, and a curve.
const NO_IDS: [&str; 3] = ["V4", "V6", "P256"];

/// A word that looks like an id.
static ID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|[\s(\x22`'\[|])([A-Z][0-9]{1,3}[a-z]?)(?:$|[\s):;,.\x22`'\]|?!])")
        .expect("it is a pattern")
});

#[test]
fn each_id_has_one_row_and_each_that_is_cited_has_one() {
    let mut rows = BTreeMap::<String, Vec<&str>>::new();
    for page in EXPLAINED_IN {
        for line in read(&root().join(page)).lines() {
            let first = line.strip_prefix("| ").and_then(|line| line.split(" |").next()).unwrap_or_default();
            if ID.captures(first).is_some_and(|id| id[1] == *first) {
                rows.entry(first.to_owned()).or_default().push(page);
            }
        }
    }
    assert!(rows.len() > 450, "only {} ids are explained: are the pages read rightly?", rows.len());
    // What differs by design names rules that have their row elsewhere.
    let twice = rows.iter().filter(|(_, pages)| pages.len() > 1 && **pages != EXPLAINED_IN[1..]);
    let mut problems: Vec<String> =
        twice.map(|(id, pages)| format!("{id} has two rows: {pages:?}")).collect();
    for file in rust_files() {
        let text = read(&file);
        let mut cited = cited(&text);
        for test in tests_in(&text) {
            // A range may have gaps.
            let ends = |id: &String| test.split('_').any(|word| word.eq_ignore_ascii_case(id));
            cited.extend(ids_of(&test).into_iter().filter(ends));
        }
        let unknown: BTreeSet<String> =
            cited.into_iter().filter(|id| !rows.contains_key(id) && !NO_IDS.contains(&id.as_str())).collect();
        problems.extend(unknown.into_iter().map(|id| format!("{}: {id} has no row", shown(&file))));
    }
    assert!(problems.is_empty(), "{EXPLAINED_IN:?}:\n{}", problems.join("\n"));
}

#[test]
fn what_users_read_has_no_ids() {
    let mut problems = Vec::new();
    for file in pages_of_users() {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        problems.extend(cited(&text).into_iter().map(|id| format!("{}: {id}", shown(&file))));
    }
    for file in rust_files().iter().filter(|file| is_shipped(file)) {
        for line in texts_of_users(without_unit_tests(&read(file))) {
            problems.extend(cited(&line).into_iter().map(|id| format!("{}: {id} in {line}", shown(file))));
        }
    }
    assert!(problems.is_empty(), "rules have no names that a user knows:\n{}", problems.join("\n"));
}

#[test]
fn ids_are_found() {
    let found = |text| cited(text).into_iter().collect::<Vec<_>>();
    assert_eq!(found("(C33, D20): S4; \"W7\" L10."), ["C33", "D20", "L10", "S4", "W7"]);
    assert_eq!(found("Role::A1 IpAddr::V4 AB12 U+00A0 02:00:A1 fd00::A1 X1234 C69a"), ["C69a"]);
    let source = "/// C1\n#[derive(Debug, Parser)]\nstruct A {\n    /// Help C2.\n    // C3\n}\n/// C4\n\
        let text = \"C5 \"; // C6 \"C7\"\n";
    assert_eq!(texts_of_users(source), ["Help C2.", "C5 "]);
}

/// The ids in a text.
fn cited(text: &str) -> BTreeSet<String> {
    // What stands between two ids belongs to both.
    let apart = text.replace([' ', '\n'], "  ");
    ID.captures_iter(&apart).map(|id| id[1].to_owned()).collect()
}

/// What people read who run Ferrolb: pages that are not for maintainers, and manifests.
fn pages_of_users() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs"), root().join("manifests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the tree is readable").flatten() {
            let path = entry.path();
            let is_page = path.extension().is_some_and(|end| end == "md" || end == "yaml");
            if path.is_dir() {
                folders.push(path);
            } else if is_page && !shown(&path).starts_with("docs/rules/") {
                pages.push(path);
            }
        }
    }
    pages.retain(|page| !EXPLAINED_IN.contains(&shown(page).as_str()));
    assert!(pages.len() > 20, "only {pages:?} were read");
    pages
}

/// Whether a source belongs to what is installed.
fn is_shipped(file: &std::path::Path) -> bool {
    let folders = ["api/", "controller/", "shell/", "speaker/"];
    folders.iter().any(|folder| shown(file).starts_with(folder)) && !is_test(file)
}

/// What a source says to users: string literals, and the help of its flags.
fn texts_of_users(source: &str) -> Vec<String> {
    static STRING: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#""((?:[^"\\]|\\.)*)""#).expect("it is a pattern"));
    let mut texts = Vec::new();
    let mut flags = false;
    for line in source.lines() {
        if line.starts_with("#[derive(") {
            flags = ["Parser", "Args", "Subcommand"].iter().any(|derive| line.contains(derive));
        }
        flags &= line != "}";
        if let Some(help) = line.trim_start().strip_prefix("/// ") {
            texts.extend(flags.then(|| help.to_owned()));
        } else {
            let code = line.split("//").next().unwrap_or_default();
            texts.extend(STRING.captures_iter(code).map(|text| text[1].to_owned()));
        }
    }
    texts
}
