//! The namespace that the process and MetalLB's objects live in (G2).

use std::io;
use std::path::Path;

/// Where Kubernetes tells a Pod its namespace (G40).
pub const SERVICE_ACCOUNT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Why the namespace is unknown.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Neither the flag nor the file says it.
    #[error(
        "cannot tell which namespace to work in: set --namespace or METALLB_NAMESPACE; \
         {path} cannot be read: {error}"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why it cannot be read.
        error: io::Error,
    },
    /// The file is empty.
    #[error("cannot tell which namespace to work in: set --namespace or METALLB_NAMESPACE; {path} is empty")]
    Empty {
        /// The file.
        path: String,
    },
}

/// The namespace of `--namespace` or `METALLB_NAMESPACE` if it is not empty,
/// else of the ServiceAccount's file (G2).
///
/// # Errors
/// If neither says it.
pub fn own(flag: &str) -> Result<String, NamespaceError> {
    own_or_in(flag, Path::new(SERVICE_ACCOUNT_FILE))
}

fn own_or_in(flag: &str, file: &Path) -> Result<String, NamespaceError> {
    if !flag.is_empty() {
        return Ok(flag.to_owned());
    }
    let path = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| NamespaceError::Unreadable { path: path.clone(), error })?;
    match text.trim() {
        "" => Err(NamespaceError::Empty { path }),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g2_flag_then_file_then_a_clear_error() {
        let directory = std::env::temp_dir().join(format!("metallb-namespace-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let file = directory.join("namespace");
        let missing = own_or_in("", &file).expect_err("the file is not there yet");
        assert!(missing.to_string().contains("--namespace"), "{missing}");
        std::fs::write(&file, "metallb-system\n").expect("the temporary directory is writable");
        assert_eq!(own_or_in("", &file).expect("the file says it"), "metallb-system");
        assert_eq!(own_or_in("other", &file).expect("the flag says it"), "other");
        std::fs::write(&file, " \n").expect("the temporary directory is writable");
        assert!(matches!(own_or_in("", &file), Err(NamespaceError::Empty { .. })));
        std::fs::remove_dir_all(&directory).expect("it was made above");
    }
}
