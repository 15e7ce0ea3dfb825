//! What a gossip datagram is wrapped in: sealed, bound to its sender, and good
//! for one delivery only.
//!
//! ```text
//! sealed   1 | boot u64 | counter u64 | length u8 | sender | nonce 24 | ciphertext + tag 16
//! plain    0 | payload
//! ```
//!
//! Numbers are big-endian. Everything before the nonce is authenticated with the
//! ciphertext (XChaCha20-Poly1305). The key comes from the shared secret through
//! HKDF-SHA256 with a label of its own, so that the secret may serve elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rand::RngExt;
use sha2::Sha256;

use crate::random::Stream;

/// The longest datagram made and taken, in bytes: what fits an Ethernet frame
/// under IPv6 and UDP, so that no gossip depends on fragments.
pub(crate) const MAX_DATAGRAM: usize = 1_452;
/// The longest payload that fits with the longest sender name, in bytes.
pub(crate) const MAX_PAYLOAD: usize = MAX_DATAGRAM - HEADER - MAX_NAME - NONCE - TAG;
/// The highest boot id taken, in milliseconds since 1970: beyond the year
/// 100,000 it is no clock's, and there must be room to outbid it (T20).
pub(crate) const MAX_BOOT: u64 = 1 << 52;
/// How far behind the newest datagram of a sender another may come, in
/// datagrams; older ones count as replayed (T6).
pub(crate) const REPLAY_WINDOW: u64 = 1_024;
/// The most senders whose counters are kept; the longest silent is forgotten.
/// Only a holder of the key can add one. Kubernetes stops at 5,000 nodes.
const MAX_SENDERS: usize = 8_192;

const SEALED: u8 = 1;
const PLAIN: u8 = 0;
/// Version, boot, counter, length.
const HEADER: usize = 1 + 8 + 8 + 1;
const MAX_NAME: usize = ferrolb_api::NodeName::MAX_LEN;
const NONCE: usize = 24;
const TAG: usize = 16;
const KEY_LABEL: &[u8] = b"ferrolb speaker gossip, XChaCha20-Poly1305, version 1";

/// Why a gossip datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GossipRejection {
    /// It ends before its own header does.
    Truncated,
    /// It is longer than any of ours.
    TooLong,
    /// Its version is unknown, or it is sealed where no secret is configured.
    UnknownVersion,
    /// It is not sealed although a secret is configured.
    NotSealed,
    /// Another key sealed it, or it was changed on the way.
    WrongKey,
    /// It was delivered before, or is too old to tell (T6).
    Replayed,
    /// It is from an earlier life of a sender that has restarted since (T6).
    OldBoot,
    /// It carries our own name.
    FromOurselves,
    /// Its payload is no gossip message.
    Malformed,
    /// The message inside speaks for another node than the sender (T5).
    WrongSender,
    /// It would add more members than a cluster can have.
    TooManyMembers,
}

impl GossipRejection {
    /// The reason as a metric's label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TooLong => "tooLong",
            Self::UnknownVersion => "unknownVersion",
            Self::NotSealed => "notSealed",
            Self::WrongKey => "wrongKey",
            Self::Replayed => "replayed",
            Self::OldBoot => "oldBoot",
            Self::FromOurselves => "fromOurselves",
            Self::Malformed => "malformed",
            Self::WrongSender => "wrongSender",
            Self::TooManyMembers => "tooManyMembers",
        }
    }
}

/// A payload taken out of its envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Who sealed it, and in which life; `None` if it was not sealed.
    pub(crate) sender: Option<(Arc<str>, u64)>,
    pub(crate) payload: Vec<u8>,
}

/// Seals what goes out, opens what comes in.
pub(crate) struct Envelope {
    name: Arc<str>,
    boot: u64,
    cipher: Option<XChaCha20Poly1305>,
    nonces: Stream,
    counter: u64,
    senders: BTreeMap<Arc<str>, Sender>,
    opened: u64,
}

/// What is remembered of a sender.
#[derive(Debug)]
struct Sender {
    boot: u64,
    window: Window,
    /// The number of the last datagram of its that was taken, over all senders.
    heard: u64,
}

/// Which of the last [`REPLAY_WINDOW`] counters have been seen.
#[derive(Debug, Default)]
struct Window {
    highest: u64,
    /// Bit `n % REPLAY_WINDOW` stands for counter `n`.
    seen: [u64; (REPLAY_WINDOW / 64) as usize],
}

impl Envelope {
    /// For the node `name` in its life `boot`; without a `secret` nothing is
    /// sealed.
    pub(crate) fn new(name: Arc<str>, boot: u64, secret: Option<&[u8]>, nonces: Stream) -> Self {
        let cipher = secret.map(|secret| {
            let mut key = [0; 32];
            Hkdf::<Sha256>::new(None, secret)
                .expand(KEY_LABEL, &mut key)
                .expect("32 bytes are one block of SHA-256");
            XChaCha20Poly1305::new(&key.into())
        });
        Self { name, boot, cipher, nonces, counter: 0, senders: BTreeMap::new(), opened: 0 }
    }

    /// Starts a new life, which must be a later one.
    pub(crate) fn set_boot(&mut self, boot: u64) {
        self.boot = boot;
    }

    /// The latest life of `sender` that anything was taken from.
    pub(crate) fn latest_boot(&self, sender: &str) -> Option<u64> {
        self.senders.get(sender).map(|sender| sender.boot)
    }

    /// The datagram for `payload`, which is at most [`MAX_PAYLOAD`] bytes.
    pub(crate) fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let Some(cipher) = &self.cipher else {
            return [&[PLAIN], payload].concat();
        };
        self.counter += 1;
        let length = u8::try_from(self.name.len()).expect("names are bounded when an identity is made");
        let mut bytes = Vec::with_capacity(HEADER + MAX_NAME + NONCE + payload.len() + TAG);
        bytes.push(SEALED);
        bytes.extend(self.boot.to_be_bytes());
        bytes.extend(self.counter.to_be_bytes());
        bytes.push(length);
        bytes.extend(self.name.as_bytes());
        let nonce: [u8; NONCE] = self.nonces.random();
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: payload, aad: &bytes })
            .expect("a datagram is far below the cipher's limit of 256 GiB");
        bytes.extend(nonce);
        bytes.extend(sealed);
        bytes
    }

    /// Takes a payload out, once.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> Result<Opened, GossipRejection> {
        if bytes.len() > MAX_DATAGRAM {
            return Err(GossipRejection::TooLong);
        }
        let (version, rest) = bytes.split_first().ok_or(GossipRejection::Truncated)?;
        match (*version, &self.cipher) {
            (PLAIN, None) => Ok(Opened { sender: None, payload: rest.to_vec() }),
            (PLAIN, Some(_)) => Err(GossipRejection::NotSealed),
            (SEALED, Some(_)) => self.open_sealed(bytes),
            _ => Err(GossipRejection::UnknownVersion),
        }
    }

    fn open_sealed(&mut self, bytes: &[u8]) -> Result<Opened, GossipRejection> {
        let sealed = Sealed::read(bytes)?;
        // Cheap questions first: a replayed flood costs no decryption. Nothing is
        // remembered before the seal is known to be good.
        if let Some(known) = self.senders.get(sealed.sender) {
            if sealed.boot < known.boot {
                return Err(GossipRejection::OldBoot);
            }
            if sealed.boot == known.boot && known.window.has(sealed.counter) {
                return Err(GossipRejection::Replayed);
            }
        }
        let cipher = self.cipher.as_ref().ok_or(GossipRejection::UnknownVersion)?;
        let nonce = XNonce::from(sealed.nonce);
        let payload = cipher
            .decrypt(&nonce, Payload { msg: sealed.ciphertext, aad: sealed.header })
            .map_err(|_| GossipRejection::WrongKey)?;
        if *sealed.sender == *self.name {
            return Err(GossipRejection::FromOurselves);
        }
        let sender = self.remember(&sealed);
        Ok(Opened { sender: Some((sender, sealed.boot)), payload })
    }

    fn remember(&mut self, sealed: &Sealed<'_>) -> Arc<str> {
        self.opened += 1;
        let name = self.senders.get_key_value(sealed.sender).map(|(name, _)| Arc::clone(name));
        let name = name.unwrap_or_else(|| {
            if self.senders.len() >= MAX_SENDERS {
                let silent = self.senders.iter().min_by_key(|(_, sender)| sender.heard);
                let silent = silent.map(|(name, _)| Arc::clone(name)).expect("it is full, so not empty");
                self.senders.remove(&silent);
            }
            sealed.sender.into()
        });
        let sender = self.senders.entry(Arc::clone(&name)).or_insert_with(|| Sender {
            boot: sealed.boot,
            window: Window::default(),
            heard: 0,
        });
        if sealed.boot > sender.boot {
            *sender = Sender { boot: sealed.boot, window: Window::default(), heard: 0 };
        }
        sender.heard = self.opened;
        sender.window.add(sealed.counter);
        name
    }
}

/// A sealed datagram's parts, not believed yet.
struct Sealed<'a> {
    header: &'a [u8],
    sender: &'a str,
    boot: u64,
    counter: u64,
    nonce: [u8; NONCE],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, GossipRejection> {
        let (fixed, rest) = bytes.split_first_chunk::<HEADER>().ok_or(GossipRejection::Truncated)?;
        let [_, numbers @ .., length] = fixed;
        let (boot, counter) = numbers.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let length = usize::from(*length);
        let (sender, rest) = rest.split_at_checked(length).ok_or(GossipRejection::Truncated)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(GossipRejection::Truncated)?;
        if ciphertext.len() < TAG {
            return Err(GossipRejection::Truncated);
        }
        let (header, _) = bytes.split_at(HEADER + length);
        if number(boot) > MAX_BOOT {
            return Err(GossipRejection::Malformed);
        }
        Ok(Self {
            header,
            sender: str::from_utf8(sender).map_err(|_| GossipRejection::Malformed)?,
            boot: number(boot),
            counter: number(counter),
            nonce: *nonce,
            ciphertext,
        })
    }
}

impl Window {
    /// Whether `counter` was seen, or is too old to tell.
    fn has(&self, counter: u64) -> bool {
        let (word, bit) = Self::place(counter);
        counter.saturating_add(REPLAY_WINDOW) <= self.highest
            || (counter <= self.highest && self.seen[word] & bit != 0)
    }

    /// Marks `counter` as seen; it is not below the window.
    fn add(&mut self, counter: u64) {
        if counter > self.highest {
            if counter - self.highest >= REPLAY_WINDOW {
                self.seen.fill(0);
            } else {
                for skipped in self.highest + 1..counter {
                    let (word, bit) = Self::place(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = counter;
        }
        let (word, bit) = Self::place(counter);
        self.seen[word] |= bit;
    }

    fn place(counter: u64) -> (usize, u64) {
        let index = counter % REPLAY_WINDOW;
        ((index / 64) as usize, 1 << (index % 64))
    }
}

#[cfg(test)]
mod tests;
