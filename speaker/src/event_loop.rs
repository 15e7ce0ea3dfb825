//! Drives the core: every input comes in here and every effect leaves from here.
//!
//! The loop has an OS thread and a runtime to itself, so that neither a busy
//! API server nor a slow disk delays an ARP or NDP answer. One turn takes at most a
//! budget from each source and then looks at the next: a flood of frames starves
//! neither membership nor Kubernetes, nor the other way round.

mod outbox;

use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ferrolb_api::{ServiceKey, Time};
use ferrolb_shell::{Clock, Shutdown};
use socket2::Socket;
use speaker_core::{Counters, Effect, Input, NotReady, Report, Settings, Speaker, UnheardPeers};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use self::outbox::Outbox;
use crate::frames::{FrameCounts, Frames};
use crate::gossip::{self, BindError, DatagramCounts, Gossip};
use crate::multicast::{self, MulticastCounts, MulticastSockets};
use crate::sys::packet::PacketSocket;

/// Frames taken from one packet socket in one turn: some hundred microseconds of
/// work.
const FRAMES_PER_TURN: u32 = 256;
/// Datagrams taken in one turn; each costs a decryption of some microseconds.
const DATAGRAMS_PER_TURN: u32 = 64;
/// Inputs taken from a channel in one turn; a single one may be a whole list.
const INPUTS_PER_TURN: u32 = 16;
/// How often a changed summary is published while the loop is busy or idle.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the loop waits for what it has to say to be taken.
const LAST_REPORTS: Duration = Duration::from_secs(1);

/// The open sockets that the loop takes over.
#[derive(Debug)]
pub struct Sockets {
    /// ARP on all interfaces.
    pub arp: PacketSocket,
    /// Neighbour discovery on all interfaces.
    pub ndp: PacketSocket,
    /// For the groups that solicitations are sent to; `None` if the kernel has no
    /// IPv6.
    pub groups: Option<Socket>,
    /// Gossip; `None` without membership (E2).
    pub gossip: Option<std::net::UdpSocket>,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No `CAP_NET_RAW`.
    #[error(
        "not allowed to open a packet socket: the container needs the capability NET_RAW and uid 0 to start with \
         (securityContext.capabilities.add: [NET_RAW]); both are given up right after"
    )]
    NotPermitted,
    /// The packet socket, for another reason.
    #[error("cannot open a packet socket: {0}")]
    Packet(#[source] io::Error),
    /// The gossip port.
    #[error(transparent)]
    Gossip(#[from] BindError),
}

impl Sockets {
    /// Opens the packet sockets, and the gossip port if there is to be one.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do.
    pub fn open(gossip: Option<SocketAddr>) -> Result<Self, OpenError> {
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => OpenError::NotPermitted,
            _ => OpenError::Packet(error),
        };
        Ok(Self {
            arp: PacketSocket::open_arp().map_err(refused)?,
            ndp: PacketSocket::open_ndp().map_err(refused)?,
            groups: multicast::open().ok(),
            gossip: gossip.map(gossip::bind).transpose()?,
        })
    }
}

/// How the rest of the process reaches the loop, and is reached by it. A closed
/// input channel is a source that has no more to say: announcing goes on.
#[derive(Debug)]
pub struct Channels {
    /// What Kubernetes says.
    pub kubernetes: mpsc::Receiver<Input<'static>>,
    /// What the kernel says about links and addresses.
    pub interfaces: mpsc::Receiver<Input<'static>>,
    /// SIGTERM: hand over, then end.
    pub shutdown: Shutdown,
    /// What people are to be told, by Kubernetes and the log. When it is full it
    /// waits in the loop; what is too much even for that is dropped and counted.
    pub reports: mpsc::Sender<Report>,
    /// A copied summary for `/metrics`, at most each second.
    pub summary: watch::Sender<Summary>,
}

/// What `/metrics` shows of the loop and the core in it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The core's own counters.
    pub core: Counters,
    /// Frames in and out.
    pub frames: FrameCounts,
    /// Multicast groups.
    pub groups: MulticastCounts,
    /// Datagrams in and out.
    pub datagrams: DatagramCounts,
    /// Reports dropped because nobody took them in time.
    pub reports_dropped: u64,
    /// Turns of the loop, since start.
    pub turns: u64,
    /// What this node announces (F7).
    pub announced: Vec<(ServiceKey, IpAddr)>,
    /// What is missing before it can do its work (W43).
    pub not_ready: Option<NotReady>,
    /// The speakers that it does not hear and should.
    pub unheard: Option<UnheardPeers>,
}

/// Starts the loop on a thread of its own. The thread ends after
/// [`Effect::Exit`].
///
/// # Errors
/// If the thread or its runtime cannot be made, or a socket not registered.
pub fn spawn(
    sockets: Sockets,
    settings: Settings,
    channels: Channels,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (arp, ndp, gossip) = {
        let _guard = runtime.enter();
        (Frames::new(sockets.arp)?, Frames::new(sockets.ndp)?, Gossip::new(sockets.gossip)?)
    };
    let groups = MulticastSockets::start(sockets.groups)?;
    let Channels { kubernetes, interfaces, shutdown, reports, summary } = channels;
    thread::Builder::new().name("event-loop".to_owned()).spawn(move || {
        let mut event_loop = EventLoop {
            speaker: Speaker::new(settings),
            arp,
            ndp,
            groups,
            gossip,
            kubernetes,
            kubernetes_open: true,
            interfaces,
            interfaces_open: true,
            shutdown,
            is_ending: false,
            is_over: false,
            outbox: Outbox::new(reports),
            summary,
            turns: 0,
            clock: Clock::start(),
            published: Time::ZERO,
        };
        runtime.block_on(event_loop.run())
    })
}

struct EventLoop {
    speaker: Speaker,
    arp: Frames,
    ndp: Frames,
    groups: MulticastSockets,
    gossip: Gossip,
    kubernetes: mpsc::Receiver<Input<'static>>,
    kubernetes_open: bool,
    interfaces: mpsc::Receiver<Input<'static>>,
    interfaces_open: bool,
    shutdown: Shutdown,
    /// The core has been told to shut down.
    is_ending: bool,
    /// The core has said that it is done.
    is_over: bool,
    outbox: Outbox,
    summary: watch::Sender<Summary>,
    turns: u64,
    clock: Clock,
    published: Time,
}

/// What ended a wait.
enum Wake {
    /// Something to read, or a timer: the next turn will see.
    Ready,
    Shutdown,
    Kubernetes(Option<Input<'static>>),
    Interfaces(Option<Input<'static>>),
    Failed(io::Error),
}

impl EventLoop {
    async fn run(&mut self) -> io::Result<()> {
        while !self.is_over {
            let has_more = self.turn();
            self.publish_summary();
            if self.is_over {
                break;
            }
            if has_more {
                // Lets the runtime look at sockets and timers.
                tokio::task::yield_now().await;
            } else {
                self.wait().await?;
            }
        }
        // The peers serve by now; only people wait for the rest.
        let _ = timeout(LAST_REPORTS, self.outbox.drained()).await;
        self.summary.send_replace(self.summary());
        Ok(())
    }

    /// Takes up to a budget from every source. Whether there may be more.
    ///
    /// Membership comes first: whoever was paused must hear that an address
    /// moved before answering for it again.
    fn turn(&mut self) -> bool {
        self.turns += 1;
        let mut datagrams = DATAGRAMS_PER_TURN;
        while let Some((from, bytes)) = self.gossip.receive(&mut datagrams) {
            self.speaker.handle(self.clock.now(), Input::Datagram { from, bytes });
            self.drain_effects();
        }
        let interfaces = self.take_inputs(|event_loop| &mut event_loop.interfaces);
        let kubernetes = self.take_inputs(|event_loop| &mut event_loop.kubernetes);
        let mut arp = FRAMES_PER_TURN;
        while let Some((interface, bytes)) = self.arp.receive(&mut arp) {
            self.speaker.handle(self.clock.now(), Input::Frame { interface, bytes });
            self.drain_effects();
        }
        let mut ndp = FRAMES_PER_TURN;
        while let Some((interface, bytes)) = self.ndp.receive(&mut ndp) {
            self.speaker.handle(self.clock.now(), Input::Frame { interface, bytes });
            self.drain_effects();
        }
        if self.speaker.poll_timeout().is_some_and(|at| at <= self.now()) {
            self.handle(Input::Timeout);
        }
        // Looked at in every turn: a loop under a flood never waits.
        if self.shutdown.is_ending() {
            self.shut_down();
        }
        self.outbox.flush();
        [datagrams, arp, ndp, interfaces, kubernetes].contains(&0)
    }

    /// Takes up to [`INPUTS_PER_TURN`] from a channel. What is left of them.
    fn take_inputs(&mut self, channel: fn(&mut Self) -> &mut mpsc::Receiver<Input<'static>>) -> u32 {
        let mut budget = INPUTS_PER_TURN;
        while budget > 0
            && let Ok(input) = channel(self).try_recv()
        {
            budget -= 1;
            self.handle(input);
        }
        budget
    }

    /// Tells the core once.
    fn shut_down(&mut self) {
        if !self.is_ending {
            self.is_ending = true;
            self.handle(Input::Shutdown);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.speaker.handle(self.now(), input);
        self.drain_effects();
    }

    /// Does what the core asks for, oldest first.
    fn drain_effects(&mut self) {
        while let Some(effect) = self.speaker.poll_effect() {
            match effect {
                // Either packet socket sends any frame.
                Effect::SendFrame { interface, bytes } => self.arp.send(interface, &bytes),
                Effect::JoinGroup { interface, group } => self.groups.join(interface, group),
                Effect::LeaveGroup { interface, group } => self.groups.leave(interface, group),
                Effect::SendDatagram { to, bytes } => self.gossip.send(to, &bytes),
                Effect::Exit => self.is_over = true,
                Effect::Report(report) => self.outbox.put(report),
            }
        }
    }

    /// Waits for the next thing from any source.
    async fn wait(&mut self) -> io::Result<()> {
        let timeout = self.speaker.poll_timeout().map(|at| self.clock.instant(at));
        let wake = tokio::select! {
            result = self.gossip.readable() => result.map_or_else(Wake::Failed, |()| Wake::Ready),
            result = self.arp.readable() => result.map_or_else(Wake::Failed, |()| Wake::Ready),
            result = self.ndp.readable() => result.map_or_else(Wake::Failed, |()| Wake::Ready),
            () = sleep_until(timeout) => Wake::Ready,
            // So that /metrics is never older than this on a silent network.
            () = tokio::time::sleep(SUMMARY_INTERVAL) => Wake::Ready,
            input = self.interfaces.recv(), if self.interfaces_open => Wake::Interfaces(input),
            input = self.kubernetes.recv(), if self.kubernetes_open => Wake::Kubernetes(input),
            () = self.outbox.capacity() => Wake::Ready,
            () = self.shutdown.wait(), if !self.is_ending => Wake::Shutdown,
        };
        match wake {
            Wake::Ready => {}
            Wake::Shutdown => self.shut_down(),
            Wake::Kubernetes(Some(input)) | Wake::Interfaces(Some(input)) => self.handle(input),
            Wake::Kubernetes(None) => self.kubernetes_open = false,
            Wake::Interfaces(None) => self.interfaces_open = false,
            Wake::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn publish_summary(&mut self) {
        let now = self.now();
        if now - self.published >= SUMMARY_INTERVAL {
            self.published = now;
            self.summary.send_replace(self.summary());
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            core: self.speaker.counters().clone(),
            frames: self.arp.counts() + self.ndp.counts(),
            groups: self.groups.counts(),
            datagrams: self.gossip.counts(),
            reports_dropped: self.outbox.dropped(),
            turns: self.turns,
            announced: self.speaker.announced().map(|one| (one.service.clone(), one.address)).collect(),
            not_ready: self.speaker.is_ready().err(),
            unheard: self.speaker.unheard().cloned(),
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

/// Waits for a point in time; for ever if there is none.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => future::pending().await,
    }
}
