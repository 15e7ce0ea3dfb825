//! The core's notices as log lines, with the values that people grep for (F42).

use std::net::IpAddr;

use controller_core::Notice;
use ferrolb_api::config::{ConfigurationReport, Rejected};

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

/// Writes one line, and one for each object that is not in force.
pub fn log_configuration(report: &ConfigurationReport) {
    for Rejected { kind, name, problem } in &report.rejected {
        tracing::error!(
            op = "setConfig", kind = %kind, name,
            error = format!("failed to parse the configuration: {problem}"), "an object is not in force"
        );
    }
    let (pools, advertisements) = (report.pools, report.advertisements);
    let rejected = report.rejected.len();
    tracing::info!(event = "configLoaded", pools, advertisements, rejected, "configuration (re)loaded");
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
