//! Which changes follow from what stands.

use super::*;

const SELF: &str = "wk01";

/// The nodes as `wk01` sees them.
struct Seen {
    alive: Vec<&'static str>,
    speaks: bool,
    own: NodeName,
}

impl Nodes for Seen {
    fn own(&self) -> &NodeName {
        &self.own
    }

    fn is_alive(&self, node: &NodeName) -> bool {
        self.alive.contains(&node.as_str())
    }

    fn speaks_for(&self, _: &ServiceKey) -> bool {
        self.speaks
    }
}

fn seen(alive: &[&'static str], speaks: bool) -> Seen {
    Seen { alive: alive.to_vec(), speaks, own: SELF.into() }
}

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1_000)
}

fn web() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn of(node: &str) -> Subject {
    Subject { node: node.into(), service: web() }
}

fn content(node: &str, interfaces: &[&str]) -> L2StatusContent {
    L2StatusContent {
        subject: of(node),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        announced: Some("it answers".to_owned()),
    }
}

/// The object that `node` makes, as it stands with this content.
fn object(node: &str, content: Option<L2StatusContent>) -> L2Status {
    L2Status {
        name: name(&of(node)),
        uid: format!("uid-{node}"),
        resource_version: "7".to_owned(),
        labels: Some(of(node)),
        content,
        announced_since: None,
    }
}

fn told(objects: Vec<L2Status>) -> L2Statuses {
    let mut statuses = L2Statuses::default();
    statuses.set_all(objects);
    statuses
}

fn ours(interfaces: &[&str]) -> Announcer {
    Announcer::Us(Some(content(SELF, interfaces)))
}

fn verbs(changes: &Changes) -> Vec<(&str, &str)> {
    let verb = |change: &L2StatusChange| match change {
        L2StatusChange::Create(_) => "create",
        L2StatusChange::Write { .. } => "write",
        L2StatusChange::Delete { .. } => "delete",
    };
    changes.changes.iter().map(|(name, change)| (name.as_str(), verb(change))).collect()
}

#[test]
fn a41_a_name_begins_as_metallbs_and_is_of_one_node_and_service() {
    let names: BTreeSet<String> = [of("wk01"), of("wk02")].iter().map(name).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.starts_with("l2-") && name.len() == 23), "{names:?}");
    // Across versions, or a rollout would leave objects behind.
    assert_eq!(name(&of("wk01")), "l2-f7b8525b4cb8c6046fcd");
}

/// What one look asks for, by what stands and who announces.
#[test]
fn d82_h135_w36_what_is_asked_for() {
    let own = name(&of(SELF));
    let other = name(&of("wk02"));
    let whole = |node: &str| object(node, Some(content(node, &["eth0"])));
    let named = |name: &str| L2Status { name: name.to_owned(), ..whole(SELF) };
    let relabelled = L2Status { labels: Some(of("wk03")), ..whole(SELF) };
    let bare = L2Status { labels: None, content: None, ..whole(SELF) };
    let conditionless = object(SELF, Some(L2StatusContent { announced: None, ..content(SELF, &["eth0"]) }));
    let alive = &["wk01", "wk02"][..];
    let alone = &["wk01"][..];
    for (case, objects, announcer, nodes, expected) in [
        ("new", vec![], ours(&["eth0"]), seen(alive, true), vec![(own.as_str(), "create")]),
        ("created", vec![object(SELF, None)], ours(&["eth0"]), seen(alive, true), vec![(&own, "write")]),
        ("stands", vec![whole(SELF)], ours(&["eth0"]), seen(alive, true), vec![]),
        ("other interfaces", vec![whole(SELF)], ours(&["eth1"]), seen(alive, true), vec![(&own, "write")]),
        ("all interfaces", vec![whole(SELF)], ours(&[]), seen(alive, true), vec![(&own, "write")]),
        ("no condition", vec![conditionless], ours(&["eth0"]), seen(alive, true), vec![(&own, "write")]),
        ("lost", vec![whole(SELF)], Announcer::Another, seen(alive, false), vec![(&own, "delete")]),
        ("withdrawn", vec![whole(SELF)], Announcer::Nobody, seen(alive, false), vec![(&own, "delete")]),
        ("D44", vec![whole(SELF)], Announcer::Us(None), seen(alive, false), vec![(&own, "delete")]),
        (
            "redundant",
            vec![whole(SELF), named("l2-abcde"), named("l2-fghij")],
            ours(&["eth0"]),
            seen(alive, false),
            vec![("l2-abcde", "delete"), ("l2-fghij", "delete")],
        ),
        ("labels edited", vec![relabelled], ours(&["eth0"]), seen(alive, false), vec![(&own, "delete")]),
        ("labels gone", vec![bare], ours(&["eth0"]), seen(alive, false), vec![(&own, "delete")]),
        // W36: the winner takes away what a dead node left, and leaves a live one its own.
        (
            "dead loser",
            vec![whole("wk02"), whole(SELF)],
            ours(&["eth0"]),
            seen(alone, false),
            vec![(&other, "delete")],
        ),
        ("live loser", vec![whole("wk02"), whole(SELF)], ours(&["eth0"]), seen(alive, false), vec![]),
        ("not ours to say", vec![whole("wk02")], Announcer::Another, seen(alone, true), vec![]),
        // Nobody announces it: one of the living clears up after the dead.
        ("left behind", vec![whole("wk02")], Announcer::Nobody, seen(alone, true), vec![(&other, "delete")]),
        ("another does it", vec![whole("wk02")], Announcer::Nobody, seen(alone, false), vec![]),
        ("its node does it", vec![whole("wk02")], Announcer::Nobody, seen(alive, true), vec![]),
        ("nothing", vec![], Announcer::Nobody, seen(alive, true), vec![]),
    ] {
        let mut statuses = told(objects);
        let changes = statuses.look_at(at(0), &web(), &announcer, &nodes);
        assert_eq!(verbs(&changes), expected, "{case}");
        // Asked once: the same look again asks for nothing.
        let again = statuses.look_at(at(10), &web(), &announcer, &nodes);
        assert_eq!(verbs(&again), [], "{case}, again");
        assert_eq!(again.again.is_some(), !expected.is_empty() || case == "live loser", "{case}");
    }
}

#[test]
fn d82_nothing_is_asked_for_before_the_objects_are_known() {
    let mut statuses = L2Statuses::default();
    let nodes = seen(&["wk01"], true);
    assert_eq!(statuses.look_at(at(0), &web(), &ours(&[]), &nodes), Changes::default());
    statuses.set_all(Vec::new());
    let created = statuses.look_at(at(1), &web(), &ours(&[]), &nodes);
    assert_eq!(created.changes, [(name(&of(SELF)), L2StatusChange::Create(of(SELF)))]);
}

#[test]
fn d82_a_live_loser_has_five_seconds_and_no_more() {
    let nodes = seen(&["wk01", "wk02"], false);
    let both = || vec![object("wk02", Some(content("wk02", &[]))), object(SELF, Some(content(SELF, &[])))];
    let mut statuses = told(both());
    let first = statuses.look_at(at(100), &web(), &ours(&[]), &nodes);
    assert_eq!((verbs(&first), first.again), (vec![], Some(at(5_100))));
    let later = statuses.look_at(at(5_100), &web(), &ours(&[]), &nodes);
    let other = name(&of("wk02"));
    assert_eq!(later.changes, [(other, L2StatusChange::Delete { uid: Some("uid-wk02".to_owned()) })]);
}

#[test]
fn d82_a_create_that_is_not_seen_is_taken_back() {
    let mut statuses = told(Vec::new());
    let nodes = seen(&["wk01"], false);
    statuses.look_at(at(0), &web(), &ours(&[]), &nodes);
    let lost = statuses.look_at(at(1), &web(), &Announcer::Another, &nodes);
    assert_eq!(lost.changes, [(name(&of(SELF)), L2StatusChange::Delete { uid: None })]);
    assert_eq!(statuses.look_at(at(2), &web(), &Announcer::Another, &nodes), Changes::default());
}

#[test]
fn d82_a_write_overtakes_a_deletion_that_is_not_carried_out() {
    let mut statuses = told(vec![object(SELF, Some(content(SELF, &[])))]);
    let nodes = seen(&["wk01"], false);
    let lost = statuses.look_at(at(0), &web(), &Announcer::Another, &nodes);
    assert_eq!(verbs(&lost), [(name(&of(SELF)).as_str(), "delete")]);
    let won = statuses.look_at(at(1), &web(), &ours(&[]), &nodes);
    assert_eq!(verbs(&won), [(name(&of(SELF)).as_str(), "write")]);
}

#[test]
fn what_is_lost_on_the_way_is_asked_for_again_each_minute() {
    let mut statuses = told(Vec::new());
    let nodes = seen(&["wk01"], false);
    let mut asked = Vec::new();
    let mut now = at(0);
    for _ in 0..5 {
        let changes = statuses.look_at(now, &web(), &ours(&[]), &nodes);
        assert_eq!(verbs(&changes).len(), 1);
        asked.push(now);
        now = changes.again.expect("it has not been seen");
    }
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] == REPEAT), "{asked:?}");
}

/// Two that do not hear each other both own the Service, and each takes the
/// other's object away.
#[test]
fn w36_the_sides_of_a_partition_do_not_fight_at_full_speed() {
    let mut statuses = told(vec![object(SELF, Some(content(SELF, &[])))]);
    let nodes = seen(&["wk01"], false);
    let mut deletions = Vec::new();
    let mut now = at(0);
    while now < at(3_600_000) {
        statuses.set(object("wk02", Some(content("wk02", &[]))));
        let changes = statuses.look_at(now, &web(), &ours(&[]), &nodes);
        if changes.changes.is_empty() {
            now = changes.again.expect("it is still there");
        } else {
            deletions.push(now);
            statuses.remove(&name(&of("wk02")));
        }
    }
    assert!((50..80).contains(&deletions.len()), "{} in an hour", deletions.len());
    assert_eq!((deletions[0], deletions[1]), (at(0), at(1_000)));
}

#[test]
fn an_object_that_is_deleted_by_hand_comes_back_at_once() {
    let whole = object(SELF, Some(content(SELF, &[])));
    let mut statuses = told(vec![whole.clone()]);
    let nodes = seen(&["wk01"], false);
    for minute in 1..4 {
        let now = at(minute * 60_000);
        assert_eq!(statuses.remove(&whole.name), BTreeSet::from([web()]));
        assert_eq!(
            verbs(&statuses.look_at(now, &web(), &ours(&[]), &nodes)),
            [(whole.name.as_str(), "create")]
        );
        assert_eq!(statuses.set(object(SELF, None)), BTreeSet::from([web()]));
        assert_eq!(
            verbs(&statuses.look_at(now, &web(), &ours(&[]), &nodes)),
            [(whole.name.as_str(), "write")]
        );
        statuses.set(whole.clone());
        assert_eq!(verbs(&statuses.look_at(now, &web(), &ours(&[]), &nodes)), []);
    }
}

/// Under MetalLB's own CRD the API server drops our condition.
#[test]
fn a_condition_that_is_pruned_is_not_written_for_ever() {
    let mut statuses = told(vec![object(SELF, None)]);
    let nodes = seen(&["wk01"], false);
    let without = L2StatusContent { announced: None, ..content(SELF, &["eth0"]) };
    let mut writes = 0;
    for second in 0..1_000 {
        let changes = statuses.look_at(at(second * 1_000), &web(), &ours(&["eth0"]), &nodes);
        for (_, change) in changes.changes {
            assert!(matches!(change, L2StatusChange::Write { .. }), "{change:?}");
            writes += 1;
            statuses.set(object(SELF, Some(without.clone())));
        }
    }
    assert_eq!(writes, 1);
    let changed = statuses.look_at(at(2_000_000), &web(), &ours(&["eth1"]), &nodes);
    assert_eq!(changed.changes.len(), 1, "what else differs is still written");
    // The CRD is ours now.
    statuses.set(object(SELF, Some(content(SELF, &["eth0"]))));
    statuses.set(object(SELF, Some(without)));
    assert_eq!(statuses.look_at(at(3_000_000), &web(), &ours(&["eth0"]), &nodes).changes.len(), 1);
}

#[test]
fn a_time_that_stands_is_kept() {
    let since = Some(ferrolb_api::l2_status::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    let mut statuses = told(vec![L2Status { announced_since: since.clone(), ..object(SELF, None) }]);
    let changes = statuses.look_at(at(0), &web(), &ours(&[]), &seen(&["wk01"], false));
    let [(_, L2StatusChange::Write { since: written, resource_version, .. })] = changes.changes.as_slice()
    else {
        panic!("one write: {changes:?}");
    };
    assert_eq!((written, resource_version.as_str()), (&since, "7"));
}

#[test]
fn memory_is_bounded_by_time() {
    let mut statuses = told(Vec::new());
    let nodes = seen(&["wk01"], false);
    for number in 0..10_000 {
        let service = ServiceKey::new("default", number.to_string());
        let subject = Subject { node: SELF.into(), service: service.clone() };
        let wanted = L2StatusContent { subject, ..content(SELF, &[]) };
        statuses.look_at(at(number * 1_000), &service, &Announcer::Us(Some(wanted)), &nodes);
        statuses.look_at(at(number * 1_000), &service, &Announcer::Nobody, &nodes);
    }
    assert!(statuses.asked.len() <= 301 && statuses.log.len() <= 301, "{}", statuses.asked.len());
    assert!(statuses.owned.is_empty());
}
