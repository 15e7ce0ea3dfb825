//! A page that is being fetched over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use ferrolb_api::Time;

use crate::net::stack::{Stack, TcpHandle, TcpState};

/// How long one waits for a page before one gives up.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which a page is expected.
#[derive(Debug)]
pub struct Fetch {
    handle: TcpHandle,
    begun: Time,
    is_asked: bool,
    answer: Vec<u8>,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing new.
    None,
    /// Something was sent or received.
    Some,
    /// It is over: the page, or `None` if the connection ended without one.
    Over(Option<String>),
}

impl Fetch {
    /// Connects to a web server.
    pub fn begin(now: Time, stack: &mut Stack, to: SocketAddr) -> Self {
        Self { handle: stack.tcp_connect(to), begun: now, is_asked: false, answer: Vec::new() }
    }

    /// When it was begun.
    #[must_use]
    pub const fn begun(&self) -> Time {
        self.begun
    }

    /// Sends and receives what is possible. Poll the station after it is over,
    /// then call [`Self::end`].
    pub fn pump(&mut self, stack: &mut Stack) -> Progress {
        let state = stack.tcp_state(self.handle);
        let bytes = stack.tcp_receive(self.handle);
        let mut has_moved = !bytes.is_empty();
        self.answer.extend_from_slice(&bytes);
        if state == TcpState::Established && !self.is_asked {
            self.is_asked = true;
            has_moved = true;
            stack.tcp_send(self.handle, b"GET / HTTP/1.1\r\nHost: nginx\r\nConnection: close\r\n\r\n");
        }
        if matches!(state, TcpState::CloseWait | TcpState::Closed | TcpState::TimeWait) {
            let text = String::from_utf8_lossy(&self.answer).into_owned();
            stack.tcp_close(self.handle);
            return Progress::Over(text.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()));
        }
        if has_moved { Progress::Some } else { Progress::None }
    }

    /// Forgets the connection.
    pub fn end(self, stack: &mut Stack) {
        stack.tcp_remove(self.handle);
    }
}
