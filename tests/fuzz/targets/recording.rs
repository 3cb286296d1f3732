//! See `platen_fuzz::snmp::fuzzing::recording`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| platen_fuzz::snmp::fuzzing::recording(bytes));
