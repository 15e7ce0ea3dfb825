//! A node: a network namespace with a TAP as its NIC, kube-proxy's part of the work, and a speaker.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use netsim::net::patchbay::Patchbay;
use tests::echo::Echo;
use tests::kernel;
use tests::namespaces::set_sysctl;
use tests::stations::KernelStation;

use super::objects::{PORT, VIP};
use super::speaker_process::SpeakerProcess;

/// A node of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name in Kubernetes.
    pub(crate) name: &'static str,
    /// Its network.
    pub(crate) station: KernelStation,
    /// Its speaker.
    pub(crate) speaker: SpeakerProcess,
    /// Its backend.
    _echo: Echo,
}

impl Node {
    /// Joins the network and starts the speaker, which knows nothing yet.
    pub(crate) fn start(bay: &Patchbay, name: &'static str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let station = KernelStation::join(bay, name, address)?;
        let echo = Echo::start(station.namespace.run(accept_traffic)??, name)?;
        let speaker = station.namespace.run(|| SpeakerProcess::start(name, address))??;
        Ok(Self { name, station, speaker, _echo: echo })
    }
}

/// What kube-proxy does for a Service address: the kernel takes its packets, and never answers ARP for it.
fn accept_traffic() -> io::Result<UdpSocket> {
    set_sysctl("ipv4/conf/all/arp_ignore", "1")?;
    set_sysctl("ipv4/conf/all/arp_announce", "2")?;
    kernel::add_address("lo", IpAddr::V4(VIP), 32)?;
    UdpSocket::bind((VIP, PORT))
}
