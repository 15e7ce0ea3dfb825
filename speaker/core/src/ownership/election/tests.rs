//! Tests of the election (D20 to D24).

use super::*;

fn candidates(names: &[&str], scores: &[u64]) -> Vec<Candidate> {
    let scores = scores.iter().copied().chain(std::iter::repeat(0));
    names.iter().zip(scores).map(|(name, score)| Candidate { node: (*name).into(), score }).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

#[test]
fn d24_all_vectors() {
    const ABC: &[&str] = &["node-a", "node-b", "node-c"];
    const WORKERS: &[&str] = &["worker1", "worker2", "worker3"];
    const IRIS: &[&str] = &["iris1", "iris2"];
    const EDGES: &[&str] = &["edge-a", "edge-b", "worker-a"];
    type Row<'a> = (&'a [&'a str], &'a [u64], &'a str, &'a [&'a str], &'a [u32]);
    let rows: &[Row<'_>] = &[
        (IRIS, &[], "10.20.30.1", &["iris2", "iris1"], &[]),
        (IRIS, &[], "10.20.30.2", &["iris1", "iris2"], &[]),
        (ABC, &[], "10.0.0.1", &["node-b", "node-a", "node-c"], &[]),
        (ABC, &[], "10.0.0.2", &["node-b", "node-c", "node-a"], &[]),
        (
            ABC,
            &[],
            "192.168.1.240",
            &["node-a", "node-c", "node-b"],
            &[0x0905_ce28, 0xa653_0f9d, 0xc5db_6995],
        ),
        (ABC, &[], "2001:db8::1", &["node-b", "node-a", "node-c"], &[0x1aee_61dd, 0x3c9f_88a7, 0xbb83_3059]),
        (ABC, &[], "fd00::10", &["node-c", "node-a", "node-b"], &[0x7b52_2297, 0x7d2b_73f1, 0xa4d8_b793]),
        (
            WORKERS,
            &[],
            "172.18.255.200",
            &["worker3", "worker2", "worker1"],
            &[0x19ca_5eb4, 0xb943_d82e, 0xc89b_7169],
        ),
        (
            WORKERS,
            &[],
            "fc00:f853:ccd:e799::1",
            &["worker1", "worker3", "worker2"],
            &[0x1dc7_7fa1, 0x7b36_67fa, 0x832c_752d],
        ),
        (EDGES, &[100, 100, 0], "10.20.30.1", &["edge-b", "edge-a", "worker-a"], &[]),
    ];
    for (names, scores, address, expected, prefixes) in rows {
        let candidates = candidates(names, scores);
        let found = order(&candidates, ip(address));
        let found: Vec<&str> = found.iter().map(NodeName::as_str).collect();
        assert_eq!(found, *expected, "{names:?} {address}");
        for (name, prefix) in found.iter().zip(*prefixes) {
            let (_, key) = rank(&Candidate { node: (*name).into(), score: 0 }, ip(address));
            assert_eq!(key[..4], prefix.to_be_bytes(), "{name}#{address}");
        }
    }
}

#[test]
fn h119_order_of_none_and_one() {
    assert_eq!(order(&[], ip("10.0.0.1")), Vec::<NodeName>::new());
    assert_eq!(order(&candidates(&["only"], &[]), ip("10.0.0.1")), [NodeName::from("only")]);
}

#[test]
fn h119_order_does_not_depend_on_the_order_given() {
    let mut given = candidates(&["a", "b", "c", "d", "e"], &[0, 3, 3]);
    let expected = order(&given, ip("10.0.0.9"));
    for _ in 0..given.len() {
        given.rotate_left(1);
        assert_eq!(order(&given, ip("10.0.0.9")), expected);
        let mut reversed = given.clone();
        reversed.reverse();
        assert_eq!(order(&reversed, ip("10.0.0.9")), expected);
    }
}

#[test]
fn h119_address_decides_between_equals_and_score_before_it() {
    let equals = candidates(&["a", "b"], &[]);
    let owners: std::collections::BTreeSet<NodeName> =
        (0..=255).map(|last| order(&equals, IpAddr::from([10, 0, 0, last]))[0].clone()).collect();
    assert_eq!(owners.len(), 2, "both own some of 256 addresses");
    let preferred = candidates(&["a", "b"], &[1, 0]);
    for last in 0..=255 {
        assert_eq!(order(&preferred, IpAddr::from([10, 0, 0, last]))[0].as_str(), "a");
    }
}

#[test]
fn d20_mapped_address_is_written_as_ipv4() {
    let all = candidates(&["node-a", "node-b", "node-c"], &[]);
    assert_eq!(order(&all, ip("::ffff:10.0.0.1")), order(&all, ip("10.0.0.1")));
}
