//! A machine on the LAN that does not belong to the cluster: it repeats what it
//! heard, speaks with the wrong key, and sends garbage.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use ferrolb_api::Time;
use smoltcp::wire::EthernetAddress;
use speaker_core::Peer;

use crate::lab::address_plan;
use crate::lab::api::server::SimulatedApi;
use crate::lab::random::{RandomStream, Seed};
use crate::lab::stations::node::Node;

/// The adversary's machine.
#[derive(Debug)]
pub struct Adversary {
    random: RandomStream,
    outgoing: VecDeque<Vec<u8>>,
    /// With a speaker that has another key; off until it intrudes.
    node: Node,
}

/// Longest frame of garbage: more than Ethernet allows.
const LONGEST: u64 = 2000;

impl Adversary {
    /// What it is called on the wire and on the timeline; its random streams have this name too.
    pub const NAME: &str = "stranger";
    /// Its address.
    pub const ADDRESS: Ipv4Addr = address_plan::address(66);

    /// An adversary that is quiet.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let node = Node::new(Self::NAME, Self::ADDRESS, seed, b"another key").without_kubernetes();
        Self { random: seed.stream(Self::NAME), outgoing: VecDeque::new(), node }
    }

    /// A frame has arrived at its NIC.
    pub fn handle_frame(&mut self, now: Time, frame: Vec<u8>) {
        self.node.handle_frame(now, 0, frame);
    }

    /// Lets its timers fire.
    pub fn poll(&mut self, now: Time) {
        self.node.poll(now);
    }

    /// When to call [`Self::poll`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.node.poll_timeout()
    }

    /// The next frame that leaves its NIC.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front().or_else(|| self.node.poll_frame(0))
    }

    /// Starts a speaker with another key, that knows its victims.
    pub fn intrude(&mut self, now: Time, api: &mut SimulatedApi, mut peers: Vec<Peer>) {
        self.node.power_on(now, api);
        peers.push(Peer { node: self.node.name().clone(), address: Self::ADDRESS.into(), is_running: true });
        self.node.tell_peers(now, peers);
    }

    /// Sends recorded frames again: the old sender's IP address and payload
    /// from its own NIC.
    pub fn replay<'a>(&mut self, frames: impl IntoIterator<Item = &'a Vec<u8>>) {
        for frame in frames {
            let mut frame = frame.clone();
            if let Some(source) = frame.get_mut(6..12) {
                source.copy_from_slice(&address_plan::mac(Self::ADDRESS).0);
            }
            self.outgoing.push_back(frame);
        }
    }

    /// Sends `count` frames of garbage to everybody and to `victims`: broken
    /// ARP, damaged copies of `gossip`, noise of every length.
    pub fn send_garbage(&mut self, count: u32, victims: &[EthernetAddress], gossip: &[Vec<u8>]) {
        let everybody = EthernetAddress::BROADCAST;
        for _ in 0..count {
            let to = self.pick(victims).copied().unwrap_or(everybody);
            let frame = match self.random.below(4) {
                0 => self.noise(everybody, 0x0806),
                1 => self.noise(to, 0x0806),
                2 => self.damaged(gossip).unwrap_or_else(|| self.noise(to, 0x0800)),
                _ => self.odd_arp(to),
            };
            self.outgoing.push_back(frame);
        }
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let index = self.random.below(choices.len() as u64);
        choices.get(usize::try_from(index).unwrap_or(0))
    }

    fn header(&self, to: EthernetAddress, ethertype: u16) -> Vec<u8> {
        let mut frame = to.0.to_vec();
        frame.extend_from_slice(&address_plan::mac(Self::ADDRESS).0);
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame
    }

    fn noise(&mut self, to: EthernetAddress, ethertype: u16) -> Vec<u8> {
        let length = usize::try_from(self.random.below(LONGEST)).unwrap_or(0);
        let mut frame = self.header(to, ethertype);
        frame.extend(self.random.bytes(length));
        frame
    }

    /// ARP whose header is right and whose rest is not: odd lengths, odd
    /// operations, multicast senders.
    fn odd_arp(&mut self, to: EthernetAddress) -> Vec<u8> {
        let mut frame = self.header(to, 0x0806);
        frame.extend_from_slice(&[0, 1, 8, 0]);
        let lengths = self.random.bytes(2);
        frame.extend_from_slice(if self.random.below(2) == 0 { &[6, 4] } else { &lengths });
        let operation = u16::try_from(self.random.below(4)).unwrap_or(0);
        frame.extend_from_slice(&operation.to_be_bytes());
        let rest = usize::try_from(self.random.below(40)).unwrap_or(0);
        frame.extend(self.random.bytes(rest));
        frame
    }

    fn damaged(&mut self, gossip: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut frame = self.pick(gossip)?.clone();
        frame.get_mut(6..12)?.copy_from_slice(&address_plan::mac(Self::ADDRESS).0);
        // Behind the UDP header, whose checksum is switched off so that the kernel lets it pass.
        let payload = 42;
        frame.get_mut(40..42)?.fill(0);
        let room = frame.len().checked_sub(payload).filter(|room| *room > 0)?;
        let at = payload + usize::try_from(self.random.below(room as u64)).unwrap_or(0);
        *frame.get_mut(at)? ^= 1 << self.random.below(8);
        Some(frame)
    }
}
