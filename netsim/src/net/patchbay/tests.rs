//! Tests of the patch bay without TAP devices.

use super::*;
use crate::net::host::HostSettings;
use crate::net::stack::Pong;
use smoltcp::wire::{EthernetAddress, IpCidr};

fn host(last: u8) -> Host {
    let mac = EthernetAddress([2, 0, 0, 0, 0, last]);
    Host::new(HostSettings::new(
        &format!("host {last}"),
        mac,
        IpCidr::new(std::net::Ipv4Addr::new(172, 16, 16, last).into(), 24),
        1,
    ))
}

#[test]
fn two_stations_ping_in_real_time_and_a_cut_is_felt() {
    let bay = Patchbay::start(1).expect("an epoll descriptor and a thread");
    let a = bay.connect_station("a", host(1), WireSettings::default()).expect("it runs");
    let b = bay.connect_station("b", host(2), WireSettings::default()).expect("it runs");
    let ping = move |sequence| {
        move |_, bench: &mut Bench| bench.station(a).ping([172, 16, 16, 2].into(), sequence).expect("room")
    };
    bay.run(ping(1)).expect("it runs");
    let pong = bay.wait_for(Duration::from_secs(5), move |_, bench| bench.station(a).next_pong());
    assert_eq!(pong, Some(Pong { from: [172, 16, 16, 2].into(), sequence: 1 }));
    bay.run(move |_, bench| bench.switch.wire_mut(b).set_cut(true)).expect("it runs");
    bay.run(ping(2)).expect("it runs");
    assert_eq!(bay.wait_for(Duration::from_millis(50), move |_, bench| bench.station(a).next_pong()), None);
    let known = bay.run(move |_, bench| bench.host(a).neighbours().get([172, 16, 16, 2].into()).copied());
    assert_eq!(
        known.expect("it runs").and_then(|entry| entry.mac),
        Some(EthernetAddress([2, 0, 0, 0, 0, 2]))
    );
}

#[test]
fn a_test_sends_and_hears_on_a_bare_port() {
    let bay = Patchbay::start(1).expect("an epoll descriptor and a thread");
    let a = bay.connect_nothing("a", WireSettings::default()).expect("it runs");
    let b = bay.connect_nothing("b", WireSettings::default()).expect("it runs");
    let mut frame = vec![0xff; 60];
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    bay.send(a, frame.clone()).expect("it runs");
    let heard = bay.wait_for(Duration::from_secs(5), move |_, bench| bench.take_inbox(b).pop());
    assert_eq!(heard, Some(frame));
}

#[test]
fn a_panic_over_there_is_an_error_here() {
    let bay = Patchbay::start(1).expect("an epoll descriptor and a thread");
    let a = bay.connect_nothing("a", WireSettings::default()).expect("it runs");
    assert_eq!(bay.run(move |_, bench| bench.host(a).unroutable()), Err(Stopped));
    assert_eq!(bay.send(a, vec![0; 60]), Err(Stopped));
}
