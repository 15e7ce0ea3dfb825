//! The kernel's side of a test network, by rtnetlink: interfaces, addresses, and the neighbour table it really has.
//!
//! Every function works in the network namespace of the calling thread.

use std::future::Future;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use netsim::net::neighbours::NeighbourState;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{self, NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use smoltcp::wire::EthernetAddress;

/// One line of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelNeighbour {
    /// Index of the interface.
    pub interface: u32,
    /// Whose line it is.
    pub address: IpAddr,
    /// The hardware address on file, also of a line that has failed.
    pub mac: Option<EthernetAddress>,
    /// Its state. Permanent lines and those of loopback are left out of the table.
    pub state: NeighbourState,
}

/// Brings an interface up.
///
/// # Errors
/// Here and below: if the kernel refuses, or there is no such interface.
pub fn set_up(interface: &str) -> io::Result<()> {
    change(interface, |link| link.up())
}

/// Gives an interface a hardware address and brings it up.
///
/// # Errors
/// See [`set_up`].
pub fn set_up_as(interface: &str, mac: EthernetAddress) -> io::Result<()> {
    change(interface, |link| link.address(mac.as_bytes().to_vec()).up())
}

/// Takes an interface down.
///
/// # Errors
/// See [`set_up`].
pub fn set_down(interface: &str) -> io::Result<()> {
    change(interface, |link| link.down())
}

/// Makes an interface a port of a bridge, or of none.
///
/// # Errors
/// See [`set_up`].
pub fn set_bridge(interface: &str, bridge: Option<&str>) -> io::Result<()> {
    let bridge = bridge.map(self::interface).transpose()?;
    change(interface, |link| match bridge {
        Some((index, _)) => link.controller(index),
        None => link.nocontroller(),
    })
}

/// Makes a bridge and brings it up.
///
/// # Errors
/// If the kernel refuses.
pub fn add_bridge(name: &str) -> io::Result<()> {
    add(LinkBridge::new(name).up().build())
}

/// Makes two interfaces that are each other's cable, and brings them up.
///
/// # Errors
/// If the kernel refuses.
pub fn add_veth(one: &str, other: &str) -> io::Result<()> {
    add(LinkVeth::new(one, other).up().build())?;
    set_up(other)
}

fn add(link: LinkMessage) -> io::Result<()> {
    with_netlink(async |handle| handle.link().add(link).execute().await.map_err(io::Error::other))
}

fn change(
    interface: &str,
    change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> io::Result<()> {
    with_netlink(async |handle| {
        let index = find(&handle, interface).await?.0;
        let change = change(LinkUnspec::new_with_index(index)).build();
        handle.link().set(change).execute().await.map_err(io::Error::other)
    })
}

/// Index and hardware address of an interface.
///
/// # Errors
/// See [`set_up`].
pub fn interface(name: &str) -> io::Result<(u32, EthernetAddress)> {
    with_netlink(async |handle| find(&handle, name).await)
}

/// Adds an address with its subnet. IPv6 addresses skip duplicate address detection, but the kernel puts them in place in
/// its own time all the same: see [`await_address`].
///
/// # Errors
/// See [`set_up`].
pub fn add_address(interface: &str, address: IpAddr, prefix: u8) -> io::Result<()> {
    put_address(interface, address, prefix, false)
}

/// The same, but an IPv6 address is taken only if duplicate address detection finds nobody who has it.
///
/// # Errors
/// See [`set_up`].
pub fn add_address_with_detection(interface: &str, address: IpAddr, prefix: u8) -> io::Result<()> {
    put_address(interface, address, prefix, true)
}

fn put_address(interface: &str, address: IpAddr, prefix: u8, is_checked: bool) -> io::Result<()> {
    with_netlink(async |handle| {
        let index = find(&handle, interface).await?.0;
        let mut request = handle.address().add(index, address, prefix);
        if address.is_ipv6() && !is_checked {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.map_err(io::Error::other)
    })
}

/// Takes an address away again; it is an error if it is not there.
///
/// # Errors
/// See [`set_up`].
pub fn remove_address(interface: &str, address: IpAddr) -> io::Result<()> {
    with_netlink(async |handle| {
        let index = find(&handle, interface).await?.0;
        let mut lines = handle.address().get().set_link_index_filter(index).execute();
        while let Some(line) = lines.try_next().await.map_err(io::Error::other)? {
            if line.attributes.contains(&AddressAttribute::Address(address)) {
                return handle.address().del(line).execute().await.map_err(io::Error::other);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{interface} does not have {address}")))
    })
}

/// Waits until an own address takes packets. The kernel finishes an IPv6 address, its local route included, in a work
/// queue, which on a busy machine runs after the caller has gone on; until then packets to it are lost. The interface and
/// `lo` must be up.
///
/// # Errors
/// If it takes longer than half a minute.
pub fn await_address(address: IpAddr) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(30);
    const TRY: Duration = Duration::from_millis(20);
    let end = Instant::now() + PATIENCE;
    let reaches_itself = || -> io::Result<()> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(TRY))?;
        socket.send_to(b"?", socket.local_addr()?)?;
        socket.recv(&mut [0; 1]).map(|_| ())
    };
    loop {
        match reaches_itself() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(io::Error::new(error.kind(), format!("{address} takes no packets: {error}")));
            }
            Err(_) => sleep(TRY),
        }
    }
}

/// Sends everything of the gateway's family that has no nearer way to `gateway`.
///
/// # Errors
/// See [`set_up`].
pub fn add_default_route(gateway: IpAddr) -> io::Result<()> {
    with_netlink(async |handle| {
        let route = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<std::net::Ipv4Addr>::new().gateway(gateway).build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<std::net::Ipv6Addr>::new().gateway(gateway).build(),
        };
        handle.route().add(route).execute().await.map_err(io::Error::other)
    })
}

/// The neighbour table, both families, all interfaces.
///
/// # Errors
/// See [`set_up`].
pub fn neighbours() -> io::Result<Vec<KernelNeighbour>> {
    with_netlink(async |handle| {
        let lines: Vec<_> =
            handle.neighbours().get().execute().try_collect().await.map_err(io::Error::other)?;
        Ok(lines.iter().filter_map(read).collect())
    })
}

fn read(line: &NeighbourMessage) -> Option<KernelNeighbour> {
    let state = match line.header.state {
        neighbour::NeighbourState::Incomplete => NeighbourState::Incomplete,
        neighbour::NeighbourState::Reachable => NeighbourState::Reachable,
        neighbour::NeighbourState::Stale => NeighbourState::Stale,
        neighbour::NeighbourState::Delay => NeighbourState::Delay,
        neighbour::NeighbourState::Probe => NeighbourState::Probe,
        neighbour::NeighbourState::Failed => NeighbourState::Failed,
        _ => return None,
    };
    let address = line.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let mac = line.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => {
            Some(EthernetAddress(bytes.as_slice().try_into().ok()?))
        }
        _ => None,
    });
    Some(KernelNeighbour { interface: line.header.ifindex, address, mac, state })
}

async fn find(handle: &Handle, name: &str) -> io::Result<(u32, EthernetAddress)> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}"));
    let link = links.try_next().await.map_err(io::Error::other)?.ok_or_else(missing)?;
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Some(EthernetAddress(bytes.as_slice().try_into().ok()?)),
        _ => None,
    });
    Ok((link.header.index, mac.unwrap_or_default()))
}

/// Runs `work` with a netlink socket of its own, on the calling thread.
fn with_netlink<R, W>(work: impl FnOnce(Handle) -> W) -> io::Result<R>
where
    W: Future<Output = io::Result<R>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        work(handle).await
    })
}
