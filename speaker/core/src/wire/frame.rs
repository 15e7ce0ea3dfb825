//! What frames of both protocols have in common.

/// The longest frame looked at, in bytes: header, 1,500 bytes and a tag.
pub(super) const MAX_FRAME: usize = 1_518;
pub(super) const ETHERNET_HEADER: usize = 14;
/// IEEE 802.1Q and 802.1ad.
pub(super) const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];
/// Where the EtherType is, and IPv6's.
const ETHERTYPE: std::ops::Range<usize> = 12..14;
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Whether a frame is [`super::ndp`]'s to read; all others are [`super::arp`]'s.
pub(crate) fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(ETHERTYPE) == Some(&IPV6)
}
