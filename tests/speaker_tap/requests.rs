//! A client that asks every 10 ms and keeps a record of who answered.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tests::namespaces::Namespace;

use crate::objects::{PORT, VIP};

/// How often it asks.
pub(crate) const INTERVAL: Duration = Duration::from_millis(10);
/// How long the last answer may take after the last question.
const GRACE: Duration = Duration::from_millis(500);

/// The client while it runs.
#[derive(Debug)]
pub(crate) struct Requests {
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
pub(crate) struct Record {
    sent: Vec<Instant>,
    answers: Vec<Answer>,
}

impl Requests {
    /// Starts asking from `namespace`.
    pub(crate) fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let socket = namespace.run(|| UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.set_read_timeout(Some(GRACE))?;
        let answers = socket.try_clone()?;
        let ends = Arc::new(AtomicBool::new(false));
        let sender = thread::spawn({
            let ends = Arc::clone(&ends);
            move || ask(&socket, &ends)
        });
        let receiver = thread::spawn({
            let ends = Arc::clone(&ends);
            move || listen(&answers, &ends)
        });
        Ok(Self { ends, sender, receiver })
    }

    /// Stops asking, waits for the last answers.
    pub(crate) fn stop(self) -> Record {
        self.ends.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the asking thread does not panic");
        let answers = self.receiver.join().expect("the listening thread does not panic");
        Record { sent, answers }
    }
}

impl Record {
    /// How many questions have no answer.
    pub(crate) fn lost(&self) -> usize {
        (0..self.sent.len())
            .filter(|number| self.answers.iter().all(|answer| answer.number != *number))
            .count()
    }

    /// How many questions there were.
    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// The nodes in the order in which they began to answer; two in a row differ.
    pub(crate) fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = self.answers.iter().map(|answer| answer.node.as_str()).collect();
        nodes.dedup();
        nodes
    }

    /// The longest time without an answer.
    pub(crate) fn longest_silence(&self) -> Duration {
        let times = self.answers.iter().map(|answer| answer.at);
        let pairs = times.clone().zip(times.skip(1));
        pairs.map(|(before, after)| after - before).max().unwrap_or(Duration::MAX)
    }
}

fn ask(socket: &UdpSocket, ends: &AtomicBool) -> Vec<Instant> {
    let mut sent = Vec::new();
    let mut next = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        let number = u32::try_from(sent.len()).expect("a test is over long before");
        sent.push(Instant::now());
        // A neighbour that does not answer makes this fail: one more question without an answer.
        let _ = socket.send_to(&number.to_be_bytes(), SocketAddr::from((VIP, PORT)));
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
