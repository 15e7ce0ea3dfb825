//! When the status is written, and what is said (C70 to C72, S1, S3, W23).

use ferrolb_api::Service;
use ferrolb_api::service::Ingress;

use super::world::{World, carrying, ip, key, labels, lb, lb_with, pool};
use crate::{Effect, Input, Notice, Settings};

fn small() -> World {
    World::new(vec![pool("a", &["10.0.0.0/31"])])
}

#[test]
fn w23_what_stands_is_not_written_again() {
    let mut world = small();
    world.apply(lb("s"));
    assert_eq!(world.writes, 1);
    world.forget_what_was_said();
    for _ in 0..3 {
        world.tell_all();
        world.tell_resources();
        world.edit("s", |service| service.labels = labels(&[("a", "b")]));
    }
    assert_eq!((world.writes, world.events.len(), world.notices.len()), (1, 0, 0));
}

#[test]
fn c71_entries_without_an_address_are_left_alone() {
    let mut world = small();
    let mut service = carrying(lb("s"), &["10.0.0.1"], "a");
    service.ingress.push(Ingress::Hostname("lb.example.org".to_owned()));
    world.apply(service);
    assert_eq!(world.writes, 0);
}

#[test]
fn c72_a_missing_or_wrong_annotation_is_written() {
    for annotation in [None, Some("z")] {
        let mut world = small();
        let mut service = carrying(lb("s"), &["10.0.0.1"], "a");
        service.annotations.allocated_from_pool = annotation.map(str::to_owned);
        world.apply(service);
        assert_eq!((world.origin("s"), world.writes, world.vips("s").as_str()), (Some("a"), 1, "10.0.0.1"));
    }
}

#[test]
fn a_lost_write_is_asked_for_again_with_the_same_address() {
    let mut world = small();
    world.hold_writes = true;
    world.apply(lb("s"));
    world.apply(lb("t"));
    // Each newer view is answered, with its own version.
    world.edit("s", |service| service.labels = labels(&[("a", "b")]));
    world.edit("s", |service| service.labels = labels(&[("a", "c")]));
    // So is the very same view.
    let view = world.service("s").clone();
    world.handle(Input::Service(Box::new(view)));
    let for_s: Vec<(&str, String)> = world
        .on_their_way
        .iter()
        .filter_map(|effect| match effect {
            Effect::WriteService { service, resource_version, addresses, .. } if *service == key("s") => {
                Some((resource_version.as_str(), addresses[0].to_string()))
            }
            _ => None,
        })
        .collect();
    let versions = ["101", "103", "104", "104"].map(|version| (version, "10.0.0.0".to_owned()));
    assert_eq!(for_s, versions);
    assert_eq!(world.reasons("s"), ["IPAllocated"]);
    while !world.on_their_way.is_empty() {
        world.land();
    }
    assert_eq!(
        (world.vips("s").as_str(), world.vips("t").as_str(), world.writes),
        ("10.0.0.0", "10.0.0.1", 2)
    );
}

#[test]
fn other_inputs_do_not_repeat_a_write() {
    let mut world = small();
    world.hold_writes = true;
    world.apply(lb("s"));
    world.tell_resources();
    world.tell_pools(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("t"));
    world.delete("t");
    let for_s = world
        .on_their_way
        .iter()
        .filter(|effect| matches!(effect, Effect::WriteService { service, .. } if *service == key("s")));
    assert_eq!(for_s.count(), 1);
}

#[test]
fn s1_an_address_is_nobody_elses_before_the_store_has_let_go_of_it() {
    let changes: [fn(&mut Service); 3] = [
        |service| service.is_load_balancer = false,
        |service| service.annotations.address_pool = Some("b".to_owned()),
        |service| service.cluster_ips.clear(),
    ];
    for change in changes {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/32"]), pool("b", &["10.1.0.0/32"])]);
        let waiting = || lb_with("t", |service| service.annotations.address_pool = Some("a".to_owned()));
        world.apply(lb("s"));
        world.apply(waiting());
        world.hold_writes = true;
        world.edit("s", change);
        assert_eq!(world.on_their_way.len(), 1);
        assert_eq!((world.vips("s").as_str(), world.vips("t").as_str()), ("10.0.0.0", ""));
        world.hold_writes = false;
        world.land();
        assert_eq!(world.vips("t"), "10.0.0.0");
    }
}

#[test]
fn s3_a_status_wiped_by_hand_is_restored() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("first"));
    world.apply(lb("s"));
    world.delete("first");
    world.edit("s", |service| {
        service.ingress.clear();
        service.annotations.allocated_from_pool = None;
    });
    assert_eq!((world.vips("s").as_str(), world.origin("s")), ("10.0.0.1", Some("a")));
}

#[test]
fn a_second_writer_is_named_once_and_answered_ever_more_slowly() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("s"));
    world.reasons("s");
    let overwrite = |world: &mut World| {
        world.edit("s", |service| {
            service.ingress = vec![Ingress::Ip(ip("192.0.2.1"))];
            service.status_writer = Some("other-lb".to_owned());
        });
    };
    overwrite(&mut world);
    let [said] = <[String; 1]>::try_from(world.texts("s")).expect("it is told");
    for fragment in ["statusOverwritten", "\"other-lb\"", "192.0.2.1", "10.0.0.0 is assigned"] {
        assert!(said.contains(fragment), "{said}");
    }
    assert_eq!(world.vips("s"), "10.0.0.0", "the first time may have been a slip of a hand");
    let mut pauses = Vec::new();
    for _ in 0..10 {
        overwrite(&mut world);
        assert_eq!(world.vips("s"), "192.0.2.1", "not fought");
        // Whatever else comes in meanwhile changes nothing.
        world.tell_all();
        world.tell_resources();
        assert_eq!(world.vips("s"), "192.0.2.1");
        pauses.push(world.wait_for_timeout().as_secs());
        assert_eq!(world.vips("s"), "10.0.0.0");
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(world.texts("s"), Vec::<String>::new(), "said once");
    // A change that the user asks for is made at once, whoever else writes.
    overwrite(&mut world);
    world.edit("s", |service| service.annotations.load_balancer_ips = Some("10.0.0.3".to_owned()));
    assert_eq!(world.vips("s"), "10.0.0.3");
    let writes = world.writes;
    world.wait_for_timeout();
    assert_eq!((world.writes, world.controller.poll_timeout()), (writes, None), "nothing is left to be done");
}

#[test]
fn a_second_writer_is_told_of_in_one_event() {
    for (has_address, written, parts) in [
        (true, "192.0.2.1", &["192.0.2.1", "where 10.0.0.0 is assigned; it is put back"][..]),
        (true, "10.0.0.1", &["10.0.0.1", "where 10.0.0.0 is assigned; it is put back"]),
        (true, "", &["no address", "where 10.0.0.0 is assigned; it is put back"]),
        (false, "192.0.2.1", &["192.0.2.1", "where Ferrolb has given it none; it is taken out again"]),
        (false, "10.0.0.1", &["10.0.0.1", "where Ferrolb has given it none; it is taken out again"]),
    ] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/31"])]);
        for name in if has_address { ["s", "other"] } else { ["another", "other"] } {
            world.apply(lb(name));
        }
        if !has_address {
            world.apply(lb("s"));
        }
        world.texts("s");
        let overwrite = |world: &mut World| {
            world.edit("s", |service| {
                service.ingress = written.parse().map(Ingress::Ip).into_iter().collect();
                service.status_writer = Some("other-lb".to_owned());
            });
            world.texts("s")
        };
        let told = overwrite(&mut world);
        assert_eq!(told.len(), 1, "{has_address}, {written:?}: {told:#?}");
        for part in [&["statusOverwritten", "\"other-lb\""][..], parts].concat() {
            assert!(told[0].contains(part), "{has_address}, {written:?}: {told:?}");
        }
        let expected = if has_address { "10.0.0.0" } else { "" };
        assert_eq!(world.vips("s"), expected, "{written:?}");
        assert_eq!(overwrite(&mut world), Vec::<String>::new(), "{has_address}, {written:?}: said once");
    }
}

#[test]
fn another_address_written_by_another_controller_is_adopted_if_it_is_free() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"])]);
    world.apply(lb("s"));
    world.apply(lb("t"));
    world.edit("s", |service| *service = carrying(service.clone(), &["10.0.0.3"], "a"));
    assert_eq!(world.vips("s"), "10.0.0.3");
    world.edit("s", |service| *service = carrying(service.clone(), &["10.0.0.1"], "a"));
    assert_eq!((world.vips("s").as_str(), world.vips("t").as_str()), ("10.0.0.3", "10.0.0.1"));
}

#[test]
fn s3_a_list_older_than_the_watch_moves_nobody() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/30"]), pool("b", &["10.1.0.0/30"])]);
    world.apply(lb("s"));
    let old = world.service("s").clone();
    world.edit("s", |service| service.annotations.load_balancer_ips = Some("10.0.0.3".to_owned()));
    world.edit("s", |service| service.annotations.load_balancer_ips = None);
    assert_eq!(world.vips("s"), "10.0.0.3");
    world.handle(Input::Services(vec![old]));
    let held = world.controller.assignments().next().expect("s holds an address").addresses[0].to_string();
    assert_eq!((held.as_str(), world.vips("s").as_str()), ("10.0.0.3", "10.0.0.3"));
    world.tell_all();
    assert_eq!(world.vips("s"), "10.0.0.3");
}

#[test]
fn events_are_said_once_until_they_change() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/32"])]);
    world.apply(lb("first"));
    world.apply(lb("s"));
    assert_eq!(world.reasons("s"), ["AllocationFailed"]);
    for _ in 0..3 {
        world.tell_all();
        world.edit("s", |service| service.labels = labels(&[("a", "b")]));
        world.apply(lb("other"));
        world.delete("other");
    }
    assert_eq!(world.reasons("s"), Vec::<&str>::new());
    // Another cause is worth saying.
    world.edit("s", |service| service.annotations.address_pool = Some("x".to_owned()));
    assert_eq!(world.reasons("s"), ["AllocationFailed"]);
    // And so is the old one when it comes back.
    world.edit("s", |service| service.annotations.address_pool = None);
    assert_eq!(world.reasons("s"), ["AllocationFailed"]);
    let unassigned = world
        .notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Unassigned { service, .. } if *service == key("s")));
    assert_eq!(unassigned.count(), 3);
}

#[test]
fn c10_notices_tell_what_was_lost() {
    let mut world = small();
    world.apply(lb("s"));
    world.forget_what_was_said();
    world.delete("s");
    let expected = Notice::Cleared {
        service: key("s"),
        addresses: vec![ip("10.0.0.0")],
        reason: "the Service is deleted".to_owned(),
    };
    assert_eq!(world.notices, [expected]);
}

#[test]
fn a_restart_in_the_middle_of_a_write() {
    for lands in [true, false] {
        let mut world = World::new(vec![pool("a", &["10.0.0.0/31"])]);
        world.hold_writes = true;
        world.apply(lb("s"));
        world.hold_writes = false;
        if lands {
            world.land();
        }
        world.restart(Settings::default());
        assert_eq!((world.vips("s").as_str(), world.writes), ("10.0.0.0", usize::from(!lands)));
    }
}
