//! Logs: one JSON object a line on standard output (F40, F41).

#[cfg(test)]
pub(crate) mod captured;
mod line;
mod writer;

use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

pub use writer::Logs;

/// `--log-level` (F41).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    All,
    /// Decisions, one by one.
    Debug,
    /// What changed.
    #[default]
    Info,
    /// What somebody should look at.
    Warn,
    /// What does not work.
    Error,
    /// Nothing.
    None,
}

/// A log level that does not exist; the process exits with 1 (F41).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {0:?}: use all, debug, info, warn, error or none")]
pub struct LogLevelError(String);

impl FromStr for LogLevel {
    type Err = LogLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            "none" => Ok(Self::None),
            _ => Err(LogLevelError(text.to_owned())),
        }
    }
}

impl LogLevel {
    /// What is let through: our own crates at this level, all others more quietly.
    fn targets(self) -> Targets {
        let (ours, others) = match self {
            Self::All => (LevelFilter::TRACE, LevelFilter::DEBUG),
            Self::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
            Self::Info => (LevelFilter::INFO, LevelFilter::ERROR),
            Self::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
            Self::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
            Self::None => (LevelFilter::OFF, LevelFilter::OFF),
        };
        let crates =
            ["controller", "controller_core", "speaker", "speaker_core", "ferrolb_api", "ferrolb_shell"];
        // It logs as an error what we report, once, with what follows from it.
        let client = if ours >= LevelFilter::DEBUG { others } else { LevelFilter::OFF };
        let targets = Targets::new().with_default(others).with_target("kube_client", client);
        targets.with_targets(crates.map(|name| (name, ours)))
    }
}

/// Starts logging for the whole process. Keep what it returns until the end:
/// dropping it writes out what is still queued.
///
/// # Errors
/// If the process has a logger already.
pub fn start(level: LogLevel) -> Result<Logs, TryInitError> {
    let (logs, sink) = writer::start();
    lines_to(level, sink).try_init()?;
    Ok(logs)
}

/// What writes the lines of `level` to `writer`.
pub fn lines_to<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().event_format(line::JsonLine).with_writer(writer).with_filter(level.targets());
    tracing_subscriber::registry().with(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f41_levels() {
        for (text, level) in [
            ("all", LogLevel::All),
            ("debug", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("warn", LogLevel::Warn),
            ("error", LogLevel::Error),
            ("none", LogLevel::None),
        ] {
            assert_eq!(text.parse(), Ok(level));
        }
        let error = "Info".parse::<LogLevel>().expect_err("levels are lower case");
        assert!(error.to_string().contains("all, debug, info, warn, error or none"));
    }

    #[test]
    fn f41_none_is_silent_and_info_hides_libraries() {
        use tracing::Level;
        assert!(!LogLevel::None.targets().would_enable("controller", &Level::ERROR));
        assert!(LogLevel::Info.targets().would_enable("controller::kube", &Level::INFO));
        assert!(!LogLevel::Info.targets().would_enable("hyper", &Level::WARN));
        assert!(!LogLevel::Info.targets().would_enable("kube_client::client", &Level::ERROR));
        assert!(LogLevel::Debug.targets().would_enable("kube_client::client", &Level::INFO));
        assert!(LogLevel::All.targets().would_enable("speaker", &Level::TRACE));
    }
}
