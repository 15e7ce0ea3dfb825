//! Who owns the addresses of a group, out of what each of its Services can be served by.

use super::*;
use crate::interface::InterfaceSet;
use crate::ownership::assessment::Eligible;
use crate::ownership::candidates::CandidateKey;
use ferrolb_api::ServiceKey;

/// A Service of a table: its name, its addresses, and the nodes that can serve it, each
/// with its score.
type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, u64)]);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

/// Each Service under an advertisement of its own, so that each has nodes of its own.
fn elected(rows: &[Row<'_>], spoil: impl Fn(&str, &mut CandidateNode)) -> Vec<(Vec<String>, String, IpAddr)> {
    let eligible = |(place, (name, addresses, _)): (usize, &Row<'_>)| {
        let eligible = Eligible {
            addresses: addresses.iter().map(|address| ip(address)).collect(),
            key: CandidateKey { advertisements: vec![place], locations: Vec::new(), pool: None },
            only_on: None,
            interfaces: Some(InterfaceSet::All),
        };
        (ServiceKey::new("default", *name), eligible)
    };
    let members: Vec<(ServiceKey, Eligible)> = rows.iter().enumerate().map(eligible).collect();
    let group = AddressGroup::of(members.iter().map(|(key, eligible)| (key, eligible))).expect("members");
    let nodes_of = |sharers: &Sharers| -> Vec<CandidateNode> {
        let (name, addresses, nodes) = rows[sharers.key.advertisements[0]];
        let node = |(node, score): &(&str, u64)| {
            let candidate = Candidate { node: (*node).into(), score: *score };
            let on_segment = vec![Known::NotYet; addresses.len()];
            let mut node = CandidateNode { candidate, usable: true, on_segment };
            spoil(name, &mut node);
            node
        };
        nodes.iter().map(node).collect()
    };
    let found: Vec<Vec<CandidateNode>> = group.sharers.iter().map(nodes_of).collect();
    let nodes: Vec<&[CandidateNode]> = found.iter().map(Vec::as_slice).collect();
    let served = |part: &Part| {
        let services = part.serves.iter().flat_map(|at| &group.sharers[*at].services);
        let mut names: Vec<String> = services.map(|service| service.name().to_owned()).collect();
        names.sort();
        names
    };
    let elected = elect(&group, &nodes);
    let mut parts: Vec<_> =
        elected.iter().map(|one| (served(&one.part), one.part.owner.to_string(), one.part.address)).collect();
    parts.sort();
    parts
}

const ALL: &[(&str, u64)] = &[("node-a", 0), ("node-b", 0), ("node-c", 0)];
const A: (&str, u64) = ("node-a", 0);
const B: (&str, u64) = ("node-b", 0);
const C: (&str, u64) = ("node-c", 0);

/// 10.0.0.1 goes to node-b, then node-a; fd00::10 to node-c, then node-a (D24).
#[test]
fn d20_d21_the_first_address_elects_where_all_have_the_same_and_else_the_smallest() {
    let rows: [(&str, &[Row<'_>], &str, &str); 7] = [
        ("one address", &[("x", &["10.0.0.1"], ALL), ("y", &["10.0.0.1"], ALL)], "node-b", "10.0.0.1"),
        (
            "the first is the same, IPv6 first",
            &[("x", &["fd00::10", "10.0.0.1"], ALL), ("y", &["fd00::10"], ALL)],
            "node-c",
            "fd00::10",
        ),
        (
            "the first differs",
            &[("x", &["10.0.0.1", "fd00::10"], ALL), ("y", &["fd00::10"], ALL)],
            "node-b",
            "10.0.0.1",
        ),
        (
            "the names and the order do not matter",
            &[("y", &["fd00::10"], ALL), ("a", &["10.0.0.1", "fd00::10"], ALL)],
            "node-b",
            "10.0.0.1",
        ),
        (
            "IPv6 first there, IPv4 first here",
            &[("x", &["fd00::10", "10.0.0.1"], ALL), ("y", &["10.0.0.1", "fd00::10"], ALL)],
            "node-b",
            "10.0.0.1",
        ),
        (
            "IPv4 counts before IPv6, however small that is",
            &[("x", &["::1:0:1", "10.0.0.1"], ALL), ("y", &["10.0.0.1"], ALL)],
            "node-b",
            "10.0.0.1",
        ),
        (
            "three chained by two pairs",
            &[
                ("x", &["10.0.0.1", "fd00::10"], ALL),
                ("y", &["fd00::10", "10.0.0.3"], ALL),
                ("z", &["10.0.0.3"], ALL),
            ],
            "node-b",
            "10.0.0.1",
        ),
    ];
    for (what, services, owner, address) in rows {
        let mut names: Vec<String> = services.iter().map(|(name, ..)| (*name).to_owned()).collect();
        names.sort();
        let found = elected(services, |_, _| ());
        assert_eq!(found, [(names, owner.to_owned(), ip(address))], "{what}");
    }
}

#[test]
fn d14_d22_the_owner_can_serve_all_or_else_the_most() {
    let x: &[&str] = &["10.0.0.1"];
    type Expected<'a> = &'a [(&'a [&'a str], &'a str)];
    let rows: [(&str, &[Row<'_>], Expected<'_>); 9] = [
        ("in common", &[("p", x, &[A, B]), ("q", x, &[A, C])], &[(&["p", "q"], "node-a")]),
        ("more is better", &[("p", x, &[B]), ("q", x, &[A]), ("r", x, &[A])], &[(&["q", "r"], "node-a")]),
        ("equal: by the hash", &[("p", x, &[A]), ("q", x, &[B])], &[(&["q"], "node-b")]),
        (
            "one that nobody can serve does not take part",
            &[("p", x, &[A]), ("q", x, &[])],
            &[(&["p"], "node-a")],
        ),
        ("nobody can serve any", &[("p", x, &[]), ("q", x, &[])], &[]),
        (
            "scores add up",
            &[("p", x, &[("node-a", 3), ("node-b", 2)]), ("q", x, &[("node-a", 3), ("node-b", 5)])],
            &[(&["p", "q"], "node-b")],
        ),
        (
            "what nobody answers is elected for once more",
            &[("p", &["10.0.0.1"], &[B]), ("q", &["10.0.0.1", "fd00::10"], &[C]), ("r", &["fd00::10"], &[A])],
            &[(&["p"], "node-b"), (&["r"], "node-a")],
        ),
        (
            "and on the nodes that it has",
            &[
                ("p", &["10.0.0.1"], &[B]),
                ("o", &["10.0.0.1"], &[B]),
                ("q", &["10.0.0.1", "fd00::10"], &[C]),
                ("r", &["fd00::10"], ALL),
            ],
            &[(&["o", "p", "r"], "node-b")],
        ),
        (
            "chained, and the middle one can be served by none of the others' nodes",
            &[("p", &["10.0.0.1"], &[A]), ("q", &["10.0.0.1", "fd00::10"], &[]), ("r", &["fd00::10"], &[C])],
            &[(&["p"], "node-a"), (&["r"], "node-c")],
        ),
    ];
    for (what, services, expected) in rows {
        let found = elected(services, |_, _| ());
        let found: Vec<_> = found.iter().map(|(names, owner, _)| (names.clone(), owner.as_str())).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(names, owner)| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), *owner))
            .collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn w13_interfaces_and_segments_count_for_all_services() {
    let x: &[&str] = &["10.0.0.1"];
    let two: [Row<'_>; 2] = [("p", x, &[A, B]), ("q", x, &[A, B])];
    type Spoil = fn(&str, &mut CandidateNode);
    let rows: [(&str, Spoil, Vec<&str>, &str); 5] = [
        ("nothing known", |_, _| (), vec!["p", "q"], "node-b"),
        (
            "one Service has no interface there",
            |service, node| node.usable = service != "q" || node.candidate.node.as_str() != "node-b",
            vec!["p", "q"],
            "node-a",
        ),
        (
            "one Service has an interface nowhere, and takes nothing away",
            |service, node| node.usable = service != "q",
            vec!["p", "q"],
            "node-b",
        ),
        (
            "each has another interface",
            |service, node| node.usable = (service == "q") == (node.candidate.node.as_str() == "node-b"),
            vec!["q"],
            "node-b",
        ),
        (
            "on the segment",
            |_, node| {
                let is_on = node.candidate.node.as_str() == "node-a";
                node.on_segment = vec![if is_on { Known::Yes } else { Known::No }];
            },
            vec!["p", "q"],
            "node-a",
        ),
    ];
    for (what, spoil, names, owner) in rows {
        let found = elected(&two, spoil);
        let names = names.into_iter().map(str::to_owned).collect();
        assert_eq!(found, [(names, owner.to_owned(), ip("10.0.0.1"))], "{what}");
    }
}
