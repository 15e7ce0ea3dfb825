//! W13 on two simulated LANs: gossip goes over the first, the addresses live on the second, and not every node has a link
//! there.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netsim::lab::address_plan::Lan;
use netsim::lab::run::scenario::Scenario;
use netsim::lab::run::world::World;

const NODES: u8 = 3;
const ADDRESSES: u8 = 12;
/// A link is given up after half a second; then the news, the election and the first announcement.
const TAKEOVER: Duration = Duration::from_millis(700);

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(172, 16, 17, 100 + number).into()
}

/// A cluster that has met, without any Service; `advertised` is the spec of its one advertisement.
fn world(advertised: &str) -> World {
    let scenario = Scenario {
        nodes: NODES,
        has_second_lan: true,
        ..Scenario::new("segments", "the addresses are on the second LAN")
    };
    let mut world = World::interactive(&scenario, 13).expect("a valid scenario");
    world.run_for(Duration::from_secs(5));
    let objects = format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, \
           metadata: {{name: second, namespace: metallb-system}}, \
           spec: {{addresses: [172.16.17.100-172.16.17.199]}}}}\n---\n\
         {{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, \
           metadata: {{name: second, namespace: metallb-system}}, spec: {advertised}}}\n"
    );
    world.apply_text(&objects).expect("whole objects");
    world.run_for(Duration::from_secs(1));
    world
}

fn serve(world: &mut World) {
    for number in 0..ADDRESSES {
        let service = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: default, \
               annotations: {{metallb.io/loadBalancerIPs: {}}}}}, \
               spec: {{type: LoadBalancer, ports: [{{port: 7, protocol: UDP}}]}}}}\n",
            address(number)
        );
        world.apply_text(&service).expect("a whole object");
    }
    world.run_for(Duration::from_secs(2));
}

/// Who answers for each address on the second LAN.
fn owners(world: &mut World) -> Vec<Vec<String>> {
    (0..ADDRESSES).map(|number| world.who_has(Lan::Second, address(number))).collect()
}

fn no_violation(world: &World) {
    assert!(world.violations().is_empty(), "{:?}", world.violations());
}

#[test]
fn w13_a_link_lost_moves_the_addresses_and_a_link_regained_brings_them_back() {
    for advertised in ["{}", "{interfaces: [eth1]}"] {
        let mut world = world(advertised);
        serve(&mut world);
        let before = owners(&mut world);
        let of_wk02 = before.iter().filter(|who| **who == ["wk02/eth1"]).count();
        assert!(before.iter().all(|who| who.len() == 1) && of_wk02 > 0, "{before:?}");

        world.set_link("wk02", Lan::Second, false);
        world.run_for(TAKEOVER);
        let after = owners(&mut world);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(after.len(), 1, "one answers: {before:?}, then {after:?}");
            assert!(*after != ["wk02/eth1"], "nobody hears it there");
            assert!(
                after == before || *before == ["wk02/eth1"],
                "no other moves: {before:?}, then {after:?}"
            );
        }
        world.set_link("wk02", Lan::Second, true);
        world.run_for(Duration::from_millis(50));
        assert_eq!(owners(&mut world), before, "{advertised}");
        no_violation(&world);
    }
}

#[test]
fn w13_a_node_that_never_had_the_link_owns_nothing_there() {
    for advertised in ["{}", "{interfaces: [eth1]}"] {
        let mut world = world(advertised);
        world.set_link("wk01", Lan::Second, false);
        world.run_for(TAKEOVER);
        serve(&mut world);
        let owners = owners(&mut world);
        let legal = |who: &Vec<String>| *who == ["wk02/eth1"] || *who == ["wk03/eth1"];
        assert!(owners.iter().all(legal), "{advertised}: {owners:?}");
        let told: Vec<_> = world.events().iter().filter(|told| told.from == "wk01").collect();
        assert!(told.is_empty(), "it neither announces nor fails to: {told:?}");
        no_violation(&world);
    }
}

#[test]
fn w13_nothing_moves_while_nothing_happens() {
    let mut world = world("{}");
    serve(&mut world);
    let (before, told) = (owners(&mut world), world.events().len());
    world.run_for(Duration::from_secs(60));
    assert_eq!((owners(&mut world), world.events().len()), (before, told));
    no_violation(&world);
}
