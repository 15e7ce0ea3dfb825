//! A restart of any process changes nothing (L5).

use netsim::lab::address_plan::node_name;
use netsim::lab::run::action::{Action, Target};

use super::lab::Lab;
use super::objects::{Service, advertisement, pool};

/// Two Services with an address and two that wait for one; gives the lab.
fn two_hold_and_two_wait() -> Lab {
    let mut lab = Lab::new(3);
    lab.apply(&[pool("small", &["172.16.16.101-172.16.16.102"], ""), advertisement("all", "")]);
    for name in ["d", "c", "b", "a"] {
        lab.serve(&Service::new(name));
    }
    lab
}

/// What the four hold, and how often our processes have written.
fn state(lab: &Lab) -> (Vec<String>, u64) {
    let held = ["d", "c", "b", "a"].map(|name| format!("{name} {:?}", lab.addresses(name)));
    (held.to_vec(), lab.world().api().writes())
}

#[test]
fn h41_l5_restarts_change_nothing() {
    let mut lab = two_hold_and_two_wait();
    let before = state(&lab);
    assert_eq!(before.0, ["d [172.16.16.101]", "c [172.16.16.102]", "b []", "a []"]);
    for turn in 0..5 {
        lab.act(Action::new("crash-controller"));
        lab.act(Action::new("start-controller"));
        assert_eq!(state(&lab), before, "after restart {turn}: the same addresses, and not one write");
    }
}

#[test]
fn l5_restarts_of_speakers_give_every_address_back() {
    let mut lab = two_hold_and_two_wait();
    let before = state(&lab);
    let addresses: Vec<_> = ["d", "c"].iter().flat_map(|name| lab.addresses(name)).collect();
    let owners: Vec<String> = addresses.iter().map(|address| lab.is_served(*address)).collect();
    // Each in turn by SIGTERM, then all at once by SIGKILL, as after a power cut.
    for index in 0..3 {
        let node = || Target::Node(node_name(index));
        lab.act(Action::on("stop", node()));
        lab.act(Action::on("start", node()));
        lab.settle();
    }
    let all = |word| (0..3).map(move |index| Action::on(word, Target::Node(node_name(index))));
    for action in all("power-off").chain(all("power-on")) {
        lab.act(action);
    }
    lab.settle();
    let now: Vec<String> = addresses.iter().map(|address| lab.is_served(*address)).collect();
    assert_eq!(now, owners);
    assert_eq!(state(&lab), before);
}
