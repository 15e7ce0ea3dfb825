//! What is worth knowing of a pool that is in force: what its addresses become, and which of
//! them are withheld.

use super::super::Pool;
use crate::address;
use crate::crd::IPAddressPool;

/// The most addresses that one condition names.
const MAX_ADDRESSES: usize = 8;

/// What the prefixes of a pool become that have host bits; empty if none has.
pub(super) fn widened(pool: &IPAddressPool) -> String {
    let widened = pool.spec.addresses.iter().filter_map(|text| {
        let whole = address::widened(text)?;
        Some(format!("spec.addresses: {text} is the whole of {whole}"))
    });
    widened.collect::<Vec<_>>().join("; ")
}

/// What of a pool is withheld, and whose it is; `None` if nothing is.
pub(super) fn withheld(pool: &Pool) -> Option<String> {
    let withheld = &pool.withheld;
    let named: Vec<_> =
        withheld.iter().take(MAX_ADDRESSES).map(|(address, by)| format!("{address} is {by}")).collect();
    let more = withheld.len() - named.len();
    let count = match withheld.len() {
        0 => return None,
        1 => "1 address is withheld".to_owned(),
        count => format!("{count} addresses are withheld"),
    };
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Some(format!("{count}: {}{more}", named.join(", ")))
}
