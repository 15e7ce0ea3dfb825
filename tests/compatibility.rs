//! docs/compatibility.md and docs/deviations.md: that no rule is missing, and that what they name exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every rule of MetalLB's behaviour that the page must speak of. Numbers are never used again, so there are gaps.
const RULES: &str = "A1-3 A10-20 A25-34 A40-45 A50-60 A70-74 B1-18 B20-29 B40-51 C1-8 C10-28 C30-38 C40-48 \
    C50-56 C60-69 C69a C69b C70-74 C80-84 D1-6 D6a D6b D7-9 D9a D10-15 D20-24 D30 D40-48 D50-58 D60-66 D70-77 \
    D80-83 E1-15 E20-26 E30-37 F1-6 F6a F7-13 F20-31 F40-43 G1-21 G30-40 G45-51 G60-68 G70-73 G75-85 G87-92 \
    G100-104 G110-115 G120-127";

/// The items of MetalLB's own end-to-end checklist that concern layer 2 and assignment. None of them may be open.
const CHECKLIST: &str = "H1-34 H40-58";

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
    let rules = ids(RULES);
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
    assert_eq!(open, 0, "a rule that nothing proves and no decision excuses");
}

#[test]
fn every_item_of_the_checklist_is_proven_by_a_test_of_its_name() {
    let text = read(COMPATIBILITY);
    let items = ids(CHECKLIST);
    let mut found = BTreeSet::new();
    let mut problems = Vec::new();
    for (id, cell) in checklist_rows(&text) {
        if !items.contains(id) || !found.insert(id.to_owned()) {
            problems.push(format!("{id} has two rows, or is no item"));
        }
        if state(cell) != Some(State::Proven) {
            problems.push(format!("{id} is not proven: {cell}"));
        }
        let named = tests_named(cell);
        if !named.iter().any(|(name, _)| speaks_of(name, id)) {
            problems.push(format!("{id}: none of its tests has the id in its name"));
        }
    }
    problems.extend(items.difference(&found).map(|id| format!("{id} has no row")));
    assert!(problems.is_empty(), "{COMPATIBILITY}:\n{}", problems.join("\n"));
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
    assert!(speaks_of("c1_h10_x", "H10") && speaks_of("h45_to_h49_x", "H47") && speaks_of("h2_x", "H2"));
    assert!(!speaks_of("h10_x", "H1") && !speaks_of("h45_to_h49_x", "H50") && !speaks_of("c1_x", "H1"));
    assert!(is_test_of("    fn c1_x() {", "c1_x") && is_test_of("(\"c1_x\", run)", "c1_x"));
    assert!(!is_test_of("fn c1_xy() { c1_x() }", "c1_x"));
}

/// The ids of a list of ranges, one by one.
fn ids(ranges: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for range in ranges.split_whitespace() {
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

/// First and last cell of each row of a rule.
fn rows(text: &str) -> Vec<(&str, &str)> {
    all_rows(text).into_iter().filter(|(id, _)| !id.starts_with('H')).collect()
}

/// First and last cell of each row of the checklist.
fn checklist_rows(text: &str) -> Vec<(&str, &str)> {
    all_rows(text).into_iter().filter(|(id, _)| id.starts_with('H')).collect()
}

/// Whether the name of a test has the item's id: by itself, or in a range as in `h45_to_h49_pools`.
fn speaks_of(test: &str, id: &str) -> bool {
    let number = |word: &str| word.strip_prefix('h').and_then(|number| number.parse::<u32>().ok());
    let wanted = number(&id.to_lowercase());
    let words: Vec<&str> = test.split('_').collect();
    let is_in_range = |words: &[&str]| match words {
        [first, "to", last] => {
            matches!((number(first), wanted, number(last)), (Some(a), Some(b), Some(c)) if a <= b && b <= c)
        }
        _ => false,
    };
    words.iter().any(|word| wanted.is_some() && number(word) == wanted) || words.windows(3).any(is_in_range)
}

/// First and last cell of each row that begins with an id.
fn all_rows(text: &str) -> Vec<(&str, &str)> {
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
