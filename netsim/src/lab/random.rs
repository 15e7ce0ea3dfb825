//! Randomness: one seed, and a named stream for each part.
//!
//! A stream depends on the seed and its own name only, so one more draw in one
//! part shifts nothing in another.

use std::time::Duration;

use crate::net::random::Stream as Bits;

/// The seed of a run, from which every part takes its own stream.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// All randomness of a run comes from `number`.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number it was made of.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// 32 bytes for whoever seeds a generator of its own.
    #[must_use]
    pub fn bytes(self, name: &str) -> [u8; 32] {
        let mut bits = Bits::new(self.0, name);
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&bits.bits().to_be_bytes());
        }
        bytes
    }

    /// Eight bytes of the same.
    #[must_use]
    pub fn word(self, name: &str) -> u64 {
        Bits::new(self.0, name).bits()
    }

    /// The stream of the part called `name`.
    #[must_use]
    pub fn stream(self, name: &str) -> RandomStream {
        RandomStream(Bits::new(self.0, name))
    }
}

/// The randomness of one part.
#[derive(Clone, Debug)]
pub struct RandomStream(Bits);

impl RandomStream {
    /// A duration from `low` to `high`, both included; `low` if they are reversed.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let spread = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX - 1);
        low + Duration::from_micros(self.0.below(spread + 1))
    }

    /// A number below `bound`, or 0 if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.0.bits().to_le_bytes()[0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_seed_and_its_name() {
        let draws = |seed: u64, name: &str| -> Vec<u64> {
            let mut stream = Seed::new(seed).stream(name);
            (0..8).map(|_| stream.below(1_000_000)).collect()
        };
        assert_eq!(draws(1, "wires"), draws(1, "wires"));
        assert_ne!(draws(1, "wires"), draws(2, "wires"));
        assert_ne!(draws(1, "wires"), draws(1, "api"));
        assert_ne!(Seed::new(1).bytes("wk01"), Seed::new(1).bytes("wk02"));
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        let mut stream = Seed::new(7).stream("edges");
        let (one, two) = (Duration::from_millis(1), Duration::from_millis(2));
        for _ in 0..100 {
            let drawn = stream.between(one, two);
            assert!(drawn >= one && drawn <= two);
        }
        assert_eq!(stream.between(two, one), two);
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.bytes(3).len(), 3);
    }
}
