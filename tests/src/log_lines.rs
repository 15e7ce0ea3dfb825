//! A log that is kept, for the tests that read it (F40 to F42).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// What was written; its clones write to the same log.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// All of it.
    ///
    /// # Panics
    /// If it is no text.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    /// Its lines.
    ///
    /// # Panics
    /// If one of them is no JSON.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).expect("each line is one object");
        self.text().lines().map(read).collect()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
