//! The rooms that are fuzzed, as they stand in ../../src.

#[path = "../../src/printer/mod.rs"]
pub mod printer;
#[path = "../../src/snmp/mod.rs"]
pub mod snmp;
