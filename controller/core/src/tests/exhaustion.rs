//! What is said when there is no address: which pools were tried, and who has
//! their addresses (F24).

use ferrolb_api::service::FamilyPolicy;

use super::world::{World, dual, exclusion, lb, lb_with, lb6, pinned, pool, pool_with, port, reservation};

#[test]
fn f24_every_pool_that_was_tried_and_why_it_refused() {
    let mut world = World::new(vec![
        pool("a-full", &["10.0.0.0/31"]),
        pinned("b-pinned", &["10.0.1.0/24"], |allocation| allocation.namespaces = vec!["shop".to_owned()]),
        pool_with("c-manual", &["10.0.2.0/24"], |spec| spec.auto_assign = false),
        pool("d-six", &["fd00::/64"]),
        pool("e-typo", &["10.0.3.0/33"]),
        pool_with("f-held", &["10.0.4.0/32"], |spec| {
            spec.reservations =
                vec![reservation(&["10.0.4.0"], |entry| entry.name = Some("somebody".to_owned()))];
        }),
        pool_with("g-empty", &["10.0.5.0/32"], |spec| {
            spec.excluded_addresses = vec![exclusion(&["10.0.5.0"], "a printer")];
        }),
    ]);
    for name in ["1", "2", "3"] {
        world.apply(lb(name));
    }
    let expected = "AllocationFailed: no address: no pool has a free IPv4 address for it: \
         pool \"a-full\": all 2 IPv4 addresses are in use, by 2 Services; \
         pool \"b-pinned\": its serviceAllocation is not for this Service; \
         pool \"c-manual\": autoAssign is false and the Service does not ask for it; \
         pool \"d-six\": it has no IPv4 addresses to give; \
         pool \"e-typo\": it is not valid, its Ready condition says why; \
         pool \"f-held\": all 1 IPv4 addresses are reserved for others; \
         pool \"g-empty\": it has no IPv4 addresses to give";
    assert_eq!(world.texts("3"), [expected]);
    // Said once, as long as nothing changes.
    world.tell_all();
    world.tell_resources();
    assert_eq!(world.texts("3"), [""; 0]);

    world.apply(lb_with("4", |service| service.annotations.address_pool = Some("a-full".to_owned())));
    let expected = "AllocationFailed: no address: pool \"a-full\", which it asks for, has no free IPv4 address: \
                    all 2 IPv4 addresses are in use, by 2 Services";
    assert_eq!(world.texts("4"), [expected]);
}

#[test]
fn f24_what_is_reserved_for_it_is_in_use_and_by_whom() {
    let mail = |addresses: &[&str], reserved: &[&str], auto: bool| {
        pool_with("a", addresses, |spec| {
            spec.auto_assign = auto;
            spec.reservations =
                vec![reservation(reserved, |entry| entry.namespace = Some("mail".to_owned()))];
        })
    };
    let asking = lb_with("mail/web", |service| service.annotations.address_pool = Some("a".to_owned()));
    let pair = dual("mail/web", FamilyPolicy::RequireDualStack);
    let in_use = "all IPv4 addresses reserved for it are in use: 10.0.0.0 mail/smtp";
    for (pool, service, expected) in [
        (mail(&["10.0.0.0/24"], &["10.0.0.0"], false), lb("mail/web"), in_use),
        (mail(&["10.0.0.0/32"], &["10.0.0.0"], true), lb("mail/web"), in_use),
        (mail(&["10.0.0.0/32"], &["10.0.0.0"], true), asking, in_use),
        (mail(&["10.0.0.0/24", "fd00::/64"], &["10.0.0.0"], false), pair, in_use),
        (
            mail(&["10.0.0.0/24"], &["10.0.0.0"], false),
            lb("web"),
            "autoAssign is false and the Service does not ask for it",
        ),
        (
            mail(&["10.0.0.0/24", "fd00::/64"], &["10.0.0.0"], false),
            lb6("mail/web"),
            "autoAssign is false and the Service does not ask for it",
        ),
        (
            mail(&["10.0.0.0/32"], &["10.0.0.0"], true),
            lb("web"),
            "all 1 IPv4 addresses are reserved for others",
        ),
    ] {
        let mut world = World::new(vec![pool]);
        world.apply(lb("mail/smtp"));
        let name = service.key.to_string();
        world.apply(service);
        let [text] = world.texts(&name).try_into().expect("one Event");
        assert!(text.ends_with(&format!(": {expected}")), "{text}");
    }
}

/// One of two that are reserved is free: the other family is what is missing.
#[test]
fn f24_a_reserved_address_that_is_free_is_not_blamed() {
    let mut world = World::new(vec![pool_with("a", &["10.0.0.0/30"], |spec| {
        spec.auto_assign = false;
        spec.reservations =
            vec![reservation(&["10.0.0.0/31"], |entry| entry.namespace = Some("mail".to_owned()))];
    })]);
    world.apply(lb("mail/smtp"));
    world.apply(dual("mail/web", FamilyPolicy::RequireDualStack));
    let [text] = world.texts("mail/web").try_into().expect("one Event");
    assert!(text.ends_with("pool \"a\": it has no IPv6 addresses to give"), "{text}");
}

#[test]
fn a_long_list_of_pools_is_cut() {
    let name = |number: u8| format!("p{number:02}");
    let pools = (0..20).map(|number| pool(&name(number), &[&format!("10.0.{number}.0/32")])).collect();
    let mut world = World::new(pools);
    world.apply(lb6("six"));
    let [text] = world.texts("six").try_into().expect("one Event");
    assert!(text.ends_with("pool \"p07\": it has no IPv6 addresses to give; and 12 more"), "{text}");
    assert!(text.len() <= 1024, "what an Event holds");
}

#[test]
fn an_exhausted_pool_names_the_holders() {
    let mut world = World::new(vec![pool_with("a", &["10.0.0.0/30", "fd00::/64"], |spec| {
        spec.reservations = vec![reservation(&["10.0.0.3"], |entry| entry.name = Some("mine".to_owned()))];
    })]);
    let sharing = |name: &str, number: u16| {
        lb_with(name, |service| {
            service.annotations.allow_shared_ip = Some("key".to_owned());
            service.ports = vec![port("TCP", number)];
        })
    };
    world.apply(sharing("x", 1));
    world.apply(sharing("y", 2));
    world.apply(lb("1"));
    assert_eq!(world.usage["a"].exhausted, None);
    world.apply(lb("2"));
    let free_text = "no free IPv4 address: 3 of 4 in use, 1 reserved and not in use: \
                     10.0.0.0 default/x and 1 more, 10.0.0.1 default/1, 10.0.0.2 default/2";
    assert_eq!(world.usage["a"].exhausted.as_deref(), Some(free_text));
    let written = world.usage_writes;
    world.tell_all();
    world.tell_resources();
    assert_eq!(world.usage_writes, written, "on change only");

    world.apply(lb("mine"));
    let full = "no free IPv4 address: 4 of 4 in use: 10.0.0.0 default/x and 1 more, 10.0.0.1 default/1, \
                10.0.0.2 default/2, 10.0.0.3 default/mine";
    assert_eq!(world.usage["a"].exhausted.as_deref(), Some(full));

    // The counters are the same when one that waits takes over; the names are not.
    world.apply(lb("3"));
    assert_eq!(world.reasons("3"), ["AllocationFailed"]);
    world.delete("1");
    let text = world.usage["a"].exhausted.clone().unwrap_or_default();
    assert!(text.contains("10.0.0.1 default/3"), "{text}");
    world.delete("2");
    assert_eq!(world.usage["a"].exhausted, None, "there is one to have again");
}

#[test]
fn an_exhausted_pool_names_ten() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/24"])]);
    for number in 0..256 {
        world.apply(lb(&format!("s{number:03}")));
    }
    let text = world.usage["a"].exhausted.clone().expect("all 256 are in use");
    assert!(text.starts_with("no free IPv4 address: 256 of 256 in use: 10.0.0.0 default/s000, "), "{text}");
    assert!(text.ends_with("10.0.0.9 default/s009 and 246 more"), "{text}");
}

/// The Service that wants two addresses is told which one is missing.
#[test]
fn a_pair_is_short_of_one_family() {
    let mut world = World::new(vec![pool("a", &["10.0.0.0/24"])]);
    world.apply(dual("both", FamilyPolicy::RequireDualStack));
    let expected = "AllocationFailed: no address: no pool has a free dual-stack address for it: \
                    pool \"a\": it has no IPv6 addresses to give";
    assert_eq!(world.texts("both"), [expected]);
}
