//! The controller's command line and environment (G1 to G21).

use std::net::IpAddr;

use clap::{Parser, ValueEnum};
use ferrolb_shell::CommonArgs;
use ferrolb_shell::kubernetes::leader_election::{self, LeaderElectionConfig};
use ferrolb_shell::process::flags::{go_bool, non_empty, those_given};
use ferrolb_shell::process::namespace::{self, NamespaceError};

/// Gives each LoadBalancer Service an address out of an IPAddressPool.
#[derive(Parser, Clone, Debug)]
#[command(name = "controller", version)]
pub struct Args {
    /// What both binaries have.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Secret for the speakers' member list, created if it is missing [default: none is created].
    #[arg(
        long,
        env = "METALLB_ML_SECRET_NAME",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_secret_name: String,
    /// Deployment of this controller, which becomes the owner of that Secret.
    #[arg(
        long,
        env = "METALLB_DEPLOYMENT",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub deployment: String,
    /// Work only while holding a Lease, so that of several replicas one assigns addresses.
    #[arg(long, alias = "enable-leader-election", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub leader_elect: Option<bool>,
    /// Name of that Lease, in the namespace of the pools.
    #[arg(long, value_name = "NAME", default_value = "metallb-controller")]
    pub leader_elect_resource_name: String,
    /// Accepted for MetalLB's manifests: there is no webhook, so "onlywebhook" does not start.
    #[arg(long, hide_short_help = true)]
    pub webhook_mode: Option<WebhookMode>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub disable_cert_rotation: Option<bool>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub cert_dir: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub cert_service_name: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true)]
    pub webhook_secret: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub webhook_http2: Option<bool>,
}

/// `--webhook-mode` (B51).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WebhookMode {
    /// MetalLB's default.
    Enabled,
    /// What we always do.
    Disabled,
    /// A process that must not assign addresses.
    #[value(name = "onlywebhook")]
    OnlyWebhook,
}

/// What the flags say, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of MetalLB's objects.
    pub namespace: String,
    /// `--lb-class` (C2).
    pub load_balancer_class: Option<String>,
    /// `--ml-secret-name`: the Secret to create (E7).
    pub secret_name: Option<String>,
    /// `--deployment`: the owner of that Secret.
    pub deployment: Option<String>,
    /// `--pod-name`: the owner of the `ConfigurationState` (G5).
    pub pod_name: Option<String>,
    /// Where the client reaches the API server, if that is an address.
    pub api_server: Option<IpAddr>,
}

/// Why the controller cannot start as it was told to; it exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// G2.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// B51: two controllers that both assign addresses would undo each other's work.
    #[error(
        "--webhook-mode=onlywebhook asks for a process that serves nothing but admission webhooks; \
         there are none here, so this Deployment can be removed"
    )]
    OnlyWebhook,
}

impl Args {
    /// Checks the flags.
    ///
    /// # Errors
    /// If the controller cannot start like this; it exits with 1 then.
    pub fn settings(&self) -> Result<Settings, ArgsError> {
        if self.webhook_mode == Some(WebhookMode::OnlyWebhook) {
            return Err(ArgsError::OnlyWebhook);
        }
        Ok(Settings {
            namespace: namespace::own(&self.common.namespace)?,
            load_balancer_class: self.common.load_balancer_class(),
            secret_name: non_empty(&self.ml_secret_name),
            deployment: non_empty(&self.deployment),
            pod_name: non_empty(&self.common.pod_name),
            api_server: None,
        })
    }

    /// What this process stands for election with. `None` without `--leader-elect`,
    /// as in MetalLB, whose RBAC rules know nothing of Leases and whose manifests
    /// have one replica. With it nothing is written without the Lease, whatever
    /// the reason that it cannot be got.
    #[must_use]
    pub fn candidacy(&self, settings: &Settings) -> Option<LeaderElectionConfig> {
        self.leader_elect.unwrap_or_default().then(|| LeaderElectionConfig {
            namespace: settings.namespace.clone(),
            name: self.leader_elect_resource_name.clone(),
            holder: settings.pod_name.clone().unwrap_or_else(leader_election::host_name),
        })
    }

    /// The flags that were given and do nothing here.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let own = those_given(&[
            ("--webhook-mode", self.webhook_mode.is_some()),
            ("--disable-cert-rotation", self.disable_cert_rotation.is_some()),
            ("--cert-dir", self.cert_dir.is_some()),
            ("--cert-service-name", self.cert_service_name.is_some()),
            ("--webhook-secret", self.webhook_secret.is_some()),
            ("--webhook-http2", self.webhook_http2.is_some()),
        ]);
        [self.common.without_effect(), own].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    const NAMESPACE: &str = "metallb-system";

    fn args(more: &[&str]) -> Result<Args, clap::Error> {
        let all = ["controller", "--namespace=metallb-system"].iter().chain(more);
        ferrolb_shell::process::flags::try_parse(all.map(OsString::from))
    }

    #[test]
    fn g102_the_arguments_of_metallbs_manifests() {
        for manifest in [
            &["--port=7472", "--log-level=info", "--tls-min-version=VersionTLS12"][..],
            &["--port=9120", "--log-level=info"],
            &["-webhook-mode=disabled", "--disable-cert-rotation", "--webhook-http2=false", "--cert-dir=/x"],
        ] {
            args(manifest).expect("MetalLB takes these").settings().expect("and so do we");
        }
        let args = args(&["--webhook-mode=enabled", "--tls-min-version=VersionTLS12"]).expect("both exist");
        assert_eq!(args.without_effect(), ["--tls-min-version", "--webhook-mode"]);
    }

    #[test]
    fn b51_a_webhook_only_process_assigns_nothing() {
        let refused = args(&["--webhook-mode=onlywebhook"]).expect("the flag exists").settings();
        assert!(refused.expect_err("it must not assign").to_string().contains("can be removed"));
        assert_eq!(args(&["--webhook-mode=other"]).expect_err("no such mode").exit_code(), 2);
    }

    #[test]
    fn e7_g3_an_empty_name_means_no_secret() {
        let none =
            args(&["--ml-secret-name="]).expect("the flag exists").settings().expect("it may be empty");
        assert_eq!((none.secret_name, none.deployment), (None, None));
        let flags = ["--ml-secret-name=memberlist", "--deployment=controller"];
        let some = args(&flags).expect("both exist").settings().expect("that is MetalLB's manifest");
        assert_eq!(some.secret_name.as_deref(), Some("memberlist"));
        assert_eq!(some.deployment.as_deref(), Some("controller"));
    }

    #[test]
    fn w1_the_lease_is_asked_for() {
        let candidacy = |more: &[&str]| {
            let args = args(more).expect("these flags exist");
            args.candidacy(&args.settings().expect("their values are good"))
        };
        assert_eq!(candidacy(&[]), None, "MetalLB's manifests allow no Lease");
        assert_eq!(candidacy(&["--leader-elect=false"]), None);
        for flag in ["--leader-elect", "-leader-elect=true", "--enable-leader-election"] {
            let candidacy = candidacy(&[flag, "--pod-name=controller-7d"]).expect("it is asked for");
            assert_eq!(
                (candidacy.namespace.as_str(), candidacy.holder.as_str()),
                (NAMESPACE, "controller-7d")
            );
            assert_eq!(candidacy.name, "metallb-controller");
        }
        let other = candidacy(&["--leader-elect", "--leader-elect-resource-name=second"]);
        let other = other.expect("it is asked for");
        assert!(other.name == "second" && !other.holder.is_empty(), "{other:?}");
    }
}
