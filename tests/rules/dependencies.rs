//! Who may depend on whom (ARCHITECTURE.md, "Dependencies"), read from `cargo tree`.

use std::collections::BTreeSet;
use std::process::Command;

/// Packages of ours, and what they must never reach, directly or not.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("ferrolb-api", &["tokio", "hyper", "kube-client", "kube-runtime"]),
    ("controller-core", &["tokio", "hyper", "kube-client", "kube-runtime", "smoltcp", "speaker-core"]),
    ("speaker-core", &["tokio", "hyper", "kube-client", "kube-runtime", "controller-core", "tun-tap"]),
    ("netsim", &["tokio", "hyper", "kube-client", "kube-runtime", "controller", "speaker"]),
    ("ferrolb-shell", &["controller-core", "speaker-core", "netsim", "fake-api"]),
    ("controller", &["netsim", "tests", "fake-api", "speaker", "speaker-core", "smoltcp", "tun-tap"]),
    ("speaker", &["netsim", "tests", "fake-api", "controller", "controller-core", "tun-tap"]),
    ("fake-api", &["controller", "controller-core", "speaker", "speaker-core", "netsim", "tests"]),
];

#[test]
fn nothing_reaches_what_it_must_not_know() {
    let mut problems = Vec::new();
    for (package, forbidden) in FORBIDDEN {
        let reached = reachable(package);
        assert!(reached.len() > 3, "{package} reaches only {reached:?}: is the graph read rightly?");
        for name in forbidden.iter().filter(|name| reached.contains(**name)) {
            problems.push(format!("{package} must not depend on {name}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The names of all packages in the normal dependencies of `package` on Linux,
/// with the features it has when it is built by itself.
fn reachable(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline", "--target", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, for it runs this test");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}
