//! What is kept of a run: the timeline, the fingerprint, Kubernetes Events, gossip that can be replayed.

use std::collections::VecDeque;

use ferrolb_api::{ServiceKey, Time};

use crate::lab::address_plan;
use crate::lab::run::fingerprint::Fingerprint;
use crate::lab::run::timeline::Timeline;

/// Gossip frames that the adversary can have recorded.
const RECORDED_GOSSIP: usize = 256;

/// The record.
#[derive(Debug)]
pub(super) struct RunRecord {
    pub(super) timeline: Timeline,
    pub(super) fingerprint: Fingerprint,
    /// Kubernetes Events so far.
    pub(super) events: Vec<RecordedEvent>,
    pub(super) gossip: VecDeque<Vec<u8>>,
}

/// A Kubernetes Event on a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// When.
    pub at: Time,
    /// The node or `controller`.
    pub from: String,
    /// On which Service.
    pub service: ServiceKey,
    /// Its reason.
    pub reason: String,
    /// Its text.
    pub message: String,
}

impl RunRecord {
    /// Nothing yet; whether a timeline is kept.
    pub(super) fn new(is_recording: bool) -> Self {
        Self {
            timeline: Timeline::new(is_recording),
            fingerprint: Fingerprint::new(),
            events: Vec::new(),
            gossip: VecDeque::new(),
        }
    }

    /// Keeps a frame if it is gossip.
    pub(super) fn keep_gossip(&mut self, frame: &[u8]) {
        let port = frame.get(36..38).map(|port| u16::from_be_bytes([port[0], port[1]]));
        if frame.get(12..14) == Some(&[0x08, 0x00]) && port == Some(address_plan::GOSSIP_PORT) {
            self.gossip.push_back(frame.to_vec());
            if self.gossip.len() > RECORDED_GOSSIP {
                self.gossip.pop_front();
            }
        }
    }
}

impl RecordedEvent {
    pub(super) fn new(at: Time, from: &str, service: &ServiceKey, reason: &str, message: &str) -> Self {
        let (from, reason, message) = (from.to_owned(), reason.to_owned(), message.to_owned());
        Self { at, from, service: service.clone(), reason, message }
    }
}
