//! WriteSender that are retried until they stand or are overtaken: one value for
//! each key, the latest wins.
//!
//! kube-runtime's `Controller` has a queue of names to be looked at again, with
//! one state for all; it keeps no value for each key, no word of the server for
//! all keys (429), and no bound on their number.

mod overflow;
mod schedule;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::kubernetes::connectivity::{self, Comeback};
use crate::process::random::Jitter;

use overflow::Overflow;
pub use schedule::{Outcome, Schedule};

/// WriteSender that are under way at the same time. The API server's fair queueing
/// gives a ServiceAccount more; this keeps one process from using it up.
const CONCURRENT: usize = 8;
/// A write without an answer is tried again after this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Wanted states that may wait for the queue's task, which never waits itself.
const HANDOVER: usize = 1_024;

/// Where wanted states are put.
#[derive(Debug)]
pub struct WriteSender<K, V> {
    sender: mpsc::Sender<(K, V)>,
}

impl<K, V> Clone for WriteSender<K, V> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

/// The queue itself, to be run by a task of its own.
#[derive(Debug)]
pub struct Queue<K, V> {
    receiver: mpsc::Receiver<(K, V)>,
    schedule: Schedule<K, V>,
    overflow: Overflow,
    /// Some writes wait for it.
    comeback: Option<Comeback>,
    jitter: Jitter,
}

/// A queue for at most `capacity` keys.
#[must_use]
pub fn channel<K: Ord + Clone, V>(capacity: usize) -> (WriteSender<K, V>, Queue<K, V>) {
    let (sender, receiver) = mpsc::channel(HANDOVER);
    let schedule = Schedule::new(capacity);
    let (overflow, jitter) = (Overflow::default(), Jitter::seeded());
    (WriteSender { sender }, Queue { receiver, schedule, overflow, comeback: None, jitter })
}

impl<K, V> WriteSender<K, V> {
    /// From now on `value` is what is wanted of `key`.
    pub async fn put(&self, key: K, value: V) {
        // The queue's task is gone only when the process ends.
        let _ = self.sender.send((key, value)).await;
    }

    /// The same without waiting; false if the queue cannot take it.
    pub fn try_put(&self, key: K, value: V) -> bool {
        self.sender.try_send((key, value)).is_ok()
    }
}

impl<K, V> Queue<K, V>
where
    K: Ord + Clone + Debug + Send,
    V: Clone + PartialEq + Send,
{
    /// WriteSender what is wanted, a few keys at a time and each key's values in
    /// order. Ends when all [`WriteSender`] are dropped and everything that need
    /// not wait for a retry has been written.
    pub async fn run<F, W>(mut self, write: W)
    where
        W: Fn(K, V) -> F,
        F: Future<Output = Outcome> + Send,
    {
        let mut under_way: FuturesUnordered<BoxFuture<'_, (K, Outcome)>> = FuturesUnordered::new();
        let mut is_open = true;
        loop {
            let now = Instant::now();
            if let Some(number) = self.overflow.take_due(now) {
                report(number);
            }
            while under_way.len() < CONCURRENT
                && let Some((key, value)) = self.schedule.take_due(now)
            {
                let attempt = timeout(WRITE_TIMEOUT, write(key.clone(), value));
                under_way.push(Box::pin(async move { (key, attempt.await.unwrap_or(Outcome::AGAIN)) }));
            }
            if !is_open && under_way.is_empty() {
                if let Some(number) = self.overflow.rest() {
                    report(number);
                }
                return;
            }
            let free = under_way.len() < CONCURRENT;
            let due = self.schedule.next_due().filter(|_| free && is_open);
            let report_due = self.overflow.due(now);
            tokio::select! {
                wanted = self.receiver.recv(), if is_open => match wanted {
                    Some((key, value)) => self.put(key, value),
                    None => is_open = false,
                },
                Some((key, outcome)) = under_way.next() => {
                    if let Outcome::Unanswered(comeback) = &outcome {
                        self.comeback = Some(comeback.clone());
                    }
                    self.schedule.finish(Instant::now(), &key, outcome, &mut self.jitter);
                }
                () = connectivity::back(self.comeback.as_mut()) => {
                    self.comeback = None;
                    self.schedule.answers_again(Instant::now(), &mut self.jitter);
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                () = sleep_until(report_due.unwrap_or(now)), if report_due.is_some() => {}
            }
        }
    }

    fn put(&mut self, key: K, value: V) {
        if let Err(key) = self.schedule.put(Instant::now(), key, value) {
            tracing::debug!(op = "write", key = ?key, "too many objects wait; this one is left out");
            self.overflow.add();
        }
    }
}

fn report(left_out: u64) {
    tracing::error!(op = "write", left_out, "too many objects wait; some are left out");
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::Dispatch;

    use super::*;
    use crate::process::logs::captured::Captured;
    use crate::process::logs::{self, LogLevel};

    type Log = Arc<Mutex<Vec<(&'static str, u32)>>>;

    fn recorded(log: &Log) -> Vec<(&'static str, u32)> {
        log.lock().expect("no test panics while it writes").clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_write_is_retried_until_the_latest_value_stands() {
        let (writes, queue) = channel(10);
        let log = Log::default();
        let started = Instant::now();
        let written = Arc::clone(&log);
        let task = tokio::spawn(queue.run(move |key, value: u32| {
            let written = Arc::clone(&written);
            async move {
                written.lock().expect("no test panics while it writes").push((key, value));
                let is_up = started.elapsed() > Duration::from_secs(60);
                if is_up { Outcome::Done } else { Outcome::AGAIN }
            }
        }));
        writes.put("a", 1).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        writes.put("a", 2).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let log = recorded(&log);
        assert_eq!(log.first(), Some(&("a", 1)));
        assert_eq!(log.last(), Some(&("a", 2)));
        assert!(log.len() < 20, "backoff must slow it down: {log:?}");
        let first_new = log.iter().position(|entry| entry.1 == 2).expect("2 was written");
        assert!(log[first_new..].iter().all(|entry| entry.1 == 2), "1 was overtaken: {log:?}");
        drop(writes);
        task.await.expect("the queue ends with its senders");
    }

    #[tokio::test(start_paused = true)]
    async fn one_stuck_key_does_not_hold_up_others() {
        let (writes, queue) = channel(10);
        let log = Log::default();
        let written = Arc::clone(&log);
        let task = tokio::spawn(queue.run(move |key, value: u32| {
            let written = Arc::clone(&written);
            async move {
                if key == "stuck" {
                    std::future::pending::<()>().await;
                }
                written.lock().expect("no test panics while it writes").push((key, value));
                Outcome::Done
            }
        }));
        writes.put("stuck", 1).await;
        writes.put("a", 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(recorded(&log), [("a", 1)]);
        drop(writes);
        task.await.expect("a write that hangs times out, and the queue ends");
    }

    fn numbers_left_out(lines: &Captured) -> Vec<u64> {
        lines.lines().iter().filter_map(|line| line["left_out"].as_u64()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_full_queue_leaves_out_is_one_line_a_minute() {
        let lines = Captured::default();
        let sink = lines.clone();
        // With one subscriber only, a line that another test's thread comes to
        // first is taken for one that nobody wants.
        let _second = Dispatch::new(logs::lines_to(LogLevel::Info, io::sink));
        let _logs = tracing::subscriber::set_default(logs::lines_to(LogLevel::Info, move || sink.clone()));
        let (writes, queue) = channel(1);
        let task = tokio::spawn(queue.run(|_, _| std::future::pending()));
        for key in 0..2_000 {
            writes.put(key, ()).await;
        }
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(numbers_left_out(&lines), [1]);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(numbers_left_out(&lines), [1, 1_998], "the rest, and then silence");
        writes.put(2_000, ()).await;
        writes.put(2_001, ()).await;
        writes.put(2_002, ()).await;
        drop(writes);
        task.await.expect("the queue ends with its senders");
        assert_eq!(numbers_left_out(&lines), [1, 1_998, 1, 2], "nothing is lost at the end");
    }
}
