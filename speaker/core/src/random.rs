//! One random stream for each concern, all from the seed in the settings.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The generator; named, because its numbers must not change with a library.
pub(crate) type Stream = ChaCha8Rng;

/// The stream called `name`. Streams are independent: a draw more in one
/// shifts nothing in another. `salt` keeps apart what shares a seed.
pub(crate) fn stream(seed: &[u8; 32], name: &str, salt: &[u8]) -> Stream {
    let mut hash = Sha256::new();
    hash.update(seed);
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(salt);
    Stream::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |name: &str, salt: &[u8]| stream(&[7; 32], name, salt).random::<u64>();
        assert_eq!(draw("jitter", b""), draw("jitter", b""));
        assert_ne!(draw("jitter", b""), draw("nonce", b""));
        assert_ne!(draw("nonce", b"wk01"), draw("nonce", b"wk02"));
    }
}
