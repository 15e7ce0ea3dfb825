//! How `/metrics` is encrypted: the `--tls-...` flags, checked (G14 to G16).

pub mod certificate;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, CipherSuite, NamedGroup, ServerConfig};

/// The oldest protocol that is spoken (G14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Floor {
    /// `VersionTLS12`
    Tls12,
    /// `VersionTLS13`, as in MetalLB v0.16 where nothing is said (M15).
    #[default]
    Tls13,
}

/// What `--tls-min-version` may hold.
const FLOORS: [(&str, Floor); 2] = [("VersionTLS12", Floor::Tls12), ("VersionTLS13", Floor::Tls13)];

/// Suites of TLS 1.2 by the names that `--tls-cipher-suites` takes (G15).
const SUITES: [(&str, CipherSuite); 8] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    // Go's older names of the two above.
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Suites of TLS 1.3, which are always offered: Go takes their names as well,
/// and they change nothing there either.
const SUITES_OF_TLS13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Suites of TLS 1.2 that Go still has and that no client needs any more: RC4,
/// 3DES, CBC, and RSA without forward secrecy. MetalLB takes their names, so a
/// list that holds them is no mistake; they are left out.
const SUITES_LEFT_OUT: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// Groups by their numbers in the TLS registry, which `--tls-curve-preferences`
/// takes (G16).
const GROUPS: [(u16, NamedGroup); 3] =
    [(23, NamedGroup::secp256r1), (24, NamedGroup::secp384r1), (29, NamedGroup::X25519)];

/// Groups that Go has and ring has not: P-521 and the hybrids with ML-KEM.
const GROUPS_LEFT_OUT: [u16; 4] = [25, 4587, 4588, 4589];

/// How `/metrics` is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `--tls-min-version`
    pub floor: Floor,
    /// `--tls-cipher-suites`: which suites of TLS 1.2 are offered; `None` is all.
    pub suites: Option<Vec<CipherSuite>>,
    /// `--tls-curve-preferences`: best first; `None` is all.
    pub groups: Option<Vec<NamedGroup>>,
    /// `--metrics-cert-dir`: where `tls.crt` and `tls.key` lie (G17); `None` is a
    /// certificate of our own making.
    pub certificates: Option<PathBuf>,
    /// What was asked for and is not offered here.
    pub left_out: Vec<String>,
}

/// A TLS flag that cannot be followed; the process exits with 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFlagError {
    /// G14
    #[error("--tls-min-version is {0:?}: use VersionTLS12 or VersionTLS13")]
    Version(String),
    /// G15
    #[error("--tls-cipher-suites has {0:?}, which is none: use a list of {allowed}", allowed = suite_names())]
    Suite(String),
    /// G15: only suites that are left out.
    #[error("--tls-cipher-suites leaves none for TLS 1.2: add one of {allowed}", allowed = suite_names())]
    NoSuite,
    /// G15, M15
    #[error(
        "--tls-cipher-suites is about TLS 1.2, and the oldest version is 1.3: add \
         --tls-min-version=VersionTLS12, or leave it out, for the suites of TLS 1.3 are always on"
    )]
    SuitesOfTls13,
    /// G16
    #[error("--tls-curve-preferences has {0:?}: use a list of 23 (P-256), 24 (P-384) and 29 (X25519)")]
    Group(String),
    /// G16: only groups that are left out.
    #[error("--tls-curve-preferences leaves none: add one of 23 (P-256), 24 (P-384) and 29 (X25519)")]
    NoGroup,
}

fn suite_names() -> String {
    // The last two are other names of suites that stand before them.
    SUITES[..SUITES.len() - 2].iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl TlsSettings {
    /// Reads the flags; an empty one is as good as none.
    ///
    /// # Errors
    /// A value that is none, or values that leave nothing to offer.
    pub fn parse(version: &str, suites: &str, groups: &str) -> Result<Self, TlsFlagError> {
        let mut left_out = Vec::new();
        let floor = floor(version)?;
        let suites = parse_suites(suites, &mut left_out)?;
        let groups = parse_groups(groups, &mut left_out)?;
        Ok(Self { floor, suites, groups, certificates: None, left_out })
    }

    /// Whether the values go together. They need not where nothing is encrypted.
    ///
    /// # Errors
    /// Suites of TLS 1.2 where TLS 1.2 is not spoken.
    pub fn check(&self) -> Result<(), TlsFlagError> {
        match (&self.suites, self.floor) {
            (Some(_), Floor::Tls13) => Err(TlsFlagError::SuitesOfTls13),
            _ => Ok(()),
        }
    }

    /// What a listener needs.
    ///
    /// # Errors
    /// None that the checks above leave possible.
    pub fn server(&self, certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
        let versions: &[_] = match self.floor {
            Floor::Tls12 => &[&TLS13, &TLS12],
            Floor::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(self.provider()));
        let builder = builder.with_protocol_versions(versions)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if let Some(wanted) = &self.suites {
            provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&suite.suite()));
        }
        if let Some(wanted) = &self.groups {
            let all = std::mem::take(&mut provider.kx_groups);
            let named = |name: &NamedGroup| all.iter().find(|group| group.name() == *name).copied();
            provider.kx_groups = wanted.iter().filter_map(named).collect();
        }
        provider
    }
}

fn floor(text: &str) -> Result<Floor, TlsFlagError> {
    let found = FLOORS.iter().find(|(name, _)| *name == text).map(|(_, floor)| *floor);
    let none = text.is_empty().then(Floor::default);
    found.or(none).ok_or_else(|| TlsFlagError::Version(text.to_owned()))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |_| !text.is_empty())
}

fn parse_suites(text: &str, left_out: &mut Vec<String>) -> Result<Option<Vec<CipherSuite>>, TlsFlagError> {
    let mut wanted = Vec::new();
    for name in items(text) {
        if let Some((_, suite)) = SUITES.iter().find(|(known, _)| *known == name) {
            wanted.push(*suite);
        } else if SUITES_LEFT_OUT.contains(&name) {
            left_out.push(name.to_owned());
        } else if !SUITES_OF_TLS13.contains(&name) {
            return Err(TlsFlagError::Suite(name.to_owned()));
        }
    }
    match wanted.is_empty() {
        true if text.is_empty() => Ok(None),
        true => Err(TlsFlagError::NoSuite),
        false => Ok(Some(wanted)),
    }
}

fn parse_groups(text: &str, left_out: &mut Vec<String>) -> Result<Option<Vec<NamedGroup>>, TlsFlagError> {
    let mut wanted = Vec::new();
    for item in items(text) {
        let unknown = || TlsFlagError::Group(item.to_owned());
        let number: u16 = item.parse().map_err(|_| unknown())?;
        match GROUPS.iter().find(|(known, _)| *known == number) {
            Some((_, group)) if wanted.contains(group) => return Err(unknown()),
            Some((_, group)) => wanted.push(*group),
            None if GROUPS_LEFT_OUT.contains(&number) => left_out.push(format!("group {number}")),
            None => return Err(unknown()),
        }
    }
    match wanted.is_empty() {
        true if text.is_empty() => Ok(None),
        true => Err(TlsFlagError::NoGroup),
        false => Ok(Some(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(version: &str, suites: &str, groups: &str) -> String {
        let parsed = TlsSettings::parse(version, suites, groups);
        parsed.and_then(|settings| settings.check()).expect_err("it must not start like this").to_string()
    }

    #[test]
    fn g14_versions() {
        for (text, expected) in
            [("", Floor::Tls13), ("VersionTLS12", Floor::Tls12), ("VersionTLS13", Floor::Tls13)]
        {
            let settings = TlsSettings::parse(text, "", "").expect("MetalLB takes it");
            assert_eq!(settings, TlsSettings { floor: expected, ..TlsSettings::default() }, "{text:?}");
        }
        for text in ["1.2", "VersionTLS10", "VersionTLS11", "versiontls12", "VersionTLS12 "] {
            assert!(refused(text, "", "").contains("use VersionTLS12 or VersionTLS13"), "{text:?}");
        }
    }

    #[test]
    fn g15_suites() {
        let list = "TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,\
                    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
        let settings = TlsSettings::parse("VersionTLS12", list, "").expect("Go takes all of these");
        settings.check().expect("TLS 1.2 is spoken");
        let expected = [
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        assert_eq!(settings.suites.as_deref(), Some(&expected[..]));
        assert_eq!(settings.left_out, ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]);
        let offered: Vec<CipherSuite> =
            settings.provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(offered.len(), 3 + expected.len(), "those of TLS 1.3 stay: {offered:?}");
        assert!(expected.iter().all(|suite| offered.contains(suite)), "{offered:?}");

        let one = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        for version in ["", "VersionTLS13"] {
            assert!(refused(version, one, "").contains("--tls-min-version=VersionTLS12"), "M15");
        }
        for list in ["AES128", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,", ","] {
            let text = refused("VersionTLS12", list, "");
            assert!(text.contains("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), "{list}: {text}");
        }
        assert!(refused("VersionTLS12", "TLS_RSA_WITH_AES_128_CBC_SHA", "").contains("leaves none"));
    }

    #[test]
    fn g16_groups() {
        let settings = TlsSettings::parse("", "", "4588, 24,29").expect("Go takes all of these");
        assert_eq!(settings.groups.as_deref(), Some(&[NamedGroup::secp384r1, NamedGroup::X25519][..]));
        assert_eq!(settings.left_out, ["group 4588"]);
        let offered: Vec<NamedGroup> =
            settings.provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(offered, [NamedGroup::secp384r1, NamedGroup::X25519], "in the order given");
        for list in ["0", "-1", "65536", "P256", "23,23", "23,", "1"] {
            assert!(refused("", "", list).contains("29 (X25519)"), "{list}");
        }
        assert!(refused("", "", "25").contains("leaves none"));
    }

    #[test]
    fn every_name_is_one_of_a_suite_that_ring_has() {
        let all = ring::default_provider().cipher_suites;
        for (name, suite) in SUITES {
            assert!(all.iter().any(|known| known.suite() == suite), "{name}");
        }
        let groups = ring::default_provider().kx_groups;
        for (number, group) in GROUPS {
            assert!(groups.iter().any(|known| known.name() == group), "{number}");
            assert_eq!(u16::from(group), number);
        }
    }
}
