//! The member list's UDP socket (E3).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;

/// The largest payload that UDP carries, so that no datagram is ever cut.
const BUFFER: usize = 65_536;

/// How long a datagram from a peer proves that the peer is there. The kernel
/// is told so, and spares the peer its own ARP probes: three of those lost, as
/// happens now and then on a lossy link, would silence us for seconds and look
/// like our death.
const PROOF: Duration = Duration::from_secs(1);
/// Peers remembered as heard; a flood of forged sources takes no more room.
const MAX_HEARD: usize = 8_192;

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error(
        "UDP {0} is in use: a MetalLB speaker probably still runs on this node; \
         delete its DaemonSet before this one starts, or choose another --ml-bindport"
    )]
    InUse(SocketAddr),
    /// The node has no such address.
    #[error(
        "UDP {0}: this node does not have that address; --ml-bindaddr must be the Pod's, which is the node's"
    )]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("UDP {0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
}

/// Opens the port on `address`, not blocking.
///
/// # Errors
/// [`BindError`]; MetalLB exits with 1 then, and so do we.
pub fn bind(address: SocketAddr) -> Result<std::net::UdpSocket, BindError> {
    let open = || {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress(address),
        _ => BindError::Other(address, error),
    })
}

/// What happened to datagrams, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounts {
    /// Handed to the core, which decides whether to trust them.
    pub received: u64,
    /// Reads that failed.
    pub receive_errors: u64,
    /// Accepted by the kernel for sending.
    pub sent: u64,
    /// Refused: no route, or a queue is full. The protocol repeats itself.
    pub not_sent: u64,
}

/// The socket, registered with the runtime that reads it; or none, when
/// membership is switched off (E2).
#[derive(Debug)]
pub struct Gossip {
    socket: Option<UdpSocket>,
    buffer: Vec<u8>,
    heard: BTreeMap<SocketAddr, Instant>,
    counts: DatagramCounts,
}

impl Gossip {
    /// Registers `socket` with the current runtime.
    ///
    /// # Errors
    /// If the runtime's poller does not take it.
    pub fn new(socket: Option<std::net::UdpSocket>) -> io::Result<Self> {
        let socket = socket.map(UdpSocket::from_std).transpose()?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            heard: BTreeMap::new(),
            counts: DatagramCounts::default(),
        })
    }

    /// Waits until there may be a datagram; for ever without a socket. Safe to
    /// cancel.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.socket {
            Some(socket) => socket.readable().await,
            None => std::future::pending().await,
        }
    }

    /// The next datagram, or `None` if the queue is empty. Every try costs one
    /// of `budget`.
    pub fn receive(&mut self, budget: &mut u32) -> Option<(SocketAddr, &[u8])> {
        let socket = self.socket.as_ref()?;
        while *budget > 0 {
            *budget -= 1;
            match socket.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    self.counts.received += 1;
                    if self.heard.len() >= MAX_HEARD {
                        self.heard.clear();
                    }
                    self.heard.insert(from, Instant::now());
                    return Some((from, &self.buffer[..length]));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => self.counts.receive_errors += 1,
            }
        }
        None
    }

    /// Sends one datagram, once; to a peer just heard as a confirmation of its
    /// neighbour entry (`MSG_CONFIRM`, send(2)).
    pub fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        let is_heard = self.heard.get(&to).is_some_and(|heard| heard.elapsed() < PROOF);
        let flags = if is_heard { libc::MSG_CONFIRM } else { 0 };
        // Past the runtime, which would refuse until it has polled the socket.
        let sent = self
            .socket
            .as_ref()
            .is_some_and(|socket| SockRef::from(socket).send_to_with_flags(bytes, &to.into(), flags).is_ok());
        let counter = if sent { &mut self.counts.sent } else { &mut self.counts.not_sent };
        *counter += 1;
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> DatagramCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::args::GOSSIP_PORT;

    fn loopback() -> std::net::UdpSocket {
        bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback has a free port")
    }

    #[test]
    fn e3_a_taken_port_names_the_likely_owner() {
        let first = loopback();
        let address = first.local_addr().expect("it is bound");
        let error = bind(address).expect_err("the port is taken");
        assert!(matches!(error, BindError::InUse(taken) if taken == address));
        assert!(error.to_string().contains("MetalLB speaker"), "{error}");
    }

    #[test]
    fn e3_an_address_of_another_node_names_the_flag() {
        // TEST-NET-1 (RFC 5737): nobody has it.
        let error = bind(([192, 0, 2, 1], GOSSIP_PORT).into()).expect_err("not our address");
        assert!(error.to_string().contains("--ml-bindaddr"), "{error}");
    }

    #[tokio::test]
    async fn datagrams_go_both_ways_within_a_budget() {
        let (first, second) = (loopback(), loopback());
        let [from, to] = [&first, &second].map(|socket| socket.local_addr().expect("it is bound"));
        let mut first = Gossip::new(Some(first)).expect("inside a runtime");
        let mut second = Gossip::new(Some(second)).expect("inside a runtime");
        for number in 0..3_u8 {
            first.send(to, &[number]);
        }
        second.readable().await.expect("the runtime runs");
        let mut budget = 2;
        assert_eq!(second.receive(&mut budget), Some((from, &[0_u8][..])));
        assert_eq!(second.receive(&mut budget), Some((from, &[1_u8][..])));
        assert_eq!(second.receive(&mut budget), None, "the budget is spent");
        let mut budget = 2;
        assert_eq!(second.receive(&mut budget), Some((from, &[2_u8][..])));
        assert_eq!((second.receive(&mut budget), budget), (None, 0));
        assert_eq!((first.counts().sent, second.counts().received), (3, 3));
    }

    #[tokio::test]
    async fn e2_without_membership_nothing_is_sent() {
        let mut none = Gossip::new(None).expect("nothing to register");
        none.send(([127, 0, 0, 1], GOSSIP_PORT).into(), b"x");
        assert_eq!((none.counts().sent, none.counts().not_sent), (0, 1));
        assert_eq!(none.receive(&mut 1), None);
    }
}
