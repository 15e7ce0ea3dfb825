//! Links and their addresses as they change, by netlink instead of polling
//! (D40): every change gives the core the whole list.
//!
//! Notifications are only a hint that something changed. Each burst of them is
//! followed by one full dump, so that a lost or unreadable message costs nothing
//! but time, and one interface that vanishes while it is read spoils none of the
//! others (W44).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::IpFamily;
use futures::{Stream, StreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use speaker_core::{Input, Interface, InterfaceId, MacAddr};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::exclude::ExcludeList;

/// Changes come in bursts (a link, its addresses, its carrier); this long after
/// the first the list is read once.
const COALESCE: Duration = Duration::from_millis(20);
/// The list is read this often even if nothing is heard.
const REFRESH: Duration = Duration::from_secs(180);
/// After the netlink socket failed.
const RECONNECT: Duration = Duration::from_secs(1);
/// A dump that hangs is given up; the kernel answers within milliseconds.
const DUMP_TIMEOUT: Duration = Duration::from_secs(5);

/// Routes are waited for less long: without them only the gateways are not known.
const ROUTES_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends [`Input::Interfaces`] at the start and whenever the list changes, until
/// the receiver is gone. A failing netlink socket is opened anew.
pub async fn watch(exclude: ExcludeList, inputs: mpsc::Sender<Input<'static>>) {
    let mut last = None;
    while !inputs.is_closed() {
        if let Err(error) = follow(&exclude, &inputs, &mut last).await {
            tracing::warn!(%error, "interfaces: netlink failed, trying again");
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

/// One netlink socket's life. `Ok` means that the receiver is gone.
async fn follow(
    exclude: &ExcludeList,
    inputs: &mpsc::Sender<Input<'static>>,
    last: &mut Option<Vec<Interface>>,
) -> Result<(), WatchError> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = new_multicast_connection(&groups).map_err(WatchError::Open)?;
    let _driver = AbortOnDrop(tokio::spawn(connection));
    loop {
        let interfaces =
            timeout(DUMP_TIMEOUT, list(&handle, exclude)).await.map_err(|_| WatchError::Hangs)??;
        if last.as_ref() != Some(&interfaces) {
            log_changes(last.as_deref().unwrap_or_default(), &interfaces);
            *last = Some(interfaces.clone());
            if inputs.send(Input::Interfaces(interfaces)).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = inputs.closed() => return Ok(()),
            result = next_burst(&mut messages) => result?,
        }
    }
}

/// Waits for a change, an overrun or [`REFRESH`], and for the rest of its burst.
async fn next_burst<M>(messages: &mut (impl Stream<Item = M> + Unpin)) -> Result<(), WatchError> {
    match timeout(REFRESH, messages.next()).await {
        Ok(Some(_)) => {}
        Ok(None) => return Err(WatchError::Closed),
        Err(_) => return Ok(()),
    }
    let end = Instant::now() + COALESCE;
    while let Ok(message) = timeout_at(end, messages.next()).await {
        if message.is_none() {
            return Err(WatchError::Closed);
        }
    }
    Ok(())
}

/// Every interface that is not excluded, by index.
async fn list(handle: &Handle, exclude: &ExcludeList) -> Result<Vec<Interface>, WatchError> {
    let mut interfaces = BTreeMap::new();
    let mut links = Box::pin(handle.link().get().execute());
    while let Some(link) = links.next().await {
        let Some(interface) = readable(link)?.and_then(|link| from_link(&link)) else { continue };
        if !exclude.matches(&interface.name) {
            interfaces.insert(interface.id, interface);
        }
    }
    let mut addresses = Box::pin(handle.address().get().execute());
    while let Some(message) = addresses.next().await {
        let Some(message) = readable(message)? else { continue };
        if let Some(interface) = interfaces.get_mut(&InterfaceId(message.header.index))
            && let Some(address) = from_address(&message)
        {
            interface.addresses.push((address, message.header.prefix_len));
        }
    }
    match timeout(ROUTES_TIMEOUT, gateways(handle)).await {
        Ok(Ok(gateways)) => {
            for (index, gateway) in gateways {
                if let Some(interface) = interfaces.get_mut(&InterfaceId(index)) {
                    interface.gateways.push(gateway);
                }
            }
        }
        // Nothing is announced by them; interfaces matter more.
        Ok(Err(error)) => tracing::debug!(%error, "interfaces: no routes"),
        Err(_) => tracing::debug!("interfaces: the list of routes takes too long"),
    }
    for interface in interfaces.values_mut() {
        interface.addresses.sort_unstable();
        interface.gateways.sort_unstable();
        interface.gateways.dedup();
    }
    Ok(interfaces.into_values().collect())
}

/// The gateways of all default routes, each with the index of its interface. Changes of routes
/// are not listened to: a network plugin makes too many of them.
async fn gateways(handle: &Handle) -> Result<Vec<(u32, IpAddr)>, WatchError> {
    let mut gateways = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut asked = RouteMessage::default();
        asked.header.address_family = family;
        let mut routes = Box::pin(handle.route().get(asked).execute());
        while let Some(route) = routes.next().await {
            let Some(route) = readable(route)? else { continue };
            if route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast {
                gateways.extend(from_route(&route.attributes, None));
                let hops = route.attributes.iter().filter_map(|attribute| match attribute {
                    RouteAttribute::MultiPath(hops) => Some(hops),
                    _ => None,
                });
                let hops = hops.flatten();
                gateways
                    .extend(hops.filter_map(|hop| from_route(&hop.attributes, Some(hop.interface_index))));
            }
        }
    }
    Ok(gateways)
}

/// The gateway in these attributes, and the interface: `index`, or that of the attributes.
fn from_route(attributes: &[RouteAttribute], index: Option<u32>) -> Option<(u32, IpAddr)> {
    let oif = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let gateway = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    });
    Some((index.or(oif)?, gateway?))
}

/// An answer of the kernel about one object is left out; a broken socket is not
/// (W44).
fn readable<T>(message: Result<T, rtnetlink::Error>) -> Result<Option<T>, WatchError> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error @ (rtnetlink::Error::NetlinkError(_) | rtnetlink::Error::UnexpectedMessage(_))) => {
            tracing::debug!(%error, "interfaces: left out what cannot be read");
            Ok(None)
        }
        Err(error) => Err(WatchError::Dump(error)),
    }
}

/// What decides about announcing on a link (D45); `None` for one without a name.
fn from_link(link: &LinkMessage) -> Option<Interface> {
    let mut name = None;
    let mut mac = None;
    let (mut master, mut ipv6_is_off) = (None, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr),
            LinkAttribute::Controller(index) => master = (*index != 0).then_some(InterfaceId(*index)),
            LinkAttribute::AfSpecUnspec(families) => ipv6_is_off = families.iter().any(is_ipv6_off),
            _ => {}
        }
    }
    let flags = link.header.flags;
    Some(Interface {
        id: InterfaceId(link.header.index),
        name: name?,
        mac: mac.filter(|mac| mac.is_unicast()),
        addresses: Vec::new(),
        gateways: Vec::new(),
        is_up: flags.contains(LinkFlags::Up),
        has_carrier: flags.contains(LinkFlags::LowerUp),
        can_broadcast: flags.contains(LinkFlags::Broadcast),
        no_arp: flags.contains(LinkFlags::Noarp),
        master,
        ipv6_is_off,
    })
}

/// Whether it is IPv6's part of a link, and says that there is to be none.
fn is_ipv6_off(family: &AfSpecUnspec) -> bool {
    let AfSpecUnspec::Inet6(settings) = family else { return false };
    settings.iter().any(|one| matches!(one, AfSpecInet6::DevConf(settings) if settings.disable_ipv6 != 0))
}

/// The interface's own address: on a point-to-point link `IFA_ADDRESS` is the
/// peer's and `IFA_LOCAL` ours; IPv6 has `IFA_ADDRESS` only.
fn from_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// One line for each interface that came, went or changed, and those of MetalLB
/// for each that begins or ends to answer (F42).
fn log_changes(before: &[Interface], after: &[Interface]) {
    for interface in after.iter().filter(|interface| !before.contains(interface)) {
        tracing::info!(
            interface = interface.name,
            index = interface.id.0,
            mac = interface.mac.map(tracing::field::display),
            up = interface.is_up,
            carrier = interface.has_carrier,
            addresses = ?interface.addresses,
            announces = interface.is_usable(IpFamily::V4),
            "interface"
        );
    }
    for gone in before.iter().filter(|old| after.iter().all(|new| new.id != old.id)) {
        tracing::info!(interface = gone.name, index = gone.id.0, "interface gone");
    }
    for family in [IpFamily::V4, IpFamily::V6] {
        log_responders(family, &answering(family, before), &answering(family, after));
    }
}

/// The interfaces on which addresses of a family can be announced.
fn answering(family: IpFamily, interfaces: &[Interface]) -> BTreeMap<InterfaceId, &str> {
    let can = interfaces.iter().filter(|interface| interface.can_announce(family));
    can.map(|interface| (interface.id, interface.name.as_str())).collect()
}

/// MetalLB has a responder for each interface and family; here one answers for
/// all (D50), and this says where it does.
fn log_responders(
    family: IpFamily,
    before: &BTreeMap<InterfaceId, &str>,
    after: &BTreeMap<InterfaceId, &str>,
) {
    let (created, deleted, protocol) = match family {
        IpFamily::V4 => ("createARPResponder", "deleteARPResponder", "ARP"),
        IpFamily::V6 => ("createNDPResponder", "deleteNDPResponder", "NDP"),
    };
    for (_, interface) in after.iter().filter(|(id, _)| !before.contains_key(id)) {
        tracing::info!(event = created, interface, "{protocol} is answered on this interface");
    }
    for (_, interface) in before.iter().filter(|(id, _)| !after.contains_key(id)) {
        tracing::info!(event = deleted, interface, "{protocol} is no longer answered on this interface");
    }
}

/// The task of a connection ends with the watch that uses it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a netlink socket is given up.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    #[error("cannot list: {0}")]
    Dump(#[from] rtnetlink::Error),
    #[error("the kernel does not answer")]
    Hangs,
    #[error("the socket was closed")]
    Closed,
}

#[cfg(test)]
mod tests;
