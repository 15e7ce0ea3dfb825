//! The controller's metrics: MetalLB's names and labels (F1 to F6a).

use controller_core::PoolUsage;
use ferrolb_shell::admin::metrics::{ClientMetrics, register};
use prometheus::{IntGaugeVec, Opts, Registry};

/// What `/metrics` shows.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// F6, F6a.
    pub client: ClientMetrics,
    /// F1 to F4, each by pool.
    total: Families,
    in_use: Families,
}

/// A gauge for all addresses and one for each family.
#[derive(Clone, Debug)]
struct Families {
    both: IntGaugeVec,
    ipv4: IntGaugeVec,
    ipv6: IntGaugeVec,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        // F5: it has a name and no series, as in MetalLB.
        let _ = gauge(registry, "services_allocated_total", "Number of services allocated, per pool");
        Self {
            client: ClientMetrics::register(registry),
            total: Families {
                both: gauge(registry, "addresses_total", "Number of usable IP addresses, per pool"),
                ipv4: gauge(registry, "ipv4_addresses_total", "Number of usable IPv4 addresses, per pool"),
                ipv6: gauge(registry, "ipv6_addresses_total", "Number of usable IPv6 addresses, per pool"),
            },
            in_use: Families {
                both: gauge(registry, "addresses_in_use_total", "Number of IP addresses in use, per pool"),
                ipv4: gauge(
                    registry,
                    "ipv4_addresses_in_use_total",
                    "Number of IPv4 addresses in use, per pool",
                ),
                ipv6: gauge(
                    registry,
                    "ipv6_addresses_in_use_total",
                    "Number of IPv6 addresses in use, per pool",
                ),
            },
        }
    }

    /// Shows the counters of one pool.
    pub fn show(&self, usage: &PoolUsage) {
        self.total.set(&usage.pool, usage.total_ipv4, usage.total_ipv6);
        self.in_use.set(&usage.pool, usage.assigned_ipv4, usage.assigned_ipv6);
    }

    /// Ends the series of all pools and of the configuration: they are another
    /// replica's now, and a sum over both is to be right.
    pub fn forget_all(&self) {
        self.client.config_forgotten();
        for families in [&self.total, &self.in_use] {
            for gauge in [&families.both, &families.ipv4, &families.ipv6] {
                gauge.reset();
            }
        }
    }

    /// C84: ends the series of a pool that is gone.
    pub fn forget(&self, pool: &str) {
        self.total.forget(pool);
        self.in_use.forget(pool);
    }
}

impl Families {
    fn set(&self, pool: &str, ipv4: i64, ipv6: i64) {
        self.both.with_label_values(&[pool]).set(ipv4.saturating_add(ipv6));
        self.ipv4.with_label_values(&[pool]).set(ipv4);
        self.ipv6.with_label_values(&[pool]).set(ipv6);
    }

    fn forget(&self, pool: &str) {
        for gauge in [&self.both, &self.ipv4, &self.ipv6] {
            // It is an error to forget what was never shown, and no harm.
            let _ = gauge.remove_label_values(&[pool]);
        }
    }
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGaugeVec {
    let options = Opts::new(format!("metallb_allocator_{name}"), help);
    register(registry, IntGaugeVec::new(options, &["pool"]).expect("names and labels are valid"))
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn f1_to_f5_c84_names_labels_and_ends() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        let text =
            || TextEncoder::new().encode_to_string(&registry.gather()).expect("text is always possible");
        let usage = PoolUsage {
            pool: "default-pool".to_owned(),
            total_ipv4: 40,
            total_ipv6: 60,
            assigned_ipv4: 2,
            assigned_ipv6: 1,
            exhausted: None,
        };
        metrics.show(&usage);
        let shown = text();
        for line in [
            "metallb_allocator_addresses_total{pool=\"default-pool\"} 100",
            "metallb_allocator_ipv4_addresses_total{pool=\"default-pool\"} 40",
            "metallb_allocator_ipv6_addresses_total{pool=\"default-pool\"} 60",
            "metallb_allocator_addresses_in_use_total{pool=\"default-pool\"} 3",
            "metallb_allocator_ipv4_addresses_in_use_total{pool=\"default-pool\"} 2",
            "metallb_allocator_ipv6_addresses_in_use_total{pool=\"default-pool\"} 1",
        ] {
            assert!(shown.lines().any(|found| found == line), "{line} is not in\n{shown}");
        }
        assert!(!shown.contains("services_allocated_total{"), "F5: no series");
        metrics.forget("default-pool");
        metrics.forget("never-shown");
        assert!(!text().contains("default-pool"));
        metrics.show(&PoolUsage { pool: "other".to_owned(), ..usage });
        assert!(text().contains("other"));
        metrics.forget_all();
        assert!(!text().contains("other"));
    }
}
