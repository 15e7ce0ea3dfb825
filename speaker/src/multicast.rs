//! Multicast groups: joined through ordinary IPv6 sockets, so that the kernel
//! programs the NIC and tells the routers and snooping switches (MLD). What comes
//! in is read elsewhere, from the packet socket.
//!
//! A thread of its own does it: the kernel takes a lock for each group that
//! others on the node hold for long, and no answer may wait for that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use speaker_core::InterfaceId;

/// Groups on one socket. What a socket may hold is bounded by
/// `net.core.optmem_max`, which has been 20,480 bytes for long: some 365 groups.
const GROUPS_PER_SOCKET: usize = 300;
/// Sockets for more memberships than any node has.
const MAX_SOCKETS: usize = 256;
/// After this time a group that could not be joined is tried again: IPv6 may be
/// switched on later than the link.
const RETRY: Duration = Duration::from_secs(2);

/// A group on an interface.
type Key = (InterfaceId, Ipv6Addr);

/// What became of memberships.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MulticastCounts {
    /// Joined now.
    pub joined: u64,
    /// Wanted, but refused by the kernel for the time being.
    pub missing: u64,
    /// Refusals since start.
    pub failures: u64,
}

/// Opens the first socket, so that it is there before privileges go.
///
/// # Errors
/// If the kernel has no IPv6.
pub fn open() -> io::Result<Socket> {
    Socket::new(Domain::IPV6, Type::DGRAM, None)
}

/// The handle to the thread. Dropping it ends the thread and leaves all groups.
#[derive(Debug)]
pub struct MulticastSockets {
    shared: Arc<Shared>,
    joins: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// With the number of the join that asked for it: one that was left and
    /// joined again meanwhile has to be joined anew.
    wanted: BTreeMap<Key, u64>,
    has_changed: bool,
    is_over: bool,
    counts: MulticastCounts,
}

impl MulticastSockets {
    /// Starts the thread with the socket that is open already, if any.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(first: Option<Socket>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let sockets = first.into_iter().map(|socket| Members { socket, groups: 0 }).collect();
        let mut joiner = Joiner { sockets, joined: BTreeMap::new(), missing: BTreeSet::new(), failures: 0 };
        let told = Arc::clone(&shared);
        thread::Builder::new().name("groups".to_owned()).spawn(move || joiner.run(&told))?;
        Ok(Self { shared, joins: 0 })
    }

    /// Receives `group` on `interface` from now on.
    pub fn join(&mut self, interface: InterfaceId, group: Ipv6Addr) {
        self.joins += 1;
        let number = self.joins;
        self.change(|state| state.wanted.insert((interface, group), number));
    }

    /// No longer.
    pub fn leave(&mut self, interface: InterfaceId, group: Ipv6Addr) {
        self.change(|state| state.wanted.remove(&(interface, group)));
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> MulticastCounts {
        self.shared.state().counts
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) {
        let mut state = self.shared.state();
        change(&mut state);
        state.has_changed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for MulticastSockets {
    fn drop(&mut self) {
        self.change(|state| state.is_over = true);
    }
}

impl Shared {
    /// What is in it is valid at any moment, whoever panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, or until it is time to try again. Gives what is wanted;
    /// `None` at the end.
    fn next(&self, is_retrying: bool) -> Option<BTreeMap<Key, u64>> {
        let is_idle = |state: &mut State| !state.has_changed && !state.is_over;
        let state = self.state();
        let mut state = if is_retrying {
            self.changed.wait_timeout_while(state, RETRY, is_idle).unwrap_or_else(PoisonError::into_inner).0
        } else {
            self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner)
        };
        state.has_changed = false;
        (!state.is_over).then(|| state.wanted.clone())
    }
}

/// A socket and how many groups it is in.
#[derive(Debug)]
struct Members {
    socket: Socket,
    groups: usize,
}

/// What the thread has.
#[derive(Debug)]
struct Joiner {
    sockets: Vec<Members>,
    /// With the number of the join and the place of the socket.
    joined: BTreeMap<Key, (u64, usize)>,
    missing: BTreeSet<Key>,
    failures: u64,
}

impl Joiner {
    fn run(&mut self, shared: &Shared) {
        while let Some(wanted) = shared.next(!self.missing.is_empty()) {
            self.reconcile(&wanted);
            let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
            shared.state().counts = MulticastCounts {
                joined: count(self.joined.len()),
                missing: count(self.missing.len()),
                failures: self.failures,
            };
        }
    }

    /// Makes what is joined what is wanted, as far as the kernel lets us.
    fn reconcile(&mut self, wanted: &BTreeMap<Key, u64>) {
        let surplus =
            |(key, (number, _)): (&Key, &(u64, usize))| (wanted.get(key) != Some(number)).then_some(*key);
        let surplus: Vec<Key> = self.joined.iter().filter_map(surplus).collect();
        for key in surplus {
            if let Some((_, at)) = self.joined.remove(&key) {
                // An error means that the interface, and the membership, has gone.
                let _ = self.sockets[at].socket.leave_multicast_v6(&key.1, key.0.0);
                self.sockets[at].groups -= 1;
            }
        }
        self.missing.retain(|key| wanted.contains_key(key));
        for (key, number) in wanted {
            if self.joined.contains_key(key) {
                continue;
            }
            match self.join(*key) {
                Ok(at) => {
                    self.joined.insert(*key, (*number, at));
                    self.missing.remove(key);
                }
                Err(error) => {
                    self.failures += 1;
                    if self.missing.insert(*key) {
                        let (interface, group) = (key.0.0, key.1);
                        tracing::warn!(%error, interface, %group, "cannot join a multicast group, trying again");
                    }
                }
            }
        }
    }

    /// Joins on the first socket that has room. Gives its place.
    fn join(&mut self, (interface, group): Key) -> io::Result<usize> {
        for (at, members) in self.sockets.iter_mut().enumerate() {
            if members.groups >= GROUPS_PER_SOCKET {
                continue;
            }
            match members.socket.join_multicast_v6(&group, interface.0) {
                Ok(()) => {
                    members.groups += 1;
                    return Ok(at);
                }
                // Less room than usual: the next one.
                Err(error) if is_full(&error) && members.groups > 0 => {}
                Err(error) => return Err(error),
            }
        }
        if self.sockets.len() >= MAX_SOCKETS {
            return Err(io::Error::other("there are more groups than sockets for them"));
        }
        let socket = open()?;
        socket.join_multicast_v6(&group, interface.0)?;
        self.sockets.push(Members { socket, groups: 1 });
        Ok(self.sockets.len() - 1)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    fn group(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff5e, number)
    }

    /// How many of the groups made by [`group`] the kernel has on loopback.
    fn in_kernel() -> usize {
        let table = fs::read_to_string("/proc/self/net/igmp6").unwrap_or_default();
        table.lines().filter(|line| line.contains(" lo ") && line.contains("0001ff5e")).count()
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(5);
        while !holds() {
            assert!(Instant::now() < end, "{what}: not within 5 s");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Loopback is an interface as good as any to join on, and index 1 everywhere.
    #[test]
    fn d61_groups_are_joined_on_as_many_sockets_as_it_takes() {
        const LOOPBACK: InterfaceId = InterfaceId(1);
        const NOWHERE: InterfaceId = InterfaceId(999_999);
        let Ok(first) = open() else { return };
        let mut groups = MulticastSockets::start(Some(first)).expect("a thread");
        for number in 0..700 {
            groups.join(LOOPBACK, group(number));
        }
        groups.join(NOWHERE, group(0));
        wait_until("700 groups", || groups.counts().joined == 700 && groups.counts().missing == 1);
        assert_eq!(in_kernel(), 700);
        assert!(groups.counts().failures >= 1);
        for number in 0..699 {
            groups.leave(LOOPBACK, group(number));
        }
        groups.leave(NOWHERE, group(0));
        wait_until("one group left", || groups.counts().joined == 1 && groups.counts().missing == 0);
        assert_eq!(in_kernel(), 1);
        drop(groups);
        wait_until("none left", || in_kernel() == 0);
    }
}
