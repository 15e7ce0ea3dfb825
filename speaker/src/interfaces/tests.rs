//! What is made of netlink's messages, and the real kernel's loopback device.

use std::net::Ipv4Addr;

use futures::stream;

use super::*;
use crate::log_lines;

const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];

fn link(flags: LinkFlags, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.flags = flags;
    message.attributes = attributes;
    message
}

#[test]
fn d45_flags_master_and_mac_decide() {
    let good = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Broadcast;
    let named = || LinkAttribute::IfName("eth0".to_owned());
    let mac = || LinkAttribute::Address(MAC.to_vec());
    for (what, flags, attributes, announces) in [
        ("Ethernet", good, vec![named(), mac()], true),
        ("no carrier yet", LinkFlags::Up | LinkFlags::Broadcast, vec![named(), mac()], true),
        ("down", LinkFlags::Broadcast, vec![named(), mac()], false),
        ("bridge port", good, vec![named(), mac(), LinkAttribute::Controller(3)], false),
        ("released bridge port", good, vec![named(), mac(), LinkAttribute::Controller(0)], true),
        ("NOARP", good | LinkFlags::Noarp, vec![named(), mac()], false),
        ("no broadcast", LinkFlags::Up, vec![named(), mac()], false),
        ("loopback", good, vec![named(), LinkAttribute::Address(vec![0; 6])], false),
        ("InfiniBand", good, vec![named(), LinkAttribute::Address(vec![1; 20])], false),
        ("IP tunnel", good, vec![named()], false),
    ] {
        let interface = from_link(&link(flags, attributes)).expect("it has a name");
        assert_eq!(interface.can_announce(IpFamily::V4), announces, "{what}: {interface:?}");
        assert_eq!((interface.id, interface.name.as_str()), (InterfaceId(7), "eth0"));
    }
}

#[test]
fn w44_a_link_without_a_name_is_left_out() {
    assert_eq!(from_link(&link(LinkFlags::Up, vec![LinkAttribute::Address(MAC.to_vec())])), None);
}

#[test]
fn own_address_on_a_point_to_point_link() {
    let [own, peer] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)].map(IpAddr::from);
    for (attributes, expected) in [
        (vec![AddressAttribute::Address(peer), AddressAttribute::Local(own)], Some(own)),
        (vec![AddressAttribute::Address(own)], Some(own)),
        (vec![AddressAttribute::Label("eth0".to_owned())], None),
    ] {
        let mut message = AddressMessage::default();
        message.attributes = attributes;
        assert_eq!(from_address(&message), expected, "{:?}", message.attributes);
    }
}

#[test]
fn w44_one_unreadable_object_is_left_out_and_a_broken_socket_is_not() {
    let gone = rtnetlink::Error::NetlinkError(rtnetlink::packet_core::ErrorMessage::default());
    assert!(matches!(readable::<()>(Err(gone)), Ok(None)));
    assert!(matches!(readable::<()>(Err(rtnetlink::Error::RequestFailed)), Err(WatchError::Dump(_))));
    assert!(matches!(readable(Ok(1)), Ok(Some(1))));
}

#[tokio::test]
async fn a_burst_is_one_change_and_an_ended_stream_an_error() {
    let mut open = Box::pin(stream::iter([1, 2, 3]).chain(stream::pending()));
    let start = Instant::now();
    next_burst(&mut open).await.expect("a change");
    assert!(start.elapsed() >= COALESCE, "it waited for the rest of the burst");
    let mut rest = Box::pin(timeout(Duration::ZERO, open.next()));
    assert!((&mut rest).await.is_err(), "the whole burst was taken");

    let mut ended = stream::iter([1]);
    assert!(matches!(next_burst(&mut ended).await, Err(WatchError::Closed)));
}

#[tokio::test]
async fn the_kernel_lists_loopback_and_d42_leaves_it_out() {
    async fn first_list(exclude: ExcludeList) -> Vec<Interface> {
        let (sender, mut receiver) = mpsc::channel(4);
        let watch = AbortOnDrop(tokio::spawn(watch(exclude, sender)));
        let input = timeout(DUMP_TIMEOUT, receiver.recv()).await.expect("the kernel answers at once");
        drop(watch);
        match input {
            Some(Input::Interfaces(list)) => list,
            other => panic!("expected a list of interfaces, not {other:?}"),
        }
    }

    let all = first_list(ExcludeList::default()).await;
    let loopback = all.iter().find(|interface| interface.name == "lo").expect("every namespace has one");
    assert_eq!(loopback.mac, None);
    assert!(!loopback.can_announce(IpFamily::V4));

    let exclude = ExcludeList::parse("announcedInterfacesToExclude: ['^lo$']").expect("a good pattern");
    let rest = first_list(exclude).await;
    assert!(rest.iter().all(|interface| interface.name != "lo"));
}

#[test]
fn f42_where_arp_and_ndp_are_answered_is_told() {
    let interface = |id, name: &str, is_up, can_broadcast| Interface {
        id: InterfaceId(id),
        name: name.to_owned(),
        mac: Some(MacAddr(MAC)),
        addresses: Vec::new(),
        gateways: Vec::new(),
        is_up,
        has_carrier: true,
        can_broadcast,
        no_arp: false,
        master: None,
        ipv6_is_off: false,
    };
    let events = |before: &[Interface], after: &[Interface]| {
        let lines = log_lines::of(|| log_changes(before, after));
        let told = lines.iter().filter(|line| line["event"].is_string()).map(|line| {
            assert_eq!(line["level"], "info");
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("event"), text("interface"))
        });
        told.collect::<Vec<_>>()
    };
    let eth0 = || interface(2, "eth0", true, true);
    let down = || interface(2, "eth0", false, true);
    let tunnel = || interface(3, "ipip0", true, false);
    for (before, after, expected) in [
        (vec![], vec![eth0()], &["createARPResponder eth0", "createNDPResponder eth0"][..]),
        (vec![eth0()], vec![eth0(), tunnel()], &["createNDPResponder ipip0"]),
        (vec![eth0()], vec![eth0()], &[]),
        (vec![eth0()], vec![down()], &["deleteARPResponder eth0", "deleteNDPResponder eth0"]),
        (vec![eth0(), tunnel()], vec![tunnel()], &["deleteARPResponder eth0", "deleteNDPResponder eth0"]),
        (vec![down()], vec![], &[]),
    ] {
        assert_eq!(events(&before, &after), expected, "{before:?} -> {after:?}");
    }
}
