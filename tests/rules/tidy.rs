//! The rules of the tree that a compiler does not check (ARCHITECTURE.md, "Rules").

use regex::Regex;

use crate::tree::{is_test, pages, read, root, rust_files, shown, without_unit_tests};

/// Longest source file in lines, unit tests apart: past it a file has two purposes.
const MAX_FILE_LINES: usize = 500;
/// Longest function in lines, signature and braces included.
const MAX_FUNCTION_LINES: usize = 70;

/// Words that name a heap instead of a thing.
const BANNED_FILE_NAMES: &[&str] = &["manager", "helper", "helpers", "util", "utils", "common", "misc"];

#[test]
fn files_have_one_purpose() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let shown = shown(&file);
        if !text.trim_start_matches("#![no_main]\n").starts_with("//! ") {
            problems.push(format!("{shown}: the first line must be a `//!` that says what the file is for"));
        }
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if BANNED_FILE_NAMES.contains(&stem) {
            problems.push(format!("{shown}: name it after what it holds"));
        }
        if is_test(&file) {
            continue;
        }
        let lines = without_unit_tests(&text).lines().count();
        if lines > MAX_FILE_LINES {
            problems.push(format!("{shown}: {lines} lines, more than {MAX_FILE_LINES}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn functions_fit_on_a_screen() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        for (line, length, name) in functions(&text) {
            if length > MAX_FUNCTION_LINES {
                problems.push(format!("{}:{line}: {name} has {length} lines", shown(&file)));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn unsafe_code_lives_in_one_folder_and_says_why_it_is_sound() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !code.contains("unsafe {") && !code.contains("unsafe fn") && !code.contains("unsafe impl") {
                continue;
            }
            let shown = format!("{}:{}", shown(&file), index + 1);
            if !shown.starts_with("speaker/src/sys/") && !shown.starts_with("tests/rules/tidy.rs") {
                problems.push(format!("{shown}: unsafe code belongs under speaker/src/sys/"));
            }
            let above = &lines[index.saturating_sub(6)..index];
            if !above.iter().any(|line| line.contains("SAFETY:")) && !shown.starts_with("tests/rules/tidy.rs")
            {
                problems.push(format!("{shown}: no `// SAFETY:` above"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn cores_know_no_clock_thread_socket_or_hash_order() {
    const FORBIDDEN: &[&str] = &[
        "std::time::Instant",
        "SystemTime",
        "std::thread",
        "std::net::UdpSocket",
        "std::fs",
        "std::env",
        "HashMap",
        "HashSet",
        "static mut",
        "tokio",
        "kube::Client",
        "println!",
    ];
    let mut problems = Vec::new();
    for file in rust_files() {
        let shown = shown(&file);
        if !shown.starts_with("controller/core/src/") && !shown.starts_with("speaker/core/src/") {
            continue;
        }
        for (index, line) in read(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN.iter().filter(|word| code.contains(**word)) {
                problems.push(format!("{shown}:{}: {word}", index + 1));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn no_production_code_is_switched_for_tests() {
    let needle = ["feature = \"", "testing\""].concat();
    let guilty: Vec<String> =
        rust_files().iter().filter(|file| read(file).contains(&needle)).map(|file| shown(file)).collect();
    assert!(guilty.is_empty(), "what is simulated is what ships: {guilty:?}");
}

#[test]
fn binaries_start_in_a_few_lines() {
    for main in ["controller/src/main.rs", "speaker/src/main.rs", "netsim/src/main.rs"] {
        let lines = read(&root().join(main)).lines().count();
        assert!(lines < 30, "{main} has {lines} lines; what it does belongs in lib.rs");
    }
}

#[test]
fn only_kube_rs_names_the_client() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let shown = shown(&file);
        let is_shell = shown.starts_with("controller/src/") || shown.starts_with("speaker/src/");
        if is_shell && !shown.contains("/src/kube") && !shown.ends_with("/src/lib.rs") {
            let text = read(&file);
            if text.contains("kube::Client") || text.contains("kube::Api") {
                problems.push(shown);
            }
        }
    }
    assert!(problems.is_empty(), "kube.rs is the one door to Kubernetes: {problems:?}");
}

#[test]
fn things_and_strangers_are_it_and_they() {
    let person = Regex::new(r"(?i)\bs?h[e]\b|\bh(?:is|im|er|imself|erself)\b").expect("it is a pattern");
    let mut problems = Vec::new();
    for file in rust_files().into_iter().chain(pages()) {
        for (index, line) in read(&file).lines().enumerate().filter(|(_, line)| person.is_match(line)) {
            problems.push(format!("{}:{}: {line}", shown(&file), index + 1));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Line, length and name of every function whose braces start at the line's indent.
fn functions(text: &str) -> Vec<(usize, usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|start| code.starts_with(start));
        if !is_function || code.ends_with(';') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| **line == close).unwrap_or(0);
        let name = code.split("fn ").nth(1).unwrap_or_default();
        found.push((start + 1, end + 1, name.split(['(', '<']).next().unwrap_or_default().to_owned()));
    }
    found
}
