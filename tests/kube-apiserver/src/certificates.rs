//! The certificates of one API server: an authority, the server's own, and one for each user that has no token.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Names under which Pods know the API server.
const NAMES: &[&str] = &["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// An authority of this test's own, with its files in a folder.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes the authority (`ca.crt`), the server's certificate for `addresses` (`server.crt`, `server.key`) and the key
    /// that signs the tokens of service accounts (`accounts.key`, `accounts.pub`).
    pub(crate) fn create(folder: &Path, addresses: &[IpAddr]) -> Self {
        let mut authority = named("ferrolb test authority", None);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = key();
        let certificate = authority.self_signed(&key).expect("the parameters are sound");
        write(&folder.join("ca.crt"), &certificate.pem());
        let made = Self { folder: folder.to_owned(), issuer: Issuer::new(authority, key) };

        let mut server = named("kube-apiserver", None);
        let names = NAMES.iter().map(|name| SanType::DnsName((*name).try_into().expect("names are ASCII")));
        server.subject_alt_names = names.chain(addresses.iter().copied().map(SanType::IpAddress)).collect();
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        made.sign("server", &server);
        let accounts = self::key();
        write(&folder.join("accounts.key"), &accounts.serialize_pem());
        write(&folder.join("accounts.pub"), &accounts.public_key_pem());
        made
    }

    /// A certificate that says who its holder is, and in which group. Gives the paths of the certificate and of its key.
    pub(crate) fn user(&self, file: &str, name: &str, group: Option<&str>) -> (PathBuf, PathBuf) {
        let mut user = named(name, group);
        user.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, &user)
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    fn sign(&self, file: &str, parameters: &CertificateParams) -> (PathBuf, PathBuf) {
        let key = key();
        let certificate = parameters.signed_by(&key, &self.issuer).expect("the parameters are sound");
        let paths = (self.folder.join(format!("{file}.crt")), self.folder.join(format!("{file}.key")));
        write(&paths.0, &certificate.pem());
        write(&paths.1, &key.serialize_pem());
        paths
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}

/// The API server reads the user's name from CN and the group from O.
fn named(name: &str, group: Option<&str>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        parameters.distinguished_name.push(DnType::OrganizationName, group);
    }
    parameters
}

/// Readable by us alone.
pub(crate) fn write(path: &Path, text: &str) {
    let mut options = fs::File::options();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(text.as_bytes()).expect("the disk has room");
}
