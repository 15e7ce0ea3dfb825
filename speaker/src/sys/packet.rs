//! Packet sockets that hear ARP or NDP on every Ethernet interface of the network
//! namespace, also on those created after it, and sends on any of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, SockFilter, Socket, Type};
use speaker_core::InterfaceId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::filter;

/// Bytes the kernel may queue for us: about 4,000 small frames, which is more
/// than a second of an ARP storm at the pace of a LAN's control planes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What [`PacketSocket::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The interface the frame came in on.
    pub interface: InterfaceId,
    /// How many bytes of the buffer it fills.
    pub length: usize,
    /// Whether it came from the wire for this station or for all: not one of
    /// our own, and not overheard.
    pub is_for_us: bool,
}

/// An unbound (interface index 0) `AF_PACKET` socket for one protocol.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Opens a socket for ARP, not blocking. Once it is open it needs no privilege.
    ///
    /// The order matters: with protocol 0 nothing is received, so no frame gets
    /// past the filter before it is attached; binding then starts reception.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW` in the user namespace that owns
    /// the network namespace; otherwise whatever the kernel says.
    pub fn open_arp() -> io::Result<Self> {
        Self::open(libc::ETH_P_ARP, &filter::arp())
    }

    /// Opens a socket for neighbour solicitations and advertisements, as
    /// [`Self::open_arp`]. It joins no group.
    ///
    /// # Errors
    /// As [`Self::open_arp`].
    pub fn open_ndp() -> io::Result<Self> {
        Self::open(libc::ETH_P_IPV6, &filter::ndp())
    }

    fn open(protocol: libc::c_int, filter: &[SockFilter]) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        // The kernel grants at most net.core.rmem_max; less is no reason to stop.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.attach_filter(filter)?;
        let socket = Self { socket };
        socket.bind(ethertype(protocol))?;
        Ok(socket)
    }

    /// Reads the next frame into `buffer`; a longer one is cut.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; an error of a network device, once.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut source = address(0, InterfaceId(0));
        let mut source_length = ADDRESS_LENGTH;
        // SAFETY: the buffer is valid for writes of its length for the duration
        // of the call, `source` is a sockaddr_ll and `source_length` its size,
        // so that the kernel writes within both.
        let length = unsafe {
            libc::recvfrom(
                self.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut source).cast(),
                &raw mut source_length,
            )
        };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let index = u32::try_from(source.sll_ifindex).unwrap_or_default();
        let is_for_us =
            matches!(source.sll_pkttype, libc::PACKET_HOST | libc::PACKET_BROADCAST | libc::PACKET_MULTICAST);
        Ok(Received { interface: InterfaceId(index), length, is_for_us })
    }

    /// Sends one whole Ethernet frame on `interface`.
    ///
    /// # Errors
    /// `ENXIO` if there is no such interface, `ENETDOWN` if it is down,
    /// `ENOBUFS` or `WouldBlock` if its queue is full: the frame was not sent.
    pub fn send(&self, interface: InterfaceId, frame: &[u8]) -> io::Result<()> {
        // In SOCK_RAW the frame carries its addresses; of the destination the
        // kernel reads the interface and the protocol.
        let protocol =
            frame.get(12..14).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
        let destination = address(protocol, interface);
        // SAFETY: the frame is valid for reads of its length and `destination`
        // is a sockaddr_ll of the length given; the kernel keeps neither.
        let sent = unsafe {
            libc::sendto(
                self.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const destination).cast(),
                ADDRESS_LENGTH,
            )
        };
        match usize::try_from(sent) {
            Ok(length) if length == frame.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// Starts reception of one EtherType on all interfaces.
    fn bind(&self, protocol: u16) -> io::Result<()> {
        let all = address(protocol, InterfaceId(0));
        // SAFETY: `all` is a sockaddr_ll of the length given, read during the
        // call only.
        let result = unsafe { libc::bind(self.as_raw_fd(), (&raw const all).cast(), ADDRESS_LENGTH) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Registers `socket` for reading with the current tokio runtime.
///
/// # Errors
/// If the runtime's poller does not take it.
pub fn register(socket: PacketSocket) -> io::Result<AsyncFd<PacketSocket>> {
    // SAFETY: the socket owns its descriptor, gives out the same one always, and
    // closes it only when it is dropped, which `AsyncFd` does after deregistering.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The size of a `sockaddr_ll`, 20 bytes.
const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// A constant of linux/if_ether.h as the kernel's `u16`.
fn ethertype(constant: libc::c_int) -> u16 {
    u16::try_from(constant).expect("EtherTypes have 16 bits")
}

/// A link-layer address that names an EtherType and an interface.
fn address(ethertype: u16, interface: InterfaceId) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::sa_family_t::try_from(libc::AF_PACKET).expect("address families have 16 bits"),
        sll_protocol: ethertype.to_be(),
        // An index beyond i32 cannot exist; -1 makes the kernel say ENXIO.
        sll_ifindex: i32::try_from(interface.0).unwrap_or(-1),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
