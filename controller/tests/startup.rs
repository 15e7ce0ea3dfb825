//! Where a controller that cannot start says why: in its log, or on standard error where it has none.

use std::process::{Command, Output};

fn started_with(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
    command.env_clear().args(["--namespace=metallb-system", "--port=0", "--health-probe-port=0"]).args(flags);
    command.output().expect("it was just built")
}

#[test]
fn the_log_says_why_it_ends_as_json() {
    let output = started_with(&["--kubeconfig=/nonexistent/kubeconfig"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let log = String::from_utf8_lossy(&output.stdout);
    let last = log.lines().last().expect("it says something");
    let line: serde_json::Value = serde_json::from_str(last).expect("a line of the log is JSON");
    assert_eq!((&line["level"], &line["op"]), (&"error".into(), &"exit".into()), "{line}");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("/nonexistent/kubeconfig")), "{line}");
}

#[test]
fn without_a_log_standard_error_says_it() {
    for (flags, expected) in [
        (&["--log-level=none", "--kubeconfig=/nonexistent/kubeconfig"][..], "/nonexistent/kubeconfig"),
        (&["--log-level=loud"], "unknown log level"),
        (&["--port=9120", "--health-probe-port=9120"], "are both 9120"),
    ] {
        let output = started_with(flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(output.stdout.is_empty(), "{flags:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("controller: ") && said.contains(expected), "{flags:?}: {said}");
    }
}
