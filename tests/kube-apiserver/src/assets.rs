//! Where the binaries are: in the directory that `KUBEBUILDER_ASSETS` names, as for every other envtest.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Once;

/// The variable that setup-envtest's users know.
const VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// How to get the binaries.
const HOW: &str = "export KUBEBUILDER_ASSETS=$(tests/kube-apiserver/install)";

/// A directory with kube-apiserver, etcd and kubectl in it.
#[derive(Clone, Debug)]
pub(crate) struct Assets {
    folder: PathBuf,
}

impl Assets {
    /// `None` if the variable is not set: the test is skipped then, and one line says so.
    ///
    /// # Panics
    /// If the variable is not set although `CI` is, or names a directory that lacks a binary.
    pub(crate) fn find() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| value != OsStr::new(""));
        let Some(folder) = set(VARIABLE) else {
            assert!(set("CI").is_none(), "{VARIABLE} must be set where CI is: {HOW}");
            static ONCE: Once = Once::new();
            ONCE.call_once(|| {
                // Past libtest's capture. Without standard error there is nobody to tell.
                let _ = writeln!(
                    io::stderr(),
                    "\nSKIPPED, nothing was tested against a real API server. To have it: {HOW}\n"
                );
            });
            return None;
        };
        let folder = PathBuf::from(folder);
        for name in ["etcd", "kube-apiserver", "kubectl"] {
            let path = folder.join(name);
            assert!(path.is_file(), "{VARIABLE} is set, but there is no {}: {HOW}", path.display());
        }
        Some(Self { folder })
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub(crate) fn kube_apiserver(&self) -> PathBuf {
        self.folder.join("kube-apiserver")
    }

    pub(crate) fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }

    /// # Panics
    /// If there is none: setup-envtest's directories have none.
    pub(crate) fn kube_controller_manager(&self) -> PathBuf {
        let path = self.folder.join("kube-controller-manager");
        assert!(path.is_file(), "there is no {}: {HOW}", path.display());
        path
    }
}
