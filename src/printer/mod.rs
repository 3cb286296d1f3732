//! Printers: from objects to a [`Reading`].
//!
//! What this room is for: the standard MIBs (RFC 3805, RFC 2790, RFC 1213) and the vendors' own objects, which are data
//! in `profiles/`; identity, status, alerts, meters, supplies, trays.
//! What it promises: unknown is never a number; nothing is derived from something else; a value always says which object
//! it came from; no object about a person or a job is asked for; a device that is no printer is left after a few requests.
//! Who may call it: agent, the command line.

mod alerts;
mod ask;
mod device_id;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)] // a target panics where a promise is broken
pub mod fuzzing;
pub mod history;
mod identity;
mod memory;
mod meter_key;
mod meters;
mod paper;
mod profile;
mod read;
mod reading;
mod recognise;
mod status_round;
mod supplies;
mod supply_words;
mod tables;
mod text;
#[cfg(test)]
mod total_tests;
mod words;

pub use explain::{Explanation, Line};
pub use memory::Memory;
pub use meter_key::{Colour, Function, MeterKey, MeterNameError, Scope, Sides, Size, Weight};
pub use profile::{MeterRules, ProfileError, ProfileKey, ProfileSetError, Profiles, signed_bytes};
pub use read::{Outcome, ReadOptions, explore, read, read_known};
pub use reading::{Alert, Capabilities, Cover, InputTray, Meter, OutputBin, Reading, Status, Supply};
pub use status_round::{StatusOptions, StatusRound, read_status};
