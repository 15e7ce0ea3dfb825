//! Where a person finds things: logs, and a script that runs a command inside a namespace of the cluster.

use std::cell::Cell;
use std::fs::{self, DirBuilder};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cluster::Cluster;
use kube_apiserver::ApiUser;

/// A directory for logs; one of our own making goes with the value.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    is_ours: Cell<bool>,
}

impl Folder {
    pub(crate) fn new(wanted: Option<PathBuf>) -> anyhow::Result<Self> {
        let is_ours = wanted.is_none();
        let new = || std::env::temp_dir().join(format!("ferrolb-cluster-{}", std::process::id()));
        let path = wanted.unwrap_or_else(new);
        let mut builder = DirBuilder::new();
        // One of our own is new, and nobody else writes into it.
        builder.mode(if is_ours { 0o700 } else { 0o755 }).recursive(!is_ours);
        builder.create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        Ok(Self { path, is_ours: is_ours.into() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same, and it stays: somebody wants to read what went wrong.
    pub(crate) fn kept(&self) -> &Path {
        self.is_ours.set(false);
        &self.path
    }

    /// Writes the script `on`. Gives its path.
    pub(crate) fn write_tools(&self, cluster: &Cluster) -> anyhow::Result<PathBuf> {
        let pid = std::process::id();
        let named = |(name, namespace): (String, &tests::namespaces::Namespace)| {
            format!("    {name}) net=/proc/{pid}/fd/{} ;;\n", namespace.file().as_raw_fd())
        };
        let cases: String = cluster.lan().namespaces().map(named).collect();
        let names: Vec<String> = cluster.lan().namespaces().map(|(name, _)| name).collect();
        let kubeconfig = cluster.api().kubeconfig(&ApiUser::Admin);
        let assets = std::env::var("KUBEBUILDER_ASSETS").unwrap_or_default();
        // Root needs no user namespace, and is in none of ours.
        let text = format!(
            "#!/bin/sh\n\
             # on PLACE COMMAND...: runs a command in a namespace of the cluster.\n\
             place=$1\n\
             [ $# -ge 2 ] && shift || {{ echo \"usage: on PLACE COMMAND...; PLACE is console, {names}\" >&2; exit 2; }}\n\
             case $place in\n    console) net=/proc/{pid}/ns/net ;;\n{cases}    \
             *) echo \"on: there is no $place; say console, {names}\" >&2; exit 2 ;;\n\
             esac\n\
             user=\n\
             [ \"$(readlink /proc/{pid}/ns/user)\" = \"$(readlink /proc/self/ns/user)\" ] || \
             user=\"--user=/proc/{pid}/ns/user --preserve-credentials\"\n\
             export KUBECONFIG='{kubeconfig}' PATH=\"$PATH:{assets}\"\n\
             exec nsenter $user --net=$net -- \"$@\"\n",
            names = names.join(", "),
            kubeconfig = kubeconfig.display(),
        );
        let path = self.path.join("on");
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// What to try first.
    pub(crate) fn introduction(&self, tools: &Path, service: &str, address: Ipv4Addr) -> String {
        let on = tools.display();
        format!(
            "\nThe cluster runs. In another terminal:\n\
             \n    {on} console kubectl get service {service}\
             \n    {on} client curl http://{address}\
             \n    {on} router ip neighbour\
             \n    {on} wk01 tcpdump -eni eth0 arp\n\
             \n{on} alone names the places. Logs of every program are in {}.\
             \nHere, try: status, kill owner, cut owner, mend, help, quit.\n",
            self.path.display()
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_ours.get() {
            // Somebody may be in it: then it stays.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
