//! docs/compatibility.md and docs/deviations.md: that no rule is missing, and that what they name exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every rule of MetalLB's behaviour that the page must speak of. Numbers are never used again, so there are gaps.
const RULES: &str = "A1-3 A10-20 A25-34 A40-45 A50-60 A70-74 B1-18 B20-29 B40-51 C1-8 C10-28 C30-38 C40-48 \
    C50-56 C60-69 C69a C69b C70-74 C80-84 D1-6 D6a D6b D7-9 D9a D10-15 D20-24 D30 D40-48 D50-58 D60-66 D70-77 \
    D80-83 E1-15 E20-26 E30-37 F1-6 F6a F7-13 F20-31 F40-43 G1-21 G30-40 G45-51 G60-68 G70-73 G75-85 G87-92 \
    G100-104 G110-115 G120-127";

/// Rules that nothing proves and no decision excuses. Lower it with every one that is done; never raise it.
const MAX_OPEN: usize = 35;

const COMPATIBILITY: &str = "docs/compatibility.md";
const DEVIATIONS: &str = "docs/deviations.md";

/// What the last column of a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Proven,
    Deviation,
    Open,
}

#[test]
fn every_rule_has_one_row() {
    let rules = rules();
    assert_eq!(rules.len(), 369, "the list of rules lost some");
    let text = read(COMPATIBILITY);
    let mut found = BTreeMap::<String, usize>::new();
    for (id, _) in rows(&text) {
        *found.entry(id.to_owned()).or_default() += 1;
    }
    let mut problems: Vec<String> = Vec::new();
    problems.extend(rules.iter().filter(|id| !found.contains_key(*id)).map(|id| format!("{id} has no row")));
    problems.extend(
        found.iter().filter(|(_, rows)| **rows > 1).map(|(id, rows)| format!("{id} has {rows} rows")),
    );
    problems.extend(found.keys().filter(|id| !rules.contains(*id)).map(|id| format!("{id} is no rule")));
    assert!(problems.is_empty(), "{COMPATIBILITY}:\n{}", problems.join("\n"));
}

#[test]
fn every_row_has_a_state_and_the_counts_are_right() {
    let text = read(COMPATIBILITY);
    let mut problems = Vec::new();
    let mut counts = BTreeMap::<State, usize>::new();
    for (id, cell) in rows(&text) {
        match state(cell) {
            Some(state) => *counts.entry(state).or_default() += 1,
            None => problems.push(format!("{id}: neither tests nor a deviation nor open: {cell}")),
        }
    }
    assert!(problems.is_empty(), "{COMPATIBILITY}:\n{}", problems.join("\n"));
    let count = |state| counts.get(&state).copied().unwrap_or_default();
    let (proven, deviations, open) = (count(State::Proven), count(State::Deviation), count(State::Open));
    let total = proven + deviations + open;
    let expected = format!("{total} rules: {proven} proven, {deviations} deviations, {open} open.");
    assert!(text.lines().any(|line| line == expected), "{COMPATIBILITY} must say: {expected}");
    assert!(open <= MAX_OPEN, "{open} rules are open, and there were {MAX_OPEN}: this only goes down");
}

#[test]
fn every_test_that_is_named_exists() {
    let mut problems = Vec::new();
    let mut sources = BTreeMap::<String, Option<String>>::new();
    for page in [COMPATIBILITY, DEVIATIONS] {
        let text = read(page);
        let named: Vec<(&str, &str)> =
            text.lines().filter(|line| line.starts_with('|')).flat_map(tests_named).collect();
        assert!(named.len() > 50, "{page} names {} tests: is it read rightly?", named.len());
        for (name, file) in named {
            let source = sources.entry(file.to_owned()).or_insert_with(|| fs::read_to_string(at(file)).ok());
            match source {
                None => problems.push(format!("{page}: there is no {file}")),
                Some(source) if !is_test_of(source, name) => {
                    problems.push(format!("{page}: {file} has no test {name}"));
                }
                Some(_) => {}
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn rows_are_read_rightly() {
    let two = "| C1 | says `x` (so) | `a_b`, `c` (x/y.rs), `d` (z.rs) |";
    assert_eq!(tests_named(two), [("c", "x/y.rs"), ("a_b", "x/y.rs"), ("d", "z.rs")]);
    assert_eq!(rows(two), [("C1", "`a_b`, `c` (x/y.rs), `d` (z.rs)")]);
    assert!(rows("| rule | what | state |\n| --- | --- | --- |\nC2 in prose").is_empty());
    for (cell, expected) in [
        ("`a` (x.rs), `b` (y.rs)", Some(State::Proven)),
        ("`a`", None),
        ("`a` (x.rs), and more", None),
        ("", None),
        ("deviation: by design", Some(State::Deviation)),
        ("deviation: ", None),
        ("open: no test", Some(State::Open)),
        ("open", None),
        ("later", None),
    ] {
        assert_eq!(state(cell), expected, "{cell:?}");
    }
    assert!(is_test_of("    fn c1_x() {", "c1_x") && is_test_of("(\"c1_x\", run)", "c1_x"));
    assert!(!is_test_of("fn c1_xy() { c1_x() }", "c1_x"));
}

/// The ids of [`RULES`], one by one.
fn rules() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for range in RULES.split_whitespace() {
        let (letter, numbers) = range.split_at(1);
        match numbers.split_once('-') {
            None => _ = all.insert(range.to_owned()),
            Some((first, last)) => {
                let number = |text: &str| text.parse::<u32>().expect("ranges are of numbers");
                all.extend((number(first)..=number(last)).map(|number| format!("{letter}{number}")));
            }
        }
    }
    all
}

/// First and last cell of each row that begins with an id.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let is_id = |cell: &str| {
        let mut letters = cell.chars();
        letters.next().is_some_and(|letter| letter.is_ascii_uppercase())
            && letters.next().is_some_and(|digit| digit.is_ascii_digit())
    };
    text.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .filter_map(|line| Some((line.split('|').next()?.trim(), line.rsplit('|').next()?.trim())))
        .filter(|(id, _)| is_id(id))
        .collect()
}

/// `None` if the cell says nothing that counts.
fn state(cell: &str) -> Option<State> {
    let says = |prefix: &str| cell.strip_prefix(prefix).is_some_and(|why| !why.trim().is_empty());
    if says("deviation:") {
        Some(State::Deviation)
    } else if says("open:") {
        Some(State::Open)
    } else {
        let is_list_of_tests = cell.starts_with('`') && cell.ends_with(".rs)");
        (is_list_of_tests && !tests_named(cell).is_empty()).then_some(State::Proven)
    }
}

/// Each test that a line names as `` `test`, `test` (file) ``, with its file.
fn tests_named(line: &str) -> Vec<(&str, &str)> {
    let mut named = Vec::new();
    for (at, _) in line.match_indices(" (") {
        let Some((file, _)) = line[at + 2..].split_once(')') else { continue };
        if !file.ends_with(".rs") {
            continue;
        }
        let mut before = &line[..at];
        while let Some((rest, name)) = before.strip_suffix('`').and_then(|open| open.rsplit_once('`')) {
            named.push((name, file));
            before = rest.strip_suffix(", ").unwrap_or_default();
        }
    }
    named
}

/// Whether `source` has a test of this name: a function, or a case that a harness of ours is given by name.
fn is_test_of(source: &str, name: &str) -> bool {
    source.contains(&format!("fn {name}(")) || source.contains(&format!("\"{name}\""))
}

fn read(page: &str) -> String {
    fs::read_to_string(at(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// A path from the root of the tree.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
