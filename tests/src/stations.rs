//! Stations of a network in real time: network namespaces whose NICs are TAP ports of a simulated switch.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netsim::net::patchbay::Patchbay;
use netsim::net::port::PortId;
use netsim::net::tap::TapPort;
use netsim::net::wire::WireSettings;
use smoltcp::wire::EthernetAddress;

use crate::kernel;
use crate::namespaces::Namespace;

/// The name of a station's first NIC.
pub const NIC: &str = "eth0";

/// A namespace with one NIC on the switch.
#[derive(Debug)]
pub struct KernelStation {
    /// Its network namespace.
    pub namespace: Namespace,
    /// Where it is plugged in.
    pub port: PortId,
    /// Its hardware address.
    pub mac: EthernetAddress,
}

impl KernelStation {
    /// A new namespace with `address` on a TAP that is plugged into `bay`. The hardware address ends like it.
    ///
    /// # Errors
    /// Here and below: if the kernel refuses, or the switch has stopped.
    pub fn join(bay: &Patchbay, name: &str, address: Ipv4Addr) -> io::Result<Self> {
        Self::join_from(Namespace::new()?, bay, name, address)
    }

    /// The same for a namespace that is there already.
    ///
    /// # Errors
    /// See [`KernelStation::join`].
    pub fn join_from(
        namespace: Namespace,
        bay: &Patchbay,
        name: &str,
        address: Ipv4Addr,
    ) -> io::Result<Self> {
        let mac = EthernetAddress([0x02, 0, 0, 0, 0, address.octets()[3]]);
        let port = plug(bay, &namespace, name, NIC, mac)?;
        namespace.run(|| kernel::add_address(NIC, IpAddr::V4(address), 24))??;
        Ok(Self { namespace, port, mac })
    }
}

/// Makes a TAP called `interface` in `namespace`, brings it up, and plugs it into `bay`.
///
/// # Errors
/// See [`KernelStation::join`].
pub fn plug(
    bay: &Patchbay,
    namespace: &Namespace,
    name: &str,
    interface: &str,
    mac: EthernetAddress,
) -> io::Result<PortId> {
    let tap = namespace.run(|| -> io::Result<TapPort> {
        let tap = TapPort::open(interface).map_err(io::Error::other)?;
        kernel::set_up_as(interface, mac)?;
        Ok(tap)
    })??;
    bay.connect_tap(name, tap, WireSettings::default())
}
