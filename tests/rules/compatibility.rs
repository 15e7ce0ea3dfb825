//! docs/compatibility.md and docs/deviations.md: their tables are made of docs/rules/*.yaml and of the tests in the tree.
//!
//! A test belongs to the rules whose ids its name begins with, and to those that name it in their `tests`. This is the
//! only writer of the tables: `UPDATE_DOCS=1 cargo test -p tests --test rules compatibility`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Every rule of MetalLB's behaviour. Numbers are never used again, so there are gaps.
const RULES: &str = "A1-3 A10-20 A25-34 A40-45 A50-60 A70-74 B1-18 B20-29 B40-51 C1-8 C10-28 C30-38 C40-48 \
    C50-56 C60-69 C69a C69b C70-74 C80-84 D1-6 D6a D6b D7-9 D9a D10-15 D20-24 D30 D40-48 D50-58 D60-66 D70-77 \
    D80-83 E1-15 E20-26 E30-37 F1-6 F6a F7-13 F20-31 F40-43 G1-21 G30-40 G45-51 G60-68 G70-73 G75-85 G87-92 \
    G100-104 G110-115 G120-127";

/// The items of MetalLB's own end-to-end checklist that concern layer 2 and assignment. None of them may be open.
const CHECKLIST: &str = "H1-34 H40-58";

/// What its unit tests look at, as far as a test of ours cites it.
const UNIT_TESTS: &str = "H61 H71-75 H77 H79 H82-83 H90 H93-101 H110-111 H113-122 H135-136";

/// The weaknesses of MetalLB's code.
const WEAKNESSES: &str = "W1-51";

const COMPATIBILITY: &str = "docs/compatibility.md";
const DEVIATIONS: &str = "docs/deviations.md";

/// A row of docs/rules/metallb.yaml. It is proven if it is neither a deviation nor open.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
    says: String,
    /// Why Ferrolb does otherwise.
    deviation: Option<String>,
    /// What is missing.
    open: Option<String>,
    /// Tests that prove it and whose names do not begin with its id.
    #[serde(default)]
    tests: Vec<String>,
}

/// docs/rules/deviations.yaml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviations {
    weaknesses: Vec<Weakness>,
    by_design: Vec<Choice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weakness {
    id: String,
    what: String,
    /// `fixed`, `kept` or `later`, each with more behind it where need be.
    state: String,
    how: String,
    #[serde(default)]
    tests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    rule: String,
    metallb: String,
    ferrolb: String,
    #[serde(default)]
    tests: Vec<String>,
}

/// Every test of the tree.
#[derive(Default)]
struct Tests {
    /// The files of each, by its name.
    files: BTreeMap<String, BTreeSet<String>>,
    /// The names that begin with an id, by that.
    names: BTreeMap<String, BTreeSet<String>>,
}

#[test]
fn compatibility_has_each_rule_once_and_its_state() {
    let rules: Vec<Rule> = load("docs/rules/metallb.yaml");
    let checklist = ids(CHECKLIST);
    let expected = ids(&[RULES, CHECKLIST, UNIT_TESTS].join(" "));
    let tests = Tests::of_the_tree();
    let mut problems = differences(&expected, rules.iter().map(|rule| &rule.id));
    for rule in &rules {
        if rule.deviation.is_some() && rule.open.is_some() {
            problems.push(format!("{} is a deviation and open", rule.id));
        }
        if rule.open.is_some() {
            problems.push(format!("{} is open: nothing proves it and no decision excuses it", rule.id));
        }
        if rule.deviation.is_none() && tests.of(&rule.id, &rule.tests).is_empty() {
            problems.push(format!("{}: no test begins with its id, and it names none", rule.id));
        }
        if checklist.contains(&rule.id)
            && (rule.deviation.is_some() || tests.by_id(&rule.id).next().is_none())
        {
            problems.push(format!("{}: an item of the checklist is proven by a test of its name", rule.id));
        }
        problems.extend(tests.problems(&rule.id, &rule.tests));
    }
    assert!(problems.is_empty(), "docs/rules/metallb.yaml:\n{}", problems.join("\n"));
}

#[test]
fn deviations_has_each_weakness_once_and_its_state() {
    let all: Deviations = load("docs/rules/deviations.yaml");
    let tests = Tests::of_the_tree();
    let mut problems = differences(&ids(WEAKNESSES), all.weaknesses.iter().map(|weakness| &weakness.id));
    for Weakness { id, state, tests: named, .. } in &all.weaknesses {
        if !["fixed", "kept", "later"].iter().any(|known| state.starts_with(known)) {
            problems.push(format!("{id}: neither fixed nor kept nor later: {state}"));
        }
        if state.starts_with("fixed") && tests.of(id, named).is_empty() {
            problems.push(format!("{id} is fixed, and no test shows it"));
        }
        problems.extend(tests.problems(id, named));
    }
    for choice in &all.by_design {
        problems.extend(tests.problems("", &choice.tests));
    }
    assert!(problems.is_empty(), "docs/rules/deviations.yaml:\n{}", problems.join("\n"));
}

/// Not a test of the tables' contents but of the pages' being made from them.
#[test]
fn compatibility_and_deviations_are_up_to_date() {
    let tests = Tests::of_the_tree();
    let rules: Vec<Rule> = load("docs/rules/metallb.yaml");
    let compatibility = with_tables(&read(COMPATIBILITY), &rule_tables(&rules, &tests));
    write_or_compare(COMPATIBILITY, &with_counts(&compatibility, &rules));
    let deviations: Deviations = load("docs/rules/deviations.yaml");
    write_or_compare(DEVIATIONS, &with_tables(&read(DEVIATIONS), &deviation_tables(&deviations, &tests)));
}

#[test]
fn ids_of_a_test_are_those_its_name_begins_with() {
    for (expected, name) in [
        (&["C1", "H10"][..], "c1_h10_x"),
        (&["C69a", "W33"], "c69a_w33_a_service"),
        (&["H45", "H46", "H47"], "h45_to_h47_pools"),
        (&["A14"], "a14_a_b1_is_no_id_of_it"),
        (&[], "no_c1"),
        (&["D4"], "d4_to_e6_makes_no_range"),
    ] {
        assert_eq!(ids_of(name), expected, "{name}");
    }
}

#[test]
fn tests_are_found_in_a_source() {
    let source = "/// Says.\n#[test]\nfn c1_a() {\n}\nfn c1_helper() {}\n    #[tokio::test(start_paused = true)]\n    \
        async fn c2_b() {\n#[cfg(test)]\nmod tests {}\n    (\"c3_case\", case),\n  Trial::test(\"c4_d\", || 1)\n\
        #[test]\n#[ignore = \"slow\"]\nfn c5_e() -> X {\n";
    assert_eq!(tests_in(source), ["c1_a", "c2_b", "c3_case", "c4_d", "c5_e"]);
}

#[test]
fn tables_are_replaced_where_they_stand() {
    let page = "one\n\n| a |\n| - |\n\ntwo\n\n| b |\n";
    assert_eq!(
        with_tables(page, &["| c |\n".to_owned(), "| d |\n".to_owned()]),
        "one\n\n| c |\n\ntwo\n\n| d |\n"
    );
}

impl Tests {
    fn of_the_tree() -> Self {
        let mut all = Self::default();
        let mut folders = vec![at("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the tree is readable").flatten() {
                let path = entry.path();
                let name = entry.file_name().into_string().expect("names are UTF-8");
                if path.is_dir() {
                    if name != "target" && !name.starts_with('.') {
                        folders.push(path);
                    }
                } else if name.ends_with(".rs") {
                    let shown = path.strip_prefix(at("")).expect("it lies below").display().to_string();
                    for test in tests_in(&fs::read_to_string(&path).expect("sources are readable")) {
                        for id in ids_of(&test) {
                            all.names.entry(id).or_default().insert(test.clone());
                        }
                        all.files.entry(test).or_default().insert(shown.clone());
                    }
                }
            }
        }
        let found = all.files.len();
        assert!(found > 500, "only {found} tests: is the tree where this test looks?");
        all
    }

    /// The tests whose names begin with the id.
    fn by_id(&self, id: &str) -> impl Iterator<Item = &str> {
        self.names.get(id).into_iter().flatten().map(String::as_str)
    }

    /// Those, and those that are named, by file.
    fn of<'a>(&'a self, id: &str, named: &'a [String]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let mut by_file = BTreeMap::<&str, BTreeSet<&str>>::new();
        for name in self.by_id(id).chain(named.iter().map(String::as_str)) {
            for file in self.files.get(name).into_iter().flatten() {
                by_file.entry(file).or_default().insert(name);
            }
        }
        by_file
    }

    /// As a cell of a table.
    fn cell(&self, id: &str, named: &[String]) -> String {
        let files = self.of(id, named).into_iter().map(|(file, names)| {
            let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
            format!("{} ({file})", names.join(", "))
        });
        files.collect::<Vec<_>>().join(", ")
    }

    /// What is wrong with the names that a row gives.
    fn problems(&self, id: &str, named: &[String]) -> Vec<String> {
        let mut problems = Vec::new();
        for name in named {
            if !self.files.contains_key(name) {
                problems.push(format!("{id}: there is no test {name}"));
            } else if ids_of(name).iter().any(|each| each == id) {
                problems.push(format!("{id}: {name} is found by its name; leave it out"));
            }
        }
        problems
    }
}

/// The ids that the name of a test begins with: one by one, or a range as in `h45_to_h49_pools`.
pub(crate) fn ids_of(test: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut last = None;
    let mut words = test.split('_').peekable();
    while let Some(word) = words.next() {
        if let Some((letter, value, suffix)) = parts(word) {
            ids.push(format!("{letter}{value}{suffix}"));
            last = Some((letter, value));
            continue;
        }
        match (word, &last, words.peek().and_then(|next| parts(next))) {
            ("to", Some((letter, first)), Some((same, end, ""))) if *letter == same => {
                ids.extend((first + 1..=end).map(|value| format!("{letter}{value}")));
                words.next();
            }
            _ => break,
        }
    }
    ids
}

/// Letter, number and suffix of an id, as in `c69a`.
fn parts(word: &str) -> Option<(String, u32, &str)> {
    let (letter, rest) = word.split_at_checked(1)?;
    let digits = rest.trim_end_matches(|end: char| end.is_ascii_lowercase());
    let is_id = letter.starts_with(|first: char| first.is_ascii_lowercase()) && rest.len() - digits.len() < 2;
    Some((letter.to_uppercase(), digits.parse().ok().filter(|_| is_id)?, &rest[digits.len()..]))
}

/// The names of the tests in a source: functions with the attribute, and cases that a harness is given by name (of more
/// than one word).
pub(crate) fn tests_in(source: &str) -> Vec<String> {
    static TEST: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
        r"(?m)#\[(?:tokio::)?test\b[^\n]*\]\n(?:\s*(?:#\[|//)[^\n]*\n)*\s*(?:pub )?(?:async )?fn (\w+)|\(\s*\x22([a-z0-9]+_[a-z0-9_]+)\x22, ",
    )
    .expect("it is a pattern")
    });
    let names = TEST.captures_iter(source).filter_map(|found| found.get(1).or(found.get(2)));
    names.map(|name| name.as_str().to_owned()).collect()
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

/// What of the expected ids has no row, more than one, or is not expected.
fn differences<'a>(expected: &BTreeSet<String>, found: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut rows = BTreeMap::<&String, usize>::new();
    for id in found {
        *rows.entry(id).or_default() += 1;
    }
    let mut problems = Vec::new();
    problems.extend(expected.iter().filter(|id| !rows.contains_key(id)).map(|id| format!("{id} has no row")));
    problems
        .extend(rows.iter().filter(|(_, rows)| **rows > 1).map(|(id, rows)| format!("{id} has {rows} rows")));
    problems.extend(rows.keys().filter(|id| !expected.contains(**id)).map(|id| format!("{id} is no rule")));
    problems
}

/// One table for each letter, in the order of the letters.
fn rule_tables(rules: &[Rule], tests: &Tests) -> Vec<String> {
    let mut tables = Vec::new();
    for rules in rules.chunk_by(|one, next| one.id[..1] == next.id[..1]) {
        let mut table = if rules[0].id.starts_with('H') {
            "| item | what is looked at | state |\n| --- | --- | --- |\n".to_owned()
        } else {
            "| rule | what it says | state |\n| --- | --- | --- |\n".to_owned()
        };
        for Rule { id, says, deviation, open, tests: named } in rules {
            let proof = tests.cell(id, named);
            let reason = deviation.as_ref().map(|why| format!("deviation: {why}"));
            let reason = reason.or(open.as_ref().map(|what| format!("open: {what}")));
            let state = match (reason, proof.is_empty()) {
                (None, _) => proof,
                (Some(reason), true) => reason,
                (Some(reason), false) => format!("{reason}; {proof}"),
            };
            writeln!(table, "| {id} | {says} | {state} |").expect("strings take all");
        }
        tables.push(table);
    }
    tables
}

/// The weaknesses, and what differs by design.
fn deviation_tables(all: &Deviations, tests: &Tests) -> Vec<String> {
    let mut weaknesses =
        "| weakness | what it is | state | how, or why | proven by |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for Weakness { id, what, state, how, tests: named } in &all.weaknesses {
        let proof = tests.cell(id, named);
        writeln!(weaknesses, "| {id} | {what} | {state} | {how} | {proof} |").expect("strings take all");
    }
    let mut choices = "| rule | MetalLB | Ferrolb | proven by |\n| --- | --- | --- | --- |\n".to_owned();
    for Choice { rule, metallb, ferrolb, tests: named } in &all.by_design {
        let proof = tests.cell("", named);
        writeln!(choices, "| {rule} | {metallb} | {ferrolb} | {proof} |").expect("strings take all");
    }
    vec![weaknesses, choices]
}

/// The page with its tables replaced, in their order.
fn with_tables(page: &str, tables: &[String]) -> String {
    let mut text = String::new();
    let mut tables = tables.iter();
    let mut is_table = false;
    for line in page.split_inclusive('\n') {
        let begins = line.starts_with('|') && !is_table;
        is_table = line.starts_with('|');
        if begins {
            text.push_str(tables.next().expect("a page has no other tables"));
        } else if !is_table {
            text.push_str(line);
        }
    }
    assert!(tables.next().is_none(), "a page has a place for each table");
    text
}

/// The page with its line of counts replaced.
fn with_counts(page: &str, rules: &[Rule]) -> String {
    let rules: Vec<&Rule> = rules.iter().filter(|rule| !rule.id.starts_with('H')).collect();
    let deviations = rules.iter().filter(|rule| rule.deviation.is_some()).count();
    let open = rules.iter().filter(|rule| rule.open.is_some()).count();
    let (total, proven) = (rules.len(), rules.len() - deviations - open);
    let counts = format!("{total} rules: {proven} proven, {deviations} deviations, {open} open.");
    let lines = page.lines().map(|line| if line.contains(" rules: ") { &counts } else { line });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn write_or_compare(page: &str, expected: &str) {
    let found = read(page);
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(at(page), expected).unwrap_or_else(|error| panic!("{page}: {error}"));
        return;
    }
    let line = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    let (found, expected) = line.unwrap_or(("", "more lines, or fewer"));
    panic!(
        "{page} is not what docs/rules/ and the tests of the tree make of it; write it with\n    \
         UPDATE_DOCS=1 cargo test -p tests --test rules compatibility\nthere is: {found}\nexpected: {expected}"
    );
}

fn load<T: DeserializeOwned>(path: &str) -> T {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A path from the root of the tree.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
