//! The classic BPF programs that the kernel runs on every ARP and IPv6 frame
//! before it wakes us.
//!
//! They keep what the responder could possibly answer or learn from: well-formed
//! Ethernet/IPv4 ARP requests and replies, and neighbour solicitations and
//! advertisements of this link, that came from the wire. A load past
//! the end of a frame ends the program with "drop", so a truncated frame never
//! gets through.

use socket2::SockFilter;

/// Load a half-word at an absolute offset.
const LD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
/// Load a byte at an absolute offset.
const LD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
/// Load a word at an absolute offset.
const LD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
/// Jump if equal.
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
/// Jump if greater.
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
/// End with a constant: how many bytes to keep.
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where the kernel shows `skb->pkt_type` to a filter (`SKF_AD_OFF +
/// SKF_AD_PKTTYPE` of linux/filter.h).
const PACKET_TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();

/// `PACKET_HOST`, `PACKET_BROADCAST` and `PACKET_MULTICAST` are 0 to 2. Beyond
/// come frames for somebody else (among them frames of a VLAN that this node
/// has no interface for) and our own.
const LAST_WANTED_PACKET_TYPE: u32 = 2;

/// Bytes kept of an ARP frame: it has 42, padded to 60; more is trailer.
pub const SNAP_LEN: u32 = 128;

/// ARP, hardware type Ethernet, protocol IPv4, lengths 6 and 4, operation
/// request or reply (RFC 826), received and not overheard.
#[must_use]
pub fn arp() -> Vec<SockFilter> {
    /// A field that must have one value.
    const FIELDS: [(u16, u32, u32); 5] = [
        (LD_HALF, 12, 0x0806), // EtherType
        (LD_HALF, 14, 1),      // hardware type
        (LD_HALF, 16, 0x0800), // protocol type
        (LD_BYTE, 18, 6),      // hardware length
        (LD_BYTE, 19, 4),      // protocol length
    ];

    keep_if(&FIELDS, (LD_HALF, 20, [1, 2]), 42, SNAP_LEN)
}

/// ICMPv6 behind an IPv6 header without extensions, hop limit 255, a neighbour
/// solicitation or advertisement of code 0 (RFC 4861 7.1), received and not
/// overheard. Nothing is cut off: options may be many.
#[must_use]
pub fn ndp() -> Vec<SockFilter> {
    const FIELDS: [(u16, u32, u32); 4] = [
        (LD_HALF, 12, 0x86dd), // EtherType
        (LD_BYTE, 20, 58),     // next header
        (LD_BYTE, 21, 255),    // hop limit
        (LD_BYTE, 55, 0),      // code
    ];
    keep_if(&FIELDS, (LD_BYTE, 54, [135, 136]), 78, u32::MAX)
}

/// Keeps up to `keep` bytes of a frame that came from the wire and has at least
/// `shortest` of them, whose `fields` have the values given, and `kind` one of
/// its two.
fn keep_if(
    fields: &[(u16, u32, u32)],
    kind: (u16, u32, [u32; 2]),
    shortest: u32,
    keep: u32,
) -> Vec<SockFilter> {
    let mut program =
        vec![statement(LD_WORD, PACKET_TYPE), jump(JUMP_GREATER, LAST_WANTED_PACKET_TYPE, DROP, NEXT)];
    for (load, offset, value) in fields {
        program.push(statement(*load, *offset));
        program.push(jump(JUMP_EQUAL, *value, NEXT, DROP));
    }
    let (load, offset, [one, other]) = kind;
    program.push(statement(load, offset));
    program.push(jump(JUMP_EQUAL, one, KEEP, NEXT));
    program.push(jump(JUMP_EQUAL, other, KEEP, DROP));
    // The last byte that a responder reads: a shorter frame ends here.
    let end = program.len();
    program.push(statement(LD_BYTE, shortest - 1));
    program.push(statement(RETURN, keep));
    program.push(statement(RETURN, 0));
    resolve(program, end)
}

/// Jump targets while a program is being written; [`resolve`] makes offsets of
/// them.
const NEXT: u8 = 0;
const KEEP: u8 = 0xfe;
const DROP: u8 = 0xff;

/// An instruction before its jumps have become offsets.
#[derive(Clone, Copy)]
struct Draft {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

const fn statement(code: u16, operand: u32) -> Draft {
    Draft { code, if_true: NEXT, if_false: NEXT, operand }
}

const fn jump(code: u16, operand: u32, if_true: u8, if_false: u8) -> Draft {
    Draft { code, if_true, if_false, operand }
}

/// Turns [`KEEP`] and [`DROP`] into distances from each instruction: `keep` is
/// the index to go on at, the last instruction drops.
fn resolve(program: Vec<Draft>, keep: usize) -> Vec<SockFilter> {
    let drop = program.len() - 1;
    let distance = |target: u8, at: usize| {
        let to = match target {
            KEEP => keep,
            DROP => drop,
            near => return near,
        };
        u8::try_from(to - at - 1).expect("the program is shorter than a jump reaches")
    };
    program
        .into_iter()
        .enumerate()
        .map(|(at, draft)| {
            let (yes, no) = (distance(draft.if_true, at), distance(draft.if_false, at));
            SockFilter::new(draft.code, yes, no, draft.operand)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A filter works on any socket; on a local pair every datagram counts as
    /// `PACKET_HOST`.
    fn passes(filter: &[SockFilter], frame: &[u8]) -> Option<usize> {
        let (sender, receiver) = UnixDatagram::pair().expect("a pair of local sockets");
        socket2::SockRef::from(&receiver)
            .attach_filter(filter)
            .expect("the kernel checks and takes the program");
        receiver.set_nonblocking(true).expect("a socket can be non-blocking");
        sender.send(frame).expect("a filtered datagram is dropped silently");
        receiver.recv(&mut [0; 2048]).ok()
    }

    /// A request from 172.16.16.1 for 172.16.16.101, padded to 60 bytes.
    fn request() -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([0x02, 0, 0, 0, 0, 1]);
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        frame.extend([0x02, 0, 0, 0, 0, 1, 172, 16, 16, 1]);
        frame.extend([0, 0, 0, 0, 0, 0, 172, 16, 16, 101]);
        frame.resize(60, 0);
        frame
    }

    #[test]
    fn t1_keeps_arp_and_nothing_else() {
        let changed = |at: usize, value: u8| {
            let mut frame = request();
            frame[at] = value;
            frame
        };
        let filter = arp();
        for (what, frame, expected) in [
            ("request", request(), true),
            ("reply", changed(21, 2), true),
            ("without padding", request()[..42].to_vec(), true),
            ("one byte short", request()[..41].to_vec(), false),
            ("Ethernet header only", request()[..14].to_vec(), false),
            ("one byte", vec![0xff], false),
            ("IPv4", changed(13, 0x00), false),
            ("another EtherType", changed(12, 0x86), false),
            ("hardware type 6", changed(15, 6), false),
            ("protocol type 0x0801", changed(17, 1), false),
            ("hardware length 8", changed(18, 8), false),
            ("protocol length 16", changed(19, 16), false),
            ("operation 0", changed(21, 0), false),
            ("operation 3, reverse ARP", changed(21, 3), false),
            ("operation 257", changed(20, 1), false),
        ] {
            assert_eq!(passes(&filter, &frame).is_some(), expected, "{what}");
        }
    }

    /// A solicitation with its option: 86 bytes, checksum aside.
    fn solicitation() -> Vec<u8> {
        let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 1, 0x02, 0, 0, 0, 0, 1, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
        frame.extend([0xfe; 16]);
        frame.extend([0xff; 16]);
        frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([0xfd; 16]);
        frame.extend([1, 1, 0x02, 0, 0, 0, 0, 1]);
        frame
    }

    #[test]
    fn t1_keeps_neighbour_discovery_of_this_link_and_nothing_else() {
        let changed = |at: usize, value: u8| {
            let mut frame = solicitation();
            frame[at] = value;
            frame
        };
        let filter = ndp();
        let long = [solicitation(), vec![0; 1_400]].concat();
        for (what, frame, expected) in [
            ("solicitation", solicitation(), true),
            ("advertisement", changed(54, 136), true),
            ("duplicate detection has no option", solicitation()[..78].to_vec(), true),
            ("many options", long.clone(), true),
            ("one byte short", solicitation()[..77].to_vec(), false),
            ("Ethernet header only", solicitation()[..14].to_vec(), false),
            ("ARP", changed(13, 0x06), false),
            ("UDP", changed(20, 17), false),
            ("hop limit 254", changed(21, 254), false),
            ("code 1", changed(55, 1), false),
            ("router advertisement", changed(54, 134), false),
            ("redirect", changed(54, 137), false),
            ("echo request", changed(54, 128), false),
        ] {
            assert_eq!(passes(&filter, &frame).is_some(), expected, "{what}");
        }
        assert_eq!(passes(&filter, &long), Some(long.len()), "nothing is cut off");
    }

    #[test]
    fn t1_cuts_a_giant() {
        let mut frame = request();
        frame.resize(1514, 0xaa);
        assert_eq!(passes(&arp(), &frame), Some(SNAP_LEN as usize));
    }
}
