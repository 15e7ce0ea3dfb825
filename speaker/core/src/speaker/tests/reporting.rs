//! What people are told, by several speakers and the objects that they share.

use super::together::Lan;
use super::*;
use crate::effect::L2StatusChange;
use ferrolb_api::L2Status;
use ferrolb_api::l2_status::Subject;

/// The objects as an API server keeps them, and the speakers that watch them.
struct Cluster {
    lan: Lan,
    objects: BTreeMap<String, L2Status>,
    revision: u64,
    /// How many of `lan.told` were carried out.
    done: usize,
    /// Changes that were carried out: when, by whom, which.
    writes: Vec<(Time, usize, &'static str)>,
    is_reachable: bool,
}

impl Cluster {
    fn new(count: usize, services: &[Service]) -> Self {
        let lan = Lan::new(count, services);
        let mut cluster = Self {
            lan,
            objects: BTreeMap::new(),
            revision: 0,
            done: 0,
            writes: Vec::new(),
            is_reachable: true,
        };
        for node in 0..count {
            cluster.lan.handle(node, Input::L2Statuses(vec![]));
        }
        cluster
    }

    /// Time goes on, and every ten milliseconds what was asked for is done.
    fn run_for(&mut self, duration: Duration) {
        let end = self.lan.now + duration;
        while self.lan.now < end {
            self.lan.run_for(ms(10));
            while self.done < self.lan.told.len() {
                let (at, node, report) = self.lan.told[self.done].clone();
                self.done += 1;
                if let Report::L2Status { name, change } = report
                    && self.is_reachable
                {
                    self.carry_out(at, node, name, change);
                }
            }
        }
    }

    fn carry_out(&mut self, at: Time, node: usize, name: String, change: L2StatusChange) {
        self.revision += 1;
        let resource_version = self.revision.to_string();
        let stands = self.objects.get(&name).cloned();
        let (verb, object) = match (change, stands) {
            (L2StatusChange::Create(subject), None) => {
                let uid = format!("uid-{}", self.revision);
                let labels = Some(subject);
                let (content, announced_since) = (None, None);
                ("create", Some(L2Status { name, uid, resource_version, labels, content, announced_since }))
            }
            (L2StatusChange::Write { content, resource_version: decided_on, .. }, Some(old))
                if old.resource_version == decided_on =>
            {
                ("write", Some(L2Status { resource_version, content: Some(content), ..old }))
            }
            (L2StatusChange::Delete { uid }, Some(old))
                if uid.is_none() || uid.as_ref() == Some(&old.uid) =>
            {
                self.writes.push((at, node, "delete"));
                return self.remove(&name);
            }
            (change, _) => panic!("{node} asks for what changes nothing: {change:?}"),
        };
        self.writes.push((at, node, verb));
        if let Some(object) = object {
            self.put(object);
        }
    }

    fn put(&mut self, object: L2Status) {
        self.objects.insert(object.name.clone(), object.clone());
        for node in 0..self.lan.speakers.len() {
            self.lan.handle(node, Input::L2Status(Box::new(object.clone())));
        }
    }

    fn remove(&mut self, name: &str) {
        self.objects.remove(name);
        for node in 0..self.lan.speakers.len() {
            self.lan.handle(node, Input::L2StatusGone(name.to_owned()));
        }
    }

    /// Who announces which Service, by the objects.
    fn shown(&self) -> Vec<(String, String)> {
        let shown = self.objects.values().filter_map(|object| {
            let content = object.content.as_ref()?;
            assert_eq!(object.labels.as_ref(), Some(&content.subject), "{object:?}");
            let Subject { node, service } = &content.subject;
            Some((service.name().to_owned(), node.to_string()))
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    /// The same by what the speakers answer.
    fn announced(&self) -> Vec<(String, String)> {
        let speakers = self.lan.speakers.iter().enumerate();
        let speakers = speakers.filter_map(|(node, speaker)| Some((node, speaker.as_ref()?)));
        let mut all: Vec<(String, String)> = speakers
            .flat_map(|(node, speaker)| {
                let names = speaker.announced().map(|entry| entry.service.name().to_owned());
                names.map(move |service| (service, name(node).to_string())).collect::<Vec<_>>()
            })
            .collect();
        all.sort();
        all
    }

    /// What was carried out since the last call, by verb.
    fn take_writes(&mut self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (_, _, verb) in self.writes.drain(..) {
            *counts.entry(verb).or_default() += 1;
        }
        counts
    }

    fn complaints(&self) -> Vec<(Time, usize, String)> {
        let complaint = |(at, node, report): &(Time, usize, Report)| match report {
            Report::Event { reason: EventReason::NotAnnounced, message, .. } => {
                Some((*at, *node, message.clone()))
            }
            _ => None,
        };
        self.lan.told.iter().filter_map(complaint).collect()
    }
}

fn services(count: u8) -> Vec<Service> {
    (1..=count).map(|last| service(&format!("s{last:02}"), &[vip(last).into()])).collect()
}

#[test]
fn a41_d82_h2_w36_objects_follow_the_announcements() {
    let mut cluster = Cluster::new(3, &services(30));
    cluster.run_for(ms(6_000));
    assert_eq!(cluster.shown(), cluster.announced());
    assert_eq!(cluster.shown().len(), 30);
    assert_eq!(cluster.take_writes(), [("create", 30), ("write", 30)].into());

    // H2: and then nothing more is written, whatever repeats itself.
    for service in services(30) {
        for node in 0..3 {
            cluster.lan.handle(node, Input::Service(Box::new(service.clone())));
        }
    }
    cluster.run_for(ms(600_000));
    assert_eq!(cluster.take_writes(), [].into());

    // W36: a node dies; the winners remove what it left and write their own.
    let lost = cluster.shown().iter().filter(|(_, node)| *node == name(0).to_string()).count();
    assert!(lost > 3, "{lost}");
    cluster.lan.speakers[0] = None;
    cluster.run_for(ms(6_000));
    assert_eq!(cluster.shown(), cluster.announced());
    assert_eq!(cluster.shown().len(), 30);
    assert_eq!(cluster.take_writes(), [("create", lost), ("delete", lost), ("write", lost)].into());

    // Gone Services have no objects.
    for node in 1..3 {
        cluster.lan.handle(node, Input::Services(services(10)));
    }
    cluster.run_for(ms(6_000));
    assert_eq!((cluster.shown(), cluster.take_writes()), (cluster.announced(), [("delete", 20)].into()));
}

#[test]
fn h135_what_is_deleted_or_edited_is_made_right() {
    let mut cluster = Cluster::new(2, &services(4));
    cluster.run_for(ms(6_000));
    let right = cluster.shown();
    let first = cluster.objects.values().next().cloned().expect("there are four");
    cluster.remove(&first.name);
    cluster.run_for(ms(1_000));
    assert_eq!(cluster.shown(), right, "deleted");
    let mut edited = cluster.objects[&first.name].clone();
    edited.content.as_mut().expect("it has one").interfaces.push("eth7".to_owned());
    cluster.revision += 1;
    edited.resource_version = cluster.revision.to_string();
    cluster.put(edited);
    cluster.run_for(ms(2_000));
    let healed = cluster.objects[&first.name].content.clone().expect("it has one");
    assert_eq!(Some(healed), first.content, "edited");
    // A redundant one of the same node, and one of a node that never was.
    let strange = |name: &str, node: &str| {
        let mut object = first.clone();
        let service = first.labels.clone().expect("it has them").service;
        let node = match node {
            "" => first.labels.clone().expect("it has them").node,
            node => node.into(),
        };
        (object.name, object.labels, object.content) =
            (name.to_owned(), Some(Subject { node, service }), None);
        object
    };
    cluster.put(strange("l2-abcde", ""));
    cluster.put(strange("l2-fghij", "gone"));
    cluster.run_for(ms(2_000));
    assert_eq!(cluster.objects.len(), 4);
    assert_eq!(cluster.shown(), right);
}

#[test]
fn w36_what_a_dead_node_left_goes_even_if_nobody_takes_over() {
    let mut cluster = Cluster::new(2, &services(6));
    cluster.run_for(ms(6_000));
    let left = cluster.shown().iter().filter(|(_, node)| *node == name(0).to_string()).count();
    assert!(left > 0);
    cluster.is_reachable = false;
    cluster.lan.speakers[0] = None;
    cluster.lan.handle(1, Input::EndpointSlices(vec![]));
    cluster.run_for(ms(10_000));
    cluster.is_reachable = true;
    // What was asked for is lost; it is asked for again.
    cluster.run_for(ms(61_000));
    assert_eq!(cluster.objects, BTreeMap::new());
}

/// The API server comes first in nothing: without it all goes on, and once it is
/// back the objects are as if it had been there.
#[test]
fn w36_an_unreachable_api_server_delays_nothing() {
    let mut cluster = Cluster::new(3, &services(20));
    cluster.run_for(ms(6_000));
    cluster.is_reachable = false;
    cluster.lan.speakers[0] = None;
    cluster.run_for(ms(4_000));
    let moved = cluster.announced();
    assert_eq!(moved.len(), 20);
    assert_ne!(cluster.shown(), moved);
    cluster.run_for(ms(600_000));
    // Each minute each missing object is asked for once, not more.
    let asked = cluster.lan.told.iter().filter(|(at, ..)| *at > at_seconds(60)).count();
    assert!(asked < 20 * 11 * 2, "{asked}");
    cluster.is_reachable = true;
    cluster.run_for(ms(62_000));
    assert_eq!(cluster.shown(), moved);
}

fn at_seconds(seconds: u64) -> Time {
    at(seconds * 1_000)
}

#[test]
fn a45_h16_named_interfaces_are_listed_by_name() {
    let mut cluster = Cluster::new(1, &services(1));
    let speaker = cluster.lan.speakers[0].as_mut().expect("it runs");
    configure(speaker, at(0), config(&["eth1", "eth0"]));
    cluster.run_for(ms(5_000));
    let [object] = &cluster.objects.values().collect::<Vec<_>>()[..] else { panic!("one object") };
    let content = object.content.as_ref().expect("it has one");
    assert_eq!(content.interfaces, ["eth0", "eth1"]);
    let message = content.announced.as_deref();
    assert_eq!(message, Some("node wk01 answers for 172.16.16.1 on eth0, eth1"));
}

#[test]
fn not_announced_is_said_by_one_speaker_after_five_seconds_and_once() {
    let mut cluster = Cluster::new(3, &services(12));
    cluster.run_for(ms(30_000));
    assert_eq!(cluster.complaints(), []);
    let began = cluster.lan.now;
    for node in 0..3 {
        cluster.lan.handle(node, Input::EndpointSlices(vec![]));
    }
    cluster.run_for(ms(4_900));
    assert_eq!(cluster.complaints(), [], "it may go away by itself");
    cluster.run_for(ms(300_000));
    let complaints = cluster.complaints();
    assert_eq!(complaints.len(), 12, "one for each Service: {complaints:?}");
    assert!(complaints.iter().all(|(at, ..)| *at - began < ms(5_200)), "{complaints:?}");
    let speakers: BTreeSet<usize> = complaints.iter().map(|(_, node, _)| *node).collect();
    assert!(speakers.len() > 1, "not all by the same node");
    assert!(complaints[0].2.starts_with("no node announces it: no endpoint"), "{complaints:?}");

    // The one that spoke dies: the next says nothing again.
    cluster.lan.speakers[complaints[0].1] = None;
    cluster.run_for(ms(60_000));
    assert_eq!(cluster.complaints().len(), 12);
}

#[test]
fn not_announced_is_said_again_for_another_reason() {
    let mut cluster = Cluster::new(2, &services(1));
    cluster.run_for(ms(10_000));
    for node in 0..2 {
        cluster.lan.handle(node, Input::EndpointSlices(vec![]));
    }
    cluster.run_for(ms(10_000));
    for node in 0..2 {
        cluster.lan.handle(node, Input::Nodes(vec![]));
        cluster.lan.handle(node, Input::EndpointSlices(vec![slice("s01", &[(0, true)])]));
    }
    cluster.run_for(ms(10_000));
    let messages: Vec<String> = cluster.complaints().into_iter().map(|(.., message)| message).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[1].contains("match no Node"), "{messages:?}");
    // A moment is no reason: it recovers within the five seconds.
    for node in 0..2 {
        cluster.lan.handle(node, Input::Nodes((0..2).map(super::node).collect()));
    }
    cluster.run_for(ms(10_000));
    assert_eq!(cluster.announced().len(), 1);
    for (input, pause) in [(vec![], 4_000), (vec![slice("s01", &[(0, true)])], 10_000)] {
        for node in 0..2 {
            cluster.lan.handle(node, Input::EndpointSlices(input.clone()));
        }
        cluster.run_for(ms(pause));
    }
    assert_eq!(cluster.complaints().len(), 2);
}

#[test]
fn reporting_never_delays_a_takeover() {
    let all: Vec<Service> = (0..2_000_u32)
        .map(|number| {
            let [.., third, last] = number.to_be_bytes();
            service(&format!("s{number:04}"), &[Ipv4Addr::new(10, 7, third, last).into()])
        })
        .collect();
    let mut speaker = Speaker::new(without_membership(0));
    tell(&mut speaker, at(0), 0, 1, &all);
    let mut config = config(&[]);
    let pool = config.pools.get_mut("main").expect("it is there");
    pool.ranges = vec!["10.7.0.0/16".parse().expect("it is a range")];
    configure(&mut speaker, at(0), config);
    speaker.handle(at(0), Input::L2Statuses(vec![]));
    let effects = drain(&mut speaker);
    assert_eq!(speaker.announced().count(), 2_000);
    assert!(
        !reports(&effects).any(|report| matches!(report, Report::L2Status { .. })),
        "not in the same step"
    );
    // And then a few at a time.
    let mut created = 0;
    while created < 2_000 {
        let now = speaker.poll_timeout().expect("there is more to say");
        assert!(now < at(2_000), "{created} after {now}");
        speaker.handle(now, Input::Timeout);
        let count = reports(&drain(&mut speaker))
            .filter(|report| matches!(report, Report::L2Status { change: L2StatusChange::Create(_), .. }))
            .count();
        assert!(count <= crate::status::schedule::STEP, "{count} in one step");
        created += count;
    }
    assert_eq!(speaker.counters().pauses, 0);
}
