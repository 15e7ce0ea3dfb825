//! A look into a gossip message before foca sees it, and the one message that we
//! write ourselves.

use foca::{Codec, Header, Member, Message, PostcardCodec};

use super::identity::Identity;
use crate::gossip::envelope::GossipRejection;

/// What a message says, as far as we judge it.
#[derive(Debug)]
pub(crate) struct ParsedHeader {
    /// Who speaks.
    pub(crate) source: Identity,
    /// Which member it is for, as the sender knows it.
    pub(crate) destination: Identity,
    /// Whether it is the answer to an announce: the sender's whole list.
    pub(crate) is_feed: bool,
    /// Whom it tells of.
    pub(crate) subjects: Vec<Identity>,
}

/// Reads a message in full. foca would take what comes before a broken part.
pub(crate) fn parse_header(mut bytes: &[u8]) -> Result<ParsedHeader, GossipRejection> {
    let broken = GossipRejection::Malformed;
    let header: Header<Identity> = PostcardCodec.decode_header(&mut bytes).map_err(|_| broken)?;
    let bare = matches!(header.message, Message::Announce | Message::TurnUndead);
    if matches!(header.message, Message::Broadcast) || (bare && !bytes.is_empty()) {
        return Err(broken);
    }
    let mut subjects = Vec::new();
    if let Some((count, mut rest)) = bytes.split_first_chunk::<2>() {
        for _ in 0..u16::from_be_bytes(*count) {
            let member: Member<Identity> = PostcardCodec.decode_member(&mut rest).map_err(|_| broken)?;
            subjects.push(member.id().clone());
        }
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(broken);
    }
    Ok(ParsedHeader {
        source: header.src,
        destination: header.dst,
        is_feed: header.message == Message::Feed,
        subjects,
    })
}

/// The message by which `own` tells `peer` that it leaves. foca would tell five
/// members at random and leave the rest to gossip.
pub(crate) fn leave(own: &Identity, peer: &Identity) -> Vec<u8> {
    let header = Header { src: own.clone(), src_incarnation: 0, dst: peer.clone(), message: Message::Gossip };
    let mut bytes = Vec::new();
    let legal = "what was decoded, or checked when it was made, can be encoded";
    PostcardCodec.encode_header(&header, &mut bytes).expect(legal);
    bytes.extend(1_u16.to_be_bytes());
    PostcardCodec.encode_member(&Member::down(own.clone()), &mut bytes).expect(legal);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn identity(name: &str) -> Identity {
        Identity::new(name.into(), 7, ([172, 16, 16, 11], 7946).into()).expect("legal")
    }

    #[test]
    fn leave_is_read_back() {
        let bytes = leave(&identity("wk01"), &identity("wk02"));
        let header = parse_header(&bytes).expect("our own message");
        assert_eq!(header.source, identity("wk01"));
        assert_eq!(header.destination, identity("wk02"));
        assert_eq!(header.subjects, [identity("wk01")]);
        assert!(!header.is_feed);
    }

    #[test]
    fn broken_messages_are_refused() {
        let good = leave(&identity("wk01"), &identity("wk02"));
        for length in 0..good.len() {
            let cut = parse_header(&good[..length]);
            // A message without its list of updates is complete as well.
            assert!(cut.is_err() || cut.is_ok_and(|header| header.subjects.is_empty()), "{length} bytes");
        }
        assert!(parse_header(&[&good[..], &[0]].concat()).is_err(), "one byte too many");
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(41);
        let good = leave(&identity("wk01"), &identity("wk02"));
        for _ in 0..20_000 {
            let length = random.random_range(0..120);
            let noise: Vec<u8> = (0..length).map(|_| random.random()).collect();
            let _ = parse_header(&noise);
            let mut changed = good.clone();
            let at = random.random_range(0..changed.len());
            changed[at] = random.random();
            let _ = parse_header(&changed);
        }
    }
}
