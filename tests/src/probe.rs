//! A client that asks [an echo](crate::echo::Echo) all the time and keeps a record of who answered.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::namespaces::Namespace;

/// After this many questions it asks no more: some minutes at one in a millisecond.
const MOST: usize = 400_000;
/// How long the last answer may take after the last question, on a machine that has other things to do.
const GRACE: Duration = Duration::from_secs(2);
/// How often the thread that listens looks whether that is over.
const PAUSE: Duration = Duration::from_millis(50);

/// The client while it runs.
#[derive(Debug)]
pub struct Probe {
    seen: Arc<Seen>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<()>,
}

/// What its threads tell each other and the test.
#[derive(Debug, Default)]
struct Seen {
    ends: AtomicBool,
    /// How many questions there were, once no more will come.
    asked: AtomicUsize,
    answers: Mutex<Vec<Answer>>,
}

#[derive(Debug)]
struct Answer {
    number: usize,
    at: Instant,
    node: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Record {
    sent: Vec<Instant>,
    answers: Vec<Answer>,
}

impl Probe {
    /// Starts asking `to` from `namespace`, once in every `interval`.
    ///
    /// # Errors
    /// If there is no socket to be had.
    pub fn start(namespace: &Namespace, to: (Ipv4Addr, u16), interval: Duration) -> io::Result<Self> {
        let socket = namespace.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.set_read_timeout(Some(PAUSE))?;
        let answers = socket.try_clone()?;
        let seen = Arc::new(Seen { asked: AtomicUsize::new(usize::MAX), ..Seen::default() });
        let sender = thread::spawn({
            let seen = Arc::clone(&seen);
            move || ask(&socket, to.into(), interval, &seen)
        });
        let receiver = thread::spawn({
            let seen = Arc::clone(&seen);
            move || listen(&answers, &seen)
        });
        Ok(Self { seen, sender, receiver })
    }

    /// Waits until `node` was the last to answer; false if that takes longer than `patience`.
    #[must_use]
    pub fn wait_for(&self, node: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if self.seen.answers().last().is_some_and(|answer| answer.node == node) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Stops asking, waits for the last answers.
    ///
    /// # Panics
    /// If one of its threads has.
    #[must_use]
    pub fn stop(self) -> Record {
        self.seen.ends.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the asking thread does not panic");
        self.seen.asked.store(sent.len(), Ordering::Relaxed);
        self.receiver.join().expect("the listening thread does not panic");
        let answers = std::mem::take(&mut *self.seen.answers());
        Record { sent, answers }
    }
}

impl Seen {
    fn answers(&self) -> std::sync::MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// How many questions there were.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many of them have no answer.
    #[must_use]
    pub fn lost(&self) -> usize {
        let answered: BTreeSet<usize> = self.answers.iter().map(|answer| answer.number).collect();
        self.sent.len() - answered.len()
    }

    /// The nodes in the order in which they began to answer; two in a row differ.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = self.answers.iter().map(|answer| answer.node.as_str()).collect();
        nodes.dedup();
        nodes
    }

    /// The longest time without an answer.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        let times = self.answers.iter().map(|answer| answer.at);
        let pairs = times.clone().zip(times.skip(1));
        pairs.map(|(before, after)| after.saturating_duration_since(before)).max().unwrap_or(Duration::MAX)
    }

    /// How long after `since` another node answered than the one that had answered until then.
    #[must_use]
    pub fn moved(&self, since: Instant) -> Option<Duration> {
        let before = self.answers.iter().rfind(|answer| answer.at <= since)?;
        let first = self.answers.iter().find(|answer| answer.at > since && answer.node != before.node)?;
        Some(first.at - since)
    }
}

fn ask(socket: &UdpSocket, to: SocketAddr, interval: Duration, seen: &Seen) -> Vec<Instant> {
    let mut sent = Vec::new();
    let mut next = Instant::now();
    while sent.len() < MOST && !seen.ends.load(Ordering::Relaxed) {
        let number = u32::try_from(sent.len()).expect("MOST has 32 bits");
        sent.push(Instant::now());
        // A neighbour that does not answer makes this fail: one more question without an answer.
        let _ = socket.send_to(&number.to_be_bytes(), to);
        next += interval;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent
}

/// Takes answers in until every question has one, or none has come for a while after the last question.
fn listen(socket: &UdpSocket, seen: &Seen) {
    let mut buffer = [0; 64];
    let mut last = Instant::now();
    loop {
        let received = socket.recv(&mut buffer);
        let at = Instant::now();
        let asked = seen.asked.load(Ordering::Relaxed);
        let mut answers = seen.answers();
        if let Ok(length) = received
            && let Some((number, node)) = buffer[..length].split_first_chunk::<4>()
        {
            let number = usize::try_from(u32::from_be_bytes(*number)).expect("usize has 32 bits or more");
            let node = String::from_utf8_lossy(node).into_owned();
            answers.push(Answer { number, at, node });
            last = at;
        }
        let is_over = asked < usize::MAX && at - last > GRACE;
        if answers.len() >= asked || is_over {
            return;
        }
    }
}
