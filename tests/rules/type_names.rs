//! One name, one thing: a type that is visible outside of its module has a name of its own in the whole workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::tree::{is_test, read, rust_files, shown, without_unit_tests};

/// Names that two or more types have, and why.
const SHARED: &[(&[&str], &str)] = &[
    (
        &["Effect", "EventReason", "Input", "Notice", "Settings"],
        "both cores are driven by the same three functions; whoever uses both names the crate",
    ),
    (&["Args", "ArgsError"], "each program has its command line"),
    (&["BGPPeerSpec"], "two versions of one kind, each in the module of its version"),
    (&["Namespace", "Node"], "what Kubernetes calls so, and what stands for one in a test or a simulation"),
    (
        &["Wire"],
        "where frames go: the speaker's room for all that it says there, and a cable of the simulator",
    ),
];

/// Names that are still to be told apart. None may be added.
const OPEN: &[&str] = &[
    "Action",
    "Arp",
    "Candidate",
    "Change",
    "Endpoints",
    "Fault",
    "Gate",
    "Gossip",
    "Kind",
    "Link",
    "Message",
    "Object",
    "ObjectKey",
    "Outcome",
    "Prepared",
    "Process",
    "Program",
    "Report",
    "Seen",
    "Standing",
    "Stream",
    "Subject",
    "Summary",
    "Undecodable",
    "Watch",
    "Writes",
];

#[test]
fn each_visible_type_has_a_name_of_its_own() {
    let mut files = BTreeMap::<String, BTreeSet<String>>::new();
    for file in rust_files().iter().filter(|file| !is_test(file)) {
        for name in visible_types(without_unit_tests(&read(file))) {
            files.entry(name).or_default().insert(shown(file));
        }
    }
    assert!(files.len() > 300, "only {} types: is the tree where this test looks?", files.len());
    let is_shared =
        |name: &str| OPEN.contains(&name) || SHARED.iter().any(|(names, _)| names.contains(&name));
    let doubles = files.iter().filter(|(name, files)| files.len() > 1 && !is_shared(name));
    let doubles: Vec<String> = doubles.map(|(name, files)| format!("{name}: {files:?}")).collect();
    assert!(doubles.is_empty(), "{} names stand for two things:\n{}", doubles.len(), doubles.join("\n"));
}

#[test]
fn visible_types_are_found() {
    let source =
        "pub struct A;\npub(crate) enum B {}\n    pub(in crate::x) trait C {}\nstruct D;\npub use e::E;\n";
    assert_eq!(visible_types(source).collect::<Vec<_>>(), ["A", "B", "C"]);
}

fn visible_types(source: &str) -> impl Iterator<Item = String> {
    static TYPE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^\s*pub(?:\([^)]*\))? (?:unsafe )?(?:struct|enum|union|trait|type) (\w+)")
            .expect("it is a pattern")
    });
    TYPE.captures_iter(source).map(|found| found[1].to_owned())
}
