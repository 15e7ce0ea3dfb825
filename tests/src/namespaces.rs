//! Network namespaces for tests on the real kernel: entered without root where the host allows it.
//!
//! The program calls [`enter_or_leave`] first thing in `main`, before any thread exists, which is why such tests have
//! `harness = false`. After that it is alone in a network namespace of its own, may configure it, open TAP devices and
//! make further namespaces, one [`Namespace`] for each simulated node.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

use crate::kernel;

/// The network namespace of the thread that opens it.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// The host does not let us have a network namespace with TAP devices.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceRefusal {
    /// `unshare` said no.
    #[error(
        "this host forbids unprivileged user namespaces ({0}).\n  \
         Debian:       sysctl -w kernel.unprivileged_userns_clone=1\n  \
         Ubuntu 23.10: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n  \
         anywhere:     sysctl -w user.max_user_namespaces=10000\n  \
         in a container: run it with CAP_SYS_ADMIN, or a seccomp profile that allows unshare(2)"
    )]
    Namespaces(Errno),
    /// The process has threads already.
    #[error("a user namespace must be entered before the first thread starts")]
    Threads,
    /// The namespace came without capabilities.
    #[error(
        "the user namespace has no capabilities ({0}), which is AppArmor's way of forbidding it.\n  \
         Ubuntu 23.10 and later: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )]
    Capabilities(io::Error),
    /// A file of /proc could not be written.
    #[error("cannot write {path}: {error}; /proc must be mounted and writable")]
    Proc {
        /// Which one.
        path: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// No TAP device.
    #[error("{0}")]
    Tap(#[from] netsim::net::tap::TapError),
}

/// Moves the process into a user namespace (unless it is root already) and a network namespace, and brings `lo` up.
///
/// # Errors
/// If the host forbids it; the message says what to allow.
pub fn enter() -> Result<(), NamespaceRefusal> {
    if !geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        enter_user_namespace()?;
    }
    kernel::set_up("lo").map_err(NamespaceRefusal::Capabilities)?;
    netsim::net::tap::TapPort::open("probe")?;
    Ok(())
}

/// The same for `main`: where the host forbids it the error is printed and the test ends, passed as skipped on a
/// developer's machine, failed where the variable `CI` is set.
///
/// # Errors
/// The exit code to end with.
pub fn enter_or_leave(test: &str) -> Result<(), ExitCode> {
    let Err(refusal) = enter() else { return Ok(()) };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value != OsStr::new(""));
    let verdict = if in_ci { "FAILED (must run where CI is set)" } else { "SKIPPED, nothing was tested" };
    // Without standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "\n{test}: {verdict}: {refusal}\n");
    Err(if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn enter_user_namespace() -> Result<(), NamespaceRefusal> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|error| match error {
        Errno::EINVAL => NamespaceRefusal::Threads,
        other => NamespaceRefusal::Namespaces(other),
    })?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1\n"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1\n"))
}

fn write(path: &'static str, text: &str) -> Result<(), NamespaceRefusal> {
    fs::write(path, text).map_err(|error| NamespaceRefusal::Proc { path, error })
}

/// A further network namespace, with `lo` up. It lives as long as this value, a thread in it, or an open descriptor.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new, empty one. [`enter`] must have succeeded.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> io::Result<Self> {
        let made = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    kernel::set_up("lo")?;
                    File::open(OWN_NAMESPACE)
                })
                .join()
        });
        Ok(Self { file: made.expect("the thread does not panic")? })
    }

    /// The one that the calling thread is in.
    ///
    /// # Errors
    /// If /proc is not mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: File::open(OWN_NAMESPACE)? })
    }

    /// Runs `work` on a thread that is in this namespace. Sockets, TAP devices and child processes made there belong to
    /// the namespace for good, wherever they are used later.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        let joined = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                    Ok(work())
                })
                .join()
        });
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// For a thread or process that shall enter by itself.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

/// Sets a network sysctl of the calling thread's namespace, for instance `ipv4/conf/eth0/arp_ignore`.
///
/// # Errors
/// If there is no such setting, or it may not be written.
pub fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    fs::write(&path, value).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot set {} to {value}: {error}", path.display()))
    })
}
