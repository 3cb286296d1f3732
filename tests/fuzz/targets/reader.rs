//! See `platen_fuzz::printer::fuzzing::reader`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| platen_fuzz::printer::fuzzing::reader(bytes));
