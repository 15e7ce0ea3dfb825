//! ARP by hand, from a port with nothing but the test on it.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use netsim::net::patchbay::Patchbay;
use netsim::net::port::PortId;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

/// Who asks.
const ASKER: (EthernetAddress, Ipv4Addr) =
    (EthernetAddress([0x02, 0, 0, 0, 0, 0x99]), Ipv4Addr::new(172, 16, 16, 153));

/// How long other answers may take after the first.
const OTHERS: Duration = Duration::from_millis(150);

/// Asks once for `address` and gives everybody who answers: the first within `patience`, the others soon after.
pub(crate) fn who_has(
    bay: &Patchbay,
    port: PortId,
    address: Ipv4Addr,
    patience: Duration,
) -> Vec<EthernetAddress> {
    let _old = bay.run(move |_, bench| bench.take_inbox(port)).expect("the switch runs");
    bay.send(port, request(address)).expect("the switch runs");
    let heard = move |frames: &[Vec<u8>]| -> Vec<EthernetAddress> {
        let arp = frames.iter().filter_map(|frame| read(frame)).filter(|arp| arp.is_reply_for(address));
        arp.map(|arp| arp.mac).collect()
    };
    let first = bay.wait_for(patience, move |_, bench| {
        Some(heard(&bench.take_inbox(port))).filter(|answers| !answers.is_empty())
    });
    let Some(first) = first else { return Vec::new() };
    thread::sleep(OTHERS);
    let others = bay.run(move |_, bench| bench.take_inbox(port)).expect("the switch runs");
    [first, heard(&others)].concat()
}

/// Who announced `address` at `port` since the last look, asked or not.
pub(crate) fn announced(frames: &[Vec<u8>], address: Ipv4Addr) -> Option<EthernetAddress> {
    frames.iter().filter_map(|frame| read(frame)).find(|arp| arp.address == address).map(|arp| arp.mac)
}

/// The sender of an ARP frame, and which kind it is.
struct Sender {
    operation: ArpOperation,
    to: EthernetAddress,
    mac: EthernetAddress,
    address: Ipv4Addr,
}

impl Sender {
    /// A broadcast reply is an announcement and answers nobody.
    fn is_reply_for(&self, address: Ipv4Addr) -> bool {
        self.operation == ArpOperation::Reply && self.to == ASKER.0 && self.address == address
    }
}

fn read(frame: &[u8]) -> Option<Sender> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(frame.payload()).ok()?;
    match ArpRepr::parse(&packet).ok()? {
        ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } => Some(Sender {
            operation,
            to: frame.dst_addr(),
            mac: source_hardware_addr,
            address: source_protocol_addr,
        }),
        _ => None,
    }
}

fn request(target: Ipv4Addr) -> Vec<u8> {
    let (mac, address) = ASKER;
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut bytes = vec![0; 60];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr { src_addr: mac, dst_addr: EthernetAddress::BROADCAST, ethertype: EthernetProtocol::Arp }
        .emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}
