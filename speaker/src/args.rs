//! The speaker's command line and environment (G30 to G40).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Parser;
use ferrolb_api::NodeName;
use ferrolb_shell::CommonArgs;
use ferrolb_shell::admin::http::HttpSettings;
use ferrolb_shell::process::flags::{HttpFlagError, go_bool, non_empty, those_given};
use ferrolb_shell::process::namespace::{self, NamespaceError};

/// The gossip port unless `--ml-bindport` says otherwise (E3).
pub const GOSSIP_PORT: u16 = 7946;
/// The file with the gossip secret, in the directory `--ml-secret-key-path` (E5).
pub const SECRET_FILE: &str = "secretkey";

/// Announces the LoadBalancer addresses that its node owns, by ARP and NDP.
#[derive(Parser, Clone, Debug)]
#[command(name = "speaker", version)]
pub struct Args {
    /// What both binaries have.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Name of the Node that it runs on.
    #[arg(
        long,
        env = "METALLB_NODE_NAME",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub node_name: String,
    /// Address that /metrics is served on, or "localhost" [default: every address].
    #[arg(long, env = "METALLB_HOST", value_name = "IP", default_value = "", hide_default_value = true)]
    pub host: String,
    /// Address for the member list; 0.0.0.0 and :: are every address, and then the Pod's is told to the
    /// others; without it membership is off, and every Node is a candidate.
    #[arg(
        long,
        env = "METALLB_ML_BIND_ADDR",
        value_name = "IP",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_bindaddr: String,
    /// UDP port for the member list [default: 7946].
    #[arg(
        long,
        env = "METALLB_ML_BIND_PORT",
        value_name = "PORT",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_bindport: String,
    /// Label selector of the speakers' Pods; without it membership is off.
    #[arg(
        long,
        env = "METALLB_ML_LABELS",
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_labels: String,
    /// Directory with the file "secretkey", which all speakers share.
    #[arg(
        long,
        env = "METALLB_ML_SECRET_KEY_PATH",
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_secret_key_path: String,
    /// The secret itself, as MetalLB up to v0.13.7 took it; --ml-secret-key-path comes first.
    #[arg(
        long,
        env = "METALLB_ML_SECRET_KEY",
        hide_env_values = true,
        hide_short_help = true,
        value_name = "SECRET",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_secret_key: String,
    /// Run the member list without a secret: anybody on the network can then take addresses away.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL",
          action = clap::ArgAction::Set)]
    pub insecure_gossip: bool,
    /// Announce also from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL",
          action = clap::ArgAction::Set)]
    pub ignore_exclude_lb: bool,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub ml_wan_config: Option<bool>,
    /// Accepted for MetalLB's manifests; has no effect: it is always on.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub enable_l2_service_status: Option<bool>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, env = "FRRK8S_NAMESPACE", hide_short_help = true)]
    pub frrk8s_namespace: Option<String>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, value_name = "BOOL")]
    pub frrk8s_secret_passthrough: Option<bool>,
    /// Accepted for MetalLB's manifests; has no effect.
    #[arg(long, env = "METALLB_BGP_DEBOUNCE_TIMEOUT", hide_short_help = true)]
    pub bgp_debounce_timeout: Option<String>,
}

/// What the flags say, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The node it runs on.
    pub node: NodeName,
    /// The namespace of MetalLB's objects and of the speakers' Pods.
    pub namespace: String,
    /// `--pod-name`: the owner of the status objects that it writes (G31).
    pub pod_name: Option<String>,
    /// `--lb-class` (C2).
    pub load_balancer_class: Option<String>,
    /// `--ignore-exclude-lb` (D12).
    pub ignore_exclude_label: bool,
    /// Membership, unless it is off (E2).
    pub gossip: Option<Gossip>,
    /// What is served where.
    pub http: HttpSettings,
}

/// How this speaker talks to the others.
#[derive(Clone, PartialEq, Eq)]
pub struct Gossip {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Where the others reach it; of an unspecified address, at the own Pod's.
    pub address: SocketAddr,
    /// Label selector of the speakers' Pods (E4).
    pub labels: String,
    /// What the mounted file holds, untrimmed (E6); `None` under `--insecure-gossip`.
    pub secret: Option<Vec<u8>>,
}

/// Why the speaker cannot start as it was told to; it exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// G30.
    #[error("which node is this? Set --node-name or METALLB_NODE_NAME to spec.nodeName of the Pod")]
    NoNodeName,
    /// A name that no Node has.
    #[error("--node-name is {len} bytes long; Kubernetes allows {}", NodeName::MAX_LEN)]
    NodeNameTooLong {
        /// Its length.
        len: usize,
    },
    /// G2.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// G1, G14 to G18.
    #[error(transparent)]
    Http(#[from] HttpFlagError),
    /// A name that no Node has.
    #[error("--node-name is {text:?}, which no Node is called: write spec.nodeName of the Pod")]
    NotANodeName {
        /// Its value.
        text: String,
    },
    /// A flag that should hold an address.
    #[error("{flag} is {text:?}, which is not an IP address: write {instead}")]
    NotAnAddress {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// What it may hold.
        instead: &'static str,
    },
    /// E3: nobody can be reached there.
    #[error(
        "--ml-bindaddr is {0}, which is no address of a node: write status.podIP of the Pod, or 0.0.0.0 or ::"
    )]
    NotBindable(IpAddr),
    /// E3.
    #[error("--ml-bindport is {text:?}: write a port from 1 to 65535, or nothing for {GOSSIP_PORT}")]
    NotAPort {
        /// Its value.
        text: String,
    },
    /// T9: MetalLB only warns here.
    #[error(
        "the member list has no secret: set --ml-secret-key-path or METALLB_ML_SECRET_KEY_PATH to the \
         directory where the Secret \"memberlist\" is mounted, or allow plain gossip with --insecure-gossip"
    )]
    NoSecret,
    /// E5.
    #[error("the member list's secret {} cannot be read: {error}", path.display())]
    SecretUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A secret that everybody knows.
    #[error("the member list's secret {} is empty", path.display())]
    SecretEmpty {
        /// The file.
        path: PathBuf,
    },
}

impl Args {
    /// Checks the flags and reads the files that they name.
    ///
    /// # Errors
    /// If the speaker cannot start like this; it exits with 1 then.
    pub fn settings(&self) -> Result<Settings, ArgsError> {
        match self.node_name.len() {
            0 => return Err(ArgsError::NoNodeName),
            len if len > NodeName::MAX_LEN => return Err(ArgsError::NodeNameTooLong { len }),
            _ if !speaker_core::is_node_name(&self.node_name) => {
                return Err(ArgsError::NotANodeName { text: self.node_name.clone() });
            }
            _ => {}
        }
        Ok(Settings {
            node: NodeName::from(self.node_name.as_str()),
            pod_name: non_empty(&self.common.pod_name),
            load_balancer_class: self.common.load_balancer_class(),
            ignore_exclude_label: self.ignore_exclude_lb,
            gossip: self.gossip()?,
            // M2: the speaker's probes are for its own node.
            http: self.common.http(self.host()?, Some(Ipv4Addr::LOCALHOST.into()))?,
            namespace: namespace::own(&self.common.namespace)?,
        })
    }

    /// The flags that were given and do nothing here.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let own = those_given(&[
            ("--ml-wan-config", self.ml_wan_config.is_some()),
            ("--enable-l2-service-status", self.enable_l2_service_status.is_some()),
            ("--frrk8s-namespace", self.frrk8s_namespace.is_some()),
            ("--frrk8s-secret-passthrough", self.frrk8s_secret_passthrough.is_some()),
            ("--bgp-debounce-timeout", self.bgp_debounce_timeout.is_some()),
        ]);
        [self.common.without_effect(), own].concat()
    }

    /// Where metrics are served (G32): MetalLB's chart writes "localhost" where a proxy stands before them.
    fn host(&self) -> Result<Option<IpAddr>, ArgsError> {
        match self.host.as_str() {
            "" => Ok(None),
            "localhost" => Ok(Some(Ipv4Addr::LOCALHOST.into())),
            text => address("--host", text, "status.hostIP of the Pod, or localhost").map(Some),
        }
    }

    fn gossip(&self) -> Result<Option<Gossip>, ArgsError> {
        if self.ml_bindaddr.is_empty() || self.ml_labels.is_empty() {
            return Ok(None);
        }
        let bind = address("--ml-bindaddr", &self.ml_bindaddr, "status.podIP of the Pod, or 0.0.0.0 or ::")?;
        if bind.is_multicast() || bind == IpAddr::from(Ipv4Addr::BROADCAST) {
            return Err(ArgsError::NotBindable(bind));
        }
        let port = match self.ml_bindport.as_str() {
            "" => GOSSIP_PORT,
            text => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(ArgsError::NotAPort { text: text.to_owned() }),
            },
        };
        let secret = self.secret()?;
        Ok(Some(Gossip {
            bind: (bind, port).into(),
            address: (self.advertised(bind), port).into(),
            labels: self.ml_labels.clone(),
            secret,
        }))
    }

    /// What is told to the others of a socket that is bound to `bind` (E3). On the host network
    /// the node's address is the Pod's, and it is known at once.
    fn advertised(&self, bind: IpAddr) -> IpAddr {
        let host = self.host.parse().ok().filter(|host: &IpAddr| {
            let is_received = bind.is_ipv6() || host.is_ipv4();
            is_received && !host.is_unspecified() && !host.is_loopback() && !host.is_multicast()
        });
        host.filter(|_| bind.is_unspecified()).unwrap_or(bind)
    }

    fn secret(&self) -> Result<Option<Vec<u8>>, ArgsError> {
        if self.ml_secret_key_path.is_empty() {
            if !self.ml_secret_key.is_empty() {
                return Ok(Some(self.ml_secret_key.clone().into_bytes()));
            }
            return if self.insecure_gossip { Ok(None) } else { Err(ArgsError::NoSecret) };
        }
        let path = Path::new(&self.ml_secret_key_path).join(SECRET_FILE);
        match std::fs::read(&path) {
            Ok(secret) if secret.is_empty() => Err(ArgsError::SecretEmpty { path }),
            Ok(secret) => Ok(Some(secret)),
            Err(error) => Err(ArgsError::SecretUnreadable { path, error }),
        }
    }
}

/// Reads an address. An IPv4 one in IPv6's clothes is the IPv4 one.
fn address(flag: &'static str, text: &str, instead: &'static str) -> Result<IpAddr, ArgsError> {
    let parsed = text.parse::<IpAddr>().map(|address| address.to_canonical());
    parsed.map_err(|_| ArgsError::NotAnAddress { flag, text: text.to_owned(), instead })
}

/// Without the secret.
impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has_secret = self.secret.is_some();
        f.debug_struct("Gossip")
            .field("bind", &self.bind)
            .field("address", &self.address)
            .field("labels", &self.labels)
            .field("has_secret", &has_secret)
            .finish()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("node", &self.node)
            .field("namespace", &self.namespace)
            .field("gossip", &self.gossip)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::log_lines;

    fn args(more: &[&str]) -> Args {
        let all = ["speaker", "--namespace=metallb-system"].iter().chain(more);
        ferrolb_shell::process::flags::try_parse(all.map(OsString::from)).expect("these flags exist")
    }

    fn refused(more: &[&str]) -> String {
        args(more).settings().expect_err("it must not start like this").to_string()
    }

    #[test]
    fn g30_the_node_name_is_required() {
        assert!(refused(&["--node-name="]).contains("METALLB_NODE_NAME"));
        let settings = args(&["-node-name=wk01"]).settings().expect("that is enough");
        assert_eq!(settings.node, NodeName::from("wk01"));
        assert_eq!(settings.gossip, None, "E2: membership is off");
        let http = settings.http;
        assert_eq!((http.metrics_host, http.metrics_port, http.tls), (None, 7472, None));
        assert_eq!((http.health_host, http.health_port), (Some(Ipv4Addr::LOCALHOST.into()), 17_472));
    }

    #[test]
    fn e2_membership_needs_an_address_and_labels() {
        for flag in ["--ml-bindaddr=172.16.16.11", "--ml-labels=app=metallb"] {
            let settings = args(&["--node-name=wk01", flag]).settings().expect("membership is off");
            assert_eq!(settings.gossip, None, "{flag}");
        }
    }

    #[test]
    fn e3_e5_t9_gossip_settings() {
        let base =
            ["--node-name=wk01", "--ml-bindaddr=172.16.16.11", "--ml-labels=app=metallb,component=speaker"];
        let with = |more: &[&'static str]| [&base[..], more].concat();
        assert!(refused(&base).contains("--insecure-gossip"), "T9");
        assert!(refused(&with(&["--ml-bindport=many", "--insecure-gossip"])).contains("\"many\""), "E3");
        assert!(refused(&with(&["--ml-bindport=0", "--insecure-gossip"])).contains("1 to 65535"), "E3");
        let missing = refused(&with(&["--ml-secret-key-path=/nonexistent"]));
        assert!(missing.contains("/nonexistent/secretkey"), "E5: {missing}");
        let plain = args(&with(&["--insecure-gossip"])).settings().expect("it was allowed");
        let gossip = plain.gossip.expect("membership is on");
        assert_eq!(gossip.address.to_string(), "172.16.16.11:7946");
        assert_eq!((gossip.labels.as_str(), gossip.secret), ("app=metallb,component=speaker", None));
    }

    #[test]
    fn e6_the_secret_is_read_as_it_is() {
        let directory = std::env::temp_dir().join(format!("speaker-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let path = format!("--ml-secret-key-path={}", directory.display());
        let flags = ["--node-name=wk01", "--ml-bindaddr=::1", "--ml-labels=a=b", "--ml-bindport=8000", &path];
        let secret = directory.join(SECRET_FILE);
        std::fs::write(&secret, "").expect("the temporary directory is writable");
        assert!(refused(&flags).contains("is empty"));
        std::fs::write(&secret, "key\n").expect("the temporary directory is writable");
        let settings = args(&flags).settings().expect("everything is there");
        assert!(!format!("{settings:?}").contains("key"), "a secret is never shown");
        let gossip = settings.gossip.expect("membership is on");
        assert_eq!(gossip.secret.as_deref(), Some(&b"key\n"[..]));
        assert_eq!(gossip.address.to_string(), "[::1]:8000");
        std::fs::remove_dir_all(&directory).expect("it was made above");
    }

    #[test]
    fn g39_flags_for_bgp_are_accepted_and_named_in_one_line() {
        let flags = ["--frrk8s-namespace=frr", "-frrk8s-secret-passthrough", "--bgp-debounce-timeout=100ms"];
        let args = args(&[&["--node-name=wk01"], &flags[..]].concat());
        args.settings().expect("they change nothing");
        let lines =
            log_lines::of(|| ferrolb_shell::process::flags::log_without_effect(&args.without_effect()));
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["flags"], "--frrk8s-namespace --frrk8s-secret-passthrough --bgp-debounce-timeout");
        assert_eq!(line["level"], "info");
    }

    #[test]
    fn g32_g39_other_flags() {
        assert!(refused(&["--node-name=wk01", "--host=wk01.local"]).contains("wk01.local"));
        let args = args(&["--node-name=wk01", "-ignore-exclude-lb", "-ml-wan-config=true", "--lb-class=x"]);
        assert_eq!(args.without_effect(), ["--ml-wan-config"]);
        let settings = args.settings().expect("all of these exist");
        assert!(settings.ignore_exclude_label);
        assert_eq!(settings.load_balancer_class.as_deref(), Some("x"));
    }
}
