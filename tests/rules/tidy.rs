//! The rules of the tree that a compiler does not check (ARCHITECTURE.md, "Rules").

use regex::Regex;

use crate::tree::{is_test, pages, read, root, rust_files, shown, without_unit_tests};

/// Longest source file in lines, unit tests apart: past it a file has two purposes.
const MAX_FILE_LINES: usize = 500;

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

/// The lints do the rest: `unsafe_code` is denied in the workspace, and each block says why it is sound.
#[test]
fn unsafe_code_is_allowed_in_one_module() {
    let allowing = [["allow(", "unsafe_code"].concat(), ["expect(", "unsafe_code"].concat()];
    let allows = |text: &str| allowing.iter().any(|needle| text.contains(needle.as_str()));
    let files = rust_files().into_iter().filter(|file| allows(&read(file)));
    let found: Vec<String> = files.map(|file| shown(&file)).collect();
    assert_eq!(found, ["speaker/src/lib.rs"], "unsafe code belongs under speaker/src/sys/");
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
