//! Connections that cannot be held for ever: their number, their silence and
//! their life are bounded, and a new one always has a place.
//!
//! axum-server 0.9 and tls-listener 0.11 bound the time of a handshake, but do
//! not close the connection that is silent for longest in favour of a new one; a
//! limit of tower's holds for requests, and whoever says nothing makes none.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at the same time: a few Prometheus servers and the kubelet.
const CONNECTIONS: usize = 64;
/// The longest silence; scrapes come every minute at the slowest.
const SILENCE: Duration = Duration::from_secs(75);
/// The longest life; whoever needs more connects again.
const LIFE: Duration = Duration::from_secs(600);
/// Pause after a failed accept, which mostly means that no file is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A listener whose connections are bounded. When all places are taken, the
/// connection that has been silent for longest makes room for the new one:
/// whoever reaches the port could otherwise starve the kubelet's probes.
#[derive(Debug)]
pub(super) struct BoundedListener {
    listener: TcpListener,
    /// The oldest first; those that have ended are removed by the next accept.
    places: Vec<Weak<ConnectionSlot>>,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Vec::with_capacity(CONNECTIONS) }
    }

    fn admit(&mut self, stream: TcpStream) -> Connection {
        self.make_room();
        let connection = Connection::new(stream);
        self.places.push(Arc::downgrade(&connection.place));
        connection
    }

    fn make_room(&mut self) {
        let places: Vec<Arc<ConnectionSlot>> = self.places.iter().filter_map(Weak::upgrade).collect();
        self.places.retain(|place| place.strong_count() > 0);
        if places.len() < CONNECTIONS {
            return;
        }
        if let Some(silent) = places.iter().min_by_key(|place| place.lock().moved) {
            tracing::debug!(op = "http", "too many connections; the one silent for longest is closed");
            silent.close();
            self.places.retain(|place| !std::ptr::eq(place.as_ptr(), Arc::as_ptr(silent)));
        }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (self.admit(stream), peer),
                Err(error) => {
                    tracing::debug!(op = "http", error = %error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What the listener can take from a connection.
#[derive(Debug)]
struct ConnectionSlot {
    socket: Mutex<Socket>,
    /// The task that serves the connection.
    task: AtomicWaker,
}

#[derive(Debug)]
struct Socket {
    /// `None` once the listener has closed it.
    stream: Option<TcpStream>,
    /// When something was last read or written.
    moved: Instant,
}

impl ConnectionSlot {
    fn lock(&self) -> MutexGuard<'_, Socket> {
        // A panic leaves nothing half done in there.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the socket at once, whatever its task is waiting for.
    fn close(&self) {
        drop(self.lock().stream.take());
        self.task.wake();
    }
}

/// A connection that ends itself.
#[derive(Debug)]
pub(super) struct Connection {
    place: Arc<ConnectionSlot>,
    alarm: Pin<Box<Sleep>>,
    end: Instant,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let now = Instant::now();
        let socket = Mutex::new(Socket { stream: Some(stream), moved: now });
        let place = Arc::new(ConnectionSlot { socket, task: AtomicWaker::new() });
        Self { place, alarm: Box::pin(sleep(SILENCE)), end: now + LIFE }
    }

    /// Reads or writes, unless the connection has been silent or open for too
    /// long or had to make room. If something moves, the silence starts anew.
    fn poll_moving<T>(
        &mut self,
        context: &mut Context<'_>,
        operation: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // Before the look at the socket, so that no closing is missed.
        self.place.task.register(context.waker());
        let mut socket = self.place.lock();
        let Some(stream) = &mut socket.stream else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let result = operation(Pin::new(stream), context);
        if result.is_ready() {
            let now = Instant::now();
            socket.moved = now;
            self.alarm.as_mut().reset((now + SILENCE).min(self.end));
        }
        result
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_moving(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_moving(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.place.lock().stream {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.place.lock().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};

    use prometheus::Registry;
    use tokio::time::timeout;

    use super::*;
    use crate::admin::http::{AdminState, everything, serve};
    use crate::admin::readiness::Readiness;
    use crate::process::shutdown;

    /// Far below [`SILENCE`], far above what loopback needs.
    const PROMPT: Duration = Duration::from_secs(5);

    async fn bounded() -> (BoundedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        (BoundedListener::new(listener), address)
    }

    async fn connected(bounded: &mut BoundedListener, address: SocketAddr) -> (Connection, TcpStream) {
        let (client, (connection, _)) = tokio::join!(TcpStream::connect(address), bounded.accept());
        (connection, client.expect("it listens on loopback"))
    }

    async fn read(connection: &mut Connection) -> io::Result<usize> {
        let mut bytes = [0; 1];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    #[tokio::test]
    async fn a_silent_connection_ends() {
        let (mut bounded, address) = bounded().await;
        let (mut connection, _client) = connected(&mut bounded, address).await;
        tokio::time::pause();
        let started = Instant::now();
        let error = read(&mut connection).await.expect_err("nothing is ever sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), SILENCE.as_secs());
    }

    #[tokio::test]
    async fn the_connection_that_is_silent_for_longest_makes_room() {
        let (mut bounded, address) = bounded().await;
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            all.push(connected(&mut bounded, address).await);
        }
        // The oldest one speaks, so the second is the one that is silent for longest.
        all[0].1.writable().await.expect("it is connected");
        all[0].1.try_write(b"x").expect("a byte fits");
        assert_eq!(read(&mut all[0].0).await.expect("it is open"), 1);
        let (mut second, client) = all.remove(1);
        let waiting = tokio::spawn(async move { read(&mut second).await });
        tokio::task::yield_now().await;

        all.push(connected(&mut bounded, address).await);
        let ended = timeout(PROMPT, waiting).await.expect("its task is woken").expect("it does not panic");
        assert_eq!(ended.expect_err("it had to go").kind(), io::ErrorKind::ConnectionAborted);
        timeout(PROMPT, client.readable()).await.expect("its client is told").expect("it can be read");
        assert_eq!(client.try_read(&mut [0; 1]).expect("it is closed in order"), 0);
        assert!(all.iter().all(|(connection, _)| connection.place.lock().stream.is_some()));
        assert_eq!(bounded.places.len(), CONNECTIONS);

        // Whoever leaves makes room, too.
        all.remove(0);
        all.push(connected(&mut bounded, address).await);
        assert!(all.iter().all(|(connection, _)| connection.place.lock().stream.is_some()));
    }

    #[tokio::test]
    async fn m2_silent_connections_do_not_starve_a_probe() {
        let (bounded, address) = bounded().await;
        let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
        let (trigger, shutdown) = shutdown::channel();
        let server = tokio::spawn(serve(bounded, everything(&endpoints), shutdown));
        let mut silent = Vec::new();
        for round in 0..3 {
            for _ in 0..CONNECTIONS {
                silent.push(TcpStream::connect(address).await.expect("it listens on loopback"));
            }
            let probe = move || -> io::Result<String> {
                let mut stream = std::net::TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PROMPT))?;
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            };
            let answer = tokio::task::spawn_blocking(probe).await.expect("it does not panic");
            let answer = answer.expect("a probe is answered promptly");
            assert!(answer.starts_with("HTTP/1.1 200"), "round {round}: {answer}");
        }
        trigger.shut_down();
        server.await.expect("it ends with the process");
    }
}
