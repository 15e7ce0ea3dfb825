//! The sockets of a station: UDP, TCP and ping over smoltcp, whatever lies below.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpCidr, IpEndpoint,
};

use super::random::Stream;

pub use smoltcp::socket::tcp::State as TcpState;

/// Octets of an IP packet on Ethernet.
const IP_MTU: usize = 1500;
/// Datagrams and bytes a UDP socket holds in each direction.
const UDP_PACKETS: usize = 64;
const UDP_BYTES: usize = 16 * 1024;
/// Bytes a TCP socket holds in each direction.
const TCP_BYTES: usize = 16 * 1024;
/// Connections that may wait for [`Stack::tcp_accept`] at one port.
const TCP_BACKLOG: usize = 8;
/// Echo requests and replies a station holds.
const PING_PACKETS: usize = 32;
const PING_BYTES: usize = 4 * 1024;
/// RFC 6335: ports for connections that did not ask for one.
const EPHEMERAL: std::ops::Range<u16> = 49152..65535;

/// A bound UDP socket of one [`Stack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHandle(SocketHandle);

/// A TCP connection of one [`Stack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHandle(SocketHandle);

/// A TCP port that accepts connections, of one [`Stack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerHandle(usize);

/// A received UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to: answer from there.
    pub to: IpAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// An answer to [`Stack::ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Who answered.
    pub from: IpAddr,
    /// The number given to [`Stack::ping`].
    pub sequence: u16,
}

/// A send buffer has no room; poll the station and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the socket's send buffer is full")]
pub struct Full;

/// The IP stack of a station. Handles of another stack, or of a removed socket, make it panic.
pub struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    listeners: Vec<Listener>,
    ping: Option<SocketHandle>,
    ping_identifier: u16,
    next_port: u16,
    /// Something was asked of a socket since the last poll.
    touched: bool,
    wake: Option<Instant>,
    medium: Medium,
    pub(super) outgoing: VecDeque<Vec<u8>>,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("addresses", &self.interface.ip_addrs()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Listener {
    port: u16,
    waiting: Vec<SocketHandle>,
}

impl Stack {
    /// A stack that exchanges IP packets or Ethernet frames with its owner. Outgoing IP packets have
    /// [`super::frame::ETHERNET_HEADER`] bytes of room in front of them.
    pub(super) fn new(hardware: HardwareAddress, stream: &mut Stream) -> Self {
        let medium = match hardware {
            HardwareAddress::Ip => Medium::Ip,
            HardwareAddress::Ethernet(_) => Medium::Ethernet,
        };
        let mut config = Config::new(hardware);
        config.random_seed = stream.bits();
        let mut outgoing = VecDeque::new();
        let mut port = Port { incoming: None, outgoing: &mut outgoing, medium };
        let interface = Interface::new(config, &mut port, Instant::ZERO);
        let span = u64::from(EPHEMERAL.end - EPHEMERAL.start);
        let offset = u16::try_from(stream.below(span)).expect("smaller than a port range");
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            listeners: Vec::new(),
            ping: None,
            ping_identifier: u16::try_from(stream.below(1 << 16)).expect("16 bits"),
            next_port: EPHEMERAL.start + offset,
            touched: false,
            wake: None,
            medium,
            outgoing,
        }
    }

    /// Takes UDP datagrams sent to `port` at any of the station's addresses. 0 picks a free port.
    pub fn udp_bind(&mut self, port: u16) -> UdpHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; UDP_PACKETS], vec![0; UDP_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        let port = if port == 0 { self.ephemeral_port() } else { port };
        socket.bind(port).expect("a new socket and a port other than zero");
        UdpHandle(self.sockets.add(socket))
    }

    /// Sends a datagram. `from` is the address to send it from, a loopback address included; without it the stack picks
    /// one in the destination's subnet.
    ///
    /// # Errors
    /// [`Full`] if the datagram has to wait for others.
    pub fn udp_send(
        &mut self,
        handle: UdpHandle,
        from: Option<IpAddr>,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<(), Full> {
        let mut metadata = udp::UdpMetadata::from(IpEndpoint::from(to));
        metadata.local_address = from.map(Into::into);
        self.touched = true;
        self.sockets.get_mut::<udp::Socket<'_>>(handle.0).send_slice(payload, metadata).map_err(|_| Full)
    }

    /// The oldest datagram not yet read.
    pub fn udp_receive(&mut self, handle: UdpHandle) -> Option<Datagram> {
        let (payload, metadata) = self.sockets.get_mut::<udp::Socket<'_>>(handle.0).recv().ok()?;
        let from = SocketAddr::new(metadata.endpoint.addr.into(), metadata.endpoint.port);
        let to = metadata.local_address.expect("set on every received datagram").into();
        Some(Datagram { from, to, payload: payload.to_vec() })
    }

    /// Reads the oldest datagram not yet read, without a copy: its sender, the address it was sent to, and its payload.
    pub fn udp_receive_with<R>(
        &mut self,
        handle: UdpHandle,
        read: impl FnOnce(SocketAddr, IpAddr, &[u8]) -> R,
    ) -> Option<R> {
        let (payload, metadata) = self.sockets.get_mut::<udp::Socket<'_>>(handle.0).recv().ok()?;
        let from = SocketAddr::new(metadata.endpoint.addr.into(), metadata.endpoint.port);
        let to = metadata.local_address.expect("set on every received datagram").into();
        Some(read(from, to, payload))
    }

    /// Stops listening and forgets what was not read.
    pub fn udp_close(&mut self, handle: UdpHandle) {
        self.sockets.remove(handle.0);
    }

    /// Accepts connections to `port` (not 0) at any of the station's addresses, up to eight at a time before
    /// [`Stack::tcp_accept`] takes them.
    pub fn tcp_listen(&mut self, port: u16) -> ListenerHandle {
        let waiting = (0..TCP_BACKLOG).map(|_| listening(&mut self.sockets, port)).collect();
        self.listeners.push(Listener { port, waiting });
        ListenerHandle(self.listeners.len() - 1)
    }

    /// The next connection that has been established, or has been and is already closed by the other side.
    pub fn tcp_accept(&mut self, handle: ListenerHandle) -> Option<TcpHandle> {
        let listener = &mut self.listeners[handle.0];
        let sockets = &mut self.sockets;
        let ready = listener.waiting.iter_mut().find(|waiting| {
            let state = sockets.get::<tcp::Socket<'_>>(**waiting).state();
            !matches!(state, TcpState::Listen | TcpState::SynReceived)
        })?;
        let accepted = std::mem::replace(ready, listening(sockets, listener.port));
        Some(TcpHandle(accepted))
    }

    /// Starts a connection. Watch [`Stack::tcp_state`] to see it established or, refused, closed.
    pub fn tcp_connect(&mut self, to: SocketAddr) -> TcpHandle {
        let port = self.ephemeral_port();
        let mut socket = tcp_socket();
        socket
            .connect(self.interface.context(), IpEndpoint::from(to), port)
            .expect("a new socket, and a destination that is not the unspecified address or port");
        self.touched = true;
        TcpHandle(self.sockets.add(socket))
    }

    /// Queues bytes and says how many found room.
    pub fn tcp_send(&mut self, handle: TcpHandle, bytes: &[u8]) -> usize {
        self.touched = true;
        self.sockets.get_mut::<tcp::Socket<'_>>(handle.0).send_slice(bytes).unwrap_or(0)
    }

    /// All bytes received and not yet read; empty if there are none.
    pub fn tcp_receive(&mut self, handle: TcpHandle) -> Vec<u8> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle.0);
        let mut bytes = Vec::new();
        while socket.can_recv() {
            let read = socket.recv(|part| (part.len(), bytes.extend_from_slice(part)));
            if read.is_err() {
                break;
            }
            self.touched = true;
        }
        bytes
    }

    /// Where the connection stands.
    #[must_use]
    pub fn tcp_state(&self, handle: TcpHandle) -> TcpState {
        self.sockets.get::<tcp::Socket<'_>>(handle.0).state()
    }

    /// Our side of the connection; `None` before there is one.
    #[must_use]
    pub fn tcp_local(&self, handle: TcpHandle) -> Option<SocketAddr> {
        let local = self.sockets.get::<tcp::Socket<'_>>(handle.0).local_endpoint()?;
        Some(SocketAddr::new(local.addr.into(), local.port))
    }

    /// Says goodbye after everything queued has been sent.
    pub fn tcp_close(&mut self, handle: TcpHandle) {
        self.touched = true;
        self.sockets.get_mut::<tcp::Socket<'_>>(handle.0).close();
    }

    /// Forgets the connection at once; if it is open the other side gets no word of it.
    pub fn tcp_remove(&mut self, handle: TcpHandle) {
        self.sockets.remove(handle.0);
    }

    /// Sends an ICMP or ICMPv6 echo request with the given sequence number.
    ///
    /// # Errors
    /// [`Full`] if too many wait to be sent.
    pub fn ping(&mut self, to: IpAddr, sequence: u16) -> Result<(), Full> {
        let handle = self.ping_socket();
        let ident = self.ping_identifier;
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(handle);
        let data = b"ferrolb";
        self.touched = true;
        match to {
            IpAddr::V4(_) => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no: sequence, data };
                let bytes = socket.send(request.buffer_len(), to.into()).map_err(|_| Full)?;
                request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
            }
            IpAddr::V6(to) => {
                let request = Icmpv6Repr::EchoRequest { ident, seq_no: sequence, data };
                let bytes = socket.send(request.buffer_len(), to.into()).map_err(|_| Full)?;
                let from = self.interface.get_source_address_ipv6(&to);
                let mut packet = Icmpv6Packet::new_unchecked(bytes);
                request.emit(&from, &to, &mut packet, &ChecksumCapabilities::default());
            }
        }
        Ok(())
    }

    /// The oldest echo reply not yet read.
    pub fn next_pong(&mut self) -> Option<Pong> {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping?);
        loop {
            let (bytes, from) = socket.recv().ok()?;
            let sequence = match from {
                smoltcp::wire::IpAddress::Ipv4(_) => match Icmpv4Packet::new_checked(bytes) {
                    Ok(packet) if packet.msg_type() == smoltcp::wire::Icmpv4Message::EchoReply => {
                        packet.echo_seq_no()
                    }
                    _ => continue,
                },
                smoltcp::wire::IpAddress::Ipv6(_) => match Icmpv6Packet::new_checked(bytes) {
                    Ok(packet) if packet.msg_type() == smoltcp::wire::Icmpv6Message::EchoReply => {
                        packet.echo_seq_no()
                    }
                    _ => continue,
                },
            };
            return Some(Pong { from: from.into(), sequence });
        }
    }

    pub(super) fn interface_mut(&mut self) -> &mut Interface {
        &mut self.interface
    }

    /// Replaces the addresses of the interface; at most eight.
    pub(super) fn set_addresses(&mut self, addresses: &[IpCidr]) {
        self.interface.update_ip_addrs(|present| {
            present.clear();
            for address in addresses {
                present.push(*address).expect("at most eight addresses, as documented");
            }
        });
        self.touched = true;
    }

    /// One packet (or frame, after the medium) from below.
    pub(super) fn ingress(&mut self, now: Instant, packet: &[u8]) {
        let mut port = Port { incoming: Some(packet), outgoing: &mut self.outgoing, medium: self.medium };
        let result = self.interface.poll_ingress_single(now, &mut port, &mut self.sockets);
        if result == PollIngressSingleResult::SocketStateChanged {
            self.touched = true;
        }
    }

    /// Whether there is anything for [`Stack::egress`] to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.touched || self.wake.is_some_and(|wake| wake <= now)
    }

    /// Lets the sockets send until they have nothing more to say.
    pub(super) fn egress(&mut self, now: Instant) {
        self.touched = false;
        let mut port = Port { incoming: None, outgoing: &mut self.outgoing, medium: self.medium };
        self.interface.poll_maintenance(now);
        while self.interface.poll_egress(now, &mut port, &mut self.sockets) == PollResult::SocketStateChanged
        {
        }
        // A socket that cannot send what it wants is asked again a little later, not at once for ever.
        let soonest = now + Duration::from_micros(1);
        self.wake = self.interface.poll_at(now, &self.sockets).map(|at| at.max(soonest));
    }

    /// When [`Stack::egress`] is due; anything not after the last poll means now.
    pub(super) fn wake(&self) -> Option<Instant> {
        if self.touched { Some(Instant::ZERO) } else { self.wake }
    }

    fn ephemeral_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port + 1 < EPHEMERAL.end { port + 1 } else { EPHEMERAL.start };
        port
    }

    fn ping_socket(&mut self) -> SocketHandle {
        if let Some(handle) = self.ping {
            return handle;
        }
        let buffer =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; PING_PACKETS], vec![0; PING_BYTES]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(self.ping_identifier)).expect("a new socket");
        let handle = self.sockets.add(socket);
        self.ping = Some(handle);
        handle
    }
}

fn tcp_socket() -> tcp::Socket<'static> {
    tcp::Socket::new(tcp::SocketBuffer::new(vec![0; TCP_BYTES]), tcp::SocketBuffer::new(vec![0; TCP_BYTES]))
}

fn listening(sockets: &mut SocketSet<'static>, port: u16) -> SocketHandle {
    let mut socket = tcp_socket();
    socket.listen(port).expect("a new socket and a port other than zero");
    sockets.add(socket)
}

/// What smoltcp takes for a network device: at most one packet in, any number out.
struct Port<'a> {
    incoming: Option<&'a [u8]>,
    outgoing: &'a mut VecDeque<Vec<u8>>,
    medium: Medium,
}

impl Device for Port<'_> {
    type RxToken<'t>
        = Incoming<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t>
    where
        Self: 't;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        Some((Incoming(packet), Outgoing { queue: self.outgoing, medium: self.medium }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing { queue: self.outgoing, medium: self.medium })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = match self.medium {
            Medium::Ip => IP_MTU,
            Medium::Ethernet => IP_MTU + super::frame::ETHERNET_HEADER,
        };
        capabilities
    }
}

struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

struct Outgoing<'a> {
    queue: &'a mut VecDeque<Vec<u8>>,
    medium: Medium,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let headroom = match self.medium {
            Medium::Ip => super::frame::ETHERNET_HEADER,
            Medium::Ethernet => 0,
        };
        let mut packet = vec![0; headroom + length];
        let result = write(&mut packet[headroom..]);
        self.queue.push_back(packet);
        result
    }
}
