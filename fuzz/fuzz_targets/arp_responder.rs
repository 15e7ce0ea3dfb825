#![no_main]
//! Any bytes as Ethernet frames to a speaker that owns addresses.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzzing::arp_responder(data));
