//! Peers that cannot be met, or are not heard: another family, a firewall, another secret.

use std::net::IpAddr;

use super::*;

/// An entry for each of these addresses of a node's running Pod.
fn pod(node: usize, addresses: &[&str]) -> Vec<Peer> {
    let peer = |text: &&str| Peer {
        node: name(node),
        address: text.parse::<IpAddr>().expect("an address"),
        is_running: true,
    };
    addresses.iter().map(peer).collect()
}

fn outputs(member: &mut Membership) -> Vec<Output> {
    std::iter::from_fn(|| member.poll_output()).collect()
}

/// Runs its timers until `end`: what it told of peers that are not heard, as texts.
fn told(member: &mut Membership, end: Time) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        told.extend(outputs(member).into_iter().filter_map(|output| match output {
            Output::Unheard(peers) if peers.is_empty() => Some(String::new()),
            Output::Unheard(peers) => Some(peers.to_string()),
            _ => None,
        }));
        let Some(due) = member.poll_timeout().filter(|due| *due <= end) else { return told };
        member.handle_timeout(due);
    }
}

fn called(member: &mut Membership) -> BTreeSet<String> {
    let to = |output| if let Output::Send(to, _) = output { Some(to.ip().to_string()) } else { None };
    outputs(member).into_iter().filter_map(to).collect()
}

#[test]
fn e4_peers_are_called_at_an_address_of_our_family() {
    let both = [pod(0, &["172.16.16.11", "fd00::11"]), pod(1, &["fd00::12", "172.16.16.12"])].concat();
    for (own, expected) in [("172.16.16.11", "172.16.16.12"), ("fd00::11", "fd00::12")] {
        let own: IpAddr = own.parse().expect("an address");
        let mut member = Membership::new(&settings(0, 1, 1), (own, 7946).into());
        member.set_peers(Time::ZERO, &both);
        assert_eq!(called(&mut member), [expected.to_owned()].into());
    }
}

#[test]
fn e3_a_socket_on_every_address_takes_the_pods_once_it_is_named() {
    for (bound, own, others, expected) in [
        ("0.0.0.0", &["172.16.16.11"][..], &["172.16.16.12"][..], Some("172.16.16.12")),
        ("0.0.0.0", &["fd00::11", "172.16.16.11"], &["fd00::12", "172.16.16.12"], Some("172.16.16.12")),
        ("::", &["172.16.16.11", "fd00::11"], &["fd00::12", "172.16.16.12"], Some("172.16.16.12")),
        ("::", &["fd00::11", "172.16.16.11"], &["172.16.16.12", "fd00::12"], Some("fd00::12")),
        ("0.0.0.0", &["fd00::11"], &["fd00::12"], None),
    ] {
        let address = SocketAddr::new(bound.parse().expect("an address"), 7946);
        let settings = Settings { gossip_address: Some(address), ..settings(0, 1, 1) };
        let mut member = Membership::new(&settings, address);
        member.set_peers(Time::ZERO, &pod(1, others));
        assert_eq!(called(&mut member), BTreeSet::new(), "{bound} {own:?}: nobody could answer");
        member.set_peers(Time::ZERO, &[pod(0, own), pod(1, others)].concat());
        let told = outputs(&mut member);
        let calls = told.iter().filter(|output| matches!(output, Output::Send(..))).count();
        match expected {
            Some(expected) => {
                assert!(calls > 0, "{bound} {own:?}");
                let at: IpAddr = expected.parse().expect("an address");
                assert!(
                    told.iter().all(|output| matches!(output, Output::Send(to, _) if to.ip() == at)),
                    "{told:?}"
                );
                assert_eq!(
                    member.swim.identity().address().ip().to_string(),
                    own.iter()
                        .find(|ip| ip.contains(':') == expected.contains(':'))
                        .copied()
                        .expect("its own")
                );
            }
            None => {
                let [Output::Unheard(peers)] = told.as_slice() else { panic!("{told:?}") };
                assert!(peers.to_string().contains("write :: or the Pod's address"), "{peers}");
            }
        }
    }
}

#[test]
fn peers_of_another_family_are_told_at_once() {
    let mut member = Membership::new(&settings(0, 1, 1), address(0));
    member.set_peers(Time::ZERO, &[pod(0, &["172.16.16.11"]), pod(1, &["fd00::12"])].concat());
    let [Output::Unheard(peers)] = &outputs(&mut member)[..] else { panic!("it is known at once") };
    assert!(peers.to_string().contains("cannot be met over IPv4") && peers.to_string().contains("(n1)"));
    assert_eq!(member.missing(), [name(1)]);
}

#[test]
fn a_firewall_that_drops_udp_is_told_in_five_seconds_and_again_when_it_is_gone() {
    let mut net = Net::new(3, 0.0, 1);
    net.sides = Some([0].into());
    // The first calls as well.
    net.flying.clear();
    net.run_for(ms(4_900));
    let unheard = |net: &Net, node: usize| -> Vec<UnheardPeers> {
        let of_node = net.log.iter().filter(|(_, by, _)| *by == node);
        of_node
            .filter_map(|(_, _, output)| match output {
                Output::Unheard(peers) => Some(peers.clone()),
                _ => None,
            })
            .collect()
    };
    assert_eq!(unheard(&net, 0), []);
    net.run_for(ms(200));
    let [found] = &unheard(&net, 0)[..] else { panic!("once") };
    assert!(found.is_alone && found.silent == [name(1), name(2)].into());
    let text = found.to_string();
    assert!(text.contains("lets TCP 7946 through and not UDP 7946") && text.contains("as if it were alone"));
    let [found] = &unheard(&net, 1)[..] else { panic!("once") };
    assert!(!found.is_alone && found.silent == [name(0)].into(), "{found:?}");
    assert_eq!(net.nodes[0].as_ref().map(Membership::missing), Some(vec![name(1), name(2)]));
    net.sides = None;
    net.run_for(ms(5_000));
    for node in 0..3 {
        let last = unheard(&net, node).pop().expect("it was told");
        assert!(last.is_empty(), "{node}: {last:?}");
        assert!(net.nodes[node].as_ref().is_some_and(|member| member.unheard().is_empty()));
    }
    // Whoever was heard and died is told as such; only who is left alone says more.
    net.nodes[2] = None;
    net.run_for(ms(10_000));
    assert!(unheard(&net, 0).pop().is_some_and(|last| last.is_empty()));
    net.nodes[1] = None;
    net.run_for(ms(10_000));
    assert!(unheard(&net, 0).pop().is_some_and(|last| last.is_alone && last.silent.len() == 2));
}

#[test]
fn a_pod_that_does_not_run_yet_is_not_missed() {
    let mut member = Membership::new(&settings(0, 1, 1), address(0));
    let mut peers = [pod(0, &["172.16.16.11"]), pod(1, &["172.16.16.12"])].concat();
    peers[1].is_running = false;
    member.set_peers(Time::ZERO, &peers);
    assert_eq!(told(&mut member, Time::ZERO + ms(20_000)), [""; 0]);
    peers[1].is_running = true;
    member.set_peers(Time::ZERO + ms(20_000), &peers);
    assert_eq!(told(&mut member, Time::ZERO + ms(24_900)), [""; 0]);
    assert_eq!(told(&mut member, Time::ZERO + ms(25_000)).len(), 1);
    // It is deleted, or its node is.
    member.set_peers(Time::ZERO + ms(26_000), &peers[..1]);
    assert_eq!(told(&mut member, Time::ZERO + ms(26_000)), [""]);
}

#[test]
fn another_secret_is_named_as_the_cause() {
    let mut member = Membership::new(&settings(0, 1, 1), address(0));
    let peers = [pod(0, &["172.16.16.11"]), pod(1, &["172.16.16.12"])].concat();
    let other = Settings { gossip_secret: Some(b"another".to_vec()), ..settings(1, 1, 2) };
    let mut stranger = Membership::new(&other, address(1));
    stranger.set_peers(Time::ZERO, &peers);
    let Some(Output::Send(_, datagram)) = stranger.poll_output() else { panic!("it calls") };
    member.set_peers(Time::ZERO, &peers);
    assert_eq!(member.handle_datagram(Time::ZERO, &datagram), Err(GossipRejection::WrongKey));
    let told = told(&mut member, Time::ZERO + ms(6_000));
    let [text] = &told[..] else { panic!("{told:?}") };
    assert!(text.contains("another secret has sealed") && !text.contains("firewall"), "{text}");
}
