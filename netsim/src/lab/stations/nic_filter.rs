//! What a node's NIC and the kernel's filter let through to the speaker's packet
//! sockets.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use smoltcp::wire::EthernetAddress;

use crate::net::frame::{ALL_NODES, multicast_mac};

/// Whether the speaker of the station `mac` gets a frame: ARP to it or to
/// everybody; neighbour discovery to it, to all nodes, or to one of the groups
/// that were joined for it.
pub fn passes(frame: &[u8], mac: EthernetAddress, groups: Option<&BTreeSet<Ipv6Addr>>) -> bool {
    let Some(to) = frame.first_chunk::<6>() else { return false };
    match frame.get(12..14) {
        Some([0x08, 0x06]) => *to == mac.0 || to[0] & 1 == 1,
        // Next header, hop limit and type.
        Some([0x86, 0xdd])
            if frame.get(20..22) == Some(&[58, 255]) && matches!(frame.get(54), Some(135 | 136)) =>
        {
            let mut heard = groups.into_iter().flatten().chain([&ALL_NODES]);
            *to == mac.0 || heard.any(|group| *to == multicast_mac((*group).into()).0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_the_speaker() {
        let mac = EthernetAddress([2, 0, 0, 0, 0, 1]);
        let vip: Ipv6Addr = "ff02::1:ff00:101".parse().expect("a group");
        let joined = BTreeSet::from([vip]);
        let frame = |to: [u8; 6], ethertype: u16, header: [u8; 2], kind: u8| {
            let mut frame = vec![0; 86];
            frame[..6].copy_from_slice(&to);
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            frame[20..22].copy_from_slice(&header);
            frame[54] = kind;
            frame
        };
        let (group, other) = ([0x33, 0x33, 0xff, 0, 1, 1], [0x33, 0x33, 0xff, 0, 1, 2]);
        for (what, frame, expected) in [
            ("ARP to all", frame([0xff; 6], 0x0806, [0, 0], 0), true),
            ("ARP to us", frame(mac.0, 0x0806, [0, 0], 0), true),
            ("ARP to another", frame([2; 6], 0x0806, [0, 0], 0), false),
            ("NDP to the group", frame(group, 0x86dd, [58, 255], 135), true),
            ("NDP to a group not joined", frame(other, 0x86dd, [58, 255], 135), false),
            ("NDP to all nodes", frame([0x33, 0x33, 0, 0, 0, 1], 0x86dd, [58, 255], 136), true),
            ("NDP to us", frame(mac.0, 0x86dd, [58, 255], 135), true),
            ("NDP from behind a router", frame(mac.0, 0x86dd, [58, 254], 135), false),
            ("ping", frame(mac.0, 0x86dd, [58, 255], 128), false),
            ("nothing", vec![], false),
        ] {
            assert_eq!(passes(&frame, mac, Some(&joined)), expected, "{what}");
        }
        assert!(
            !passes(&frame(group, 0x86dd, [58, 255], 135), mac, None),
            "without a speaker nothing is joined"
        );
    }
}
