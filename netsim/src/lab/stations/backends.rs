//! What answers behind a load-balanced address: a web server at every TCP port
//! of a Service, and a UDP echo at every UDP port. Both say which node they
//! run on. The web server at port 80 and the echo at port 7, by which an outage
//! is measured, are on every balanced address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_api::NodeName;
use ferrolb_api::service::Port;

use crate::lab::address_plan;
use crate::lab::stations::kube_clients::Proxied;
use crate::net::stack::{ListenerHandle, Stack, TcpHandle, TcpState, UdpHandle};

/// Connections served at one time; more wait.
const MAX_CONNECTIONS: usize = 64;
/// Longest request that is read before the connection is dropped, in bytes.
const MAX_REQUEST: usize = 4096;

/// The services of one NIC of a node.
#[derive(Debug)]
pub struct Backends {
    echoes: BTreeMap<u16, UdpHandle>,
    webs: BTreeMap<u16, ListenerHandle>,
    /// What Services have, beside the two that every address has.
    served: BTreeSet<(IpAddr, Port)>,
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
        Self {
            echoes: BTreeMap::from([(address_plan::ECHO_PORT, stack.udp_bind(address_plan::ECHO_PORT))]),
            webs: BTreeMap::from([(address_plan::HTTP_PORT, stack.tcp_listen(address_plan::HTTP_PORT))]),
            served: BTreeSet::new(),
            connections: Vec::new(),
        }
    }

    /// Serves the ports that Services have from now on. A port once open stays
    /// so, but nobody answers there for an address that does not have it.
    pub fn serve_services(&mut self, stack: &mut Stack, proxied: &Proxied) {
        self.served.clone_from(&proxied.ports);
        for (_, Port { protocol, port }) in &self.served {
            match protocol.as_str() {
                "UDP" => _ = self.echoes.entry(*port).or_insert_with(|| stack.udp_bind(*port)),
                "TCP" => _ = self.webs.entry(*port).or_insert_with(|| stack.tcp_listen(*port)),
                _ => {}
            }
        }
    }

    /// Answers what has come. Returns whether anything was done.
    pub fn serve(&mut self, stack: &mut Stack, node: &NodeName) -> bool {
        let mut has_worked = false;
        for (port, echo) in &self.echoes {
            while let Some(ask) = stack.udp_receive(*echo) {
                has_worked = true;
                let udp = || Port { protocol: "UDP".to_owned(), port: *port };
                if *port == address_plan::ECHO_PORT || self.served.contains(&(ask.to, udp())) {
                    let mut answer = ask.payload;
                    answer.extend_from_slice(node.as_str().as_bytes());
                    // A full buffer loses the answer, as in the kernel.
                    let _ = stack.udp_send(*echo, Some(ask.to), ask.from, &answer);
                }
            }
        }
        for (port, web) in &self.webs {
            while self.connections.len() < MAX_CONNECTIONS
                && let Some(handle) = stack.tcp_accept(*web)
            {
                has_worked = true;
                let to = stack.tcp_local(handle).map(|local| local.ip());
                let tcp = || Port { protocol: "TCP".to_owned(), port: *port };
                if *port == address_plan::HTTP_PORT || to.is_some_and(|to| self.served.contains(&(to, tcp())))
                {
                    self.connections.push(Connection { handle, request: Vec::new(), is_answered: false });
                } else {
                    stack.tcp_remove(handle);
                }
            }
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
