//! Tests of the envelope: wrong keys, replays, truncation.

use super::*;
use crate::random::stream;

const SECRET: &[u8] = b"correct horse battery";

fn envelope(name: &str, boot: u64, secret: Option<&[u8]>) -> Envelope {
    Envelope::new(name.into(), boot, secret, stream(&[3; 32], "nonce", name.as_bytes()))
}

fn pair() -> (Envelope, Envelope) {
    (envelope("wk01", 10, Some(SECRET)), envelope("wk02", 20, Some(SECRET)))
}

#[test]
fn what_is_sealed_is_opened_with_its_sender() {
    let (mut one, mut two) = pair();
    let sealed = one.seal(b"hello");
    assert!(!sealed.windows(5).any(|window| window == b"hello"), "the payload must not show");
    let opened = two.open(&sealed).expect("the same key");
    assert_eq!(opened, Opened { sender: Some(("wk01".into(), 10)), payload: b"hello".to_vec() });
    assert_eq!(two.latest_boot("wk01"), Some(10));
    assert_ne!(one.seal(b"hello"), sealed, "every datagram has its own nonce and counter");
}

#[test]
fn t5_every_changed_bit_is_noticed() {
    let (mut one, mut two) = pair();
    let sealed = one.seal(b"hello");
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(two.open(&changed).is_err(), "bit {bit}");
    }
    assert_eq!(two.senders.len(), 0, "nothing is remembered of what was refused");
    assert!(two.open(&sealed).is_ok());
}

#[test]
fn t5_refusals_have_their_reason() {
    let (mut one, mut two) = pair();
    let sealed = one.seal(b"hello");
    let other_key = envelope("wk01", 10, Some(b"another secret")).seal(b"hello");
    let plain = envelope("wk01", 10, None).seal(b"hello");
    let own = envelope("wk02", 20, Some(SECRET)).seal(b"hello");
    let mut version = sealed.clone();
    version[0] = 9;
    let long = vec![1; MAX_DATAGRAM + 1];
    for (bytes, reason) in [
        (&[][..], GossipRejection::Truncated),
        (&sealed[..1], GossipRejection::Truncated),
        (&sealed[..HEADER + 3], GossipRejection::Truncated),
        (&sealed[..HEADER + 4 + NONCE + TAG - 1], GossipRejection::Truncated),
        (&sealed[..sealed.len() - 1], GossipRejection::WrongKey),
        (&other_key, GossipRejection::WrongKey),
        (&plain, GossipRejection::NotSealed),
        (&version, GossipRejection::UnknownVersion),
        (&long, GossipRejection::TooLong),
        (&own, GossipRejection::FromOurselves),
    ] {
        assert_eq!(two.open(bytes).map(|opened| opened.payload), Err(reason));
    }
    let mut insecure = envelope("wk03", 1, None);
    assert_eq!(insecure.open(&sealed).map(|_| ()), Err(GossipRejection::UnknownVersion));
    let opened = insecure.open(&plain).expect("plain gossip is taken without a secret");
    assert_eq!(opened, Opened { sender: None, payload: b"hello".to_vec() });
}

#[test]
fn t6_each_datagram_once_in_any_order_within_the_window() {
    let (mut one, mut two) = pair();
    let all: Vec<Vec<u8>> = (0..3 * REPLAY_WINDOW).map(|_| one.seal(b"x")).collect();
    let newest = all.len() - 1;
    let window = REPLAY_WINDOW as usize;
    assert!(two.open(&all[newest]).is_ok());
    assert!(two.open(&all[newest + 1 - window]).is_ok(), "the oldest in the window");
    assert_eq!(two.open(&all[newest - window]).map(|_| ()), Err(GossipRejection::Replayed));
    for datagram in all[newest + 2 - window..newest].iter().rev() {
        assert!(two.open(datagram).is_ok(), "late, but new");
    }
    for datagram in &all {
        assert_eq!(two.open(datagram).map(|_| ()), Err(GossipRejection::Replayed));
    }
    assert!(two.open(&one.seal(b"x")).is_ok(), "and it goes on");
}

#[test]
fn t6_window_forgets_what_was_skipped() {
    let mut window = Window::default();
    for (counter, seen) in [(1, false), (1, true), (900, false), (2, false), (1_500, false), (2, true)] {
        assert_eq!(window.has(counter), seen, "{counter}");
        if !seen {
            window.add(counter);
        }
    }
    // 1,926 shares its bit with 902, which never came.
    assert!(!window.has(902));
    window.add(1_926);
    assert!(window.has(902), "out of the window by now");
    assert!(!window.has(1_925));
}

#[test]
fn t6_a_restarted_sender_ends_its_earlier_lives() {
    let mut two = envelope("wk02", 20, Some(SECRET));
    let mut before = envelope("wk01", 10, Some(SECRET));
    let mut after = envelope("wk01", 11, Some(SECRET));
    let kept = before.seal(b"old");
    assert!(two.open(&before.seal(b"old")).is_ok());
    assert!(two.open(&after.seal(b"new")).is_ok());
    assert_eq!(two.open(&kept).map(|_| ()), Err(GossipRejection::OldBoot));
    assert_eq!(two.open(&before.seal(b"old")).map(|_| ()), Err(GossipRejection::OldBoot));
    assert_eq!(two.latest_boot("wk01"), Some(11));
}

#[test]
fn longest_name_and_payload_fit_a_datagram() {
    let mut one = envelope(&"n".repeat(MAX_NAME), 1, Some(SECRET));
    let sealed = one.seal(&[0; MAX_PAYLOAD]);
    assert_eq!(sealed.len(), MAX_DATAGRAM);
    assert!(envelope("wk02", 20, Some(SECRET)).open(&sealed).is_ok());
}

#[test]
fn senders_are_bounded_and_the_longest_silent_goes() {
    let mut two = envelope("wk02", 20, Some(SECRET));
    for number in 0..=MAX_SENDERS {
        let sealed = envelope(&format!("n{number}"), 1, Some(SECRET)).seal(b"");
        assert!(two.open(&sealed).is_ok());
    }
    assert_eq!(two.senders.len(), MAX_SENDERS);
    assert_eq!(two.latest_boot("n0"), None);
    assert_eq!(two.latest_boot("n1"), Some(1));
}
