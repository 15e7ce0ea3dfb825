//! Why nothing is announced on an interface, in words that say what to do.

use std::collections::BTreeMap;

use ferrolb_api::IpFamily;

use crate::interface::{Interface, InterfaceId, InterfaceSet, Obstacle};

/// The most interfaces of which a text speaks.
const MAX_TOLD: usize = 5;

/// Of each interface out of `set`, which may be missing, what is in the way of
/// announcing addresses of `family`. Where all are meant, only of those that could be
/// made to work.
pub(super) fn text(
    interfaces: &BTreeMap<InterfaceId, Interface>,
    set: &InterfaceSet,
    family: IpFamily,
) -> String {
    let obstacle = |interface: &Interface| {
        interface.obstacle(family).map(|obstacle| sentence(interfaces, &interface.name, obstacle))
    };
    let mut told: Vec<String> = match set {
        InterfaceSet::Named(names) => {
            let find = |name: &String| interfaces.values().find(|interface| interface.name == *name);
            let told =
                names.iter().filter_map(|name| find(name).map_or_else(|| Some(missing(name)), obstacle));
            told.collect()
        }
        InterfaceSet::All => {
            let is_told = |one: &&Interface| one.obstacle(family) != Some(Obstacle::NotEthernet);
            interfaces.values().filter(is_told).filter_map(obstacle).collect()
        }
    };
    let more = told.len().saturating_sub(MAX_TOLD);
    told.truncate(MAX_TOLD);
    if told.is_empty() {
        return "no interface of the node is Ethernet, or announcedInterfacesToExclude leaves out those that are"
            .to_owned();
    }
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    told.join("; ") + &rest
}

fn missing(name: &str) -> String {
    format!(
        "the node has no interface {name}, or announcedInterfacesToExclude leaves it out: correct the \
         interfaces of the L2Advertisement"
    )
}

fn sentence(interfaces: &BTreeMap<InterfaceId, Interface>, name: &str, obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Port(id) => match interfaces.get(&id) {
            Some(master)
                if [IpFamily::V4, IpFamily::V6].iter().any(|family| master.can_announce(*family)) =>
            {
                let master = &master.name;
                format!("{name} is a port of {master}: name {master} in the L2Advertisement")
            }
            Some(master) => {
                format!("{name} is a port of {}, on which nothing can be announced either", master.name)
            }
            None => format!("{name} is a port of an interface that announcedInterfacesToExclude leaves out"),
        },
        Obstacle::NotEthernet => {
            format!("{name} is not Ethernet: name an interface that is in the L2Advertisement")
        }
        Obstacle::NoArp => format!("{name} does no ARP: ip link set {name} arp on"),
        Obstacle::NoBroadcast => {
            format!("{name} is point to point: name an interface that can broadcast in the L2Advertisement")
        }
        Obstacle::Ipv6IsOff => {
            format!("IPv6 is off on {name}: sysctl net.ipv6.conf.{name}.disable_ipv6=0")
        }
        Obstacle::Down => format!("{name} is down: ip link set {name} up"),
        Obstacle::NoCarrier => format!("{name} has no carrier: look at its cable and the port of its switch"),
    }
}

#[cfg(test)]
mod tests;
