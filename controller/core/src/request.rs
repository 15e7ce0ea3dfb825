//! What a Service asks for: addresses, a pool, or nothing in particular (C30, C31).

use std::net::{AddrParseError, IpAddr};

use ferrolb_api::annotations::LOAD_BALANCER_IPS;
use ferrolb_api::{IpFamilies, Service};

/// The addresses a Service asks for, in textual order, or `None` if it names none (C31).
///
/// The order is the one in which MetalLB ends up writing them (C47): chosen from
/// the start it never changes, and neither does the owner, which hangs on the
/// first of them (D20). An empty annotation asks for nothing.
///
/// # Errors
/// If the request contradicts itself or cannot be read.
pub(crate) fn addresses(service: &Service) -> Result<Option<Vec<IpAddr>>, RequestError> {
    let annotation = service.annotations.load_balancer_ips.as_deref().filter(|text| !text.is_empty());
    match (annotation, service.load_balancer_ip.as_deref()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(RequestError::Both),
        (Some(list), None) => parse_list(list).map(Some),
        (None, Some(text)) => Ok(Some(vec![parse(text)?])),
    }
}

/// The pool a Service asks for; an empty annotation asks for none (C34).
pub(crate) fn pool(service: &Service) -> Option<&str> {
    service.annotations.address_pool.as_deref().filter(|name| !name.is_empty())
}

/// Why the addresses requested make no sense (C23).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// C31: requested in two places.
    #[error(
        "addresses are asked for by both spec.loadBalancerIP and the annotation {LOAD_BALANCER_IPS}; use one"
    )]
    Both,
    /// C31: a comma too many.
    #[error("{text:?}: entry {position} is an empty entry; remove the comma that is too many")]
    EmptyEntry {
        /// What was written.
        text: String,
        /// Which entry, the first of all being 1.
        position: usize,
    },
    /// C31: an item is no address.
    #[error("{text:?} is not an IP address")]
    NotAnAddress {
        /// What was written.
        text: String,
        /// What the parser says.
        source: AddrParseError,
    },
    /// C31: not one address, nor one of each family.
    #[error("{text:?}: ask for one address, or for one IPv4 and one IPv6 address")]
    Families {
        /// What was written.
        text: String,
    },
}

fn parse_list(list: &str) -> Result<Vec<IpAddr>, RequestError> {
    if let Some(index) = list.split(',').position(|item| item.trim().is_empty()) {
        return Err(RequestError::EmptyEntry { text: list.to_owned(), position: index + 1 });
    }
    let mut addresses = list.split(',').map(|item| parse(item.trim())).collect::<Result<Vec<_>, _>>()?;
    if IpFamilies::of(&addresses).is_none() {
        return Err(RequestError::Families { text: list.to_owned() });
    }
    addresses.sort_by_key(IpAddr::to_string);
    Ok(addresses)
}

/// An IPv4-mapped address counts as the IPv4 address in it, as in a pool (B16).
fn parse(text: &str) -> Result<IpAddr, RequestError> {
    let parsed: Result<IpAddr, _> = text.parse();
    let address = parsed.map_err(|source| RequestError::NotAnAddress { text: text.to_owned(), source })?;
    Ok(address.to_canonical())
}
