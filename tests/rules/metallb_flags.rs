//! Every flag and variable of MetalLB v0.13 to v0.16, with every value that its charts and manifests document.
//!
//! Each starts our programs, or is refused with what to write instead. Nothing is opened: the command line is
//! read and checked. A variable is tried as the flag that it stands for.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{CommandFactory, Parser};
use ferrolb_shell::process::flags::try_parse;

/// What comes of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// It starts.
    Starts,
    /// It starts, and says that the flag does nothing.
    NoEffect,
    /// It does not start, and the one sentence has this.
    Refused(&'static str),
}
use Outcome::{NoEffect, Refused, Starts};

/// What both programs have (G1, G2, G6, G7, G14 to G20).
const BOTH: [(&str, &[&str], Outcome); 32] = [
    ("port", &["7472", "9120", "0"], Starts),
    ("port", &["-1", "many", ""], Refused("--port")),
    ("METALLB_NAMESPACE", &["metallb-system", "network"], Starts),
    ("METALLB_POD_NAME", &["speaker-x7d2f", ""], Starts),
    ("log-level", &["all", "debug", "info", "warn", "error", "none"], Starts),
    ("log-level", &["verbose", "trace", ""], Refused("all, debug, info, warn, error")),
    ("lb-class", &["", "metallb", "example.com/metallb"], Starts),
    ("kubeconfig", &["", "/etc/kubernetes/kubeconfig"], Starts),
    ("health-probe-port", &["17472", "0"], Starts),
    ("health-probe-port", &["many"], Refused("--health-probe-port")),
    ("metrics-cert-dir", &[""], Starts),
    ("metrics-cert-dir", &["/etc/metrics"], Starts),
    ("tls-min-version", &[""], Starts),
    ("tls-min-version", &["VersionTLS12", "VersionTLS13"], NoEffect),
    ("tls-min-version", &["VersionTLS10", "VersionTLS11", "1.2"], Refused("VersionTLS12 or VersionTLS13")),
    ("tls-cipher-suites", &[""], Starts),
    (
        "tls-cipher-suites",
        &[
            // The chart's of v0.14 and v0.15.
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,\
             TLS_RSA_WITH_AES_128_CBC_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,\
             TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        ],
        NoEffect,
    ),
    // These are always on, and leave nothing for TLS 1.2.
    ("tls-cipher-suites", &["TLS_AES_128_GCM_SHA256"], Refused("add one of TLS_ECDHE_ECDSA")),
    ("tls-cipher-suites", &["RC4", "HIGH"], Refused("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")),
    ("tls-curve-preferences", &[""], Starts),
    // The second is the chart's example.
    ("tls-curve-preferences", &["23,24,29", "29,4588", "25,29"], NoEffect),
    ("tls-curve-preferences", &["X25519"], Refused("29 (X25519)")),
    ("tls-curve-preferences", &["4588"], Refused("add one of 23")),
    ("enable-pprof", &["true", "false"], NoEffect),
    ("enable-pprof", &["yes"], Refused("write true or false")),
    ("pprof-bind-address", &["", "127.0.0.1:6060"], NoEffect),
    ("disable-epslices", &["true", "false"], NoEffect),
    ("disable-epslices", &["maybe"], Refused("write true or false")),
    ("METALLB_BGP_TYPE", &["", "native", "frr", "frr-k8s", "frr-k8s-external"], Starts),
    ("FRR_CONFIG_FILE", &["/etc/frr_reloader/frr.conf"], Starts),
    ("FRR_RELOADER_PID_FILE", &["/etc/frr_reloader/reloader.pid"], Starts),
    ("FRR_LOGGING_LEVEL", &["informational"], Starts),
];

/// The controller's own (G3 to G5, G8 to G13).
const CONTROLLER: [(&str, &[&str], Outcome); 10] = [
    ("METALLB_ML_SECRET_NAME", &["memberlist", "metallb-memberlist", ""], Starts),
    ("METALLB_DEPLOYMENT", &["controller", "metallb-controller", ""], Starts),
    ("disable-cert-rotation", &["true", "false"], NoEffect),
    ("cert-dir", &["/tmp/k8s-webhook-server/serving-certs"], NoEffect),
    ("cert-service-name", &["metallb-webhook-service"], NoEffect),
    ("webhook-mode", &["enabled", "disabled"], NoEffect),
    ("webhook-mode", &["onlywebhook"], Refused("this Deployment can be removed")),
    ("webhook-mode", &["other", ""], Refused("possible values: enabled, disabled, onlywebhook")),
    ("webhook-secret", &["metallb-webhook-cert"], NoEffect),
    ("webhook-http2", &["true", "false"], NoEffect),
];

/// The speaker's own (G30 to G39).
const SPEAKER: [(&str, &[&str], Outcome); 17] = [
    ("METALLB_NODE_NAME", &["wk01", "ip-10-0-0-1.eu-west-1.compute.internal"], Starts),
    ("METALLB_NODE_NAME", &["wk 01", "wk01\n", "wk/01", ""], Refused("spec.nodeName")),
    ("METALLB_HOST", &["172.16.16.11", "fd00::11", "localhost", "127.0.0.1", "0.0.0.0", "::", ""], Starts),
    (
        "METALLB_HOST",
        &["wk01.local", "172.16.16.0/24", "[fd00::11]"],
        Refused("status.hostIP of the Pod, or localhost"),
    ),
    (
        "METALLB_ML_BIND_ADDR",
        &["172.16.16.11", "fd00::11", "0.0.0.0", "::", "::ffff:172.16.16.11", ""],
        Starts,
    ),
    (
        "METALLB_ML_BIND_ADDR",
        &["wk01", "172.16.16.11:7946", "172.16.16.0/24", "224.0.0.1", "ff02::1", "255.255.255.255"],
        Refused("status.podIP of the Pod, or 0.0.0.0 or ::"),
    ),
    ("METALLB_ML_BIND_PORT", &["7946", "", "17946"], Starts),
    ("METALLB_ML_BIND_PORT", &["many", "0", "65536", "-1"], Refused("write a port from 1 to 65535")),
    (
        "METALLB_ML_LABELS",
        &[
            "app=metallb,component=speaker",
            "app.kubernetes.io/name=metallb,app.kubernetes.io/component=speaker",
            "",
        ],
        Starts,
    ),
    ("METALLB_ML_SECRET_KEY_PATH", &["/nonexistent"], Refused("/nonexistent/secretkey cannot be read")),
    // What v0.13.0 to v0.13.7 mount in the place of the directory.
    ("METALLB_ML_SECRET_KEY", &["3KEZjKGoIV9ihLligSQgXw=="], Starts),
    ("ml-wan-config", &["true", "false"], NoEffect),
    ("ignore-exclude-lb", &["true", "false"], Starts),
    ("enable-l2-service-status", &["true", "false"], NoEffect),
    ("FRRK8S_NAMESPACE", &["frr-k8s-system", ""], NoEffect),
    ("METALLB_BGP_DEBOUNCE_TIMEOUT", &["100ms", "3000", ""], NoEffect),
    ("frrk8s-secret-passthrough", &["true", "false"], NoEffect),
];

/// Flags of ours that MetalLB has not; `help` and `version` are clap's.
const OURS: [&str; 6] =
    ["metrics-https", "insecure-gossip", "leader-elect", "leader-elect-resource-name", "help", "version"];

/// Starts a program up to its sockets. Gives the flags that do nothing, or why it does not start.
type Start = fn(&[String]) -> Result<Vec<&'static str>, String>;

fn parsed<A: Parser>(args: &[String]) -> Result<A, String> {
    try_parse(std::iter::once(OsString::from("program")).chain(args.iter().map(OsString::from)))
        .map_err(|error| error.to_string())
}

fn start_controller(args: &[String]) -> Result<Vec<&'static str>, String> {
    let args: controller::args::Args = parsed(args)?;
    args.common
        .log_level
        .parse::<ferrolb_shell::process::logs::LogLevel>()
        .map_err(|error| error.to_string())?;
    args.settings().map_err(|error| error.to_string())?;
    args.common.http(None, None).map_err(|error| error.to_string())?;
    Ok(args.without_effect())
}

fn start_speaker(args: &[String]) -> Result<Vec<&'static str>, String> {
    let args: speaker::args::Args = parsed(args)?;
    args.common
        .log_level
        .parse::<ferrolb_shell::process::logs::LogLevel>()
        .map_err(|error| error.to_string())?;
    args.settings().map_err(|error| error.to_string())?;
    Ok(args.without_effect())
}

/// The flag of a name, which may be that of a variable; `None` for a variable that nothing reads.
fn flag_of(command: &clap::Command, name: &str) -> Option<String> {
    let is_it = |arg: &&clap::Arg| {
        arg.get_long() == Some(name) || arg.get_env().is_some_and(|variable| variable == name)
    };
    command.get_arguments().find(is_it).and_then(clap::Arg::get_long).map(str::to_owned)
}

fn try_all<A: CommandFactory>(start: Start, always: &[&str], own: &[(&'static str, &[&str], Outcome)]) {
    let mut command = A::command();
    command.build();
    let mut seen: BTreeSet<String> = OURS.map(str::to_owned).into();
    for (name, values, expected) in BOTH.iter().chain(own) {
        let flag = flag_of(&command, name);
        let is_variable = name.starts_with(|first: char| first.is_ascii_uppercase());
        assert!(flag.is_some() || is_variable && *expected == Starts, "{name}: no such flag");
        for value in *values {
            let given = flag.as_ref().map(|flag| format!("--{flag}={value}"));
            let args: Vec<String> = always.iter().map(|arg| (*arg).to_owned()).chain(given).collect();
            match (start(&args), expected) {
                (Ok(without_effect), Starts) => {
                    let flag = flag.as_ref().map(|flag| format!("--{flag}")).unwrap_or_default();
                    assert!(!without_effect.contains(&flag.as_str()), "{name}={value}");
                }
                (Ok(without_effect), NoEffect) => {
                    let flag = format!("--{}", flag.as_deref().unwrap_or_default());
                    assert!(without_effect.contains(&flag.as_str()), "{name}={value}: {without_effect:?}");
                }
                (Err(why), Refused(text)) => assert!(why.contains(text), "{name}={value}: {why}"),
                (found, expected) => panic!("{name}={value:?}: {found:?}, expected {expected:?}"),
            }
        }
        seen.extend(flag);
    }
    let untried =
        command.get_arguments().filter_map(clap::Arg::get_long).filter(|flag| !seen.contains(*flag));
    assert_eq!(untried.collect::<Vec<_>>(), [""; 0], "each flag has a row");
}

#[test]
fn g1_to_g21_everything_that_metallb_gives_its_controller() {
    try_all::<controller::args::Args>(start_controller, &["--namespace=metallb-system"], &CONTROLLER);
}

#[test]
fn g30_to_g40_everything_that_metallb_gives_its_speaker() {
    // With its member list on, as the chart has it.
    let always = [
        "--namespace=metallb-system",
        "--node-name=wk01",
        "--ml-bindaddr=0.0.0.0",
        "--ml-labels=component=speaker",
        "--ml-secret-key=c2VjcmV0",
    ];
    try_all::<speaker::args::Args>(start_speaker, &always, &SPEAKER);
    let address = |more: &[&str]| {
        let args = always.iter().chain(more).map(|arg| (*arg).to_owned());
        let args: speaker::args::Args = parsed(&args.collect::<Vec<_>>()).expect("these flags exist");
        let gossip = args.settings().expect("it starts").gossip.expect("the list is on");
        (gossip.bind.to_string(), gossip.address.to_string())
    };
    for (more, bind, advertised) in [
        (&["--host=172.16.16.11"][..], "0.0.0.0:7946", "172.16.16.11:7946"),
        (&["--host=localhost"], "0.0.0.0:7946", "0.0.0.0:7946"),
        (&["--host=fd00::11"], "0.0.0.0:7946", "0.0.0.0:7946"),
        (&["--ml-bindaddr=::", "--host=fd00::11"], "[::]:7946", "[fd00::11]:7946"),
        (&["--ml-bindaddr=::", "--host=172.16.16.11"], "[::]:7946", "172.16.16.11:7946"),
        (&["--ml-bindaddr=::ffff:172.16.16.11"], "172.16.16.11:7946", "172.16.16.11:7946"),
        (&["--ml-bindaddr=172.16.16.11", "--host=10.0.0.11"], "172.16.16.11:7946", "172.16.16.11:7946"),
    ] {
        assert_eq!(address(more), (bind.to_owned(), advertised.to_owned()), "{more:?}");
    }
}
