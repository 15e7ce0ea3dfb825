//! Gives up every privilege, for good, once the sockets are open.
//!
//! Capabilities and `no_new_privs` belong to a thread and are inherited by the
//! threads it starts, so this runs before the first one is started.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getegid, geteuid, setgid, setgroups, setuid};

/// The user and group "nobody" of Kubernetes' and most distributions' images.
pub const NOBODY: u32 = 65534;

/// What is left after [`drop_all`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The user we run as now.
    pub uid: u32,
    /// The group we run as now.
    pub gid: u32,
    /// Why the user or group was kept, if it was.
    pub kept_user: Option<String>,
    /// Capabilities that stay in the bounding set because `CAP_SETPCAP` was
    /// missing. With `no_new_privs` no program can gain them.
    pub bounding_left: BTreeSet<String>,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no capabilities, uid {}, gid {}", self.uid, self.gid)?;
        if let Some(reason) = &self.kept_user {
            write!(f, " (kept: {reason})")?;
        }
        if !self.bounding_left.is_empty() {
            let left: Vec<&str> = self.bounding_left.iter().map(String::as_str).collect();
            write!(f, ", bounding set kept without CAP_SETPCAP: {}", left.join(" "))?;
        }
        Ok(())
    }
}

/// What could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// A call failed for another reason than a missing permission.
    #[error("cannot {what}: {source}")]
    Call {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More than one thread runs: the others would keep what they have.
    #[error("privileges must be dropped before the first thread is started; {0} are running")]
    Threads(usize),
    /// A set is not empty after all.
    #[error("the {set} capability set still holds {left}")]
    Left {
        /// The set.
        set: &'static str,
        /// What is in it.
        left: String,
    },
}

/// Drops all capability sets, becomes [`NOBODY`] where permitted, sets
/// `no_new_privs`, and checks the result.
///
/// # Errors
/// If a permitted step fails or the check finds a capability: a speaker that
/// believes itself harmless must be it.
pub fn drop_all() -> Result<Dropped, DropError> {
    let threads = thread_count().map_err(|error| call("count threads", error))?;
    if threads != 1 {
        return Err(DropError::Threads(threads));
    }
    // Before the user changes: that clears the capabilities which allow this.
    let has_setpcap = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)
        .map_err(|error| call("read capabilities", error))?;
    if has_setpcap {
        caps::clear(None, CapSet::Bounding).map_err(|error| call("clear the bounding set", error))?;
    }
    let kept_user = become_nobody()?;
    for (set, what) in [
        (CapSet::Ambient, "clear the ambient set"),
        (CapSet::Inheritable, "clear the inheritable set"),
        (CapSet::Effective, "clear the effective set"),
        (CapSet::Permitted, "clear the permitted set"),
    ] {
        caps::clear(None, set).map_err(|error| call(what, error))?;
    }
    prctl::set_no_new_privs().map_err(|error| call("set no_new_privs", error))?;
    check(kept_user, has_setpcap)
}

/// Changes group, then user. `Some(reason)` if that is not permitted here: in a
/// container without `CAP_SETUID`, or in a user namespace that maps one user.
fn become_nobody() -> Result<Option<String>, DropError> {
    if !geteuid().is_root() {
        return Ok(Some("not root".to_owned()));
    }
    let mut kept = None;
    let mut step = |what, result: nix::Result<()>| match result {
        Ok(()) => Ok(()),
        // EPERM: no capability. EINVAL: no such id in this user namespace.
        Err(error @ (Errno::EPERM | Errno::EINVAL)) => {
            kept.get_or_insert_with(|| format!("cannot {what}: {}", error.desc()));
            Ok(())
        }
        Err(error) => Err(call(what, error)),
    };
    step("give up the supplementary groups", setgroups(&[]))?;
    step("change the group", setgid(Gid::from_raw(NOBODY)))?;
    step("change the user", setuid(Uid::from_raw(NOBODY)))?;
    Ok(kept)
}

/// Reads everything back.
fn check(kept_user: Option<String>, bounding_must_be_empty: bool) -> Result<Dropped, DropError> {
    let read = |set| caps::read(None, set).map_err(|error| call("read capabilities", error));
    let names = |set: caps::CapsHashSet| set.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    for (set, name) in [
        (CapSet::Effective, "effective"),
        (CapSet::Permitted, "permitted"),
        (CapSet::Inheritable, "inheritable"),
        (CapSet::Ambient, "ambient"),
    ] {
        let left = names(read(set)?);
        if !left.is_empty() {
            return Err(DropError::Left { set: name, left: format!("{left:?}") });
        }
    }
    let bounding_left = names(read(CapSet::Bounding)?);
    if bounding_must_be_empty && !bounding_left.is_empty() {
        return Err(DropError::Left { set: "bounding", left: format!("{bounding_left:?}") });
    }
    if !prctl::get_no_new_privs().map_err(|error| call("read no_new_privs", error))? {
        return Err(call("set no_new_privs", io::Error::other("it did not stay set")));
    }
    Ok(Dropped { uid: geteuid().as_raw(), gid: getegid().as_raw(), kept_user, bounding_left })
}

/// How many threads this process has.
fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

fn call(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DropError {
    DropError::Call { what, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_leave_other_threads_privileged() {
        // The test runner's main thread is beside this one.
        let error = drop_all().expect_err("more than one thread runs");
        assert!(matches!(error, DropError::Threads(2..)), "{error}");
    }

    #[test]
    fn says_what_was_kept() {
        let nobody = Dropped { uid: NOBODY, gid: NOBODY, kept_user: None, bounding_left: BTreeSet::new() };
        assert_eq!(nobody.to_string(), "no capabilities, uid 65534, gid 65534");
        let pod = Dropped {
            uid: 0,
            gid: 0,
            kept_user: Some("cannot change the user: Operation not permitted".to_owned()),
            bounding_left: BTreeSet::from(["CAP_NET_RAW".to_owned()]),
        };
        let text = pod.to_string();
        assert!(
            text.contains("uid 0") && text.contains("not permitted") && text.contains("CAP_NET_RAW"),
            "{text}"
        );
    }
}
