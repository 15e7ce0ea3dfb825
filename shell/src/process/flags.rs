//! Command lines as Go programs take them, and the flags both binaries have (G1 to G40).

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use crate::admin::http::HttpSettings;
use crate::admin::tls::{TlsFlagError, TlsSettings};

/// The port of MetalLB v0.15 for `/metrics` (G1, M1).
pub const METRICS_PORT: u16 = 7472;
/// The port of MetalLB v0.16 for `/metrics` over HTTPS (G47, M1): whoever asks
/// for it gets HTTPS unless told otherwise.
pub const METRICS_HTTPS_PORT: u16 = 9120;
/// The port for `/healthz` and `/readyz` (G18).
pub const HEALTH_PORT: u16 = 17_472;

/// Reads the command line. A flag may have one dash or two, and of one that is
/// given twice the last value counts, as with Go's. Ends the process with 2 where
/// a flag is unknown or its value does not parse (G40), and with 0 after `--help`
/// or `--version`.
#[must_use]
pub fn parse<A: Parser>() -> A {
    try_parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// The same as [`parse`] for given arguments, the program's name first.
///
/// # Errors
/// Where [`parse`] would end the process.
pub fn try_parse<A: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<A, clap::Error> {
    let mut command = A::command().args_override_self(true);
    let parsed = command.try_get_matches_from_mut(two_dashes(args));
    parsed
        .and_then(|mut matches| A::from_arg_matches_mut(&mut matches))
        .map_err(|error| error.format(&mut command))
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

/// Flags about what is served that do not go together; the process exits with 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFlagError {
    /// G14 to G16
    #[error(transparent)]
    Tls(#[from] TlsFlagError),
    /// G1, G18: two servers cannot listen on it.
    #[error(
        "--port and --health-probe-port are both {0}: give them two ports, or set one to 0; without HTTPS \
         --port serves /healthz and /readyz as well"
    )]
    OnePort(u16),
}

/// Flags that both binaries have.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Port for /metrics; 9120 means HTTPS, any other plain HTTP with /healthz and /readyz beside it
    /// (see --metrics-https); 0 switches it off.
    #[arg(long, value_name = "PORT", default_value_t = METRICS_PORT)]
    pub port: u16,
    /// Port for /healthz and /readyz alone; 0 switches it off.
    #[arg(long, value_name = "PORT", default_value_t = HEALTH_PORT)]
    pub health_probe_port: u16,
    /// Namespace of the process and of all IPAddressPools and L2Advertisements [default: the Pod's own].
    #[arg(
        long,
        env = "METALLB_NAMESPACE",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub namespace: String,
    /// Name of its Pod, the owner of the status objects that it writes.
    #[arg(
        long,
        env = "METALLB_POD_NAME",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub pod_name: String,
    /// all, debug, info, warn, error or none.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Handle only Services of this loadBalancerClass [default: those without one].
    #[arg(long, value_name = "CLASS", default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// A kubeconfig file [default: KUBECONFIG, else the Pod's ServiceAccount, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<OsString>,
    /// Serve /metrics over HTTPS, to whoever the API server lets get the non-resource URL /metrics
    /// [default: true with --port=9120 or --metrics-cert-dir, else false].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL")]
    pub metrics_https: Option<bool>,
    /// Directory with tls.crt and tls.key for HTTPS, read again when they change [default: a
    /// self-signed certificate made at start].
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    pub metrics_cert_dir: String,
    /// Oldest protocol of HTTPS, VersionTLS12 or VersionTLS13 [default: VersionTLS13].
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub tls_min_version: String,
    /// Suites of TLS 1.2 for HTTPS, by their names in Go, with commas [default: all].
    #[arg(long, value_name = "NAMES", default_value = "", hide_default_value = true)]
    pub tls_cipher_suites: String,
    /// Groups for HTTPS, best first, with commas: 23 (P-256), 24 (P-384), 29 (X25519) [default: all].
    #[arg(long, value_name = "NUMBERS", default_value = "", hide_default_value = true)]
    pub tls_curve_preferences: String,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub pprof_bind_address: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub enable_pprof: Option<bool>,
    /// Accepted for MetalLB's manifests; has no effect: EndpointSlices are always read.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub disable_epslices: Option<bool>,
}

impl CommonArgs {
    /// `--lb-class`, if it is set (C2).
    #[must_use]
    pub fn load_balancer_class(&self) -> Option<String> {
        non_empty(&self.lb_class)
    }

    /// `--kubeconfig`, if it is set (G20).
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref().filter(|file| !file.is_empty()).map(Path::new)
    }

    /// What is served where. `metrics_host` is for `/metrics` and `health_host`
    /// for the probes; `None` is every address.
    ///
    /// # Errors
    /// TLS flags that cannot be followed, also where nothing is encrypted; and one
    /// port for both on the same address.
    pub fn http(
        &self,
        metrics_host: Option<IpAddr>,
        health_host: Option<IpAddr>,
    ) -> Result<HttpSettings, HttpFlagError> {
        let mut tls =
            TlsSettings::parse(&self.tls_min_version, &self.tls_cipher_suites, &self.tls_curve_preferences)?;
        let is_https = self.is_https();
        if is_https {
            tls.check()?;
            tls.certificates = non_empty(&self.metrics_cert_dir).map(PathBuf::from);
        }
        let (metrics_port, health_port) = (self.port, self.health_probe_port);
        let apart = metrics_host.zip(health_host).is_some_and(|(metrics, health)| metrics != health);
        if metrics_port != 0 && metrics_port == health_port && !apart {
            return Err(HttpFlagError::OnePort(metrics_port));
        }
        Ok(HttpSettings {
            metrics_host,
            metrics_port,
            tls: is_https.then_some(tls),
            health_host,
            health_port,
        })
    }

    fn is_https(&self) -> bool {
        let asked_for = self.port == METRICS_HTTPS_PORT || !self.metrics_cert_dir.is_empty();
        self.port != 0 && self.metrics_https.unwrap_or(asked_for)
    }

    /// The flags that were given and do nothing here.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let plain = |value: &str| !self.is_https() && !value.is_empty();
        those_given(&[
            ("--tls-min-version", plain(&self.tls_min_version)),
            ("--tls-cipher-suites", plain(&self.tls_cipher_suites)),
            ("--tls-curve-preferences", plain(&self.tls_curve_preferences)),
            ("--metrics-cert-dir", plain(&self.metrics_cert_dir)),
            ("--pprof-bind-address", self.pprof_bind_address.is_some()),
            ("--enable-pprof", self.enable_pprof.is_some()),
            ("--disable-epslices", self.disable_epslices.is_some()),
        ])
    }
}

/// The names of those flags that were given.
#[must_use]
pub fn those_given(flags: &[(&'static str, bool)]) -> Vec<&'static str> {
    flags.iter().filter_map(|(flag, is_given)| is_given.then_some(*flag)).collect()
}

/// A flag's text, unless it is empty, which is as good as not given.
#[must_use]
pub fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
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
    use crate::admin::tls::Floor;

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
    fn a_flag_that_is_given_twice_has_its_last_value() {
        let args =
            ["--port=7472", "--log-level=info", "-port=9120", "--enable-pprof", "--enable-pprof=false"];
        let parsed = example(&args).expect("Go takes it").common;
        assert_eq!((parsed.port, parsed.enable_pprof), (9120, Some(false)));
    }

    #[test]
    fn g47_which_port_is_encrypted() {
        for (args, expected) in [
            (&[][..], false),
            (&["--port=7472", "--tls-min-version=VersionTLS12"], false),
            (&["--port=9120"], true),
            (&["--port=9120", "--metrics-https=false"], false),
            (&["--port=7472", "--metrics-https"], true),
            (&["--port=7472", "--metrics-cert-dir=/certificates"], true),
            (&["--metrics-cert-dir="], false),
            (&["--port=0", "--metrics-https"], false),
        ] {
            let http = example(args).expect("these flags exist").common.http(None, None);
            assert_eq!(http.expect("their values are good").tls.is_some(), expected, "{args:?}");
        }
        let args = ["--port=9120", "--tls-min-version=VersionTLS12", "--metrics-cert-dir=/certificates"];
        let common = example(&args).expect("these flags exist").common;
        assert_eq!(common.without_effect(), [""; 0]);
        let tls = common.http(None, None).expect("their values are good").tls.expect("it is on");
        assert_eq!((tls.floor, tls.certificates), (Floor::Tls12, Some("/certificates".into())));
    }

    #[test]
    fn g14_g15_g16_bad_values_are_refused_encrypted_or_not() {
        let suite = "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        for (args, expected) in [
            (&["--tls-min-version=1.2"][..], "VersionTLS12 or VersionTLS13"),
            (&["--port=9120", "--tls-cipher-suites=RC4"], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            (&["--tls-curve-preferences=P256"], "23 (P-256)"),
            (&["--port=9120", suite], "--tls-min-version=VersionTLS12"),
        ] {
            let http = example(args).expect("these flags exist").common.http(None, None);
            let error = http.expect_err("it must not start like this").to_string();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
        // As MetalLB v0.15 was started, whose metrics are not encrypted.
        example(&[suite]).expect("it exists").common.http(None, None).expect("it changes nothing");
    }

    #[test]
    fn g1_g18_two_servers_want_two_ports() {
        let (node, loopback) = (Some(IpAddr::from([172, 16, 16, 11])), Some(IpAddr::from([127, 0, 0, 1])));
        for (args, metrics_host, health_host, is_good) in [
            (&["--port=9120", "--health-probe-port=9120"][..], None, None, false),
            (&["--health-probe-port=7472"], None, None, false),
            (&["--health-probe-port=7472"], None, loopback, false),
            (&["--health-probe-port=7472"], loopback, loopback, false),
            (&["--health-probe-port=7472"], node, loopback, true),
            (&["--port=0", "--health-probe-port=0"], None, None, true),
        ] {
            let http = example(args).expect("these flags exist").common.http(metrics_host, health_host);
            assert_eq!(http.is_ok(), is_good, "{args:?}");
            if let Err(error) = http {
                assert!(error.to_string().contains("--health-probe-port are both"), "{error}");
            }
        }
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
