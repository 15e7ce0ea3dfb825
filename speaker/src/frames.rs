//! Ethernet frames in and out: names the interface, hands bytes to the core
//! without copying, counts what could not be sent.

use std::io;
use std::ops::Add;

use speaker_core::InterfaceId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::packet::{self, PacketSocket};

/// Bytes of the receive buffer. The kernel's filter keeps far less of a frame.
const BUFFER: usize = 2048;

/// What happened to frames, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Handed to the core.
    pub received: u64,
    /// Read but not for this station, or from no interface.
    pub overheard: u64,
    /// Reads that failed.
    pub receive_errors: u64,
    /// Accepted by the kernel for sending.
    pub sent: u64,
    /// Refused because the interface is gone or down (`ENXIO`, `ENODEV`,
    /// `ENETDOWN`).
    pub not_sent_interface_down: u64,
    /// Refused because a queue is full (`ENOBUFS`, `EAGAIN`).
    pub not_sent_queue_full: u64,
    /// Refused for another reason.
    pub not_sent_other: u64,
}

impl Add for FrameCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            overheard: self.overheard + other.overheard,
            receive_errors: self.receive_errors + other.receive_errors,
            sent: self.sent + other.sent,
            not_sent_interface_down: self.not_sent_interface_down + other.not_sent_interface_down,
            not_sent_queue_full: self.not_sent_queue_full + other.not_sent_queue_full,
            not_sent_other: self.not_sent_other + other.not_sent_other,
        }
    }
}

/// A packet socket, registered with the runtime that reads it.
#[derive(Debug)]
pub struct Frames {
    socket: AsyncFd<PacketSocket>,
    buffer: Box<[u8; BUFFER]>,
    counts: FrameCounts,
}

impl Frames {
    /// Registers `socket` with the current runtime.
    ///
    /// # Errors
    /// If the runtime's poller does not take it.
    pub fn new(socket: PacketSocket) -> io::Result<Self> {
        Ok(Self {
            socket: packet::register(socket)?,
            buffer: Box::new([0; BUFFER]),
            counts: FrameCounts::default(),
        })
    }

    /// Waits until there may be a frame. Safe to cancel.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        // The guard is dropped without clearing readiness: `receive` does that
        // when it finds the queue empty.
        self.socket.readable().await.map(drop)
    }

    /// The next frame for this station, or `None` if the queue is empty.
    ///
    /// Frames that are none of ours are skipped, but each counts as one of
    /// `budget`, so that they cannot hold us here.
    pub fn receive(&mut self, budget: &mut u32) -> Option<(InterfaceId, &[u8])> {
        while *budget > 0 {
            *budget -= 1;
            let result = self.socket.try_io(Interest::READABLE, |socket| socket.receive(&mut *self.buffer));
            match result {
                Ok(frame) if frame.is_for_us && frame.interface.0 != 0 => {
                    self.counts.received += 1;
                    return Some((frame.interface, &self.buffer[..frame.length]));
                }
                Ok(_) => self.counts.overheard += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // An interrupted call, or a device that went down: the socket
                // reports that once and works on.
                Err(_) => self.counts.receive_errors += 1,
            }
        }
        None
    }

    /// Sends one frame, once. What the kernel refuses is counted, not repeated.
    pub fn send(&mut self, interface: InterfaceId, frame: &[u8]) {
        let counts = &mut self.counts;
        let counter = match self.socket.get_ref().send(interface, frame) {
            Ok(()) => &mut counts.sent,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENXIO | libc::ENODEV | libc::ENETDOWN) => &mut counts.not_sent_interface_down,
                Some(libc::ENOBUFS | libc::EAGAIN) => &mut counts.not_sent_queue_full,
                _ => &mut counts.not_sent_other,
            },
        };
        *counter += 1;
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> FrameCounts {
        self.counts
    }
}
