//! Two interfaces of one node: on one segment one of them answers, on two both do.

use super::*;
use crate::wire::ndp::Kind;

const ETH1: InterfaceId = InterfaceId(3);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

/// A node whose interfaces may be on one segment: then what one sends to all the other
/// receives.
struct TwoInterfaces {
    speaker: Speaker,
    now: Time,
    is_one_segment: bool,
    /// The interfaces that sent to all since the last look.
    sent: BTreeSet<InterfaceId>,
}

fn eth1(subnet: [u8; 4]) -> Interface {
    let addresses = vec![(IpAddr::from(subnet), 24)];
    Interface { id: ETH1, name: "eth1".to_owned(), mac: Some(mac(1)), addresses, ..interface(0) }
}

fn without_carrier(interface: Interface) -> Interface {
    Interface { has_carrier: false, ..interface }
}

impl TwoInterfaces {
    fn start(is_one_segment: bool, eth1: Interface) -> Self {
        let mut speaker = Speaker::new(without_membership(0));
        speaker.handle(at(0), Input::Interfaces(vec![interface(0), eth1]));
        tell_cluster(&mut speaker, at(0), 1, &[service("web", &[vip(101).into(), V6.into()])]);
        let mut node = Self { speaker, now: at(0), is_one_segment, sent: BTreeSet::new() };
        node.run_for(ms(3_000));
        node
    }

    /// Carries out what is to be done until then.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.deliver();
        while let Some(due) = self.speaker.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.speaker.handle(self.now, Input::Timeout);
            self.deliver();
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        while let Some(effect) = self.speaker.poll_effect() {
            let Effect::SendFrame { interface, bytes } = effect else { continue };
            if bytes[0] & 1 == 0 {
                continue;
            }
            self.sent.insert(interface);
            if self.is_one_segment {
                let interface = if interface == ETH0 { ETH1 } else { ETH0 };
                self.speaker.handle(self.now, Input::Frame { interface, bytes: &bytes });
            }
        }
    }

    fn set_interfaces(&mut self, interfaces: Vec<Interface>) {
        self.speaker.handle(self.now, Input::Interfaces(interfaces));
        self.run_for(ms(100));
    }

    /// Who answers ARP, and who NDP.
    fn answering(&mut self) -> [Vec<InterfaceId>; 2] {
        let to = ndp::solicited_node(V6);
        let [.., a, b, c, d] = to.octets();
        let from = "fd00::50".parse().expect("legal");
        let solicitation = ndp::Message {
            destination: MacAddr([0x33, 0x33, a, b, c, d]),
            source: CLIENT_MAC,
            from,
            to,
            kind: Kind::Solicitation,
            target: V6,
            link_layer: Some(CLIENT_MAC),
        };
        [request(vip(101)), solicitation.to_frame()].map(|bytes| {
            let asked = [ETH0, ETH1].into_iter().filter(|interface| {
                drain(&mut self.speaker);
                self.speaker.handle(self.now, Input::Frame { interface: *interface, bytes: &bytes });
                let is_answer = |effect: &Effect| {
                    matches!(effect, Effect::SendFrame { bytes, .. } if bytes[..6] == CLIENT_MAC.0)
                };
                drain(&mut self.speaker).iter().any(is_answer)
            });
            asked.collect()
        })
    }

    fn take_sent(&mut self) -> Vec<InterfaceId> {
        std::mem::take(&mut self.sent).into_iter().collect()
    }
}

#[test]
fn w51_on_two_segments_both_answer() {
    // Even if their subnets are alike: who cannot hear the other may be the only one.
    for subnet in [[172, 16, 16, 99], [10, 9, 0, 1]] {
        let mut node = TwoInterfaces::start(false, eth1(subnet));
        assert_eq!(node.answering(), [vec![ETH0, ETH1], vec![ETH0, ETH1]], "{subnet:?}");
    }
}

#[test]
fn w51_on_one_segment_the_one_with_the_subnet_answers_else_the_first() {
    let other = || Interface { addresses: vec![([10, 9, 0, 1].into(), 24)], ..interface(0) };
    for (eth0, eth1, expected) in [
        (interface(0), eth1([172, 16, 16, 99]), [ETH0, ETH0]),
        (interface(0), eth1([10, 9, 0, 2]), [ETH0, ETH0]),
        (other(), eth1([10, 9, 0, 2]), [ETH0, ETH0]),
        // Nothing holds the IPv6 address.
        (other(), eth1([172, 16, 16, 99]), [ETH1, ETH0]),
    ] {
        let mut node = TwoInterfaces::start(true, eth1.clone());
        node.set_interfaces(vec![eth0, eth1]);
        node.run_for(ms(3_000));
        assert_eq!(node.answering(), expected.map(|one| vec![one]));
        node.take_sent();
        node.run_for(ms(1_200_000));
        let sent: BTreeSet<InterfaceId> = expected.into_iter().collect();
        assert_eq!(node.take_sent(), Vec::from_iter(sent), "nor are announcements sent twice");
        assert_eq!(node.answering(), expected.map(|one| vec![one]), "and so it stays");
    }
}

#[test]
fn w51_when_the_one_fails_the_other_takes_over_and_gives_it_back() {
    let second = || eth1([172, 16, 16, 99]);
    let mut node = TwoInterfaces::start(true, second());
    node.run_for(ms(60_000));
    node.take_sent();
    node.set_interfaces(vec![without_carrier(interface(0)), second()]);
    assert_eq!(node.take_sent(), [ETH1], "it says so at once");
    assert!(node.answering().iter().all(|answering| answering.contains(&ETH1)));
    node.run_for(ms(60_000));
    node.set_interfaces(vec![interface(0), second()]);
    assert_eq!(node.answering(), [vec![ETH0], vec![ETH0]]);
    node.take_sent();
    node.run_for(ms(300));
    assert_eq!(node.take_sent(), [ETH0], "neighbours hear of it after the other's last word");
}

#[test]
fn w51_the_one_that_is_no_longer_heard_is_not_waited_for() {
    let mut node = TwoInterfaces::start(true, eth1([172, 16, 16, 99]));
    assert_eq!(node.answering(), [vec![ETH0], vec![ETH0]]);
    node.is_one_segment = false;
    node.run_for(ms(901_000));
    assert_eq!(node.answering(), [vec![ETH0, ETH1], vec![ETH0, ETH1]], "two answers are better than none");
}
