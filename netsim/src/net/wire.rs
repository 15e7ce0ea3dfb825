//! The two directions of one cable between a station and its port of the switch.

use smoltcp::time::{Duration, Instant};

use super::faults::{Bursts, Faults};
use super::random::Stream;

/// How a wire starts out. Both directions alike; change one of them through [`Cable`].
pub type WireSettings = Faults;

/// What one direction has done so far, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounters {
    /// Handed to the wire.
    pub sent: u64,
    /// Came out at the other end; a duplicate counts twice.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the direction was cut, or the port down when it was sent or while it was under way.
    pub cut: u64,
    /// Sent twice by the wire.
    pub duplicated: u64,
    /// Held back so that others could overtake.
    pub reordered: u64,
    /// Changed or cut short.
    pub damaged: u64,
}

/// A cable: what the station sends and what it hears fail independently of each other.
#[derive(Debug)]
pub struct Cable {
    /// From the station to the switch.
    pub to_switch: OneWay,
    /// From the switch to the station.
    pub to_station: OneWay,
}

impl Cable {
    pub(super) fn new(seed: u64, name: &str, settings: WireSettings) -> Self {
        Self {
            to_switch: OneWay::new(settings, Stream::new(seed, &format!("wire {name} to switch"))),
            to_station: OneWay::new(settings, Stream::new(seed, &format!("wire {name} to station"))),
        }
    }

    /// Changes both directions alike.
    pub fn set(&mut self, change: impl Fn(&mut Faults)) {
        change(&mut self.to_switch.faults);
        change(&mut self.to_station.faults);
    }

    /// Cuts or mends both directions. Unlike a port that goes down, neither end notices.
    pub fn set_cut(&mut self, cut: bool) {
        self.to_switch.cut = cut;
        self.to_station.cut = cut;
    }
}

/// One direction of a wire.
#[derive(Debug)]
pub struct OneWay {
    /// What it does to frames from now on.
    pub faults: Faults,
    /// Nothing gets through and nobody is told; frames already under way arrive.
    pub cut: bool,
    counters: WireCounters,
    stream: Stream,
    /// Arrival of the youngest frame that nothing overtakes.
    last_arrival: Instant,
    burst: Option<Burst>,
}

/// Where the loss bursts of a direction stand.
#[derive(Debug)]
struct Burst {
    bad: bool,
    until: Instant,
}

impl OneWay {
    fn new(faults: Faults, stream: Stream) -> Self {
        Self {
            faults,
            cut: false,
            counters: WireCounters::default(),
            stream,
            last_arrival: Instant::ZERO,
            burst: None,
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> WireCounters {
        self.counters
    }

    pub(super) fn count_delivered(&mut self) {
        self.counters.delivered += 1;
    }

    pub(super) fn count_cut_under_way(&mut self) {
        self.counters.cut += 1;
    }

    /// Decides what becomes of a frame sent at `now`: when it arrives and, if it is doubled, when its copy does.
    /// `down`: the port has no link. The frame may be damaged on the way.
    pub(super) fn carry(&mut self, now: Instant, down: bool, frame: &mut Vec<u8>) -> Delivery {
        self.counters.sent += 1;
        if down || self.cut {
            self.counters.cut += 1;
            return Delivery::Lost;
        }
        let faults = self.faults;
        let in_burst = faults.bursts.is_some_and(|bursts| self.burst_takes(now, bursts));
        if faults.loss.happens(&mut self.stream) || in_burst {
            self.counters.lost += 1;
            return Delivery::Lost;
        }
        self.damage(frame);
        let mut arrival = now + faults.delay;
        if faults.jitter > Duration::ZERO {
            arrival += Duration::from_micros(self.stream.below(faults.jitter.total_micros() + 1));
        }
        arrival = arrival.max(self.last_arrival);
        if faults.reorder.happens(&mut self.stream) {
            self.counters.reordered += 1;
            arrival += faults.reorder_by;
        } else {
            self.last_arrival = arrival;
        }
        if faults.duplicate.happens(&mut self.stream) {
            self.counters.duplicated += 1;
            return Delivery::Twice(arrival);
        }
        Delivery::Once(arrival)
    }

    /// Moves the burst state on to `now` and says whether this frame falls to it.
    fn burst_takes(&mut self, now: Instant, bursts: Bursts) -> bool {
        let mut burst = self.burst.take().unwrap_or(Burst { bad: true, until: now });
        while burst.until <= now {
            burst.bad = !burst.bad;
            let mean = if burst.bad { bursts.bad } else { bursts.good };
            burst.until += stretch(&mut self.stream, mean);
        }
        let bad = burst.bad;
        self.burst = Some(burst);
        bad && bursts.loss.happens(&mut self.stream)
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        let length = frame.len() as u64;
        if self.faults.corrupt.happens(&mut self.stream) && length > 0 {
            let bit = self.stream.below(length * 8);
            let index = usize::try_from(bit / 8).expect("smaller than the frame's length");
            frame[index] ^= 1 << (bit % 8);
            self.counters.damaged += 1;
        }
        if self.faults.truncate.happens(&mut self.stream) && length > 0 {
            frame.truncate(
                usize::try_from(self.stream.below(length)).expect("smaller than the frame's length"),
            );
            self.counters.damaged += 1;
        }
    }
}

/// What becomes of a frame on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Lost,
    Once(Instant),
    Twice(Instant),
}

/// A random length with the given mean: the sum of two even draws of a geometric kind would need a logarithm, whose last
/// bit differs between platforms. Counting tails of a coin in steps of a quarter mean is exponential enough and exact.
fn stretch(stream: &mut Stream, mean: Duration) -> Duration {
    /// Steps per mean; the coin falls once in so many.
    const STEPS: u64 = 8;
    let step = (mean.total_micros() / STEPS).max(1);
    let mut steps = 1;
    while stream.below(STEPS) != 0 {
        steps += 1;
    }
    Duration::from_micros((steps * step).saturating_sub(stream.below(step)))
}
