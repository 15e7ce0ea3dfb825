//! A node: a network namespace with a TAP as its NIC, kube-proxy's part of the work, and a speaker.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netsim::net::patchbay::Patchbay;
use tests::kernel;
use tests::namespaces::set_sysctl;
use tests::stations::Station;

use crate::objects::{PORT, VIP};
use crate::speaker_process::SpeakerProcess;

/// How often the echo looks whether it shall end.
const ECHO_PAUSE: Duration = Duration::from_millis(100);

/// A node of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name in Kubernetes.
    pub(crate) name: &'static str,
    /// Its network.
    pub(crate) station: Station,
    /// Its speaker.
    pub(crate) speaker: SpeakerProcess,
    echo: Option<JoinHandle<()>>,
    echo_ends: Arc<AtomicBool>,
}

impl Node {
    /// Joins the network and starts the speaker, which knows nothing yet.
    pub(crate) fn start(bay: &Patchbay, name: &'static str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let station = Station::join(bay, name, address)?;
        let echo_ends = Arc::new(AtomicBool::new(false));
        let socket = station.namespace.run(accept_traffic)??;
        let echo = thread::spawn({
            let echo_ends = Arc::clone(&echo_ends);
            move || echo(&socket, name, &echo_ends)
        });
        let speaker = station.namespace.run(|| SpeakerProcess::start(name, address))??;
        Ok(Self { name, station, speaker, echo: Some(echo), echo_ends })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.echo_ends.store(true, Ordering::Relaxed);
        if let Some(echo) = self.echo.take() {
            let _ = echo.join();
        }
    }
}

/// What kube-proxy does for a Service address: the kernel takes its packets, and never answers ARP for it.
fn accept_traffic() -> io::Result<UdpSocket> {
    set_sysctl("ipv4/conf/all/arp_ignore", "1")?;
    set_sysctl("ipv4/conf/all/arp_announce", "2")?;
    kernel::add_address("lo", IpAddr::V4(VIP), 32)?;
    let socket = UdpSocket::bind(SocketAddr::from((VIP, PORT)))?;
    socket.set_read_timeout(Some(ECHO_PAUSE))?;
    Ok(socket)
}

/// The backend: answers every datagram with itself and the node's name.
fn echo(socket: &UdpSocket, name: &str, ends: &AtomicBool) {
    let mut buffer = [0; 64];
    while !ends.load(Ordering::Relaxed) {
        // An error is the pause that lets us look at `ends`.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let answer = [&buffer[..length], name.as_bytes()].concat();
        // A client that is unreachable for the moment has lost this answer.
        let _ = socket.send_to(&answer, from);
    }
}
