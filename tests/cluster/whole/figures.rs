//! What was measured, as a table: a bound that is only kept tells nobody how close it was.

use std::fmt;
use std::time::Duration;

use cluster::Outage;

/// Lines of the table, in the order of the cases.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    times: Vec<(&'static str, Duration)>,
    outages: Vec<(&'static str, String)>,
}

impl Figures {
    /// How long something took.
    pub(crate) fn add(&mut self, what: &'static str, time: Duration) {
        self.times.push((what, time));
    }

    /// What a client saw.
    pub(crate) fn add_outage(&mut self, what: &'static str, outage: &Outage) {
        let Outage { record, moved, overflows } = outage;
        let silence = record.longest_silence();
        let moved =
            moved.map_or_else(|| "did not move".to_owned(), |moved| format!("{:.2} s", moved.as_secs_f64()));
        let dropped = if *overflows == 0 {
            String::new()
        } else {
            format!(" ({overflows} dropped by the test itself)")
        };
        let line = format!(
            "{:>7} {:>7} {:>8.3} s  {moved}{dropped}",
            record.sent(),
            record.lost(),
            silence.as_secs_f64(),
        );
        self.outages.push((what, line));
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 44;
        if !self.outages.is_empty() {
            writeln!(
                f,
                "{:WIDTH$} {:>7} {:>7} {:>10}  moved after",
                "a client asks every millisecond", "asked", "lost", "silence"
            )?;
        }
        for (what, line) in &self.outages {
            writeln!(f, "{what:WIDTH$} {line}")?;
        }
        if !self.times.is_empty() {
            writeln!(f, "{:WIDTH$} {:>7}", "how long it took", "")?;
        }
        for (what, time) in &self.times {
            writeln!(f, "{what:WIDTH$} {:>7.2} s", time.as_secs_f64())?;
        }
        Ok(())
    }
}
