//! The `process_*` metrics that Go programs have, read from `/proc/self`.
//!
//! The collector of prometheus 0.14 (feature `process`) counts CPU time in whole
//! seconds, which shows nothing of a program that needs a few milliseconds of
//! each, and has a `process_threads` that Go programs do not have.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Kernel clock ticks in a second; fixed at 100 for programs on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self` at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub struct Process {
    cpu: Counter,
    resident: Gauge,
    virtual_size: Gauge,
    start: Gauge,
    open_files: Gauge,
}

impl Default for Process {
    fn default() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("the name is a valid one");
        Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )
            .expect("the name is a valid one"),
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
            virtual_size: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
            start: gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            ),
            open_files: gauge("process_open_fds", "Number of open file descriptors."),
        }
    }
}

/// What `/proc/self/stat` says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The program's name, in parentheses, may hold spaces.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Numbered as in proc(5), whose third field is the first after the name.
    let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
        virtual_bytes: number(23)?,
        resident_pages: number(24)?,
    })
}

fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Bytes of a page: what the kernel counts as resident, in kB, divided by pages.
fn resident_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? * 1_024.0)
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.resident, &self.virtual_size, &self.start, &self.open_files];
        self.cpu.desc().into_iter().chain(gauges.into_iter().flat_map(Collector::desc)).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(stat) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse_stat) {
            let more = stat.cpu_ticks / TICKS_PER_SECOND - self.cpu.get();
            self.cpu.inc_by(more.max(0.0));
            self.virtual_size.set(stat.virtual_bytes);
            if let Some(boot) = boot_time() {
                self.start.set(boot + stat.start_ticks / TICKS_PER_SECOND);
            }
        }
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            let open = u32::try_from(files.count()).unwrap_or(u32::MAX);
            self.open_files.set(f64::from(open));
        }
        let gauges = [&self.resident, &self.virtual_size, &self.start, &self.open_files];
        self.cpu.collect().into_iter().chain(gauges.into_iter().flat_map(Collector::collect)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_running_process() {
        let process = Process::default();
        assert_eq!(process.collect().len(), 5);
        assert!(process.resident.get() > 0.0 && process.start.get() > 1e9 && process.open_files.get() >= 3.0);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 4 0 12345 4096 3 18446744073709551615";
        let stat = parse_stat(text).expect("it is a whole line");
        assert_eq!(
            (stat.cpu_ticks, stat.start_ticks, stat.virtual_bytes, stat.resident_pages),
            (200.0, 12_345.0, 4_096.0, 3.0)
        );
        assert_eq!(parse_stat("7 (short) S 1"), None);
    }
}
