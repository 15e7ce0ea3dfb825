//! Pools that hold what belongs to nodes, to the API server and to the router, in a cluster whose speakers tell of it.

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_api::ServiceKey;
use netsim::lab::address_plan::Lan;
use netsim::lab::run::scenario::Scenario;
use netsim::lab::run::world::World;

/// A cluster of two nodes (172.16.16.11 and .12, API server .100, router .1) with Services `a`, `b` and so on.
fn world(addresses: &str, services: &[&str]) -> World {
    let scenario = Scenario { nodes: 2, ..Scenario::new("withheld", "addresses that others have") };
    let mut world = World::interactive(&scenario, 7).expect("a valid scenario");
    let objects = format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: main, namespace: metallb-system}}, \
           spec: {{addresses: [{addresses}]}}}}\n---\n\
         {{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: l2, namespace: metallb-system}}}}\n"
    );
    world.run_for(Duration::from_secs(5));
    world.apply_text(&objects).expect("whole objects");
    for service in services {
        serve(&mut world, service, "{}");
    }
    world.run_for(Duration::from_secs(2));
    world
}

fn serve(world: &mut World, name: &str, annotations: &str) {
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default, annotations: {annotations}}}, \
           spec: {{type: LoadBalancer, ports: [{{port: 7, protocol: UDP}}]}}}}\n"
    );
    world.apply_text(&service).expect("a whole object");
    world.set_endpoints(&key(name), &["wk01", "wk02"]);
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn given(world: &World, services: &[&str]) -> Vec<String> {
    let given = |name: &&str| {
        let addresses = world.addresses_of(&key(name));
        addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
    };
    services.iter().map(given).collect()
}

#[test]
fn no_service_is_given_what_others_have() {
    for (addresses, expected) in [
        ("172.16.16.11-172.16.16.20", ["172.16.16.13", "172.16.16.14"]),
        ("172.16.16.100-172.16.16.110", ["172.16.16.101", "172.16.16.102"]),
        // .0 names the subnet, .1 is the router.
        ("172.16.16.240/24", ["172.16.16.2", "172.16.16.3"]),
        ("172.16.16.254-172.16.17.0", ["172.16.16.254", "172.16.17.0"]),
    ] {
        let mut world = world(addresses, &["a", "b"]);
        assert_eq!(given(&world, &["a", "b"]), expected, "{addresses}");
        for address in expected.iter().filter(|address| address.starts_with("172.16.16.")) {
            let address = address.parse().expect("it is an address");
            assert_eq!(world.who_has(Lan::First, address).len(), 1, "{address}");
        }
        assert!(world.violations().is_empty(), "{:?}", world.violations());
    }
}

#[test]
fn a_node_that_comes_later_keeps_its_address_to_itself() {
    let mut world = world("172.16.16.20-172.16.16.25", &["a"]);
    assert_eq!(given(&world, &["a"]), ["172.16.16.20"]);
    let node = "{apiVersion: v1, kind: Node, metadata: {name: wk09}, \
                 status: {addresses: [{type: InternalIP, address: 172.16.16.20}]}}";
    world.apply_text(node).expect("a whole object");
    world.run_for(Duration::from_secs(10));
    assert_eq!(given(&world, &["a"]), ["172.16.16.20"], "it is kept");
    assert_eq!(world.who_has(Lan::First, "172.16.16.20".parse().expect("a literal")), Vec::<String>::new());
    let texts: Vec<String> = world.events().iter().map(|event| format!("{event:?}")).collect();
    for expected in ["addressOccupied", "notAnnounced"] {
        let text = texts.iter().find(|text| text.contains(expected));
        assert!(
            text.is_some_and(|text| text.contains("172.16.16.20 is Node wk09's")),
            "{expected}: {texts:#?}"
        );
    }
    serve(&mut world, "b", "{metallb.io/loadBalancerIPs: 172.16.16.12}");
    world.run_for(Duration::from_secs(1));
    assert_eq!(given(&world, &["b"]), [""]);
}
