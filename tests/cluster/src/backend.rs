//! What answers on a node: a web page on port 80, and an echo on UDP port 7 for the probe.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tests::echo::Echo;
use tests::namespaces::Namespace;

/// Where the web page is.
pub(crate) const HTTP: u16 = 80;
/// Where the echo is (RFC 862).
pub(crate) const ECHO: u16 = 7;
/// How often the page looks whether it shall end.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to say what it wants, and a server to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines in a request that are read.
const LONGEST: usize = 64;

/// A web page that names the node, on every address that the node has or will have, until this is dropped.
#[derive(Debug)]
pub(crate) struct Web {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    pub(crate) fn start(node: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP))?;
        listener.set_nonblocking(true)?;
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || {
                while !ends.load(Ordering::Relaxed) {
                    match listener.accept() {
                        // A client that goes away has lost its answer.
                        Ok((stream, _)) => drop(serve(stream, node)),
                        Err(_) => thread::sleep(PAUSE),
                    }
                }
            }
        });
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers every datagram to `address` from that address, in the name of the node.
pub(crate) fn echo(node: &'static str, address: Ipv4Addr) -> io::Result<Echo> {
    Echo::start(UdpSocket::bind((address, ECHO))?, node)
}

fn serve(mut stream: TcpStream, node: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let lines = BufReader::new(&stream).lines().take(LONGEST);
    // The head of a request ends with an empty line.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("Welcome to nginx on {node}!\n");
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Fetches `path` from a namespace, as curl would; gives the status code and everything after the head.
///
/// # Errors
/// If there is no answer within two seconds, or none that is HTTP.
pub(crate) fn get(from: &Namespace, to: (IpAddr, u16), path: &str) -> io::Result<(u16, String)> {
    let text = from.run(|| -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", to.0)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })??;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other(format!("this is not HTTP: {text:?}")))?;
    Ok((code, body.to_owned()))
}
