//! The datagram by which a member tells another what its node can announce on,
//! and what it has heard of the other's node.
//!
//! ```text
//! 0 | version 1 | length u8 | sender | boot u64 | fields: tag u8 | length u16 | value
//! heard (1)   boot u64 | number u64
//! reach (2)   number u64 | flags u8 | count u8 | links
//! lacks (3)   objects u32, of the reach in the same datagram
//! link        length u8 | name | flags u8 | count u8 | subnets: 4 or 6 | prefix u8 | network
//! ```
//!
//! Numbers are big-endian. The first byte is that of no message of foca's: those
//! begin with the length of a name. A version that is not known, and a field that
//! is not known, says nothing and harms nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::identity::is_node_name;
use crate::gossip::envelope::{GossipRejection, MAX_BOOT};
use crate::ownership::lacks::{Lack, MAX_LACKS};
use crate::ownership::reach::{Link, Reach, Subnet};

/// The longest encoding of a reach, in bytes; what does not fit is cut. With the
/// longest name it leaves room in a datagram.
pub(crate) const MAX_REACH: usize = 800;
/// The longest name of an interface, in bytes (`IFNAMSIZ`, its zero apart).
const MAX_LINK_NAME: usize = 15;

const MARK: u8 = 0;
const VERSION: u8 = 1;
const HEARD: u8 = 1;
const REACH: u8 = 2;
const LACKS: u8 = 3;

const ANY_IPV4: u8 = 1;
const ANY_IPV6: u8 = 2;
const CUT: u8 = 4;
const LINK_IPV4: u8 = 1;
const LINK_NO_IPV6: u8 = 2;

/// Which state of a node's reach; the later life and the higher number count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edition {
    /// The life of the speaker.
    pub(crate) boot: u64,
    /// Counts the changes in that life, from 1.
    pub(crate) number: u64,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberReport {
    /// Who speaks.
    pub(crate) sender: Arc<str>,
    /// In which life.
    pub(crate) boot: u64,
    /// The latest that it has heard of the one it speaks to.
    pub(crate) heard: Option<Edition>,
    /// Its number for what it tells of itself, and that.
    pub(crate) reach: Option<(u64, Reach)>,
}

/// Whether `bytes` is ours to read, not foca's.
pub(crate) fn is_report(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MARK)
}

impl MemberReport {
    /// The payload for it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = u8::try_from(self.sender.len()).expect("names are bounded when an identity is made");
        let mut bytes = vec![MARK, VERSION, length];
        bytes.extend(self.sender.as_bytes());
        bytes.extend(self.boot.to_be_bytes());
        if let Some(heard) = self.heard {
            field(&mut bytes, HEARD, &[heard.boot.to_be_bytes(), heard.number.to_be_bytes()].concat());
        }
        if let Some((number, reach)) = &self.reach {
            field(&mut bytes, REACH, &[&number.to_be_bytes()[..], &encode_reach(reach)].concat());
            if let Some(lacks) = &reach.lacks {
                let objects = lacks.iter().take(MAX_LACKS);
                field(
                    &mut bytes,
                    LACKS,
                    &objects.flat_map(|object| object.to_be_bytes()).collect::<Vec<u8>>(),
                );
            }
        }
        bytes
    }

    /// Reads a payload. `None` if it is of a version that is not known.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, GossipRejection> {
        let mut reader = Reader(bytes);
        match (reader.byte()?, reader.byte()?) {
            (MARK, VERSION) => {}
            (MARK, _) => return Ok(None),
            _ => return Err(GossipRejection::Malformed),
        }
        let sender = reader.name()?;
        let boot = reader.number()?;
        if !is_node_name(sender) || boot > MAX_BOOT {
            return Err(GossipRejection::Malformed);
        }
        let mut report = Self { sender: sender.into(), boot, heard: None, reach: None };
        let mut lacks = None;
        while !reader.0.is_empty() {
            let tag = reader.byte()?;
            let length = usize::from(reader.byte()?) << 8 | usize::from(reader.byte()?);
            let mut value = Reader(reader.take(length)?);
            match tag {
                HEARD => report.heard = Some(Edition { boot: value.number()?, number: value.number()? }),
                REACH => report.reach = Some((value.number()?, decode_reach(&mut value)?)),
                LACKS => lacks = Some(decode_lacks(&mut value)?),
                _ => {}
            }
        }
        if let Some((_, reach)) = &mut report.reach {
            reach.lacks = lacks;
        }
        Ok(Some(report))
    }
}

fn field(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    bytes.push(tag);
    bytes.extend(u16::try_from(value.len()).expect("a field is shorter than a datagram").to_be_bytes());
    bytes.extend(value);
}

fn encode_reach(reach: &Reach) -> Vec<u8> {
    let (mut links, mut count, mut cut) = (Vec::new(), 0_u8, reach.cut);
    for (name, link) in &reach.links {
        let encoded = encode_link(name, link);
        let fits = encoded.as_ref().is_some_and(|encoded| links.len() + encoded.len() + 2 <= MAX_REACH);
        match encoded.filter(|_| fits && count < u8::MAX) {
            Some(encoded) => {
                links.extend(encoded);
                count += 1;
            }
            None => cut = true,
        }
    }
    let flags = flag(reach.any.0, ANY_IPV4) | flag(reach.any.1, ANY_IPV6) | flag(cut, CUT);
    [&[flags, count][..], &links].concat()
}

const fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// `None` if it is longer than a link can be told.
fn encode_link(name: &str, link: &Link) -> Option<Vec<u8>> {
    let length = u8::try_from(name.len()).ok().filter(|length| usize::from(*length) <= MAX_LINK_NAME)?;
    let mut bytes = vec![length];
    bytes.extend(name.as_bytes());
    bytes.push(flag(link.ipv4, LINK_IPV4) | flag(link.no_ipv6, LINK_NO_IPV6));
    bytes.push(u8::try_from(link.subnets.len()).ok()?);
    for subnet in &link.subnets {
        match subnet.network() {
            IpAddr::V4(network) => {
                bytes.extend([4, subnet.prefix()]);
                bytes.extend(network.octets());
            }
            IpAddr::V6(network) => {
                bytes.extend([6, subnet.prefix()]);
                bytes.extend(network.octets());
            }
        }
    }
    Some(bytes)
}

fn decode_reach(reader: &mut Reader<'_>) -> Result<Reach, GossipRejection> {
    if reader.0.len() > MAX_REACH {
        return Err(GossipRejection::Malformed);
    }
    let flags = reader.byte()?;
    let any = (flags & ANY_IPV4 != 0, flags & ANY_IPV6 != 0);
    let mut reach = Reach { any, cut: flags & CUT != 0, ..Reach::default() };
    for _ in 0..reader.byte()? {
        let name = reader.name()?;
        if name.is_empty() || name.len() > MAX_LINK_NAME {
            return Err(GossipRejection::Malformed);
        }
        let flags = reader.byte()?;
        let (ipv4, no_ipv6) = (flags & LINK_IPV4 != 0, flags & LINK_NO_IPV6 != 0);
        let mut link = Link { ipv4, no_ipv6, ..Link::default() };
        for _ in 0..reader.byte()? {
            let (family, prefix) = (reader.byte()?, reader.byte()?);
            let network = match family {
                4 => IpAddr::from(*reader.chunk::<4>()?),
                6 => IpAddr::from(*reader.chunk::<16>()?),
                _ => return Err(GossipRejection::Malformed),
            };
            // What is no shared subnet, or not to us, is left out.
            link.subnets.extend(Subnet::of(network, prefix));
        }
        reach.links.insert(name.to_owned(), link);
    }
    Ok(reach)
}

fn decode_lacks(reader: &mut Reader<'_>) -> Result<BTreeSet<Lack>, GossipRejection> {
    let mut lacks = BTreeSet::new();
    while !reader.0.is_empty() && lacks.len() < MAX_LACKS {
        lacks.insert(Lack::from_be_bytes(*reader.chunk()?));
    }
    Ok(lacks)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], GossipRejection> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(GossipRejection::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const LENGTH: usize>(&mut self) -> Result<&'a [u8; LENGTH], GossipRejection> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(GossipRejection::Malformed)?;
        self.0 = rest;
        Ok(chunk)
    }

    fn byte(&mut self) -> Result<u8, GossipRejection> {
        self.chunk::<1>().map(|[byte]| *byte)
    }

    fn number(&mut self) -> Result<u64, GossipRejection> {
        self.chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn name(&mut self) -> Result<&'a str, GossipRejection> {
        let length = self.byte()?;
        str::from_utf8(self.take(usize::from(length))?).map_err(|_| GossipRejection::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::envelope::MAX_PAYLOAD;
    use ferrolb_api::NodeName;
    use rand::{RngExt, SeedableRng};

    fn subnet(text: &str, prefix: u8) -> Subnet {
        Subnet::of(text.parse().expect("an address"), prefix).expect("a shared subnet")
    }

    fn link(ipv4: bool, subnets: &[Subnet]) -> Link {
        Link { ipv4, subnets: subnets.iter().copied().collect(), ..Link::default() }
    }

    fn report(links: Vec<(&str, Link)>) -> MemberReport {
        let links = links.into_iter().map(|(name, link)| (name.to_owned(), link)).collect();
        MemberReport {
            sender: "wk01".into(),
            boot: 7,
            heard: Some(Edition { boot: 1 << 40, number: 3 }),
            reach: Some((
                9,
                Reach { any: (true, true), cut: false, links, lacks: Some([1, 0xdead_beef].into()) },
            )),
        }
    }

    fn full() -> MemberReport {
        let both = [subnet("172.16.16.11", 24), subnet("fd00::11", 64)];
        let only_ipv4 = Link { no_ipv6: true, ..link(true, &both[..1]) };
        report(vec![("eth0", link(true, &both)), ("eth1", only_ipv4), ("wg0", link(false, &[]))])
    }

    #[test]
    fn w13_what_is_told_is_read_back() {
        let bare = Reach { any: (true, false), ..Reach::default() };
        for told in [
            full(),
            MemberReport { heard: None, ..full() },
            MemberReport { reach: None, ..full() },
            MemberReport { reach: Some((1, bare)), ..full() },
        ] {
            assert_eq!(MemberReport::decode(&told.encode()), Ok(Some(told)));
        }
    }

    #[test]
    fn w13_what_a_later_version_adds_harms_nothing() {
        let added = [&full().encode()[..], &[77, 0, 2, 1, 2]].concat();
        assert_eq!(MemberReport::decode(&added), Ok(Some(full())), "a field more");
        let mut later = full().encode();
        later[1] = VERSION + 1;
        assert_eq!(MemberReport::decode(&later[..2]), Ok(None), "a later version of any shape");
        assert_eq!(MemberReport::decode(&later), Ok(None));
        let mut longer = MemberReport { reach: None, ..full() }.encode();
        let value = [&9_u64.to_be_bytes()[..], &encode_reach(&Reach::default()), &[1, 2, 3]].concat();
        field(&mut longer, REACH, &value);
        assert_eq!(
            MemberReport::decode(&longer),
            Ok(Some(MemberReport { reach: Some((9, Reach::default())), ..full() }))
        );
    }

    #[test]
    fn w13_what_does_not_fit_is_cut_and_said_to_be() {
        let subnets: Vec<Subnet> = (0..60).map(|last| subnet(&format!("fd00:{last}::1"), 64)).collect();
        let long = "x".repeat(MAX_LINK_NAME + 1);
        let many: Vec<String> = (0..300).map(|number| format!("interface-{number:04}")).collect();
        let many: Vec<(&str, Link)> = many.iter().map(|name| (name.as_str(), Link::default())).collect();
        for (what, links, kept) in [
            ("one that is too big", vec![("a", link(true, &subnets)), ("b", link(true, &[]))], 1),
            ("a name that is none", vec![("a", link(true, &[])), (&long, link(true, &[]))], 1),
            ("too many", many, (MAX_REACH - 2) / 17),
        ] {
            let mut told = MemberReport { sender: "n".repeat(NodeName::MAX_LEN).into(), ..report(links) };
            if let Some((_, reach)) = &mut told.reach {
                reach.lacks = Some((0..100).collect());
            }
            let bytes = told.encode();
            assert!(bytes.len() <= MAX_PAYLOAD, "{what}: {} bytes", bytes.len());
            let read = MemberReport::decode(&bytes).expect("our own").and_then(|report| report.reach);
            let (_, reach) = read.expect("it was told");
            assert_eq!((reach.cut, reach.links.len()), (true, kept), "{what}");
            assert_eq!(reach.lacks.map(|lacks| lacks.len()), Some(MAX_LACKS), "{what}");
        }
    }

    #[test]
    fn broken_reports_are_refused_and_noise_never_panics() {
        let good = full().encode();
        let mut silent = full();
        if let Some((_, reach)) = &mut silent.reach {
            reach.lacks = None;
        }
        let whole = [
            MemberReport { heard: None, reach: None, ..full() },
            MemberReport { reach: None, ..full() },
            silent,
        ];
        let whole: Vec<usize> = whole.iter().map(|report| report.encode().len()).collect();
        for length in 0..good.len() {
            let complete = whole.contains(&length);
            assert_eq!(MemberReport::decode(&good[..length]).is_ok(), complete, "{length} bytes");
        }
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(13);
        for _ in 0..20_000 {
            let mut changed = good.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..changed.len());
                changed[at] = random.random();
            }
            if let Ok(Some(read)) = MemberReport::decode(&changed) {
                assert!(read.encode().len() <= MAX_PAYLOAD);
            }
        }
    }
}
