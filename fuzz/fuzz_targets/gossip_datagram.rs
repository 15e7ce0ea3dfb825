#![no_main]
//! Any bytes as datagrams to a speaker's gossip port.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzzing::gossip_datagram(data));
