//! Tables for B3 to B5, B16, B17, C81, C82 and interval arithmetic against a slow model.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn range(text: &str) -> AddressRange {
    text.parse().expect("a literal range")
}

#[test]
fn b3_b4_what_is_read() {
    for (text, expected) in [
        ("10.0.0.0/24", "10.0.0.0-10.0.0.255"),
        // B3: host bits are masked.
        ("192.168.1.5/24", "192.168.1.0-192.168.1.255"),
        ("10.0.0.7/32", "10.0.0.7-10.0.0.7"),
        ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
        ("fd00::5/64", "fd00::-fd00::ffff:ffff:ffff:ffff"),
        ("FD00::/128", "fd00::-fd00::"),
        ("::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        // B4: halves are trimmed.
        ("10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
        (" 10.0.0.1 -\t10.0.0.9 ", "10.0.0.1-10.0.0.9"),
        // B5: one address.
        ("10.0.0.1-10.0.0.1", "10.0.0.1-10.0.0.1"),
        ("fd00::1-fd00::f", "fd00::1-fd00::f"),
        // B16: IPv4-mapped is IPv4.
        ("::ffff:10.0.0.1-::ffff:10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("10.0.0.1-::ffff:10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("::ffff:10.0.0.0/120", "10.0.0.0-10.0.0.255"),
        ("::ffff:10.0.0.0/96", "0.0.0.0-255.255.255.255"),
        // Wider than the mapped block: IPv6 after all.
        ("::ffff:0:0/95", "::fffe:0:0-::ffff:255.255.255.255"),
    ] {
        let read: AddressRange = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read.to_string(), expected, "{text}");
    }
}

#[test]
fn b3_b4_b5_b17_what_is_refused() {
    for (text, expected) in [
        ("", "neither a CIDR prefix"),
        ("banana", "neither a CIDR prefix"),
        ("10.0.0.0/33", "neither a CIDR prefix"),
        ("10.0.0.0/", "neither a CIDR prefix"),
        ("10.0.0.0/-1", "not an IP address"),
        ("10.0.0.0/+8", "neither a CIDR prefix"),
        ("10.0.0.0/8/8", "neither a CIDR prefix"),
        ("/8", "neither a CIDR prefix"),
        ("10.0.0/24", "neither a CIDR prefix"),
        (" 10.0.0.0/24", "neither a CIDR prefix"),
        ("10.0.0.0/24 ", "neither a CIDR prefix"),
        ("010.0.0.0/24", "neither a CIDR prefix"),
        ("fe80::1%eth0/64", "neither a CIDR prefix"),
        // B3: a bare address, with the cure in the text.
        ("192.168.1.5", "write 192.168.1.5/32"),
        ("fd00::5", "write fd00::5/128"),
        // B4: short forms, a CIDR with a dash, too many dashes.
        ("10.0.0.10-20", "\"20\" is not an IP address"),
        ("10.0.0.0/24-10.0.0.9", "\"10.0.0.0/24\" is not an IP address"),
        ("10.0.0.1-10.0.0.2-10.0.0.3", "not an IP address"),
        ("-", "not an IP address"),
        ("10.0.0.1-", "\"\" is not an IP address"),
        ("10.0.0.01-10.0.0.9", "\"10.0.0.01\" is not an IP address"),
        ("fe80::1%eth0-fe80::2%eth0", "not an IP address"),
        // B5
        ("10.0.0.9-10.0.0.1", "did you mean 10.0.0.1-10.0.0.9?"),
        ("fd00::2-fd00::1", "did you mean fd00::1-fd00::2?"),
        // B17
        ("10.0.0.1-fd00::1", "one end is IPv4, the other IPv6"),
        ("::1-::ffff:10.0.0.1", "one end is IPv4, the other IPv6"),
    ] {
        let error = text.parse::<AddressRange>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn c81_c82_counts_cost_nothing_and_saturate() {
    for (text, buggy, usable, usable_avoiding) in [
        ("10.0.0.0/24", 2, 256, 254),
        ("10.0.0.0/23", 4, 512, 508),
        ("10.0.0.0/31", 1, 2, 1),
        ("10.0.0.254/31", 1, 2, 1),
        ("10.0.0.4/30", 0, 4, 4),
        ("10.0.0.255/32", 1, 1, 0),
        ("10.0.0.255-10.0.1.0", 2, 2, 0),
        ("0.0.0.0/0", 1 << 25, 1 << 32, (1 << 32) - (1 << 25)),
        ("fd00::/127", 0, 2, 2),
        ("fd00::/67", 0, 1 << 61, 1 << 61),
        ("fd00::/66", 0, i64::MAX, i64::MAX),
        ("fd00::/64", 0, i64::MAX, i64::MAX),
        ("::/0", 0, i64::MAX, i64::MAX),
    ] {
        let range = range(text);
        assert_eq!(range.buggy(), buggy, "{text}");
        assert_eq!(range.usable(false), usable, "{text}");
        assert_eq!(range.usable(true), usable_avoiding, "{text}");
    }
}

#[test]
fn a14_buggy_addresses() {
    for (text, expected) in [
        ("10.0.0.0", true),
        ("10.0.0.255", true),
        ("10.0.0.1", false),
        ("10.0.255.4", false),
        ("fd00::", false),
    ] {
        assert_eq!(is_buggy(text.parse().expect("a literal address")), expected, "{text}");
    }
}

#[test]
fn families_are_apart_even_where_numbers_meet() {
    let (v4, v6) = (range("0.0.0.0/0"), range("::/96"));
    assert!(!v4.overlaps(&v6));
    assert!(!v6.contains([0, 0, 0, 1].into()));
    assert_eq!(v4.without(&v6), vec![v4]);
}

#[test]
fn numbers_and_addresses_are_the_same_thing() {
    for text in ["0.0.0.0", "172.16.16.101", "255.255.255.255", "::", "fd00::1", "ffff::"] {
        let address: IpAddr = text.parse().expect("a literal address");
        assert_eq!(from_number(IpFamily::of(address), number(address)), address);
    }
}

fn small_range() -> impl Strategy<Value = AddressRange> {
    (0_u128..1024, 0_u128..1024).prop_map(|(a, b)| {
        let at = |number| from_number(IpFamily::V4, number);
        AddressRange::new(at(a.min(b)), at(a.max(b))).expect("in order and of one family")
    })
}

fn members(ranges: &[AddressRange]) -> BTreeSet<u128> {
    ranges.iter().flat_map(|range| number(range.first())..=number(range.last())).collect()
}

proptest! {
    #[test]
    fn arithmetic_agrees_with_sets(a in small_range(), b in small_range()) {
        let (set_a, set_b) = (members(&[a]), members(&[b]));
        prop_assert_eq!(a.size(), set_a.len() as u128);
        let buggy = set_a.iter().filter(|n| is_buggy(from_number(IpFamily::V4, **n))).count();
        prop_assert_eq!(a.buggy(), buggy as u128);
        prop_assert_eq!(a.overlaps(&b), !set_a.is_disjoint(&set_b));
        let rest = a.without(&b);
        prop_assert_eq!(members(&rest), &set_a - &set_b);
        prop_assert!(rest.iter().all(|part| part.first() <= part.last()));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<AddressRange>();
    }

    #[test]
    fn what_is_shown_can_be_read(a in small_range()) {
        prop_assert_eq!(a.to_string().parse::<AddressRange>().ok(), Some(a));
    }
}
