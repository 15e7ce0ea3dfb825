//! Whether what is in force meets anything: pools and advertisements that do
//! not find each other are valid (B15), and yet nothing is announced.

use super::super::{Config, Effective, Kind, PoolSelection, reason};

/// The most names in one message.
const MAX_NAMES: usize = 10;

/// What there is to say of the object of `kind` that is in force as `name`.
pub(super) fn judge(kind: Kind, name: &str, config: &Config) -> Option<Effective> {
    match kind {
        Kind::IPAddressPool => pool(name, config),
        Kind::L2Advertisement => advertisement(name, config),
    }
}

fn pool(name: &str, config: &Config) -> Option<Effective> {
    let pool = config.pools.get(name)?;
    let selecting = config.advertisements.values().filter(|ad| ad.selects_pool(pool));
    let names: Vec<&str> = selecting.map(|ad| ad.name.as_str()).collect();
    if names.is_empty() {
        let message = "no L2Advertisement selects this pool: its addresses are assigned, but not \
                       announced by ARP or NDP";
        return Some(Effective {
            holds: false,
            reason: reason::NO_ADVERTISEMENT,
            message: message.to_owned(),
        });
    }
    let message = format!("advertised by L2Advertisement {}", listed(&names));
    Some(Effective { holds: true, reason: reason::MATCHED, message })
}

fn advertisement(name: &str, config: &Config) -> Option<Effective> {
    let ad = config.advertisements.get(name)?;
    let selected = config.pools.values().filter(|pool| ad.selects_pool(pool));
    let selected: Vec<&str> = selected.map(|pool| pool.name.as_str()).collect();
    let unknown: Vec<&str> = match &ad.pools {
        PoolSelection::All => Vec::new(),
        PoolSelection::Some { names, .. } => {
            names.iter().map(String::as_str).filter(|name| !config.pools.contains_key(*name)).collect()
        }
    };
    let missing = match (&ad.pools, unknown.is_empty()) {
        (_, false) => format!("no IPAddressPool {} is in force", listed(&unknown)),
        (PoolSelection::All, true) => "no IPAddressPool is in force".to_owned(),
        (PoolSelection::Some { .. }, true) => "its ipAddressPoolSelectors match no IPAddressPool".to_owned(),
    };
    if selected.is_empty() {
        let message = format!("{missing}, so nothing is announced by it");
        return Some(Effective { holds: false, reason: reason::NO_MATCHING_POOL, message });
    }
    let announces = format!("announces IPAddressPool {}", listed(&selected));
    Some(match unknown.is_empty() {
        true => Effective { holds: true, reason: reason::MATCHED, message: announces },
        false => Effective {
            holds: true,
            reason: reason::UNKNOWN_POOL,
            message: format!("{announces}; but {missing}"),
        },
    })
}

/// `a, b and 3 more`.
fn listed(names: &[&str]) -> String {
    match names.len().checked_sub(MAX_NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MAX_NAMES].join(", ")),
    }
}
