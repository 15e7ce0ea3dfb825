//! The core's notices as log lines, with the values that people grep for (F42).

use std::net::IpAddr;

use controller_core::Notice;

/// Writes one line.
pub fn log(notice: &Notice) {
    match notice {
        Notice::Allocated { service, addresses, pool } => {
            let ips = joined(addresses);
            tracing::info!(
                event = "ipAllocated", service = %service, ips, pool,
                "IP address assigned by controller"
            );
        }
        Notice::Adopted { service, addresses, pool } => {
            let ips = joined(addresses);
            tracing::info!(
                event = "ipAdopted", service = %service, ips, pool,
                "addresses found in the status and kept"
            );
        }
        Notice::Cleared { service, addresses, reason } => {
            let ips = joined(addresses);
            tracing::info!(
                event = "clearAssignment", service = %service, ips, reason,
                "addresses taken back"
            );
        }
        Notice::Unassigned { service, reason } => {
            tracing::warn!(op = "allocateIPs", service = %service, error = reason, "IP allocation failed");
        }
    }
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
