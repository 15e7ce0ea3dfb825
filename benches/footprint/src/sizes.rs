//! How large a process is, as the kernel counts it.

use std::fs;

use anyhow::Context as _;

/// Sizes of a process, in KiB, and the number of its threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// `VmRSS`: what it has in memory, pages of its program included.
    pub(crate) resident: usize,
    /// `RssAnon`: heap and stacks.
    pub(crate) anonymous: usize,
    /// `VmHWM`: the most it has ever had in memory.
    pub(crate) peak: usize,
    /// How many threads it has.
    pub(crate) threads: usize,
}

impl Size {
    /// Of the process `pid`.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name: &str| -> anyhow::Result<usize> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let line = line.with_context(|| format!("{path} has no {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Self {
            resident: field("VmRSS")?,
            anonymous: field("RssAnon")?,
            peak: field("VmHWM")?,
            threads: field("Threads")?,
        })
    }
}

/// KiB as people read them.
pub(crate) fn mebibytes(kib: usize) -> String {
    format!("{}.{} MiB", kib / 1_024, kib % 1_024 * 10 / 1_024)
}
