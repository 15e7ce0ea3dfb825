#![no_main]
//! Any text as an address range.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzzing::address_ranges(data));
