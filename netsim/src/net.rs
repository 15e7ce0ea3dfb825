//! A network in a process: a learning switch, faulty wires, stations, TAP ports and captures.
//!
//! Nothing here knows Kubernetes or our speakers, and except for [`patchbay`] nothing reads a clock: time is
//! [`smoltcp::time::Instant`] in microseconds since an origin that the caller chose. One seed fixes every random
//! choice; each wire and each station draws from a stream of its own, so that a new draw in one place shifts no other.
//!
//! The driver's loop is the same for every part: hand frames in, `poll` until nothing comes out, sleep until
//! `poll_timeout`. A frame a [`host::Host`] gives goes to [`switch::Switch::send`]; a frame the switch gives goes to the
//! `handle_frame` of the station at that port.

pub mod ethernet_host;
pub mod faults;
pub mod frame;
pub mod host;
pub mod neighbours;
pub mod patchbay;
pub mod pcap;
pub mod port;
pub mod random;
pub mod stack;
pub mod station;
pub mod switch;
pub mod tap;
pub mod wire;
