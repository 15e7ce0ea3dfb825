//! What is fixed when a speaker starts.

use std::net::SocketAddr;

use ferrolb_api::NodeName;

/// The settings of one speaker, for as long as its process lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node it runs on.
    pub node: NodeName,
    /// `--lb-class` (C2).
    pub load_balancer_class: Option<String>,
    /// `--ignore-exclude-lb` (D12).
    pub ignore_exclude_label: bool,
    /// Where peers reach it; an unspecified address stands for the one that
    /// Kubernetes names for its Pod, of IPv4 for 0.0.0.0, the first for `::`.
    /// `None` switches membership off, and every known Node is a candidate (E2).
    pub gossip_address: Option<SocketAddr>,
    /// The shared secret, as read from the mounted file; `None` sends and
    /// accepts plain datagrams (`--insecure-gossip`).
    pub gossip_secret: Option<Vec<u8>>,
    /// Milliseconds since the Unix epoch at start: a restarted speaker's
    /// identity wins over the one it had before.
    pub boot_id: u64,
    /// Seed of every random choice: jitter, probe order, nonces.
    pub seed: [u8; 32],
}
