//! A TAP device: a network interface of the kernel whose cable ends in this process.
//!
//! The interface lands in the network namespace of the *thread* that opens it; the [`TapPort`] may then be moved anywhere.
//! It is made down and without addresses, and vanishes with the `TapPort`.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};

use tun_tap::{Iface, Mode};

/// Longest frame a TAP hands over: the kernel's largest packet and an Ethernet header with a VLAN tag.
pub const MAX_FRAME: usize = 65535 + 18;

/// A TAP device could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open TAP device {name:?}: {source}; {}", remedy(.source))]
pub struct TapError {
    name: String,
    source: io::Error,
}

/// What to do about it.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::NotFound => {
            "load the kernel's tun module (modprobe tun), or pass /dev/net/tun into the container"
        }
        ErrorKind::PermissionDenied => {
            "allow it with: chmod 0666 /dev/net/tun (the device makes interfaces only where the caller has CAP_NET_ADMIN)"
        }
        ErrorKind::ResourceBusy => "another process holds an interface of that name",
        _ => "a TAP needs /dev/net/tun and CAP_NET_ADMIN in the network namespace",
    }
}

/// One TAP device. Reads and writes never block.
#[derive(Debug)]
pub struct TapPort {
    interface: Iface,
}

impl TapPort {
    /// Makes the interface `name` (at most 15 bytes) in the calling thread's network namespace.
    ///
    /// # Errors
    /// If the device node is missing or closed to us, or the name is taken or too long. The message says what to do.
    pub fn open(name: &str) -> Result<Self, TapError> {
        /// IFNAMSIZ without the terminating zero.
        const NAME: usize = 15;
        let fail = |source| TapError { name: name.to_owned(), source };
        if name.is_empty() || name.len() > NAME {
            return Err(fail(io::Error::new(ErrorKind::InvalidInput, "the name must have 1 to 15 bytes")));
        }
        let interface = Iface::without_packet_info(name, Mode::Tap).map_err(fail)?;
        interface.set_non_blocking().map_err(fail)?;
        Ok(Self { interface })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.interface.name()
    }

    /// The next frame the kernel has sent, copied to `buffer`; `None` if there is none. A frame longer than `buffer` (see
    /// [`MAX_FRAME`]) is cut short.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        loop {
            match self.interface.recv(buffer) {
                Ok(length) => return Ok(Some(&buffer[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Hands a frame to the kernel.
    ///
    /// # Errors
    /// If the interface is down (EIO), the frame too short, or the kernel's queue full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.interface.send(frame).map(|_| ())
    }
}

impl AsRawFd for TapPort {
    fn as_raw_fd(&self) -> RawFd {
        self.interface.as_raw_fd()
    }
}
