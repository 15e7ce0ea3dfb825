//! "Its last valid version stays in force": on every node, after any restart.

use std::net::IpAddr;
use std::time::Duration;

use netsim::lab::address_plan::Lan;
use netsim::lab::api::objects::Kind;
use netsim::lab::run::action::{Action, Target};
use netsim::lab::run::scenario::Scenario;
use netsim::lab::run::world::World;

const NODES: [&str; 3] = ["wk01", "wk02", "wk03"];
const NAMESPACE: &str = "metallb-system";
/// Until a crash is noticed, who comes back is known again, and all is announced.
const SETTLED: Duration = Duration::from_secs(10);

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Pool,
    Advertisement,
    Both,
}

/// What happens while it is wrong.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// The speaker of the node that answers is killed and comes back.
    OwnerRestarts,
    /// One after the other.
    AllRestart,
    /// Everything is killed before anything comes back.
    ColdStart,
    /// The controller sees the edit only when it starts.
    EditedWithoutController,
}

fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: metallb.io/v1beta1, kind: {kind}, metadata: {{name: {name}, namespace: {NAMESPACE}}}, \
         spec: {spec}}}\n---\n"
    )
}

fn pool(range: &str) -> String {
    manifest("IPAddressPool", "main", &format!("{{addresses: ['{range}']}}"))
}

/// A cluster with one Service that has `address`, and a second pool that stays as it is.
fn world(range: &str, address: IpAddr, metallbs_crds: bool) -> World {
    let scenario = Scenario { nodes: 3, ..Scenario::new("kept", "an edit goes wrong") };
    let mut world = World::interactive(&scenario, 11).expect("a valid scenario");
    if metallbs_crds {
        world.use_metallbs_crds();
    }
    world.run_for(Duration::from_secs(5));
    let (family, cluster_ip) = if address.is_ipv4() { ("IPv4", "10.96.0.9") } else { ("IPv6", "fd96::9") };
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: default, \
           annotations: {{metallb.io/loadBalancerIPs: '{address}'}}}}, \
           spec: {{type: LoadBalancer, ipFamilies: [{family}], clusterIP: '{cluster_ip}', clusterIPs: ['{cluster_ip}'], ports: [{{port: 7, protocol: UDP}}]}}}}\n"
    );
    let other = manifest("IPAddressPool", "other", "{addresses: [172.16.16.200-172.16.16.210]}");
    let all = manifest("L2Advertisement", "l2", "{}");
    world.apply_text(&[pool(range), other, all, service].concat()).expect("whole objects");
    world.run_for(Duration::from_secs(2));
    world
}

fn edit(world: &mut World, edit: Edit) {
    let advertisement = manifest("L2Advertisement", "l2", "{ipAddressPools: [main, main]}");
    let text = match edit {
        Edit::Pool => pool("172.16.16.110-172.16.16.101"),
        Edit::Advertisement => advertisement,
        Edit::Both => pool("172.16.16.110-172.16.16.101") + &advertisement,
    };
    world.apply_text(&text).expect("whole objects");
    world.run_for(Duration::from_secs(1));
}

fn restart(world: &mut World, node: &str) {
    world.act(Action::on("crash", Target::from(node)));
    world.run_for(Duration::from_secs(3));
    world.act(Action::on("start", Target::from(node)));
    world.run_for(SETTLED);
}

fn wrong(world: &mut World, what: Edit, harm: Harm, owner: &str) {
    if matches!(harm, Harm::EditedWithoutController) {
        world.act(Action::new("crash-controller"));
    }
    edit(world, what);
    match harm {
        Harm::OwnerRestarts => restart(world, owner),
        Harm::AllRestart => NODES.iter().for_each(|node| restart(world, node)),
        Harm::ColdStart => {
            world.act(Action::new("crash-controller"));
            NODES.iter().for_each(|node| world.act(Action::on("crash", Target::from(*node))));
            world.run_for(Duration::from_secs(3));
            NODES.iter().for_each(|node| world.act(Action::on("start", Target::from(*node))));
            world.act(Action::new("start-controller"));
            world.run_for(SETTLED);
        }
        Harm::EditedWithoutController => {
            NODES.iter().for_each(|node| restart(world, node));
            world.act(Action::new("start-controller"));
            world.run_for(SETTLED);
        }
    }
}

fn owner(world: &mut World, address: IpAddr) -> String {
    let owners = world.who_has(Lan::First, address);
    let [owner] = owners.as_slice() else { panic!("one owner of {address}: {owners:?}") };
    owner.clone()
}

#[test]
fn w4_b22_what_is_rejected_goes_on_after_any_restart() {
    use Harm::{AllRestart, ColdStart, EditedWithoutController, OwnerRestarts};
    for (range, address) in
        [("172.16.16.101-172.16.16.110", "172.16.16.105"), ("fd00:16::100-fd00:16::1ff", "fd00:16::105")]
    {
        let address = address.parse().expect("an address");
        for what in [Edit::Pool, Edit::Advertisement, Edit::Both] {
            for harm in [OwnerRestarts, AllRestart, ColdStart, EditedWithoutController] {
                let mut world = world(range, address, false);
                let before = owner(&mut world, address);
                wrong(&mut world, what, harm, &before);
                assert_eq!(owner(&mut world, address), before, "{what:?}, {harm:?}, {address}");
                assert!(world.violations().is_empty(), "{what:?}, {harm:?}: {:?}", world.violations());
            }
        }
    }
}

/// MetalLB's CRDs have no place for the last version: of a pool the Services say whose they are, and of an
/// advertisement the nodes announce that still know it.
#[test]
fn w4_under_metallbs_crds_a_restart_silences_nobody() {
    let address = "172.16.16.105".parse().expect("an address");
    for (what, harm) in [
        (Edit::Pool, Harm::OwnerRestarts),
        (Edit::Pool, Harm::ColdStart),
        (Edit::Pool, Harm::EditedWithoutController),
        (Edit::Advertisement, Harm::OwnerRestarts),
        (Edit::Both, Harm::OwnerRestarts),
    ] {
        let mut world = world("172.16.16.101-172.16.16.110", address, true);
        let before = owner(&mut world, address);
        wrong(&mut world, what, harm, &before);
        let after = owner(&mut world, address);
        let moves = !matches!(what, Edit::Pool);
        assert_eq!(after != before, moves, "{what:?}, {harm:?}: {after}");
        assert!(world.violations().is_empty(), "{what:?}, {harm:?}: {:?}", world.violations());
    }
}

#[test]
fn a_pool_that_is_deleted_while_it_is_rejected_is_gone() {
    let address = "172.16.16.105".parse().expect("an address");
    let mut world = world("172.16.16.101-172.16.16.110", address, false);
    edit(&mut world, Edit::Pool);
    world.delete(Kind::IPAddressPool, NAMESPACE, "main");
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.who_has(Lan::First, address), [""; 0]);
    // Made again while it is wrong, it is another one, of which nothing was promised.
    edit(&mut world, Edit::Pool);
    assert_eq!(world.who_has(Lan::First, address), [""; 0]);
}
