//! What every simulated station has in common: frames in, frames out, sockets, a next point in time.

use std::any::Any;

use smoltcp::time::Instant;

use super::stack::Stack;

/// A station on a wire. Sans-IO: the caller moves the frames and keeps the time.
///
/// After every call that may have caused something to send (`handle_frame`, anything on [`Station::stack`]), call
/// `poll` and then `poll_frame` until it gives `None`.
pub trait Station: Any + Send {
    /// Takes a frame off the wire. Anything it does not understand, or that is not for it, is ignored.
    fn handle_frame(&mut self, now: Instant, frame: &[u8]);

    /// Lets sockets and timers run until nothing more happens at `now`.
    fn poll(&mut self, now: Instant);

    /// The next frame to put on the wire, oldest first.
    fn poll_frame(&mut self) -> Option<Vec<u8>>;

    /// When to call `poll` next if nothing comes before; `None` if only a frame can change anything. A time that has passed
    /// means now.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Its sockets.
    fn stack(&mut self) -> &mut Stack;
}
