//! What nodes can announce on, told over a network that loses datagrams (W13).

use super::*;
use crate::gossip::report_exchange::{LACKED_AFTER, LOST_AFTER};

fn links(names: &[&str]) -> Reach {
    let links = names.iter().map(|name| ((*name).to_owned(), Link::default())).collect();
    Reach { any: (!names.is_empty(), !names.is_empty()), cut: false, links, lacks: None }
}

impl Net {
    fn set_reach(&mut self, node: usize, reach: Reach) {
        self.nodes[node].as_mut().expect("alive").set_reach(self.now, reach);
        self.drain(node);
    }

    /// Whether every node knows of `node` that it has this reach.
    fn all_know(&self, node: usize, reach: &Reach) -> bool {
        self.nodes.iter().flatten().all(|member| member.reaches().get(&name(node)) == Some(reach))
    }

    fn until_all_know(&mut self, node: usize, reach: &Reach, limit: Duration) -> Duration {
        let start = self.now;
        while !self.all_know(node, reach) {
            assert!(self.now.since(start) < limit, "not all know within {limit:?}");
            self.run_for(ms(1));
        }
        self.now.since(start)
    }
}

#[test]
fn w13_everybody_hears_of_every_change() {
    for size in SIZES {
        for loss in LOSSES {
            for seed in 0..3 {
                let mut net = Net::new(size, loss, seed);
                net.run_for(ms(10_000));
                for node in 0..size {
                    assert!(net.all_know(node, &reach_of(node)), "{size} nodes, loss {loss}, seed {seed}");
                }
                let limit = if loss == 0.0 { ms(5) } else { ms(8_000) };
                net.set_reach(0, links(&["eth0", "eth1"]));
                net.until_all_know(0, &links(&["eth0", "eth1"]), limit);
                net.set_reach(0, links(&["eth1"]));
                let took = net.until_all_know(0, &links(&["eth1"]), LOST_AFTER + limit);
                assert!(took >= LOST_AFTER, "{took:?}");
                let settled = |member: &Membership| member.exchange.poll_timeout().is_none();
                net.run_for(ms(20_000));
                assert!(net.nodes.iter().flatten().all(settled), "{size} nodes, loss {loss}: not yet quiet");
                assert_eq!(net.downs(), 0);
            }
        }
    }
}

#[test]
fn w13_a_link_that_blinks_is_no_change() {
    let mut net = Net::new(3, 0.0, 5);
    net.run_for(ms(5_000));
    let changes = |net: &Net| net.log.iter().filter(|(.., output)| *output == Output::Reaches).count();
    let before = changes(&net);
    for _ in 0..10 {
        net.set_reach(0, links(&[]));
        net.run_for(LOST_AFTER - ms(1));
        net.set_reach(0, reach_of(0));
        net.run_for(ms(300));
    }
    assert_eq!(changes(&net), before);
    net.set_reach(0, links(&[]));
    net.run_for(LOST_AFTER / 2);
    net.set_reach(0, links(&["other"]));
    let took = net.until_all_know(0, &links(&["other"]), LOST_AFTER);
    assert!(took <= LOST_AFTER / 2 + ms(2), "what goes on changing is not put off: {took:?}");
}

#[test]
fn w13_who_comes_again_tells_and_is_told() {
    for loss in LOSSES {
        let mut net = Net::new(3, loss, 8);
        net.run_for(ms(10_000));
        // A new life, on a node that has lost its link meanwhile. Until it has told,
        // what was known of the last one stands; then it is known to all.
        net.boot(1, 2, 8);
        net.set_reach(1, links(&["eth9"]));
        net.run_for(ms(8_000));
        for (node, reach) in [(0, reach_of(0)), (1, links(&["eth9"])), (2, reach_of(2))] {
            assert!(net.all_know(node, &reach), "loss {loss}, node {node}");
        }
        assert!(net.nodes.iter().flatten().all(Membership::is_joined));
        // A partition: each side hears what changed on the other once it is over.
        net.sides = Some([0].into());
        net.run_for(ms(10_000));
        net.set_reach(0, links(&["eth0", "new"]));
        net.set_reach(2, links(&["eth2", "new"]));
        net.run_for(ms(20_000));
        net.sides = None;
        net.until_agreed(ms(5_000));
        let limit = if loss == 0.0 { ms(5) } else { ms(8_000) };
        net.until_all_know(0, &links(&["eth0", "new"]), limit);
        net.until_all_know(2, &links(&["eth2", "new"]), limit);
    }
}

#[test]
fn w13_t20_a_clock_that_went_back_is_believed_again() {
    let mut net = Net::new(2, 0.0, 3);
    net.nodes[1] = None;
    net.boot(1, 1_000_000, 3);
    net.run_for(ms(5_000));
    net.boot(1, 5, 4);
    net.set_reach(1, links(&["eth9"]));
    net.run_for(ms(5_000));
    assert!(net.all_know(1, &links(&["eth9"])));
}

#[test]
fn w13_a_member_that_tells_nothing_is_taken_as_it_is() {
    let mut net = Net::new(2, 0.0, 4);
    net.run_for(ms(3_000));
    // The next life is of a version that tells nothing.
    let mut silent = Membership::new(&settings(1, 2, 4), address(1));
    silent.set_peers(net.now, &[Peer { node: name(0), address: address(0).ip(), is_running: true }]);
    net.nodes[1] = Some(silent);
    net.drain(1);
    net.run_for(ms(2_000));
    let known = |net: &Net| net.nodes[0].as_ref().expect("alive").reaches().get(&name(1)).cloned();
    assert_eq!(known(&net), Some(reach_of(1)), "what it could a moment ago");
    net.run_for(ms(3_000));
    assert_eq!((known(&net), net.agrees()), (None, true), "then nothing is known of it");
}

#[test]
fn t5_w13_nobody_tells_for_another() {
    let mut net = Net::new(2, 0.0, 1);
    net.run_for(ms(3_000));
    let told = |sender: &str, boot| {
        let reach = Some((99, links(&[])));
        MemberReport { sender: sender.into(), boot, heard: None, reach }.encode()
    };
    let mut insider = Envelope::new("n7".into(), 1, Some(b"secret"), stream(&[1; 32], "insider", b""));
    for (bytes, reason) in [
        (told("n1", 1), GossipRejection::WrongSender),
        (told("n7", 2), GossipRejection::WrongSender),
        (told("n0", 1), GossipRejection::FromOurselves),
        (told("", 1), GossipRejection::Malformed),
        (told("n7", MAX_BOOT + 1), GossipRejection::Malformed),
        (vec![0, 1], GossipRejection::Malformed),
    ] {
        let member = net.nodes[0].as_mut().expect("alive");
        assert_eq!(member.handle_datagram(net.now, &insider.seal(&bytes)), Err(reason));
    }
    assert!(net.all_know(1, &reach_of(1)));
}

#[test]
fn what_is_lacked_is_told_at_a_start_and_else_when_it_has_lasted() {
    let lacking =
        |objects: &[u32]| Reach { lacks: Some(objects.iter().copied().collect()), ..links(&["eth0"]) };
    let mut net = Net::new(3, 0.0, 4);
    net.run_for(ms(5_000));
    // The configuration is not known yet; then it is, and something is missing from the beginning.
    net.set_reach(0, links(&["eth0"]));
    net.until_all_know(0, &links(&["eth0"]), LOST_AFTER + ms(100));
    net.set_reach(0, lacking(&[7]));
    net.until_all_know(0, &lacking(&[7]), ms(100));
    net.set_reach(0, lacking(&[]));
    net.until_all_know(0, &lacking(&[]), ms(100));
    // An edit that is mended in time is not told.
    net.set_reach(0, lacking(&[8]));
    net.run_for(LACKED_AFTER - ms(100));
    net.set_reach(0, lacking(&[]));
    net.run_for(ms(1_000));
    assert!(net.all_know(0, &lacking(&[])));
    net.set_reach(0, lacking(&[8]));
    let took = net.until_all_know(0, &lacking(&[8]), LACKED_AFTER + ms(100));
    assert!(took >= LACKED_AFTER, "{took:?}");
}
