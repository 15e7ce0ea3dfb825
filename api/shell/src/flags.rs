//! Command lines as Go programs take them, and the flags both binaries have (G1 to G40).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use clap::{Args, Parser};

/// The port of MetalLB 0.15 for `/metrics` (G1, V1).
pub const METRICS_PORT: u16 = 7472;
/// The port for `/healthz` and `/readyz` (G18).
pub const HEALTH_PORT: u16 = 17_472;

/// Reads the command line. A flag may have one dash or two. Ends the process
/// with 2 where a flag is unknown or its value does not parse (G40), and with
/// 0 after `--help` or `--version`.
#[must_use]
pub fn parse<A: Parser>() -> A {
    A::parse_from(two_dashes(std::env::args_os()))
}

/// The same as [`parse`] for given arguments, the program's name first.
///
/// # Errors
/// Where [`parse`] would end the process.
pub fn try_parse<A: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<A, clap::Error> {
    A::try_parse_from(two_dashes(args))
}

/// Gives Go's long flags with one dash (`-port=7472`) their second one.
fn two_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let long = |arg: OsString| match arg.as_bytes() {
        [b'-', first, _, ..] if first.is_ascii_alphabetic() => {
            OsString::from_vec([b"-", arg.as_bytes()].concat())
        }
        _ => arg,
    };
    args.into_iter().enumerate().map(|(index, arg)| if index == 0 { arg } else { long(arg) }).collect()
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
///
/// # Errors
/// What to write instead.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// Flags that both binaries have.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Port for /metrics, /healthz and /readyz over plain HTTP; 0 switches it off.
    #[arg(long, value_name = "PORT", default_value_t = METRICS_PORT)]
    pub port: u16,
    /// Port for /healthz and /readyz alone; 0 switches it off.
    #[arg(long, value_name = "PORT", default_value_t = HEALTH_PORT)]
    pub health_probe_port: u16,
    /// Namespace of the process and of all IPAddressPools and L2Advertisements [default: the Pod's own].
    #[arg(long, env = "METALLB_NAMESPACE", default_value = "", hide_default_value = true)]
    pub namespace: String,
    /// all, debug, info, warn, error or none.
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// Handle only Services of this loadBalancerClass [default: those without one].
    #[arg(long, value_name = "CLASS", default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// A kubeconfig file [default: KUBECONFIG, else the Pod's ServiceAccount, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub tls_min_version: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub tls_cipher_suites: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub tls_curve_preferences: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub metrics_cert_dir: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub pprof_bind_address: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub enable_pprof: Option<bool>,
}

impl CommonArgs {
    /// `--lb-class`, if it is set (C2).
    #[must_use]
    pub fn load_balancer_class(&self) -> Option<String> {
        Some(self.lb_class.clone()).filter(|class| !class.is_empty())
    }

    /// The flags that were given and do nothing here.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            ("--tls-min-version", self.tls_min_version.is_some()),
            ("--tls-cipher-suites", self.tls_cipher_suites.is_some()),
            ("--tls-curve-preferences", self.tls_curve_preferences.is_some()),
            ("--metrics-cert-dir", self.metrics_cert_dir.is_some()),
            ("--pprof-bind-address", self.pprof_bind_address.is_some()),
            ("--enable-pprof", self.enable_pprof.is_some()),
        ];
        given.into_iter().filter_map(|(flag, is_given)| is_given.then_some(flag)).collect()
    }
}

/// Says once which of the given flags do nothing here.
pub fn log_without_effect(flags: &[&str]) {
    if !flags.is_empty() {
        tracing::info!(
            op = "startup",
            flags = flags.join(" "),
            "these flags are accepted and have no effect"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    struct Example {
        #[command(flatten)]
        common: CommonArgs,
    }

    fn example(args: &[&str]) -> Result<Example, clap::Error> {
        try_parse(["example"].iter().chain(args).map(OsString::from))
    }

    #[test]
    fn g1_one_dash_or_two() {
        for args in [
            &["-port=1234", "-log-level=debug"][..],
            &["--port=1234", "--log-level=debug"],
            &["-port", "1234", "--log-level", "debug"],
        ] {
            let parsed = example(args).expect("these are Go's ways to write it").common;
            assert_eq!((parsed.port, parsed.log_level.as_str()), (1234, "debug"), "{args:?}");
        }
        let defaults = example(&[]).expect("nothing is required").common;
        assert_eq!((defaults.port, defaults.health_probe_port), (7472, 17_472));
        assert_eq!(defaults.load_balancer_class(), None);
    }

    #[test]
    fn g40_unknown_flags_and_bad_values_exit_2() {
        for args in [&["--no-such-flag"][..], &["-nosuch=1"], &["--port=many"], &["--port=70000"], &["stray"]]
        {
            let error = example(args).expect_err("not a flag of ours");
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
        let help = example(&["-help"]).expect_err("help is not a parse");
        assert_eq!(help.exit_code(), 0);
    }

    #[test]
    fn booleans_are_gos() {
        for (args, expected) in [
            (&["-enable-pprof"][..], Some(true)),
            (&["--enable-pprof=F"], Some(false)),
            (&["--enable-pprof=1"], Some(true)),
            (&[], None),
        ] {
            assert_eq!(example(args).expect("Go takes it").common.enable_pprof, expected, "{args:?}");
        }
        assert!(example(&["--enable-pprof=yes"]).is_err());
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let common =
            example(&["--tls-min-version=VersionTLS12", "--enable-pprof"]).expect("both exist").common;
        assert_eq!(common.without_effect(), ["--tls-min-version", "--enable-pprof"]);
    }
}
