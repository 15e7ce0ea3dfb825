//! Random bytes from the kernel: seeds, jitter and secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

/// `N` bytes fit for keys.
///
/// # Errors
/// If `/dev/urandom` cannot be read; every Linux container has one.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A number for jitter, where a weak one does no harm: it spreads retries of
/// many processes and protects nothing.
#[must_use]
pub fn jitter_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// A small generator for jitter (SplitMix64).
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// A generator; the same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator with a seed of its own.
    #[must_use]
    pub fn seeded() -> Self {
        Self::new(jitter_seed())
    }

    /// The next number, uniform.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration from zero up to and including `most`, to the microsecond.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let span = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_micros(self.next_u64() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let first = bytes::<32>().expect("Linux has /dev/urandom");
        let second = bytes::<32>().expect("Linux has /dev/urandom");
        assert_ne!(first, second);
        let mut jitter = Jitter::new(1);
        assert_ne!(jitter.next_u64(), jitter.next_u64());
    }
}
