//! Peers that Kubernetes names and that nobody hears: which, and the likeliest cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ferrolb_api::{NodeName, Time};

/// How long a peer may take to be heard once its Pod runs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a datagram that another secret has sealed counts as the likeliest cause.
const MISMATCH_COUNTS: Duration = Duration::from_secs(10);
/// Names in one text; of more only the number is told.
const MAX_NAMED: usize = 8;

/// Speakers that Kubernetes names and that this one does not meet; its text says why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnheardPeers {
    /// The UDP port of the member list.
    pub port: u16,
    /// Their Pods run, and they are not on the member list.
    pub silent: BTreeSet<NodeName>,
    /// Their Pods have no address of the family that this one speaks.
    pub other_family: BTreeSet<NodeName>,
    /// The family that this one speaks.
    pub is_ipv6: bool,
    /// Nobody is on the list but this node.
    pub is_alone: bool,
    /// Datagrams come that another secret has sealed.
    pub other_secret: bool,
    /// The own Pod has no address that the socket is bound to.
    pub no_address: bool,
}

impl UnheardPeers {
    /// Whether everybody is heard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.silent.is_empty() && self.other_family.is_empty() && !self.no_address
    }
}

impl fmt::Display for UnheardPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_ipv6 { "IPv6" } else { "IPv4" };
        if self.no_address {
            return f.write_str(
                "no other speaker can be met: this Pod has no IPv4 address, so --ml-bindaddr cannot be \
                 0.0.0.0; write :: or the Pod's address",
            );
        }
        if !self.silent.is_empty() {
            let names = names(&self.silent);
            if self.is_alone {
                write!(
                    f,
                    "no other speaker is heard ({names}), so this node announces as if it were alone: "
                )?;
            } else {
                write!(f, "speakers are not heard although their Pods run ({names}): ")?;
            }
            if self.other_secret {
                f.write_str(
                    "datagrams come that another secret has sealed; all speakers need the same Secret",
                )?;
            } else {
                let port = self.port;
                write!(
                    f,
                    "most often a firewall lets TCP {port} through and not UDP {port}, else their nodes are \
                     down or their processes hang"
                )?;
            }
        }
        if !self.other_family.is_empty() {
            let separator = if self.silent.is_empty() { "" } else { "; " };
            let names = names(&self.other_family);
            write!(
                f,
                "{separator}speakers cannot be met over {family}, which --ml-bindaddr asks for ({names}): \
                 their Pods have no such address; give all speakers one family that all nodes have"
            )?;
        }
        Ok(())
    }
}

fn names(nodes: &BTreeSet<NodeName>) -> String {
    let named = nodes.iter().take(MAX_NAMED).map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    match nodes.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// What is known of those that ought to be heard.
#[derive(Debug, Default)]
pub(crate) struct UnheardWatch {
    /// Whose Pods run.
    running: BTreeSet<NodeName>,
    /// Since when each of them has not been on the list.
    since: BTreeMap<NodeName, Time>,
    /// Those that have been at some time.
    heard: BTreeSet<NodeName>,
    /// When a datagram came last that another secret had sealed.
    mismatch_at: Option<Time>,
    /// What was found last.
    found: UnheardPeers,
    /// When the next of them has had its time.
    due: Option<Time>,
}

impl UnheardWatch {
    /// What was found last.
    pub(crate) const fn found(&self) -> &UnheardPeers {
        &self.found
    }

    /// Takes those whose Pods run and that have an address of our family.
    pub(crate) fn set_running(&mut self, running: BTreeSet<NodeName>) {
        self.running = running;
    }

    /// A datagram came that another secret has sealed.
    pub(crate) fn mismatched(&mut self, now: Time) {
        self.mismatch_at = Some(now);
    }

    /// Looks who is missing. `rest` has what this does not know. Gives what it found, if that is news.
    ///
    /// A member that was heard once and is gone is told as such when that happens;
    /// here only if nobody else is left.
    pub(crate) fn check(
        &mut self,
        now: Time,
        alive: &BTreeSet<NodeName>,
        rest: UnheardPeers,
    ) -> Option<UnheardPeers> {
        let running = &self.running;
        self.heard.extend(alive.iter().cloned());
        self.heard.retain(|node| running.contains(node));
        self.since.retain(|node, _| running.contains(node) && !alive.contains(node));
        for node in running.difference(alive) {
            self.since.entry(node.clone()).or_insert(now);
        }
        self.due = self.since.values().map(|since| *since + PATIENCE).filter(|due| *due > now).min();
        let is_alone = alive.len() <= 1;
        let counts = |node: &NodeName| is_alone || !self.heard.contains(node);
        let silent = self.since.iter().filter(|(node, since)| now >= **since + PATIENCE && counts(node));
        let silent: BTreeSet<NodeName> = silent.map(|(node, _)| node.clone()).collect();
        let other_secret = self.mismatch_at.is_some_and(|at| now < at + MISMATCH_COUNTS);
        let found = UnheardPeers {
            is_alone: is_alone && !silent.is_empty(),
            other_secret: other_secret && !silent.is_empty(),
            silent,
            ..rest
        };
        if found == self.found || (found.is_empty() && self.found.is_empty()) {
            return None;
        }
        self.found = found.clone();
        Some(found)
    }

    /// When [`Self::check`] may find something new.
    pub(crate) const fn poll_timeout(&self) -> Option<Time> {
        self.due
    }
}
