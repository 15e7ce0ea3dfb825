//! The speaker's state machine; it dispatches, others decide.

use std::collections::VecDeque;
use std::net::SocketAddr;

use metallb_api::{NodeName, Time};

use crate::effect::Effect;
use crate::input::Input;

/// What is fixed when a speaker starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node it runs on.
    pub node: NodeName,
    /// `--lb-class` (C2).
    pub load_balancer_class: Option<String>,
    /// `--ignore-exclude-lb` (D12).
    pub ignore_exclude_label: bool,
    /// Where peers reach it; `None` switches membership off, and every known
    /// Node is a candidate (E2).
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

/// Announces the addresses that its node owns.
#[derive(Debug)]
pub struct Speaker {
    settings: Settings,
    effects: VecDeque<Effect>,
}

impl Speaker {
    /// A speaker that knows nothing yet and claims nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, effects: VecDeque::new() }
    }

    /// Takes one input. Never blocks, never fails; what must be done is queued
    /// as effects.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        let _ = (now, input, &self.settings);
    }

    /// The next effect, oldest first. Drain it to `None` after every `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call `handle` with [`Input::Timeout`] if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }
}
