//! What `/readyz` answers: which parts are ready, and why the others are not (W43).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state of every part that has a say in readiness.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, Part>>>,
}

#[derive(Debug)]
struct Part {
    ready: bool,
    note: String,
}

/// One part's say.
#[derive(Clone, Debug)]
pub struct Gate {
    readiness: Readiness,
    name: String,
}

/// What to answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether every part is ready.
    pub ready: bool,
    /// One line for each part.
    pub text: String,
}

impl Readiness {
    /// Adds a part that is not ready because of `why`, until its gate says more.
    #[must_use]
    pub fn gate(&self, name: impl Into<String>, why: impl Into<String>) -> Gate {
        let gate = Gate { readiness: self.clone(), name: name.into() };
        gate.not_ready(why);
        gate
    }

    /// Whether the process is ready, part by part. A process without any part
    /// has not started yet and is not ready.
    #[must_use]
    pub fn report(&self) -> Report {
        let parts = self.parts();
        let mut text = String::new();
        for (name, part) in &*parts {
            let mark = if part.ready { "+" } else { "-" };
            let state = if part.ready { "ready" } else { "not ready" };
            let separator = if part.note.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "[{mark}] {name} {state}{separator}{}", part.note);
        }
        if parts.is_empty() {
            text.push_str("[-] starting\n");
        }
        Report { ready: !parts.is_empty() && parts.values().all(|part| part.ready), text }
    }

    /// The parts that have a say now.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.parts().keys().cloned().collect()
    }

    /// Ends the say of all parts but these, as of those that do not run any more.
    pub fn retain(&self, names: &BTreeSet<String>) {
        self.parts().retain(|name, _| names.contains(name));
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        // A part is written in one step: a poisoned map is still whole.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// This part is ready.
    pub fn ready(&self) {
        self.set(true, String::new());
    }

    /// This part is ready, though something is worth telling.
    pub fn ready_but(&self, note: impl Into<String>) {
        self.set(true, note.into());
    }

    /// This part is not ready, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(false, why.into());
    }

    /// Whether this part is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness.parts().get(&self.name).is_some_and(|part| part.ready)
    }

    fn set(&self, ready: bool, note: String) {
        self.readiness.parts().insert(self.name.clone(), Part { ready, note });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w43_says_what_is_missing() {
        let readiness = Readiness::default();
        assert!(!readiness.report().ready, "nothing has started yet");
        let services = readiness.gate("services", "no list yet");
        let pools = readiness.gate("pools", "no list yet");
        pools.ready();
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(report.text, "[+] pools ready\n[-] services not ready: no list yet\n");
        services.ready_but("the API server does not answer");
        let report = readiness.report();
        assert!(report.ready);
        assert!(report.text.contains("services ready: the API server does not answer"), "{}", report.text);
    }

    #[test]
    fn parts_that_do_not_run_any_more_have_no_say() {
        let readiness = Readiness::default();
        readiness.gate("election", "").ready();
        let names = readiness.names();
        let services = readiness.gate("services", "no list yet");
        assert!(!readiness.report().ready);
        readiness.retain(&names);
        assert_eq!(readiness.report().text, "[+] election ready\n");
        services.not_ready("started again");
        assert!(!readiness.report().ready);
    }
}
