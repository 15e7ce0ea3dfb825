//! Named random streams: one seed, and a generator of its own for every concern.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// The generator that all of `net` draws from. Named, because the same seed must give the same run in years to come.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream called `name` of the run `seed`. Equal arguments give equal streams; any other pair gives one that
    /// has nothing to do with it.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(fnv1a(name.as_bytes()));
        Self(generator)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to but not including `limit`; 0 if `limit` is 0. The bias is below 2^-32 for limits below 2^32.
    pub fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(limit);
        u64::try_from(product >> 64).expect("the upper half of a 128-bit product has 64 bits")
    }
}

/// FNV-1a, 64 bits: spreads short names well and will never change.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_fixed_by_seed_and_name() {
        let draw = |seed, name| {
            let mut stream = Stream::new(seed, name);
            (stream.bits(), stream.below(1000))
        };
        assert_eq!(draw(1, "wk01 to switch"), draw(1, "wk01 to switch"));
        assert_ne!(draw(1, "wk01 to switch"), draw(2, "wk01 to switch"));
        assert_ne!(draw(1, "wk01 to switch"), draw(1, "wk02 to switch"));
    }

    #[test]
    fn below_stays_below() {
        let mut stream = Stream::new(7, "below");
        assert_eq!(stream.below(0), 0);
        let draws: Vec<u64> = (0..1000).map(|_| stream.below(3)).collect();
        assert!(draws.iter().all(|draw| *draw < 3));
        for wanted in 0..3 {
            assert!(draws.contains(&wanted), "{wanted} never came");
        }
    }
}
