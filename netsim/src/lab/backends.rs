//! What answers behind a load-balanced address: a web server, and a UDP echo
//! by which an outage is measured. Both say which node they run on.

use metallb_api::NodeName;

use super::plan;
use crate::net::stack::{ListenerHandle, Stack, TcpHandle, TcpState, UdpHandle};

/// Connections served at one time; more wait.
const MAX_CONNECTIONS: usize = 64;
/// Longest request that is read before the connection is dropped, in bytes.
const MAX_REQUEST: usize = 4096;

/// The services of one node.
#[derive(Debug)]
pub struct Backends {
    echo: UdpHandle,
    web: ListenerHandle,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    handle: TcpHandle,
    request: Vec<u8>,
    is_answered: bool,
}

impl Backends {
    /// Starts both on a host's stack.
    pub fn start(stack: &mut Stack) -> Self {
        let echo = stack.udp_bind(plan::ECHO_PORT);
        let web = stack.tcp_listen(plan::HTTP_PORT);
        Self { echo, web, connections: Vec::new() }
    }

    /// Answers what has come. Returns whether anything was done.
    pub fn serve(&mut self, stack: &mut Stack, node: &NodeName) -> bool {
        let mut has_worked = false;
        while let Some(ask) = stack.udp_receive(self.echo) {
            let mut answer = ask.payload;
            answer.extend_from_slice(node.as_str().as_bytes());
            // A full buffer loses the answer, as in the kernel.
            let _ = stack.udp_send(self.echo, Some(ask.to), ask.from, &answer);
            has_worked = true;
        }
        while self.connections.len() < MAX_CONNECTIONS
            && let Some(handle) = stack.tcp_accept(self.web)
        {
            self.connections.push(Connection { handle, request: Vec::new(), is_answered: false });
            has_worked = true;
        }
        self.connections.retain_mut(|connection| {
            has_worked |= connection.serve(stack, node);
            let is_over = stack.tcp_state(connection.handle) == TcpState::Closed;
            if is_over {
                stack.tcp_remove(connection.handle);
            }
            !is_over
        });
        has_worked
    }
}

impl Connection {
    fn serve(&mut self, stack: &mut Stack, node: &NodeName) -> bool {
        let bytes = stack.tcp_receive(self.handle);
        let has_come = !bytes.is_empty();
        self.request.extend_from_slice(&bytes);
        if self.is_answered {
            return has_come;
        }
        if self.request.windows(4).any(|end| end == b"\r\n\r\n") {
            let page = format!("hello from {node}\n");
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
            stack.tcp_send(self.handle, format!("{head}{page}").as_bytes());
        } else if self.request.len() < MAX_REQUEST && stack.tcp_state(self.handle) != TcpState::CloseWait {
            return has_come;
        }
        self.is_answered = true;
        stack.tcp_close(self.handle);
        true
    }
}
