//! A switch in real time: TAP devices, simulated stations and a test's own frames on one network, run by a thread.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use netsim::net::{host::{Host, HostSettings}, patchbay::Patchbay, station::Station, tap::TapPort, wire::WireSettings};
//! # use smoltcp::wire::{EthernetAddress, IpCidr};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bay = Patchbay::start(1)?;
//! // Open the TAP on a thread that has entered the network namespace which shall hold the interface.
//! let node = bay.connect_tap("wk01", TapPort::open("eth0")?, WireSettings::default())?;
//! let mac = EthernetAddress([2, 0, 0, 0, 0, 1]);
//! let client = HostSettings::new("client", mac, IpCidr::new(std::net::Ipv4Addr::new(172, 16, 16, 50).into(), 24), 1);
//! let client = bay.connect_station("client", Host::new(client), WireSettings::default())?;
//!
//! bay.run(move |_, bench| bench.station(client).ping([172, 16, 16, 11].into(), 1))??;
//! let pong = bay.wait_for(Duration::from_secs(3), move |_, bench| bench.station(client).next_pong());
//! assert!(pong.is_some());
//! bay.run(move |now, bench| bench.switch.set_port_up(now, node, false))?;
//! # Ok(()) }
//! ```

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use smoltcp::time::Instant;

use super::host::Host;
use super::port::PortId;
use super::stack::Stack;
use super::station::Station;
use super::switch::Switch;
use super::tap::{MAX_FRAME, TapPort};
use super::wire::WireSettings;

/// Frames taken from one TAP before the others get their turn.
const TAP_BUDGET: usize = 256;
/// Frames a bare port keeps for the test; the oldest goes first.
const INBOX: usize = 4096;
/// The poller cannot sleep for less.
const POLL_RESOLUTION: Duration = Duration::from_millis(1);
const WAKE: Token = Token(usize::MAX);

/// The thread that ran the switch is gone, which only a panic in a closure handed to it can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the patch bay's thread has ended")]
pub struct Stopped;

/// A switch driven by the clock. Dropping it takes TAP devices and stations away.
#[derive(Debug)]
pub struct Patchbay {
    commands: Option<Sender<Command>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// What the thread runs and closures may touch.
#[derive(Debug)]
pub struct Bench {
    /// The switch: wires, ports, forwarding database, captures.
    pub switch: Switch,
    stations: BTreeMap<PortId, Attached>,
    poll: Poll,
    buffer: Vec<u8>,
    undelivered: u64,
}

/// What is plugged into a port.
enum Attached {
    Tap {
        tap: TapPort,
        readable: bool,
    },
    Station(Box<dyn Station>),
    /// Nothing but the test, which sends by `switch.send` and reads here.
    Bare(VecDeque<Vec<u8>>),
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tap { tap, .. } => write!(f, "TAP {}", tap.name()),
            Self::Station(_) => write!(f, "station"),
            Self::Bare(inbox) => write!(f, "{} frames", inbox.len()),
        }
    }
}

type Task = Box<dyn FnOnce(Instant, &mut Bench) + Send>;
type Check = Box<dyn FnMut(Instant, &mut Bench) -> bool + Send>;

enum Command {
    Run(Task),
    /// Asked after every turn until it says that it is done, at the latest at its deadline.
    Watch(Watch),
}

struct Watch {
    deadline: Instant,
    done: Check,
}

impl Patchbay {
    /// An empty switch. Its wires draw from streams of `seed`; time starts at zero.
    ///
    /// # Errors
    /// If the kernel gives no epoll descriptor or no thread.
    pub fn start(seed: u64) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (commands, incoming) = channel();
        let bench = Bench {
            switch: Switch::new(seed),
            stations: BTreeMap::new(),
            poll,
            buffer: vec![0; MAX_FRAME],
            undelivered: 0,
        };
        let thread =
            std::thread::Builder::new().name("patchbay".into()).spawn(move || drive(bench, &incoming))?;
        Ok(Self { commands: Some(commands), waker, thread: Some(thread) })
    }

    /// Plugs a TAP device into a new port.
    ///
    /// # Errors
    /// If the thread is gone or the device cannot be polled.
    pub fn connect_tap(&self, name: &str, tap: TapPort, wire: WireSettings) -> io::Result<PortId> {
        let name = name.to_owned();
        let added = self.run(move |_, bench| {
            let port = bench.switch.add_port(&name, wire);
            let registry = bench.poll.registry();
            registry.register(&mut SourceFd(&tap.as_raw_fd()), Token(port.index()), Interest::READABLE)?;
            bench.stations.insert(port, Attached::Tap { tap, readable: true });
            Ok(port)
        });
        added.map_err(io::Error::other)?
    }

    /// Plugs a simulated station into a new port.
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn connect_station(
        &self,
        name: &str,
        station: impl Station,
        wire: WireSettings,
    ) -> Result<PortId, Stopped> {
        let name = name.to_owned();
        self.run(move |_, bench| {
            let port = bench.switch.add_port(&name, wire);
            bench.stations.insert(port, Attached::Station(Box::new(station)));
            port
        })
    }

    /// A new port with nothing but the test on it: see [`Patchbay::send`] and [`Bench::take_inbox`].
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn connect_nothing(&self, name: &str, wire: WireSettings) -> Result<PortId, Stopped> {
        let name = name.to_owned();
        self.run(move |_, bench| {
            let port = bench.switch.add_port(&name, wire);
            bench.stations.insert(port, Attached::Bare(VecDeque::new()));
            port
        })
    }

    /// Puts a frame on the wire of `port`, as if the station there had sent it.
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn send(&self, port: PortId, frame: Vec<u8>) -> Result<(), Stopped> {
        self.run(move |now, bench| bench.switch.send(now, port, frame))
    }

    /// Runs a closure between two turns of the switch and gives its result. What it causes happens at once.
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn run<R: Send + 'static>(
        &self,
        task: impl FnOnce(Instant, &mut Bench) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, answered) = channel();
        self.command(Command::Run(Box::new(move |now, bench| {
            // Fails only if the caller has panicked meanwhile.
            let _ = answer.send(task(now, bench));
        })))?;
        answered.recv().map_err(|_| Stopped)
    }

    /// Asks `look` after every turn of the switch until it finds something; `None` if it does not within `patience`.
    pub fn wait_for<R: Send + 'static>(
        &self,
        patience: Duration,
        mut look: impl FnMut(Instant, &mut Bench) -> Option<R> + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = channel();
        let deadline = self.run(move |now, _| now + patience.into()).ok()?;
        let done = Box::new(move |now: Instant, bench: &mut Bench| match look(now, bench) {
            Some(found) => {
                let _ = answer.send(found);
                true
            }
            None => now >= deadline,
        });
        self.command(Command::Watch(Watch { deadline, done })).ok()?;
        answered.recv().ok()
    }

    fn command(&self, command: Command) -> Result<(), Stopped> {
        let commands = self.commands.as_ref().ok_or(Stopped)?;
        commands.send(command).map_err(|_| Stopped)?;
        self.waker.wake().map_err(|_| Stopped)
    }
}

impl Drop for Patchbay {
    fn drop(&mut self) {
        self.commands = None;
        let woken = self.waker.wake().is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic over there has been printed; a second one here would hide it.
            let _ = thread.join();
        }
    }
}

impl Bench {
    /// The sockets of a simulated station.
    ///
    /// # Panics
    /// Here and in [`Bench::host`]: if something else is plugged into the port.
    pub fn station(&mut self, port: PortId) -> &mut Stack {
        match self.stations.get_mut(&port) {
            Some(Attached::Station(station)) => station.stack(),
            other => panic!("{port} holds {other:?}, not a simulated station"),
        }
    }

    /// A station that is a [`Host`], with its neighbour table.
    pub fn host(&mut self, port: PortId) -> &mut Host {
        let station = match self.stations.get_mut(&port) {
            Some(Attached::Station(station)) => station.as_mut() as &mut dyn Any,
            other => panic!("{port} holds {other:?}, not a simulated station"),
        };
        station.downcast_mut().expect("the caller says that it is a Host")
    }

    /// The frames that have arrived at a port made by [`Patchbay::connect_nothing`] since the last call.
    ///
    /// # Panics
    /// If something is plugged into the port.
    pub fn take_inbox(&mut self, port: PortId) -> Vec<Vec<u8>> {
        match self.stations.get_mut(&port) {
            Some(Attached::Bare(inbox)) => inbox.drain(..).collect(),
            other => panic!("{port} holds {other:?}"),
        }
    }

    /// Frames a TAP refused, mostly because its interface was down.
    #[must_use]
    pub const fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// Moves what can be moved at `now`. Says whether a TAP has more.
    fn turn(&mut self, now: Instant) -> bool {
        let more = self.read_taps(now);
        loop {
            let mut moved = false;
            while let Some((port, frame)) = self.switch.poll(now) {
                self.deliver(now, port, frame);
                moved = true;
            }
            for (port, attached) in &mut self.stations {
                let Attached::Station(station) = attached else { continue };
                station.poll(now);
                while let Some(frame) = station.poll_frame() {
                    self.switch.send(now, *port, frame);
                    moved = true;
                }
            }
            if !moved {
                return more;
            }
        }
    }

    fn read_taps(&mut self, now: Instant) -> bool {
        let mut more = false;
        for (port, attached) in &mut self.stations {
            let Attached::Tap { tap, readable } = attached else { continue };
            if !*readable {
                continue;
            }
            let mut left = TAP_BUDGET;
            // An error means that the device is gone, or going; either way there is nothing to read.
            while left > 0 && *readable {
                match tap.receive(&mut self.buffer) {
                    Ok(Some(frame)) => self.switch.send(now, *port, frame.to_vec()),
                    Ok(None) | Err(_) => *readable = false,
                }
                left -= 1;
            }
            more |= *readable;
        }
        more
    }

    fn deliver(&mut self, now: Instant, port: PortId, frame: Vec<u8>) {
        match self.stations.get_mut(&port) {
            Some(Attached::Tap { tap, .. }) => self.undelivered += u64::from(tap.send(&frame).is_err()),
            Some(Attached::Station(station)) => station.handle_frame(now, &frame),
            Some(Attached::Bare(inbox)) => {
                if inbox.len() >= INBOX {
                    inbox.pop_front();
                }
                inbox.push_back(frame);
            }
            None => {}
        }
    }

    fn next_turn(&self) -> Option<Instant> {
        let stations = self.stations.values().filter_map(|attached| match attached {
            Attached::Station(station) => station.poll_timeout(),
            Attached::Tap { .. } | Attached::Bare(_) => None,
        });
        stations.chain(self.switch.poll_timeout()).min()
    }
}

/// The thread: sleeps until a frame, a command or a timer, and takes a turn.
fn drive(mut bench: Bench, commands: &Receiver<Command>) {
    let origin = std::time::Instant::now();
    let clock = || Instant::ZERO + origin.elapsed().into();
    let mut events = Events::with_capacity(64);
    let mut watches: Vec<Watch> = Vec::new();
    let mut more = false;
    loop {
        let next = bench.next_turn().into_iter().chain(watches.iter().map(|watch| watch.deadline)).min();
        let mut pause =
            next.map(|next| if next > clock() { (next - clock()).into() } else { Duration::ZERO });
        if more {
            pause = Some(Duration::ZERO);
        }
        if let Some(short) = pause.filter(|pause| *pause < POLL_RESOLUTION) {
            std::thread::sleep(short);
            pause = Some(Duration::ZERO);
        }
        // An interrupted poll is an early turn.
        if bench.poll.poll(&mut events, pause).is_err() {
            events.clear();
        }
        for event in &events {
            for (port, attached) in &mut bench.stations {
                if let Attached::Tap { readable, .. } = attached
                    && event.token() == Token(port.index())
                {
                    *readable = true;
                }
            }
        }
        loop {
            match commands.try_recv() {
                Ok(Command::Run(task)) => task(clock(), &mut bench),
                Ok(Command::Watch(watch)) => watches.push(watch),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        more = bench.turn(clock());
        watches.retain_mut(|watch| !(watch.done)(clock(), &mut bench));
    }
}

#[cfg(test)]
mod tests;
