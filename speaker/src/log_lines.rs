//! What is written to the log, line by line, for the tests that read it (F42).

use std::io;
use std::sync::{Arc, Mutex};

use ferrolb_shell::process::logs::{self, LogLevel};
use serde_json::Value;
use tracing::Dispatch;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nothing panics while writing").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` writes at level info.
pub(crate) fn of(log: impl FnOnce()) -> Vec<Value> {
    at(LogLevel::Info, log)
}

/// The same at another level.
pub(crate) fn at(level: LogLevel, log: impl FnOnce()) -> Vec<Value> {
    let written = Written::default();
    let sink = written.clone();
    // While there is only one subscriber, a line that another test's thread comes
    // to first, where it is not set, is taken for one that nobody wants.
    let _second = Dispatch::new(logs::lines_to(level, io::sink));
    tracing::subscriber::with_default(logs::lines_to(level, move || sink.clone()), log);
    let bytes = written.0.lock().expect("nothing panics while writing").clone();
    let text = String::from_utf8(bytes).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is one object")).collect()
}
