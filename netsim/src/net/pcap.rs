//! Captures: what stations sent and heard, as a pcapng file that Wireshark opens.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};
use smoltcp::time::Instant;

use super::port::PortId;

/// Frames one capture keeps, about half a gigabyte of small ones; later frames are only counted.
const CAPACITY: usize = 4_000_000;

/// Which way a frame went on the wire of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The station sent it.
    ToSwitch,
    /// The station heard it.
    ToStation,
}

/// One recorded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When the station sent or heard it.
    pub at: Instant,
    /// The station's port.
    pub port: PortId,
    /// Sent or heard.
    pub direction: Direction,
    /// From the destination address on, without frame check sequence.
    pub frame: Vec<u8>,
}

/// What was seen at the station's end of some wires: a frame lost on the way to the switch is in it, one lost on the way
/// to the station is not.
#[derive(Clone, Debug)]
pub struct Capture {
    names: Vec<String>,
    /// Ports to record; empty for all.
    only: Vec<PortId>,
    frames: Vec<Recorded>,
    missed: u64,
}

impl Capture {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>, only: &[PortId]) -> Self {
        Self { names: names.map(str::to_owned).collect(), only: only.to_vec(), frames: Vec::new(), missed: 0 }
    }

    pub(super) fn add_port(&mut self, name: &str) {
        self.names.push(name.to_owned());
    }

    pub(super) fn record(&mut self, at: Instant, port: PortId, direction: Direction, frame: &[u8]) {
        if !self.only.is_empty() && !self.only.contains(&port) {
            return;
        }
        if self.frames.len() >= CAPACITY {
            self.missed += 1;
            return;
        }
        self.frames.push(Recorded { at, port, direction, frame: frame.to_vec() });
    }

    /// The frames, oldest first.
    #[must_use]
    pub fn frames(&self) -> &[Recorded] {
        &self.frames
    }

    /// Frames that came after the capture was full.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Writes a pcapng file: one interface for each port, named after it, and times in (virtual) microseconds since the
    /// origin of the caller's clock.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_to(&self, out: impl Write) -> Result<(), PcapError> {
        let mut writer = PcapNgWriter::new(out)?;
        for name in &self.names {
            let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
            interface.options.push(InterfaceDescriptionOption::IfName(Cow::Borrowed(name)));
            // The writer stores nanoseconds whatever is declared, so nanoseconds it must be.
            interface.options.push(InterfaceDescriptionOption::IfTsResol(9));
            writer.write_pcapng_block(interface)?;
        }
        for recorded in &self.frames {
            let micros = u64::try_from(recorded.at.total_micros()).unwrap_or(0);
            // epb_flags, bits 0 and 1: 1 is inbound, 2 is outbound, as seen from the station.
            let flags = match recorded.direction {
                Direction::ToSwitch => 2,
                Direction::ToStation => 1,
            };
            writer.write_pcapng_block(EnhancedPacketBlock {
                interface_id: u32::try_from(recorded.port.index()).expect("a switch has few ports"),
                timestamp: Duration::from_micros(micros),
                original_len: u32::try_from(recorded.frame.len()).unwrap_or(u32::MAX),
                data: Cow::Borrowed(&recorded.frame),
                options: vec![EnhancedPacketOption::Flags(flags)],
            })?;
        }
        Ok(())
    }
}
