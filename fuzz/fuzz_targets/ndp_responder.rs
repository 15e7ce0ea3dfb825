#![no_main]
//! Any bytes as Ethernet frames to a speaker that owns an IPv6 address.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzzing::ndp_responder(data));
