//! The configuration as log lines: each rejected object once, until its verdict changes.

use std::collections::BTreeMap;

use ferrolb_api::config::{ConfigurationReport, Kind};

/// Writes what is new in each report, and remembers what was said.
#[derive(Debug, Default)]
pub struct ConfigurationLog {
    /// What is not in force, and why.
    rejected: BTreeMap<(Kind, String), String>,
}

impl ConfigurationLog {
    /// Writes one line, one for each object that is not in force for a reason that
    /// was not said yet, and one for each that is no longer rejected.
    pub fn log(&mut self, report: &ConfigurationReport) {
        let rejected = report.rejected.iter().map(|one| ((one.kind, one.name.clone()), one.problem.clone()));
        let rejected: BTreeMap<(Kind, String), String> = rejected.collect();
        for (object @ (kind, name), problem) in &rejected {
            if self.rejected.get(object) != Some(problem) {
                tracing::error!(
                    op = "setConfig",
                    kind = %kind,
                    name,
                    error = format!("failed to parse the configuration: {problem}"),
                    "an object is not in force"
                );
            }
        }
        for object @ (kind, name) in self.rejected.keys() {
            if !rejected.contains_key(object) {
                tracing::info!(op = "setConfig", kind = %kind, name, "an object is no longer rejected");
            }
        }
        self.rejected = rejected;
        let (pools, advertisements) = (report.pools, report.advertisements);
        let rejected = self.rejected.len();
        tracing::info!(event = "configLoaded", pools, advertisements, rejected, "configuration (re)loaded");
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_api::config::Rejected;

    use super::*;
    use crate::process::logs::captured::Captured;
    use crate::process::logs::{self, LogLevel};

    #[test]
    fn f42_a_rejected_object_is_said_when_its_verdict_changes() {
        let rejected = |name: &str, problem: &str| Rejected {
            kind: Kind::IPAddressPool,
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        let mut log = ConfigurationLog::default();
        let mut said = |pools, rejected: Vec<Rejected>| -> Vec<String> {
            let report = ConfigurationReport { pools, advertisements: 1, rejected };
            let captured = Captured::default();
            let sink = captured.clone();
            let lines = logs::lines_to(LogLevel::Info, move || sink.clone());
            tracing::subscriber::with_default(lines, || log.log(&report));
            captured
                .lines()
                .iter()
                .map(|line| format!("{} {}/{}", line["level"], line["kind"], line["name"]).replace('"', ""))
                .collect()
        };
        let loaded = "info null/null";
        let bad = "error IPAddressPool/bad";
        assert_eq!(said(1, vec![rejected("bad", "no prefix")]), [bad, loaded]);
        assert_eq!(said(2, vec![rejected("bad", "no prefix")]), [loaded], "another pool was changed");
        assert_eq!(said(2, vec![rejected("bad", "no range")]), [bad, loaded]);
        assert_eq!(
            said(2, vec![rejected("bad", "no range"), rejected("worse", "x")]),
            ["error IPAddressPool/worse", loaded]
        );
        assert_eq!(said(3, vec![rejected("worse", "x")]), ["info IPAddressPool/bad", loaded]);
        assert_eq!(said(3, vec![rejected("bad", "no range"), rejected("worse", "x")]), [bad, loaded]);
    }
}
