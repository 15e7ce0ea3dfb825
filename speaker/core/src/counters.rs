//! What a speaker counts: plain numbers, read by the shell for its metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::gossip::envelope::GossipRejection;
use crate::wire::drop_reason::DropReason;

/// The most addresses that have counters of their own. A series is never
/// removed (F10), so a cluster that goes through more addresses than this in
/// one life of the process shows the later ones only in the sums.
pub const MAX_COUNTED_ADDRESSES: usize = 16_384;

/// All counters of a speaker; they only grow, except the gauges named so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By announced address (F8 to F10).
    pub addresses: BTreeMap<IpAddr, AddressCounters>,
    /// Frames that were not answered, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Requests answered although their sender is not the Ethernet source
    /// (Wi-Fi repeaters do that, T3).
    pub mismatched_senders: u64,
    /// Datagrams refused, by reason.
    pub gossip_rejections: BTreeMap<GossipRejection, u64>,
    /// Datagrams accepted.
    pub gossip_received: u64,
    /// Datagrams sent.
    pub gossip_sent: u64,
    /// Gauge: live members, this node included; 0 while membership is off.
    pub members: usize,
    /// Times that a member came up.
    pub members_up: u64,
    /// Times that a member went down or left.
    pub members_down: u64,
    /// Times that this node began to announce a Service.
    pub announced: u64,
    /// Times that this node ceased to announce a Service.
    pub withdrawn: u64,
    /// Announcements put off because an interface's frame budget was spent.
    pub pacing_delays: u64,
    /// Announcements in answer to another station's claim to an address of ours.
    pub conflicts: u64,
    /// Times that this node was asleep for longer than a peer may take to
    /// declare it dead.
    pub pauses: u64,
}

/// Counters of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressCounters {
    /// Requests for it that passed every filter (F8).
    pub requests_received: u64,
    /// Answers handed over for sending (F9).
    pub responses_sent: u64,
    /// Unsolicited frames handed over for sending (F10).
    pub gratuitous_sent: u64,
}

impl Counters {
    /// The counters of `address`, or `None` beyond [`MAX_COUNTED_ADDRESSES`].
    pub(crate) fn address(&mut self, address: IpAddr) -> Option<&mut AddressCounters> {
        if self.addresses.len() >= MAX_COUNTED_ADDRESSES && !self.addresses.contains_key(&address) {
            return None;
        }
        Some(self.addresses.entry(address).or_default())
    }

    /// Counts a frame that was not answered.
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        *self.drops.entry(reason).or_default() += 1;
    }

    /// Counts a datagram that was refused.
    pub(crate) fn refused(&mut self, reason: GossipRejection) {
        *self.gossip_rejections.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrolb_api::{IpFamily, address};

    #[test]
    fn f10_series_are_bounded() {
        let mut counters = Counters::default();
        for number in 0..=MAX_COUNTED_ADDRESSES as u128 {
            let _ = counters.address(address::from_number(IpFamily::V4, number));
        }
        assert_eq!(counters.addresses.len(), MAX_COUNTED_ADDRESSES);
        let first = address::from_number(IpFamily::V4, 0);
        assert!(counters.address(first).is_some(), "a known address goes on being counted");
    }
}
