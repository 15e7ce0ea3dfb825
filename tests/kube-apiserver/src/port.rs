//! A port that stays ours while its server is away.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// Holds a TCP port with a socket that never listens. The server shares the port (`SO_REUSEPORT`); while it is away
/// connections are refused, and nobody else is given the port.
#[derive(Debug)]
pub(crate) struct HeldPort {
    _socket: Socket,
    address: SocketAddr,
}

impl HeldPort {
    /// Takes this port, or a free one for port 0.
    ///
    /// # Panics
    /// If it is taken, or the address is not this host's.
    pub(crate) fn hold(wanted: SocketAddr) -> Self {
        let bind = || {
            let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, None)?;
            socket.set_reuse_port(true)?;
            socket.bind(&wanted.into())?;
            let address = socket.local_addr()?;
            std::io::Result::Ok((socket, address))
        };
        let (socket, address) = bind().unwrap_or_else(|error| panic!("cannot bind to {wanted}: {error}"));
        Self { _socket: socket, address: address.as_socket().expect("it was bound to one") }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}
