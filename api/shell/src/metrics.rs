//! Metrics that both binaries have (F6, F6a) and those of the process itself (V14).

mod process;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, Registry};

pub use process::Process;

/// What a process does with what Kubernetes tells it (F6, F6a).
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    /// Services, resources and nodes taken in.
    pub updates: IntCounter,
    /// Those that could not be brought to an end.
    pub update_errors: IntCounter,
    /// 1 once a configuration was accepted.
    pub config_loaded: IntGauge,
    /// 1 while the latest one has objects that had to be left out.
    pub config_stale: IntGauge,
}

impl ClientMetrics {
    /// Registers them, at zero.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| {
            register(registry, IntCounter::new(name, help).expect("the name is a valid one"))
        };
        let gauge = |name: &str, help: &str| {
            register(registry, IntGauge::new(name, help).expect("the name is a valid one"))
        };
        Self {
            updates: counter(
                "metallb_k8s_client_updates_total",
                "Number of k8s object updates that have been processed.",
            ),
            update_errors: counter(
                "metallb_k8s_client_update_errors_total",
                "Number of k8s object updates that failed for some reason.",
            ),
            config_loaded: gauge(
                "metallb_k8s_client_config_loaded_bool",
                "1 if the MetalLB configuration was successfully loaded at least once.",
            ),
            config_stale: gauge(
                "metallb_k8s_client_config_stale_bool",
                "1 if the latest MetalLB configuration has objects that are not in force.",
            ),
        }
    }

    /// Takes in that the custom resources were read.
    pub fn config_read(&self, rejected: usize) {
        self.config_loaded.set(1);
        self.config_stale.set(i64::from(rejected > 0));
    }
}

/// Registers a metric and gives it back. Names are ours and each is registered
/// once for a registry.
#[must_use]
pub fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn f6_names_are_exact() {
        let registry = Registry::new();
        let metrics = ClientMetrics::register(&registry);
        metrics.updates.inc();
        metrics.config_read(1);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("text is always possible");
        for line in [
            "metallb_k8s_client_updates_total 1",
            "metallb_k8s_client_update_errors_total 0",
            "metallb_k8s_client_config_loaded_bool 1",
            "metallb_k8s_client_config_stale_bool 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
