//! A client that asks every millisecond and keeps a record of who answered.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tests::namespaces::Namespace;

use crate::backend::ECHO;

/// How often it asks.
const INTERVAL: Duration = Duration::from_millis(1);
/// After this many questions it asks no more: some minutes.
const MOST: u32 = 400_000;
/// How long the last answer may take after the last question.
const GRACE: Duration = Duration::from_millis(500);

/// The client while it runs.
#[derive(Debug)]
pub struct Probe {
    ends: Arc<AtomicBool>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<Vec<Answer>>,
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
    /// Starts asking `address` from `namespace`.
    ///
    /// # Errors
    /// If there is no socket to be had.
    pub fn start(namespace: &Namespace, address: Ipv4Addr) -> io::Result<Self> {
        let socket = namespace.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.set_read_timeout(Some(GRACE))?;
        let answers = socket.try_clone()?;
        let ends = Arc::new(AtomicBool::new(false));
        let sender = thread::spawn({
            let ends = Arc::clone(&ends);
            move || ask(&socket, address, &ends)
        });
        let receiver = thread::spawn({
            let ends = Arc::clone(&ends);
            move || listen(&answers, &ends)
        });
        Ok(Self { ends, sender, receiver })
    }

    /// Stops asking, waits for the last answers.
    ///
    /// # Panics
    /// If one of its threads has.
    #[must_use]
    pub fn stop(self) -> Record {
        self.ends.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the asking thread does not panic");
        let answers = self.receiver.join().expect("the listening thread does not panic");
        Record { sent, answers }
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

/// Asks once. The name of the node that answers within `patience`.
///
/// # Errors
/// If there is no socket to be had.
pub(crate) fn who_serves(
    namespace: &Namespace,
    address: Ipv4Addr,
    patience: Duration,
) -> io::Result<Option<String>> {
    namespace.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 64];
        // No route, an unreachable neighbour, no answer: nobody serves it.
        let asked = socket.send_to(&[0; 4], (address, ECHO));
        let answer = asked.and_then(|_| socket.recv(&mut buffer)).unwrap_or(0);
        let name = buffer[..answer].get(4..).map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(name.filter(|name| !name.is_empty()))
    })?
}

/// Datagrams that the kernel of this machine has dropped in a namespace because a socket was full: the client's or the
/// backend's thread was not given the processor in time, which is nobody's outage.
///
/// # Errors
/// If /proc is not mounted.
pub(crate) fn overflows(namespace: &Namespace) -> io::Result<u64> {
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/udp"))??;
    let last = |line: &str| line.split_whitespace().last().and_then(|drops| drops.parse::<u64>().ok());
    Ok(table.lines().skip(1).filter_map(last).sum())
}

fn ask(socket: &UdpSocket, address: Ipv4Addr, ends: &AtomicBool) -> Vec<Instant> {
    let mut sent = Vec::new();
    let mut next = Instant::now();
    for number in 0..MOST {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        sent.push(Instant::now());
        // A neighbour that does not answer makes this fail: one more question without an answer.
        let _ = socket.send_to(&number.to_be_bytes(), SocketAddr::from((address, ECHO)));
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent
}

fn listen(socket: &UdpSocket, ends: &AtomicBool) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Some((number, node)) = buffer[..length].split_first_chunk::<4>() {
                    let number =
                        usize::try_from(u32::from_be_bytes(*number)).expect("usize has 32 bits or more");
                    let node = String::from_utf8_lossy(node).into_owned();
                    answers.push(Answer { number, at: Instant::now(), node });
                }
            }
            // Nothing for GRACE: that is the end if no more is asked.
            Err(_) if ends.load(Ordering::Relaxed) => return answers,
            Err(_) => {}
        }
    }
}
