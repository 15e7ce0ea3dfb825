//! Tests of the switch: learning, ageing, faults, determinism.

use super::*;
use crate::net::faults::{Bursts, Chance, Faults};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

const ALL: EthernetAddress = EthernetAddress::BROADCAST;
const DELAY: Duration = Duration::from_micros(50);

fn at(micros: i64) -> Instant {
    Instant::from_micros_const(micros)
}

fn mac(last: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, last])
}

fn frame(source: EthernetAddress, destination: EthernetAddress, tag: u8) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[..6].copy_from_slice(destination.as_bytes());
    bytes[6..12].copy_from_slice(source.as_bytes());
    bytes[14] = tag;
    bytes
}

/// Everything that arrives until nothing is under way: when, where, and the frame's tag.
fn drain(switch: &mut Switch) -> Vec<(Instant, usize, u8)> {
    let mut seen = Vec::new();
    while let Some(now) = switch.poll_timeout() {
        while let Some((port, frame)) = switch.poll(now) {
            seen.push((now, port.index(), frame[14]));
        }
    }
    seen
}

fn three_ports() -> (Switch, [PortId; 3]) {
    let mut switch = Switch::new(1);
    let ports = ["a", "b", "c"].map(|name| switch.add_port(name, Faults::delay(DELAY)));
    (switch, ports)
}

#[test]
fn floods_until_it_has_learned() {
    let (mut switch, [a, b, _]) = three_ports();
    switch.send(at(0), a, frame(mac(1), mac(2), 1));
    assert_eq!(drain(&mut switch), [(at(100), 1, 1), (at(100), 2, 1)]);
    switch.send(at(1000), b, frame(mac(2), mac(1), 2));
    assert_eq!(drain(&mut switch), [(at(1100), 0, 2)]);
    switch.send(at(2000), a, frame(mac(1), mac(2), 3));
    assert_eq!(drain(&mut switch), [(at(2100), 1, 3)]);
    switch.send(at(3000), a, frame(mac(1), ALL, 4));
    switch.send(at(4000), a, frame(mac(1), EthernetAddress([0x33, 0x33, 0, 0, 0, 1]), 5));
    assert_eq!(drain(&mut switch), [(at(3100), 1, 4), (at(3100), 2, 4), (at(4100), 1, 5), (at(4100), 2, 5)]);
    let counters = switch.counters();
    assert_eq!((counters.forwarded, counters.flooded), (2, 3));
}

#[test]
fn vlans_hear_nothing_of_each_other() {
    let (mut switch, [a, b, c]) = three_ports();
    switch.set_vlan(a, 2);
    switch.set_vlan(b, 2);
    switch.send(at(0), a, frame(mac(1), ALL, 1));
    assert_eq!(drain(&mut switch), [(at(100), 1, 1)], "broadcast stays in its VLAN");
    switch.send(at(1000), c, frame(mac(3), ALL, 2));
    switch.send(at(2000), c, frame(mac(3), mac(1), 3));
    switch.send(at(3000), a, frame(mac(1), mac(3), 4));
    assert_eq!(drain(&mut switch), [], "and so does what is for a known station of another");
    switch.send(at(4000), b, frame(mac(2), mac(1), 5));
    assert_eq!(drain(&mut switch), [(at(4100), 0, 5)]);
}

#[test]
fn never_sends_back_where_a_frame_came_from() {
    let (mut switch, [a, ..]) = three_ports();
    switch.send(at(0), a, frame(mac(1), ALL, 1));
    switch.send(at(0), a, frame(mac(9), ALL, 1));
    drain(&mut switch);
    switch.send(at(1000), a, frame(mac(1), mac(9), 2));
    assert_eq!(drain(&mut switch), []);
    assert_eq!(switch.counters().filtered, 1);
}

#[test]
fn forgets_after_the_ageing_time() {
    let (mut switch, [a, b, _]) = three_ports();
    switch.set_ageing(Duration::from_secs(300));
    switch.send(at(0), b, frame(mac(2), ALL, 1));
    drain(&mut switch);
    assert_eq!(
        switch.fdb(at(299_000_000)).map(|entry| (entry.mac, entry.port)).collect::<Vec<_>>(),
        [(mac(2), b)]
    );
    assert_eq!(switch.fdb(at(301_000_000)).count(), 0);
    switch.send(at(299_000_000), a, frame(mac(1), mac(2), 2));
    assert_eq!(drain(&mut switch).len(), 1);
    switch.send(at(301_000_000), a, frame(mac(1), mac(2), 3));
    assert_eq!(drain(&mut switch).len(), 2, "an aged address is flooded");
    switch.flush_fdb();
    assert_eq!(switch.fdb(at(301_000_100)).count(), 0);
}

#[test]
fn follows_a_station_to_another_port() {
    let (mut switch, [a, b, c]) = three_ports();
    switch.send(at(0), a, frame(mac(1), ALL, 1));
    drain(&mut switch);
    switch.send(at(1000), b, frame(mac(1), ALL, 2));
    drain(&mut switch);
    switch.send(at(2000), c, frame(mac(3), mac(1), 3));
    assert_eq!(drain(&mut switch), [(at(2100), 1, 3)]);
    assert_eq!(switch.counters().moved, 1);
}

#[test]
fn drops_what_no_station_can_have_sent() {
    let (mut switch, [a, ..]) = three_ports();
    for bad in [vec![], vec![0; 13], frame(ALL, mac(2), 1), frame(EthernetAddress([0; 6]), mac(2), 1)] {
        switch.send(at(0), a, bad);
    }
    assert_eq!(drain(&mut switch), []);
    assert_eq!(switch.counters().malformed, 4);
    assert_eq!(switch.fdb(at(0)).count(), 0);
}

#[test]
fn cuts_one_way_only() {
    let (mut switch, [a, b, _]) = three_ports();
    switch.wire_mut(b).to_switch.cut = true;
    switch.send(at(0), a, frame(mac(1), ALL, 1));
    switch.send(at(0), b, frame(mac(2), ALL, 2));
    assert_eq!(drain(&mut switch), [(at(100), 1, 1), (at(100), 2, 1)], "b hears and is not heard");
    switch.wire_mut(b).set_cut(true);
    switch.send(at(1000), a, frame(mac(1), ALL, 3));
    assert_eq!(drain(&mut switch), [(at(1100), 2, 3)]);
    switch.wire_mut(b).set_cut(false);
    switch.send(at(2000), b, frame(mac(2), mac(1), 4));
    assert_eq!(drain(&mut switch), [(at(2100), 0, 4)]);
    let counters = switch.wire(b).to_switch.counters();
    assert_eq!((counters.sent, counters.cut, counters.delivered), (2, 1, 1));
}

#[test]
fn a_port_that_goes_down_loses_what_is_under_way() {
    let (mut switch, [a, b, _]) = three_ports();
    switch.send(at(0), b, frame(mac(2), ALL, 1));
    drain(&mut switch);
    switch.send(at(1000), b, frame(mac(2), mac(1), 2));
    switch.send(at(1000), a, frame(mac(1), mac(2), 3));
    switch.set_port_up(at(1010), b, false);
    switch.set_port_up(at(1020), b, true);
    let seen = drain(&mut switch);
    assert_eq!(seen, [(at(1100), 1, 3), (at(1100), 2, 3)], "b's frame is gone, and so is its address");
    assert_eq!(switch.wire(b).to_switch.counters().cut, 1);
    switch.set_port_up(at(2000), b, false);
    switch.send(at(2000), b, frame(mac(2), ALL, 4));
    switch.send(at(2000), a, frame(mac(1), ALL, 5));
    assert_eq!(drain(&mut switch), [(at(2100), 2, 5)]);
}

#[test]
fn spanning_tree_holds_a_port_back_after_link_up() {
    let (mut switch, [a, b, _]) = three_ports();
    switch.set_forwarding_delay(SPANNING_TREE_DELAY);
    switch.set_port_up(at(0), b, false);
    switch.set_port_up(at(0), b, true);
    switch.send(at(29_000_000), b, frame(mac(2), ALL, 1));
    switch.send(at(29_000_000), a, frame(mac(1), ALL, 2));
    assert_eq!(drain(&mut switch), [(at(29_000_100), 2, 2)]);
    switch.send(at(30_000_000), b, frame(mac(2), ALL, 3));
    assert_eq!(drain(&mut switch), [(at(30_000_100), 0, 3), (at(30_000_100), 2, 3)]);
}

/// A frame every millisecond from `a` over faulty wires; what arrives where and when.
fn storm(seed: u64, faults: Faults) -> Vec<(Instant, usize, u8)> {
    let mut switch = Switch::new(seed);
    let ports = ["a", "b", "c"].map(|name| switch.add_port(name, faults));
    let mut seen = Vec::new();
    for tick in 0..2000_u16 {
        let now = at(i64::from(tick) * 1000);
        while let Some(next) = switch.poll_timeout().filter(|next| *next <= now) {
            while let Some((port, frame)) = switch.poll(next) {
                seen.push((next, port.index(), frame.get(14).copied().unwrap_or(0)));
            }
        }
        switch.send(now, ports[0], frame(mac(1), ALL, tick.to_be_bytes()[1]));
    }
    seen.extend(drain(&mut switch));
    seen
}

fn rough() -> Faults {
    Faults {
        delay: Duration::from_micros(200),
        jitter: Duration::from_micros(500),
        loss: Chance::percent(5),
        bursts: Some(Bursts {
            good: Duration::from_millis(980),
            bad: Duration::from_millis(20),
            loss: Chance::percent(50),
        }),
        duplicate: Chance::percent(2),
        reorder: Chance::percent(2),
        reorder_by: Duration::from_millis(3),
        corrupt: Chance::percent(1),
        truncate: Chance::percent(1),
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = storm(42, rough());
    assert_eq!(first, storm(42, rough()));
    assert_ne!(first, storm(43, rough()));
}

#[test]
fn faults_happen_as_often_as_asked() {
    let clean = Faults::delay(DELAY);
    let count = |faults: Faults| storm(7, faults).iter().filter(|(_, port, _)| *port == 1).count();
    assert_eq!(count(clean), 2000);
    // Two wires on the way: 1 - 0.9^2 = 19 % lost of 2,000, standard deviation 18.
    let lost = 2000 - count(Faults { loss: Chance::percent(10), ..clean });
    assert!((310..450).contains(&lost), "{lost} lost");
    // Both wires double: 2000 * 1.1^2 = 2,420.
    let doubled = count(Faults { duplicate: Chance::percent(10), ..clean });
    assert!((2350..2490).contains(&doubled), "{doubled} arrived");
    assert_eq!(count(Faults { loss: Chance::ALWAYS, ..clean }), 0);
    // Two wires, 2 % of the time bad, half of the frames then: 40 lost in the mean, in bunches.
    let bursts =
        Bursts { good: Duration::from_millis(98), bad: Duration::from_millis(2), loss: Chance::percent(50) };
    let lost = 2000 - count(Faults { bursts: Some(bursts), ..clean });
    assert!((10..100).contains(&lost), "{lost} lost in bursts");
}

#[test]
fn only_reordering_reorders() {
    let overtaken = |faults: Faults| {
        let run = storm(3, faults);
        let tags: Vec<u8> = run.iter().filter(|(_, port, _)| *port == 1).map(|(.., tag)| *tag).collect();
        tags.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) != 1).count()
    };
    let jitter = Faults { jitter: Duration::from_millis(4), ..Faults::delay(DELAY) };
    assert_eq!(overtaken(jitter), 0, "jitter keeps the order");
    assert!(
        overtaken(Faults { reorder: Chance::percent(5), reorder_by: Duration::from_millis(4), ..jitter })
            > 20
    );
}

#[test]
fn a_capture_reads_back_as_pcapng() {
    let (mut switch, [a, b, _]) = three_ports();
    switch.start_capture(&[a, b]);
    switch.send(at(1_000_001), a, frame(mac(1), ALL, 1));
    drain(&mut switch);
    let mut file = Vec::new();
    switch.capture().expect("started above").write_to(&mut file).expect("memory takes it");

    let mut reader = PcapNgReader::new(&file[..]).expect("a section header");
    let mut names = Vec::new();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block") {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, pcap_file::DataLink::ETHERNET);
                names.extend(interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                packets.push((
                    packet.interface_id,
                    packet.timestamp.as_nanos(),
                    packet.data.len(),
                    packet.data[14],
                ));
            }
            other => panic!("a block nobody wrote: {other:?}"),
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(packets, [(0, 1_000_001_000, 60, 1), (1, 1_000_101_000, 60, 1)], "c was not asked for");
    assert_eq!(switch.take_capture().map(|capture| capture.frames().len()), Some(2));
    assert!(switch.capture().is_none());
}
