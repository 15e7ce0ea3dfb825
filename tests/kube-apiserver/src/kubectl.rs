//! kubectl, as somebody at a keyboard would use it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{ApiServer, ApiUser};

/// `kubectl apply` needs at most this many runs: one for the kinds, one for their objects.
const APPLY_RUNS: usize = 2;

impl ApiServer {
    /// Runs kubectl as admin, from the top of the tree, and gives what it prints.
    ///
    /// # Panics
    /// If kubectl fails; shows what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_as(&ApiUser::Admin, arguments, "")
            .unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// Runs kubectl as somebody, with something on its standard input (`-f -`).
    ///
    /// # Errors
    /// If kubectl fails: all that it printed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn kubectl_as(&self, who: &ApiUser, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(self.assets().kubectl())
            .args(arguments)
            .current_dir(root())
            .env("KUBECONFIG", self.kubeconfig(who))
            .env("KUBECACHEDIR", self.folder().join("kubectl"))
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is there");
        let mut stdin = child.stdin.take().expect("it was asked for");
        let input = input.to_owned();
        // kubectl may end before it has read everything.
        let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("it was started");
        let _ = feed.join();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(format!("{out}{err}")) } else { Err(format!("{out}{err}")) }
    }

    /// `kubectl apply -k`, for instance of `manifests/overlays/talos`. kubectl asks for the known kinds before it applies
    /// anything, so where an overlay brings kinds and their objects it takes a second run. Gives the number of runs and
    /// what the last one printed.
    ///
    /// # Panics
    /// If it fails for any other reason.
    pub fn apply_overlay(&self, overlay: &str) -> (usize, String) {
        for run in 1.. {
            match self.kubectl_as(&ApiUser::Admin, &["apply", "-k", overlay], "") {
                Ok(printed) => return (run, printed),
                Err(error) => {
                    let kinds_were_new = error.contains("ensure CRDs are installed first");
                    assert!(kinds_were_new && run < APPLY_RUNS, "kubectl apply -k {overlay}: {error}");
                }
            }
        }
        unreachable!("the loop ends by returning or failing")
    }
}

/// The top of the tree.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
