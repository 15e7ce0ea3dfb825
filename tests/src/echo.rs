//! A backend: what answers on a node.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it looks whether it shall end.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a question that are read.
const LONGEST: usize = 64;

/// A thread that answers every datagram with itself and the node's name, until this is dropped.
#[derive(Debug)]
pub struct Echo {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Answers on `socket` from now on.
    ///
    /// # Errors
    /// If the socket cannot be given a timeout.
    pub fn start(socket: UdpSocket, node: &'static str) -> io::Result<Self> {
        socket.set_read_timeout(Some(PAUSE))?;
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || answer(&socket, node, &ends)
        });
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(socket: &UdpSocket, node: &str, ends: &AtomicBool) {
    let mut buffer = [0; LONGEST];
    while !ends.load(Ordering::Relaxed) {
        // An error is the pause that lets us look at `ends`.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        // A client that is unreachable for the moment has lost this answer.
        let _ = socket.send_to(&[&buffer[..length], node.as_bytes()].concat(), from);
    }
}
