//! What a wire may do to a frame, and the dice that decide it.

use smoltcp::time::Duration;

use super::random::Stream;

/// A chance between never and always, kept as a fraction of 2^32 so that no run depends on floating-point rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u64);

impl Chance {
    /// It never happens. Costs no draw.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1 << 32);

    /// `numerator` times in `denominator` trials; more than all counts as always, out of zero as never.
    #[must_use]
    pub const fn ratio(numerator: u32, denominator: u32) -> Self {
        if denominator == 0 {
            return Self::NEVER;
        }
        let fraction = ((numerator as u64) << 32) / denominator as u64;
        if fraction > Self::ALWAYS.0 { Self::ALWAYS } else { Self(fraction) }
    }

    /// `percent` times in a hundred trials.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self::ratio(percent, 100)
    }

    pub(super) fn happens(self, stream: &mut Stream) -> bool {
        self != Self::NEVER && (stream.bits() >> 32) < self.0
    }
}

/// Loss that comes in bursts (Gilbert and Elliott): the wire alternates between a good state, which loses nothing, and a
/// bad one. Lengths of both are exponential-like; time passes in them whether frames come or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// Mean length of a good stretch.
    pub good: Duration,
    /// Mean length of a burst.
    pub bad: Duration,
    /// Share of frames lost in a burst.
    pub loss: Chance,
}

/// What one direction of a wire does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Time on the wire.
    pub delay: Duration,
    /// Added to the delay, evenly spread from zero to this. Frames keep their order nevertheless.
    pub jitter: Duration,
    /// Frames that vanish, independently of each other.
    pub loss: Chance,
    /// Frames that vanish together.
    pub bursts: Option<Bursts>,
    /// Frames that arrive twice.
    pub duplicate: Chance,
    /// Frames that are held back for `reorder_by`, so that later ones overtake them.
    pub reorder: Chance,
    /// How long an overtaken frame is held back.
    pub reorder_by: Duration,
    /// Frames that arrive with one bit flipped, as if the frame check sequence had failed to notice.
    pub corrupt: Chance,
    /// Frames that arrive cut short.
    pub truncate: Chance,
}

impl Faults {
    /// A clean wire with the given delay.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: Chance::NEVER,
            bursts: None,
            duplicate: Chance::NEVER,
            reorder: Chance::NEVER,
            reorder_by: Duration::from_millis(1),
            corrupt: Chance::NEVER,
            truncate: Chance::NEVER,
        }
    }
}

impl Default for Faults {
    /// A clean wire of 50 microseconds: a cable, a NIC and a store-and-forward switch on a quiet LAN.
    fn default() -> Self {
        Self::delay(Duration::from_micros(50))
    }
}
