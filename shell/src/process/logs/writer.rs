//! The thread that writes log lines out, so that a slow disk or a full pipe
//! delays nobody else.
//!
//! tracing-appender 0.2.5 has such a thread, but does not tell of lost lines in
//! the log, and behind a full pipe the drop of its guard prints to the very
//! standard output that its thread waits for: the process would not end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for standard output; more are dropped and counted.
/// About 2 MB at the usual length of a line.
const QUEUE: usize = 8_192;
/// How long the end of the process waits for the last lines.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The running log. Dropping it waits until the queued lines are written, for
/// a second at most.
#[derive(Debug)]
pub struct Logs {
    queue: SyncSender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Where the formatter puts its lines.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// Starts the thread.
pub(super) fn start() -> (Logs, Sink) {
    let (queue, entries) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let sink = Sink { queue: queue.clone(), dropped: Arc::clone(&dropped) };
    thread::spawn(move || write_out(&entries, &dropped, &mut io::stdout()));
    (Logs { queue }, sink)
}

fn write_out(entries: &Receiver<Entry>, dropped: &AtomicU64, out: &mut dyn Write) {
    for entry in entries {
        // Nobody is left to be told of a failure: the log itself is broken.
        let _ = match entry {
            Entry::Line(line) => out.write_all(&line),
            Entry::Flush(done) => {
                let flushed = out.flush();
                let _ = done.send(());
                flushed
            }
        };
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            count => {
                let _ =
                    writeln!(out, "{{\"level\":\"warn\",\"dropped\":{count},\"msg\":\"log lines dropped\"}}");
            }
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        let deadline = Instant::now() + LAST_WAIT;
        let mut entry = Entry::Flush(done);
        // `send` would wait for ever behind a pipe that nobody reads.
        while let Err(TrySendError::Full(rejected)) = self.queue.try_send(entry) {
            if Instant::now() >= deadline {
                return;
            }
            entry = rejected;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Write for Sink {
    /// The formatter hands over each line whole, in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Entry::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_order_and_losses_are_told() {
        let (queue, entries) = sync_channel(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut sink = Sink { queue: queue.clone(), dropped: Arc::clone(&dropped) };
        for line in ["one\n", "two\n", "three\n"] {
            sink.write_all(line.as_bytes()).expect("a sink never fails");
        }
        drop((queue, sink));
        let mut out = Vec::new();
        write_out(&entries, &dropped, &mut out);
        let text = String::from_utf8(out).expect("it was text");
        assert!(text.starts_with("one\n") && text.ends_with("two\n"), "{text}");
        assert!(text.contains("\"dropped\":1"), "{text}");
    }
}
