//! Metrics that both binaries have (F6, F6a) and those of the process itself (M14).

mod process;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGaugeVec, Opts, Registry};

pub use process::Process;

/// What a process does with what Kubernetes tells it (F6, F6a).
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    /// Services, resources and nodes taken in.
    pub updates: IntCounter,
    /// Those that could not be brought to an end.
    pub update_errors: IntCounter,
    /// 1 once a configuration was accepted. Without labels, so it is one series,
    /// or none while another process reads the configuration.
    config_loaded: IntGaugeVec,
    /// 1 while the latest one has objects that had to be left out. As above.
    config_stale: IntGaugeVec,
}

impl ClientMetrics {
    /// Registers them, at zero.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| {
            register(registry, IntCounter::new(name, help).expect("the name is a valid one"))
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &[]).expect("the name is a valid one");
            register(registry, gauge)
        };
        let metrics = Self {
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
        };
        metrics.config_awaited();
        metrics
    }

    /// Shows that the custom resources are not read yet.
    pub fn config_awaited(&self) {
        self.show_config(0, 0);
    }

    /// Shows nothing of the custom resources: to read them is for another replica,
    /// and "not loaded" is an alert.
    pub fn config_forgotten(&self) {
        self.config_loaded.reset();
        self.config_stale.reset();
    }

    /// Takes in that the custom resources were read.
    pub fn config_read(&self, rejected: usize) {
        self.show_config(1, i64::from(rejected > 0));
    }

    fn show_config(&self, loaded: i64, stale: i64) {
        self.config_loaded.with_label_values::<&str>(&[]).set(loaded);
        self.config_stale.with_label_values::<&str>(&[]).set(stale);
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

    fn shown(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).expect("text is always possible")
    }

    #[test]
    fn f6_names_are_exact() {
        let registry = Registry::new();
        let metrics = ClientMetrics::register(&registry);
        metrics.updates.inc();
        metrics.config_read(1);
        let text = shown(&registry);
        for line in [
            "metallb_k8s_client_updates_total 1",
            "metallb_k8s_client_update_errors_total 0",
            "metallb_k8s_client_config_loaded_bool 1",
            "metallb_k8s_client_config_stale_bool 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn f6a_a_replica_that_stands_by_says_nothing_of_the_configuration() {
        let registry = Registry::new();
        let metrics = ClientMetrics::register(&registry);
        let values = || {
            let text = shown(&registry);
            let lines = text.lines().filter(|line| line.starts_with("metallb_k8s_client_config_"));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect::<Vec<u8>>()
        };
        assert_eq!(values(), [0, 0], "loaded, stale");
        metrics.config_read(1);
        assert_eq!(values(), [1, 1]);
        metrics.config_forgotten();
        assert_eq!(values(), [0; 0]);
        metrics.config_awaited();
        assert_eq!(values(), [0, 0]);
    }
}
