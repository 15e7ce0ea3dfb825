//! The certificate of the metrics' listener: from files that are read again
//! when they change, or of our own making (G17).

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::process::shutdown::Shutdown;

/// The chain, the server's own certificate first.
pub const CHAIN_FILE: &str = "tls.crt";
/// The key of that certificate.
pub const KEY_FILE: &str = "tls.key";
/// How often the files are looked at. A kubelet needs up to a minute to bring a
/// changed Secret into its mount, so more often would not be noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The largest file that is read; a chain takes a few thousand bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} holds no {what} in PEM: {error}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        error: PemError,
    },
    /// Certificate and key are of no use, or not of each other.
    #[error("{CHAIN_FILE} and {KEY_FILE} in {} cannot be used: {error}", directory.display())]
    Unusable {
        /// Where they lie.
        directory: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// Our own certificate could not be made.
    #[error("a certificate cannot be made: {0}")]
    NotMade(rcgen::Error),
    /// Our own certificate cannot be used.
    #[error("the certificate that was made cannot be used: {0}")]
    MadeWrong(rustls::Error),
}

impl From<rcgen::Error> for CertificateError {
    fn from(error: rcgen::Error) -> Self {
        Self::NotMade(error)
    }
}

/// The certificate that the next client is shown.
#[derive(Debug)]
pub struct Certificate {
    current: RwLock<Arc<CertifiedKey>>,
    files: Option<Files>,
}

/// Where a certificate comes from, and what stood there.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
    first: Contents,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// The one in a directory.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn from_directory(directory: &Path) -> Result<Arc<Self>, CertificateError> {
        let first = Contents::read(directory)?;
        let current = RwLock::new(Arc::new(first.certified(directory)?));
        let files = Some(Files { directory: directory.to_owned(), first });
        Ok(Arc::new(Self { current, files }))
    }

    /// One made now, for whoever does not check it, as MetalLB's ServiceMonitors
    /// do not. It is good for ten years, which is longer than a process runs.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn self_signed() -> Result<Arc<Self>, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        // A day of grace for clocks that are behind.
        let yesterday = today.saturating_sub(1.day());
        let day = |date: jiff::civil::Date, year: i32| {
            // Of the 29th of February there is none in most years.
            let day = date.day().min(28).unsigned_abs();
            rcgen::date_time_ymd(year, date.month().unsigned_abs(), day)
        };
        params.not_before = day(yesterday, yesterday.year().into());
        params.not_after = day(today, i32::from(today.year()) + 10);
        let chain = vec![params.self_signed(&key)?.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let made = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let current = RwLock::new(Arc::new(made.map_err(CertificateError::MadeWrong)?));
        Ok(Arc::new(Self { current, files: None }))
    }

    /// Reads the files again whenever they change, until the process ends. What
    /// cannot be used is told once, and the certificate before it stays.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        let Some(files) = &self.files else { return };
        tokio::select! {
            () = self.read_again(files) => {}
            () = shutdown.wait_owned() => {}
        }
    }

    async fn read_again(&self, files: &Files) {
        let mut known = Ok(files.first.clone());
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let directory = files.directory.clone();
            let read = tokio::task::spawn_blocking(move || Contents::read(&directory));
            let read = read.await.expect("reading files does not panic");
            let read = read.map_err(|error| error.to_string());
            if read == known {
                continue;
            }
            let certified = read
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|contents| contents.certified(&files.directory).map_err(|error| error.to_string()));
            match certified {
                Ok(certified) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                    tracing::info!(
                        event = "certificateReloaded", directory = %files.directory.display(),
                        "the metrics have a new certificate"
                    );
                }
                Err(error) => tracing::warn!(
                    op = "https",
                    error,
                    "the metrics' certificate cannot be read again; the one before it stays"
                ),
            }
            known = read;
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Contents {
    fn read(directory: &Path) -> Result<Self, CertificateError> {
        Ok(Self { chain: bytes(&directory.join(CHAIN_FILE))?, key: bytes(&directory.join(KEY_FILE))? })
    }

    fn certified(&self, directory: &Path) -> Result<CertifiedKey, CertificateError> {
        let not_pem =
            |file: &str, what, error| CertificateError::NotPem { path: directory.join(file), what, error };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<Result<_, _>>()
            .and_then(|chain: Vec<_>| if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) })
            .map_err(|error| not_pem(CHAIN_FILE, "certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| not_pem(KEY_FILE, "private key", error))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| CertificateError::Unusable { directory: directory.to_owned(), error })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = || {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, MOST_BYTES), &mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::CertifiedKey as Made;

    fn made() -> Made<KeyPair> {
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("it can be made")
    }

    /// A directory of the test's own, and what writes a file into it.
    fn directory(name: &str) -> (PathBuf, impl Fn(&str, &str)) {
        let directory = std::env::temp_dir().join(format!("metrics-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let into = directory.clone();
        let write = move |file: &str, text: &str| {
            std::fs::write(into.join(file), text).expect("the temporary directory is writable");
        };
        (directory, write)
    }

    #[tokio::test(start_paused = true)]
    async fn g17_what_cannot_be_used_changes_nothing() {
        let (directory, write) = directory("rotation");
        let renew = |with: &Made<KeyPair>| {
            write(CHAIN_FILE, &with.cert.pem());
            write(KEY_FILE, &with.signing_key.serialize_pem());
        };
        let (first, second) = (made(), made());
        renew(&first);
        let certificate = Certificate::from_directory(&directory).expect("they belong together");
        let shown = || certificate.current.read().expect("nothing panicked").cert[0].clone();
        let (_trigger, shutdown) = crate::process::shutdown::channel();
        tokio::spawn(certificate.clone().follow(shutdown));

        write(KEY_FILE, "half written");
        tokio::time::sleep(3 * LOOK_AGAIN).await;
        assert_eq!(shown(), *first.cert.der());
        renew(&second);
        tokio::time::sleep(3 * LOOK_AGAIN).await;
        assert_eq!(shown(), *second.cert.der());
        std::fs::remove_dir_all(&directory).expect("it was made above");
    }

    #[test]
    fn g17_what_is_wrong_with_the_files_is_named() {
        let (directory, write) = directory("certificate");
        let error = |why: &str| Certificate::from_directory(&directory).expect_err(why).to_string();
        let (one, other) = (made(), made());

        assert!(error("no files").contains("tls.crt cannot be read"));
        write(CHAIN_FILE, "no PEM");
        assert!(error("no key").contains("tls.key cannot be read"));
        write(KEY_FILE, &one.signing_key.serialize_pem());
        assert!(error("no certificate").contains("tls.crt holds no certificate"));
        write(CHAIN_FILE, &other.cert.pem());
        assert!(error("not of each other").contains("cannot be used"));
        write(CHAIN_FILE, &one.cert.pem());
        Certificate::from_directory(&directory).expect("they belong together");
        write(KEY_FILE, "");
        assert!(error("an empty key").contains("tls.key holds no private key"));
        std::fs::remove_dir_all(&directory).expect("it was made above");
    }

    #[test]
    fn g17_a_certificate_of_our_own_can_be_used() {
        let certificate = Certificate::self_signed().expect("there is randomness");
        let current = certificate.current.read().expect("nothing panicked").clone();
        assert_eq!(current.cert.len(), 1);
        current.keys_match().expect("they were made together");
    }
}
