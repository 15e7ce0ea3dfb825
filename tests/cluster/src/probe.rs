//! Who serves an address at this moment, and what this machine itself has lost.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use tests::namespaces::Namespace;

use crate::backend::ECHO;

/// Asks once. The name of the node that answers within `patience`.
///
/// # Errors
/// If there is no socket to be had.
pub(crate) fn who_serves(
    namespace: &Namespace,
    address: Ipv4Addr,
    patience: Duration,
) -> io::Result<Option<String>> {
    namespace.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 64];
        // No route, an unreachable neighbour, no answer: nobody serves it.
        let asked = socket.send_to(&[0; 4], (address, ECHO));
        let answer = asked.and_then(|_| socket.recv(&mut buffer)).unwrap_or(0);
        let name = buffer[..answer].get(4..).map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(name.filter(|name| !name.is_empty()))
    })?
}

/// Datagrams that the kernel of this machine has dropped in a namespace because a socket was full: the client's or the
/// backend's thread was not given the processor in time, which is nobody's outage.
///
/// # Errors
/// If /proc is not mounted.
pub(crate) fn overflows(namespace: &Namespace) -> io::Result<u64> {
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/udp"))??;
    let last = |line: &str| line.split_whitespace().last().and_then(|drops| drops.parse::<u64>().ok());
    Ok(table.lines().skip(1).filter_map(last).sum())
}
