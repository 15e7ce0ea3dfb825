//! Pools and advertisements of which a speaker knows no valid version.

use super::*;

#[test]
fn nobody_stands_back_for_a_node_that_lacks_what_makes_it_a_candidate() {
    let config = config(vec![advertisement("a"), advertisement("b")]);
    let nodes = nodes(vec![node("wk01"), node("wk02")]);
    let (a, b) = (lack(Kind::L2Advertisement, "a"), lack(Kind::L2Advertisement, "b"));
    let pool = lack(Kind::IPAddressPool, "main");
    let both: &[&str] = &["wk01", "wk02"];
    for (what, lacks, key_pool, expected) in [
        ("it has not told", None, Some(pool), both),
        ("it lacks nothing", Some(vec![]), Some(pool), both),
        ("it lacks one of two advertisements", Some(vec![a]), Some(pool), both),
        ("it lacks both", Some(vec![a, b]), Some(pool), &["wk01"]),
        ("it lacks the pool", Some(vec![pool]), Some(pool), &["wk01"]),
        ("it lacks the pool, and the Service says that it is of it", Some(vec![pool]), None, both),
        ("it lacks another pool", Some(vec![lack(Kind::IPAddressPool, "other")]), Some(pool), both),
    ] {
        let lacks = lacks.map(|lacks| lacks.into_iter().collect());
        let wk02 = Reach { lacks, ..reach(&[("eth0", LAN)]) };
        let reaches = Reaches::from([("wk01".into(), reach(&[("eth0", LAN)])), ("wk02".into(), wk02)]);
        let key = CandidateKey { pool: key_pool, ..every(&config) };
        let found = elected(everybody(&nodes, &reaches), &key, &config);
        let found: Vec<&str> = names(&found).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_pool_without_a_valid_version_is_served_by_the_advertisements_that_select_it() {
    let labelled = Pool { labels: labels(&[("zone", "east")]), ..pool("bad", &[]) };
    let named = |name: &str, pools: PoolSelection| Advertisement { pools, ..advertisement(name) };
    let by_name = |pool: &str| PoolSelection::Some { names: [pool.to_owned()].into(), selectors: vec![] };
    let by_label = |zone: &str| PoolSelection::Some {
        names: BTreeSet::new(),
        selectors: vec![selecting(&[("zone", zone)])],
    };
    for (pools, origin, expected) in [
        (PoolSelection::All, Some("bad"), Ok(())),
        (by_name("bad"), Some("bad"), Ok(())),
        (by_label("east"), Some("bad"), Ok(())),
        (by_name("main"), Some("bad"), Err(WithdrawReason::NoMatchingAdvertisement)),
        (by_label("west"), Some("bad"), Err(WithdrawReason::NoMatchingAdvertisement)),
        (PoolSelection::All, Some("gone"), Err(WithdrawReason::IpNotAllowed)),
        (PoolSelection::All, None, Err(WithdrawReason::IpNotAllowed)),
    ] {
        let mut config = config(vec![named("l2", pools.clone())]);
        config.unusable_pools.insert("bad".to_owned(), labelled.clone());
        let mut service = service(&["192.0.2.1"]);
        service.annotations.allocated_from_pool = origin.map(str::to_owned);
        assert_eq!(reason(&service, &config), expected, "{pools:?}, {origin:?}");
    }
}
