//! A running hash of everything that was delivered, so that two runs of one
//! seed can be compared by one number.

use std::fmt;

use ferrolb_api::Time;

/// FNV-1a over 64 bits, stable across platforms and compiler versions. It
/// detects difference, not malice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// The hash of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Self::OFFSET)
    }

    /// Adds one delivery: when, to whom, what.
    pub fn add(&mut self, at: Time, to: &str, what: &[u8]) {
        self.bytes(&at.as_micros().to_le_bytes());
        self.bytes(to.as_bytes());
        self.bytes(&what.len().to_le_bytes());
        self.bytes(what);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_time_receiver_and_content() {
        let of = |at: u64, to: &str, what: &[u8]| {
            let mut hash = Fingerprint::new();
            hash.add(Time::from_micros(at), to, what);
            hash
        };
        let base = of(1, "wk01", b"frame");
        assert_eq!(base, of(1, "wk01", b"frame"));
        for other in [of(2, "wk01", b"frame"), of(1, "wk02", b"frame"), of(1, "wk01", b"frams")] {
            assert_ne!(base, other);
        }
    }
}
